//! The ceremony: the state machine that takes an authorization request to a session. All rules live here, once; it knows no JSON
//! and no header. The dialects and the pages only translate.
//!
//! | verb | who | file |
//! |---|---|---|
//! | request, status | the agent, by claim token | `request` |
//! | request, ask, redeem a login | the agent, by poll token and code | `login` |
//! | view, decide | the human | `decide` |
//! | redeem | the agent, by claim token | `redeem` |
//! | refresh | the agent | `refresh` |
//! | list, revoke | the human; the agent for itself | `sessions` |
//! | housekeeping | a task of the service | `housekeeping` |
//!
//! A service reaches it through [`AgentAuth::ceremony`](crate::AgentAuth::ceremony), to build a page or a wire format of
//! its own:
//!
//! ```
//! # use tower_agent_auth::{AgentAuth, Config, store::MemoryStore};
//! # use tower_agent_auth::accounts::{Accounts, AccountsError};
//! # use tower_agent_auth::types::id::AccountId;
//! # struct Nobody;
//! # impl Accounts for Nobody {
//! #     async fn current(&self, _: &http::request::Parts) -> Result<Option<SignedIn>, AccountsError> { Ok(None) }
//! #     fn login_url(&self, _: &str) -> String { "/login".into() }
//! #     async fn is_active(&self, _: &AccountId) -> Result<bool, AccountsError> { Ok(true) }
//! # }
//! use tower_agent_auth::accounts::SignedIn;
//! use tower_agent_auth::ceremony::{Decision, Request};
//! use tower_agent_auth::types::{authorization request::Account, session::Redeemer, text::HumanText};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let config = Config::from_json(r#"{ "resource": "https://api.example.com", "name": "Example",
//! #     "scopes": [{ "name": "projects:read", "description": "See your projects", "default": true }] }"#)?;
//! # let auth = AgentAuth::builder(config).sessions(MemoryStore::new()).accounts(Nobody).build()?;
//! let ceremony = auth.ceremony().expect("a store and accounts were given");
//!
//! // The agent asks, the human looks and approves, the agent comes back.
//! let asked = ceremony.request(Request::by(HumanText::new("Example Agent")?)).await?;
//! let human = Account::new(AccountId::new("42")?, "ada@example.com");
//! let human = SignedIn::new(human, "the id of their browser session");
//! let seen = ceremony.view(&asked.authorization request.id, human.account(), None).await?;
//! let scopes = seen.authorization request.requested.clone();
//! ceremony.decide(&asked.authorization request.id, &human, Decision::Approve(scopes)).await?;
//! let issued = ceremony.redeem(asked.claim_token.expose(), &Redeemer::default()).await?;
//! assert_eq!(issued.record.session.account, *human.account());
//!
//! // Once.
//! assert!(ceremony.redeem(asked.claim_token.expose(), &Redeemer::default()).await.is_err());
//! # Ok(())
//! # }
//! ```

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    Config,
    accounts::{AccountsError, DynAccounts},
    audit::{AuditSink, Event},
    store::{AuthorizationKey, LastUsedBuffer, StoreError, traits::DynCeremonyStore},
    types::{
        authorization::{AuthorizationRequest, Lookup, State},
        callback::CallbackError,
        clock::{Clock, Timestamp},
        id::AuthorizationRequestId,
        random::{Random, RandomError},
    },
};

mod decide;
mod flow;
mod housekeeping;
pub(crate) mod limiter;
mod login;
mod pace;
mod redeem;
mod refresh;
mod request;
mod sessions;

pub use decide::{Decided, Decision, HandedOut, View, Warning};
pub use flow::{Code, KnownFlow};
pub use login::{Login, LoginRequested, LoginStatus};
pub use redeem::{Attempt, Issued};
pub use refresh::Refreshing;
pub use request::{Request, Requested, Status};
pub use sessions::Page;

pub(crate) use limiter::Limiter;

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
    uses: Arc<LastUsedBuffer>,
    pace: Arc<pace::Pace>,
    refreshes: bool,
}

/// What a ceremony is made of.
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) store: Arc<dyn DynCeremonyStore>,
    pub(crate) accounts: Arc<dyn DynAccounts>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) audit: Arc<dyn AuditSink>,
    pub(crate) uses: Arc<LastUsedBuffer>,
    /// Whether a dialect takes refresh tokens. If none does, a session ends with its access token.
    pub(crate) refreshes: bool,
}

impl Ceremony {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { config, store, accounts, clock, random, audit, uses, refreshes } = parts;
        let pace = Arc::new(pace::Pace::new(config.limits(), &clock));
        Self { config, store, accounts, clock, random, audit, uses, pace, refreshes }
    }

    /// The present instant, by the injected clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn record(&self, event: &Event) {
        self.audit.record(self.now(), event);
    }

    /// Whether sessions can be refreshed. If not, a session ends with its access token.
    #[must_use]
    pub const fn refreshes(&self) -> bool {
        self.refreshes
    }

    async fn by_id(&self, id: &AuthorizationRequestId) -> Result<AuthorizationRequest, CeremonyError> {
        self.find(&AuthorizationKey::Id(id.clone())).await?.ok_or(CeremonyError::UnknownAuthorization)
    }

    async fn by_claim(&self, claim_token: &str) -> Result<AuthorizationRequest, CeremonyError> {
        let claim = self.config.prefixes().claim.digest(claim_token.as_bytes()).ok_or(CeremonyError::UnknownClaim)?;
        self.find(&AuthorizationKey::Lookup(Lookup::from(claim))).await?.ok_or(CeremonyError::UnknownClaim)
    }

    /// The authorization request of that key, if it was made for this resource: elsewhere nothing becomes of it.
    async fn find(&self, key: &AuthorizationKey) -> Result<Option<AuthorizationRequest>, CeremonyError> {
        let found = self.store.find_authorization(key).await?;
        Ok(found.filter(|authorization| *authorization.resource == *self.config.resource()))
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
    /// The callback URL can't be used. The fault is the agent's.
    #[error("the callback URL {0}")]
    Callback(#[from] CallbackError),
    /// The code challenge can't be used. The fault is the agent's.
    #[error(
        "the code challenge must be the SHA-256 of the code verifier, as 43 characters of base64url or 64 lower-case \
         hexadecimal digits"
    )]
    InvalidChallenge,
    /// What is to be handed back is too long. The fault is the agent's.
    #[error("the state must be {longest} bytes at most")]
    StateTooLong {
        /// The most bytes that it may have.
        longest: usize,
    },
    /// A code verifier was presented for a flow without a code challenge. The fault is the agent's.
    #[error("the code verifier is not for this login: it was started without a code challenge")]
    UnexpectedVerifier,
    /// The way to sign in is none that the service offers. The fault is the agent's.
    #[error("the way to sign in must be one of: {offered}")]
    UnknownMethod {
        /// All that may be named.
        offered: String,
    },
    /// No scope was asked for, and the catalogue has no default. The fault is the agent's.
    #[error("name one or more scopes of: {offered}")]
    NoScope {
        /// All that may be asked for.
        offered: String,
    },
    /// A scope was asked for that the service does not offer to agents. The fault is the agent's.
    #[error("a scope is not offered; offered are: {offered}")]
    UnknownScope {
        /// All that may be asked for.
        offered: String,
    },
    /// Too many authorization requests from one address wait for their humans. The fault is the agent's, or its neighbour's.
    #[error("too many requests for access from your network are waiting for their humans; finish one or try later")]
    TooManyFromSource,
    /// Too many authorization requests wait in all. The fault is nobody's in particular.
    #[error("too many requests for access are waiting for their humans; try later")]
    TooManyPending,
    /// The claim token is malformed or unknown. The fault is the agent's.
    #[error("the claim token is malformed or unknown; send the one that the authorization answered, or register anew")]
    UnknownClaim,
    /// No authorization request of that id. The fault is whoever made the link's.
    #[error("there is no such request for access")]
    UnknownAuthorization,
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
    /// The way to log in is switched off. The fault is the agent's.
    #[error("this service has switched off {0}; choose a way that its documents name")]
    LoginOff(&'static str),
    /// The authorization request is unknown, or what was presented for it is wrong. Which of them, nobody is told.
    #[error("invalid auth request, code or token; send what the login answered exactly, or start a new login")]
    WrongCode,
    /// The login is finished by finish code and poll token, and the poll token was not sent. The fault is the agent's.
    #[error("the poll token is required: this service does not take a finish code alone")]
    PollTokenRequired,
    /// Wrong codes were presented too often.
    #[error("auth request revoked: too many wrong codes were presented; start a new login")]
    Locked,
    /// The agent polls far too often. The fault is the agent's.
    #[error("you poll too often; every two seconds is enough")]
    TooFast {
        /// How long to wait.
        wait: Duration,
    },
    /// The refresh token is malformed, unknown, used up, expired or revoked. Which of them, nobody is told.
    #[error("the session has ended: its refresh token is not valid any more; log in again")]
    InvalidRefresh,
    /// Another resource was asked for. The fault is the agent's.
    #[error("the resource must be the identifier of this service's resource, or be left out")]
    InvalidTarget,
    /// The human's sign-in is too old to approve with.
    #[error("to approve, sign in again")]
    SignInTooOld,
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
    #[error("approve one or more of the scopes that were asked for")]
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
}

impl Ceremony {
    /// Notes that an agent asks by its claim token, while that is what matters: `Err` if it is too soon, either way the
    /// interval to keep.
    fn ask(&self, authorization: &AuthorizationRequest) -> (State, Result<Duration, Duration>) {
        let (now, interval) = (self.now(), self.config.limits().poll_interval);
        match authorization.state_at(now) {
            State::Pending => (State::Pending, self.pace.ask(authorization, now)),
            state => (state, Ok(interval)),
        }
    }

    /// What an authorization request that is not approved answers to whoever wants to redeem it.
    fn for_state(&self, authorization: &AuthorizationRequest, state: State) -> CeremonyError {
        match state {
            State::Pending | State::Approved => {
                CeremonyError::Pending { interval: self.pace.interval(&authorization.id) }
            }
            State::Denied => CeremonyError::Denied,
            State::Redeemed => CeremonyError::AlreadyClaimed,
            State::Revoked => CeremonyError::Revoked,
            State::Locked => CeremonyError::Locked,
            State::Expired => CeremonyError::Expired,
        }
    }
}
