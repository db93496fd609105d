use std::{num::NonZeroU32, time::Duration};

use serde_json::Value;

use super::{
    AuthMd, Config, ConfigError, Dialect, Lifetimes, Limits, Links, Modes, OAuth, OAuthClient, PrefixNames, Problem,
    Rates, ResourceBuilder, ResourceServer, ScopeBuilder, Settings, Theme, TrustedIssuer, check::Check, origin_of,
    path_of, reader::Reader, trusted_issuer,
};
use crate::types::scope::Effect;

/// Builds a [`Config`]. Values are checked by [`build`](Self::build), which reports all problems together.
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
    mount_path: Option<String>,
    name: Option<String>,
    links: Links,
    scopes: Vec<ScopeBuilder>,
    resources: Vec<ResourceBuilder>,
    dialects: Option<Vec<String>>,
    claim_methods: Vec<String>,
    owner_only: Vec<String>,
    challenge_scope: Option<bool>,
    sessions_path: Option<String>,
    trusted_proxies: Vec<String>,
    lifetimes: Lifetimes,
    modes: Modes,
    oauth: OAuth,
    trusted_issuers: Vec<TrustedIssuer>,
    limits: Limits,
    prefixes: PrefixNames,
    auth_md: AuthMd,
    theme: Theme,
    problems: Vec<Problem>,
}

impl ConfigBuilder {
    /// Reads TOML; [`build`](Self::build) reports what can't be read.
    #[cfg(feature = "toml")]
    #[cfg_attr(docsrs, doc(cfg(feature = "toml")))]
    pub fn from_toml(text: &str) -> Self {
        Self::read(toml::from_str(text).map_err(|error: toml::de::Error| error.to_string().trim().replace('\n', " ")))
    }

    /// Reads JSON; [`build`](Self::build) reports what can't be read.
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

    /// Where requests for the issuer's paths arrive, if a proxy between the public and this service rewrites paths.
    /// Default: the issuer's own path.
    ///
    /// With the issuer `https://example.com/analytics` and a proxy that strips `/analytics`, set `/`: the documents
    /// name `https://example.com/analytics/agent/auth`, and this service serves `/agent/auth`. The proxy must also
    /// forward `/.well-known/oauth-protected-resource` and `/.well-known/oauth-authorization-server` with the paths
    /// below them. These stand at the root of the host (RFC 8414 section 3.1), so they arrive as they are, unless the
    /// issuer has no path.
    pub fn mount_path(mut self, path: &str) -> Self {
        self.mount_path = Some(path.into());
        self
    }

    /// The service's name.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.into());
        self
    }

    /// A logo URL for the pages.
    pub fn logo(mut self, url: &str) -> Self {
        self.links.logo = Some(url.into());
        self
    }

    /// The URL of the developer documentation.
    pub fn documentation(mut self, url: &str) -> Self {
        self.links.documentation = Some(url.into());
        self
    }

    /// The URL of the terms of service.
    pub fn terms(mut self, url: &str) -> Self {
        self.links.terms = Some(url.into());
        self
    }

    /// The URL of the privacy policy.
    pub fn policy(mut self, url: &str) -> Self {
        self.links.policy = Some(url.into());
        self
    }

    /// The support contact: a URL or `mailto:`.
    pub fn contact(mut self, url: &str) -> Self {
        self.links.contact = Some(url.into());
        self
    }

    /// Adds a scope to the catalogue: its name and the sentence that a human reads before approving it.
    pub fn scope(mut self, name: &str, description: &str, with: impl FnOnce(ScopeBuilder) -> ScopeBuilder) -> Self {
        self.scopes.push(with(ScopeBuilder::new(name, description)));
        self
    }

    /// Adds a resource beside the top-level one: a path such as `/mcp` at its origin, or an absolute identifier.
    ///
    /// ```
    /// use tower_agent_auth::Config;
    ///
    /// let config = Config::builder()
    ///     .resource("https://example.com")
    ///     .name("Example")
    ///     .scope("projects:read", "See your projects", |scope| scope.by_default())
    ///     .scope("projects:write", "Create and change projects", |scope| scope)
    ///     .add_resource("/mcp", |resource| resource.name("Example for assistants").scopes("projects:read"))
    ///     .build()?;
    /// assert_eq!(config.resources()[1].id(), "https://example.com/mcp");
    /// # Ok::<(), tower_agent_auth::ConfigError>(())
    /// ```
    pub fn add_resource(mut self, resource: &str, with: impl FnOnce(ResourceBuilder) -> ResourceBuilder) -> Self {
        self.resources.push(with(ResourceBuilder::new(resource)));
        self
    }

    /// The enabled dialects; without this call, `agent_auth` and `agent_sessions`.
    pub fn dialects(mut self, dialects: &[Dialect]) -> Self {
        self.dialects = Some(dialects.iter().map(|dialect| dialect.as_str().to_owned()).collect());
        self
    }

    /// Adds a way to sign in that an agent may request.
    pub fn claim_method(mut self, method: &str) -> Self {
        self.claim_methods.push(method.into());
        self
    }

    /// Adds a thing that no agent can ever reach, such as `billing`, for the human and for auth.md to read. It guards
    /// nothing: that is what [`owner_only`](crate::AgentAuth::owner_only) routes are for.
    pub fn owner_only(mut self, thing: &str) -> Self {
        self.owner_only.push(thing.into());
        self
    }

    /// Sets whether the challenge to a request without credentials names the route's scopes; `true` by default.
    pub fn challenge_scope(mut self, on: bool) -> Self {
        self.challenge_scope = Some(on);
        self
    }

    /// The path of the human's sessions page, below the issuer.
    pub fn sessions_path(mut self, path: &str) -> Self {
        self.sessions_path = Some(path.into());
        self
    }

    /// Adds a network, such as `10.0.0.0/8`, whose `X-Forwarded-For` is trusted.
    pub fn trusted_proxy(mut self, network: &str) -> Self {
        self.trusted_proxies.push(network.into());
        self
    }

    /// Sets lifetimes: `.lifetimes(|lifetimes| lifetimes.access = Duration::from_secs(600))`.
    pub fn lifetimes(mut self, with: impl FnOnce(&mut Lifetimes)) -> Self {
        with(&mut self.lifetimes);
        self
    }

    /// Sets the login modes.
    pub fn modes(mut self, with: impl FnOnce(&mut Modes)) -> Self {
        with(&mut self.modes);
        self
    }

    /// Sets how the dialect `oauth` treats clients: `.oauth(|oauth| oauth.registration = false)`.
    pub fn oauth(mut self, with: impl FnOnce(&mut OAuth)) -> Self {
        with(&mut self.oauth);
        self
    }

    /// Adds an issuer whose identity assertions the service believes: its identifier, and the URL of its keys.
    ///
    /// ```
    /// use tower_agent_auth::Config;
    ///
    /// let config = Config::builder()
    ///     .resource("https://api.example.com")
    ///     .name("Example")
    ///     .scope("projects:read", "See your projects", |scope| scope.by_default())
    ///     .trusted_issuer("https://idp.example", "https://idp.example/jwks.json", |issuer| {
    ///         issuer.client_ids = vec!["https://agent.example/client.json".into()];
    ///     })
    ///     .build()?;
    /// assert_eq!(config.trusted_issuers()[0].issuer, "https://idp.example");
    /// # Ok::<(), tower_agent_auth::ConfigError>(())
    /// ```
    pub fn trusted_issuer(mut self, issuer: &str, jwks_uri: &str, with: impl FnOnce(&mut TrustedIssuer)) -> Self {
        let mut issuer = TrustedIssuer::new(issuer, jwks_uri);
        with(&mut issuer);
        self.trusted_issuers.push(issuer);
        self
    }

    /// Sets how the pages look: `.theme(|theme| theme.light.accent = Some("#6b2bd9".into()))`.
    pub fn theme(mut self, with: impl FnOnce(&mut Theme)) -> Self {
        with(&mut self.theme);
        self
    }

    /// Sets a logo URL for the pages on a dark ground.
    pub fn logo_dark(mut self, url: &str) -> Self {
        self.links.logo_dark = Some(url.into());
        self
    }

    /// Sets the URL of an icon for the browser's tabs.
    pub fn favicon(mut self, url: &str) -> Self {
        self.links.favicon = Some(url.into());
        self
    }

    /// Sets caps, rate limits and store timeouts: `.limits(|limits| limits.pending_total = Some(500))`.
    pub fn limits(mut self, with: impl FnOnce(&mut Limits)) -> Self {
        with(&mut self.limits);
        self
    }

    /// Removes every cap and rate limit, and the wait before an approval. For load and race tests only.
    pub fn no_limits(mut self) -> Self {
        self.limits.pending_per_source = None;
        self.limits.pending_total = None;
        self.limits.enforce_poll_interval = false;
        self.limits.rates = Rates::NONE;
        self.limits.approve_after = Duration::ZERO;
        self
    }

    /// Sets the prefixes of secrets: `.prefixes(|prefixes| prefixes.access = "exa_".into())`.
    pub fn prefixes(mut self, with: impl FnOnce(&mut PrefixNames)) -> Self {
        with(&mut self.prefixes);
        self
    }

    /// Custom Markdown at the end of auth.md.
    pub fn auth_md_extra(mut self, markdown: &str) -> Self {
        self.auth_md.extra = Some(markdown.into());
        self
    }

    /// A custom minijinja template for auth.md, in place of the built-in one.
    pub fn auth_md_template(mut self, template: &str) -> Self {
        self.auth_md.template = Some(template.into());
        self
    }

    /// Changes the settings of the dialect `auth_md`.
    pub fn auth_md(mut self, change: impl FnOnce(&mut AuthMd)) -> Self {
        change(&mut self.auth_md);
        self
    }

    /// Checks the configuration and builds it.
    ///
    /// # Errors
    /// All problems, each with its field, its value and the remedy.
    pub fn build(mut self) -> Result<Config, ConfigError> {
        let mut check = Check::new(std::mem::take(&mut self.problems));
        let settings = self.settings(&mut check);
        check.done()?;
        Ok(Config::new(settings))
    }

    fn settings(self, check: &mut Check) -> Settings {
        let resource = check.required("resource", self.resource);
        check.identifier("resource", &resource);
        let issuer = self.issuer.unwrap_or_else(|| origin_of(&resource).to_owned());
        if issuer != origin_of(&resource) {
            check.issuer(&issuer);
        }
        let mount_path = self.mount_path.unwrap_or_else(|| path_of(&issuer).to_owned());
        let mount_path = if mount_path == "/" { String::new() } else { mount_path };
        if mount_path != path_of(&issuer) && !mount_path.is_empty() {
            check.path("mount_path", &mount_path);
        }
        let name = check.required("name", self.name);
        check.name(&name);
        let sessions_path = self.sessions_path.unwrap_or_else(|| "/agent/sessions".into());
        check.path("sessions_path", &sessions_path);
        check.links(&self.links);
        self.theme.check(check);
        #[cfg(feature = "issuer")]
        check.template(self.auth_md.template.as_deref());
        let lifetimes = check.lifetimes(self.lifetimes);
        check.limits(self.limits);
        check.modes(&self.modes);
        let catalogue = check.catalogue(&self.scopes);
        let resources = check.resources(&resource, &name, &self.resources, &catalogue);
        self.oauth.check(check, &resources);
        self.auth_md.check(check, &catalogue);
        trusted_issuer::check(check, &self.trusted_issuers, &issuer);
        Settings {
            resources,
            issuer,
            mount_path,
            name,
            links: self.links,
            catalogue,
            dialects: check.dialects(self.dialects),
            claim_methods: check.claim_methods(&self.claim_methods),
            owner_only: check.owner_only(self.owner_only),
            challenge_scope: self.challenge_scope.unwrap_or(true),
            sessions_path,
            trusted_proxies: check.networks(&self.trusted_proxies),
            lifetimes,
            modes: self.modes,
            oauth: self.oauth,
            trusted_issuers: self.trusted_issuers,
            limits: self.limits,
            prefixes: check.prefixes(&self.prefixes),
            auth_md: self.auth_md,
            theme: self.theme,
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
        self.mount_path = reader.string("mount_path");
        self.name = reader.string("name");
        self.links = Links {
            logo: reader.string("logo"),
            logo_dark: reader.string("logo_dark"),
            favicon: reader.string("favicon"),
            documentation: reader.string("documentation"),
            terms: reader.string("terms"),
            policy: reader.string("policy"),
            contact: reader.string("contact"),
        };
        self.dialects = reader.strings("dialects");
        self.claim_methods = reader.strings("claim_methods").unwrap_or_default();
        self.owner_only = reader.strings("owner_only").unwrap_or_default();
        self.challenge_scope = reader.boolean("challenge_scope");
        self.sessions_path = reader.string("sessions_path");
        self.trusted_proxies = reader.strings("trusted_proxies").unwrap_or_default();
        reader.tables("scopes", |scope| {
            self.scopes.push(ScopeBuilder {
                name: scope.string("name").unwrap_or_default(),
                description: scope.string("description").unwrap_or_default(),
                default: scope.boolean("default").unwrap_or_default(),
                implies: scope.strings("implies").unwrap_or_default(),
                effect: scope.string("effect").unwrap_or_else(|| Effect::default().as_str().into()),
                caution: scope.string("caution"),
            });
        });
        reader.tables("resources", |resource| {
            self.resources.push(ResourceBuilder {
                resource: resource.string("resource").unwrap_or_default(),
                name: resource.string("name"),
                scopes: resource.strings("scopes"),
            });
        });
        reader.table("lifetimes", |lifetimes| {
            set(&mut self.lifetimes.authorization_request, lifetimes.duration("authorization_request"));
            set(&mut self.lifetimes.access, lifetimes.duration("access"));
            set(&mut self.lifetimes.refresh, lifetimes.duration("refresh"));
            set(&mut self.lifetimes.session, lifetimes.duration("session"));
            set(&mut self.lifetimes.exchange_code, lifetimes.duration("exchange_code"));
            set(&mut self.lifetimes.finish_code, lifetimes.duration("finish_code"));
            set(&mut self.lifetimes.refresh_grace, lifetimes.duration("refresh_grace"));
            set(&mut self.lifetimes.history, lifetimes.duration("history"));
            set(&mut self.lifetimes.choices, lifetimes.durations("choices"));
            self.lifetimes.proposed = lifetimes.duration("proposed");
            self.lifetimes.sign_in = lifetimes.duration("sign_in");
        });
        reader.table("modes", |modes| {
            set(&mut self.modes.browser, modes.boolean("browser"));
            set(&mut self.modes.detached, modes.boolean("detached"));
            set(&mut self.modes.finish_code, modes.boolean("finish_code"));
            set(&mut self.modes.finish_code_alone, modes.boolean("finish_code_alone"));
            set(&mut self.modes.callback_origins, modes.strings("callback_origins"));
        });
        reader.table("oauth", |oauth| {
            set(&mut self.oauth.registration, oauth.boolean("registration"));
            set(&mut self.oauth.redirect_hosts, oauth.strings("redirect_hosts"));
            set(&mut self.oauth.private_use_schemes, oauth.boolean("private_use_schemes"));
            set(&mut self.oauth.redirect_to_own_host, oauth.boolean("redirect_to_own_host"));
            set(&mut self.oauth.device, oauth.boolean("device"));
            set(&mut self.oauth.openid_configuration, oauth.boolean("openid_configuration"));
            oauth.tables("resource_servers", |server| {
                self.oauth.resource_servers.push(ResourceServer {
                    id: server.string("id").unwrap_or_default(),
                    secret_sha256: server.string("secret_sha256").unwrap_or_default(),
                    resources: server.strings("resources").unwrap_or_default(),
                });
            });
            set(&mut self.oauth.metadata_documents, oauth.boolean("metadata_documents"));
            set(&mut self.oauth.metadata_hosts, oauth.strings("metadata_hosts"));
            set(&mut self.oauth.metadata_denied_hosts, oauth.strings("metadata_denied_hosts"));
            oauth.tables("clients", |client| {
                self.oauth.clients.push(OAuthClient {
                    id: client.string("id").unwrap_or_default(),
                    name: client.string("name").unwrap_or_default(),
                    redirect_uris: client.strings("redirect_uris").unwrap_or_default(),
                });
            });
        });
        reader.tables("trusted_issuers", |issuer| {
            let url = |field: &str, issuer: &mut Reader<'_>| issuer.string(field).unwrap_or_default();
            let mut trusted = TrustedIssuer::new(&url("issuer", issuer), &url("jwks_uri", issuer));
            set(&mut trusted.algorithms, issuer.strings("algorithms"));
            set(&mut trusted.client_ids, issuer.strings("client_ids"));
            self.trusted_issuers.push(trusted);
        });
        reader.table("limits", |limits| {
            set(&mut self.limits.pending_per_source, limits.number("pending_per_source").map(Some));
            set(&mut self.limits.pending_total, limits.number("pending_total").map(Some));
            set(&mut self.limits.poll_interval, limits.duration("poll_interval"));
            set(&mut self.limits.approve_after, limits.duration("approve_after"));
            set(&mut self.limits.metadata_fetch, limits.duration("metadata_fetch"));
            set(&mut self.limits.store_read, limits.duration("store_read"));
            set(&mut self.limits.store_write, limits.duration("store_write"));
            let rates = &mut self.limits.rates;
            let all = [
                ("authorization_requests_per_minute", &mut rates.authorization_requests),
                ("polls_per_minute", &mut rates.polls),
                ("redemptions_per_minute", &mut rates.redemptions),
                ("refreshes_per_minute", &mut rates.refreshes),
                ("revocations_per_minute", &mut rates.revocations),
                ("pages_per_minute", &mut rates.pages),
                ("metadata_fetches_per_minute", &mut rates.metadata_fetches),
            ];
            for (field, rate) in all {
                set(rate, limits.number(field).map(NonZeroU32::new));
            }
        });
        reader.table("prefixes", |prefixes| {
            set(&mut self.prefixes.access, prefixes.string("access"));
            set(&mut self.prefixes.refresh, prefixes.string("refresh"));
            set(&mut self.prefixes.claim, prefixes.string("claim"));
            set(&mut self.prefixes.poll, prefixes.string("poll"));
            set(&mut self.prefixes.exchange, prefixes.string("exchange"));
            set(&mut self.prefixes.finish, prefixes.string("finish"));
            set(&mut self.prefixes.assertion, prefixes.string("assertion"));
        });
        reader.table("theme", |theme| self.theme.read(theme));
        reader.table("auth_md", |auth_md| self.auth_md.read(auth_md));
    }
}

pub(super) fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}
