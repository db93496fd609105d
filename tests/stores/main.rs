//! What every store promises, checked on each store of this crate; then what only one of them promises.
#![cfg(feature = "full")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod places;
mod postgres;
mod redis;
mod sqlite;

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
    tower_agent_auth::store_conformance!(crate::places::Schema::fresh);
}

mod redis_server {
    tower_agent_auth::store_conformance!(crate::places::Prefix::fresh);
}
