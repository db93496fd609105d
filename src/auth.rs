use std::{fmt, net::IpAddr, sync::Arc};

use http::{Extensions, request::Parts};

#[cfg(feature = "id_jag")]
use crate::id_jag::Verifier;
use crate::{
    Config, ConfigError,
    accounts::{Accounts, DynAccounts},
    audit::{AuditSink, NoAudit},
    ceremony::{self, Admin, Ceremony, CeremonyError, Notifier, UseWriter},
    client_metadata::{ClientMetadata, DynFetch, Fetch},
    config::{self, Dialect, Problem},
    dialect,
    endpoints::{self, Context, EndpointsLayer, RouteTable},
    guard::{self, CallSink, GuardLayer, Rule, Shared},
    http::{Assembly, ClientAddresses, PeerAddress},
    notify::{DynNotify, Notify},
    observe,
    store::{
        CeremonyStore, ClientStore, IdentityStore, LastUsedBuffer, SessionRecordStore, SessionStore,
        traits::{
            Deadlines, DynCeremonyStore, DynClientStore, DynIdentityStore, DynSessionRecordStore, DynSessionStore,
            WithDeadline,
        },
    },
    types::{
        clock::{Clock, SystemClock},
        random::{OsRandom, Random},
    },
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
    ceremony: Option<Ceremony>,
    /// That of a service that only checks tokens, and records uses.
    uses: Option<Arc<UseWriter>>,
    #[cfg(feature = "id_jag")]
    id_jag: Option<Verifier>,
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
            ceremonies: None,
            clients: None,
            identities: None,
            accounts: None,
            clock: Arc::new(SystemClock::default()),
            random: Arc::new(OsRandom),
            audit: Arc::new(NoAudit),
            peer: None,
            fetch: None,
            #[cfg(feature = "id_jag")]
            fetch_keys: None,
            #[cfg(feature = "pages")]
            pages: crate::pages::PageOptions::default(),
            notify: None,
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

    /// Guards a route: an agent needs all of these scopes (separated by spaces).
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

    /// The rule that an agent needs all of these scopes (separated by spaces). Create it once, not for each request.
    ///
    /// # Errors
    /// When a scope is not in the catalogue.
    pub fn all_of(&self, scopes: &str) -> Result<Rule, ConfigError> {
        Rule::all_of(&self.config, self.shared.resource(), scopes).map_err(|error| unusable("require", scopes, &error))
    }

    /// The rule that an agent needs any of these scopes (separated by spaces). Create it once, not for each request.
    ///
    /// # Errors
    /// When a scope is not in the catalogue.
    pub fn any_of(&self, scopes: &str) -> Result<Rule, ConfigError> {
        Rule::any_of(&self.config, self.shared.resource(), scopes).map_err(|error| unusable("require", scopes, &error))
    }

    /// The rule that an agent needs a valid session, whatever its scopes. The challenge to a request without credentials
    /// names the scopes of `request`.
    #[cfg(feature = "mcp")]
    pub(crate) fn any_session(&self, request: &str) -> Result<Rule, ConfigError> {
        Rule::any_session(&self.config, self.shared.resource(), request)
            .map_err(|error| unusable("require", request, &error))
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

    /// The ceremony, for building a custom page or dialect; `None` if this service only checks tokens.
    #[must_use]
    pub const fn ceremony(&self) -> Option<&Ceremony> {
        self.ceremony.as_ref()
    }

    /// The verifier of identity assertions, for building a custom dialect; `None` if this service trusts no issuer, or
    /// only checks tokens.
    #[cfg(feature = "id_jag")]
    #[cfg_attr(docsrs, doc(cfg(feature = "id_jag")))]
    #[must_use]
    pub const fn id_jag(&self) -> Option<&Verifier> {
        self.id_jag.as_ref()
    }

    /// The sessions of all accounts, for the host's operators; `None` if this service only checks tokens. See
    /// [`admin`](crate::admin), also for an HTTP API.
    #[must_use]
    pub fn admin(&self) -> Option<Admin> {
        self.ceremony.clone().map(Admin::new)
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
        match (&self.ceremony, &self.uses) {
            (Some(ceremony), _) => ceremony.housekeeping(stopped).await,
            (None, Some(uses)) => uses.run(stopped).await,
            (None, None) => stopped.await,
        }
    }

    /// Persists the last-used times that the guards recorded, as [`housekeeping`](Self::housekeeping) does.
    ///
    /// # Errors
    /// When the store fails; the last-used times are kept for the next call.
    pub async fn write_uses(&self) -> Result<(), CeremonyError> {
        match (&self.ceremony, &self.uses) {
            (Some(ceremony), _) => ceremony.write_uses().await,
            (None, Some(uses)) => Ok(uses.write().await?),
            (None, None) => Ok(()),
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
    ceremonies: Option<Arc<dyn DynCeremonyStore>>,
    clients: Option<Arc<dyn DynClientStore>>,
    identities: Option<Arc<dyn DynIdentityStore>>,
    accounts: Option<Arc<dyn DynAccounts>>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    audit: Arc<dyn AuditSink>,
    peer: Option<Arc<PeerAddress>>,
    fetch: Option<Arc<dyn DynFetch>>,
    #[cfg(feature = "id_jag")]
    fetch_keys: Option<Arc<dyn DynFetch>>,
    #[cfg(feature = "pages")]
    pages: crate::pages::PageOptions,
    notify: Option<Arc<dyn DynNotify>>,
}

impl AgentAuthBuilder {
    /// The store for authorization requests and sessions.
    pub fn sessions(mut self, store: impl CeremonyStore) -> Self {
        let store = Arc::new(WithDeadline { store, deadlines: self.deadlines() });
        self.store = Some(Arc::clone(&store) as _);
        self.ceremonies = Some(store);
        self
    }

    /// The store for OAuth clients that register themselves (RFC 7591); by default, none are stored. It may be the store
    /// of [`sessions`](Self::sessions) or another one. [Housekeeping](AgentAuth::housekeeping) deletes those that are not
    /// used. A service that [only checks tokens](Self::checks_only) does not use it.
    ///
    /// ```
    /// # use tower_agent_auth::{AgentAuth, Config, AgentAuthBuilder, store::MemoryStore};
    /// # fn builder(config: Config) -> AgentAuthBuilder {
    /// let store = MemoryStore::new();
    /// AgentAuth::builder(config).sessions(store.clone()).clients(store)
    /// # }
    /// ```
    pub fn clients(mut self, store: impl ClientStore) -> Self {
        self.clients = Some(Arc::new(WithDeadline { store, deadlines: self.deadlines() }));
        self
    }

    /// The store for the identities of [trusted issuers](Config::trusted_issuers): which accounts they are linked to, and
    /// which of their tokens were used. By default, there is none. It may be the store of [`sessions`](Self::sessions) or
    /// another one. [Housekeeping](AgentAuth::housekeeping) deletes used tokens after their end. The links of an account
    /// are deleted [with it](crate::ceremony::Ceremony::forget_account).
    ///
    /// ```
    /// # use tower_agent_auth::{AgentAuth, Config, AgentAuthBuilder, store::MemoryStore};
    /// # fn builder(config: Config) -> AgentAuthBuilder {
    /// let store = MemoryStore::new();
    /// AgentAuth::builder(config).sessions(store.clone()).identities(store)
    /// # }
    /// ```
    pub fn identities(mut self, store: impl IdentityStore) -> Self {
        self.identities = Some(Arc::new(WithDeadline { store, deadlines: self.deadlines() }));
        self
    }

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
        self.ceremonies = None;
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

    /// The source of randomness; the operating system's by default.
    pub fn random(mut self, random: impl Random) -> Self {
        self.random = Arc::new(random);
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

    /// Delivers notes to the account's human, such as mail: that a request waits for their decision, and that an agent has
    /// collected its access. By default, nothing is sent. See [`notify`](crate::notify).
    pub fn notify(mut self, notify: impl Notify) -> Self {
        self.notify = Some(Arc::new(notify));
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

    /// Lets OAuth clients in whose id is the URL of a [client metadata document](crate::client_metadata). `fetcher`
    /// fetches the document: `HttpFetcher` (feature `cimd`), or one of your own. Without it, the default, such ids are
    /// unknown. See `oauth.metadata_documents` in the [configuration](crate::config), too.
    pub fn client_metadata(mut self, fetcher: impl Fetch) -> Self {
        self.fetch = Some(Arc::new(fetcher));
        self
    }

    /// Believes the identity assertions of the [trusted issuers](Config::trusted_issuers), whose keys `fetcher` fetches:
    /// `HttpFetcher` (feature `cimd`), or one of your own. It needs [`identities`](Self::identities) too. See
    /// [`id_jag`](crate::id_jag).
    #[cfg(feature = "id_jag")]
    #[cfg_attr(docsrs, doc(cfg(feature = "id_jag")))]
    pub fn identity_assertions(mut self, fetcher: impl Fetch) -> Self {
        self.fetch_keys = Some(Arc::new(fetcher));
        self
    }

    /// Sets how the [pages](crate::pages) look and speak: their words, languages and templates.
    #[cfg(feature = "pages")]
    pub fn pages(mut self, options: impl FnOnce(crate::pages::PageOptions) -> crate::pages::PageOptions) -> Self {
        self.pages = options(self.pages);
        self
    }

    /// Builds the [`AgentAuth`].
    ///
    /// # Errors
    /// When a part is missing, when two routes have the same path, or when words or templates can't be used.
    pub fn build(self) -> Result<AgentAuth, ConfigError> {
        #[cfg(feature = "pages")]
        let options = self.pages.clone();
        let untrusted = self.unusable_issuers();
        #[cfg(feature = "id_jag")]
        let id_jag = self.verifier();
        let Self {
            config,
            store,
            checks,
            uses: uses_store,
            calls,
            ceremonies,
            clients,
            identities,
            accounts,
            clock,
            random,
            audit,
            peer,
            fetch,
            notify,
            ..
        } = self;
        let audit = observe::counted(audit);
        let checks = checks.or(store);
        let mut missing = Vec::new();
        if checks.is_none() {
            missing.push(Problem::new("sessions", "", "is required: call .sessions(store) or .checks_only(store)"));
        }
        if ceremonies.is_some() && accounts.is_none() {
            missing.push(Problem::new("accounts", "", "is required: call .accounts(login)"));
        }
        if cfg!(not(feature = "pages")) && config.dialects().contains(&Dialect::OAuth) {
            missing.push(Problem::new("dialects", "oauth", "needs the feature `pages`: add it in Cargo.toml"));
        }
        if ceremonies.is_some() && uses_store.is_some() {
            let remedy = "is for a service that only checks tokens: .sessions(store) records uses itself";
            missing.push(Problem::new("record_uses_in", "", remedy));
        }
        missing.extend(untrusted);
        let Some(store) = checks.filter(|_| missing.is_empty()) else {
            return Err(ConfigError::new(missing));
        };
        let dialects = dialect::dialects(&config);
        let refreshes = dialects.iter().any(|dialect| dialect.takes_refresh_tokens());
        if let Some(problem) = unreachable_choice(&config).filter(|_| ceremonies.is_some() && !refreshes) {
            return Err(ConfigError::new(vec![problem]));
        }
        let uses = Arc::new(LastUsedBuffer::default());
        let addresses = ClientAddresses::new(config.clone(), peer);
        let takes_metadata = config.dialects().contains(&Dialect::OAuth) && config.oauth().metadata_documents;
        let fetch = fetch.filter(|_| takes_metadata);
        let context = ceremonies.zip(accounts.clone()).map(|(store, accounts)| {
            let parts = ceremony::Parts {
                config: config.clone(),
                store,
                clients,
                identities,
                accounts: Arc::clone(&accounts),
                clock: Arc::clone(&clock),
                random: Arc::clone(&random),
                audit: Arc::clone(&audit),
                uses: Arc::clone(&uses),
                notifier: notify.map(|notify| Arc::new(Notifier::new(notify, approval_path(dialects.clone())))),
                refreshes,
            };
            Arc::new(Context {
                config: config.clone(),
                ceremony: Ceremony::new(parts),
                accounts,
                random,
                addresses: addresses.clone(),
                audit: Arc::clone(&audit),
                client_metadata: fetch.map(|fetch| ClientMetadata::new(&config, fetch, &clock, Arc::clone(&audit))),
                #[cfg(feature = "id_jag")]
                id_jag,
            })
        });
        let ceremony = context.as_ref().map(|context| context.ceremony.clone());
        #[cfg(feature = "id_jag")]
        let id_jag = context.as_ref().and_then(|context| context.id_jag.clone());
        let mut routes = RouteTable::new(&config, addresses.clone(), Arc::clone(&clock), Arc::clone(&audit));
        if let Some(context) = &context {
            let served = routes.serve_ceremony(&config, context, &dialects);
            served.map_err(|error| unusable("auth_md.template", "", &error))?;
            #[cfg(feature = "pages")]
            crate::pages::serve(&mut routes, context, &dialects, options)
                .map_err(|error| unusable("pages", "", &*error))?;
        }
        let conflicts = routes.conflicts();
        if !conflicts.is_empty() {
            return Err(ConfigError::new(conflicts));
        }
        let assembly = Assembly::new(ceremony.is_some(), Arc::clone(&clock), Arc::clone(&audit));
        let assembly = Arc::new(assembly);
        let writer = uses_store.map(|store| {
            let (uses, clock, audit) = (Arc::clone(&uses), Arc::clone(&clock), Arc::clone(&audit));
            Arc::new(UseWriter { uses, store, clock, audit })
        });
        let uses = Some(uses).filter(|_| ceremony.is_some() || writer.is_some());
        let assembly_of_guards = Arc::clone(&assembly);
        let parts =
            guard::Parts { store, accounts, clock, audit, calls, uses, addresses, assembly: assembly_of_guards };
        let guards = config.resources().iter().map(|resource| {
            let shared = Shared::new(&config, resource, parts.clone());
            shared.map(Arc::new).map_err(|error| unusable("resource", resource.id(), &error))
        });
        let guards = guards.collect::<Result<Arc<[Arc<Shared>]>, ConfigError>>()?;
        Ok(AgentAuth {
            config,
            shared: Arc::clone(&guards[0]),
            guards,
            routes: Arc::new(routes),
            ceremony,
            uses: writer,
            #[cfg(feature = "id_jag")]
            id_jag,
            assembly,
        })
    }

    /// What the trusted issuers of the configuration lack to be of use. A service that only checks tokens needs nothing.
    fn unusable_issuers(&self) -> Option<Problem> {
        if self.config.trusted_issuers().is_empty() || self.ceremonies.is_none() {
            return None;
        }
        let lacks = |remedy| Some(Problem::new("trusted_issuers", "", remedy));
        #[cfg(feature = "id_jag")]
        match (&self.fetch_keys, &self.identities) {
            (None, _) => lacks("need a fetcher for their keys: call .identity_assertions(fetcher)"),
            (_, None) => lacks("need a store for their identities: call .identities(store)"),
            _ => None,
        }
        #[cfg(not(feature = "id_jag"))]
        lacks("need the feature `id_jag`: add it in Cargo.toml")
    }

    /// The verifier of identity assertions, if there is a trusted issuer.
    #[cfg(feature = "id_jag")]
    fn verifier(&self) -> Option<Verifier> {
        let (fetch, store) = (self.fetch_keys.as_ref()?, self.identities.as_ref()?);
        let trusts = !self.config.trusted_issuers().is_empty();
        trusts.then(|| Verifier::new(&self.config, fetch, Arc::clone(store), &self.clock))
    }
}

impl fmt::Debug for AgentAuthBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentAuthBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Finds the page that shows a flow: that of the dialect by which the request came.
fn approval_path(dialects: Vec<&'static dyn endpoints::Dialect>) -> Box<ceremony::ApprovalPath> {
    Box::new(move |flow| {
        let owner = dialects.iter().find(|dialect| dialect.owns(flow));
        owner.map_or(config::APPROVAL_PATH, |dialect| dialect.approval_path())
    })
}

/// The first length of a session that can't be reached where sessions are not refreshed.
fn unreachable_choice(config: &Config) -> Option<Problem> {
    let lifetimes = config.lifetimes();
    let choice = lifetimes.choices.iter().find(|choice| **choice > lifetimes.access)?;
    let remedy = "must not exceed lifetimes.access: no dialect refreshes, so a session ends with its access token";
    Some(Problem::new("lifetimes.choices", humantime::format_duration(*choice), remedy))
}

fn unusable(field: &str, value: &str, error: &dyn std::error::Error) -> ConfigError {
    ConfigError::new(vec![Problem::new(field, value, error.to_string())])
}
