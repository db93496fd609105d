//! A store on any engine of ordered keys and values with transactions, such as redb, LMDB, RocksDB or sled.
//!
//! Implement [`OrderedEngine`] for the engine: a transaction, four operations on keys, and a snapshot. [`OrderedStore`]
//! is then a [`CeremonyStore`](super::CeremonyStore), with all rules, indexes and caps. `examples/redb` is one on redb, in
//! 76 lines, and passes the conformance suite.
//!
//! Here is one in memory:
//!
//! ```
//! use std::{collections::BTreeMap, sync::RwLock};
//! use tower_agent_auth::{
//!     AgentAuth, AgentAuthBuilder, Config,
//!     store::{StoreError, ordered::{OrderedEngine, OrderedStore, Snapshot, Transaction}},
//! };
//!
//! #[derive(Default)]
//! struct InMemory(RwLock<BTreeMap<Vec<u8>, Vec<u8>>>);
//!
//! struct Entries<M>(M);
//!
//! impl<M: std::ops::Deref<Target = BTreeMap<Vec<u8>, Vec<u8>>>> Snapshot for Entries<M> {
//!     fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
//!         Ok(self.0.get(key).cloned())
//!     }
//!
//!     fn keys(&self, first: &[u8], last: &[u8], reverse: bool, limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
//!         let range = self.0.range(first.to_vec()..=last.to_vec()).map(|(key, _)| key.clone());
//!         Ok(if reverse { range.rev().take(limit).collect() } else { range.take(limit).collect() })
//!     }
//! }
//!
//! impl Transaction for Entries<&mut BTreeMap<Vec<u8>, Vec<u8>>> {
//!     fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
//!         self.0.insert(key.to_vec(), value.to_vec());
//!         Ok(())
//!     }
//!
//!     fn remove(&mut self, key: &[u8]) -> Result<(), StoreError> {
//!         self.0.remove(key);
//!         Ok(())
//!     }
//! }
//!
//! impl OrderedEngine for InMemory {
//!     fn read<T>(&self, read: impl FnOnce(&dyn Snapshot) -> Result<T, StoreError>) -> Result<T, StoreError> {
//!         read(&Entries(self.0.read().expect("no writer panics")))
//!     }
//!
//!     fn change<T>(
//!         &self,
//!         change: impl FnOnce(&mut dyn Transaction) -> Result<T, StoreError>,
//!     ) -> Result<T, StoreError> {
//!         let mut entries = self.0.write().expect("no writer panics");
//!         let mut changed = entries.clone();
//!         let answer = change(&mut Entries(&mut changed))?;
//!         *entries = changed; // only if it succeeded
//!         Ok(answer)
//!     }
//! }
//!
//! # fn builder(config: Config) -> AgentAuthBuilder {
//! AgentAuth::builder(config).sessions(OrderedStore::new(InMemory::default()))
//! # }
//! ```

use std::{
    fmt,
    sync::{Arc, Weak},
};

use self::tables::Kind;
use super::{
    AuthorizationKey, AuthorizationStore, Creation, Cutoff, HousekeepingStore, Notice, Notices, PendingCaps,
    RefreshTokenStore, RevokeTarget, SessionRecordStore, SessionStore, StoreError, StoreErrorKind, StoredSession,
    Subscriber,
};
use crate::types::{
    authorization::{AuthorizationRequest, NewAuthorizationRequest, State, Transition},
    clock::Timestamp,
    id::{AccountId, AuthorizationRequestId, SessionId},
    secret::{Access, Digest, Refresh},
    session::{NewSession, RefreshTokenState, Revocation, RevokedBy, Rotation, Session, SessionRecord, Use},
    text::HumanText,
};

mod tables;

/// An engine of ordered keys and values. Keys are compared byte by byte, and are 300 bytes long at most. Values are a few
/// kilobytes long.
///
/// Both methods may block: a change runs on a thread for blocking work, a token check on the thread of its caller.
pub trait OrderedEngine: Send + Sync + 'static {
    /// Reads what was committed, at one instant.
    ///
    /// # Errors
    /// Those of `read`, and when the engine fails.
    fn read<T>(&self, read: impl FnOnce(&dyn Snapshot) -> Result<T, StoreError>) -> Result<T, StoreError>;

    /// Runs `change` in one transaction, alone: no other change is between its reads and its writes. If it succeeds, all
    /// is stored as durably as the engine promises, before this returns. If it fails, nothing has changed.
    ///
    /// # Errors
    /// Those of `change`, and when the engine fails. It is then unknown whether anything was stored.
    fn change<T>(&self, change: impl FnOnce(&mut dyn Transaction) -> Result<T, StoreError>) -> Result<T, StoreError>;
}

/// The entries at an instant, or within a transaction with all that it wrote.
pub trait Snapshot {
    /// Returns the value of a key.
    ///
    /// # Errors
    /// When the engine fails.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Returns the keys from `first` to `last`, both included: at most `limit`, in order, or from the end if `reverse`.
    ///
    /// # Errors
    /// When the engine fails.
    fn keys(&self, first: &[u8], last: &[u8], reverse: bool, limit: usize) -> Result<Vec<Vec<u8>>, StoreError>;
}

/// A transaction that writes.
pub trait Transaction: Snapshot {
    /// Sets the value of a key.
    ///
    /// # Errors
    /// When the engine fails.
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError>;

    /// Removes a key, if it is there.
    ///
    /// # Errors
    /// When the engine fails.
    fn remove(&mut self, key: &[u8]) -> Result<(), StoreError>;
}

/// A store on an [`OrderedEngine`], for one process. See the [module](self). Clones share the engine.
///
/// The keys are its own: give it an engine, or a table of one, that nothing else writes to. Records are text by
/// [`codec`](super::codec), so a newer version of this crate reads what an older one stored.
pub struct OrderedStore<E> {
    engine: Arc<E>,
    notices: Arc<Notices>,
}

impl<E: OrderedEngine> OrderedStore<E> {
    /// A store on that engine, with what it holds.
    #[must_use]
    pub fn new(engine: E) -> Self {
        Self { engine: Arc::new(engine), notices: Arc::new(Notices::new()) }
    }

    /// The engine, for maintenance such as a backup or a compaction. What the store keeps there is its own.
    #[must_use]
    pub fn engine(&self) -> &E {
        &self.engine
    }

    /// Reads on a thread for blocking work.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Snapshot) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let engine = Arc::clone(&self.engine);
        blocking(move || engine.read(read)).await
    }

    /// Changes on a thread for blocking work. If the caller is dropped, the transaction still ends.
    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut dyn Transaction) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let engine = Arc::clone(&self.engine);
        blocking(move || engine.change(change)).await
    }

    /// Changes, and announces the sessions that ended by it.
    async fn announced<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut dyn Transaction) -> Result<T, StoreError> + Send + 'static,
        ended: impl FnOnce(&T) -> Vec<SessionId> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.clone();
        in_its_own_task(async move { store.notices.announce(store.change(change), ended).await }).await
    }
}

/// Runs to its end even if the caller is dropped: what it changes and what it announces belong together.
async fn in_its_own_task<T: Send + 'static>(
    work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    let done = tokio::spawn(work).await;
    done.map_err(|error| StoreError::because(StoreErrorKind::Other, error))?
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| StoreError::because(StoreErrorKind::Other, error))?
}

impl<E> Clone for OrderedStore<E> {
    fn clone(&self) -> Self {
        Self { engine: Arc::clone(&self.engine), notices: Arc::clone(&self.notices) }
    }
}

impl<E> fmt::Debug for OrderedStore<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrderedStore").finish_non_exhaustive()
    }
}

impl<E: OrderedEngine> SessionStore for OrderedStore<E> {
    async fn find_session(&self, access: &Digest<Access>) -> Result<Option<Arc<Session>>, StoreError> {
        let find = |entries: &dyn Snapshot| {
            let id = tables::owner(entries, Kind::Access, access.as_bytes())?;
            Ok(id.map(|id| tables::session(entries, &id)).transpose()?.flatten())
        };
        // It reads two entries, which are usually in memory: changing threads would cost more.
        let record = self.engine.read(find)?.map(|(_, stored)| stored.session);
        Ok(record.filter(|record| record.revoked.is_none()).map(|record| record.session))
    }

    fn subscribe(&self, subscriber: Weak<dyn Subscriber>) -> bool {
        self.notices.subscribe(subscriber);
        true
    }
}

impl<E: OrderedEngine> AuthorizationStore for OrderedStore<E> {
    async fn create_authorization(
        &self,
        new: &NewAuthorizationRequest,
        caps: PendingCaps,
    ) -> Result<Creation, StoreError> {
        let new = new.clone();
        self.change(move |entries| tables::create(entries, &new, caps)).await
    }

    async fn find_authorization(&self, key: &AuthorizationKey) -> Result<Option<AuthorizationRequest>, StoreError> {
        let key = key.clone();
        let find = move |entries: &dyn Snapshot| {
            let id = match &key {
                AuthorizationKey::Id(id) => Some(id.to_string()),
                AuthorizationKey::Lookup(lookup) => tables::owner(entries, Kind::Lookup, lookup.as_bytes())?,
            };
            Ok(id.map(|id| tables::request(entries, &id)).transpose()?.flatten())
        };
        self.read(find).await
    }

    async fn list_approved(
        &self,
        account: &AccountId,
        at: Timestamp,
        limit: usize,
    ) -> Result<Vec<AuthorizationRequest>, StoreError> {
        let account = account.clone();
        let list = move |entries: &dyn Snapshot| {
            let ids = tables::list(entries, Kind::Bound, account.as_str(), 0..=0, false, usize::MAX)?;
            let mut approved = tables::requests(entries, ids)?;
            approved.retain(|request| request.state_at(at) == State::Approved);
            approved.sort_by_key(|request| std::cmp::Reverse(request.created_at));
            approved.truncate(limit);
            Ok(approved)
        };
        self.read(list).await
    }

    async fn list_authorizations(
        &self,
        account: &AccountId,
        after: Option<&AuthorizationRequestId>,
        limit: usize,
    ) -> Result<Vec<AuthorizationRequest>, StoreError> {
        let (account, after) = (account.clone(), after.map(ToString::to_string));
        let list = move |entries: &dyn Snapshot| {
            let ids = tables::list_after(entries, Kind::Bound, account.as_str(), after.as_deref(), limit)?;
            tables::requests(entries, ids)
        };
        self.read(list).await
    }

    async fn transition(
        &self,
        id: &AuthorizationRequestId,
        transition: &Transition,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let (id, transition) = (id.clone(), transition.clone());
        self.change(move |entries| tables::transition(entries, id.as_str(), transition, at)).await
    }

    async fn redeem(&self, new: &NewSession, at: Timestamp) -> Result<bool, StoreError> {
        let new = new.clone();
        self.change(move |entries| tables::redeem(entries, &new, at)).await
    }
}

impl<E: OrderedEngine> SessionRecordStore for OrderedStore<E> {
    async fn find_record(&self, session: &SessionId) -> Result<Option<SessionRecord>, StoreError> {
        let id = session.clone();
        self.read(move |entries| Ok(tables::session(entries, id.as_str())?.map(|(_, stored)| stored.session))).await
    }

    async fn sessions_of(&self, authorization: &AuthorizationRequestId) -> Result<Vec<SessionRecord>, StoreError> {
        let id = authorization.clone();
        let list = move |entries: &dyn Snapshot| {
            let ids = tables::list(entries, Kind::Redeemed, id.as_str(), 0..=i64::MAX, true, usize::MAX)?;
            tables::records(entries, ids)
        };
        self.read(list).await
    }

    async fn list_sessions(
        &self,
        account: &AccountId,
        before: Option<&SessionId>,
        limit: usize,
    ) -> Result<Vec<SessionRecord>, StoreError> {
        let (account, before) = (account.clone(), before.cloned());
        let list = move |entries: &dyn Snapshot| {
            let before = before.map(|id| tables::session(entries, id.as_str())).transpose()?.flatten();
            let before = before.filter(|(_, stored)| stored.session.session.account.id == account);
            let last = before.map_or(i64::MAX, |(place, _)| place - 1);
            let ids = tables::list(entries, Kind::Account, account.as_str(), 0..=last, true, limit)?;
            tables::records(entries, ids)
        };
        self.read(list).await
    }

    async fn revoke(&self, target: &RevokeTarget, by: RevokedBy, at: Timestamp) -> Result<Vec<SessionId>, StoreError> {
        let (store, target, revocation) = (self.clone(), target.clone(), Revocation::new(at, by));
        in_its_own_task(async move {
            let wanted = target.clone();
            let revoking = store.change(move |entries| tables::revoke(entries, &wanted, revocation));
            store.notices.announce_revocation(&target, revoking).await
        })
        .await
    }

    async fn rename_session(
        &self,
        account: &AccountId,
        session: &SessionId,
        name: Option<&HumanText>,
    ) -> Result<bool, StoreError> {
        let (account, session, name) = (account.clone(), session.clone(), name.cloned());
        let rename = move |stored: &mut StoredSession| {
            let is_owner = stored.session.session.account.id == account;
            stored.session.name = name;
            is_owner
        };
        self.change(move |entries| Ok(tables::change_session(entries, session.as_str(), rename)?.is_some())).await
    }

    async fn record_uses(&self, uses: &[(SessionId, Use)], at: Timestamp) -> Result<(), StoreError> {
        let recorded = uses.to_vec();
        let record = move |entries: &mut dyn Transaction| {
            for (id, new) in recorded {
                tables::change_session(entries, id.as_str(), |stored| stored.session.record_use(new, at))?;
            }
            Ok(())
        };
        self.change(record).await?;
        self.notices.send(&Notice::Used(uses.to_vec()));
        Ok(())
    }
}

impl<E: OrderedEngine> RefreshTokenStore for OrderedStore<E> {
    async fn find_refresh(&self, refresh: &Digest<Refresh>) -> Result<Option<RefreshTokenState>, StoreError> {
        let refresh = *refresh;
        self.read(move |entries| tables::refresh_state(entries, &refresh)).await
    }

    async fn rotate(&self, rotation: &Rotation, at: Timestamp) -> Result<Option<SessionId>, StoreError> {
        let rotation = rotation.clone();
        let rotate = move |entries: &mut dyn Transaction| tables::rotate(entries, &rotation, at);
        self.announced(rotate, |session| session.iter().cloned().collect()).await
    }
}

impl<E: OrderedEngine> HousekeepingStore for OrderedStore<E> {
    async fn forget(&self, cutoff: &Cutoff, limit: usize) -> Result<bool, StoreError> {
        let (authorizations, sessions) = (cutoff.authorizations.as_millis(), cutoff.sessions);
        let forget = move |entries: &mut dyn Transaction| {
            let expired = tables::list(entries, Kind::Expiry, "", i64::MIN..=authorizations, false, limit)?;
            tables::forget_requests(entries, &expired)?;
            let ended = tables::list(entries, Kind::End, "", i64::MIN..=sessions.as_millis(), false, limit)?;
            tables::forget_sessions(entries, &ended)?;
            let used = tables::forget_used(entries, sessions, limit)?;
            Ok([expired.len(), ended.len(), used].iter().any(|forgotten| *forgotten >= limit))
        };
        self.change(forget).await
    }

    async fn forget_account(&self, account: &AccountId, limit: usize) -> Result<bool, StoreError> {
        let account = account.clone();
        let forget = move |entries: &mut dyn Transaction| {
            let requests = tables::list(entries, Kind::Bound, account.as_str(), 0..=0, false, limit)?;
            tables::forget_requests(entries, &requests)?;
            let sessions = tables::list(entries, Kind::Account, account.as_str(), 0..=i64::MAX, false, limit)?;
            let ended = tables::forget_sessions(entries, &sessions)?;
            Ok((requests.len() >= limit || sessions.len() >= limit, ended))
        };
        self.announced(forget, |(_, ended)| ended.clone()).await.map(|(more, _)| more)
    }
}
