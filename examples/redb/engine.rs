//! The engine: redb's transactions and one of its tables.

use std::path::Path;

use redb::{Builder, Database, ReadableDatabase, ReadableTable, StorageBackend, Table, TableDefinition};
use tower_agent_auth::store::{
    StoreError, StoreErrorKind,
    ordered::{OrderedEngine, Snapshot, Transaction},
};

const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("agent_auth");

#[derive(Debug)]
pub(crate) struct Redb(Database);

impl Redb {
    /// Opens the file, and creates it if it is not there.
    pub(crate) fn create(file: &Path) -> Result<Self, StoreError> {
        Self::over(Builder::new().create(file).map_err(failed)?)
    }

    /// For tests: a database elsewhere than in a file.
    #[allow(dead_code, reason = "the example has a file")]
    pub(crate) fn in_memory(memory: impl StorageBackend) -> Result<Self, StoreError> {
        Self::over(Builder::new().create_with_backend(memory).map_err(failed)?)
    }

    fn over(database: Database) -> Result<Self, StoreError> {
        let engine = Self(database);
        engine.change(|_| Ok(()))?; // creates the table, which a reader expects
        Ok(engine)
    }
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::because(StoreErrorKind::Unavailable, error)
}

impl OrderedEngine for Redb {
    fn read<T>(&self, read: impl FnOnce(&dyn Snapshot) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let transaction = self.0.begin_read().map_err(failed)?;
        read(&Entries(transaction.open_table(ENTRIES).map_err(failed)?))
    }

    /// redb runs one write transaction at a time, and aborts one that is dropped.
    fn change<T>(&self, change: impl FnOnce(&mut dyn Transaction) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let transaction = self.0.begin_write().map_err(failed)?;
        let answer = change(&mut Entries(transaction.open_table(ENTRIES).map_err(failed)?))?;
        transaction.commit().map_err(failed)?;
        Ok(answer)
    }
}

struct Entries<T>(T);

impl<T: ReadableTable<&'static [u8], &'static [u8]>> Snapshot for Entries<T> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.get(key).map_err(failed)?.map(|value| value.value().to_vec()))
    }

    fn keys(&self, first: &[u8], last: &[u8], reverse: bool, limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut range = self.0.range(first..=last).map_err(failed)?;
        let entries = std::iter::from_fn(|| if reverse { range.next_back() } else { range.next() }).take(limit);
        entries.map(|entry| Ok(entry.map_err(failed)?.0.value().to_vec())).collect()
    }
}

impl Transaction for Entries<Table<'_, &'static [u8], &'static [u8]>> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.0.insert(key, value).map(drop).map_err(failed)
    }

    fn remove(&mut self, key: &[u8]) -> Result<(), StoreError> {
        self.0.remove(key).map(drop).map_err(failed)
    }
}
