//! What happened, for the record: one typed event for each change of state, without secrets.
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

use std::net::IpAddr;

use crate::types::{
    clock::Timestamp,
    id::{AccountId, AuthorizationRequestId, SessionId},
    scope::ScopeSet,
    session::RevokedBy,
    text::HumanText,
};

/// Where events go. It is called on the request's path: hand over and return.
pub trait AuditSink: Send + Sync + 'static {
    /// Takes one event.
    fn record(&self, at: Timestamp, event: &Event);
}

/// Something that happened.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// An agent asked for access.
    Requested {
        /// The authorization request.
        authorization: AuthorizationRequestId,
        /// The name of its [flow](crate::ceremony::KnownFlow::name).
        flow: &'static str,
        /// What the client calls itself.
        client: HumanText,
        /// Where it asked from.
        address: Option<IpAddr>,
        /// What it asked for.
        requested: ScopeSet,
    },
    /// A signed-in human opened the approval page first.
    Viewed {
        /// The authorization request.
        authorization: AuthorizationRequestId,
        /// The account that it is bound to from now on.
        account: AccountId,
    },
    /// The human approved.
    Approved {
        /// The authorization request.
        authorization: AuthorizationRequestId,
        /// The account.
        account: AccountId,
        /// The scopes before.
        requested: ScopeSet,
        /// The scopes after.
        granted: ScopeSet,
    },
    /// The human refused.
    Denied {
        /// The authorization request.
        authorization: AuthorizationRequestId,
        /// The account.
        account: AccountId,
    },
    /// The agent came back and has its session.
    Redeemed {
        /// The authorization request.
        authorization: AuthorizationRequestId,
        /// The session.
        session: SessionId,
        /// The account.
        account: AccountId,
        /// Where it came from.
        address: Option<IpAddr>,
    },
    /// A wrong code was presented for an approved login, and counted.
    CodeFailed {
        /// The authorization request.
        authorization: AuthorizationRequestId,
    },
    /// Too many wrong codes were presented: the login is over.
    Locked {
        /// The authorization request.
        authorization: AuthorizationRequestId,
    },
    /// An agent refreshed its session.
    Refreshed {
        /// The session.
        session: SessionId,
    },
    /// A refresh token that was just used up came back, and was given the same answer.
    RefreshRepeated {
        /// The session.
        session: SessionId,
    },
    /// A secret came back that had been used up: two may hold the session, so it was ended.
    ReuseDetected {
        /// The session.
        session: SessionId,
    },
    /// A session ended before its time.
    Revoked {
        /// The session.
        session: SessionId,
        /// By whom.
        by: RevokedBy,
    },
    /// An agent knocked at a route that is the owner's alone, or that was given no class.
    OwnerOnlyRefused {
        /// The session.
        session: SessionId,
    },
    /// A request carried a token in its query, where it may be logged. It was ignored or refused.
    TokenInQuery,
    /// The store, the accounts or the source of randomness could not answer, and a request was answered 503.
    Unavailable {
        /// The failure as text, with its causes.
        error: String,
    },
}

impl Event {
    /// The event's name in logs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Requested { .. } => "requested",
            Self::Viewed { .. } => "viewed",
            Self::Approved { .. } => "approved",
            Self::Denied { .. } => "denied",
            Self::Redeemed { .. } => "redeemed",
            Self::CodeFailed { .. } => "code_failed",
            Self::Locked { .. } => "locked",
            Self::Refreshed { .. } => "refreshed",
            Self::RefreshRepeated { .. } => "refresh_repeated",
            Self::ReuseDetected { .. } => "reuse_detected",
            Self::Revoked { .. } => "revoked",
            Self::OwnerOnlyRefused { .. } => "owner_only_refused",
            Self::TokenInQuery => "token_in_query",
            Self::Unavailable { .. } => "unavailable",
        }
    }
}

impl Event {
    /// A failure with its chain of causes.
    pub(crate) fn unavailable(error: &(dyn std::error::Error + 'static)) -> Self {
        let causes = std::iter::successors(Some(error), |error| error.source());
        let texts: Vec<String> = causes.map(ToString::to_string).collect();
        Self::Unavailable { error: texts.join(": ") }
    }
}

/// Drops every event: what is used until a sink is given.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NoAudit;

impl AuditSink for NoAudit {
    fn record(&self, _: Timestamp, _: &Event) {}
}

/// Writes each event as one `tracing` event with the target `tower_agent_auth::audit`.
#[cfg(feature = "tracing")]
#[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
#[derive(Clone, Copy, Debug, Default)]
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
            Event::Approved { authorization, account, requested, granted } => {
                info!(target: TARGET, %at, name, %authorization, %account, %requested, %granted);
            }
            Event::Denied { authorization, account } => info!(target: TARGET, %at, name, %authorization, %account),
            Event::Redeemed { authorization, session, account, address } => {
                let address = address.map(tracing::field::display);
                info!(target: TARGET, %at, name, %authorization, %session, %account, address);
            }
            Event::CodeFailed { authorization } => warn!(target: TARGET, %at, name, %authorization),
            Event::Locked { authorization } => warn!(target: TARGET, %at, name, %authorization),
            Event::Refreshed { session } => info!(target: TARGET, %at, name, %session),
            Event::RefreshRepeated { session } => info!(target: TARGET, %at, name, %session),
            Event::ReuseDetected { session } => warn!(target: TARGET, %at, name, %session),
            Event::Revoked { session, by } => {
                info!(target: TARGET, %at, name, %session, by = by.as_str())
            }
            Event::OwnerOnlyRefused { session } => warn!(target: TARGET, %at, name, %session),
            Event::TokenInQuery => warn!(target: TARGET, %at, name),
            Event::Unavailable { error } => warn!(target: TARGET, %at, name, error),
        }
    }
}
