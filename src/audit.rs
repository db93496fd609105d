//! Audit events: one typed event for each change of state, without secrets.
//!
//! ```
//! use std::sync::{Arc, Mutex};
//! use tower_agent_auth::{audit::{AuditSink, Event}, types::clock::Timestamp};
//!
//! #[derive(Clone, Default)]
//! struct Names(Arc<Mutex<Vec<&'static str>>>);
//!
//! impl AuditSink for Names {
//!     fn record(&self, _: Timestamp, event: &Event) {
//!         self.0.lock().unwrap().push(event.name());
//!     }
//! }
//!
//! let names = Names::default();
//! names.record(Timestamp::from_millis(0), &Event::TokenInQuery);
//! assert_eq!(*names.0.lock().unwrap(), ["token_in_query"]);
//! ```

use std::{net::IpAddr, sync::Arc, time::Duration};

use crate::types::{
    clock::Timestamp,
    error_chain::chain,
    id::{AccountId, AuthorizationRequestId, ClientId, SessionId},
    scope::ScopeSet,
    session::RevokedBy,
    text::HumanText,
};

/// Receives audit events. It is called while a request is served, so it must return quickly.
pub trait AuditSink: Send + Sync + 'static {
    /// Records one event.
    fn record(&self, at: Timestamp, event: &Event);
}

/// An audit event.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// An agent made an authorization request.
    Requested {
        /// The authorization request.
        authorization: AuthorizationRequestId,
        /// The name of its [flow](crate::ceremony::KnownFlow::name).
        flow: &'static str,
        /// What the client calls itself.
        client: HumanText,
        /// The client's address.
        address: Option<IpAddr>,
        /// The requested scopes.
        requested: ScopeSet,
    },
    /// A signed-in human was the first to open the approval page.
    Viewed {
        /// The authorization request.
        authorization: AuthorizationRequestId,
        /// The account that the request is now bound to.
        account: AccountId,
    },
    /// Too many requests were pending, and this one, which no human had opened, expired early to make room for another.
    Displaced {
        /// The authorization request.
        authorization: AuthorizationRequestId,
    },
    /// The browser that opened the approval page released the request, so that another account can open it.
    Released {
        /// The authorization request.
        authorization: AuthorizationRequestId,
        /// The account that the request was bound to.
        account: AccountId,
    },
    /// The human approved.
    Approved {
        /// The authorization request.
        authorization: AuthorizationRequestId,
        /// The account.
        account: AccountId,
        /// The requested scopes.
        requested: ScopeSet,
        /// The granted scopes.
        granted: ScopeSet,
        /// How long the human lets the session last, if they were offered a choice.
        lasting: Option<Duration>,
    },
    /// The human denied.
    Denied {
        /// The authorization request.
        authorization: AuthorizationRequestId,
        /// The account.
        account: AccountId,
    },
    /// An approval was taken back before the agent collected it.
    TakenBack {
        /// The authorization request.
        authorization: AuthorizationRequestId,
        /// The account.
        account: AccountId,
        /// What the client calls itself.
        client: HumanText,
        /// The id of the OAuth client.
        client_id: Option<ClientId>,
        /// Who took it back.
        by: RevokedBy,
        /// Why, if the service's operators gave a reason.
        reason: Option<Reason>,
    },
    /// The agent redeemed the request for a session.
    Redeemed {
        /// The authorization request.
        authorization: AuthorizationRequestId,
        /// The session.
        session: SessionId,
        /// The account.
        account: AccountId,
        /// The client's address.
        address: Option<IpAddr>,
    },
    /// An agent that nobody has claimed got an account of its own.
    Unclaimed {
        /// The authorization request.
        authorization: AuthorizationRequestId,
        /// The provisional account.
        account: AccountId,
    },
    /// A human claimed an agent that had acted for a provisional account. The host merged the two.
    Claimed {
        /// The authorization request.
        authorization: AuthorizationRequestId,
        /// The provisional account.
        provisional: AccountId,
        /// The human's account.
        account: AccountId,
    },
    /// Another issuer vouched for an agent's human, whose approval stands. The agent was let in without asking again.
    Vouched {
        /// The authorization request.
        authorization: AuthorizationRequestId,
        /// The account.
        account: AccountId,
        /// The scopes that were given.
        scopes: ScopeSet,
    },
    /// An agent of the auth.md protocol proved itself, and got its assertion.
    Identified {
        /// The authorization request.
        authorization: AuthorizationRequestId,
    },
    /// An agent of the auth.md protocol renewed its assertion.
    IdentityRefreshed {
        /// The authorization request.
        authorization: AuthorizationRequestId,
    },
    /// A used refresh token of an identity was presented again. Two parties may hold it, so the identity was ended.
    IdentityReused {
        /// The authorization request.
        authorization: AuthorizationRequestId,
    },
    /// A wrong code was presented, and counted as a failed attempt.
    CodeFailed {
        /// The authorization request.
        authorization: AuthorizationRequestId,
    },
    /// Too many wrong codes were presented. The login is locked.
    Locked {
        /// The authorization request.
        authorization: AuthorizationRequestId,
    },
    /// An agent refreshed its session.
    Refreshed {
        /// The session.
        session: SessionId,
    },
    /// A used refresh token was presented again within the grace period. The same successor was returned.
    RefreshRepeated {
        /// The session.
        session: SessionId,
    },
    /// A used secret was presented again. Two parties may hold it, so the session was revoked.
    ReuseDetected {
        /// The session.
        session: SessionId,
    },
    /// A session was revoked before it expired. Of all nodes, the one that revoked it records it. No event tells that a
    /// session has expired.
    Revoked {
        /// The session.
        session: SessionId,
        /// The account; `None` if it was revoked by a token and the store could not be asked afterwards.
        account: Option<AccountId>,
        /// What the client calls itself; `None` if the store could not be asked afterwards.
        client: Option<HumanText>,
        /// The id of the OAuth client.
        client_id: Option<ClientId>,
        /// Who revoked it.
        by: RevokedBy,
        /// Why, if the service's operators gave a reason. No store keeps it.
        reason: Option<Reason>,
    },
    /// The human named a session, or took its name away.
    Renamed {
        /// The session.
        session: SessionId,
        /// The account.
        account: AccountId,
    },
    /// The host had all that was stored about an account deleted.
    AccountForgotten {
        /// The account.
        account: AccountId,
        /// Why, if the service's operators gave a reason.
        reason: Option<Reason>,
    },
    /// A notification to the account's human was not delivered. Nothing else failed.
    NotificationFailed {
        /// The authorization request.
        authorization: AuthorizationRequestId,
        /// What is wrong, with its causes.
        error: String,
    },
    /// An agent called an owner-only route, or a route without a rule.
    OwnerOnlyRefused {
        /// The session.
        session: SessionId,
    },
    /// The metadata document of an OAuth client could not be fetched, or is not valid. Nothing was granted.
    ClientMetadataRefused {
        /// The client, whose id is the URL of the document.
        client: ClientId,
        /// What is wrong, with its causes.
        error: String,
    },
    /// A request carried a token in its query, where it may be logged. The token was ignored, or the request refused.
    TokenInQuery,
    /// A request had no client address, so the configured limits by source have no effect. Recorded once for each
    /// [`AgentAuth`](crate::AgentAuth). See [`peer_address`](crate::AgentAuthBuilder::peer_address).
    NoClientAddress,
    /// The service is put together so that agents can't find out how to ask for access. Recorded once for each
    /// [`AgentAuth`](crate::AgentAuth). `testing::check` (feature `testing`) finds such faults before they matter.
    Misassembled {
        /// What is wrong, and the remedy.
        problem: &'static str,
    },
    /// The store, the accounts or the source of randomness failed. A request that depended on it got a 503 response.
    Unavailable {
        /// The error text, with its causes.
        error: String,
    },
}

/// Why the service's operators revoked something: one line for the audit log, of at most 300 characters.
///
/// ```
/// use tower_agent_auth::audit::Reason;
///
/// let reason = Reason::new("ticket 4711:\nlaptop stolen");
/// assert_eq!(reason.as_str(), "ticket 4711: laptop stolen");
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reason(Arc<str>);

impl Reason {
    /// The most characters of a reason.
    const LONGEST: usize = 300;

    /// The text in one line: control characters become blanks, blanks at its ends are removed, and what is too long is
    /// cut.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let line: String = text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
        Self(line.trim().chars().take(Self::LONGEST).collect::<String>().into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Event {
    /// The event's name in logs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Requested { .. } => "requested",
            Self::Viewed { .. } => "viewed",
            Self::Released { .. } => "released",
            Self::Displaced { .. } => "displaced",
            Self::Approved { .. } => "approved",
            Self::Denied { .. } => "denied",
            Self::TakenBack { .. } => "taken_back",
            Self::Redeemed { .. } => "redeemed",
            Self::Unclaimed { .. } => "unclaimed",
            Self::Claimed { .. } => "claimed",
            Self::Vouched { .. } => "vouched",
            Self::Identified { .. } => "identified",
            Self::IdentityRefreshed { .. } => "identity_refreshed",
            Self::IdentityReused { .. } => "identity_reused",
            Self::CodeFailed { .. } => "code_failed",
            Self::Locked { .. } => "locked",
            Self::Refreshed { .. } => "refreshed",
            Self::RefreshRepeated { .. } => "refresh_repeated",
            Self::ReuseDetected { .. } => "reuse_detected",
            Self::Revoked { .. } => "revoked",
            Self::Renamed { .. } => "renamed",
            Self::AccountForgotten { .. } => "account_forgotten",
            Self::NotificationFailed { .. } => "notification_failed",
            Self::OwnerOnlyRefused { .. } => "owner_only_refused",
            Self::ClientMetadataRefused { .. } => "client_metadata_refused",
            Self::TokenInQuery => "token_in_query",
            Self::NoClientAddress => "no_client_address",
            Self::Misassembled { .. } => "misassembled",
            Self::Unavailable { .. } => "unavailable",
        }
    }
}

impl Event {
    /// The event for an error, with its chain of causes.
    pub(crate) fn unavailable(error: &(dyn std::error::Error + 'static)) -> Self {
        Self::Unavailable { error: chain(error) }
    }

    pub(crate) fn client_metadata_refused(client: &ClientId, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::ClientMetadataRefused { client: client.clone(), error: chain(error) }
    }
}

/// Drops every event. The default sink.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NoAudit;

impl AuditSink for NoAudit {
    fn record(&self, _: Timestamp, _: &Event) {}
}

/// Writes each event as one `tracing` event with the target `tower_agent_auth::audit`.
#[cfg(feature = "tracing")]
#[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "it has no settings, and is written as a value")]
pub struct TracingAudit;

#[cfg(feature = "tracing")]
impl AuditSink for TracingAudit {
    fn record(&self, at: Timestamp, event: &Event) {
        use tracing::{info, warn};
        const TARGET: &str = "tower_agent_auth::audit";
        let name = event.name();
        match event {
            Event::Requested { authorization, flow, client, address, requested } => {
                let address = address.map(tracing::field::display);
                info!(target: TARGET, %at, name, %authorization, flow, client = client.as_str(), address, %requested);
            }
            Event::Viewed { authorization, account } => info!(target: TARGET, %at, name, %authorization, %account),
            Event::Displaced { authorization } => warn!(target: TARGET, %at, name, %authorization),
            Event::Approved { authorization, account, requested, granted, lasting } => {
                let lasting = lasting.map(|span| span.as_secs());
                info!(target: TARGET, %at, name, %authorization, %account, %requested, %granted, lasting);
            }
            Event::Released { authorization, account } | Event::Denied { authorization, account } => {
                info!(target: TARGET, %at, name, %authorization, %account);
            }
            Event::TakenBack { authorization, account, client, client_id, by, reason } => {
                let (by, reason) = (by.as_str(), reason.as_ref().map(Reason::as_str));
                let (client, client_id) = (client.as_str(), client_id.as_ref().map(ClientId::as_str));
                info!(target: TARGET, %at, name, %authorization, %account, client, client_id, by, reason);
            }
            Event::Redeemed { authorization, session, account, address } => {
                let address = address.map(tracing::field::display);
                info!(target: TARGET, %at, name, %authorization, %session, %account, address);
            }
            Event::Unclaimed { authorization, account } => info!(target: TARGET, %at, name, %authorization, %account),
            Event::Claimed { authorization, provisional, account } => {
                info!(target: TARGET, %at, name, %authorization, %provisional, %account);
            }
            Event::Vouched { authorization, account, scopes } => {
                info!(target: TARGET, %at, name, %authorization, %account, %scopes);
            }
            Event::Identified { authorization } | Event::IdentityRefreshed { authorization } => {
                info!(target: TARGET, %at, name, %authorization);
            }
            Event::IdentityReused { authorization } => warn!(target: TARGET, %at, name, %authorization),
            Event::CodeFailed { authorization } => warn!(target: TARGET, %at, name, %authorization),
            Event::Locked { authorization } => warn!(target: TARGET, %at, name, %authorization),
            Event::Refreshed { session } => info!(target: TARGET, %at, name, %session),
            Event::RefreshRepeated { session } => info!(target: TARGET, %at, name, %session),
            Event::ReuseDetected { session } => warn!(target: TARGET, %at, name, %session),
            Event::Revoked { session, account, client, client_id, by, reason } => {
                let (by, reason) = (by.as_str(), reason.as_ref().map(Reason::as_str));
                let account = account.as_ref().map(AccountId::as_str);
                let (client, client_id) =
                    (client.as_ref().map(HumanText::as_str), client_id.as_ref().map(ClientId::as_str));
                info!(target: TARGET, %at, name, %session, account, client, client_id, by, reason);
            }
            Event::Renamed { session, account } => info!(target: TARGET, %at, name, %session, %account),
            Event::AccountForgotten { account, reason } => {
                info!(target: TARGET, %at, name, %account, reason = reason.as_ref().map(Reason::as_str));
            }
            Event::NotificationFailed { authorization, error } => {
                warn!(target: TARGET, %at, name, %authorization, error);
            }
            Event::OwnerOnlyRefused { session } => warn!(target: TARGET, %at, name, %session),
            Event::ClientMetadataRefused { client, error } => warn!(target: TARGET, %at, name, %client, error),
            Event::TokenInQuery | Event::NoClientAddress => warn!(target: TARGET, %at, name),
            Event::Misassembled { problem } => warn!(target: TARGET, %at, name, problem),
            Event::Unavailable { error } => warn!(target: TARGET, %at, name, error),
        }
    }
}
