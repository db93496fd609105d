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

use std::{
    fmt,
    net::IpAddr,
    ptr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use super::{
    clock::Timestamp,
    id::{RegistrationId, SessionId},
    registration::{Account, Client},
    scope::ScopeSet,
    secret::{Access, Digest, Refresh},
    text::HumanText,
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
    pub granted: ScopeSet,
    /// What the access token is good for: all that was granted, or less if the agent asked for less when it refreshed.
    pub scopes: ScopeSet,
    /// When it was issued.
    pub created_at: Timestamp,
    /// Who redeemed the registration.
    pub redeemer: Redeemer,
    /// From when on the access token is refused.
    pub expires_at: Timestamp,
    /// From when on the refresh token is refused, and the session is over.
    pub refresh_expires_at: Timestamp,
    /// The last use that was written down, to the minute.
    pub last_use: Option<Use>,
    /// When and by whom it was taken back.
    pub revoked: Option<Revocation>,
    /// Which uses this process has noted. A store leaves it at its default.
    pub noted: Noted,
}

/// Where a session stands at an instant.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SessionState {
    /// It can be used, or continued by its refresh token.
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
            None if self.ends_at().has_passed(now) => SessionState::Expired,
            None => SessionState::Active,
        }
    }

    /// Whether its access token is good for that resource at `now`.
    #[must_use]
    pub fn is_good(&self, resource: &str, now: Timestamp) -> bool {
        self.revoked.is_none() && !self.expires_at.has_passed(now) && self.is_for(resource)
    }

    /// Whether a use at `now` is worth noting; if so it counts as noted.
    pub(crate) fn note_use(&self, now: Timestamp) -> bool {
        let noted = Timestamp::from_millis(self.noted.0.load(Ordering::Relaxed));
        if now.since(noted) < Noted::COARSE {
            return false;
        }
        self.noted.0.store(now.as_millis(), Ordering::Relaxed);
        self.last_use.is_none_or(|last| now.since(last.at) >= Noted::COARSE)
    }

    /// Whether its refresh token is.
    #[must_use]
    pub fn is_alive(&self, resource: &str, now: Timestamp) -> bool {
        self.revoked.is_none() && !self.refresh_expires_at.has_passed(now) && self.is_for(resource)
    }

    /// Sessions that were issued here share one text with the configuration: then there is nothing to compare.
    fn is_for(&self, resource: &str) -> bool {
        ptr::eq(&*self.resource, resource) || *self.resource == *resource
    }

    /// From when on neither of its tokens is good, unless it is refreshed before.
    #[must_use]
    pub fn ends_at(&self) -> Timestamp {
        self.expires_at.max(self.refresh_expires_at)
    }
}

/// Who redeemed a registration, as far as the request tells.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Redeemer {
    /// From which network address, if the host tells.
    pub address: Option<IpAddr>,
    /// What the program called itself in `User-Agent`: its own claim.
    pub program: Option<HumanText>,
}

/// A use of a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Use {
    /// When.
    pub at: Timestamp,
    /// From which network address, if the host tells.
    pub address: Option<IpAddr>,
}

/// When a guard of this process last noted a use of a session, so that it does so once a minute and not for each request.
/// It is no part of what a session is: all are equal, and none is kept.
pub struct Noted(AtomicI64);

impl Noted {
    /// Uses closer together than this are one.
    const COARSE: Duration = Duration::from_secs(60);
}

impl Default for Noted {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }
}

impl Clone for Noted {
    fn clone(&self) -> Self {
        Self(AtomicI64::new(self.0.load(Ordering::Relaxed)))
    }
}

impl PartialEq for Noted {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Noted {}

impl fmt::Debug for Noted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Noted").finish_non_exhaustive()
    }
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
    /// This crate, because a secret came back that had been used up: somebody else may hold it.
    Reuse,
}

impl RevokedBy {
    /// The name in stores and audit events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Human => "human",
            Self::Service => "service",
            Self::Reuse => "reuse",
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

/// New secrets on their way into a store, for a session that is refreshed.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// The digest of the refresh token that is presented; it must be the session's current one.
    pub from: Digest<Refresh>,
    /// The digest of the new access token. Unique.
    pub access: Digest<Access>,
    /// The digest of the new refresh token. Unique.
    pub refresh: Digest<Refresh>,
    /// What the new secrets follow from, together with the old refresh token.
    pub salt: Salt,
    /// What the new access token is good for.
    pub scopes: ScopeSet,
    /// From when on the new access token is refused.
    pub expires_at: Timestamp,
    /// From when on the new refresh token is refused.
    pub refresh_expires_at: Timestamp,
}

/// Random bytes from which, with a refresh token, its successors follow. Alone it is worth nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Salt(pub [u8; 32]);

/// What a store knows of a refresh token, be it the session's current one or one that was used up.
#[derive(Clone, Debug)]
pub struct Lineage {
    /// Its session, which may have ended.
    pub session: Session,
    /// How many refreshes ago it was the current one; zero if it is.
    pub age: u64,
    /// The session's last refresh.
    pub last: Option<Refreshed>,
}

/// The last refresh of a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refreshed {
    /// When.
    pub at: Timestamp,
    /// The salt of that [`Rotation`].
    pub salt: Salt,
}
