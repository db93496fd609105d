use std::{
    fmt, iter,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use hashbrown::HashTable;

use crate::types::{
    secret::{Access, Digest},
    session::Session,
};

/// So many locks that threads with different tokens rarely meet at one.
const SHARDS: usize = 64;

/// Sessions by the digest of their access token, for token checks by many threads.
///
/// A digest is its own hash: nobody can choose the digests of tokens that are drawn here, so none can be made to collide.
/// It stands in the session alone, so that a place costs a pointer.
pub(super) struct Table(Box<[Shard]>);

/// A cache line of its own, and that of the prefetcher beside it.
#[repr(align(128))]
struct Shard(RwLock<HashTable<Arc<Session>>>);

impl Table {
    pub(super) fn get(&self, access: &Digest<Access>) -> Option<Arc<Session>> {
        self.shard(access).read().find(hash(access), |session| session.access == *access).map(Arc::clone)
    }

    /// Puts in a session whose digest is not there.
    pub(super) fn insert(&self, session: Arc<Session>) {
        let hash_of = |session: &Arc<Session>| hash(&session.access);
        self.shard(&session.access).write().insert_unique(hash_of(&session), session, hash_of);
    }

    pub(super) fn remove(&self, access: &Digest<Access>) {
        let mut shard = self.shard(access).write();
        if let Ok(entry) = shard.find_entry(hash(access), |session| session.access == *access) {
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
    fn read(&self) -> RwLockReadGuard<'_, HashTable<Arc<Session>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashTable<Arc<Session>>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Eight bytes that the choice of the shard leaves alone.
fn hash(access: &Digest<Access>) -> u64 {
    let [_, a, b, c, d, e, f, g, h, ..] = *access.as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}
