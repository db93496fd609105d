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

use std::{error::Error, fmt, time::Duration};

use crate::types::{
    authorization::Lookup,
    clock::Timestamp,
    id::{AccountId, AuthorizationRequestId, SessionId},
    secret::{Access, Digest, Refresh},
};

#[cfg(feature = "cache")]
mod cached;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
mod columns;
#[cfg(feature = "conformance")]
pub mod conformance;
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
pub(crate) mod traits;
mod transfer;

#[cfg(feature = "redis")]
pub use self::redis::{RedisOptions, RedisStore, RedisWarning};
#[cfg(feature = "cache")]
pub use cached::{CacheOptions, CachedStore};
pub(crate) use last_used::LastUsedBuffer;
pub use memory::MemoryStore;
pub use notices::{Notice, Notices, Subscriber};
#[cfg(feature = "postgres")]
pub use postgres::{PostgresOptions, PostgresStore, PostgresWarning};
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;
pub use traits::{
    AuthorizationStore, CeremonyStore, HousekeepingStore, RefreshTokenStore, SessionRecordStore, SessionStore,
};
pub use transfer::{Kept, Portable, RefreshToken, Transferred, transfer};

/// How long an authorization request is remembered after it expired: until then agent and human are still told what became of it.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(3_600);

/// From when backwards what is over may be forgotten.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Cutoff {
    /// Authorization requests that expired at this instant or before.
    pub authorizations: Timestamp,
    /// Sessions that ended at this instant or before, and used-up refresh tokens that would have.
    pub sessions: Timestamp,
}

impl Cutoff {
    /// What was over at `instant` may be forgotten.
    #[must_use]
    pub const fn at(instant: Timestamp) -> Self {
        Self { authorizations: instant, sessions: instant }
    }
}

/// By what an authorization request is found.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum AuthorizationKey {
    /// By its public id.
    Id(AuthorizationRequestId),
    /// By the digest of a secret of its agent.
    Lookup(Lookup),
}

/// How many authorization requests may be pending at a time. `None` is no cap.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct PendingCaps {
    /// From one [source](crate::types::authorization::Client::source). An authorization request without an address is not counted here.
    pub per_source: Option<u32>,
    /// In all.
    pub total: Option<u32>,
}

impl PendingCaps {
    /// No cap.
    pub const NONE: Self = Self { per_source: None, total: None };
}

/// What came of creating an authorization request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Creation {
    /// It is kept.
    Created,
    /// Its id or a lookup is taken; nothing changed.
    Conflict,
    /// Its source has too many pending; nothing changed.
    SourceFull,
    /// Too many are pending in all; nothing changed.
    Full,
}

/// What to revoke.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
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

impl StoreErrorKind {
    /// The name in metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Conflict => "conflict",
            Self::Corrupt => "corrupt",
            Self::Other => "other",
        }
    }
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
