use std::{
    collections::HashMap,
    fmt,
    future::Future,
    hash::RandomState,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::Poll,
    time::Duration,
};

use quick_cache::{Lifecycle, UnitWeighter, sync::Cache as Entries};
use tokio::{sync::OnceCell, task::AbortHandle, time::Instant};

use super::{
    AuthorizationKey, CeremonyStore, Creation, Cutoff, Notice, Notices, PendingCaps, RevokeTarget, SessionStore,
    StoreError,
};
use crate::types::{
    authorization::{AuthorizationRequest, Transition},
    clock::Timestamp,
    id::{AccountId, AuthorizationRequestId, SessionId},
    secret::{Access, Digest, Refresh},
    session::{NewSession, RefreshTokenState, RevokedBy, Rotation, Session, SessionRecord, Use},
};

/// How stale an answer may be at most, whatever is asked for.
const STALEST: Duration = Duration::from_secs(60);

/// Remembers for some seconds which sessions a store found, so that a token check need not ask it each time.
///
/// It trades load for a delay: after a session is revoked **another** process may let it pass until the entry is too old.
/// Where the store can tell ([`SessionStore::notices`]: PostgreSQL and Redis can) it is dropped within moments; where it
/// can't, or the connection is lost, the staleness is the bound. The process that revokes drops it at once. A refresh is
/// not told to others: there the old access token may live that long, if nothing else ends it.
///
/// Only sessions that were found are remembered, never that one was not, and never an error. Callers that ask for the same
/// token at the same time ask the store once. What was being looked up while a session ended is not remembered. While a
/// store is down, what is remembered is good until its time is over.
///
/// ```
/// use std::time::Duration;
/// use tower_agent_auth::store::{CacheOptions, CachedStore, MemoryStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let store = CachedStore::over(MemoryStore::new()); // your store
/// let sooner = CacheOptions::new().staleness(Duration::from_secs(1)).capacity(100_000).over(MemoryStore::new());
/// # }
/// ```
pub struct CachedStore<S> {
    store: Arc<S>,
    cache: Arc<Cache>,
    _listening: Option<Arc<Listening>>,
}

impl<S: SessionStore> CachedStore<S> {
    /// A cache with the default [options](CacheOptions).
    ///
    /// # Panics
    /// Outside a Tokio runtime, over a store that has [notices](SessionStore::notices).
    #[must_use]
    pub fn over(store: S) -> Self {
        CacheOptions::new().over(store)
    }
}

impl<S> Clone for CachedStore<S> {
    fn clone(&self) -> Self {
        let Self { store, cache, _listening } = self;
        Self { store: Arc::clone(store), cache: Arc::clone(cache), _listening: _listening.clone() }
    }
}

impl<S: fmt::Debug> fmt::Debug for CachedStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CachedStore").field(&self.store).finish()
    }
}

/// How a [`CachedStore`] remembers.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct CacheOptions {
    staleness: Duration,
    capacity: usize,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self { staleness: Duration::from_secs(5), capacity: 10_000 }
    }
}

impl CacheOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long after the store was asked its answer is still given: 5 seconds unless set, and a minute at most.
    pub fn staleness(mut self, span: Duration) -> Self {
        self.staleness = span.min(STALEST);
        self
    }

    /// How many sessions are remembered at most: 10,000 unless set. Beyond that those leave that are used least.
    pub const fn capacity(mut self, sessions: usize) -> Self {
        self.capacity = sessions;
        self
    }

    /// The cache over `store`.
    ///
    /// # Panics
    /// Outside a Tokio runtime, if the store has [notices](SessionStore::notices).
    pub fn over<S: SessionStore>(self, store: S) -> CachedStore<S> {
        let cache = Arc::new(Cache::new(self));
        let listening = store.notices().map(|notices| {
            let task = tokio::spawn(listen(notices, Arc::downgrade(&cache)));
            Arc::new(Listening(task.abort_handle()))
        });
        CachedStore { store: Arc::new(store), cache, _listening: listening }
    }
}

/// Ends the task that listens when nobody has the cache any more.
#[derive(Debug)]
struct Listening(AbortHandle);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn listen(mut notices: Notices, cache: Weak<Cache>) {
    while let Some(notice) = notices.next().await {
        let Some(cache) = cache.upgrade() else { return };
        match notice {
            Notice::Ended(sessions) => cache.drop_sessions(&sessions),
            Notice::Gap => cache.drop_all(),
        }
    }
}

impl<S: SessionStore> SessionStore for CachedStore<S> {
    async fn find_session(&self, access: &Digest<Access>) -> Result<Option<Arc<Session>>, StoreError> {
        if let Poll::Ready(known) = self.try_find_session(access) {
            return Ok(known);
        }
        let lookup = self.cache.join(access);
        let found = lookup.flight.answer.get_or_try_init(|| self.store.find_session(access)).await?.clone();
        if let Some(session) = &found {
            lookup.keep(session);
        }
        Ok(found)
    }

    fn try_find_session(&self, access: &Digest<Access>) -> Poll<Option<Arc<Session>>> {
        match self.cache.get(access) {
            Some(session) => Poll::Ready(Some(session)),
            None => self.store.try_find_session(access),
        }
    }

    fn notices(&self) -> Option<Notices> {
        self.store.notices()
    }
}

impl<S: CeremonyStore> CeremonyStore for CachedStore<S> {
    async fn create_authorization(
        &self,
        authorization: &AuthorizationRequest,
        caps: PendingCaps,
    ) -> Result<Creation, StoreError> {
        self.store.create_authorization(authorization, caps).await
    }

    async fn find_authorization(&self, key: &AuthorizationKey) -> Result<Option<AuthorizationRequest>, StoreError> {
        self.store.find_authorization(key).await
    }

    async fn transition(
        &self,
        id: &AuthorizationRequestId,
        transition: &Transition,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.store.transition(id, transition, at).await
    }

    async fn redeem(&self, new: &NewSession, at: Timestamp) -> Result<bool, StoreError> {
        self.store.redeem(new, at).await
    }

    async fn session_of(&self, authorization: &AuthorizationRequestId) -> Result<Option<SessionRecord>, StoreError> {
        self.store.session_of(authorization).await
    }

    async fn find_record(&self, session: &SessionId) -> Result<Option<SessionRecord>, StoreError> {
        self.store.find_record(session).await
    }

    async fn find_refresh(&self, refresh: &Digest<Refresh>) -> Result<Option<RefreshTokenState>, StoreError> {
        self.store.find_refresh(refresh).await
    }

    async fn rotate(&self, rotation: &Rotation, at: Timestamp) -> Result<Option<SessionId>, StoreError> {
        let rotating = self.store.rotate(rotation, at);
        self.cache.changing(rotating, |session| session.iter().cloned().collect()).await
    }

    async fn list_sessions(
        &self,
        account: &AccountId,
        before: Option<&SessionId>,
        limit: usize,
    ) -> Result<Vec<SessionRecord>, StoreError> {
        self.store.list_sessions(account, before, limit).await
    }

    async fn revoke(&self, target: &RevokeTarget, by: RevokedBy, at: Timestamp) -> Result<Vec<SessionId>, StoreError> {
        // It may have ended elsewhere, unheard of: then the store ends nothing, and it is dropped here all the same.
        let named = self.cache.named(target);
        let revoking = self.store.revoke(target, by, at);
        self.cache.changing(revoking, |ended| ended.iter().cloned().chain(named).collect()).await
    }

    async fn record_uses(&self, uses: &[(SessionId, Use)]) -> Result<(), StoreError> {
        self.store.record_uses(uses).await?;
        self.cache.note(uses);
        Ok(())
    }

    async fn forget(&self, cutoff: &Cutoff, limit: usize) -> Result<bool, StoreError> {
        self.store.forget(cutoff, limit).await
    }
}

struct Cache {
    staleness: Duration,
    entries: Entries<Digest<Access>, Entry, UnitWeighter, RandomState, Evicting>,
    state: Mutex<State>,
}

#[derive(Clone)]
struct Entry {
    session: Arc<Session>,
    until: Instant,
}

#[derive(Default)]
struct State {
    /// What is being looked up, each token once. When a session is dropped, this is emptied: what is looked up meanwhile
    /// may be older than the change.
    flights: HashMap<Digest<Access>, UnderWay>,
    /// Under which token each session that is remembered is found.
    tokens: HashMap<SessionId, Digest<Access>>,
}

struct UnderWay {
    flight: Arc<Flight>,
    callers: usize,
}

struct Flight {
    began: Instant,
    answer: OnceCell<Option<Arc<Session>>>,
}

impl Cache {
    fn new(options: CacheOptions) -> Self {
        let capacity = options.capacity.max(1);
        let entries = Entries::with(capacity, capacity as u64, UnitWeighter, RandomState::default(), Evicting);
        Self { staleness: options.staleness, entries, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, access: &Digest<Access>) -> Option<Arc<Session>> {
        self.entries.get(access).filter(|entry| Instant::now() < entry.until).map(|entry| entry.session)
    }

    /// The one session that a revocation names, as far as that is known here.
    fn named(&self, target: &RevokeTarget) -> Option<SessionId> {
        match target {
            RevokeTarget::Session(session, _) => Some(session.clone()),
            RevokeTarget::Access(access) => self.entries.peek(access).map(|entry| entry.session.id.clone()),
            RevokeTarget::Refresh(_) | RevokeTarget::Account(_) => None,
        }
    }

    /// Takes part in looking up a token: in what is under way already, unless something was dropped since it began.
    fn join(&self, access: &Digest<Access>) -> Lookup<'_> {
        let mut state = self.state();
        let begin = || {
            let flight = Arc::new(Flight { began: Instant::now(), answer: OnceCell::new() });
            UnderWay { flight, callers: 0 }
        };
        let under_way = state.flights.entry(*access).or_insert_with(begin);
        under_way.callers += 1;
        let flight = Arc::clone(&under_way.flight);
        drop(state);
        Lookup { cache: self, access: *access, flight }
    }

    /// Runs a change and drops the sessions that it concerns; all of them if it is not known whether it was done, or if
    /// nobody waited to hear.
    async fn changing<T>(
        &self,
        change: impl Future<Output = Result<T, StoreError>>,
        concerned: impl FnOnce(&T) -> Vec<SessionId>,
    ) -> Result<T, StoreError> {
        let in_doubt = InDoubt(self);
        let done = change.await?;
        std::mem::forget(in_doubt);
        self.drop_sessions(&concerned(&done));
        Ok(done)
    }

    /// Notes uses that are written down in what is remembered, as in what the store finds from now on.
    fn note(&self, uses: &[(SessionId, Use)]) {
        let state = self.state();
        for (session, last) in uses {
            if let Some(entry) = state.tokens.get(session).and_then(|token| self.entries.peek(token)) {
                entry.session.noted.advance(last.at);
            }
        }
    }

    fn drop_sessions(&self, sessions: &[SessionId]) {
        if sessions.is_empty() {
            return;
        }
        let mut state = self.state();
        state.flights.clear();
        for token in sessions.iter().filter_map(|session| state.tokens.remove(session)).collect::<Vec<_>>() {
            self.entries.remove(&token);
        }
    }

    fn drop_all(&self) {
        let mut state = self.state();
        state.flights.clear();
        state.tokens.clear();
        self.entries.clear();
    }
}

impl State {
    /// The flight of that lookup, unless something was dropped since it began, or its answer is kept already.
    fn under_way(&mut self, lookup: &Lookup<'_>) -> Option<&mut UnderWay> {
        let known = self.flights.get_mut(&lookup.access);
        known.filter(|known| Arc::ptr_eq(&known.flight, &lookup.flight))
    }
}

/// Drops everything, unless it is forgotten.
struct InDoubt<'c>(&'c Cache);

impl Drop for InDoubt<'_> {
    fn drop(&mut self) {
        self.0.drop_all();
    }
}

/// One caller's part in a lookup.
struct Lookup<'c> {
    cache: &'c Cache,
    access: Digest<Access>,
    flight: Arc<Flight>,
}

impl Lookup<'_> {
    /// Remembers what was found, unless something was dropped meanwhile.
    fn keep(&self, session: &Arc<Session>) {
        let mut state = self.cache.state();
        if state.under_way(self).is_none() {
            return;
        }
        state.flights.remove(&self.access);
        // A session has one access token at a time: another one is of before a refresh.
        let old = state.tokens.insert(session.id.clone(), self.access);
        if let Some(old) = old.filter(|old| *old != self.access) {
            self.cache.entries.remove(&old);
        }
        let entry = Entry { session: Arc::clone(session), until: self.flight.began + self.cache.staleness };
        let mut evicted = Evicted::default();
        self.cache.entries.insert_with_lifecycle(self.access, entry, &mut evicted);
        for (token, session) in evicted.0 {
            if state.tokens.get(&session) == Some(&token) {
                state.tokens.remove(&session);
            }
        }
    }
}

impl Drop for Lookup<'_> {
    /// The last caller leaves nothing behind.
    fn drop(&mut self) {
        let mut state = self.cache.state();
        let Some(under_way) = state.under_way(self) else { return };
        under_way.callers -= 1;
        if under_way.callers == 0 {
            state.flights.remove(&self.access);
        }
    }
}

/// Tells what had to leave.
#[derive(Clone)]
struct Evicting;

#[derive(Default)]
struct Evicted(Vec<(Digest<Access>, SessionId)>);

impl Lifecycle<Digest<Access>, Entry> for Evicting {
    type RequestState = Evicted;

    fn on_evict(&self, state: &mut Evicted, token: Digest<Access>, entry: Entry) {
        state.0.push((token, entry.session.id.clone()));
    }
}

#[cfg(all(test, feature = "conformance"))]
mod tests;
