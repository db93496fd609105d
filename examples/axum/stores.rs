//! The demo's stores, and copying from one to another.

use std::error::Error;

use tower_agent_auth::{
    AgentAuthBuilder,
    store::{MemoryStore, Portable, PostgresStore, RedisStore, SqliteStore, Transferred, transfer},
};

use crate::{logging, options::Store};

const HOLDS_NOTHING: &str = "memory holds nothing between two starts; copy from and into another store";

/// Adds the store to the builder.
pub(crate) async fn with_store(builder: AgentAuthBuilder, store: &Store) -> Result<AgentAuthBuilder, Box<dyn Error>> {
    Ok(match store {
        Store::Memory => builder.sessions(MemoryStore::new()),
        Store::Sqlite(file) => builder.sessions(SqliteStore::open(file).await?),
        Store::Postgres(url) => {
            let store = PostgresStore::connect(url).await?;
            store.warnings().iter().for_each(|warning| logging::warning(warning));
            builder.sessions(store)
        }
        Store::Redis(url) => {
            let store = RedisStore::connect(url).await?;
            store.warnings().iter().for_each(|warning| logging::warning(warning));
            builder.sessions(store)
        }
    })
}

/// Copies everything.
pub(crate) async fn copy(from: &Store, to: &Store) -> Result<Transferred, Box<dyn Error>> {
    match from {
        Store::Memory => Err(HOLDS_NOTHING.into()),
        Store::Sqlite(file) => copy_into(&SqliteStore::open(file).await?, to).await,
        Store::Postgres(url) => copy_into(&PostgresStore::connect(url).await?, to).await,
        Store::Redis(url) => copy_into(&RedisStore::connect(url).await?, to).await,
    }
}

async fn copy_into(from: &impl Portable, to: &Store) -> Result<Transferred, Box<dyn Error>> {
    match to {
        Store::Memory => Err(HOLDS_NOTHING.into()),
        Store::Sqlite(file) => Ok(transfer(from, &SqliteStore::open(file).await?).await?),
        Store::Postgres(url) => Ok(transfer(from, &PostgresStore::connect(url).await?).await?),
        Store::Redis(url) => Ok(transfer(from, &RedisStore::connect(url).await?).await?),
    }
}
