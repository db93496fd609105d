//! What every store promises, checked on each store of this crate; then what only one of them promises.
#![cfg(feature = "full")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod nodes;
#[path = "../common/places.rs"]
mod places;
mod postgres;
mod redis;
mod sqlite;
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

/// The same through a cache, which must not be seen on the node that makes the changes.
mod cached {
    use tower_agent_auth::store::{CachedStore, MemoryStore, PostgresStore, RedisStore, SqliteStore};

    use crate::places::{Prefix, Schema, TempFile};

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

    async fn over_memory() -> (CachedStore<MemoryStore>, ()) {
        (CachedStore::over(MemoryStore::new()), ())
    }

    async fn over_sqlite() -> (CachedStore<SqliteStore>, TempFile) {
        let (store, file) = TempFile::fresh().await;
        (CachedStore::over(store), file)
    }

    async fn over_postgres() -> (CachedStore<PostgresStore>, Schema) {
        let (store, schema) = Schema::fresh().await;
        (CachedStore::over(store), schema)
    }

    async fn over_redis() -> (CachedStore<RedisStore>, Prefix) {
        let (store, prefix) = Prefix::fresh().await;
        (CachedStore::over(store), prefix)
    }
}
