//! The one configuration value: the only source of URLs, names, scopes and lifetimes.
//!
//! Absolute URLs never come from a request. Whatever can be wrong is refused when the configuration is built, all of it
//! at once, each problem naming the field, its value and the remedy.
//!
//! ```
//! use tower_agent_auth::Config;
//!
//! let config = Config::from_toml(r#"
//!     resource = "https://api.example.com"
//!     name = "Example Analytics"
//!
//!     [[scopes]]
//!     name = "projects:read"
//!     description = "See your projects"
//!     default = true
//!
//!     [lifetimes]
//!     access = "1h"
//! "#)?;
//! assert_eq!(config.issuer(), "https://api.example.com");
//!
//! let error = Config::from_toml(r#"
//!     resource = "http://api.example.com"
//!     naem = "Example Analytics"
//! "#).unwrap_err();
//! let fields: Vec<&str> = error.problems().iter().map(|problem| problem.field.as_str()).collect();
//! assert_eq!(fields, ["naem", "resource", "name", "scopes"]);
//! # Ok::<(), tower_agent_auth::ConfigError>(())
//! ```
//!
//! # Fields
//!
//! | field | what it is | default |
//! |---|---|---|
//! | `resource` | the protected API's identifier (RFC 9728 section 2): an https URL | required |
//! | `issuer` | the authorization server's identifier (RFC 8414 section 2) | the origin of `resource` |
//! | `name` | the service's name, as people know it | required |
//! | `logo`, `documentation`, `terms`, `policy`, `contact` | links; `contact` may be a `mailto:` | none |
//! | `scopes` | the catalogue: `name`, `description`, `default`, `implies` | required |
//! | `dialects` | the wire formats that are on: `agent_auth`, `agent_sessions` | both |
//! | `claim_methods` | the ways to sign in that an agent may ask for; empty: any, and it is only shown | `[]` |
//! | `challenge_scope` | whether the challenge without credentials names the route's scopes | `false` |
//! | `sessions_path` | where the human's sessions page is, below the issuer | `/agent/sessions` |
//! | `trusted_proxies` | networks whose `X-Forwarded-For` is believed | `[]` |
//! | `lifetimes.authorization_request` | how long a human has to decide and the agent to come back; at most 30 minutes | `10m` |
//! | `lifetimes.exchange_code` | how long the exchange code of a live browser login is good; at most 10 minutes | `1m` |
//! | `lifetimes.finish_code` | how long a finish code is good; at most 10 minutes | `10m` |
//! | `lifetimes.access` | how long an access token is good; at most 30 days | `1h` |
//! | `lifetimes.refresh` | how long a refresh token is good, and so a session that nobody uses; at most 90 days | `30d` |
//! | `lifetimes.session` | how long a session lives, however often it is refreshed; at most a year | `90d` |
//! | `lifetimes.refresh_grace` | how long a used refresh token still answers its successor; at most a minute | `10s` |
//! | `lifetimes.sign_in` | how fresh a human's sign-in must be to approve; see [`Lifetimes::sign_in`] | none |
//! | `lifetimes.history` | how long a session is listed after it ended; at most ten years | `30d` |
//! | `modes.browser` | whether agents may log in through a live browser, on the agent's machine | `true` |
//! | `modes.detached` | whether agents may ask by poll token what became of a login | `true` |
//! | `modes.finish_code` | whether a human may carry a finish code to an agent that has its poll token | `true` |
//! | `modes.finish_code_alone` | whether a finish code is good without the poll token; see [`Modes::finish_code_alone`] | `false` |
//! | `modes.callback_origins` | https origins that a live browser login may call back, beside loopback | `[]` |
//! | `limits.pending_per_source` | pending authorization requests from one address (IPv6: from one /64) | `20` |
//! | `limits.pending_total` | pending authorization requests in all | `10000` |
//! | `limits.poll_interval` | how often an agent may ask while its human decides | `5s` |
//! | `limits.authorization_requests_per_minute` | authorization requests from one address (IPv6: from one /64); 0 is no limit | `10` |
//! | `limits.polls_per_minute` | status polls from one address | `600` |
//! | `limits.redemptions_per_minute`, `.refreshes_per_minute`, `.revocations_per_minute` | the same | `60` each |
//! | `limits.pages_per_minute` | pages for humans, shown to one address | `120` |
//! | `limits.store_read`, `.store_write` | how long the store may take to find something, or to change it; at most a minute | `2s`, `5s` |
//! | `prefixes.access`, `.refresh`, `.claim` | how secrets begin: up to 6 characters, ending in `_` | `aas_`, `aar_`, `clm_` |
//! | `prefixes.poll`, `.exchange`, `.finish` | the same for the secrets of a login | `aap_`, `aae_`, `aaf_` |
//! | `auth_md.extra` | Markdown of your own at the end of auth.md | none |
//! | `auth_md.template` | a minijinja template of your own in place of ours | ours |

use std::{fmt, net::IpAddr, num::NonZeroU32, sync::Arc, time::Duration};

use ipnet::IpNet;

use crate::types::{
    id::AuthorizationRequestId,
    scope::{Catalogue, ScopeSet},
    secret::{Access, Claim, Exchange, Finish, Poll, Prefix, Refresh},
    text::HumanText,
};

mod builder;
mod check;
mod reader;
mod scope;

pub use builder::ConfigBuilder;
pub use scope::ScopeBuilder;

/// What a service is, offers and allows. Cheap to clone. See the [module](self) for the fields.
#[derive(Clone, Debug)]
pub struct Config(Arc<Settings>);

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) resource: Arc<str>,
    pub(crate) issuer: String,
    pub(crate) name: String,
    pub(crate) links: Links,
    pub(crate) catalogue: Catalogue,
    pub(crate) dialects: Vec<Dialect>,
    pub(crate) claim_methods: Vec<HumanText>,
    pub(crate) challenge_scope: bool,
    pub(crate) sessions_path: String,
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) lifetimes: Lifetimes,
    pub(crate) modes: Modes,
    pub(crate) limits: Limits,
    pub(crate) prefixes: Prefixes,
    pub(crate) auth_md: AuthMd,
}

impl Config {
    /// A configuration to be filled in by code.
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder::default()
    }

    /// Reads TOML.
    ///
    /// # Errors
    /// Every problem that it has. The fault is the text's.
    #[cfg(feature = "toml")]
    #[cfg_attr(docsrs, doc(cfg(feature = "toml")))]
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        ConfigBuilder::from_toml(text).build()
    }

    /// Reads JSON.
    ///
    /// # Errors
    /// Every problem that it has. The fault is the text's.
    pub fn from_json(text: &str) -> Result<Self, ConfigError> {
        ConfigBuilder::from_json(text).build()
    }

    pub(crate) fn new(settings: Settings) -> Self {
        Self(Arc::new(settings))
    }

    /// The protected API's identifier, character for character as configured (RFC 9728 section 3.3).
    #[must_use]
    pub fn resource(&self) -> &str {
        &self.0.resource
    }

    pub(crate) fn shared_resource(&self) -> Arc<str> {
        Arc::clone(&self.0.resource)
    }

    /// The authorization server's identifier, character for character as configured (RFC 8414 section 3.3).
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// The service's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The service's links.
    #[must_use]
    pub fn links(&self) -> &Links {
        &self.0.links
    }

    /// All that agents may ever be granted.
    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        &self.0.catalogue
    }

    /// The wire formats that are on.
    #[must_use]
    pub fn dialects(&self) -> &[Dialect] {
        &self.0.dialects
    }

    /// The ways to sign in that an agent may ask for; none means any.
    #[must_use]
    pub fn claim_methods(&self) -> &[HumanText] {
        &self.0.claim_methods
    }

    /// Whether the challenge without credentials names the route's scopes.
    #[must_use]
    pub fn challenge_scope(&self) -> bool {
        self.0.challenge_scope
    }

    /// How long things last.
    #[must_use]
    pub fn lifetimes(&self) -> Lifetimes {
        self.0.lifetimes
    }

    /// By which ways agents may log in.
    #[must_use]
    pub fn modes(&self) -> &Modes {
        &self.0.modes
    }

    /// How much may be asked of the service at a time.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.0.limits
    }

    /// How secrets begin.
    #[must_use]
    pub fn prefixes(&self) -> &Prefixes {
        &self.0.prefixes
    }

    pub(crate) fn auth_md(&self) -> &AuthMd {
        &self.0.auth_md
    }

    /// The URL of the protected resource metadata (RFC 9728 section 3.1), which every challenge names.
    #[must_use]
    pub fn protected_resource_metadata_url(&self) -> String {
        let origin = origin_of(self.resource());
        format!("{origin}{PROTECTED_RESOURCE}{}", path_of(self.resource()).trim_end_matches('/'))
    }

    /// The URL of `path` below the issuer.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.issuer())
    }

    /// The path at which `path` below the issuer is served.
    #[must_use]
    pub fn path(&self, path: &str) -> String {
        format!("{}{path}", path_of(self.issuer()))
    }

    /// Every scope of the catalogue.
    pub(crate) fn scopes(&self) -> ScopeSet {
        self.catalogue().entries().iter().map(|entry| entry.scope.clone()).collect()
    }

    /// The URL at which a human decides about an authorization request. It holds no secret.
    #[must_use]
    pub fn approval_url(&self, id: &AuthorizationRequestId) -> String {
        self.url(&format!("{APPROVAL_PATH}{id}"))
    }

    /// Where the human's sessions page is, below the issuer.
    #[must_use]
    pub fn sessions_path(&self) -> &str {
        &self.0.sessions_path
    }

    /// The issuer's origin (RFC 6454), which a browser names in `Origin`.
    #[must_use]
    pub fn origin(&self) -> &str {
        origin_of(self.issuer())
    }

    /// Whether the issuer is reached over TLS. Only a loopback issuer may do without.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.issuer().starts_with("https:")
    }

    /// The paths of the protected resource metadata: path-inserted, and at the root for clients that look only there.
    pub(crate) fn protected_resource_paths(&self) -> Vec<String> {
        let inserted = format!("{PROTECTED_RESOURCE}{}", path_of(self.resource()).trim_end_matches('/'));
        let mut paths = vec![PROTECTED_RESOURCE.to_owned(), inserted];
        paths.dedup();
        paths
    }

    /// The path of the authorization server metadata (RFC 8414 section 3.1).
    pub(crate) fn authorization_server_path(&self) -> String {
        format!("{AUTHORIZATION_SERVER}{}", path_of(self.issuer()))
    }

    /// Whether a peer is a proxy whose `X-Forwarded-For` is believed.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        self.0.trusted_proxies.iter().any(|network| network.contains(&peer.to_canonical()))
    }
}

/// Where humans decide, below the issuer: one more segment, the authorization request's id.
pub(crate) const APPROVAL_PATH: &str = "/agent/auth/approve/";
const PROTECTED_RESOURCE: &str = "/.well-known/oauth-protected-resource";
const AUTHORIZATION_SERVER: &str = "/.well-known/oauth-authorization-server";

/// Links to what people and agents may want to read about the service. All optional.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Links {
    /// A picture for the pages.
    pub logo: Option<String>,
    /// Documentation for developers.
    pub documentation: Option<String>,
    /// Terms of service.
    pub terms: Option<String>,
    /// Privacy policy.
    pub policy: Option<String>,
    /// Where to ask: a URL or `mailto:`.
    pub contact: Option<String>,
}

/// A wire format that speaks to the ceremony.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Dialect {
    /// `/agent/auth…`: register, claim, complete, revoke.
    AgentAuth,
    /// `/agent-sessions/…` and `/account/agent-sessions`: the login of the Agent Analytics command line and plugins.
    AgentSessions,
}

impl Dialect {
    pub(crate) const ALL: [Self; 2] = [Self::AgentAuth, Self::AgentSessions];

    /// The name in configuration files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AgentAuth => "agent_auth",
            Self::AgentSessions => "agent_sessions",
        }
    }
}

/// How long things last.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Lifetimes {
    /// How long a human has to decide and the agent to come back.
    pub authorization_request: Duration,
    /// How long the exchange code of a live browser login is good: it travels from one program to another.
    pub exchange_code: Duration,
    /// How long a finish code is good, which a human carries.
    pub finish_code: Duration,
    /// How long an access token is good.
    pub access: Duration,
    /// How long a refresh token is good, and so a session that nobody uses.
    pub refresh: Duration,
    /// How long a session lives, however often it is refreshed.
    pub session: Duration,
    /// How long a refresh token that was just used up still answers the same successor, for an agent of which two
    /// processes refresh at once or whose answer was lost. Within it a thief and the agent share a session; the next
    /// refresh finds that out.
    pub refresh_grace: Duration,
    /// How fresh a human's sign-in must be to approve. Without it, 15 minutes where the host says when its human signed in
    /// ([`SignedIn::since`](crate::accounts::SignedIn::since)), and not asked for where it does not. With it, a human of
    /// whom the host does not say so can't approve.
    pub sign_in: Option<Duration>,
    /// How long a session is listed after it ended, if somebody [keeps house](crate::AgentAuth::housekeeping).
    pub history: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            authorization_request: Duration::from_secs(600),
            exchange_code: Duration::from_secs(60),
            finish_code: Duration::from_secs(600),
            access: Duration::from_secs(3_600),
            refresh: Duration::from_secs(30 * 86_400),
            session: Duration::from_secs(90 * 86_400),
            refresh_grace: Duration::from_secs(10),
            sign_in: None,
            history: Duration::from_secs(30 * 86_400),
        }
    }
}

/// By which ways agents may log in, in the dialects that have several.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Modes {
    /// Live browser login: the human's browser is on the agent's machine and calls the agent back.
    pub browser: bool,
    /// Detached login: the human's browser is anywhere, and the agent asks by its poll token.
    pub detached: bool,
    /// The human carries a finish code from the page to the agent, which redeems it with its poll token.
    pub finish_code: bool,
    /// A detached login also shows its human a finish code that is good **without** the poll token, as the Agent Analytics
    /// command line sends it. Whoever reads that code before the agent does, in an issue thread say, gets the session in
    /// its place; and whoever has the approval link can lock a login that was approved by presenting wrong codes. The page
    /// tells the human who redeemed it and how to revoke. Leave it off unless such clients must be served.
    pub finish_code_alone: bool,
    /// https origins that a live browser login may call back, such as `https://app.example.com`, beside loopback.
    pub callback_origins: Vec<String>,
}

impl Default for Modes {
    fn default() -> Self {
        Self {
            browser: true,
            detached: true,
            finish_code: true,
            finish_code_alone: false,
            callback_origins: Vec::new(),
        }
    }
}

/// How much may be asked of the service at a time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Limits {
    /// Pending authorization requests from one source. `None` is no cap.
    pub pending_per_source: Option<u32>,
    /// Pending authorization requests in all. `None` is no cap.
    pub pending_total: Option<u32>,
    /// How often an agent may ask while its human decides.
    pub poll_interval: Duration,
    /// Whether asking more often is answered `slow_down`.
    pub enforce_poll_interval: bool,
    /// How many requests of each kind one source may send in a minute. `None` is no limit.
    pub rates: Rates,
    /// How long the store may take to find something; past it the answer is 503.
    pub store_read: Duration,
    /// How long the store may take to change something; past it the answer is 503, and nobody knows whether it did.
    pub store_write: Duration,
}

/// Requests a minute from one source: an IPv4 address, or an IPv6 network of 64 bits. A request of which the host does not
/// know the address is not counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Rates {
    /// Authorization requests.
    pub authorization_requests: Option<NonZeroU32>,
    /// Status polls.
    pub polls: Option<NonZeroU32>,
    /// Redemptions, and attempts at one.
    pub redemptions: Option<NonZeroU32>,
    /// Refreshes, and attempts at one.
    pub refreshes: Option<NonZeroU32>,
    /// Revocations and lists of sessions.
    pub revocations: Option<NonZeroU32>,
    /// Pages for humans.
    pub pages: Option<NonZeroU32>,
}

impl Rates {
    /// No limit at all.
    pub const NONE: Self = Self {
        authorization_requests: None,
        polls: None,
        redemptions: None,
        refreshes: None,
        revocations: None,
        pages: None,
    };
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            authorization_requests: NonZeroU32::new(10),
            polls: NonZeroU32::new(600),
            redemptions: NonZeroU32::new(60),
            refreshes: NonZeroU32::new(60),
            revocations: NonZeroU32::new(60),
            pages: NonZeroU32::new(120),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pending_per_source: Some(20),
            pending_total: Some(10_000),
            poll_interval: Duration::from_secs(5),
            enforce_poll_interval: true,
            rates: Rates::default(),
            store_read: Duration::from_secs(2),
            store_write: Duration::from_secs(5),
        }
    }
}

/// How secrets begin, as a configuration names it before it is checked.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct PrefixNames {
    /// Of access tokens: `aas_` unless set.
    pub access: String,
    /// Of refresh tokens: `aar_` unless set.
    pub refresh: String,
    /// Of claim tokens: `clm_` unless set.
    pub claim: String,
    /// Of poll tokens: `aap_` unless set.
    pub poll: String,
    /// Of exchange codes: `aae_` unless set.
    pub exchange: String,
    /// Of finish codes: `aaf_` unless set.
    pub finish: String,
}

impl Default for PrefixNames {
    fn default() -> Self {
        Self {
            access: "aas_".into(),
            refresh: "aar_".into(),
            claim: "clm_".into(),
            poll: "aap_".into(),
            exchange: "aae_".into(),
            finish: "aaf_".into(),
        }
    }
}

impl PrefixNames {
    /// Each prefix with its field of the configuration.
    fn all(&self) -> [(&'static str, &str); 6] {
        [
            ("prefixes.access", &self.access),
            ("prefixes.refresh", &self.refresh),
            ("prefixes.claim", &self.claim),
            ("prefixes.poll", &self.poll),
            ("prefixes.exchange", &self.exchange),
            ("prefixes.finish", &self.finish),
        ]
    }
}

/// How secrets begin. Give your service its own, so that a secret scanner knows whose a leaked one is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Prefixes {
    /// Of access tokens.
    pub access: Prefix<Access>,
    /// Of refresh tokens.
    pub refresh: Prefix<Refresh>,
    /// Of claim tokens.
    pub claim: Prefix<Claim>,
    /// Of poll tokens.
    pub poll: Prefix<Poll>,
    /// Of exchange codes.
    pub exchange: Prefix<Exchange>,
    /// Of finish codes.
    pub finish: Prefix<Finish>,
}

/// What a service adds to auth.md, or says in its place.
#[derive(Clone, Debug, Default)]
pub(crate) struct AuthMd {
    pub(crate) extra: Option<String>,
    pub(crate) template: Option<String>,
}

/// A configuration that can't be used, with every problem that it has. The fault is the configuration's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    pub(crate) fn new(problems: Vec<Problem>) -> Self {
        Self { problems }
    }

    /// The problems: first what could not be read, then what is wrong.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the agent-auth configuration has {} problem(s):", self.problems.len())?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for ConfigError {}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Problem {
    /// The field, such as `scopes[2].implies`.
    pub field: String,
    /// Its value as given; empty if it is missing.
    pub value: String,
    /// What is wrong, and what to write in its place.
    pub remedy: String,
}

impl Problem {
    pub(crate) fn new(field: impl Into<String>, value: impl fmt::Display, remedy: impl Into<String>) -> Self {
        Self { field: field.into(), value: value.to_string(), remedy: remedy.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.value.is_empty() {
            write!(f, "{}: {}", self.field, self.remedy)
        } else {
            write!(f, "{} = {:?}: {}", self.field, self.value, self.remedy)
        }
    }
}

/// Scheme and authority of an absolute URL.
pub(crate) fn origin_of(url: &str) -> &str {
    &url[..url.len() - path_of(url).len()]
}

/// The path of an absolute URL without query; empty if it has none.
pub(crate) fn path_of(url: &str) -> &str {
    let authority = url.find("://").map_or(0, |colon| colon + 3);
    url[authority..].find('/').map_or("", |slash| &url[authority + slash..])
}
