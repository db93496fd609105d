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

/// Whether the connection was lost. The outcome of its commands is unknown.
pub(super) fn is_connection_lost(error: &RedisError) -> bool {
    error.is_unrecoverable_error()
}

/// Whether the server responded with an error.
pub(super) fn is_of_server(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension)
}

/// Whether the server refuses what it is asked because it is a replica or not ready. It has then changed nothing, and
/// another connection may lead to another server.
pub(super) fn is_refused(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::BusyLoading | ServerErrorKind::MasterDown) => {
            true
        }
        // Redis 6 puts the code of a command that fails within a script into the text.
        ErrorKind::Server(ServerErrorKind::ResponseError) => {
            error.detail().is_some_and(|text| text.contains("-READONLY ") || text.contains("-MASTERDOWN "))
        }
        _ => false,
    }
}

/// Whether the server does not have the script whose digest it was sent.
pub(super) fn is_unknown_script(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(ServerErrorKind::NoScript))
}

/// Whether the user lacks the right to a command or channel, or the server has renamed the command.
pub(super) fn is_forbidden(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::NoPerm) => true,
        ErrorKind::Server(ServerErrorKind::ResponseError) => {
            error.detail().is_some_and(|text| text.starts_with("unknown command"))
        }
        _ => false,
    }
}

/// Whether an error that [`is_forbidden`] is about keys, and not about a command. Each version of Redis says it otherwise.
pub(super) fn is_about_keys(error: &RedisError) -> bool {
    let text = error.detail().unwrap_or_default();
    ["of the keys", "access a key", "' key"].iter().any(|known| text.contains(known))
}

fn kind(error: &RedisError) -> StoreErrorKind {
    if is_refused(error) {
        return StoreErrorKind::Unavailable;
    }
    match error.kind() {
        ErrorKind::Io | ErrorKind::ClusterConnectionNotFound => StoreErrorKind::Unavailable,
        ErrorKind::Server(ServerErrorKind::TryAgain | ServerErrorKind::ClusterDown) => StoreErrorKind::Unavailable,
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
