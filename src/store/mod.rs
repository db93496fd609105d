//! Storage of authorization requests and sessions.
//!
//! * A service that only checks tokens needs a [`SessionStore`]: one method.
//! * A service that also runs the ceremony needs a [`CeremonyStore`].
//! * A service that stores OAuth clients that register themselves needs a [`ClientStore`] too.
//! * A service that trusts the identity assertions of other issuers needs an [`IdentityStore`].
//!
#![doc = include_str!("../../docs/stores.md")]
//!
//! # Example
//!
//! A custom store for a service that only checks tokens:
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

use ipnet::IpNet;

use crate::types::{
    authorization::Lookup,
    clock::{self, Timestamp},
    id::{AccountId, AuthorizationRequestId, SessionId},
    secret::{Access, Digest, Refresh},
};

#[cfg(feature = "cache")]
mod cached;
pub mod codec;
#[cfg_attr(
    not(all(feature = "sqlite", feature = "postgres", feature = "redis")),
    allow(dead_code, reason = "engines that store rows read more of them")
)]
mod columns;
#[cfg(feature = "conformance")]
pub mod conformance;
pub(crate) mod last_used;
mod memory;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod migrations;
mod notices;
pub mod ordered;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "remote")]
mod remote;
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
pub(crate) use last_used::{LastUsedBuffer, UseWriter};
pub use memory::MemoryStore;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use migrations::Migration;
pub use notices::{Notice, Notices, Subscriber};
#[cfg(feature = "postgres")]
pub use postgres::{PostgresOptions, PostgresStore, PostgresWarning};
#[cfg(feature = "remote")]
pub use remote::{RemoteOptions, RemoteSessions};
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;
pub use traits::{
    AuthorizationStore, CeremonyStore, ClientStore, HousekeepingStore, IdentityStore, RefreshTokenStore,
    SessionRecordStore, SessionStore,
};
pub use transfer::{Portable, RefreshToken, StoredSession, Transferred, transfer};

/// How long an expired authorization request is stored. Until then the agent and the human can query its outcome. All
/// other data, too, is kept at least this long after its end, so that a node whose clock is ahead deletes nothing live.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(3_600);

/// How far apart the clocks of nodes may be. A recorded last use that is later than now by more than this was dated by a
/// wrong clock, and gives way to an earlier one.
pub const CLOCK_SKEW: Duration = clock::SKEW;

/// The most unopened authorization requests that give way to a new one. One does, unless several were created at the
/// same time or the cap was lowered.
pub(crate) const DISPLACED_AT_ONCE: usize = 10;

/// The instants up to which expired data may be deleted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Cutoff {
    /// Applies to authorization requests that expired at this instant or before.
    pub authorizations: Timestamp,
    /// Applies to sessions that ended at this instant or before, and to used-up refresh tokens that would have expired
    /// by then.
    pub sessions: Timestamp,
}

impl Cutoff {
    /// Uses `instant` for authorization requests and for sessions.
    #[must_use]
    pub const fn at(instant: Timestamp) -> Self {
        Self { authorizations: instant, sessions: instant }
    }
}

/// The key that finds an authorization request.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum AuthorizationKey {
    /// The public id.
    Id(AuthorizationRequestId),
    /// The digest of one of the agent's secrets.
    Lookup(Lookup),
}

/// The maximum number of pending authorization requests. `None` means no cap.
///
/// Creating a request must cost the same however many are pending, so the total may be approximate: see
/// [`total`](Self::total). The caps of sources are exact.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct PendingCaps {
    /// The cap for one [source](crate::types::authorization::Client::source). Wider networks have
    /// [larger caps](Self::of_network). Requests without an address are not counted.
    pub per_source: Option<u32>,
    /// The cap for all sources together. At the cap, the oldest request that no human has opened gives way: it expires
    /// at once. If humans have opened all, the new request is refused.
    ///
    /// A store may be approximate. It may count requests that were decided meanwhile as pending. It may exceed the cap
    /// if humans have opened pending requests, or if several are created at the same time.
    pub total: Option<u32>,
}

impl PendingCaps {
    /// No cap.
    pub const NONE: Self = Self { per_source: None, total: None };

    /// The cap for one of a client's [networks](crate::types::authorization::Client::networks): that of a source, four
    /// times that for an IPv6 /56, and sixteen times that for a /48.
    #[must_use]
    pub fn of_network(&self, network: IpNet) -> Option<u32> {
        let times = match (network, network.prefix_len()) {
            (IpNet::V6(_), ..=48) => 16,
            (IpNet::V6(_), ..=56) => 4,
            _ => 1,
        };
        self.per_source.map(|cap| cap.saturating_mul(times))
    }
}

/// The result of creating an authorization request.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Creation {
    /// The request was stored.
    Created,
    /// The request was stored, and these unopened requests gave way to it: they have expired.
    Displaced(Vec<AuthorizationRequestId>),
    /// Its id or a lookup already exists; nothing changed.
    Conflict,
    /// Its source, or a wider network of it, has too many pending requests; nothing changed.
    SourceFull,
    /// There are too many pending requests in total, and humans have opened them; nothing changed.
    Full,
}

/// The result of storing a client.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ClientCreation {
    /// The client was stored.
    Created,
    /// Its id already exists; nothing changed.
    Conflict,
    /// There are too many clients that have never been used; nothing changed.
    Full,
}

/// The instants up to which clients may be deleted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ClientCutoff {
    /// Applies to clients that have never been used and registered at this instant or before.
    pub unused: Timestamp,
    /// Applies to clients that were last used at this instant or before.
    pub used: Timestamp,
}

impl ClientCutoff {
    /// Uses these instants for clients that have never been used, and for those that have.
    #[must_use]
    pub const fn new(unused: Timestamp, used: Timestamp) -> Self {
        Self { unused, used }
    }
}

/// The target of a revocation.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum RevokeTarget {
    /// The session of this access token.
    Access(Digest<Access>),
    /// The session of this refresh token, current or used up.
    Refresh(Digest<Refresh>),
    /// This session, if it belongs to the account.
    Session(SessionId, AccountId),
    /// Every session of the account, and every authorization request that it approved and that is not yet redeemed.
    Account(AccountId),
}

/// A store failed. The fault is the store's or its configuration's, never the caller's.
///
/// The message never contains a secret. The source chain is preserved for the host's logs. `Debug` is the message with
/// the chain, so that a `main` that returns this error prints what to do about it.
pub struct StoreError {
    kind: StoreErrorKind,
    source: Option<Box<dyn Error + Send + Sync>>,
    in_doubt: bool,
}

crate::types::error_chain::debug_as_text!(StoreError);

/// Why a store failed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// It can't be reached, is overloaded, or took too long. A later retry may succeed.
    Unavailable,
    /// The entry to create already exists.
    Conflict,
    /// Stored data is invalid, or was written by a newer version.
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
    /// Creates an error of that kind without a source.
    #[must_use]
    pub const fn new(kind: StoreErrorKind) -> Self {
        Self { kind, source: None, in_doubt: false }
    }

    /// Creates an error of that kind with its source.
    #[must_use]
    pub fn because(kind: StoreErrorKind, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind, source: Some(source.into()), in_doubt: false }
    }

    /// Adds context in front of the causes, such as which file or server it was.
    #[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis", feature = "remote"))]
    fn within(self, context: String) -> Self {
        let Self { kind, source, in_doubt } = self;
        Self { kind, source: Some(Box::new(Within { context, source })), in_doubt }
    }

    /// Why the store failed.
    #[must_use]
    pub const fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// Whether stored data may have changed all the same. Then nobody may be told that nothing was changed. It is set
    /// by the [ceremony](crate::ceremony), not by stores.
    #[must_use]
    pub const fn may_have_changed(&self) -> bool {
        self.in_doubt
    }

    /// The error of a call that writes. A conflict is certain to have changed nothing.
    pub(crate) fn of_a_write(mut self) -> Self {
        self.in_doubt = self.kind != StoreErrorKind::Conflict;
        self
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

/// Context of a failure.
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis", feature = "remote"))]
#[derive(Debug)]
struct Within {
    context: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis", feature = "remote"))]
impl fmt::Display for Within {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context)?;
        self.source.as_ref().map_or(Ok(()), |source| write!(f, ": {source}"))
    }
}

#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis", feature = "remote"))]
impl Error for Within {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
