//! Where authorization requests and sessions are kept.
//!
//! * A service that only checks tokens needs a [`SessionStore`]: one method.
//! * A service that also runs the ceremony needs a [`CeremonyStore`].
//!
#![doc = include_str!("../../docs/stores.md")]
//!
//! # Example
//!
//! A store of one's own, for a service that only checks tokens:
//!
//! ```
//! use std::sync::Arc;
//! use tower_agent_auth::{types::{secret::{Access, Digest}, session::Session}, store::{SessionStore, StoreError}};
//!
//! struct Nobody;
//!
//! impl SessionStore for Nobody {
//!     async fn find_session(&self, _: &Digest<Access>) -> Result<Option<Arc<Session>>, StoreError> {
//!         Ok(None)
//!     }
//! }
//! ```

use std::{error::Error, fmt, future::Future, sync::Arc, task::Poll, time::Duration};

use crate::types::{
    authorization::{AuthorizationRequest, Transition},
    clock::Timestamp,
    id::{AccountId, AuthorizationRequestId, SessionId},
    secret::{Access, Claim, Digest, Refresh},
    session::{NewSession, RefreshTokenState, RevokedBy, Rotation, Session, SessionRecord, Use},
};

#[cfg(feature = "cache")]
mod cached;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
mod columns;
#[cfg(feature = "conformance")]
pub mod conformance;
pub(crate) mod erased;
pub(crate) mod last_used;
mod memory;
mod notices;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod sql;
#[cfg(feature = "sqlite")]
mod sqlite;
mod transfer;

#[cfg(feature = "redis")]
pub use self::redis::{RedisOptions, RedisStore, RedisWarning};
#[cfg(feature = "cache")]
pub use cached::{CacheOptions, CachedStore};
pub(crate) use last_used::LastUsedBuffer;
pub use memory::MemoryStore;
pub use notices::{Notice, NoticeSender, Notices};
#[cfg(feature = "postgres")]
pub use postgres::{PostgresOptions, PostgresStore, PostgresWarning};
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;
pub use transfer::{Kept, Portable, RefreshToken, Transferred, transfer};

/// Finds sessions: all that a service needs that only checks tokens.
pub trait SessionStore: Send + Sync + 'static {
    /// The session whose access token has this digest, unless it was revoked. Whether it has expired is the caller's to
    /// judge, by its own clock. It has [noted](crate::types::session::Noted) the last use that is written down.
    ///
    /// # Errors
    /// When the store can't know. The caller answers 503, never 401.
    fn find_session(
        &self,
        access: &Digest<Access>,
    ) -> impl Future<Output = Result<Option<Arc<Session>>, StoreError>> + Send;

    /// The same answer, if the store can give it without waiting. `Poll::Pending`, which is the default, means that
    /// [`find_session`](Self::find_session) must be asked.
    fn try_find_session(&self, access: &Digest<Access>) -> Poll<Option<Arc<Session>>> {
        let _ = access;
        Poll::Pending
    }

    /// Sessions that end from now on, whichever process ends them, if the store can tell: `None` unless it says
    /// otherwise. A cache drops them at once.
    fn notices(&self) -> Option<Notices> {
        None
    }
}

/// Keeps authorization requests and sessions for the ceremony. See the [module](self) for the contract as a whole.
pub trait CeremonyStore: SessionStore {
    /// Keeps a new authorization request, if neither its id nor its claim digest is known and `caps` leave room for it. Counting
    /// and inserting are one atomic step. What counts is pending at `authorization request.created_at`.
    ///
    /// # Errors
    /// When the store can't know whether it was kept.
    fn create_authorization(
        &self,
        authorization: &AuthorizationRequest,
        caps: PendingCaps,
    ) -> impl Future<Output = Result<Creation, StoreError>> + Send;

    /// The authorization request of that id or claim digest.
    ///
    /// # Errors
    /// When the store can't know.
    fn find_authorization(
        &self,
        key: &AuthorizationKey,
    ) -> impl Future<Output = Result<Option<AuthorizationRequest>, StoreError>> + Send;

    /// Applies `transition` if [`AuthorizationRequest::allows`] it at `at`, in one conditional write, and says whether it did.
    ///
    /// # Errors
    /// When the store can't know whether it did.
    fn transition(
        &self,
        id: &AuthorizationRequestId,
        transition: &Transition,
        at: Timestamp,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Turns an approved authorization request into a session: marks `new.session.authorization request` exchanged if it is approved and
    /// not expired at `at`, and creates the session, in one transaction. `false` if it was not approved. The session's
    /// id, authorization request and digests must be unique; if one is not, nothing changes and the error's kind is
    /// [`StoreErrorKind::Conflict`].
    ///
    /// # Errors
    /// When the store can't know whether it did.
    fn redeem(&self, new: &NewSession, at: Timestamp) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// The session that an authorization request became, ended ones too.
    ///
    /// # Errors
    /// When the store can't know.
    fn session_of(
        &self,
        authorization: &AuthorizationRequestId,
    ) -> impl Future<Output = Result<Option<SessionRecord>, StoreError>> + Send;

    /// The session of that id with all that is kept of it, an ended one too.
    ///
    /// # Errors
    /// When the store can't know.
    fn find_record(
        &self,
        session: &SessionId,
    ) -> impl Future<Output = Result<Option<SessionRecord>, StoreError>> + Send;

    /// What is known of a refresh token: that of any session, ended ones too, and those that were used up as well.
    ///
    /// # Errors
    /// When the store can't know.
    fn find_refresh(
        &self,
        refresh: &Digest<Refresh>,
    ) -> impl Future<Output = Result<Option<RefreshTokenState>, StoreError>> + Send;

    /// Gives a session new secrets, if `rotation.from` is its current refresh token, not expired at `at`, and the session
    /// is not revoked; in one conditional write, after which the old access token finds nothing and the old refresh token
    /// is used up. Answers the session, or `None` if that did not hold. If a digest is taken, nothing changes and the
    /// error's kind is [`StoreErrorKind::Conflict`].
    ///
    /// # Errors
    /// When the store can't know whether it did.
    fn rotate(
        &self,
        rotation: &Rotation,
        at: Timestamp,
    ) -> impl Future<Output = Result<Option<SessionId>, StoreError>> + Send;

    /// The sessions of an account, ended ones too, newest first: at most `limit` of those before `before`.
    ///
    /// # Errors
    /// When the store can't know.
    fn list_sessions(
        &self,
        account: &AccountId,
        before: Option<&SessionId>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<SessionRecord>, StoreError>> + Send;

    /// Revokes what `target` names and answers the ids of the sessions that it ended; what was revoked before is not
    /// among them, what has expired is. From the answer on no lookup finds a session that it ended.
    ///
    /// # Errors
    /// When the store can't know whether it did. The caller answers 503, never 200.
    fn revoke(
        &self,
        target: &RevokeTarget,
        by: RevokedBy,
        at: Timestamp,
    ) -> impl Future<Output = Result<Vec<SessionId>, StoreError>> + Send;

    /// Writes down last uses, each only if it is later than the one that stands.
    ///
    /// # Errors
    /// When the store could not write them.
    fn record_uses(&self, uses: &[(SessionId, Use)]) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Forgets at most `limit` of each: authorization requests that expired, sessions of which both tokens expired, and used-up
    /// refresh tokens whose time was over, at the instants of `cutoff` or before. Answers whether there may be more.
    /// Nothing but the store's size depends on it.
    ///
    /// # Errors
    /// When the store can't know whether it did.
    fn forget(&self, cutoff: &Cutoff, limit: usize) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

/// How long an authorization request is remembered after it expired: until then agent and human are still told what became of it.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(3_600);

/// From when backwards what is over may be forgotten.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cutoff {
    /// Authorization requests that expired at this instant or before.
    pub authorizations: Timestamp,
    /// Sessions that ended at this instant or before, and used-up refresh tokens that would have.
    pub sessions: Timestamp,
}

/// By what an authorization request is found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AuthorizationKey {
    /// By its public id.
    Id(AuthorizationRequestId),
    /// By the digest of its claim token.
    Claim(Digest<Claim>),
}

/// How many authorization requests may be pending at a time. `None` is no cap.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PendingCaps {
    /// From one [source](crate::types::authorization request::Client::source). An authorization request without an address is not counted here.
    pub per_source: Option<u32>,
    /// In all.
    pub total: Option<u32>,
}

/// What came of creating an authorization request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Creation {
    /// It is kept.
    Created,
    /// Its id or claim digest is taken; nothing changed.
    Conflict,
    /// Its source has too many pending; nothing changed.
    SourceFull,
    /// Too many are pending in all; nothing changed.
    Full,
}

/// What to revoke.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RevokeTarget {
    /// The session of this access token.
    Access(Digest<Access>),
    /// The session of this refresh token, be it used up or not.
    Refresh(Digest<Refresh>),
    /// This session, if it is the account's.
    Session(SessionId, AccountId),
    /// Every session of the account, and every authorization request that it approved and that is not yet redeemed.
    Account(AccountId),
}

/// A store could not answer. The fault is the store's or its configuration's, never the caller's.
///
/// The text never holds a secret; the source chain is kept for the host's logs.
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// Why a store could not answer.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// It can't be reached, is overloaded, or took too long. Trying later may help.
    Unavailable,
    /// What was to be created exists.
    Conflict,
    /// What it holds makes no sense, or was written by a newer version.
    Corrupt,
    /// Anything else.
    Other,
}

impl StoreError {
    /// An error of that kind, without a cause to show.
    #[must_use]
    pub const fn new(kind: StoreErrorKind) -> Self {
        Self { kind, source: None }
    }

    /// An error of that kind with its cause.
    #[must_use]
    pub fn because(kind: StoreErrorKind, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind, source: Some(source.into()) }
    }

    /// Why the store could not answer.
    #[must_use]
    pub const fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            StoreErrorKind::Unavailable => "the session store is unavailable",
            StoreErrorKind::Conflict => "the session store already has an entry of that key",
            StoreErrorKind::Corrupt => "the session store holds something unreadable",
            StoreErrorKind::Other => "the session store failed",
        })
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
