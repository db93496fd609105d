//! A session: what a redeemed authorization request becomes.
//!
//! An agent session is never an account-owner session: it carries scopes that a human granted, an end, and the account
//! that it acts for, and it can be seen and taken back by that account's human at any time.
//!
//! A [`Session`] is what a token check reads and a handler sees. A [`SessionRecord`] is all that a store keeps of it: what
//! the human's list shows, and what the ceremony decides by.
//!
//! ```
//! # use tower_agent_auth::types::{clock::Timestamp, session::{Session, SessionRecord, SessionState}};
//! fn handle(session: &Session) -> String {
//!     format!("{} acts for {} with {}", session.client, session.account.label, session.scopes)
//! }
//!
//! fn show(record: &SessionRecord, now: Timestamp) -> Option<String> {
//!     let active = record.state_at(now) == SessionState::Active;
//!     active.then(|| format!("{}, since {}", handle(&record.session), record.created_at))
//! }
//! ```

use std::{
    fmt,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use super::{
    authorization::{Account, Client, Redemption},
    clock::Timestamp,
    id::{AuthorizationRequestId, SessionId},
    scope::ScopeSet,
    secret::{Access, Digest, Refresh},
    text::HumanText,
};

/// A session as a token check reads it and a handler sees it. A [`SessionRecord`] is all that is kept of it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Session {
    /// The digest of its access token, by which stores find it. Unique. Nobody can call with it; it is none the less not for
    /// logs and answers, where `id` is the name.
    pub access: Digest<Access>,
    /// From when on the access token is refused.
    pub expires_at: Timestamp,
    /// When a use was last noted, so that one is noted once a minute and not for each request.
    pub noted: Noted,
    /// The resource identifier (RFC 9728 section 2) that it is good for.
    pub resource: Arc<str>,
    /// What the access token is good for: all that was granted, or less if the agent asked for less when it refreshed.
    pub scopes: ScopeSet,
    /// The account that it acts for.
    pub account: Account,
    /// What its client calls itself.
    pub client: HumanText,
    /// The public name.
    pub id: SessionId,
}

impl Session {
    /// A session for a store to answer, never used so far.
    #[must_use]
    pub fn new(
        id: SessionId,
        access: Digest<Access>,
        resource: impl Into<Arc<str>>,
        account: Account,
        client: HumanText,
        scopes: ScopeSet,
        expires_at: Timestamp,
    ) -> Self {
        let (resource, noted) = (resource.into(), Noted::default());
        Self { access, expires_at, noted, resource, scopes, account, client, id }
    }

    /// Whether its access token is good for that resource at `now`. That it was not revoked, whoever found it knows: no
    /// store finds one that was.
    #[must_use]
    pub fn is_good(&self, resource: &str, now: Timestamp) -> bool {
        !self.expires_at.has_passed(now) && self.is_for(resource)
    }

    /// Whether a use at `now` is worth noting; if so it counts as noted.
    pub(crate) fn note_use(&self, now: Timestamp) -> bool {
        if now.as_millis().saturating_sub(self.noted.0.load(Ordering::Relaxed)) < Noted::COARSE {
            return false;
        }
        self.noted.0.store(now.as_millis(), Ordering::Relaxed);
        true
    }

    fn is_for(&self, resource: &str) -> bool {
        *self.resource == *resource
    }
}

/// A session with all that is kept of it: what its human's list shows, and what the ceremony decides by.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct SessionRecord {
    /// The session.
    pub session: Arc<Session>,
    /// The authorization request that it came from.
    pub authorization: AuthorizationRequestId,
    /// Who asked for it. Its name is the session's `client`.
    pub client: Client,
    /// What the human granted.
    pub granted: ScopeSet,
    /// When it was issued.
    pub created_at: Timestamp,
    /// Who redeemed the authorization request.
    pub redeemer: Redeemer,
    /// From when on the refresh token is refused, and the session is over.
    pub refresh_expires_at: Timestamp,
    /// The last use that was written down, to the minute.
    pub last_use: Option<Use>,
    /// When and by whom it was taken back.
    pub revoked: Option<Revocation>,
}

/// Where a session stands at an instant.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum SessionState {
    /// It can be used, or continued by its refresh token.
    Active,
    /// Its time is over.
    Expired,
    /// It was taken back.
    Revoked,
}

impl SessionRecord {
    /// The record of a new session: granted what its access token is good for, and over when that expires.
    #[must_use]
    pub fn new(session: Session, authorization: AuthorizationRequestId, client: Client, created_at: Timestamp) -> Self {
        Self {
            authorization,
            client,
            granted: session.scopes.clone(),
            created_at,
            redeemer: Redeemer::default(),
            refresh_expires_at: session.expires_at,
            last_use: None,
            revoked: None,
            session: Arc::new(session),
        }
    }

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
        self.revoked.is_none() && self.session.is_good(resource, now)
    }

    /// Whether its refresh token is.
    #[must_use]
    pub fn is_alive(&self, resource: &str, now: Timestamp) -> bool {
        self.revoked.is_none() && !self.refresh_expires_at.has_passed(now) && self.session.is_for(resource)
    }

    /// From when on neither of its tokens is good, unless it is refreshed before.
    #[must_use]
    pub fn ends_at(&self) -> Timestamp {
        self.session.expires_at.max(self.refresh_expires_at)
    }
}

/// Who redeemed an authorization request, as far as the request tells.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Redeemer {
    /// From which network address, if the host tells.
    pub address: Option<IpAddr>,
    /// What the program called itself in `User-Agent`: its own claim.
    pub program: Option<HumanText>,
}

impl Redeemer {
    /// Somebody at that address, with a program of that name.
    #[must_use]
    pub const fn new(address: Option<IpAddr>, program: Option<HumanText>) -> Self {
        Self { address, program }
    }
}

/// A use of a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Use {
    /// When.
    pub at: Timestamp,
    /// From which network address, if the host tells.
    pub address: Option<IpAddr>,
}

impl Use {
    /// A use at that instant, from that address if the host tells.
    #[must_use]
    pub const fn new(at: Timestamp, address: Option<IpAddr>) -> Self {
        Self { at, address }
    }
}

/// When a use of a session was last noted by a guard of this process, or written down by any: guards note one a minute.
/// It is no part of what a session is: all are equal.
pub struct Noted(AtomicI64);

impl Noted {
    /// Uses closer together than so many milliseconds are one.
    const COARSE: i64 = 60_000;

    /// For a session whose last use that is written down was then; `None` is never, and so is the default. A store that
    /// leaves it out makes a guard note, and so the store write, a use each time that it is read.
    #[must_use]
    pub fn since(last_use: Option<Timestamp>) -> Self {
        Self(AtomicI64::new(last_use.map_or(i64::MIN, Timestamp::as_millis)))
    }

    /// A use at `at` was written down.
    pub(crate) fn advance(&self, at: Timestamp) {
        self.0.fetch_max(at.as_millis(), Ordering::Relaxed);
    }
}

impl Default for Noted {
    fn default() -> Self {
        Self::since(None)
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
#[non_exhaustive]
pub struct Revocation {
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub by: RevokedBy,
}

impl Revocation {
    /// A revocation at that instant.
    #[must_use]
    pub const fn new(at: Timestamp, by: RevokedBy) -> Self {
        Self { at, by }
    }
}

/// Who took a session back.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
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

/// A session on its way into a store, with the digest of its refresh token.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NewSession {
    /// The session.
    pub session: SessionRecord,
    /// The digest of its refresh token. Unique.
    pub refresh: Digest<Refresh>,
    /// What is left of the authorization request.
    pub redemption: Redemption,
}

impl NewSession {
    /// A session with its refresh token, of an authorization request that is redeemed by it.
    #[must_use]
    pub const fn new(session: SessionRecord, refresh: Digest<Refresh>) -> Self {
        Self { session, refresh, redemption: Redemption::Once }
    }
}

/// New secrets on their way into a store, for a session that is refreshed.
#[derive(Clone, Debug)]
#[non_exhaustive]
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

impl Refreshed {
    /// A refresh at that instant, of that salt.
    #[must_use]
    pub const fn new(at: Timestamp, salt: Salt) -> Self {
        Self { at, salt }
    }
}

impl RefreshTokenState {
    /// A refresh token of `session` that was the current one `age` refreshes ago.
    #[must_use]
    pub const fn new(session: SessionRecord, age: u64, last: Option<Refreshed>) -> Self {
        Self { session, age, last }
    }
}

/// What a store knows of a refresh token, be it the session's current one or one that was used up.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RefreshTokenState {
    /// Its session, which may have ended.
    pub session: SessionRecord,
    /// How many refreshes ago it was the current one; zero if it is.
    pub age: u64,
    /// The session's last refresh.
    pub last: Option<Refreshed>,
}

/// The last refresh of a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Refreshed {
    /// When.
    pub at: Timestamp,
    /// The salt of that [`Rotation`].
    pub salt: Salt,
}
