//! Maps PostgreSQL errors to [`StoreError`].

use std::str::Utf8Error;

use sqlx::error::ErrorKind;
use tokio::task::JoinError;

use super::super::{StoreError, StoreErrorKind};

pub(super) fn failed(error: sqlx::Error) -> StoreError {
    StoreError::because(kind(&error), error)
}

pub(super) fn unreadable(error: Utf8Error) -> StoreError {
    StoreError::because(StoreErrorKind::Corrupt, error)
}

/// The error when the runtime shuts down.
pub(super) fn lost(error: JoinError) -> StoreError {
    StoreError::because(StoreErrorKind::Unavailable, error)
}

/// Whether an open connection to the server was lost.
pub(super) fn is_connection_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| matches!(&*code, "57P01" | "57P02" | "57P05")),
        _ => false,
    }
}

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
        // Serialization failure, deadlock, a read-only server (a replica), lock not available.
        "40001" | "40P01" | "25006" | "55P03" => StoreErrorKind::Unavailable,
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
            ("25006", StoreErrorKind::Unavailable),
            ("XX001", StoreErrorKind::Corrupt),
            ("42P01", StoreErrorKind::Other),
            ("28P01", StoreErrorKind::Other),
        ] {
            assert_eq!(kind_of_code(code), kind, "{code}");
        }
        assert_eq!(failed(sqlx::Error::PoolTimedOut).kind(), StoreErrorKind::Unavailable);
    }
}
