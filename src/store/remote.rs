use std::{
    fmt,
    sync::{Arc, Weak},
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use http::{
    HeaderValue, Request, StatusCode, Uri,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT},
};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::{CacheOptions, CachedStore, SessionStore, StoreError, StoreErrorKind, Subscriber};
use crate::{
    Config, ConfigError,
    config::{INTROSPECT, Problem, TOKEN_SHA256},
    tls,
    types::{
        authorization::Account,
        clock::Timestamp,
        id::{AccountId, SessionId},
        scope::ScopeSet,
        secret::{Access, Digest},
        session::Session,
        text::HumanText,
    },
};

/// The name of this part in errors.
const PART: &str = "remote";
/// How long one address is tried before the next one.
const CONNECT: Duration = Duration::from_secs(1);
/// How long a connection is kept for the next question: for less time than servers do.
const IDLE: Duration = Duration::from_secs(4);
/// The most questions at once.
const MOST_AT_ONCE: usize = 32;
/// The most bytes of a response head.
const MOST_HEAD: usize = 16 * 1024;
/// The most bytes of a response body.
const MOST_BODY: usize = 64 * 1024;

/// Finds sessions by asking the issuer, for a service that only checks tokens and has no access to the issuer's store.
///
/// The issuer runs this crate with the dialect `oauth`, and lists the service in `oauth.resource_servers`
/// ([`config::ResourceServer`](crate::config::ResourceServer)). Its introspection endpoint (RFC 7662) is sent the digest
/// of a token, never the token.
///
/// Answers are cached: a session for 30 seconds, and that a token is unknown for 5 seconds.
/// [`RemoteOptions::cache`] changes that. **A revoked session passes until its entry is too old.** While the issuer can't be
/// asked, cached sessions pass until then. Everybody else is refused with 503, and so they are when an answer is not as it
/// must be. The [deadline](crate::config::Limits) of a store call is that of a question.
///
/// Requests go over TLS, unless the host is this machine. No redirect is followed and no proxy is used. Connections are
/// kept; 32 questions are asked at once, and others wait. The errors of the audit event
/// [`Unavailable`](crate::audit::Event::Unavailable) say what is wrong. Clones share the cache and the connections.
///
/// ```
/// use tower_agent_auth::{AgentAuth, Config, store::RemoteSessions};
///
/// # fn main() -> Result<(), tower_agent_auth::ConfigError> {
/// let config = Config::builder()
///     .resource("https://reports.example.com")
///     .issuer("http://localhost:3000")
///     .name("Example Reports")
///     .scope("reports:read", "Read your reports", |scope| scope)
///     .build()?;
/// let secret = "from the environment, a secret of 32 random characters";
/// let sessions = RemoteSessions::of(&config, "reports", secret)?;
/// let auth = AgentAuth::builder(config).checks_only(sessions).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RemoteSessions {
    cached: CachedStore<Endpoint>,
}

impl RemoteSessions {
    /// Asks the issuer of `config`, with the default [options](RemoteOptions). `id` and `secret` are those of an entry of
    /// `oauth.resource_servers` at the issuer.
    ///
    /// # Errors
    /// As for [`RemoteOptions::of`].
    pub fn of(config: &Config, id: &str, secret: &str) -> Result<Self, ConfigError> {
        RemoteOptions::new().of(config, id, secret)
    }
}

impl SessionStore for RemoteSessions {
    async fn find_session(&self, access: &Digest<Access>) -> Result<Option<Arc<Session>>, StoreError> {
        self.cached.find_session(access).await
    }

    fn try_find_session(&self, access: &Digest<Access>) -> Poll<Option<Arc<Session>>> {
        self.cached.try_find_session(access)
    }

    fn subscribe(&self, subscriber: Weak<dyn Subscriber>) -> bool {
        self.cached.subscribe(subscriber)
    }
}

impl fmt::Debug for RemoteSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RemoteSessions").field(&self.cached).finish()
    }
}

/// The options of [`RemoteSessions`].
///
/// ```
/// use std::time::Duration;
/// use tower_agent_auth::store::{CacheOptions, RemoteOptions};
///
/// let cache = CacheOptions::new().staleness(Duration::from_secs(10)).unknown(Duration::from_secs(2));
/// let options = RemoteOptions::new().endpoint("https://issuer.internal/oauth2/introspect").cache(cache);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct RemoteOptions {
    endpoint: Option<String>,
    allow_http: bool,
    authorities: Option<Vec<u8>>,
    cache: CacheOptions,
}

impl Default for RemoteOptions {
    fn default() -> Self {
        let cache = CacheOptions::new().staleness(Duration::from_secs(30)).unknown(Duration::from_secs(5));
        Self { endpoint: None, allow_http: false, authorities: None, cache }
    }
}

impl RemoteOptions {
    /// Creates the default options.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the URL of the introspection endpoint, if it is not `/oauth2/introspect` below the issuer: an address inside
    /// of the network, for example.
    pub fn endpoint(mut self, url: &str) -> Self {
        self.endpoint = Some(url.to_owned());
        self
    }

    /// Lets it ask an endpoint on another machine without TLS. Whoever can read or change the traffic between the two
    /// then learns the service's secret, and can let anybody in. For networks that encrypt by themselves.
    pub const fn allow_http(mut self) -> Self {
        self.allow_http = true;
        self
    }

    /// Trusts only these certificates of authorities, in PEM, in place of those that the system trusts.
    pub fn trusting(mut self, pem: &[u8]) -> Self {
        self.authorities = Some(pem.to_owned());
        self
    }

    /// Sets how answers are cached. Staleness zero asks the issuer at each check, so that a revoked session
    /// passes only by an answer that was under way.
    pub const fn cache(mut self, options: CacheOptions) -> Self {
        self.cache = options;
        self
    }

    /// Creates the store of a service with the configuration `config`. It asks the issuer of `config` about tokens for
    /// the resources of `config`. `id` and `secret` are those of an entry of `oauth.resource_servers` at the issuer.
    ///
    /// # Errors
    /// When `id` or `secret` is empty, or the endpoint is not a URL that may be asked. The caller is at fault. When no
    /// certificate is trusted: the machine's set-up is at fault.
    pub fn of(self, config: &Config, id: &str, secret: &str) -> Result<RemoteSessions, ConfigError> {
        let unusable = |field: &str, value: &str, remedy: &str| {
            ConfigError::new(vec![Problem::new(format!("{PART}.{field}"), value, remedy)])
        };
        for (field, text) in [("id", id), ("secret", secret)] {
            if text.is_empty() {
                let remedy = "is required: the issuer's `oauth.resource_servers` has it, or for the secret its SHA-256";
                return Err(unusable(field, "", remedy));
            }
        }
        let url = self.endpoint.unwrap_or_else(|| config.url(INTROSPECT));
        // Errors and `Debug` show the URL, so nothing in it may be secret.
        let uri = url.parse::<Uri>().ok().filter(|uri| uri.query().is_none() && !url.contains('@'));
        let tls = match uri.as_ref().and_then(|uri| Some((uri.scheme_str()?, uri.host()?))) {
            Some(("https", _)) => match &self.authorities {
                Some(pem) => tls::trusting(PART, pem),
                None => tls::as_the_system(PART),
            },
            Some(("http", host)) if self.allow_http || is_loopback(host) => tls::trusting_nobody(PART),
            Some(("http", _)) => Err(unusable("endpoint", &url, "must be https, unless its host is this machine")),
            _ => Err(unusable("endpoint", &url, "must be an https URL without user name and query")),
        };
        let endpoint = Endpoint::new(uri.unwrap_or_default(), tls?, config, id, secret);
        Ok(RemoteSessions { cached: self.cache.over(endpoint) })
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// The introspection endpoint of the issuer.
struct Endpoint {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    uri: Uri,
    server: String,
    authorization: HeaderValue,
    config: Config,
    permits: Semaphore,
}

impl Endpoint {
    fn new(uri: Uri, tls: rustls::ClientConfig, config: &Config, id: &str, secret: &str) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT));
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .http1_max_buf_size(MOST_HEAD)
            .build(connector.wrap_connector(tcp));
        Self {
            client,
            uri,
            server: id.to_owned(),
            authorization: basic(id, secret),
            config: config.clone(),
            permits: Semaphore::new(MOST_AT_ONCE),
        }
    }

    async fn ask(&self, access: &Digest<Access>) -> Result<Option<Session>, Fault> {
        let _permit = self.permits.acquire().await.map_err(|error| Fault::Unreachable(error.into()))?;
        let digest = HEXLOWER.encode(access.as_bytes());
        let request = Request::post(self.uri.clone())
            .header(AUTHORIZATION, self.authorization.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
            .body(Full::from(format!("{TOKEN_SHA256}={digest}")))
            .map_err(|error| Fault::Unreachable(error.into()))?;
        let response = match self.client.request(request.clone()).await {
            // The issuer may have closed a kept connection just now. A question can be asked twice.
            Err(error) if !error.is_connect() => self.client.request(request).await,
            answered => answered,
        };
        let response = response.map_err(|error| Fault::Unreachable(error.into()))?;
        let (head, body) = response.into_parts();
        match head.status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(Fault::Credentials(self.server.clone())),
            status => return Err(Fault::Status(status)),
        }
        let body = Limited::new(body, MOST_BODY).collect().await;
        let body = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => Fault::TooLong,
            false => Fault::Unreachable(error),
        })?;
        let answer = Answer::read(&body.to_bytes())?;
        // A proxy that mixes up answers must not let one token pass as another.
        if answer.token_sha256.as_ref() != Some(&digest) {
            return Err(Fault::Member(TOKEN_SHA256));
        }
        answer.session(access, &self.config)
    }
}

impl SessionStore for Endpoint {
    async fn find_session(&self, access: &Digest<Access>) -> Result<Option<Arc<Session>>, StoreError> {
        match self.ask(access).await {
            Ok(found) => Ok(found.map(Arc::new)),
            Err(fault) => {
                Err(StoreError::because(fault.kind(), fault).within(format!("introspection at {}", self.uri)))
            }
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("uri", &self.uri).field("server", &self.server).finish_non_exhaustive()
    }
}

/// Credentials of a client with a secret (RFC 6749 section 2.3.1).
fn basic(id: &str, secret: &str) -> HeaderValue {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let credentials = BASE64.encode(format!("{}:{}", encode(id), encode(secret)).as_bytes());
    // Base64 is always a header value.
    let value = HeaderValue::try_from(format!("Basic {credentials}"));
    let mut value = value.unwrap_or_else(|_| HeaderValue::from_static("Basic"));
    value.set_sensitive(true);
    value
}

/// An introspection response (RFC 7662 section 2.2), with the members of this crate's endpoint.
#[derive(Deserialize)]
struct Answer {
    active: bool,
    token_sha256: Option<String>,
    scope: Option<String>,
    sub: Option<String>,
    username: Option<String>,
    aud: Option<String>,
    iss: Option<String>,
    exp: Option<i64>,
    token_type: Option<String>,
    session_id: Option<String>,
    agent: Option<Agent>,
}

#[derive(Deserialize)]
struct Agent {
    name: Option<String>,
}

impl Answer {
    fn read(body: &[u8]) -> Result<Self, Fault> {
        // An array would be read as well, member by member.
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err(Fault::NoObject);
        }
        // The text of the error would repeat parts of the answer.
        serde_json::from_slice(body).map_err(|error| Fault::Malformed { line: error.line(), column: error.column() })
    }

    fn session(self, access: &Digest<Access>, config: &Config) -> Result<Option<Session>, Fault> {
        if !self.active {
            return Ok(None);
        }
        if self.iss.is_some_and(|issuer| issuer != config.issuer()) {
            return Err(Fault::Issuer);
        }
        if self.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
            return Err(Fault::Member("token_type"));
        }
        let audience = self.aud.ok_or(Fault::Member("aud"))?;
        let resource = config.find_resource(&audience).ok_or(Fault::Resource)?;
        let scopes = self.scope.and_then(|scopes| ScopeSet::parse(&scopes).ok()).ok_or(Fault::Member("scope"))?;
        let account = self.sub.and_then(|id| AccountId::new(&id).ok()).ok_or(Fault::Member("sub"))?;
        let label = self.username.ok_or(Fault::Member("username"))?;
        let expires_at = self.exp.and_then(|seconds| seconds.checked_mul(1_000)).ok_or(Fault::Member("exp"))?;
        let id = self.session_id.and_then(|id| SessionId::parse(&id)).ok_or(Fault::Member("session_id"))?;
        let client = self.agent.and_then(|agent| agent.name).ok_or(Fault::Member("agent.name"))?;
        Ok(Some(Session::new(
            id,
            *access,
            resource.shared_id(),
            Account::new(account, label),
            HumanText::from_stored(&client),
            scopes,
            Timestamp::from_millis(expires_at),
        )))
    }
}

/// Why there is no answer, or none that can be used.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("it can't be reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(
        "it refused the credentials of the resource server {0:?}; its id must stand in `oauth.resource_servers` at the \
         issuer, with the SHA-256 of its secret"
    )]
    Credentials(String),
    #[error("{}", of_status(*.0))]
    Status(StatusCode),
    #[error("its answer has more than {MOST_BODY} bytes")]
    TooLong,
    #[error("its answer is no JSON object")]
    NoObject,
    #[error("its answer is no introspection response: see line {line}, column {column}")]
    Malformed { line: usize, column: usize },
    #[error("the member `{0}` of its answer is missing or not valid; the issuer must run a version of this crate")]
    Member(&'static str),
    #[error("its answer is of another issuer; set `issuer` to exactly that of the configuration there")]
    Issuer,
    #[error(
        "its answer is for a resource that this service does not have; `resources` of its entry in \
         `oauth.resource_servers` must all be in the configuration here"
    )]
    Resource,
}

impl Fault {
    fn kind(&self) -> StoreErrorKind {
        match self {
            Self::Unreachable(_) => StoreErrorKind::Unavailable,
            Self::Status(status) if status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS => {
                StoreErrorKind::Unavailable
            }
            Self::Credentials(_) | Self::Status(_) => StoreErrorKind::Other,
            _ => StoreErrorKind::Corrupt,
        }
    }
}

fn of_status(status: StatusCode) -> String {
    let remedy = match status {
        StatusCode::NOT_FOUND => {
            "; the issuer must have the dialect `oauth` and `oauth.resource_servers`, or set RemoteOptions::endpoint"
        }
        StatusCode::BAD_REQUEST => "; the issuer must run a version of this crate that takes `token_sha256`",
        _ if status.is_redirection() => "; no redirect is followed: set RemoteOptions::endpoint to where it leads",
        _ => "",
    };
    format!("it answered with status {}{remedy}", status.as_u16())
}
