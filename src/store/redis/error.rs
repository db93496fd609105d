//! Maps Redis errors to [`StoreError`].

use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::super::{StoreError, StoreErrorKind};

pub(super) fn failed(error: RedisError) -> StoreError {
    StoreError::because(kind(&error), error)
}

/// The error for a value that the store never writes.
pub(super) fn unreadable() -> StoreError {
    StoreError::because(StoreErrorKind::Corrupt, Unreadable)
}

pub(super) fn too_few_replicas(reached: u8) -> StoreError {
    StoreError::because(StoreErrorKind::Unavailable, TooFewReplicas(reached))
}

fn kind(error: &RedisError) -> StoreErrorKind {
    match error.kind() {
        ErrorKind::Io | ErrorKind::ClusterConnectionNotFound => StoreErrorKind::Unavailable,
        ErrorKind::Server(
            ServerErrorKind::BusyLoading
            | ServerErrorKind::TryAgain
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ReadOnly,
        ) => StoreErrorKind::Unavailable,
        ErrorKind::UnexpectedReturnType => StoreErrorKind::Corrupt,
        _ => match error.code() {
            Some("CONFLICT") => StoreErrorKind::Conflict,
            // Out of memory under `noeviction`, a full disk, too few replicas, a script that blocks the server.
            Some("OOM" | "MISCONF" | "NOREPLICAS" | "BUSY") => StoreErrorKind::Unavailable,
            Some("WRONGTYPE") => StoreErrorKind::Corrupt,
            _ if error.is_timeout() || error.is_connection_dropped() => StoreErrorKind::Unavailable,
            _ => StoreErrorKind::Other,
        },
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a value makes no sense")]
struct Unreadable;

#[derive(Debug, thiserror::Error)]
#[error("the change reached only {0} replicas in time")]
struct TooFewReplicas(u8);
