//! The runs, each a kind of fault.

use clap::ValueEnum;

use super::Setup;
use crate::Outcome;

mod acl_redis;
mod cut_postgres;
mod failover;
mod fill;
mod flush_redis;
mod half_open;
mod kill;
mod leap_clock;
mod pin_pool;
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
    /// Connections to PostgreSQL go dead without a reset
    HalfOpenPostgres,
    /// The same with Redis
    HalfOpenRedis,
    /// A standby of PostgreSQL takes over behind one address
    FailoverPostgres,
    /// The same with a replica of Redis
    FailoverRedis,
    /// 256 clients ask for access while PostgreSQL keeps them waiting
    PinPool,
    /// A user of Redis without the right to publish
    AclRedis,
    /// Redis at its maximum of memory
    FillRedisMemory,
    /// A full disk under Redis
    FillRedisDisk,
    /// A full disk under SQLite
    FillSqlite,
    /// A full disk under PostgreSQL
    FillPostgres,
    /// The wall clock leaps by 10 minutes and by 400 days
    LeapClock,
    /// Prove that the checks find what they look for: it is done on purpose
    SelfTest,
}

impl Run {
    pub(crate) const USUAL: [Self; 16] = [
        Self::KillSqlite,
        Self::KillPostgres,
        Self::RestartPostgres,
        Self::CutPostgres,
        Self::FlushRedis,
        Self::HalfOpenPostgres,
        Self::HalfOpenRedis,
        Self::FailoverPostgres,
        Self::FailoverRedis,
        Self::PinPool,
        Self::AclRedis,
        Self::FillRedisMemory,
        Self::FillRedisDisk,
        Self::FillSqlite,
        Self::FillPostgres,
        Self::LeapClock,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::KillSqlite => "kill-sqlite",
            Self::KillPostgres => "kill-postgres",
            Self::RestartPostgres => "restart-postgres",
            Self::CutPostgres => "cut-postgres",
            Self::FlushRedis => "flush-redis",
            Self::HalfOpenPostgres => "half-open-postgres",
            Self::HalfOpenRedis => "half-open-redis",
            Self::FailoverPostgres => "failover-postgres",
            Self::FailoverRedis => "failover-redis",
            Self::PinPool => "pin-pool",
            Self::AclRedis => "acl-redis",
            Self::FillRedisMemory => "fill-redis-memory",
            Self::FillRedisDisk => "fill-redis-disk",
            Self::FillSqlite => "fill-sqlite",
            Self::FillPostgres => "fill-postgres",
            Self::LeapClock => "leap-clock",
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
                "connection cut before, at and after the COMMIT of a redeemed claim or a proved identity; checks I1, I3, I4, \
                 I6, I7"
            }
            Self::FlushRedis => {
                "FLUSHALL, loss and restart of Redis under load; checks I6, I7, that what is lost stays refused, \
                 and with its file kept I1, I2, I3, I4"
            }
            Self::HalfOpenPostgres | Self::HalfOpenRedis => {
                "connections to the store go dead without a reset; checks I1, I2, I3, I4, I6, I7, and that it is over \
                 within one deadline"
            }
            Self::FailoverPostgres | Self::FailoverRedis => {
                "a replica takes over, and the old server goes on read-only; checks I1, I2, I3, I4, I6, I7, and that \
                 it is left within one deadline"
            }
            Self::PinPool => {
                "256 clients wait for a lock in PostgreSQL; checks I1, I2, I3, I4, I6, I7, and that token checks go on"
            }
            Self::AclRedis => "no right to publish in Redis; checks I1, I2, I3, I4, I6, I7, with nothing forgiven",
            Self::FillRedisMemory => {
                "no memory left in Redis; checks I1, I2, I3, I4, I6, I7, and that token checks and revocations go on"
            }
            Self::FillRedisDisk | Self::FillSqlite | Self::FillPostgres => {
                "a full disk under the store; checks I1, I2, I3, I4, I6, I7, and that token checks go on"
            }
            Self::LeapClock => {
                "the wall clock is wrong by 10 minutes, then by 400 days; checks I1, I2, I3, I4, I6, I7, with nothing \
                 forgiven"
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
            Self::HalfOpenPostgres => half_open::postgres(setup).await,
            Self::HalfOpenRedis => half_open::redis(setup).await,
            Self::FailoverPostgres => failover::postgres(setup).await,
            Self::FailoverRedis => failover::redis(setup).await,
            Self::PinPool => pin_pool::run(setup).await,
            Self::AclRedis => acl_redis::run(setup).await,
            Self::FillRedisMemory => fill::redis_memory(setup).await,
            Self::FillRedisDisk => fill::redis_disk(setup).await,
            Self::FillSqlite => fill::sqlite(setup).await,
            Self::FillPostgres => fill::postgres(setup).await,
            Self::LeapClock => leap_clock::run(setup).await,
            Self::SelfTest => self_test::run(setup).await,
        }
    }
}
