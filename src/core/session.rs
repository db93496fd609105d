//! A session: what a redeemed registration becomes.
//!
//! An agent session is never an account-owner session: it carries scopes that a human granted, an end, and the account
//! that it acts for, and it can be seen and taken back by that account's human at any time.
//!
//! ```
//! # use tower_agent_auth::core::session::SessionState;
//! # fn show(session: &tower_agent_auth::core::session::Session, now: tower_agent_auth::core::clock::Timestamp) {
//! if session.state_at(now) == SessionState::Active {
//!     println!("{} acts for {} with {}", session.client.name, session.account.label, session.scopes);
//! }
//! # }
//! ```

use std::{net::IpAddr, sync::Arc};

use super::{
    clock::Timestamp,
    id::{RegistrationId, SessionId},
    registration::{Account, Client},
    scope::ScopeSet,
    secret::{Access, Digest, Refresh},
};

/// A session, as a store keeps it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Session {
    /// The public name.
    pub id: SessionId,
    /// The registration that it came from. Unique: a registration becomes one session at most.
    pub registration: RegistrationId,
    /// The resource identifier (RFC 9728 section 2) that it is good for.
    pub resource: Arc<str>,
    /// The account that it acts for.
    pub account: Account,
    /// Who asked for it.
    pub client: Client,
    /// What the human granted.
    pub scopes: ScopeSet,
    /// When it was issued.
    pub created_at: Timestamp,
    /// From when on the access token is refused.
    pub expires_at: Timestamp,
    /// From when on the refresh token is refused.
    pub refresh_expires_at: Timestamp,
    /// The last use that was written down, to the minute.
    pub last_use: Option<Use>,
    /// When and by whom it was taken back.
    pub revoked: Option<Revocation>,
}

/// Where a session stands at an instant.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SessionState {
    /// Its access token is good.
    Active,
    /// Its time is over.
    Expired,
    /// It was taken back.
    Revoked,
}

impl Session {
    /// Where the session stands at `now`.
    #[must_use]
    pub fn state_at(&self, now: Timestamp) -> SessionState {
        match self.revoked {
            Some(_) => SessionState::Revoked,
            None if self.expires_at.has_passed(now) => SessionState::Expired,
            None => SessionState::Active,
        }
    }
}

/// A use of a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Use {
    /// When.
    pub at: Timestamp,
    /// From which network address, if the host tells.
    pub address: Option<IpAddr>,
}

/// How a session ended before its time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Revocation {
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub by: RevokedBy,
}

/// Who took a session back.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum RevokedBy {
    /// The agent itself, by presenting the token.
    Agent,
    /// The account's human.
    Human,
    /// The host service, because the account is no longer active.
    Service,
}

impl RevokedBy {
    /// The name in stores and audit events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Human => "human",
            Self::Service => "service",
        }
    }
}

/// A session on its way into a store, with the digests of its secrets.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// The session.
    pub session: Session,
    /// The digest of its access token. Unique.
    pub access: Digest<Access>,
    /// The digest of its refresh token. Unique.
    pub refresh: Digest<Refresh>,
}
