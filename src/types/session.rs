//! A session: the result of a redeemed authorization request.
//!
//! An agent session is never an account-owner session. It carries the scopes that a human granted, an expiry, and the
//! account that it acts for. That account's human can see and revoke it at any time.
//!
//! A [`Session`] is the part that token checks read and handlers see. A [`SessionRecord`] is everything that a store
//! keeps, as used by the sessions page and the ceremony.
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
    clock::{SKEW, Timestamp},
    id::{AuthorizationRequestId, SessionId},
    scope::ScopeSet,
    secret::{Access, Digest, Refresh},
    text::HumanText,
};

/// A session as token checks read it and handlers see it. A [`SessionRecord`] contains everything that is stored.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Session {
    /// The digest of the access token, by which stores find the session. Unique. It can't authenticate a call, but must
    /// not appear in logs or responses; use `id` there.
    pub access: Digest<Access>,
    /// When the access token expires.
    pub expires_at: Timestamp,
    /// The last recorded use. Uses are recorded at most once a minute, not for each request.
    pub last_used: LastUsed,
    /// The resource identifier (RFC 9728 section 2) that the access token is valid for.
    pub resource: Arc<str>,
    /// The scopes of the access token: all granted scopes, or fewer if the agent requested fewer when it refreshed.
    pub scopes: ScopeSet,
    /// The account that the session acts for.
    pub account: Account,
    /// The name that the client gives itself.
    pub client: HumanText,
    /// The public identifier.
    pub id: SessionId,
}

impl Session {
    /// Creates a session that was never used, for a store to return.
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
        let (resource, last_used) = (resource.into(), LastUsed::default());
        Self { access, expires_at, last_used, resource, scopes, account, client, id }
    }

    /// Whether the access token is valid for `resource` at `now`. Revocation is not checked here: stores never return a
    /// revoked session.
    #[must_use]
    pub fn is_good(&self, resource: &str, now: Timestamp) -> bool {
        !self.expires_at.has_passed(now) && self.is_for(resource)
    }

    /// Whether a use at `now` should be recorded. If so, marks it as recorded.
    pub(crate) fn note_use(&self, now: Timestamp) -> bool {
        // A last use that is later than now was dated by a clock that has been corrected since.
        if now.as_millis().abs_diff(self.last_used.0.load(Ordering::Relaxed)) < LastUsed::COARSE {
            return false;
        }
        self.last_used.0.store(now.as_millis(), Ordering::Relaxed);
        true
    }

    fn is_for(&self, resource: &str) -> bool {
        *self.resource == *resource
    }
}

/// A session with everything that is stored, as used by the sessions page and the ceremony.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct SessionRecord {
    /// The session.
    pub session: Arc<Session>,
    /// The authorization request that it was created from.
    pub authorization: AuthorizationRequestId,
    /// The client that requested it. Its name equals the session's `client`.
    pub client: Client,
    /// The scopes that the human granted.
    pub granted: ScopeSet,
    /// When the session was issued.
    pub created_at: Timestamp,
    /// The party that redeemed the authorization request.
    pub redeemer: Redeemer,
    /// When the refresh token expires. For the end of the session, see [`ends_at`](Self::ends_at).
    pub refresh_expires_at: Timestamp,
    /// When the session ends at the latest, however often it is refreshed, if its human chose that. The lifetimes of the
    /// configuration may end it before.
    pub lasts_until: Option<Timestamp>,
    /// The name that its human gave it. Agents don't see it.
    pub name: Option<HumanText>,
    /// The last persisted use, to the minute.
    pub last_use: Option<Use>,
    /// When and by whom the session was revoked.
    pub revoked: Option<Revocation>,
}

/// The state of a session at an instant.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum SessionState {
    /// It can be used, or refreshed.
    Active,
    /// Both tokens have expired.
    Expired,
    /// It was revoked.
    Revoked,
}

impl SessionState {
    /// Its name in lists and exports: `active`, `expired` or `revoked`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl SessionRecord {
    /// Creates the record of a new session. It is granted the scopes of its access token, and ends when that expires.
    #[must_use]
    pub fn new(session: Session, authorization: AuthorizationRequestId, client: Client, created_at: Timestamp) -> Self {
        Self {
            authorization,
            client,
            granted: session.scopes.clone(),
            created_at,
            redeemer: Redeemer::default(),
            refresh_expires_at: session.expires_at,
            lasts_until: None,
            name: None,
            last_use: None,
            revoked: None,
            session: Arc::new(session),
        }
    }

    /// The state of the session at `now`.
    #[must_use]
    pub fn state_at(&self, now: Timestamp) -> SessionState {
        match self.revoked {
            Some(_) => SessionState::Revoked,
            None if self.ends_at().has_passed(now) => SessionState::Expired,
            None => SessionState::Active,
        }
    }

    /// Whether the access token is valid for `resource` at `now`.
    #[must_use]
    pub fn is_good(&self, resource: &str, now: Timestamp) -> bool {
        self.revoked.is_none() && self.session.is_good(resource, now)
    }

    /// Whether the refresh token is valid for `resource` at `now`.
    #[must_use]
    pub fn is_alive(&self, resource: &str, now: Timestamp) -> bool {
        self.revoked.is_none() && !self.refresh_expires_at.has_passed(now) && self.session.is_for(resource)
    }

    /// Revokes it, unless it is revoked already. Returns whether it was.
    pub fn revoke(&mut self, revocation: Revocation) -> bool {
        let is_new = self.revoked.is_none();
        if is_new {
            self.revoked = Some(revocation);
        }
        is_new
    }

    /// Records a use. An older use never replaces a newer one, unless that one is later than `now` by more than
    /// [`CLOCK_SKEW`](crate::store::CLOCK_SKEW). Returns whether it was recorded.
    pub fn record_use(&mut self, new: Use, now: Timestamp) -> bool {
        if self.last_use.is_some_and(|old| old.at >= new.at && old.at <= now.after(SKEW)) {
            return false;
        }
        self.last_use = Some(new);
        self.session.last_used.advance(new.at);
        true
    }

    /// Gives it the new secrets of a rotation that is legal.
    pub(crate) fn rotate(&mut self, rotation: &Rotation) {
        let session = Arc::make_mut(&mut self.session);
        session.access = rotation.access;
        session.scopes = rotation.scopes.clone();
        session.expires_at = rotation.expires_at;
        self.refresh_expires_at = rotation.refresh_expires_at;
    }

    /// When both tokens have expired, unless the session is refreshed before.
    #[must_use]
    pub fn ends_at(&self) -> Timestamp {
        self.session.expires_at.max(self.refresh_expires_at)
    }
}

/// The party that redeemed an authorization request, as far as known.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Redeemer {
    /// The network address, if the host provides it.
    pub address: Option<IpAddr>,
    /// The program's name in `User-Agent`, an unverified claim.
    pub program: Option<HumanText>,
}

impl Redeemer {
    /// Creates a redeemer with this address and program name.
    #[must_use]
    pub const fn new(address: Option<IpAddr>, program: Option<HumanText>) -> Self {
        Self { address, program }
    }
}

/// A use of a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Use {
    /// The time of the use.
    pub at: Timestamp,
    /// The network address, if the host provides it.
    pub address: Option<IpAddr>,
}

impl Use {
    /// Creates a use at `at`, with the network address if the host provides it.
    #[must_use]
    pub const fn new(at: Timestamp, address: Option<IpAddr>) -> Self {
        Self { at, address }
    }
}

/// The last recorded use of a session: by a guard of this process, or as persisted by any process. Guards record at
/// most one use a minute. All values compare equal, because the last use is not part of a session's identity.
pub struct LastUsed(AtomicI64);

impl LastUsed {
    /// The interval in milliseconds within which several uses count as one.
    const COARSE: u64 = 60_000;

    /// Initialises from the persisted last-used time; `None`, the default, means never used. If a store omits it, each
    /// read of the session causes one recorded use and one store write.
    #[must_use]
    pub fn since(last_use: Option<Timestamp>) -> Self {
        Self(AtomicI64::new(last_use.map_or(i64::MIN, Timestamp::as_millis)))
    }

    /// Records that a use at `at` was persisted.
    pub(crate) fn advance(&self, at: Timestamp) {
        self.0.fetch_max(at.as_millis(), Ordering::Relaxed);
    }
}

impl Default for LastUsed {
    fn default() -> Self {
        Self::since(None)
    }
}

impl Clone for LastUsed {
    fn clone(&self) -> Self {
        Self(AtomicI64::new(self.0.load(Ordering::Relaxed)))
    }
}

impl PartialEq for LastUsed {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for LastUsed {}

impl fmt::Debug for LastUsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastUsed").finish_non_exhaustive()
    }
}

/// The revocation of a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Revocation {
    /// The time of the revocation.
    pub at: Timestamp,
    /// The party that revoked it.
    pub by: RevokedBy,
}

impl Revocation {
    /// Creates a revocation at `at` by `by`.
    #[must_use]
    pub const fn new(at: Timestamp, by: RevokedBy) -> Self {
        Self { at, by }
    }
}

/// The party that revoked a session.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum RevokedBy {
    /// The agent itself, by presenting the token.
    Agent,
    /// The account's human.
    Human,
    /// The host service: because the account is no longer active, or on its operators' request.
    Service,
    /// This crate, because a used-up secret was presented again. Another party may hold it.
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

/// A new session to store, with the digest of its refresh token.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NewSession {
    /// The session.
    pub session: SessionRecord,
    /// The digest of its refresh token. Unique.
    pub refresh: Digest<Refresh>,
    /// Whether the authorization request can be redeemed again.
    pub redemption: Redemption,
}

impl NewSession {
    /// Creates a session with its refresh token. The authorization request can be redeemed once.
    #[must_use]
    pub const fn new(session: SessionRecord, refresh: Digest<Refresh>) -> Self {
        Self { session, refresh, redemption: Redemption::Once }
    }
}

/// New secrets to store for a refreshed session.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Rotation {
    /// The digest of the presented refresh token, which must be the session's current one.
    pub from: Digest<Refresh>,
    /// The digest of the new access token. Unique.
    pub access: Digest<Access>,
    /// The digest of the new refresh token. Unique.
    pub refresh: Digest<Refresh>,
    /// The salt from which the new secrets are derived, together with the old refresh token.
    pub salt: Salt,
    /// The scopes of the new access token.
    pub scopes: ScopeSet,
    /// When the new access token expires.
    pub expires_at: Timestamp,
    /// When the new refresh token expires.
    pub refresh_expires_at: Timestamp,
}

/// Random bytes from which secrets are derived, together with a secret that is not stored: the successors of a refresh
/// token, and the code that an approval hands out. Useless alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "stored salts have this size for ever")]
pub struct Salt(pub [u8; 32]);

impl Refreshed {
    /// Creates a refresh at `at` with `salt`.
    #[must_use]
    pub const fn new(at: Timestamp, salt: Salt) -> Self {
        Self { at, salt }
    }
}

impl RefreshTokenState {
    /// Creates the state of a refresh token of `session` that was current `age` refreshes ago.
    #[must_use]
    pub const fn new(session: SessionRecord, age: u64, last: Option<Refreshed>) -> Self {
        Self { session, age, last }
    }
}

/// The stored state of a refresh token, current or used up.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RefreshTokenState {
    /// The session of the token, which may have ended.
    pub session: SessionRecord,
    /// The number of refreshes since the token was current; zero if it is current.
    pub age: u64,
    /// The session's last refresh.
    pub last: Option<Refreshed>,
}

/// The last refresh of a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Refreshed {
    /// The time of the refresh.
    pub at: Timestamp,
    /// The salt of that [`Rotation`].
    pub salt: Salt,
}
