//! What only a service that issues sessions has: the ceremony, and what its builder needs for it.

use std::{fmt, sync::Arc};

use super::{AgentAuth, AgentAuthBuilder, unusable};
#[cfg(feature = "id_jag")]
use crate::id_jag::Verifier;
use crate::{
    Config, ConfigError,
    ceremony::{self, Admin, Ceremony, Notifier},
    client_metadata::{ClientMetadata, DynFetch, Fetch},
    config::{self, Dialect, Problem},
    dialect,
    endpoints::{self, Context, RouteTable},
    guard,
    notify::{DynNotify, Notify},
    store::{
        CeremonyStore, ClientStore, IdentityStore,
        traits::{DynCeremonyStore, DynClientStore, DynIdentityStore, WithDeadline},
    },
    types::random::{OsRandom, Random},
};

/// The ceremony of a service, and what belongs to it.
#[derive(Clone)]
pub(super) struct Issuer {
    pub(super) ceremony: Ceremony,
    #[cfg(feature = "id_jag")]
    id_jag: Option<Verifier>,
}

impl AgentAuth {
    /// The ceremony, for building a custom page or dialect; `None` if this service only checks tokens.
    #[must_use]
    pub const fn ceremony(&self) -> Option<&Ceremony> {
        match &self.issuer {
            Some(issuer) => Some(&issuer.ceremony),
            None => None,
        }
    }

    /// The verifier of identity assertions, for building a custom dialect; `None` if this service trusts no issuer, or
    /// only checks tokens.
    #[cfg(feature = "id_jag")]
    #[cfg_attr(docsrs, doc(cfg(feature = "id_jag")))]
    #[must_use]
    pub const fn id_jag(&self) -> Option<&Verifier> {
        match &self.issuer {
            Some(issuer) => issuer.id_jag.as_ref(),
            None => None,
        }
    }

    /// The sessions of all accounts, for the host's operators; `None` if this service only checks tokens. See
    /// [`admin`](crate::admin), also for an HTTP API.
    #[must_use]
    pub fn admin(&self) -> Option<Admin> {
        self.ceremony().cloned().map(Admin::new)
    }
}

/// What a builder needs for the ceremony.
pub(super) struct Parts {
    /// `None` for a service that only checks tokens.
    pub(super) store: Option<Arc<dyn DynCeremonyStore>>,
    clients: Option<Arc<dyn DynClientStore>>,
    identities: Option<Arc<dyn DynIdentityStore>>,
    random: Arc<dyn Random>,
    fetch: Option<Arc<dyn DynFetch>>,
    #[cfg(feature = "id_jag")]
    fetch_keys: Option<Arc<dyn DynFetch>>,
    #[cfg(feature = "pages")]
    pages: crate::pages::PageOptions,
    notify: Option<Arc<dyn DynNotify>>,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            store: None,
            clients: None,
            identities: None,
            random: Arc::new(OsRandom),
            fetch: None,
            #[cfg(feature = "id_jag")]
            fetch_keys: None,
            #[cfg(feature = "pages")]
            pages: crate::pages::PageOptions::default(),
            notify: None,
        }
    }
}

#[cfg_attr(docsrs, doc(cfg(feature = "issuer")))]
impl AgentAuthBuilder {
    /// The store for authorization requests and sessions.
    pub fn sessions(mut self, store: impl CeremonyStore) -> Self {
        let store = Arc::new(WithDeadline { store, deadlines: self.deadlines() });
        self.store = Some(Arc::clone(&store) as _);
        self.issuer.store = Some(store);
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
        self.issuer.clients = Some(Arc::new(WithDeadline { store, deadlines: self.deadlines() }));
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
        self.issuer.identities = Some(Arc::new(WithDeadline { store, deadlines: self.deadlines() }));
        self
    }

    /// The source of randomness; the operating system's by default.
    pub fn random(mut self, random: impl Random) -> Self {
        self.issuer.random = Arc::new(random);
        self
    }

    /// Delivers notes to the account's human, such as mail: that a request waits for their decision, and that an agent has
    /// collected its access. By default, nothing is sent. See [`notify`](crate::notify).
    pub fn notify(mut self, notify: impl Notify) -> Self {
        self.issuer.notify = Some(Arc::new(notify));
        self
    }

    /// Lets OAuth clients in whose id is the URL of a [client metadata document](crate::client_metadata). `fetcher`
    /// fetches the document: `HttpFetcher` (feature `cimd`), or one of your own. Without it, the default, such ids are
    /// unknown. See `oauth.metadata_documents` in the [configuration](crate::config), too.
    pub fn client_metadata(mut self, fetcher: impl Fetch) -> Self {
        self.issuer.fetch = Some(Arc::new(fetcher));
        self
    }

    /// Believes the identity assertions of the [trusted issuers](Config::trusted_issuers), whose keys `fetcher` fetches:
    /// `HttpFetcher` (feature `cimd`), or one of your own. It needs [`identities`](Self::identities) too. See
    /// [`id_jag`](crate::id_jag).
    #[cfg(feature = "id_jag")]
    #[cfg_attr(docsrs, doc(cfg(feature = "id_jag")))]
    pub fn identity_assertions(mut self, fetcher: impl Fetch) -> Self {
        self.issuer.fetch_keys = Some(Arc::new(fetcher));
        self
    }

    /// Sets how the [pages](crate::pages) look and speak: their words, languages and templates.
    #[cfg(feature = "pages")]
    pub fn pages(mut self, options: impl FnOnce(crate::pages::PageOptions) -> crate::pages::PageOptions) -> Self {
        self.issuer.pages = options(self.issuer.pages);
        self
    }
}

impl Parts {
    /// What the ceremony lacks. A service that only checks tokens needs nothing.
    pub(super) fn problems(&self, config: &Config, has_accounts: bool) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.store.is_some() && !has_accounts {
            problems.push(Problem::new("accounts", "", "is required: call .accounts(login)"));
        }
        for (dialect, name) in [(Dialect::OAuth, "oauth"), (Dialect::AuthMd, "auth_md")] {
            if cfg!(not(feature = "pages")) && self.store.is_some() && config.dialects().contains(&dialect) {
                problems.push(Problem::new("dialects", name, "needs the feature `pages`: add it in Cargo.toml"));
            }
        }
        problems.extend(self.unusable_issuers(config));
        problems
    }

    /// Builds the ceremony, and serves its endpoints; `None` for a service that only checks tokens. `shared` has what the
    /// guards use too.
    pub(super) fn build(
        self,
        config: &Config,
        shared: &guard::Parts,
        routes: &mut RouteTable,
    ) -> Result<Option<Issuer>, ConfigError> {
        #[cfg(feature = "id_jag")]
        let id_jag = self.verifier(config, shared);
        let (Some(store), Some(accounts), Some(uses)) = (self.store, &shared.accounts, &shared.uses) else {
            return Ok(None);
        };
        let dialects = dialect::dialects(config);
        let refreshes = dialects.iter().any(|dialect| dialect.takes_refresh_tokens());
        if let Some(problem) = unreachable_choice(config).filter(|_| !refreshes) {
            return Err(ConfigError::new(vec![problem]));
        }
        let parts = ceremony::Parts {
            config: config.clone(),
            store,
            clients: self.clients,
            identities: self.identities,
            accounts: Arc::clone(accounts),
            clock: Arc::clone(&shared.clock),
            random: Arc::clone(&self.random),
            audit: Arc::clone(&shared.audit),
            uses: Arc::clone(uses),
            notifier: self.notify.map(|notify| Arc::new(Notifier::new(notify, approval_path(dialects.clone())))),
            refreshes,
        };
        let ceremony = Ceremony::new(parts);
        let takes_metadata = config.dialects().contains(&Dialect::OAuth) && config.oauth().metadata_documents;
        let fetch = self.fetch.filter(|_| takes_metadata);
        let context = Arc::new(Context {
            config: config.clone(),
            ceremony: ceremony.clone(),
            accounts: Arc::clone(accounts),
            random: self.random,
            addresses: shared.addresses.clone(),
            audit: Arc::clone(&shared.audit),
            client_metadata: fetch
                .map(|fetch| ClientMetadata::new(config, fetch, &shared.clock, Arc::clone(&shared.audit))),
            #[cfg(feature = "id_jag")]
            id_jag: id_jag.clone(),
        });
        let served = routes.serve_ceremony(config, &context, &dialects);
        served.map_err(|error| unusable("auth_md.template", "", &error))?;
        #[cfg(feature = "pages")]
        crate::pages::serve(routes, &context, &dialects, self.pages).map_err(|error| unusable("pages", "", &*error))?;
        #[cfg(not(feature = "pages"))]
        for dialect in &dialects {
            crate::observe::of_gap(&format!(
                "agents send their humans to {}…, which only the feature `pages` serves: add it in Cargo.toml, unless this service serves it",
                config.url(dialect.approval_path())
            ));
        }
        Ok(Some(Issuer {
            ceremony,
            #[cfg(feature = "id_jag")]
            id_jag,
        }))
    }

    /// What the trusted issuers of the configuration lack to be of use.
    fn unusable_issuers(&self, config: &Config) -> Option<Problem> {
        if config.trusted_issuers().is_empty() || self.store.is_none() {
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
    fn verifier(&self, config: &Config, shared: &guard::Parts) -> Option<Verifier> {
        let (fetch, store) = (self.fetch_keys.as_ref()?, self.identities.as_ref()?);
        let trusts = !config.trusted_issuers().is_empty();
        trusts.then(|| Verifier::new(config, fetch, Arc::clone(store), &shared.clock))
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").finish_non_exhaustive()
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
