//! Maps PostgreSQL errors to [`StoreError`].

use std::str::Utf8Error;

use sqlx::error::ErrorKind;

use super::super::{StoreError, StoreErrorKind};

/// The parameter that a read names on a read-only server, to fail.
const READ_ONLY_PARAMETER: &str = "agent_auth.server_is_read_only";

pub(super) fn failed(error: sqlx::Error) -> StoreError {
    if is_read_only(&error) {
        return StoreError::because(StoreErrorKind::Unavailable, ReadOnly);
    }
    StoreError::because(kind(&error), error)
}

pub(super) fn unreadable(error: Utf8Error) -> StoreError {
    StoreError::because(StoreErrorKind::Corrupt, error)
}

/// The error for a server that accepts no writes.
pub(super) fn read_only() -> sqlx::Error {
    sqlx::Error::Configuration(Box::new(ReadOnly))
}

/// Whether a call may succeed on another connection. The statement is known to have changed nothing only if
/// [the server is read-only](is_read_only).
pub(super) fn is_left(error: &sqlx::Error) -> bool {
    is_connection_lost(error) || is_read_only(error)
}

/// Whether an open connection to the server was lost.
pub(super) fn is_connection_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) => true,
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| matches!(&*code, "57P01" | "57P02" | "57P05" | "25P03"))
        }
        _ => false,
    }
}

/// Whether the server accepts no writes: it is a standby, or set to read-only. It has then changed nothing.
pub(super) fn is_read_only(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Configuration(cause) => cause.is::<ReadOnly>(),
        sqlx::Error::Database(error) => match error.code().as_deref() {
            Some("25006") => true,
            Some("42704") => error.message().contains(READ_ONLY_PARAMETER),
            _ => false,
        },
        _ => false,
    }
}

/// Whether the role lacks a right.
pub(super) fn is_forbidden(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "42501")
}

#[derive(Debug, thiserror::Error)]
#[error("PostgreSQL is read-only: a standby, or default_transaction_read_only is on; connect to the primary")]
struct ReadOnly;

fn kind(error: &sqlx::Error) -> StoreErrorKind {
    use sqlx::Error::{ColumnDecode, Database, Decode, Io, PoolClosed, PoolTimedOut, Protocol, Tls, WorkerCrashed};
    match error {
        Database(error) if error.kind() == ErrorKind::UniqueViolation => StoreErrorKind::Conflict,
        Database(error) => error.code().map_or(StoreErrorKind::Other, |code| kind_of_code(&code)),
        Io(_) | Tls(_) | Protocol(_) | PoolClosed | PoolTimedOut | WorkerCrashed => StoreErrorKind::Unavailable,
        ColumnDecode { .. } | Decode(_) => StoreErrorKind::Corrupt,
        _ => StoreErrorKind::Other,
    }
}

/// Maps the error classes of <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn kind_of_code(code: &str) -> StoreErrorKind {
    match code {
        // Serialization failure, deadlock, a transaction that was idle for too long, lock not available.
        "40001" | "40P01" | "25P03" | "55P03" => StoreErrorKind::Unavailable,
        "XX001" | "XX002" => StoreErrorKind::Corrupt,
        // Connection, insufficient resources, operator intervention, system error.
        _ if ["08", "53", "57", "58"].iter().any(|class| code.starts_with(class)) => StoreErrorKind::Unavailable,
        _ => StoreErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r91_what_may_pass_is_unavailable() {
        for (code, kind) in [
            ("08006", StoreErrorKind::Unavailable),
            ("53300", StoreErrorKind::Unavailable),
            ("57P03", StoreErrorKind::Unavailable),
            ("58030", StoreErrorKind::Unavailable),
            ("40P01", StoreErrorKind::Unavailable),
            ("25P03", StoreErrorKind::Unavailable),
            ("XX001", StoreErrorKind::Corrupt),
            ("42P01", StoreErrorKind::Other),
            ("28P01", StoreErrorKind::Other),
        ] {
            assert_eq!(kind_of_code(code), kind, "{code}");
        }
        assert_eq!(failed(read_only()).kind(), StoreErrorKind::Unavailable);
        assert_eq!(failed(sqlx::Error::PoolTimedOut).kind(), StoreErrorKind::Unavailable);
    }
}
