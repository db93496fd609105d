//! The ceremony: the state machine that takes an authorization request to a session. It implements all rules of the
//! flow, once, without JSON or headers. The dialects and the pages only translate.
//!
//! | verb | who | file |
//! |---|---|---|
//! | request, status | the agent, by claim token | `request` |
//! | request, poll, redeem a login | the agent, by poll token and code | `login` |
//! | request, redeem by authorization code | the OAuth client, and its human's browser | `code` |
//! | request, find, redeem by device code | the device; the human, by its user code | `device` |
//! | view, release, decide | the human | `decide` |
//! | redeem | the agent, by claim token | `redeem` |
//! | refresh | the agent | `refresh` |
//! | list, search, count, name, revoke, take back | the human; the agent for itself | `sessions` |
//! | list and revoke sessions of any account | the host's operators | `admin` |
//! | export, forget an account | the host | `account` |
//! | register, find clients | a dialect | `clients` |
//! | find, link, unlink identities of other issuers | a dialect | `identities` |
//! | notify of requests and sessions | tasks | `notifying` |
//! | housekeeping | a task of the service | `housekeeping` |
//!
//! A service gets it from [`AgentAuth::ceremony`](crate::AgentAuth::ceremony), to build a page or a dialect of its own:
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
//! use tower_agent_auth::types::{authorization::Account, session::Redeemer, text::HumanText};
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
//! let seen = ceremony.view(&asked.authorization.id, &human).await?;
//! let scopes = seen.authorization.requested.clone();
//! ceremony.decide(&asked.authorization.id, &human, Decision::Approve(scopes.into())).await?;
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
    store::{
        AuthorizationKey, LastUsedBuffer, StoreError,
        traits::{DynCeremonyStore, DynClientStore, DynIdentityStore},
    },
    types::{
        authorization::{AuthorizationRequest, Lookup, State},
        callback::CallbackError,
        clock::{Clock, Timestamp},
        id::AuthorizationRequestId,
        random::{Random, RandomError},
    },
};

mod account;
mod admin;
mod approver;
mod assertion;
mod clients;
mod code;
mod decide;
mod device;
mod flow;
mod foreign;
mod housekeeping;
mod identities;
mod identity;
pub(crate) mod limiter;
mod login;
mod notifying;
mod polling;
mod redeem;
mod refresh;
mod request;
mod sessions;

pub use account::{AccountExport, ExportedClient, ExportedIdentity, ExportedRequest, ExportedSession};
pub use admin::Admin;
pub use approver::Approver;
pub use clients::Clients;
pub use code::{CodeGrant, CodeRedemption};
pub use decide::{Approve, Decided, Decision, Earlier, HandedOut, View, Warning};
pub use device::DeviceRequested;
pub use flow::{Code, KnownFlow};
pub use foreign::Vouching;
pub use identities::Identities;
pub use identity::{Identified, IdentityFlow, IdentityKind, IdentityRequested, ShortCode};
pub use login::{Login, LoginRequested, LoginStatus};
pub use redeem::{Attempt, Issued};
pub use refresh::Refreshing;
pub use request::{Request, Requested, Status};
pub use sessions::{Page, Revoked, SessionCounts, SessionSearch};

pub(crate) use limiter::Limiter;
pub(crate) use notifying::{ApprovalPath, Notifier};

/// How often a step is tried again at most, with new secrets if the store reports a conflict.
const DRAWS: usize = 3;

/// The ceremony of one service. Cheap to clone.
#[derive(Clone)]
pub struct Ceremony {
    config: Config,
    store: Arc<dyn DynCeremonyStore>,
    clients: Option<Arc<dyn DynClientStore>>,
    identities: Option<Arc<dyn DynIdentityStore>>,
    accounts: Arc<dyn DynAccounts>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    audit: Arc<dyn AuditSink>,
    uses: Arc<LastUsedBuffer>,
    polling: Arc<polling::Polling>,
    forgetting: Arc<housekeeping::Forgetting>,
    notifier: Option<Arc<Notifier>>,
    refreshes: bool,
}

/// The parts of a ceremony.
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) store: Arc<dyn DynCeremonyStore>,
    /// The clients that registered themselves, if the service stores them.
    pub(crate) clients: Option<Arc<dyn DynClientStore>>,
    /// The identities of other issuers that are linked to accounts, if the service trusts issuers.
    pub(crate) identities: Option<Arc<dyn DynIdentityStore>>,
    pub(crate) accounts: Arc<dyn DynAccounts>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) audit: Arc<dyn AuditSink>,
    pub(crate) uses: Arc<LastUsedBuffer>,
    /// What tells humans of their requests, if the host wants that.
    pub(crate) notifier: Option<Arc<Notifier>>,
    /// Whether a dialect takes refresh tokens. If none does, a session ends with its access token.
    pub(crate) refreshes: bool,
}

impl Ceremony {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { config, store, clients, identities, accounts, clock, random, audit, uses, notifier, refreshes } =
            parts;
        let polling = Arc::new(polling::Polling::new(config.limits(), &clock));
        let forgetting = Arc::new(housekeeping::Forgetting::new(&*clock));
        Self {
            config,
            store,
            clients,
            identities,
            accounts,
            clock,
            random,
            audit,
            uses,
            polling,
            forgetting,
            notifier,
            refreshes,
        }
    }

    /// The current date of the injected clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The same ceremony by another clock.
    #[cfg(feature = "testing")]
    pub(crate) fn with_clock(&self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self.clone() }
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

    /// Finds the authorization request of a claim token, or of a device code, and its flow.
    async fn by_claim(&self, claim_token: &str) -> Result<(AuthorizationRequest, KnownFlow), CeremonyError> {
        let claim = self.config.prefixes().claim.digest(claim_token.as_bytes()).ok_or(CeremonyError::UnknownClaim)?;
        let found = self.find(&AuthorizationKey::Lookup(Lookup::from(claim))).await?;
        let authorization = found.ok_or(CeremonyError::UnknownClaim)?;
        let flow = KnownFlow::of(&authorization)?;
        Ok((authorization, flow))
    }

    /// Finds the authorization request with this key, if it was made for one of this service's resources.
    async fn find(&self, key: &AuthorizationKey) -> Result<Option<AuthorizationRequest>, CeremonyError> {
        let found = self.store.find_authorization(key).await?;
        Ok(found.filter(|authorization| self.config.resource_with_id(&authorization.resource).is_some()))
    }
}

impl fmt::Debug for Ceremony {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ceremony").field("issuer", &self.config.issuer()).finish_non_exhaustive()
    }
}

/// Why a step of the ceremony was refused or failed. The text is fixed: it never contains input or a secret.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum CeremonyError {
    /// The callback URL is invalid or not allowed. The fault is the agent's.
    #[error("the callback URL {0}")]
    Callback(#[from] CallbackError),
    /// The code challenge is invalid. The fault is the agent's.
    #[error(
        "the code challenge must be the SHA-256 of the code verifier, as 43 characters of base64url or 64 lower-case \
         hexadecimal digits"
    )]
    InvalidChallenge,
    /// The state value is too long. The fault is the agent's.
    #[error("the state must be {longest} bytes at most")]
    StateTooLong {
        /// The maximum length in bytes.
        longest: usize,
    },
    /// A code verifier was presented for a flow without a code challenge. The fault is the agent's.
    #[error("the code verifier is not for this login: it was started without a code challenge")]
    UnexpectedVerifier,
    /// The service does not offer the requested way to sign in. The fault is the agent's.
    #[error("the way to sign in must be one of: {offered}")]
    UnknownMethod {
        /// The ways to sign in that the service offers.
        offered: String,
    },
    /// No scope was requested, and the resource has no default scopes. The fault is the agent's.
    #[error("name one or more scopes of: {offered}")]
    NoScope {
        /// The scopes that may be requested.
        offered: String,
    },
    /// A requested scope is not offered to agents at the resource. The fault is the agent's.
    #[error("a scope is not offered; offered are: {offered}")]
    UnknownScope {
        /// The scopes that may be requested.
        offered: String,
    },
    /// Too many authorization requests from one address are pending. The fault is the agent's, or of another client on
    /// its network.
    #[error("too many requests for access from your network are waiting for their humans; finish one or try later")]
    TooManyFromSource,
    /// Too many authorization requests are pending in total, and humans have opened them. No single client is at fault.
    #[error("too many requests for access are waiting for their humans; try later")]
    TooManyPending,
    /// Too many clients have registered that no human has approved. No single client is at fault.
    #[error("too many clients have registered and were never used; try later")]
    TooManyClients,
    /// The claim token is malformed or unknown. The fault is the agent's.
    #[error("the claim token is malformed or unknown; send the one that the registration answered, or register anew")]
    UnknownClaim,
    /// There is no authorization request with this id. The approval link is at fault.
    #[error("there is no such request for access")]
    UnknownAuthorization,
    /// The human has not decided yet.
    #[error("your human has not decided yet; show them the approval link and ask again after {} seconds", interval.as_secs())]
    Pending {
        /// How long to wait before the next poll.
        interval: Duration,
    },
    /// The agent polls too often. The fault is the agent's.
    #[error("you ask too often; wait {} seconds each time", interval.as_secs())]
    SlowDown {
        /// How long to wait before the next poll.
        interval: Duration,
    },
    /// The login mode is off. The fault is the agent's.
    #[error("this service has switched off {0}; choose a way that its documents name")]
    LoginOff(&'static str),
    /// The authorization request is unknown, or the code, verifier or token presented for it is wrong. The error does
    /// not say which.
    #[error("invalid auth request, code or token; send what the login answered exactly, or start a new login")]
    WrongCode,
    /// The login is redeemed with finish code and poll token, and the poll token was not sent. The fault is the
    /// agent's.
    #[error("the poll token is required: this service does not take a finish code alone")]
    PollTokenRequired,
    /// Too many wrong codes were presented. The login is locked.
    #[error("auth request revoked: too many wrong codes were presented; start a new login")]
    Locked,
    /// The agent polls far too often. The fault is the agent's.
    #[error("you poll too often; every two seconds is enough")]
    TooFast {
        /// How long to wait before the next poll.
        wait: Duration,
    },
    /// The human did not type the code that their agent shows. The page asks again; the fifth wrong code locks the request.
    #[error("the code is not the one that your agent shows")]
    WrongUserCode,
    /// The human typed no code, and this service shows none to read back.
    #[error("type the code that your agent shows")]
    UserCodeRequired,
    /// The host makes no accounts for agents that nobody has claimed
    /// ([`Accounts::provisional`](crate::accounts::Accounts::provisional)). The fault is the agent's: another way is open.
    #[error("this service lets no agent act before a human has claimed it")]
    NoProvisionalAccount,
    /// An approval of another account stands for the identity that another issuer vouches for. The human is signed in with the
    /// wrong account, or ends that approval first.
    #[error("this identity acts for another account; sign in there, or end its access there first")]
    LinkedElsewhere,
    /// The identity assertion is malformed, unknown, expired or revoked. The error does not say which.
    #[error("the assertion is not valid any more; refresh it, or ask for access anew")]
    InvalidAssertion,
    /// The refresh token is malformed, unknown, another client's, already used, expired or revoked. The error does not say
    /// which.
    #[error("the session has ended: its refresh token is not valid any more; log in again")]
    InvalidRefresh,
    /// The token was issued to another client (RFC 7009 section 2.1). Nothing was revoked. The fault is the agent's.
    #[error("the token was issued to another client; only that client can revoke it")]
    WrongClient,
    /// The requested resource is none of this service's, or not the session's. The fault is the agent's.
    #[error(
        "the resource must be the identifier of a resource of this service, the session's own one for a refresh, \
             or be left out"
    )]
    InvalidTarget,
    /// The human's sign-in is too old to approve with.
    #[error("to approve, sign in again")]
    SignInTooOld,
    /// The human denied, or agents may no longer act for the account.
    #[error("access was denied; do not ask again unless your human tells you to")]
    Denied,
    /// The authorization request expired before it was redeemed.
    #[error("the request for access has expired; register anew")]
    Expired,
    /// The authorization request was already redeemed.
    #[error("the claim was completed before, and its credential was delivered once; register anew if it is lost")]
    AlreadyClaimed,
    /// The approval was revoked.
    #[error("the approval was taken back; do not ask again unless your human tells you to")]
    Revoked,
    /// Another account opened the approval page first. The human is signed in with the wrong account.
    #[error("the request for access was not opened by this account")]
    WrongAccount,
    /// The host does not allow agents to act for the account any longer. Neither the agent nor the service is at fault.
    #[error("the account may no longer be acted for")]
    Inactive,
    /// The human already decided.
    #[error("the request for access was decided before")]
    AlreadyDecided,
    /// The human approved a scope that was not requested, or none. The form is at fault.
    #[error("approve one or more of the scopes that were asked for")]
    NotRequested,
    /// The human chose a length of the session that the configuration does not offer. The form is at fault.
    #[error("the session can't last that long or that short; choose one of the lengths that are offered")]
    NoSuchChoice,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The host's accounts failed.
    #[error(transparent)]
    Accounts(#[from] AccountsError),
    /// The source of randomness failed.
    #[error(transparent)]
    Random(#[from] RandomError),
}

crate::types::error_chain::debug_as_text!(CeremonyError);

impl CeremonyError {
    /// Whether the service itself failed. The response is 503.
    #[must_use]
    pub const fn is_unavailable(&self) -> bool {
        matches!(self, Self::Store(_) | Self::Accounts(_) | Self::Random(_))
    }

    /// Whether stored data may have changed although the step failed: the store failed during a write, or after one. A
    /// response must then not say that nothing was changed.
    #[must_use]
    pub const fn may_have_changed(&self) -> bool {
        matches!(self, Self::Store(error) if error.may_have_changed())
    }

    /// The error of a step that follows a write.
    fn after_a_write(self) -> Self {
        match self {
            Self::Store(error) => Self::Store(error.of_a_write()),
            other => other,
        }
    }
}

impl Ceremony {
    /// Records a status poll by claim token while the request is pending. `Err` if it is too soon. Both variants
    /// contain the interval to keep.
    fn ask(&self, authorization: &AuthorizationRequest) -> (State, Result<Duration, Duration>) {
        match authorization.state_at(self.now()) {
            State::Pending => (State::Pending, self.polling.ask(authorization)),
            state => (state, Ok(self.config.limits().poll_interval)),
        }
    }

    /// The refusal when an authorization request in this state can't be redeemed.
    fn for_state(&self, authorization: &AuthorizationRequest, state: State) -> CeremonyError {
        match state {
            State::Pending | State::Approved => {
                CeremonyError::Pending { interval: self.polling.interval(&authorization.id) }
            }
            State::Denied => CeremonyError::Denied,
            State::Redeemed => CeremonyError::AlreadyClaimed,
            State::Revoked => CeremonyError::Revoked,
            State::Locked => CeremonyError::Locked,
            State::Expired => CeremonyError::Expired,
        }
    }
}
