//! The configuration: the only source of URLs, names, scopes and lifetimes.
//!
//! Absolute URLs never come from a request. The configuration is checked when it is built. The error lists all
//! problems, each with its field, its value and the remedy.
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
//! | field | meaning | default |
//! |---|---|---|
//! | `resource` | the protected API's identifier (RFC 9728 section 2): an https URL. With further `resources`, the default one | required |
//! | `issuer` | the authorization server's identifier (RFC 8414 section 2) | the origin of `resource` |
//! | `mount_path` | where requests for the issuer's paths arrive, if a proxy rewrites paths; see [`ConfigBuilder::mount_path`] | the issuer's path |
//! | `name` | the service's name, as people know it | required |
//! | `logo`, `logo_dark`, `favicon`, `documentation`, `terms`, `policy`, `contact` | links; `contact` may be a `mailto:` | none |
//! | `theme.light.…`, `theme.dark.…` | colours of the pages: `ground`, `paper`, `ink`, `soft`, `accent`, `care`, `stop`; see [`Palette`] | this crate's |
//! | `theme.font`, `theme.radius` | the font families of the pages; the radius of the largest corners in pixels, at most 32 | the system's; `20` |
//! | `scopes` | the catalogue: `name`, `description`, `default`, `implies` | required |
//! | `scopes[].effect` | what an agent does with the scope: `see`, `change` or `spend`; the approval page groups scopes by it | `see` |
//! | `scopes[].caution` | a few words about what may go wrong, such as `Visitors notice`; see [`CatalogueEntry::caution`](crate::types::scope::CatalogueEntry::caution) | none |
//! | `resources[].resource` | a further resource: a path such as `/mcp` at the origin of the top-level `resource`, or an identifier like that one | required |
//! | `resources[].name` | its name, as people know it; the approval page shows it | `name` |
//! | `resources[].scopes` | the names of the scopes that agents may be granted there | all |
//! | `dialects` | the enabled dialects: `agent_auth`, `agent_sessions`, `oauth`, `auth_md` | the first two |
//! | `owner_only` | what no agent can ever reach, such as `["billing", "account deletion"]`: the approval page and auth.md say so | `[]` |
//! | `claim_methods` | the ways to sign in that an agent may request; empty: any, and it is only shown | `[]` |
//! | `challenge_scope` | whether the challenge to a request without credentials names the route's scopes | `true` |
//! | `sessions_path` | the path of the human's sessions page, below the issuer | `/agent/sessions` |
//! | `trusted_proxies` | networks whose `X-Forwarded-For` is trusted | `[]` |
//! | `lifetimes.authorization_request` | how long the human may take to decide and the agent to redeem, together; at most 30 minutes | `10m` |
//! | `lifetimes.exchange_code` | how long the exchange code of a live browser login is valid; at most 10 minutes | `1m` |
//! | `lifetimes.finish_code` | how long a finish code is valid; at most 10 minutes | `10m` |
//! | `lifetimes.access` | how long an access token is valid; at most 30 days | `1h` |
//! | `lifetimes.refresh` | how long a refresh token is valid, and so a session without refreshes; at most 90 days | `30d` |
//! | `lifetimes.session` | how long a session can last, however often it is refreshed; at most a year | `90d` |
//! | `lifetimes.choices` | the lengths of a session that the human may choose from, such as `["1h", "1d", "30d"]`: up to six, each of a minute or more and at most `lifetimes.session` | `[]` |
//! | `lifetimes.proposed` | the one of them that is chosen unless the human chooses another | the longest |
//! | `lifetimes.refresh_grace` | how long a used refresh token still returns its successor; at most a minute | `1m` |
//! | `lifetimes.sign_in` | how recent a human's sign-in must be to approve; see [`Lifetimes::sign_in`] | none |
//! | `lifetimes.history` | how long a session is listed after it ended; at most ten years | `30d` |
//! | `modes.browser` | whether agents may log in through a live browser on the agent's machine. A loopback callback must not have the host of `issuer` or of a resource | `true` |
//! | `modes.detached` | whether agents may poll a login with their poll token and redeem it by exchange code | `true` |
//! | `modes.finish_code` | whether a human may pass a finish code to an agent that has its poll token | `true` |
//! | `modes.finish_code_alone` | whether a finish code is valid without the poll token; see [`Modes::finish_code_alone`] | `false` |
//! | `modes.callback_origins` | https origins that a live browser login may call back, besides loopback | `[]` |
//! | `oauth.registration` | whether OAuth clients may register themselves (RFC 7591) | `true` |
//! | `oauth.redirect_hosts` | hosts that an https redirect URI may have of a client that is not in `oauth.clients`; empty: any | `[]` |
//! | `oauth.private_use_schemes` | whether redirect URIs may have the scheme of an app; see [`OAuth::private_use_schemes`] | `false` |
//! | `oauth.redirect_to_own_host` | for development; see [`OAuth::redirect_to_own_host`] | `false` |
//! | `oauth.device` | whether programs may log in by a code that their human types (RFC 8628) | `true` |
//! | `oauth.openid_configuration` | whether the metadata is also served as `openid-configuration` | `true` |
//! | `oauth.metadata_documents` | whether a client id may be the URL of a client metadata document, if the service has a [fetcher](crate::AgentAuthBuilder::client_metadata) | `true` |
//! | `oauth.metadata_hosts` | hosts that such a URL may have, exactly; empty: any | `[]` |
//! | `oauth.metadata_denied_hosts` | hosts that such a URL must not have, nor a host below them | `[]` |
//! | `oauth.clients` | clients that the service registered itself: `id`, `name`, `redirect_uris` | `[]` |
//! | `oauth.resource_servers` | services that may ask whether a token is valid (RFC 7662): `id`, `secret_sha256`, `resources` | `[]` |
//! | `trusted_issuers[].issuer` | an issuer whose identity assertions the service believes, if it has a fetcher and a store for them; an https URL, compared byte for byte | required |
//! | `trusted_issuers[].jwks_uri` | the https URL of its public keys | required |
//! | `trusted_issuers[].algorithms` | the algorithms that it may sign with; see [`TrustedIssuer::algorithms`] | `["ES256", "RS256", "EdDSA"]` |
//! | `trusted_issuers[].client_ids` | the clients that it may speak for; empty: any | `[]` |
//! | `limits.pending_per_source` | pending authorization requests from one address (IPv6: from one /64; four times that from a /56, sixteen from a /48) | `20` |
//! | `limits.pending_total` | pending authorization requests in total; then the oldest unopened one gives way | `10000` |
//! | `limits.poll_interval` | the interval of status polls while the human decides | `5s` |
//! | `limits.authorization_requests_per_minute` | authorization requests from one address (IPv6: from one /64); 0 is no limit | `10` |
//! | `limits.polls_per_minute` | status polls and OAuth token requests from one address | `600` |
//! | `limits.redemptions_per_minute`, `.refreshes_per_minute`, `.revocations_per_minute` | the same | `60` each |
//! | `limits.pages_per_minute` | pages for humans, shown to one address | `120` |
//! | `limits.metadata_fetches_per_minute` | fetches of client metadata documents that browsers of one address cause | `20` |
//! | `limits.metadata_fetch` | the timeout of such a fetch, and of fetching the keys of a trusted issuer; at most a minute | `5s` |
//! | `limits.approve_after` | how old an approval page must be before its form can approve; at most 10 seconds | `600ms` |
//! | `limits.store_read`, `.store_write` | timeouts of store reads and writes; at most a minute | `2s`, `5s` |
//! | `prefixes.access`, `.refresh`, `.claim` | prefixes of secrets: up to 6 characters, ending in `_` | `aas_`, `aar_`, `clm_` |
//! | `prefixes.poll`, `.exchange`, `.finish` | the same for the secrets of a login | `aap_`, `aae_`, `aaf_` |
//! | `prefixes.assertion` | the same for identity assertions | `aai_` |
//! | `auth_md.codes` | which of the codes bind a human to the agent of the auth.md protocol: `both`, `typed` or `read_back`; see [`Codes`] | `both` |
//! | `auth_md.service_auth` | whether agents may ask a human of the service for access (identity type `service_auth`) | `true` |
//! | `auth_md.anonymous` | whether agents may act before a human claims them (identity type `anonymous`); see [`AuthMd::anonymous`] | `false` |
//! | `auth_md.pre_claim_scopes` | the scopes of an agent that nobody has claimed | `[]` |
//! | `auth_md.unclaimed` | how long an agent may act before somebody claims it; at most 30 days | `1d` |
//! | `auth_md.extra` | custom Markdown at the end of auth.md | none |
//! | `auth_md.template` | a custom minijinja template for auth.md | the built-in one |

use std::{fmt, net::IpAddr, num::NonZeroU32, sync::Arc, time::Duration};

use ipnet::IpNet;

use crate::types::{
    callback::{self, host_of},
    id::AuthorizationRequestId,
    scope::{Catalogue, ScopeSet},
    secret::{Access, Assertion, Claim, Exchange, Finish, Poll, Prefix, Refresh},
    text::HumanText,
};

mod auth_md;
mod builder;
mod check;
mod oauth;
mod reader;
mod resource;
mod scope;
mod theme;
mod trusted_issuer;

pub use auth_md::{AuthMd, Codes};
pub use builder::ConfigBuilder;
pub(crate) use oauth::{DYNAMIC, INTROSPECT, TOKEN_SHA256};
pub use oauth::{OAuth, OAuthClient, ResourceServer};
pub use resource::{Resource, ResourceBuilder};
pub use scope::ScopeBuilder;
pub use theme::{Palette, Theme};
pub use trusted_issuer::TrustedIssuer;

/// The configuration of a service. Cheap to clone. See the [module](self) for the fields.
#[derive(Clone, Debug)]
pub struct Config(Arc<Settings>);

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The first one is the top-level resource.
    pub(crate) resources: Vec<Resource>,
    pub(crate) issuer: String,
    /// Where requests for the issuer's path arrive: empty, or a path without a slash at its end.
    pub(crate) mount_path: String,
    pub(crate) name: String,
    pub(crate) links: Links,
    pub(crate) catalogue: Catalogue,
    pub(crate) dialects: Vec<Dialect>,
    pub(crate) claim_methods: Vec<HumanText>,
    pub(crate) owner_only: Vec<String>,
    pub(crate) challenge_scope: bool,
    pub(crate) sessions_path: String,
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) lifetimes: Lifetimes,
    pub(crate) modes: Modes,
    pub(crate) oauth: OAuth,
    pub(crate) trusted_issuers: Vec<TrustedIssuer>,
    pub(crate) limits: Limits,
    pub(crate) prefixes: Prefixes,
    pub(crate) auth_md: AuthMd,
    pub(crate) theme: Theme,
}

impl Config {
    /// Builds a configuration in code.
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder::default()
    }

    /// Reads TOML.
    ///
    /// # Errors
    /// All problems of the configuration. The text is at fault.
    #[cfg(feature = "toml")]
    #[cfg_attr(docsrs, doc(cfg(feature = "toml")))]
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        ConfigBuilder::from_toml(text).build()
    }

    /// Reads JSON.
    ///
    /// # Errors
    /// All problems of the configuration. The text is at fault.
    pub fn from_json(text: &str) -> Result<Self, ConfigError> {
        ConfigBuilder::from_json(text).build()
    }

    pub(crate) fn new(settings: Settings) -> Self {
        Self(Arc::new(settings))
    }

    /// The protected API's identifier, character for character as configured (RFC 9728 section 3.3). It is the first
    /// one of [`resources`](Self::resources).
    #[must_use]
    pub fn resource(&self) -> &str {
        self.default_resource().id()
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

    /// The scope catalogue: all scopes that agents may be granted.
    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        &self.0.catalogue
    }

    /// The enabled dialects.
    #[must_use]
    pub fn dialects(&self) -> &[Dialect] {
        &self.0.dialects
    }

    /// The ways to sign in that an agent may request; empty means any.
    #[must_use]
    pub fn claim_methods(&self) -> &[HumanText] {
        &self.0.claim_methods
    }

    /// What no agent can ever reach, for the human and for auth.md to read.
    #[must_use]
    pub fn owner_only(&self) -> &[String] {
        &self.0.owner_only
    }

    /// Whether the challenge to a request without credentials names the route's scopes.
    #[must_use]
    pub fn challenge_scope(&self) -> bool {
        self.0.challenge_scope
    }

    /// The lifetimes of requests, codes, tokens and sessions.
    #[must_use]
    pub fn lifetimes(&self) -> &Lifetimes {
        &self.0.lifetimes
    }

    /// The login modes.
    #[must_use]
    pub fn modes(&self) -> &Modes {
        &self.0.modes
    }

    /// The settings of the dialect `oauth`.
    #[must_use]
    pub fn oauth(&self) -> &OAuth {
        &self.0.oauth
    }

    /// The issuers whose identity assertions the service believes.
    #[must_use]
    pub fn trusted_issuers(&self) -> &[TrustedIssuer] {
        &self.0.trusted_issuers
    }

    /// The caps, rate limits and store timeouts.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.0.limits
    }

    /// The prefixes of secrets.
    #[must_use]
    pub fn prefixes(&self) -> &Prefixes {
        &self.0.prefixes
    }

    /// How the pages look.
    #[must_use]
    pub fn theme(&self) -> &Theme {
        &self.0.theme
    }

    /// The settings of auth.md: the document, and the dialect `auth_md`.
    #[must_use]
    pub fn auth_md(&self) -> &AuthMd {
        &self.0.auth_md
    }

    /// The URL of the protected resource metadata of the top-level resource (RFC 9728 section 3.1), which its challenges
    /// name.
    #[must_use]
    pub fn protected_resource_metadata_url(&self) -> String {
        self.default_resource().protected_resource_metadata_url()
    }

    /// The URL of `path` below the issuer.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.issuer())
    }

    /// The public path of `path` below the issuer, for links, redirects and cookies.
    #[must_use]
    pub fn path(&self, path: &str) -> String {
        format!("{}{path}", path_of(self.issuer()))
    }

    /// Where a request for the public path `path` arrives. It differs from `path` only below the issuer, and only if
    /// [`mount_path`](ConfigBuilder::mount_path) is set.
    #[must_use]
    pub fn arriving_path(&self, path: &str) -> String {
        match path.strip_prefix(path_of(self.issuer())) {
            Some(below) if below.is_empty() || below.starts_with('/') => format!("{}{below}", self.0.mount_path),
            _ => path.to_owned(),
        }
    }

    /// Every scope of the catalogue.
    pub(crate) fn scopes(&self) -> ScopeSet {
        self.catalogue().entries().iter().map(|entry| entry.scope.clone()).collect()
    }

    /// The URL of the approval page of an authorization request. It contains no secret.
    #[must_use]
    pub fn approval_url(&self, id: &AuthorizationRequestId) -> String {
        self.url(&format!("{APPROVAL_PATH}{id}"))
    }

    /// The path of the human's sessions page, below the issuer.
    #[must_use]
    pub fn sessions_path(&self) -> &str {
        &self.0.sessions_path
    }

    /// Whether this is the host of the issuer or of a resource. Browsers send the service's cookies to every port of it.
    pub(crate) fn is_own_host(&self, host: &str) -> bool {
        let resources = self.resources().iter().map(Resource::id);
        resources.chain([self.issuer()]).any(|url| host_of(url).eq_ignore_ascii_case(host))
    }

    /// The loopback hosts that a callback may have.
    pub(crate) fn callback_hosts(&self) -> Vec<&'static str> {
        callback::LOOPBACK.into_iter().filter(|host| !self.is_own_host(host)).collect()
    }

    /// The issuer's origin (RFC 6454), which a browser sends in `Origin`.
    #[must_use]
    pub fn origin(&self) -> &str {
        origin_of(self.issuer())
    }

    /// Whether the issuer uses TLS. Only a loopback issuer may use plain http.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.issuer().starts_with("https:")
    }

    /// The path of the authorization server metadata (RFC 8414 section 3.1).
    pub(crate) fn authorization_server_path(&self) -> String {
        format!("{AUTHORIZATION_SERVER}{}", path_of(self.issuer()))
    }

    /// The paths where clients look for the metadata that know OpenID providers only (OpenID Connect Discovery section
    /// 4), the first one in the form of RFC 8414 section 5.
    pub(crate) fn openid_configuration_paths(&self) -> Vec<String> {
        let mut paths =
            vec![format!("{OPENID}{}", path_of(self.issuer())), format!("{}{OPENID}", path_of(self.issuer()))];
        paths.dedup();
        paths
    }

    /// Whether a peer is a proxy whose `X-Forwarded-For` is trusted.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        self.0.trusted_proxies.iter().any(|network| network.contains(&peer.to_canonical()))
    }
}

/// The path of the approval pages, below the issuer. The authorization request's id follows as one more segment.
pub(crate) const APPROVAL_PATH: &str = "/agent/auth/approve/";
/// The root path of protected resource metadata (RFC 9728 section 3).
pub(crate) const PROTECTED_RESOURCE: &str = "/.well-known/oauth-protected-resource";
const OPENID: &str = "/.well-known/openid-configuration";
const AUTHORIZATION_SERVER: &str = "/.well-known/oauth-authorization-server";

/// Links to further information about the service. All are optional.
#[derive(Clone, Debug, Default, serde::Serialize)]
#[non_exhaustive]
pub struct Links {
    /// A logo for the pages.
    pub logo: Option<String>,
    /// A logo for the pages on a dark ground.
    pub logo_dark: Option<String>,
    /// An icon for the browser's tabs.
    pub favicon: Option<String>,
    /// Documentation for developers.
    pub documentation: Option<String>,
    /// Terms of service.
    pub terms: Option<String>,
    /// Privacy policy.
    pub policy: Option<String>,
    /// The support contact: a URL or `mailto:`.
    pub contact: Option<String>,
}

/// A dialect: a wire format over the ceremony.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Dialect {
    /// `/agent/auth…`: request, poll, redeem, revoke.
    AgentAuth,
    /// `/agent-sessions/…` and `/account/agent-sessions`: the login for the Agent Analytics command line and plugins.
    AgentSessions,
    /// `/oauth2/…`: the authorization code grant for MCP hosts and other OAuth 2.1 clients. It needs the feature `pages`.
    OAuth,
    /// `/agent/identity…`: the open auth.md protocol, both of its wires. It needs the feature `pages`.
    AuthMd,
}

impl Dialect {
    pub(crate) const ALL: [Self; 4] = [Self::AgentAuth, Self::AgentSessions, Self::OAuth, Self::AuthMd];
    /// The dialects that are enabled if the configuration names none.
    pub(crate) const DEFAULT: [Self; 2] = [Self::AgentAuth, Self::AgentSessions];

    /// The name in configuration files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AgentAuth => "agent_auth",
            Self::AgentSessions => "agent_sessions",
            Self::OAuth => "oauth",
            Self::AuthMd => "auth_md",
        }
    }
}

/// The lifetimes of requests, codes, tokens and sessions.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Lifetimes {
    /// How long the human may take to decide and the agent to redeem, together.
    pub authorization_request: Duration,
    /// How long the exchange code of a live browser login is valid. It is passed from one program to another.
    pub exchange_code: Duration,
    /// How long a finish code is valid, which a human passes to the agent.
    pub finish_code: Duration,
    /// How long an access token is valid.
    pub access: Duration,
    /// How long a refresh token is valid, and so a session without refreshes.
    pub refresh: Duration,
    /// How long a session can last, however often it is refreshed.
    pub session: Duration,
    /// How long a session may last that the human approves: up to six lengths of a minute or more, none longer than
    /// [`session`](Self::session). The approval page offers them. Empty, the default: the human is not asked.
    pub choices: Vec<Duration>,
    /// The choice that is made unless the human makes another. `None`: the longest.
    pub proposed: Option<Duration>,
    /// How long a used refresh token still returns the same successor. This covers agents whose processes refresh
    /// concurrently, and lost responses, so it must be longer than the time after which agents retry. Most HTTP clients
    /// time out after 10 to 30 seconds. Within this time a thief and the agent can share a session; the next refresh
    /// detects it. Zero turns it off. Nodes measure it by their dates: keep their clocks closer than this.
    pub refresh_grace: Duration,
    /// How recent a human's sign-in must be to approve. If `None`, 15 minutes if the host reports the time of the
    /// sign-in ([`SignedIn::since`](crate::accounts::SignedIn::since)), and no check otherwise. If set, a human without
    /// a reported sign-in time can't approve.
    pub sign_in: Option<Duration>,
    /// How long a session is listed after it ended. [Housekeeping](crate::AgentAuth::housekeeping) deletes it later.
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
            choices: Vec::new(),
            proposed: None,
            refresh_grace: Duration::from_secs(60),
            sign_in: None,
            history: Duration::from_secs(30 * 86_400),
        }
    }
}

/// The login modes, for dialects that have several.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Modes {
    /// Live browser login: the human's browser is on the agent's machine and calls the agent back.
    pub browser: bool,
    /// Detached login: the human's browser may be on any machine, and the agent polls with its poll token.
    pub detached: bool,
    /// The human passes a finish code from the page to the agent, which redeems it with its poll token.
    pub finish_code: bool,
    /// A detached login also shows its human a finish code that is valid **without** the poll token, for the Agent
    /// Analytics command line. Anybody who reads that code first, for example in an issue thread, can redeem the
    /// session in place of the agent. Anybody with the approval link can lock an approved login by presenting wrong
    /// codes. The page shows the human which client redeemed the code and how to revoke. Leave it off unless such
    /// clients must be served.
    pub finish_code_alone: bool,
    /// https origins that a live browser login may call back, such as `https://app.example.com`, besides loopback.
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

/// The caps, rate limits and store timeouts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Limits {
    /// Pending authorization requests from one source. `None` is no cap.
    pub pending_per_source: Option<u32>,
    /// Pending authorization requests in total. `None` is no cap.
    pub pending_total: Option<u32>,
    /// The interval of status polls while the human decides.
    pub poll_interval: Duration,
    /// Whether more frequent polls are refused with `slow_down`, and an account's eleventh user code in a minute.
    pub enforce_poll_interval: bool,
    /// Requests per minute from one source, by rate class. `None` is no limit.
    pub rates: Rates,
    /// How old an approval page must be before its form can approve. An earlier press was meant for something else, and
    /// the page is shown again. Zero turns the check off.
    pub approve_after: Duration,
    /// The timeout of fetching a client metadata document, or the keys of a trusted issuer.
    pub metadata_fetch: Duration,
    /// The timeout of store reads. After it, the response is 503.
    pub store_read: Duration,
    /// The timeout of store writes. After it, the response is 503, and the write may or may not have happened.
    pub store_write: Duration,
}

/// Requests per minute from one source: an IPv4 address, or an IPv6 /64 network. A request without a known address is
/// not counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Rates {
    /// Authorization requests.
    pub authorization_requests: Option<NonZeroU32>,
    /// Status polls.
    pub polls: Option<NonZeroU32>,
    /// Redemptions, including failed attempts.
    pub redemptions: Option<NonZeroU32>,
    /// Refreshes, including failed attempts.
    pub refreshes: Option<NonZeroU32>,
    /// Revocations and lists of sessions.
    pub revocations: Option<NonZeroU32>,
    /// Pages for humans.
    pub pages: Option<NonZeroU32>,
    /// Fetches of client metadata documents that browsers of the source cause. A cached document counts for nothing.
    pub metadata_fetches: Option<NonZeroU32>,
}

impl Rates {
    /// No limits.
    pub const NONE: Self = Self {
        authorization_requests: None,
        polls: None,
        redemptions: None,
        refreshes: None,
        revocations: None,
        pages: None,
        metadata_fetches: None,
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
            metadata_fetches: NonZeroU32::new(20),
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
            approve_after: Duration::from_millis(600),
            metadata_fetch: Duration::from_secs(5),
            store_read: Duration::from_secs(2),
            store_write: Duration::from_secs(5),
        }
    }
}

/// The prefixes of secrets, before they are checked.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct PrefixNames {
    /// Of access tokens; default `aas_`.
    pub access: String,
    /// Of refresh tokens; default `aar_`.
    pub refresh: String,
    /// Of claim tokens; default `clm_`.
    pub claim: String,
    /// Of poll tokens; default `aap_`.
    pub poll: String,
    /// Of exchange codes; default `aae_`.
    pub exchange: String,
    /// Of finish codes; default `aaf_`.
    pub finish: String,
    /// Of identity assertions; default `aai_`.
    pub assertion: String,
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
            assertion: "aai_".into(),
        }
    }
}

impl PrefixNames {
    /// Each prefix with its field of the configuration.
    fn all(&self) -> [(&'static str, &str); 7] {
        [
            ("prefixes.access", &self.access),
            ("prefixes.refresh", &self.refresh),
            ("prefixes.claim", &self.claim),
            ("prefixes.poll", &self.poll),
            ("prefixes.exchange", &self.exchange),
            ("prefixes.finish", &self.finish),
            ("prefixes.assertion", &self.assertion),
        ]
    }
}

/// The prefixes of secrets. Use prefixes specific to your service, so that secret scanners can attribute a leaked
/// secret.
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
    /// Of identity assertions.
    pub assertion: Prefix<Assertion>,
}

impl Prefixes {
    /// All prefixes as text.
    pub(crate) fn texts(&self) -> [&str; 7] {
        let Self { access, refresh, claim, poll, exchange, finish, assertion } = self;
        [
            access.as_str(),
            refresh.as_str(),
            claim.as_str(),
            poll.as_str(),
            exchange.as_str(),
            finish.as_str(),
            assertion.as_str(),
        ]
    }

    /// Whether the text begins with a secret of this service: prefix, alphabet and checksum are right.
    pub(crate) fn begin(&self, text: &[u8]) -> bool {
        let Self { access, refresh, claim, poll, exchange, finish, assertion } = self;
        access.begins(text)
            || refresh.begins(text)
            || claim.begins(text)
            || poll.begins(text)
            || exchange.begins(text)
            || finish.begins(text)
            || assertion.begins(text)
    }
}

/// A configuration is invalid. Contains all its problems. The fault is the configuration's.
#[derive(Clone, Eq, PartialEq)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

crate::types::error_chain::debug_as_text!(ConfigError);

impl ConfigError {
    pub(crate) fn new(problems: Vec<Problem>) -> Self {
        Self { problems }
    }

    /// The problems: first what could not be read, then invalid values.
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

/// One problem of a configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Problem {
    /// The field, such as `scopes[2].implies`.
    pub field: String,
    /// Its value as given; empty if it is missing.
    pub value: String,
    /// What is wrong, and what to write instead.
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
