use std::{fmt, net::IpAddr, sync::Arc};

use http::{Extensions, HeaderMap, Uri, request::Parts};

#[cfg(feature = "issuer")]
mod issuer;

use crate::{
    Config, ConfigError,
    accounts::{Accounts, DynAccounts},
    audit::{AuditSink, NoAudit},
    config::{self, Problem},
    endpoints::{EndpointsLayer, RouteTable},
    guard::{self, CallSink, GuardLayer, Rule, Shared},
    http::{Assembly, ClientAddresses, PeerAddress, presents_own_token},
    observe,
    store::{
        LastUsedBuffer, SessionRecordStore, SessionStore, StoreError, UseWriter,
        traits::{Deadlines, DynSessionRecordStore, DynSessionStore, WithDeadline},
    },
    types::clock::{Clock, SystemClock},
};

/// Agent auth for one service. Creates its layers. Cheap to clone.
///
/// The three main methods: [`endpoints`](Self::endpoints) serves the public documents and endpoints,
/// [`require`](Self::require) guards a route by scopes, and [`owner_only`](Self::owner_only) guards a route against all
/// agents. See the [crate](crate) for a whole service.
#[derive(Clone)]
pub struct AgentAuth {
    config: Config,
    /// The guards of the resource that this value is for.
    shared: Arc<Shared>,
    /// The guards of each resource, in the configuration's order.
    guards: Arc<[Arc<Shared>]>,
    routes: Arc<RouteTable>,
    #[cfg(feature = "issuer")]
    issuer: Option<issuer::Issuer>,
    /// That of a service that only checks tokens, and records uses.
    uses: Option<Arc<UseWriter>>,
    assembly: Arc<Assembly>,
}

impl AgentAuth {
    /// Starts a builder with the configuration.
    pub fn builder(config: Config) -> AgentAuthBuilder {
        AgentAuthBuilder {
            config,
            store: None,
            checks: None,
            uses: None,
            calls: None,
            accounts: None,
            clock: Arc::new(SystemClock::default()),
            audit: Arc::new(NoAudit),
            peer: None,
            #[cfg(feature = "issuer")]
            issuer: issuer::Parts::default(),
        }
    }

    /// The layer that serves the documents, the endpoints and the pages. Put it outside routing: it forwards all other
    /// requests to the inner service unchanged.
    ///
    /// With axum, merge `AgentAuth::router` (feature `axum`) instead. `Router::layer` runs before routing only for
    /// routes that were added before it. So this layer serves nothing if it is added before `Router::fallback`, by
    /// `Router::route_layer`, or to a router that is merged or nested later.
    pub fn endpoints(&self) -> EndpointsLayer {
        EndpointsLayer::new(Arc::clone(&self.routes), Arc::clone(&self.assembly))
    }

    /// The same agent auth for another resource of the configuration. Its guards check tokens for that resource only,
    /// its challenges name that resource's metadata, and its rules know only that resource's scopes. `id_or_path` is the
    /// resource's identifier, or its path at the origin of the top-level resource.
    ///
    /// ```
    /// # use tower_agent_auth::{AgentAuth, Config, store::MemoryStore};
    /// let config = Config::builder()
    ///     .resource("https://example.com")
    ///     .name("Example")
    ///     .scope("projects:read", "See your projects", |scope| scope)
    ///     .add_resource("/mcp", |resource| resource)
    ///     .build()?;
    /// let auth = AgentAuth::builder(config).checks_only(MemoryStore::new()).build()?;
    /// let api = auth.require("projects:read");
    /// let mcp = auth.resource("/mcp").require("projects:read");
    /// # Ok::<(), tower_agent_auth::ConfigError>(())
    /// ```
    ///
    /// Guard a route with rules of the same `AgentAuth`: a rule names its resource's metadata in its challenge.
    ///
    /// # Panics
    /// When the configuration has no such resource. [`try_resource`](Self::try_resource) returns an error instead.
    #[must_use]
    #[track_caller]
    pub fn resource(&self, id_or_path: &str) -> Self {
        expect_known(self.try_resource(id_or_path))
    }

    /// The same as [`resource`](Self::resource).
    ///
    /// # Errors
    /// When the configuration has no such resource. The error lists those that it has.
    pub fn try_resource(&self, id_or_path: &str) -> Result<Self, ConfigError> {
        let known = self.config.resource_named(id_or_path);
        let guards = known.and_then(|known| self.guards.iter().find(|guards| guards.resource().id() == known.id()));
        let Some(shared) = guards.map(Arc::clone) else {
            let all: Vec<&str> = self.config.resources().iter().map(config::Resource::id).collect();
            let remedy =
                format!("is no resource of the configuration; add it to `resources`, or use: {}", all.join(", "));
            return Err(ConfigError::new(vec![Problem::new("resource", id_or_path, remedy)]));
        };
        Ok(Self { shared, ..self.clone() })
    }

    /// Guards a route: an agent needs all of these scopes (separated by spaces). All other callers are refused, unless the
    /// rule leaves them to the service's own auth: `auth.require("projects:read").or_host_auth()`, see
    /// [`GuardLayer::or_host_auth`].
    ///
    /// # Panics
    /// When a scope is not in the catalogue, because no request could pass. [`all_of`](Self::all_of) returns an error
    /// instead.
    #[track_caller]
    pub fn require(&self, scopes: &str) -> GuardLayer {
        self.guard(expect_known(self.all_of(scopes)))
    }

    /// Guards a route: an agent needs any of these scopes (separated by spaces).
    ///
    /// # Panics
    /// When a scope is not in the catalogue. [`any_of`](Self::any_of) returns an error instead.
    #[track_caller]
    pub fn require_any(&self, scopes: &str) -> GuardLayer {
        self.guard(expect_known(self.any_of(scopes)))
    }

    /// Guards a route that anybody may call, with or without an agent token. A request without a token passes; one with
    /// a bad token is refused. If the handler returns 401, the guard adds the challenge.
    ///
    /// A bearer token of the service's own is a bad token here. Where the service has tokens or keys of its own, use
    /// [`or_host_auth`](GuardLayer::or_host_auth).
    pub fn optional(&self) -> GuardLayer {
        self.guard(Rule::optional())
    }

    /// Guards a route for the account's owner only: the signed-in human passes; agents are refused, whatever their
    /// scopes.
    ///
    /// Your [`Accounts`] implementation determines who is signed in. Protect forms on such a route against cross-site
    /// requests yourself.
    pub fn owner_only(&self) -> GuardLayer {
        self.guard(Rule::owner_only())
    }

    /// Guards a route by a rule.
    pub fn guard(&self, rule: Rule) -> GuardLayer {
        GuardLayer::fixed(Arc::clone(&self.shared), rule)
    }

    /// Guards a whole service, or all routes of a router. The policy returns the rule for each request; `None` refuses
    /// the request.
    ///
    /// Create the rules outside the closure, as below. Choose the rule by the route that will handle the request, such
    /// as axum's `MatchedPath` inside `Router::route_layer`, or by exactly the paths that the service matches.
    ///
    /// ```
    /// # use tower_agent_auth::{AgentAuth, Config, guard::Rule, store::MemoryStore};
    /// # let config = Config::from_json(r#"{ "resource": "https://api.example.com", "name": "Example",
    /// #     "scopes": [{ "name": "projects:read", "description": "See your projects" }] }"#)?;
    /// # let auth = AgentAuth::builder(config).checks_only(MemoryStore::new()).build()?;
    /// let read = auth.all_of("projects:read")?;
    /// let layer = auth.policy(move |request| match request.uri.path() {
    ///     "/health" => Some(Rule::public()),
    ///     "/projects" => Some(read.clone()),
    ///     "/billing" => Some(Rule::owner_only()),
    ///     _ => None,
    /// });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn policy(&self, policy: impl Fn(&Parts) -> Option<Rule> + Send + Sync + 'static) -> GuardLayer {
        GuardLayer::policy(Arc::clone(&self.shared), policy)
    }

    /// Whether a request presents a secret of this service, such as an agent's access token. For middleware of the host that
    /// stands outside the guards: such a request is an agent's, and the host's own auth must leave it alone.
    ///
    /// It looks at the form only, and asks no store: `true` does not mean that the token is good. It is true for
    ///
    /// * an `Authorization` line, of any scheme and anywhere among several, with a prefix of this service's secrets or a
    ///   whole secret, also inside Basic credentials;
    /// * an `access_token` in the query with such a prefix;
    /// * any other header or parameter of the query that begins with a whole secret. Cookies don't count.
    ///
    /// A bearer token of the host's own must not begin with one of the [prefixes](crate::config::Prefixes): it would be taken
    /// for an agent's, and refused.
    ///
    /// ```
    /// use axum::{extract::{Request, State}, middleware::Next, response::Response};
    /// use tower_agent_auth::AgentAuth;
    ///
    /// async fn host_auth(State(auth): State<AgentAuth>, request: Request, next: Next) -> Response {
    ///     if auth.presents_agent_token(request.headers(), request.uri()) {
    ///         return next.run(request).await; // to the guard
    ///     }
    ///     // … the service's own checks
    /// #   next.run(request).await
    /// }
    /// ```
    #[must_use]
    pub fn presents_agent_token(&self, headers: &HeaderMap, uri: &Uri) -> bool {
        presents_own_token(headers, uri, self.config.prefixes())
    }

    /// The rule that an agent needs all of these scopes (separated by spaces). Create it once, not for each request.
    ///
    /// # Errors
    /// When a scope is not in the catalogue.
    pub fn all_of(&self, scopes: &str) -> Result<Rule, ConfigError> {
        Rule::all_of(&self.config, &self.shared, scopes).map_err(|error| unusable("require", scopes, &error))
    }

    /// The rule that an agent needs any of these scopes (separated by spaces). Create it once, not for each request.
    ///
    /// # Errors
    /// When a scope is not in the catalogue.
    pub fn any_of(&self, scopes: &str) -> Result<Rule, ConfigError> {
        Rule::any_of(&self.config, &self.shared, scopes).map_err(|error| unusable("require", scopes, &error))
    }

    /// The rule that an agent needs a valid session, whatever its scopes. The challenge to a request without credentials
    /// names the scopes of `request`.
    #[cfg(feature = "mcp")]
    pub(crate) fn any_session(&self, request: &str) -> Result<Rule, ConfigError> {
        Rule::any_session(&self.config, &self.shared, request).map_err(|error| unusable("require", request, &error))
    }

    /// The resource that the guards of this value check tokens for.
    #[cfg(feature = "testing")]
    pub(crate) fn own_resource(&self) -> &config::Resource {
        self.shared.resource()
    }

    /// The documents, the endpoints and the pages, which a check looks for.
    #[cfg(feature = "testing")]
    pub(crate) fn route_table(&self) -> &RouteTable {
        &self.routes
    }

    /// The configuration.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Runs housekeeping until `stopped` completes. Every few seconds, and once at the end, it persists the last-used
    /// times of sessions. Every minute it deletes, in small batches, records that ended longer ago than
    /// [`Lifetimes::history`](crate::config::Lifetimes), and an hour ago at least. Without it, the store grows and
    /// last-used times are not persisted; nothing else depends on it. Any number of processes may run it. Failures are
    /// audited and retried.
    ///
    /// It deletes only while the [clock is trusted](crate::types::clock::Clock::is_trusted): by default, once the wall
    /// clock has not leapt for an hour. So run it in a process that lives longer. If the store's server has a clock,
    /// records must have ended by that clock too.
    ///
    /// ```
    /// # use tower_agent_auth::AgentAuth;
    /// # async fn start(auth: AgentAuth, asked_to_stop: impl Future<Output = ()> + Send + 'static) {
    /// let housekeeping = tokio::spawn({
    ///     let auth = auth.clone();
    ///     async move { auth.housekeeping(asked_to_stop).await }
    /// });
    /// // … serve; and when the server has ended:
    /// housekeeping.await.ok();
    /// # }
    /// ```
    pub async fn housekeeping(&self, stopped: impl Future<Output = ()> + Send) {
        #[cfg(feature = "issuer")]
        if let Some(ceremony) = self.ceremony() {
            return ceremony.housekeeping(stopped).await;
        }
        match &self.uses {
            Some(uses) => uses.run(stopped).await,
            None => stopped.await,
        }
    }

    /// Persists the last-used times that the guards recorded, as [`housekeeping`](Self::housekeeping) does.
    ///
    /// # Errors
    /// When the store fails; the last-used times are kept for the next call.
    pub async fn write_uses(&self) -> Result<(), StoreError> {
        #[cfg(feature = "issuer")]
        if let Some(ceremony) = self.ceremony() {
            return ceremony.persist_uses().await;
        }
        match &self.uses {
            Some(uses) => uses.write().await,
            None => Ok(()),
        }
    }
}

impl fmt::Debug for AgentAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentAuth").field("config", &self.config).finish_non_exhaustive()
    }
}

#[expect(
    clippy::panic,
    reason = "documented: a route that nobody could ever pass is refused when the service is built"
)]
#[track_caller]
fn expect_known<T>(known: Result<T, ConfigError>) -> T {
    match known {
        Ok(known) => known,
        Err(error) => panic!("{error}"),
    }
}

/// Builds an [`AgentAuth`].
#[must_use]
pub struct AgentAuthBuilder {
    config: Config,
    /// The store of `sessions`, for token checks.
    store: Option<Arc<dyn DynSessionStore>>,
    /// The store that checks tokens in place of `store`.
    checks: Option<Arc<dyn DynSessionStore>>,
    /// The store in which a service that only checks tokens records uses.
    uses: Option<Arc<dyn DynSessionRecordStore>>,
    calls: Option<Arc<dyn CallSink>>,
    accounts: Option<Arc<dyn DynAccounts>>,
    clock: Arc<dyn Clock>,
    audit: Arc<dyn AuditSink>,
    peer: Option<Arc<PeerAddress>>,
    #[cfg(feature = "issuer")]
    issuer: issuer::Parts,
}

impl AgentAuthBuilder {
    /// The store for token checks, if it is not the store of [`sessions`](Self::sessions): a cache in front of it.
    ///
    /// ```
    /// # #[cfg(feature = "cache")]
    /// # fn builder(config: tower_agent_auth::Config) -> tower_agent_auth::AgentAuthBuilder {
    /// use tower_agent_auth::{AgentAuth, store::{CachedStore, MemoryStore}};
    ///
    /// let store = MemoryStore::new();
    /// AgentAuth::builder(config).sessions(store.clone()).check_with(CachedStore::over(store))
    /// # }
    /// ```
    pub fn check_with(mut self, store: impl SessionStore) -> Self {
        self.checks = Some(Arc::new(WithDeadline { store, deadlines: self.deadlines() }));
        self
    }

    /// The session store of a service that only checks tokens. The issuer runs the ceremony elsewhere. This service
    /// then serves only the protected resource metadata. The issuer does not know when its sessions are used here, unless
    /// [`record_uses_in`](Self::record_uses_in) says where to record it.
    pub fn checks_only(mut self, store: impl SessionStore) -> Self {
        self.store = None;
        #[cfg(feature = "issuer")]
        {
            self.issuer.store = None;
        }
        self.check_with(store)
    }

    /// Where a service that [only checks tokens](Self::checks_only) records the last uses of sessions, so that the
    /// issuer's pages show them; by default, nowhere. [Housekeeping](AgentAuth::housekeeping) writes them every few
    /// seconds. `store` may be the store of `checks_only` or the store behind its cache.
    ///
    /// ```
    /// # use tower_agent_auth::{AgentAuth, Config, AgentAuthBuilder, store::MemoryStore};
    /// # fn builder(config: Config) -> AgentAuthBuilder {
    /// let store = MemoryStore::new();
    /// AgentAuth::builder(config).checks_only(store.clone()).record_uses_in(store)
    /// # }
    /// ```
    ///
    /// A service that asks the issuer by `RemoteSessions` needs no such store: the issuer counts each question as a use.
    /// A service with [`sessions`](Self::sessions) records uses there, and [`build`](Self::build) refuses another store.
    pub fn record_uses_in(mut self, store: impl SessionRecordStore) -> Self {
        self.uses = Some(Arc::new(WithDeadline { store, deadlines: self.deadlines() }));
        self
    }

    fn deadlines(&self) -> Deadlines {
        let limits = self.config.limits();
        Deadlines { read: limits.store_read, write: limits.store_write }
    }

    /// The host's accounts, which identify the signed-in human.
    pub fn accounts(mut self, accounts: impl Accounts) -> Self {
        self.accounts = Some(Arc::new(accounts));
        self
    }

    /// The clock; the [system clock](SystemClock) by default.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// The sink for audit events; by default, events are dropped.
    pub fn audit(mut self, audit: impl AuditSink) -> Self {
        self.audit = Arc::new(audit);
        self
    }

    /// Receives each call that a guard decides, forwarded or refused; by default, nobody does. See
    /// [`admin`](crate::admin#a-record-of-each-call) for what it costs. With the feature `tracing`,
    /// [`TracingAudit`](crate::audit) is such a sink.
    pub fn audit_calls(mut self, sink: impl CallSink) -> Self {
        self.calls = Some(Arc::new(sink));
        self
    }

    /// Finds the peer's address in a request's extensions. By default, a `std::net::SocketAddr` is read from there.
    ///
    /// With axum: `.peer_address(|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip()))`.
    /// Without an address, only the total cap on authorization requests applies, and the approval page can't show the
    /// client's address. The first such request is logged as a warning, and audited.
    pub fn peer_address(mut self, peer: impl Fn(&Extensions) -> Option<IpAddr> + Send + Sync + 'static) -> Self {
        self.peer = Some(Arc::new(peer));
        self
    }

    /// Builds the [`AgentAuth`].
    ///
    /// # Errors
    /// When a part is missing, when two routes have the same path, or when words or templates can't be used.
    pub fn build(self) -> Result<AgentAuth, ConfigError> {
        let Self {
            config,
            store,
            checks,
            uses,
            calls,
            accounts,
            clock,
            audit,
            peer,
            #[cfg(feature = "issuer")]
            issuer,
        } = self;
        let checks = checks.or(store);
        let mut problems = Vec::new();
        if checks.is_none() {
            problems.push(Problem::new("sessions", "", "is required: call .sessions(store) or .checks_only(store)"));
        }
        #[cfg(feature = "issuer")]
        let issues = issuer.store.is_some();
        #[cfg(not(feature = "issuer"))]
        let issues = false;
        #[cfg(feature = "issuer")]
        problems.extend(issuer.problems(&config, accounts.is_some()));
        if issues && uses.is_some() {
            let remedy = "is for a service that only checks tokens: .sessions(store) records uses itself";
            problems.push(Problem::new("record_uses_in", "", remedy));
        }
        let Some(store) = checks.filter(|_| problems.is_empty()) else {
            return Err(ConfigError::new(problems));
        };
        let audit = observe::counted(audit);
        let mut routes = RouteTable::new(&config, Arc::clone(&clock), Arc::clone(&audit));
        let buffer = Arc::new(LastUsedBuffer::default());
        let writer = uses.map(|store| {
            let (uses, clock, audit) = (Arc::clone(&buffer), Arc::clone(&clock), Arc::clone(&audit));
            Arc::new(UseWriter { uses, store, clock, audit })
        });
        let parts = guard::Parts {
            store,
            accounts,
            assembly: Arc::new(Assembly::new(issues, Arc::clone(&clock), Arc::clone(&audit))),
            clock,
            audit,
            calls,
            uses: (issues || writer.is_some()).then_some(buffer),
            addresses: ClientAddresses::new(config.clone(), peer),
        };
        #[cfg(feature = "issuer")]
        let issuer = issuer.build(&config, &parts, &mut routes)?;
        let conflicts = routes.conflicts();
        if !conflicts.is_empty() {
            return Err(ConfigError::new(conflicts));
        }
        let guards = config.resources().iter().map(|resource| {
            let shared = Shared::new(&config, resource, parts.clone());
            shared.map(Arc::new).map_err(|error| unusable("resource", resource.id(), &error))
        });
        let guards = guards.collect::<Result<Arc<[Arc<Shared>]>, ConfigError>>()?;
        Ok(AgentAuth {
            shared: Arc::clone(&guards[0]),
            guards,
            routes: Arc::new(routes),
            #[cfg(feature = "issuer")]
            issuer,
            uses: writer,
            assembly: parts.assembly,
            config,
        })
    }
}

impl fmt::Debug for AgentAuthBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentAuthBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

fn unusable(field: &str, value: &str, error: &dyn std::error::Error) -> ConfigError {
    ConfigError::new(vec![Problem::new(field, value, error.to_string())])
}
