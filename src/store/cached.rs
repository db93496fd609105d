use std::{
    collections::HashMap,
    fmt,
    hash::RandomState,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::Poll,
    time::Duration,
};

use quick_cache::{Lifecycle, UnitWeighter, sync::Cache as Entries};
use tokio::{sync::OnceCell, time::Instant};

use super::{Notice, SessionStore, StoreError, Subscriber};
use crate::types::{
    id::SessionId,
    secret::{Access, Digest},
    session::{Session, Use},
};

/// The maximum staleness, whatever is configured.
const STALEST: Duration = Duration::from_secs(60);

/// Caches found sessions for some seconds, so that not every token check queries the store.
///
/// Use it for token checks: [`AgentAuthBuilder::check_with`](crate::AgentAuthBuilder::check_with). It reduces store
/// load at the price of a delay: after **another** process revokes a session, this one may accept it until the cache
/// entry expires. If the store sends notices (PostgreSQL and Redis do), the entry is dropped within moments. Otherwise,
/// and while the connection is lost, the delay is at most the staleness. A revocation in this process drops the entry
/// before it returns. Refreshes are not sent to other processes: there the old access token may stay valid for that
/// time.
///
/// Found sessions are cached, and never errors. That a token is unknown is cached only if [asked
/// for](CacheOptions::unknown). Concurrent lookups of the same token query the store once. A result from before a
/// revocation is not cached after it. While the store is down, cached sessions stay valid until their entries expire.
///
/// ```
/// use std::time::Duration;
/// use tower_agent_auth::store::{CacheOptions, CachedStore, MemoryStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let store = MemoryStore::new(); // your store
/// let cached = CachedStore::over(store.clone());
/// let fresher = CacheOptions::new().staleness(Duration::from_secs(1)).capacity(100_000).over(store);
/// # }
/// ```
pub struct CachedStore<S> {
    store: Arc<S>,
    cache: Arc<Cache>,
}

impl<S: SessionStore> CachedStore<S> {
    /// Creates a cache with the default [options](CacheOptions).
    ///
    /// # Panics
    /// As for [`CacheOptions::over`].
    #[must_use]
    pub fn over(store: S) -> Self {
        CacheOptions::new().over(store)
    }
}

impl<S> Clone for CachedStore<S> {
    fn clone(&self) -> Self {
        Self { store: Arc::clone(&self.store), cache: Arc::clone(&self.cache) }
    }
}

impl<S: fmt::Debug> fmt::Debug for CachedStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CachedStore").field(&self.store).finish()
    }
}

/// The options of a [`CachedStore`].
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct CacheOptions {
    staleness: Duration,
    capacity: usize,
    unknown: Duration,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self { staleness: Duration::from_secs(5), capacity: 10_000, unknown: Duration::ZERO }
    }
}

impl CacheOptions {
    /// Creates the default options.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how long a cached result is used, counted from the query. Defaults to 5 seconds; at most one minute.
    pub fn staleness(mut self, span: Duration) -> Self {
        self.staleness = span.min(STALEST);
        self
    }

    /// Sets the maximum number of cached sessions. Defaults to 10,000. Beyond it, the least used ones are evicted.
    pub const fn capacity(mut self, sessions: usize) -> Self {
        self.capacity = sessions;
        self
    }

    /// Sets how long it is cached that a token is unknown. Defaults to zero, which means not at all; at most one minute.
    /// For stores whose lookups are costly. As many unknown tokens are cached as sessions, apart from them: no number of
    /// unknown tokens evicts a session.
    pub fn unknown(mut self, span: Duration) -> Self {
        self.unknown = span.min(STALEST);
        self
    }

    /// Creates the cache over `store`.
    ///
    /// # Panics
    /// Outside a Tokio runtime, if the store receives notices from other processes: PostgreSQL and Redis.
    pub fn over<S: SessionStore>(self, store: S) -> CachedStore<S> {
        let cache = Arc::new(Cache::new(self));
        let subscriber: Weak<Cache> = Arc::downgrade(&cache);
        store.subscribe(subscriber);
        CachedStore { store: Arc::new(store), cache }
    }
}

impl<S: SessionStore> SessionStore for CachedStore<S> {
    async fn find_session(&self, access: &Digest<Access>) -> Result<Option<Arc<Session>>, StoreError> {
        if let Poll::Ready(known) = self.try_find_session(access) {
            return Ok(known);
        }
        let lookup = match self.cache.join(access) {
            Ok(lookup) => lookup,
            Err(known) => return Ok(known),
        };
        let found = lookup.flight.answer.get_or_try_init(|| self.store.find_session(access)).await?.clone();
        match &found {
            Some(session) => lookup.keep(session),
            None => lookup.keep_unknown(),
        }
        Ok(found)
    }

    fn try_find_session(&self, access: &Digest<Access>) -> Poll<Option<Arc<Session>>> {
        match self.cache.get(access) {
            Poll::Pending => self.store.try_find_session(access),
            known => known,
        }
    }

    fn subscribe(&self, subscriber: Weak<dyn Subscriber>) -> bool {
        self.store.subscribe(subscriber)
    }
}

impl Subscriber for Cache {
    fn notify(&self, notice: &Notice) {
        match notice {
            Notice::Ended(sessions) => self.drop_sessions(sessions),
            Notice::EndedToken(access) => {
                // A lookup in progress may be older than the end of the token, even if nothing is cached yet.
                self.state().flights.clear();
                if let Some(entry) = self.entries.peek(access) {
                    self.drop_sessions(std::slice::from_ref(&entry.session.id));
                }
            }
            Notice::Used(uses) => self.advance(uses),
            Notice::Gap => self.drop_all(),
        }
    }
}

struct Cache {
    staleness: Duration,
    entries: Entries<Digest<Access>, Entry, UnitWeighter, RandomState, Evicting>,
    unknown: Option<Unknown>,
    state: Mutex<State>,
}

/// The tokens that the store did not find, each with the end of its entry.
struct Unknown {
    span: Duration,
    tokens: Entries<Digest<Access>, Instant>,
}

#[derive(Clone)]
struct Entry {
    session: Arc<Session>,
    until: Instant,
}

#[derive(Default)]
struct State {
    /// Lookups in progress, one for each token. Cleared when a session is dropped, because a result in progress may be
    /// older than the change.
    flights: HashMap<Digest<Access>, UnderWay>,
    /// The access token of each cached session.
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
        let span = Some(options.unknown).filter(|span| !span.is_zero());
        let unknown = span.map(|span| Unknown { span, tokens: Entries::new(capacity) });
        Self { staleness: options.staleness, entries, unknown, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, access: &Digest<Access>) -> Poll<Option<Arc<Session>>> {
        if let Some(entry) = self.entries.get(access).filter(|entry| Instant::now() < entry.until) {
            return Poll::Ready(Some(entry.session));
        }
        let until = self.unknown.as_ref().and_then(|unknown| unknown.tokens.get(access));
        if until.is_some_and(|until| Instant::now() < until) { Poll::Ready(None) } else { Poll::Pending }
    }

    /// Joins the lookup of a token. Shares one in progress, unless a session was dropped since it began. Fails with the
    /// result if one has just been cached.
    fn join(&self, access: &Digest<Access>) -> Result<Lookup<'_>, Option<Arc<Session>>> {
        let mut state = self.state();
        if !state.flights.contains_key(access) {
            if let Poll::Ready(known) = self.get(access) {
                return Err(known);
            }
        }
        let begin = || {
            let flight = Arc::new(Flight { began: Instant::now(), answer: OnceCell::new() });
            UnderWay { flight, callers: 0 }
        };
        let under_way = state.flights.entry(*access).or_insert_with(begin);
        under_way.callers += 1;
        let flight = Arc::clone(&under_way.flight);
        drop(state);
        Ok(Lookup { cache: self, access: *access, flight })
    }

    /// Advances the last uses of what is remembered, as the store's are.
    fn advance(&self, uses: &[(SessionId, Use)]) {
        let state = self.state();
        for (session, last) in uses {
            if let Some(entry) = state.tokens.get(session).and_then(|token| self.entries.peek(token)) {
                entry.session.last_used.advance(last.at);
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
        if let Some(unknown) = &self.unknown {
            unknown.tokens.clear();
        }
    }
}

impl State {
    /// The entry of this lookup, unless a session was dropped since it began or its result is cached already.
    fn under_way(&mut self, lookup: &Lookup<'_>) -> Option<&mut UnderWay> {
        let known = self.flights.get_mut(&lookup.access);
        known.filter(|known| Arc::ptr_eq(&known.flight, &lookup.flight))
    }
}

/// One caller of a lookup.
struct Lookup<'c> {
    cache: &'c Cache,
    access: Digest<Access>,
    flight: Arc<Flight>,
}

impl Lookup<'_> {
    /// Caches the found session, unless a session was dropped meanwhile.
    fn keep(&self, session: &Arc<Session>) {
        let mut state = self.cache.state();
        if state.under_way(self).is_none() {
            return;
        }
        state.flights.remove(&self.access);
        // A session has one access token at a time. A different one is from before a refresh.
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

    /// Caches that the token is unknown, unless a session was dropped meanwhile.
    fn keep_unknown(&self) {
        let Some(unknown) = &self.cache.unknown else { return };
        let mut state = self.cache.state();
        if state.under_way(self).is_some() {
            state.flights.remove(&self.access);
            unknown.tokens.insert(self.access, self.flight.began + unknown.span);
        }
    }
}

impl Drop for Lookup<'_> {
    /// The last caller removes the entry.
    fn drop(&mut self) {
        let mut state = self.cache.state();
        let Some(under_way) = state.under_way(self) else { return };
        under_way.callers -= 1;
        if under_way.callers == 0 {
            state.flights.remove(&self.access);
        }
    }
}

/// Reports evicted entries.
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
