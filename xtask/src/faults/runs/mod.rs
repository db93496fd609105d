//! The runs, each a kind of fault.

use clap::ValueEnum;

use super::Setup;
use crate::Outcome;

mod cut_postgres;
mod flush_redis;
mod kill;
mod restart_postgres;
mod self_test;

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Run {
    /// Kill the server, on SQLite
    KillSqlite,
    /// Kill one of two servers on one PostgreSQL
    KillPostgres,
    /// Crash PostgreSQL itself
    RestartPostgres,
    /// Cut the connection to PostgreSQL around a COMMIT
    CutPostgres,
    /// Empty Redis, and kill it with and without its data
    FlushRedis,
    /// Prove that the checks find what they look for: it is done on purpose
    SelfTest,
}

impl Run {
    pub(crate) const USUAL: [Self; 5] =
        [Self::KillSqlite, Self::KillPostgres, Self::RestartPostgres, Self::CutPostgres, Self::FlushRedis];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::KillSqlite => "kill-sqlite",
            Self::KillPostgres => "kill-postgres",
            Self::RestartPostgres => "restart-postgres",
            Self::CutPostgres => "cut-postgres",
            Self::FlushRedis => "flush-redis",
            Self::SelfTest => "self-test",
        }
    }

    /// What it does and what it checks, in a line.
    pub(crate) const fn checks(self) -> &'static str {
        match self {
            Self::KillSqlite => "kill -9 of the server under load, on SQLite; checks I1, I2, I3, I4, I6, I7",
            Self::KillPostgres => {
                "kill -9 of one of two servers under load, on one PostgreSQL; checks I1, I2, I3, I4, I6, I7"
            }
            Self::RestartPostgres => {
                "immediate stop of PostgreSQL under load; checks I1, I2, I3, I4, I6, I7, and that it is over within 2 s"
            }
            Self::CutPostgres => {
                "connection cut before, at and after the COMMIT of a redeemed claim; checks I1, I3, I4, I6, I7"
            }
            Self::FlushRedis => {
                "FLUSHALL, loss and restart of Redis under load; checks I6, I7, that what is lost stays refused, \
                 and with its file kept I1, I2, I3, I4"
            }
            Self::SelfTest => "promises are broken on purpose, and the checks must find that",
        }
    }

    /// Makes the run, and answers whether everything held.
    pub(crate) async fn make(self, setup: &Setup) -> Outcome<bool> {
        match self {
            Self::KillSqlite => kill::sqlite(setup).await,
            Self::KillPostgres => kill::postgres(setup).await,
            Self::RestartPostgres => restart_postgres::run(setup).await,
            Self::CutPostgres => cut_postgres::run(setup).await,
            Self::FlushRedis => flush_redis::run(setup).await,
            Self::SelfTest => self_test::run(setup).await,
        }
    }
}
