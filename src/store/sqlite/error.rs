//! Maps SQLite errors to [`StoreError`].

use sqlx::error::ErrorKind;

use super::super::{StoreError, StoreErrorKind};

// Primary result codes, <https://www.sqlite.org/rescode.html>.
const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const NO_MEMORY: i32 = 7;
const READ_ONLY: i32 = 8;
const INTERRUPT: i32 = 9;
const IO: i32 = 10;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const CANT_OPEN: i32 = 14;
const PROTOCOL: i32 = 15;
const NOT_A_DATABASE: i32 = 26;

pub(super) fn failed(error: sqlx::Error) -> StoreError {
    if primary_code(&error) == Some(READ_ONLY) {
        return StoreError::because(StoreErrorKind::Unavailable, ReadOnly(error));
    }
    StoreError::because(kind(&error), error)
}

pub(super) fn unopened(error: std::io::Error) -> StoreError {
    StoreError::because(StoreErrorKind::Unavailable, Unopened(error))
}

#[derive(Debug, thiserror::Error)]
#[error("can't be created or opened; its folder must be there, and this process must be allowed to write to it")]
struct Unopened(#[source] std::io::Error);

/// Nobody has created the file.
pub(super) fn missing() -> StoreError {
    StoreError::because(StoreErrorKind::Unavailable, Missing)
}

#[derive(Debug, thiserror::Error)]
#[error("does not exist; start the issuer first, or run SqliteStore::migrate")]
struct Missing;

pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    matches!(primary_code(error), Some(BUSY | LOCKED))
}

fn kind(error: &sqlx::Error) -> StoreErrorKind {
    use sqlx::Error::{ColumnDecode, Database, Decode, Io, PoolClosed, PoolTimedOut, WorkerCrashed};
    match error {
        Database(error) if error.kind() == ErrorKind::UniqueViolation => StoreErrorKind::Conflict,
        Database(_) => kind_of_code(primary_code(error)),
        Io(_) | PoolClosed | PoolTimedOut | WorkerCrashed => StoreErrorKind::Unavailable,
        ColumnDecode { .. } | Decode(_) => StoreErrorKind::Corrupt,
        _ => StoreErrorKind::Other,
    }
}

fn kind_of_code(code: Option<i32>) -> StoreErrorKind {
    match code {
        Some(BUSY | LOCKED | NO_MEMORY | INTERRUPT | IO | FULL | CANT_OPEN | PROTOCOL) => StoreErrorKind::Unavailable,
        Some(CORRUPT | NOT_A_DATABASE) => StoreErrorKind::Corrupt,
        _ => StoreErrorKind::Other,
    }
}

fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let extended: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}

#[derive(Debug, thiserror::Error)]
#[error(
    "the file can't be written; give the user of this process write access to the file and its directory, \
     on a file system that is mounted writable"
)]
struct ReadOnly(#[source] sqlx::Error);
