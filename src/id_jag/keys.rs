//! The trusted issuers, and their keys: fetched when they are needed, and cached.

use std::{
    error::Error,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jsonwebtoken::Algorithm;
use tokio::sync::Mutex as Turn;

use super::{
    LONGEST_KEYS, Refused,
    signature::{Found, Keys, Signed},
};
use crate::{
    client_metadata::{self, DynFetch, FetchError},
    config::TrustedIssuer,
    types::{clock::Clock, id::ClientId},
};

/// The least and the most time for which keys are cached.
const FLOOR: Duration = Duration::from_secs(5 * 60);
const CEILING: Duration = Duration::from_secs(86_400);
/// How much longer they are used if no newer ones can be had.
const STALE: Duration = Duration::from_secs(3_600);
/// The pause after a fetch while there are keys, for an unknown key id or after a failure.
const PAUSE: Duration = Duration::from_secs(60);
/// The pause after a failed fetch while there are none.
const RETRY: Duration = Duration::from_secs(10);

/// An issuer that the service trusts.
pub(super) struct Issuer {
    trusted: TrustedIssuer,
    algorithms: Vec<Algorithm>,
    keys: Arc<KeyCache>,
}

impl Issuer {
    pub(super) fn new(
        trusted: &TrustedIssuer,
        fetch: &Arc<dyn DynFetch>,
        clock: &Arc<dyn Clock>,
        deadline: Duration,
    ) -> Self {
        let keys = Arc::new(KeyCache {
            url: trusted.jwks_uri.clone(),
            fetch: Arc::clone(fetch),
            clock: Arc::clone(clock),
            deadline,
            turn: Arc::default(),
            state: Mutex::default(),
        });
        // The configuration has checked the names.
        let algorithms = trusted.algorithms.iter().filter_map(|name| name.parse().ok()).collect();
        Self { trusted: trusted.clone(), algorithms, keys }
    }

    pub(super) fn id(&self) -> &str {
        &self.trusted.issuer
    }

    pub(super) fn may_speak_for(&self, client: &ClientId) -> bool {
        let listed = &self.trusted.client_ids;
        listed.is_empty() || listed.iter().any(|id| id == client.as_str())
    }

    /// Verifies a signature by the keys of this issuer.
    pub(super) async fn verify(&self, signed: &Signed<'_>) -> Result<(), Refused> {
        if !self.algorithms.contains(&signed.algorithm) {
            return Err(Refused::Key);
        }
        match self.keys.check(signed).await? {
            Found::Valid => Ok(()),
            Found::Wrong => Err(Refused::Signature),
            Found::Unknown => Err(Refused::Key),
        }
    }
}

type Cause = Arc<dyn Error + Send + Sync>;

/// The keys of one issuer. Spans are measured on the monotonic clock.
struct KeyCache {
    url: String,
    fetch: Arc<dyn DynFetch>,
    clock: Arc<dyn Clock>,
    deadline: Duration,
    /// Whoever fetches holds it. The others wait, and then find what was fetched.
    turn: Arc<Turn<()>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    cached: Option<Cached>,
    /// When the last fetch began.
    tried: Option<Duration>,
    /// Why the last fetch brought nothing.
    failure: Option<Cause>,
}

#[derive(Clone)]
struct Cached {
    keys: Arc<Keys>,
    until: Duration,
}

#[derive(Debug, thiserror::Error)]
#[error("the key set at {url} can't be used: {cause}")]
struct Unusable {
    url: String,
    cause: &'static str,
}

#[derive(Debug, thiserror::Error)]
#[error("the key set at {url} can't be fetched: {cause}")]
struct Unfetched {
    url: String,
    #[source]
    cause: FetchError,
}

impl KeyCache {
    async fn check(self: &Arc<Self>, signed: &Signed<'_>) -> Result<Found, Refused> {
        if let Some(keys) = self.keys(Duration::ZERO) {
            match keys.check(signed) {
                Found::Unknown => {}
                found => return Ok(found),
            }
        }
        self.refresh().await;
        match self.keys(STALE) {
            Some(keys) => Ok(keys.check(signed)),
            None => {
                let failure = self.state().failure.clone();
                Err(Refused::Unavailable(failure.unwrap_or_else(|| self.unusable("its fetch was interrupted"))))
            }
        }
    }

    /// The cached keys, unless they should have been replaced before by more than `longer`.
    fn keys(&self, longer: Duration) -> Option<Arc<Keys>> {
        let now = self.clock.elapsed();
        let cached = self.state().cached.clone().filter(|cached| now < cached.until.saturating_add(longer))?;
        Some(cached.keys)
    }

    /// Fetches the keys, unless that was tried a short time ago. If another caller fetches them, waits for it.
    async fn refresh(self: &Arc<Self>) {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        if !self.begin() {
            return;
        }
        // In a task of its own: whoever brings an assertion and goes away must not take the fetch along.
        let cache = Arc::clone(self);
        let fetching = tokio::spawn(async move {
            let fetched = cache.fetch().await;
            let mut state = cache.state();
            match fetched {
                Ok(cached) => (state.cached, state.failure) = (Some(cached), None),
                Err(cause) => state.failure = Some(cause),
            }
            drop(turn);
        });
        if fetching.await.is_err() {
            self.state().failure = Some(self.unusable("its fetcher panicked"));
        }
    }

    /// Whether it is time for a fetch; then it counts as begun.
    fn begin(&self) -> bool {
        let now = self.clock.elapsed();
        let pause = if self.keys(STALE).is_some() { PAUSE } else { RETRY };
        let mut state = self.state();
        let is_time = state.tried.is_none_or(|tried| now >= tried.saturating_add(pause));
        if is_time {
            state.tried = Some(now);
        }
        is_time
    }

    async fn fetch(&self) -> Result<Cached, Cause> {
        let unfetched = |cause| -> Cause { Arc::new(Unfetched { url: self.url.clone(), cause }) };
        let fetched = tokio::time::timeout(self.deadline, self.fetch.fetch_up_to(&self.url, LONGEST_KEYS)).await;
        let fetched = fetched.unwrap_or(Err(FetchError::TooSlow)).map_err(unfetched)?;
        client_metadata::check(&fetched, LONGEST_KEYS).map_err(unfetched)?;
        let keys = Keys::read(&fetched.body).ok_or_else(|| self.unusable("it is no JWK set"))?;
        let max_age = fetched.max_age.unwrap_or_default().clamp(FLOOR, CEILING);
        Ok(Cached { keys: Arc::new(keys), until: self.clock.elapsed().saturating_add(max_age) })
    }

    fn unusable(&self, cause: &'static str) -> Cause {
        Arc::new(Unusable { url: self.url.clone(), cause })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
