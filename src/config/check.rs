use std::{
    fmt::Display,
    net::{Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use http::{Uri, uri::Authority};
use ipnet::IpNet;

use super::{
    ConfigError, Dialect, Lifetimes, Limits, Links, Modes, PrefixNames, Prefixes, Problem, Resource, ResourceBuilder,
    ScopeBuilder, origin_of, path_of, resource,
};
use crate::types::{
    scope::{Catalogue, CatalogueEntry, Effect, Scope, ScopeSet},
    secret::{Kind, Prefix},
    text::HumanText,
};

const MAX_AUTHORIZATION_REQUEST: Duration = Duration::from_secs(30 * 60);
const MAX_ACCESS: Duration = Duration::from_secs(30 * 86_400);
const MAX_REFRESH: Duration = Duration::from_secs(90 * 86_400);
const MAX_SESSION: Duration = Duration::from_secs(366 * 86_400);
const MAX_CODE: Duration = Duration::from_secs(600);
const MAX_HISTORY: Duration = Duration::from_secs(3_650 * 86_400);
const MIN_DEADLINE: Duration = Duration::from_millis(10);
const MAX_DEADLINE: Duration = Duration::from_secs(60);
const MAX_APPROVE_AFTER: Duration = Duration::from_secs(10);
const MAX_GRACE: Duration = Duration::from_secs(60);
const MIN_LIFETIME: Duration = Duration::from_secs(1);
const MIN_CHOICE: Duration = Duration::from_secs(60);
const MAX_CHOICES: usize = 6;
const MAX_NAME: usize = 64;
const MAX_SENTENCE: usize = 200;

/// Collects the problems of a configuration.
pub(super) struct Check {
    problems: Vec<Problem>,
}

impl Check {
    pub(super) const fn new(problems: Vec<Problem>) -> Self {
        Self { problems }
    }

    /// Returns all problems as an error, if there are any.
    pub(super) fn done(self) -> Result<(), ConfigError> {
        if self.problems.is_empty() { Ok(()) } else { Err(ConfigError::new(self.problems)) }
    }

    pub(super) fn note(&mut self, field: impl Into<String>, value: impl Display, remedy: impl Into<String>) {
        self.problems.push(Problem::new(field, value, remedy));
    }

    pub(super) fn required(&mut self, field: &str, value: Option<String>) -> String {
        // The reader has already reported a field with the wrong type.
        let value = value.unwrap_or_default();
        if value.is_empty() && !self.problems.iter().any(|problem| problem.field == field) {
            self.note(field, "", "is required");
        }
        value
    }

    /// Checks an identifier: an https URL without query and fragment (RFC 9728 section 2, RFC 8414 section 2). It must
    /// also have the one spelling that every client compares equal. A loopback host may use http.
    pub(super) fn identifier(&mut self, field: &str, url: &str) {
        if url.is_empty() {
            return;
        }
        if let Some(remedy) = identifier_problem(url) {
            self.note(field, url, remedy);
        }
    }

    /// Checks the https URL of another party. `may_query` is whether it may have a query.
    pub(super) fn https(&mut self, field: &str, url: &str, may_query: bool) {
        let (base, query) = url.split_once('?').filter(|_| may_query).unwrap_or((url, ""));
        if url.is_empty() {
            self.required(field, None);
        } else if !url.starts_with("https://") {
            self.note(field, url, "must be an absolute https URL, its scheme in lower case");
        } else if let Some(remedy) = identifier_problem(base) {
            self.note(field, url, remedy);
        } else if query.contains('#') || url.parse::<Uri>().is_err() {
            self.note(field, url, "must have no fragment and no character that RFC 3986 does not allow");
        }
    }

    pub(super) fn issuer(&mut self, url: &str) {
        self.identifier("issuer", url);
        if path_of(url).ends_with('/') {
            self.note("issuer", url, "must not end in a slash: paths are appended to it");
        }
    }

    pub(super) fn name(&mut self, name: &str) {
        self.plain_text("name", name, MAX_NAME);
    }

    /// Checks that a custom template parses. Rendering is checked when the service is built.
    #[cfg(feature = "issuer")]
    pub(super) fn template(&mut self, template: Option<&str>) {
        let Some(text) = template else { return };
        if let Err(error) = minijinja::Environment::new().template_from_str(text) {
            let first_line = text.lines().next().unwrap_or_default();
            self.note("auth_md.template", first_line, format!("is no minijinja template: {error}"));
        }
    }

    /// Checks a name that humans read. A service that only checks tokens shows none.
    #[cfg_attr(not(feature = "issuer"), expect(clippy::unused_self, clippy::needless_pass_by_ref_mut))]
    pub(super) fn human_text(&mut self, field: &str, text: &str) {
        #[cfg(feature = "issuer")]
        if let Err(error) = HumanText::new(text) {
            self.note(field, text, error.to_string());
        }
        #[cfg(not(feature = "issuer"))]
        let _ = (field, text);
    }

    fn plain_text(&mut self, field: &str, text: &str, longest: usize) {
        let forbidden = |character: char| character.is_control() || matches!(character, '`' | '<' | '>');
        if text.chars().any(forbidden) {
            self.note(field, text, "must be one line of plain text without backticks and angle brackets");
        } else if text.chars().count() > longest {
            self.note(field, text, format!("must be {longest} characters at most"));
        }
    }

    pub(super) fn path(&mut self, field: &str, path: &str) {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.');
        let fits = path.starts_with('/') && path.len() > 1 && path.bytes().all(plain);
        if !fits || path.ends_with('/') || has_odd_segments(path) {
            self.note(field, path, "must be a path such as /sessions: letters, digits, - and _ between single slashes");
        }
    }

    pub(super) fn links(&mut self, links: &Links) {
        let all = [
            ("logo", &links.logo),
            ("logo_dark", &links.logo_dark),
            ("favicon", &links.favicon),
            ("documentation", &links.documentation),
            ("terms", &links.terms),
            ("policy", &links.policy),
            ("contact", &links.contact),
        ];
        for (field, link) in all {
            let Some(link) = link else { continue };
            let mail = field == "contact" && link.starts_with("mailto:");
            let fits = if mail { is_mail_link(link) } else { is_web_link(link) };
            if !fits {
                let or_mail = if field == "contact" { " or mailto: address" } else { "" };
                self.note(field, link, format!("must be an absolute https URL{or_mail}"));
            }
        }
    }

    pub(super) fn lifetimes(&mut self, mut lifetimes: Lifetimes) -> Lifetimes {
        let all = [
            ("lifetimes.authorization_request", lifetimes.authorization_request, MAX_AUTHORIZATION_REQUEST),
            ("lifetimes.access", lifetimes.access, MAX_ACCESS),
            ("lifetimes.refresh", lifetimes.refresh, MAX_REFRESH),
            ("lifetimes.session", lifetimes.session, MAX_SESSION),
            ("lifetimes.exchange_code", lifetimes.exchange_code, MAX_CODE),
            ("lifetimes.finish_code", lifetimes.finish_code, MAX_CODE),
            ("lifetimes.history", lifetimes.history, MAX_HISTORY),
        ];
        for (field, span, longest) in all {
            if span < MIN_LIFETIME || span > longest {
                self.note(field, shown(span), format!("must be between 1s and {}", shown(longest)));
            }
        }
        if lifetimes.refresh_grace > MAX_GRACE {
            let remedy = format!("must be at most {}; 0s turns it off", shown(MAX_GRACE));
            self.note("lifetimes.refresh_grace", shown(lifetimes.refresh_grace), remedy);
        }
        if let Some(span) = lifetimes.sign_in.filter(|span| *span < MIN_LIFETIME) {
            self.note("lifetimes.sign_in", shown(span), "must be at least 1s: a sign-in takes a moment");
        }
        if lifetimes.access > lifetimes.refresh {
            let refresh = shown(lifetimes.refresh);
            self.note(
                "lifetimes.access",
                shown(lifetimes.access),
                format!("must not exceed lifetimes.refresh, {refresh}"),
            );
        }
        self.choices(&mut lifetimes);
        lifetimes
    }

    /// Checks and sorts the lengths of a session that the human may choose from.
    fn choices(&mut self, lifetimes: &mut Lifetimes) {
        let Lifetimes { choices, proposed, session, .. } = lifetimes;
        choices.sort_unstable();
        if choices.len() > MAX_CHOICES {
            let all: Vec<String> = choices.iter().copied().map(shown).collect();
            self.note("lifetimes.choices", all.join(", "), format!("must be {MAX_CHOICES} at most"));
        }
        for pair in choices.windows(2).filter(|pair| pair[0] == pair[1]) {
            self.note("lifetimes.choices", shown(pair[0]), "is there twice; take one of the two out");
        }
        for choice in choices.iter().filter(|choice| **choice < MIN_CHOICE || **choice > *session) {
            let remedy = format!("must be between {} and lifetimes.session, {}", shown(MIN_CHOICE), shown(*session));
            self.note("lifetimes.choices", shown(*choice), remedy);
        }
        for choice in choices.iter().filter(|choice| choice.subsec_nanos() > 0) {
            self.note("lifetimes.choices", shown(*choice), "must be whole seconds");
        }
        if let Some(span) = proposed.filter(|span| !choices.contains(span)) {
            self.note("lifetimes.proposed", shown(span), "must be one of lifetimes.choices");
        }
        *proposed = proposed.or_else(|| choices.last().copied());
    }

    pub(super) fn limits(&mut self, limits: Limits) {
        for (field, cap) in
            [("limits.pending_per_source", limits.pending_per_source), ("limits.pending_total", limits.pending_total)]
        {
            if cap == Some(0) {
                self.note(field, 0, "must be at least 1: with 0 no agent could ever ask");
            }
        }
        let interval = limits.poll_interval;
        if interval < Duration::from_secs(1) || interval > Duration::from_secs(60) {
            self.note("limits.poll_interval", shown(interval), "must be between 1s and 1m");
        }
        if limits.approve_after > MAX_APPROVE_AFTER {
            let remedy = format!("must be at most {}; 0s turns it off", shown(MAX_APPROVE_AFTER));
            self.note("limits.approve_after", shown(limits.approve_after), remedy);
        }
        for (field, span) in [
            ("limits.store_read", limits.store_read),
            ("limits.store_write", limits.store_write),
            ("limits.metadata_fetch", limits.metadata_fetch),
        ] {
            if span < MIN_DEADLINE || span > MAX_DEADLINE {
                self.note(field, shown(span), "must be between 10ms and 1m");
            }
        }
    }

    pub(super) fn modes(&mut self, modes: &Modes) {
        if modes.finish_code_alone && !modes.detached {
            let remedy = "is a part of detached login; set modes.detached to true as well";
            self.note("modes.finish_code_alone", true, remedy);
        }
        for origin in &modes.callback_origins {
            let plain = !origin.contains([';', ',', '\'', '*']) && origin_of(origin) == origin;
            if !origin.starts_with("https://") || !plain || identifier_problem(origin).is_some() {
                self.note("modes.callback_origins", origin, "must be an https origin such as https://app.example.com");
            }
        }
    }

    pub(super) fn catalogue(&mut self, scopes: &[ScopeBuilder]) -> Catalogue {
        if scopes.is_empty() {
            self.note("scopes", "", "is required: name at least one scope that an agent may be granted");
        }
        let mut entries: Vec<CatalogueEntry> = Vec::new();
        for (index, scope) in scopes.iter().enumerate() {
            let field = |part: &str| format!("scopes[{index}].{part}");
            self.plain_text(&field("description"), &scope.description, MAX_SENTENCE);
            if scope.description.trim().is_empty() {
                self.note(field("description"), &scope.description, "is required: the sentence that a human reads");
            }
            let Some(name) = self.scope(&field("name"), &scope.name) else {
                continue;
            };
            if entries.iter().any(|entry| entry.scope == name) {
                self.note(field("name"), &name, "is in the catalogue already; take one of the two out");
            }
            let implies: Vec<Scope> =
                scope.implies.iter().filter_map(|implied| self.implied(&field("implies"), implied, scopes)).collect();
            let mut entry = CatalogueEntry::new(name, &scope.description).implies(implies);
            entry.default = scope.default;
            entry.effect = self.effect(&field("effect"), &scope.effect);
            entry.caution.clone_from(&scope.caution);
            if let Some(caution) = &scope.caution {
                self.plain_text(&field("caution"), caution, MAX_NAME);
                if caution.trim().is_empty() {
                    self.note(
                        field("caution"),
                        caution,
                        "must be a few words, such as Visitors notice; or leave it out",
                    );
                }
            }
            entries.push(entry);
        }
        let catalogue = Catalogue::new(entries);
        self.effects(scopes, &catalogue);
        catalogue
    }

    fn effect(&mut self, field: &str, name: &str) -> Effect {
        Effect::ALL.into_iter().find(|effect| effect.as_str() == name).unwrap_or_else(|| {
            let all = Effect::ALL.map(Effect::as_str).join(", ");
            self.note(field, name, format!("must be one of: {all}"));
            Effect::default()
        })
    }

    /// Checks that no scope gives more than its group on the approval page says.
    fn effects(&mut self, scopes: &[ScopeBuilder], catalogue: &Catalogue) {
        for (index, scope) in scopes.iter().enumerate() {
            let Some(own) = catalogue.entries().iter().find(|entry| entry.scope.as_str() == scope.name) else {
                continue;
            };
            let alone = ScopeSet::from_iter([own.scope.clone()]);
            let Some(most) = catalogue.given(&alone).max_by_key(|given| given.effect) else { continue };
            if most.effect > own.effect {
                let remedy = format!("must be {} at least: the scope gives {}", most.effect.as_str(), most.scope);
                self.note(format!("scopes[{index}].effect"), own.effect.as_str(), remedy);
            }
        }
    }

    fn scope(&mut self, field: &str, text: &str) -> Option<Scope> {
        // The scope's name is written into Markdown code spans and into headers.
        match Scope::new(text) {
            Ok(scope) if !text.contains(['`', '<', '>']) => Some(scope),
            Ok(_) => {
                self.note(field, text, "must be without backticks and angle brackets");
                None
            }
            Err(error) => {
                self.note(field, text, error.to_string());
                None
            }
        }
    }

    fn implied(&mut self, field: &str, implied: &str, scopes: &[ScopeBuilder]) -> Option<Scope> {
        if !scopes.iter().any(|scope| scope.name == implied) {
            self.note(field, implied, "is not in the catalogue; add it or take it out here");
        }
        Scope::new(implied).ok()
    }

    /// The resources: the top-level one with all scopes, and the further ones.
    pub(super) fn resources(
        &mut self,
        top: &str,
        name: &str,
        further: &[ResourceBuilder],
        catalogue: &Catalogue,
    ) -> Vec<Resource> {
        let all: ScopeSet = catalogue.entries().iter().map(|entry| entry.scope.clone()).collect();
        let mut resources = vec![Resource::new(top, name, all.clone())];
        for (index, builder) in further.iter().enumerate() {
            let field = |part: &str| format!("resources[{index}].{part}");
            let id = self.resource(&field("resource"), top, &builder.resource);
            if let Some(other) = resources.iter().find(|other| resource::are_equal(other.id(), &id)) {
                let remedy = format!("is the same to agents as {}; take one of the two out", other.id());
                self.note(field("resource"), &builder.resource, remedy);
            }
            if let Some(name) = &builder.name {
                self.plain_text(&field("name"), name, MAX_NAME);
                if name.trim().is_empty() {
                    self.note(field("name"), name, "must not be empty; leave it out for the service's name");
                }
            }
            let scopes = builder.scopes.as_ref().map(|names| self.scopes_of(&field("scopes"), names, catalogue));
            let name = builder.name.as_deref().unwrap_or(name);
            resources.push(Resource::new(&id, name, scopes.unwrap_or_else(|| all.clone())));
        }
        resources
    }

    /// The identifier of a further resource.
    fn resource(&mut self, field: &str, top: &str, resource: &str) -> String {
        let id = resource::absolute(top, resource);
        let is_path = resource.starts_with('/');
        if resource.is_empty() {
            return self.required(field, None);
        }
        match identifier_problem(&id) {
            // The problem is the top-level resource's.
            _ if is_path && identifier_problem(top).is_some() => {}
            _ if resource == "/" => {
                self.note(field, resource, "must have a path below the slash; write a bare origin in full");
            }
            Some(_) if !is_path && !resource.contains("://") => {
                self.note(field, resource, "must be a path such as /mcp, or an absolute https URL");
            }
            Some(remedy) => self.note(field, resource, remedy),
            None => {}
        }
        id
    }

    /// The scopes of a further resource.
    fn scopes_of(&mut self, field: &str, names: &[String], catalogue: &Catalogue) -> ScopeSet {
        if names.is_empty() {
            self.note(field, "", "must name at least one scope; leave it out for all scopes of the catalogue");
        }
        let mut known = Vec::new();
        for name in names {
            match Scope::new(name).ok().filter(|scope| catalogue.find(scope).is_some()) {
                Some(scope) => known.push(scope),
                None => self.note(field, name, "is not in the catalogue; add it to `scopes` or take it out here"),
            }
        }
        let known: ScopeSet = known.into_iter().collect();
        // Else the page, which says all that a tick gives, would name what no rule of the resource can demand.
        for implied in catalogue.given(&known).filter(|entry| !known.contains(&entry.scope)) {
            let remedy = format!("must name {} as well: a scope of the list gives it", implied.scope);
            self.note(field, &known, remedy);
        }
        known
    }

    pub(super) fn dialects(&mut self, names: Option<Vec<String>>) -> Vec<Dialect> {
        let Some(names) = names else {
            return Dialect::DEFAULT.into();
        };
        let known = |name: &String| Dialect::ALL.into_iter().find(|dialect| dialect.as_str() == name);
        for name in names.iter().filter(|name| known(name).is_none()) {
            let all = Dialect::ALL.map(Dialect::as_str).join(", ");
            self.note("dialects", name, format!("is not a dialect of this version; there is: {all}"));
        }
        Dialect::ALL.into_iter().filter(|dialect| names.iter().any(|name| name == dialect.as_str())).collect()
    }

    pub(super) fn owner_only(&mut self, things: Vec<String>) -> Vec<String> {
        for thing in &things {
            self.plain_text("owner_only", thing, MAX_NAME);
            if thing.trim().is_empty() {
                self.note("owner_only", thing, "must be a few words, such as billing");
            }
        }
        things
    }

    pub(super) fn claim_methods(&mut self, methods: &[String]) -> Vec<HumanText> {
        let mut kept = Vec::new();
        for method in methods {
            self.plain_text("claim_methods", method, MAX_NAME);
            self.human_text("claim_methods", method);
            kept.push(HumanText::from_stored(method));
        }
        kept
    }

    pub(super) fn networks(&mut self, networks: &[String]) -> Vec<IpNet> {
        let mut kept = Vec::new();
        for network in networks {
            let address = network.parse().map(|address: std::net::IpAddr| IpNet::from(address));
            match network.parse().or(address) {
                Ok(network) => kept.push(network),
                Err(_) => self.note("trusted_proxies", network, "must be an address or a network such as 10.0.0.0/8"),
            }
        }
        kept
    }

    pub(super) fn prefixes(&mut self, names: &PrefixNames) -> Prefixes {
        let all = names.all();
        for (index, (field, name)) in all.iter().enumerate() {
            if let Some((other, _)) = all[..index].iter().find(|(_, other)| other == name) {
                self.note(*field, name, format!("is the prefix of {other} as well; the prefixes must all differ"));
            }
        }
        let fallback = PrefixNames::default();
        Prefixes {
            access: self.prefix("prefixes.access", &names.access, &fallback.access),
            refresh: self.prefix("prefixes.refresh", &names.refresh, &fallback.refresh),
            claim: self.prefix("prefixes.claim", &names.claim, &fallback.claim),
            poll: self.prefix("prefixes.poll", &names.poll, &fallback.poll),
            exchange: self.prefix("prefixes.exchange", &names.exchange, &fallback.exchange),
            finish: self.prefix("prefixes.finish", &names.finish, &fallback.finish),
            assertion: self.prefix("prefixes.assertion", &names.assertion, &fallback.assertion),
        }
    }

    #[expect(clippy::expect_used, reason = "the fallback is a default, which has the right form")]
    fn prefix<K: Kind>(&mut self, field: &str, name: &str, fallback: &str) -> Prefix<K> {
        Prefix::new(name).unwrap_or_else(|error| {
            self.note(field, name, error.to_string());
            Prefix::new(fallback).expect("a default has the right form")
        })
    }
}

fn identifier_problem(url: &str) -> Option<&'static str> {
    let Ok(uri) = url.parse::<Uri>() else {
        return Some("must be an absolute https URL");
    };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Some("must be an absolute https URL");
    };
    let host = authority.host();
    let default_port = if scheme == "https" { 443 } else { 80 };
    if !url.is_ascii() || url.contains(['"', '\\', '<', '>', '`', '{', '}', '|', '^']) {
        Some("must have no quote and no other character that RFC 3986 does not allow")
    } else if url.contains(['#', '?']) {
        Some("must have no query and no fragment")
    } else if !url.starts_with("https://") && !url.starts_with("http://") {
        Some("must be an absolute https URL, its scheme in lower case")
    } else if scheme == "http" && !is_loopback(host) {
        Some("must be https; http is only for 127.0.0.1, [::1] and localhost")
    } else if authority.as_str().contains('@') {
        Some("must have no user name or password in it")
    } else if host.is_empty() || host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Some("must have its host in lower case")
    } else if !is_plain_host(host) {
        Some("must have a host of letters, digits, hyphens and dots, or an IP address in its usual spelling")
    } else if authority.as_str().ends_with(':') || authority.port_u16() == Some(default_port) {
        Some("must not name the scheme's default port")
    } else if !is_plain_port(authority) {
        Some("must have a port from 1 to 65535 without leading zeros, or none")
    } else if has_odd_segments(&path_of(url).to_ascii_lowercase().replace("%2e", ".")) {
        Some("must have a path without empty, . and .. segments")
    } else {
        None
    }
}

/// Whether every URL parser keeps the host as it is written. Parsers rewrite other forms of an IP address, and parse a
/// name whose last label is a number as one (WHATWG URL section 3.5).
fn is_plain_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let parsed = address.parse::<Ipv6Addr>();
        return parsed.is_ok_and(|parsed| parsed.to_ipv4_mapped().is_none() && parsed.to_string() == address);
    }
    let plain = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let last = host.rsplit('.').next().unwrap_or(host);
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    host.split('.').all(plain) && (!is_number || host.parse::<Ipv4Addr>().is_ok())
}

/// Whether the port, if there is one, is a number in canonical form.
fn is_plain_port(authority: &Authority) -> bool {
    let port = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
    port.is_empty() || authority.port_u16().is_some_and(|number| number > 0 && port == format!(":{number}"))
}

fn is_loopback(host: &str) -> bool {
    matches!(host, "127.0.0.1" | "[::1]" | "localhost")
}

/// Whether a path has a segment that a client or proxy may normalize. A single slash at the end does not count.
fn has_odd_segments(path: &str) -> bool {
    let inner = path.strip_prefix('/').unwrap_or(path);
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    !inner.is_empty() && inner.split('/').any(|segment| matches!(segment, "" | "." | ".."))
}

fn is_web_link(link: &str) -> bool {
    let local = |uri: &Uri| uri.scheme_str() == Some("http") && uri.host().is_some_and(is_loopback);
    let uri = link.parse::<Uri>().ok();
    // `;` and `,` would end a directive of the content security policy that contains the logo's origin.
    let plain = !link.contains(['(', ')', '<', '>', '`', ';', ',', '\'']);
    plain && uri.is_some_and(|uri| uri.host().is_some() && (uri.scheme_str() == Some("https") || local(&uri)))
}

fn is_mail_link(link: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'(' | b')' | b'<' | b'>' | b'`' | b'"');
    link.contains('@') && link.bytes().all(plain)
}

/// A duration in the configuration's notation: in days, if it is whole days.
fn shown(span: Duration) -> String {
    const DAY: u64 = 86_400;
    match (span.as_secs(), span.subsec_nanos()) {
        (seconds, 0) if seconds >= DAY && seconds % DAY == 0 => format!("{}d", seconds / DAY),
        _ => humantime::format_duration(span).to_string(),
    }
}
