//! The ceremony: the state machine that takes a registration to a session. All rules live here, once; it knows no JSON
//! and no header. The dialects and the pages only translate.
//!
//! | verb | who | file |
//! |---|---|---|
//! | register, status | the agent | `register` |
//! | view, decide | the human | `decide` |
//! | redeem | the agent | `redeem` |
//! | list, revoke | the human; the agent for itself | `sessions` |
//!
//! A service reaches it through [`AgentAuth::ceremony`](crate::AgentAuth::ceremony), to build a page or a wire format of
//! its own:
//!
//! ```
//! # use tower_agent_auth::{AgentAuth, Config, store::MemoryStore};
//! # use tower_agent_auth::accounts::{Accounts, AccountsError, SignedIn};
//! # use tower_agent_auth::core::id::AccountId;
//! # struct Nobody;
//! # impl Accounts for Nobody {
//! #     async fn current(&self, _: &http::request::Parts) -> Result<Option<SignedIn>, AccountsError> { Ok(None) }
//! #     fn login_url(&self, _: &str) -> String { "/login".into() }
//! #     async fn is_active(&self, _: &AccountId) -> Result<bool, AccountsError> { Ok(true) }
//! # }
//! use tower_agent_auth::ceremony::{Decision, Request};
//! use tower_agent_auth::core::{registration::{Account, State}, text::HumanText};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let config = Config::from_json(r#"{ "resource": "https://api.example.com", "name": "Example",
//! #     "scopes": [{ "name": "projects:read", "description": "See your projects", "default": true }] }"#)?;
//! # let auth = AgentAuth::builder(config).sessions(MemoryStore::new()).accounts(Nobody).build()?;
//! let ceremony = auth.ceremony().expect("a store and accounts were given");
//!
//! // The agent asks, the human looks and approves, the agent comes back.
//! let asked = ceremony.register(Request::by(HumanText::new("Example Agent")?)).await?;
//! let human = Account { id: AccountId::new("42")?, label: "ada@example.com".into() };
//! let seen = ceremony.view(&asked.registration.id, &human, None).await?;
//! let scopes = seen.registration.requested.clone();
//! ceremony.decide(&asked.registration.id, &human, Decision::Approve(scopes)).await?;
//! let redeemed = ceremony.redeem(asked.claim_token.expose()).await?;
//! assert_eq!(redeemed.session.account, human);
//!
//! // Once.
//! assert!(ceremony.redeem(asked.claim_token.expose()).await.is_err());
//! # Ok(())
//! # }
//! ```

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    Config,
    accounts::{AccountsError, DynAccounts},
    audit::{AuditSink, Event},
    core::{
        clock::{Clock, Timestamp},
        id::RegistrationId,
        random::{Random, RandomError},
        registration::{Registration, State},
        secret::{Claim, Digest},
    },
    store::{RegistrationKey, StoreError, erased::DynCeremonyStore},
    uses::Uses,
};

mod decide;
mod pace;
mod redeem;
mod register;
mod sessions;

pub use decide::{Decision, View, Warning};
pub use redeem::Redeemed;
pub use register::{Registered, Request, Status};
pub use sessions::Page;

/// How often a new secret is drawn when the store says that one is taken.
const DRAWS: usize = 3;

/// The ceremony of one service. Cheap to clone.
#[derive(Clone)]
pub struct Ceremony {
    config: Config,
    store: Arc<dyn DynCeremonyStore>,
    accounts: Arc<dyn DynAccounts>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    audit: Arc<dyn AuditSink>,
    uses: Arc<Uses>,
    pace: Arc<pace::Pace>,
}

/// What a ceremony is made of.
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) store: Arc<dyn DynCeremonyStore>,
    pub(crate) accounts: Arc<dyn DynAccounts>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) audit: Arc<dyn AuditSink>,
    pub(crate) uses: Arc<Uses>,
}

impl Ceremony {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { config, store, accounts, clock, random, audit, uses } = parts;
        let pace = Arc::new(pace::Pace::new(config.limits()));
        Self { config, store, accounts, clock, random, audit, uses, pace }
    }

    /// The present instant, by the injected clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn record(&self, event: &Event) {
        self.audit.record(self.now(), event);
    }

    async fn by_id(&self, id: &RegistrationId) -> Result<Registration, CeremonyError> {
        let key = RegistrationKey::Id(id.clone());
        self.store.find_registration(&key).await?.ok_or(CeremonyError::UnknownRegistration)
    }

    async fn by_claim(&self, claim_token: &str) -> Result<Registration, CeremonyError> {
        let claim: Digest<Claim> =
            self.config.prefixes().claim.digest(claim_token.as_bytes()).ok_or(CeremonyError::UnknownClaim)?;
        let key = RegistrationKey::Claim(claim);
        self.store.find_registration(&key).await?.ok_or(CeremonyError::UnknownClaim)
    }
}

impl fmt::Debug for Ceremony {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ceremony").field("issuer", &self.config.issuer()).finish_non_exhaustive()
    }
}

/// Why a step of the ceremony was refused, or could not be taken. The text is fixed: it never holds input or a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CeremonyError {
    /// A field of the agent's request can't be used. The fault is the agent's.
    #[error("`{field}` {problem}")]
    Invalid {
        /// The field, by its wire name.
        field: &'static str,
        /// What is wrong, and what to send in its place.
        problem: String,
    },
    /// A scope was asked for that the service does not offer to agents. The fault is the agent's.
    #[error("`requested_scopes` has a scope that is not offered; offered are: {offered}")]
    UnknownScope {
        /// All that may be asked for.
        offered: String,
    },
    /// Too many registrations from one address wait for their humans. The fault is the agent's, or its neighbour's.
    #[error("too many requests for access from your network are waiting for their humans; finish one or try later")]
    TooManyFromSource,
    /// Too many registrations wait in all. The fault is nobody's in particular.
    #[error("too many requests for access are waiting for their humans; try later")]
    TooManyPending,
    /// The claim token is malformed or unknown. The fault is the agent's.
    #[error("the claim token is malformed or unknown; send the one that the registration answered, or register anew")]
    UnknownClaim,
    /// No registration of that id. The fault is whoever made the link's.
    #[error("there is no such request for access")]
    UnknownRegistration,
    /// The human has not decided yet.
    #[error("your human has not decided yet; show them the approval link and ask again after {} seconds", interval.as_secs())]
    Pending {
        /// How long to wait before asking again.
        interval: Duration,
    },
    /// The agent asks too often. The fault is the agent's.
    #[error("you ask too often; wait {} seconds each time", interval.as_secs())]
    SlowDown {
        /// How long to wait before asking again.
        interval: Duration,
    },
    /// The human refused, or the account may no longer be acted for.
    #[error("access was denied; do not ask again unless your human tells you to")]
    Denied,
    /// Nobody finished in time.
    #[error("the request for access has expired; register anew")]
    Expired,
    /// It was redeemed before.
    #[error("the claim was completed before, and its credential was delivered once; register anew if it is lost")]
    AlreadyClaimed,
    /// It was approved and then taken back.
    #[error("the approval was taken back; do not ask again unless your human tells you to")]
    Revoked,
    /// Another account opened the approval page first. The fault is the human's who is signed in as somebody else.
    #[error("the request for access was not opened by this account")]
    WrongAccount,
    /// The host says that the account may no longer be acted for. The fault is nobody's here.
    #[error("the account may no longer be acted for")]
    Inactive,
    /// The human decided before.
    #[error("the request for access was decided before")]
    AlreadyDecided,
    /// The human ticked a scope that was not asked for, or none. The fault is the form's.
    #[error("`scope` must be one or more of the scopes that were asked for")]
    NotRequested,
    /// The store could not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The host's accounts could not answer.
    #[error(transparent)]
    Accounts(#[from] AccountsError),
    /// The source of randomness could not deliver.
    #[error(transparent)]
    Random(#[from] RandomError),
}

impl CeremonyError {
    /// Whether the service itself failed: the answer is 503, and nothing was decided.
    #[must_use]
    pub const fn is_unavailable(&self) -> bool {
        matches!(self, Self::Store(_) | Self::Accounts(_) | Self::Random(_))
    }

    /// What a registration that is not approved answers to whoever wants to redeem it.
    fn for_state(state: State, interval: Duration) -> Self {
        match state {
            State::Pending | State::Approved => Self::Pending { interval },
            State::Denied => Self::Denied,
            State::Exchanged => Self::AlreadyClaimed,
            State::Revoked => Self::Revoked,
            State::Expired => Self::Expired,
        }
    }
}
