use std::{
    fmt, iter,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use hashbrown::HashTable;

use crate::core::{
    secret::{Access, Digest},
    session::Session,
};

/// So many locks that threads with different tokens rarely meet at one.
const SHARDS: usize = 64;

/// Sessions by the digest of their access token, for token checks by many threads.
///
/// A digest is its own hash: nobody can choose the digests of tokens that are drawn here, so none can be made to collide.
pub(super) struct Table(Box<[Shard]>);

/// A cache line of its own, and that of the prefetcher beside it.
#[repr(align(128))]
struct Shard(RwLock<HashTable<Entry>>);

struct Entry {
    access: Digest<Access>,
    session: Arc<Session>,
}

impl Table {
    pub(super) fn get(&self, access: &Digest<Access>) -> Option<Arc<Session>> {
        let shard = self.shard(access).read();
        shard.find(hash(access), |entry| entry.access == *access).map(|entry| Arc::clone(&entry.session))
    }

    /// The session of that access token, unless it was revoked.
    pub(super) fn live(&self, access: &Digest<Access>) -> Option<Arc<Session>> {
        let shard = self.shard(access).read();
        let entry = shard.find(hash(access), |entry| entry.access == *access)?;
        entry.session.revoked.is_none().then(|| Arc::clone(&entry.session))
    }

    pub(super) fn contains_key(&self, access: &Digest<Access>) -> bool {
        self.shard(access).read().find(hash(access), |entry| entry.access == *access).is_some()
    }

    pub(super) fn insert(&self, access: Digest<Access>, session: Arc<Session>) {
        let mut shard = self.shard(&access).write();
        let same = |entry: &Entry| entry.access == access;
        let entry = shard.entry(hash(&access), same, |entry| hash(&entry.access));
        entry.and_modify(|entry| entry.session = Arc::clone(&session)).or_insert(Entry { access, session });
    }

    pub(super) fn remove(&self, access: &Digest<Access>) {
        let mut shard = self.shard(access).write();
        if let Ok(entry) = shard.find_entry(hash(access), |entry| entry.access == *access) {
            entry.remove();
        }
    }

    fn shard(&self, access: &Digest<Access>) -> &Shard {
        &self.0[usize::from(access.as_bytes()[0]) % SHARDS]
    }
}

impl Default for Table {
    fn default() -> Self {
        Self(iter::repeat_with(|| Shard(RwLock::default())).take(SHARDS).collect())
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").finish_non_exhaustive()
    }
}

impl Shard {
    // A poisoned lock is as good as any: nothing that runs under it can unwind half way.
    fn read(&self) -> RwLockReadGuard<'_, HashTable<Entry>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashTable<Entry>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Eight bytes that the choice of the shard leaves alone.
fn hash(access: &Digest<Access>) -> u64 {
    let [_, a, b, c, d, e, f, g, h, ..] = *access.as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}
