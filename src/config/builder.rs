use std::{fmt::Display, time::Duration};

use http::Uri;
use ipnet::IpNet;
use serde_json::Value;

use super::{
    AuthMd, Config, ConfigError, Dialect, Lifetimes, Limits, Links, Prefixes, Problem, Settings, origin_of, path_of,
    reader::Reader,
};
use crate::core::{
    scope::{Catalogue, CatalogueEntry, Scope, ScopeSet},
    secret::{Kind, Prefix},
    text::HumanText,
};

const MAX_REGISTRATION: Duration = Duration::from_secs(30 * 60);
const MAX_ACCESS: Duration = Duration::from_secs(30 * 86_400);
const MAX_REFRESH: Duration = Duration::from_secs(90 * 86_400);
const MIN_LIFETIME: Duration = Duration::from_secs(1);
const MAX_NAME: usize = 64;
const MAX_SENTENCE: usize = 200;

/// A configuration in the making. Nothing is checked before [`build`](Self::build), which reports all problems at once.
///
/// ```
/// use tower_agent_auth::Config;
///
/// let config = Config::builder()
///     .resource("https://api.example.com")
///     .name("Example Analytics")
///     .scope("projects:read", "See your projects", |scope| scope.by_default())
///     .scope("projects:write", "Create and change projects", |scope| scope.implies("projects:read"))
///     .build()?;
/// # Ok::<(), tower_agent_auth::ConfigError>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ConfigBuilder {
    resource: Option<String>,
    issuer: Option<String>,
    name: Option<String>,
    links: Links,
    scopes: Vec<ScopeBuilder>,
    dialects: Option<Vec<String>>,
    claim_methods: Vec<String>,
    challenge_scope: bool,
    sessions_path: Option<String>,
    trusted_proxies: Vec<String>,
    lifetimes: Lifetimes,
    limits: Limits,
    prefixes: [Option<String>; 3],
    auth_md: AuthMd,
    problems: Vec<Problem>,
}

/// One scope of the catalogue in the making.
#[derive(Clone, Debug)]
#[must_use]
pub struct ScopeBuilder {
    name: String,
    description: String,
    default: bool,
    implies: Vec<String>,
}

impl ScopeBuilder {
    fn new(name: &str, description: &str) -> Self {
        Self { name: name.into(), description: description.into(), default: false, implies: Vec::new() }
    }

    /// An agent that names no scope asks for this one.
    pub fn by_default(mut self) -> Self {
        self.default = true;
        self
    }

    /// This scope gives `scope` as well.
    pub fn implies(mut self, scope: &str) -> Self {
        self.implies.push(scope.into());
        self
    }
}

impl ConfigBuilder {
    /// Reads TOML; what can't be read is reported by [`build`](Self::build).
    #[cfg(feature = "toml")]
    #[cfg_attr(docsrs, doc(cfg(feature = "toml")))]
    pub fn from_toml(text: &str) -> Self {
        Self::read(toml::from_str(text).map_err(|error: toml::de::Error| error.to_string().trim().replace('\n', " ")))
    }

    /// Reads JSON; what can't be read is reported by [`build`](Self::build).
    pub fn from_json(text: &str) -> Self {
        Self::read(serde_json::from_str(text).map_err(|error| error.to_string()))
    }

    /// The protected API's identifier.
    pub fn resource(mut self, url: &str) -> Self {
        self.resource = Some(url.into());
        self
    }

    /// The authorization server's identifier, if it is not the origin of the resource.
    pub fn issuer(mut self, url: &str) -> Self {
        self.issuer = Some(url.into());
        self
    }

    /// The service's name.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.into());
        self
    }

    /// A picture for the pages.
    pub fn logo(mut self, url: &str) -> Self {
        self.links.logo = Some(url.into());
        self
    }

    /// Where developers read on.
    pub fn documentation(mut self, url: &str) -> Self {
        self.links.documentation = Some(url.into());
        self
    }

    /// The terms of service.
    pub fn terms(mut self, url: &str) -> Self {
        self.links.terms = Some(url.into());
        self
    }

    /// The privacy policy.
    pub fn policy(mut self, url: &str) -> Self {
        self.links.policy = Some(url.into());
        self
    }

    /// Where to ask: a URL or `mailto:`.
    pub fn contact(mut self, url: &str) -> Self {
        self.links.contact = Some(url.into());
        self
    }

    /// Adds a scope to the catalogue: its name and the sentence that a human reads before approving it.
    pub fn scope(mut self, name: &str, description: &str, with: impl FnOnce(ScopeBuilder) -> ScopeBuilder) -> Self {
        self.scopes.push(with(ScopeBuilder::new(name, description)));
        self
    }

    /// The wire formats that are on; without this call, [`Dialect::AgentAuth`].
    pub fn dialects(mut self, dialects: &[Dialect]) -> Self {
        self.dialects = Some(dialects.iter().map(|dialect| dialect.as_str().to_owned()).collect());
        self
    }

    /// Adds a way to sign in that an agent may ask for.
    pub fn claim_method(mut self, method: &str) -> Self {
        self.claim_methods.push(method.into());
        self
    }

    /// Makes the challenge without credentials name the route's scopes.
    pub fn challenge_scope(mut self, on: bool) -> Self {
        self.challenge_scope = on;
        self
    }

    /// Where the human's sessions page is, below the issuer.
    pub fn sessions_path(mut self, path: &str) -> Self {
        self.sessions_path = Some(path.into());
        self
    }

    /// Adds a network, such as `10.0.0.0/8`, whose `X-Forwarded-For` is believed.
    pub fn trusted_proxy(mut self, network: &str) -> Self {
        self.trusted_proxies.push(network.into());
        self
    }

    /// How long a human has to decide and the agent to come back.
    pub fn registration_lifetime(mut self, span: Duration) -> Self {
        self.lifetimes.registration = span;
        self
    }

    /// How long an access token is good.
    pub fn access_lifetime(mut self, span: Duration) -> Self {
        self.lifetimes.access = span;
        self
    }

    /// How long a refresh token is good.
    pub fn refresh_lifetime(mut self, span: Duration) -> Self {
        self.lifetimes.refresh = span;
        self
    }

    /// Pending registrations from one source and in all; `None` is no cap.
    pub fn pending_caps(mut self, per_source: Option<u32>, total: Option<u32>) -> Self {
        self.limits.pending_per_source = per_source;
        self.limits.pending_total = total;
        self
    }

    /// How often an agent may ask while its human decides.
    pub fn poll_interval(mut self, span: Duration) -> Self {
        self.limits.poll_interval = span;
        self
    }

    /// Lifts every cap and rate limit: for load and race tests only.
    pub fn no_limits(mut self) -> Self {
        self.limits.pending_per_source = None;
        self.limits.pending_total = None;
        self.limits.enforce_poll_interval = false;
        self
    }

    /// How access, refresh and claim tokens begin.
    pub fn prefixes(mut self, access: &str, refresh: &str, claim: &str) -> Self {
        self.prefixes = [access, refresh, claim].map(|prefix| Some(prefix.into()));
        self
    }

    /// Markdown of your own at the end of auth.md.
    pub fn auth_md_extra(mut self, markdown: &str) -> Self {
        self.auth_md.extra = Some(markdown.into());
        self
    }

    /// A minijinja template of your own in place of ours for auth.md.
    pub fn auth_md_template(mut self, template: &str) -> Self {
        self.auth_md.template = Some(template.into());
        self
    }

    /// Checks everything.
    ///
    /// # Errors
    /// Every problem there is, each with its field, its value and the remedy.
    pub fn build(mut self) -> Result<Config, ConfigError> {
        let mut check = Check { problems: std::mem::take(&mut self.problems) };
        let settings = self.settings(&mut check);
        if !check.problems.is_empty() {
            return Err(ConfigError::new(check.problems));
        }
        let config = Config::new(settings);
        match crate::discovery::auth_md::render(&config) {
            Ok(_) => Ok(config),
            Err(error) => {
                let text = config.auth_md().template.clone().unwrap_or_default();
                let remedy = format!("is not a template that renders: {error}");
                Err(ConfigError::new(vec![Problem::new("auth_md.template", first_line(&text), remedy)]))
            }
        }
    }

    fn settings(self, check: &mut Check) -> Settings {
        let resource = check.required("resource", self.resource);
        check.identifier("resource", &resource);
        let issuer = self.issuer.unwrap_or_else(|| origin_of(&resource).to_owned());
        if issuer != origin_of(&resource) {
            check.identifier("issuer", &issuer);
            if path_of(&issuer).ends_with('/') {
                check.note("issuer", &issuer, "must not end in a slash: paths are appended to it");
            }
        }
        let name = check.required("name", self.name);
        check.plain_text("name", &name, MAX_NAME);
        let sessions_path = self.sessions_path.unwrap_or_else(|| "/agent/sessions".into());
        check.path("sessions_path", &sessions_path);
        check.links(&self.links);
        check.lifetimes(self.lifetimes);
        check.limits(self.limits);
        Settings {
            resource: resource.into(),
            issuer,
            name,
            links: self.links,
            catalogue: check.catalogue(&self.scopes),
            dialects: check.dialects(self.dialects),
            claim_methods: check.claim_methods(&self.claim_methods),
            challenge_scope: self.challenge_scope,
            sessions_path,
            trusted_proxies: check.networks(&self.trusted_proxies),
            lifetimes: self.lifetimes,
            limits: self.limits,
            prefixes: check.prefixes(self.prefixes),
            auth_md: self.auth_md,
        }
    }

    fn read(parsed: Result<Value, String>) -> Self {
        let mut builder = Self::default();
        let value = match parsed {
            Ok(value) => value,
            Err(error) => {
                builder.problems.push(Problem::new("configuration", "", format!("can't be read: {error}")));
                return builder;
            }
        };
        let mut problems = Vec::new();
        let mut reader = Reader::new("", value, &mut problems);
        builder.read_fields(&mut reader);
        reader.finish();
        builder.problems = problems;
        builder
    }

    fn read_fields(&mut self, reader: &mut Reader<'_>) {
        self.resource = reader.string("resource");
        self.issuer = reader.string("issuer");
        self.name = reader.string("name");
        self.links = Links {
            logo: reader.string("logo"),
            documentation: reader.string("documentation"),
            terms: reader.string("terms"),
            policy: reader.string("policy"),
            contact: reader.string("contact"),
        };
        self.dialects = reader.strings("dialects");
        self.claim_methods = reader.strings("claim_methods").unwrap_or_default();
        self.challenge_scope = reader.boolean("challenge_scope").unwrap_or_default();
        self.sessions_path = reader.string("sessions_path");
        self.trusted_proxies = reader.strings("trusted_proxies").unwrap_or_default();
        reader.tables("scopes", |scope| {
            self.scopes.push(ScopeBuilder {
                name: scope.string("name").unwrap_or_default(),
                description: scope.string("description").unwrap_or_default(),
                default: scope.boolean("default").unwrap_or_default(),
                implies: scope.strings("implies").unwrap_or_default(),
            });
        });
        reader.table("lifetimes", |lifetimes| {
            set(&mut self.lifetimes.registration, lifetimes.duration("registration"));
            set(&mut self.lifetimes.access, lifetimes.duration("access"));
            set(&mut self.lifetimes.refresh, lifetimes.duration("refresh"));
        });
        reader.table("limits", |limits| {
            set(&mut self.limits.pending_per_source, limits.number("pending_per_source").map(Some));
            set(&mut self.limits.pending_total, limits.number("pending_total").map(Some));
            set(&mut self.limits.poll_interval, limits.duration("poll_interval"));
        });
        reader.table("prefixes", |prefixes| {
            self.prefixes = ["access", "refresh", "claim"].map(|field| prefixes.string(field));
        });
        reader.table("auth_md", |auth_md| {
            self.auth_md = AuthMd { extra: auth_md.string("extra"), template: auth_md.string("template") };
        });
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// Collects what is wrong.
struct Check {
    problems: Vec<Problem>,
}

impl Check {
    fn note(&mut self, field: impl Into<String>, value: impl Display, remedy: impl Into<String>) {
        self.problems.push(Problem::new(field, value, remedy));
    }

    fn required(&mut self, field: &str, value: Option<String>) -> String {
        // A field that was given with the wrong type has been noted by the reader.
        let value = value.unwrap_or_default();
        if value.is_empty() && !self.problems.iter().any(|problem| problem.field == field) {
            self.note(field, "", "is required");
        }
        value
    }

    /// RFC 9728 section 2, RFC 8414 section 2: an https URL without query and fragment. Here also: the one spelling that
    /// every client compares equal, and http for a loopback host.
    fn identifier(&mut self, field: &str, url: &str) {
        if url.is_empty() {
            return;
        }
        if let Some(remedy) = identifier_problem(url) {
            self.note(field, url, remedy);
        }
    }

    fn plain_text(&mut self, field: &str, text: &str, longest: usize) {
        let forbidden = |character: char| character.is_control() || matches!(character, '`' | '<' | '>');
        if text.chars().any(forbidden) {
            self.note(field, text, "must be one line of plain text without backticks and angle brackets");
        } else if text.chars().count() > longest {
            self.note(field, text, format!("must be {longest} characters at most"));
        }
    }

    fn path(&mut self, field: &str, path: &str) {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.');
        let fits = path.starts_with('/') && path.len() > 1 && path.bytes().all(plain);
        if !fits || path.ends_with('/') || has_odd_segments(path) {
            self.note(field, path, "must be a path such as /sessions: letters, digits, - and _ between single slashes");
        }
    }

    fn links(&mut self, links: &Links) {
        let all = [
            ("logo", &links.logo),
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

    fn lifetimes(&mut self, lifetimes: Lifetimes) {
        let all = [
            ("lifetimes.registration", lifetimes.registration, MAX_REGISTRATION),
            ("lifetimes.access", lifetimes.access, MAX_ACCESS),
            ("lifetimes.refresh", lifetimes.refresh, MAX_REFRESH),
        ];
        for (field, span, longest) in all {
            if span < MIN_LIFETIME || span > longest {
                let longest = humantime::format_duration(longest);
                self.note(field, shown(span), format!("must be between 1s and {longest}"));
            }
        }
        if lifetimes.access > lifetimes.refresh {
            let refresh = shown(lifetimes.refresh);
            self.note(
                "lifetimes.access",
                shown(lifetimes.access),
                format!("must not exceed lifetimes.refresh, {refresh}"),
            );
        }
    }

    fn limits(&mut self, limits: Limits) {
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
    }

    fn catalogue(&mut self, scopes: &[ScopeBuilder]) -> Catalogue {
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
            entries.push(entry);
        }
        Catalogue::new(entries)
    }

    fn scope(&mut self, field: &str, text: &str) -> Option<Scope> {
        // The scope's name stands in Markdown code spans as well as in headers.
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

    fn dialects(&mut self, names: Option<Vec<String>>) -> Vec<Dialect> {
        let Some(names) = names else {
            return vec![Dialect::AgentAuth];
        };
        let known = |name: &String| Dialect::ALL.into_iter().find(|dialect| dialect.as_str() == name);
        for name in names.iter().filter(|name| known(name).is_none()) {
            let all = Dialect::ALL.map(Dialect::as_str).join(", ");
            self.note("dialects", name, format!("is not a dialect of this version; there is: {all}"));
        }
        Dialect::ALL.into_iter().filter(|dialect| names.iter().any(|name| name == dialect.as_str())).collect()
    }

    fn claim_methods(&mut self, methods: &[String]) -> Vec<HumanText> {
        let mut kept = Vec::new();
        for method in methods {
            self.plain_text("claim_methods", method, MAX_NAME);
            match HumanText::new(method) {
                Ok(method) => kept.push(method),
                Err(error) => self.note("claim_methods", method, error.to_string()),
            }
        }
        kept
    }

    fn networks(&mut self, networks: &[String]) -> Vec<IpNet> {
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

    fn prefixes(&mut self, [access, refresh, claim]: [Option<String>; 3]) -> Prefixes {
        let prefixes = Prefixes {
            access: self.prefix("prefixes.access", access, "aas_"),
            refresh: self.prefix("prefixes.refresh", refresh, "aar_"),
            claim: self.prefix("prefixes.claim", claim, "clm_"),
        };
        let [access, refresh, claim] = [prefixes.access.as_str(), prefixes.refresh.as_str(), prefixes.claim.as_str()];
        if access == refresh || access == claim || refresh == claim {
            self.note("prefixes", format!("{access} {refresh} {claim}"), "must all differ");
        }
        prefixes
    }

    #[expect(clippy::expect_used, reason = "the fallback is one of the three literals above, each of the right form")]
    fn prefix<K: Kind>(&mut self, field: &str, text: Option<String>, fallback: &str) -> Prefix<K> {
        let text = text.unwrap_or_else(|| fallback.to_owned());
        Prefix::new(&text).unwrap_or_else(|error| {
            self.note(field, &text, error.to_string());
            Prefix::new(fallback).expect("a literal of the right form")
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
    if url.contains(['"', '\\', '<', '>', '`', '{', '}', '|', '^']) {
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
    } else if authority.as_str().ends_with(':') || authority.port_u16() == Some(default_port) {
        Some("must not name the scheme's default port")
    } else if has_odd_segments(path_of(url)) {
        Some("must have a path without empty, . and .. segments")
    } else {
        None
    }
}

fn is_loopback(host: &str) -> bool {
    matches!(host, "127.0.0.1" | "[::1]" | "localhost")
}

/// Whether a path has a segment that a client or proxy may fold away. One slash at the end is no such segment.
fn has_odd_segments(path: &str) -> bool {
    let inner = path.strip_prefix('/').unwrap_or(path);
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    !inner.is_empty() && inner.split('/').any(|segment| matches!(segment, "" | "." | ".."))
}

fn is_web_link(link: &str) -> bool {
    let local = |uri: &Uri| uri.scheme_str() == Some("http") && uri.host().is_some_and(is_loopback);
    let uri = link.parse::<Uri>().ok();
    // `;` and `,` would end a directive of the content security policy that names the logo.
    let plain = !link.contains(['(', ')', '<', '>', '`', ';', ',', '\'']);
    plain && uri.is_some_and(|uri| uri.host().is_some() && (uri.scheme_str() == Some("https") || local(&uri)))
}

fn is_mail_link(link: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'(' | b')' | b'<' | b'>' | b'`' | b'"');
    link.contains('@') && link.bytes().all(plain)
}

fn shown(span: Duration) -> impl Display {
    humantime::format_duration(span)
}

// The set of scopes that a catalogue names is used by documents as well.
impl Config {
    /// Every scope of the catalogue.
    pub(crate) fn scopes(&self) -> ScopeSet {
        self.catalogue().entries().iter().map(|entry| entry.scope.clone()).collect()
    }
}
