//! What every store promises, checked on each store of this crate; then what only one of them promises.
#![cfg(feature = "full")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod migrations;
mod nodes;
mod operators;
#[path = "../common/places.rs"]
mod places;
mod postgres;
mod proxy;
mod redis;
mod rights;
mod rolling;
mod sqlite;
mod stored_text;
mod transfers;

mod memory {
    async fn fresh() -> (tower_agent_auth::store::MemoryStore, ()) {
        (tower_agent_auth::store::MemoryStore::new(), ())
    }

    tower_agent_auth::store_conformance!(fresh);
    tower_agent_auth::client_store_conformance!(fresh);
    tower_agent_auth::identity_store_conformance!(fresh);
}

mod sqlite_file {
    tower_agent_auth::store_conformance!(crate::places::TempFile::fresh);
    tower_agent_auth::client_store_conformance!(crate::places::TempFile::fresh);
    tower_agent_auth::identity_store_conformance!(crate::places::TempFile::fresh);
}

/// With the documented roles: one issues, and one checks tokens.
mod postgres_server {
    tower_agent_auth::store_conformance!(crate::rights::Roles::fresh, #[ignore = "needs PostgreSQL: `cargo xtask servers` starts one"]);
    tower_agent_auth::client_store_conformance!(crate::places::Schema::fresh, #[ignore = "needs PostgreSQL: `cargo xtask servers` starts one"]);
    tower_agent_auth::identity_store_conformance!(crate::places::Schema::fresh, #[ignore = "needs PostgreSQL: `cargo xtask servers` starts one"]);
}

/// With the documented users: one issues, and one checks tokens.
mod redis_server {
    tower_agent_auth::store_conformance!(crate::rights::Users::fresh, #[ignore = "needs Redis: `cargo xtask servers` starts one"]);
    tower_agent_auth::client_store_conformance!(crate::places::Prefix::fresh, #[ignore = "needs Redis: `cargo xtask servers` starts one"]);
    tower_agent_auth::identity_store_conformance!(crate::places::Prefix::fresh, #[ignore = "needs Redis: `cargo xtask servers` starts one"]);
}

/// The same with a cache in front of the token checks, which must not be seen on the node that makes the changes.
mod cached {
    use std::sync::Arc;

    use crate::places::{Prefix, Schema, TempFile};
    use tower_agent_auth::store::{
        CachedStore, MemoryStore, PostgresStore, RedisStore, SessionStore, SqliteStore, conformance::CheckedWith,
    };

    type WithCache<S> = CheckedWith<S, Arc<CachedStore<S>>>;

    fn with_cache<S: SessionStore + Clone>(store: S) -> WithCache<S> {
        CheckedWith::new(store.clone(), Arc::new(CachedStore::over(store)))
    }

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
        (with_cache(MemoryStore::new()), ())
    }

    async fn over_sqlite() -> (WithCache<SqliteStore>, TempFile) {
        let (store, file) = TempFile::fresh().await;
        (with_cache(store), file)
    }

    async fn over_postgres() -> (WithCache<PostgresStore>, Schema) {
        let (store, schema) = Schema::fresh().await;
        (with_cache(store), schema)
    }

    async fn over_redis() -> (WithCache<RedisStore>, Prefix) {
        let (store, prefix) = Prefix::fresh().await;
        (with_cache(store), prefix)
    }
}
