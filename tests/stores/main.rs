//! What every store promises, checked on each store of this crate; then what only one of them promises.
#![cfg(feature = "full")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod cached_store;
mod migrations;
mod nodes;
#[path = "../common/places.rs"]
mod places;
mod postgres;
mod redis;
mod sqlite;
mod stored_text;
mod transfers;

mod memory {
    async fn fresh() -> (tower_agent_auth::store::MemoryStore, ()) {
        (tower_agent_auth::store::MemoryStore::new(), ())
    }

    tower_agent_auth::store_conformance!(fresh);
}

mod sqlite_file {
    tower_agent_auth::store_conformance!(crate::places::TempFile::fresh);
}

mod postgres_server {
    tower_agent_auth::store_conformance!(crate::places::Schema::fresh, #[ignore = "needs PostgreSQL: `cargo xtask servers` starts one"]);
}

mod redis_server {
    tower_agent_auth::store_conformance!(crate::places::Prefix::fresh, #[ignore = "needs Redis: `cargo xtask servers` starts one"]);
}

/// The same with a cache in front of the token checks, which must not be seen on the node that makes the changes.
mod cached {
    use crate::{
        cached_store::WithCache,
        places::{Prefix, Schema, TempFile},
    };
    use tower_agent_auth::store::{MemoryStore, PostgresStore, RedisStore, SqliteStore};

    mod memory {
        tower_agent_auth::store_conformance!(super::over_memory);
    }

    mod sqlite_file {
        tower_agent_auth::store_conformance!(super::over_sqlite);
    }

    mod postgres_server {
        tower_agent_auth::store_conformance!(super::over_postgres, #[ignore = "needs PostgreSQL: `cargo xtask servers` starts one"]);
    }

    mod redis_server {
        tower_agent_auth::store_conformance!(super::over_redis, #[ignore = "needs Redis: `cargo xtask servers` starts one"]);
    }

    async fn over_memory() -> (WithCache<MemoryStore>, ()) {
        (WithCache::over(MemoryStore::new()), ())
    }

    async fn over_sqlite() -> (WithCache<SqliteStore>, TempFile) {
        let (store, file) = TempFile::fresh().await;
        (WithCache::over(store), file)
    }

    async fn over_postgres() -> (WithCache<PostgresStore>, Schema) {
        let (store, schema) = Schema::fresh().await;
        (WithCache::over(store), schema)
    }

    async fn over_redis() -> (WithCache<RedisStore>, Prefix) {
        let (store, prefix) = Prefix::fresh().await;
        (WithCache::over(store), prefix)
    }
}
