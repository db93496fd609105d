use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use governor::Quota;
use ipnet::IpNet;
use tokio::sync::{OnceCell, Semaphore};

use super::{
    DynFetch, FetchError, LONGEST,
    document::{self, Document, Invalid},
};
use crate::{
    Config,
    audit::{AuditSink, Event},
    ceremony::Limiter,
    types::{authorization::source_of, clock::Clock, id::ClientId},
};

/// The least and the most time for which a document is cached.
const FLOOR: Duration = Duration::from_secs(5 * 60);
const CEILING: Duration = Duration::from_secs(86_400);
/// The most cached documents. Each takes a few times [`LONGEST`](super::LONGEST) at most, so all take less than 20 MiB.
const MOST_DOCUMENTS: usize = 1_000;
/// The most fetches at once.
const MOST_FETCHES: usize = 32;

/// The metadata documents of clients, fetched and cached.
pub(crate) struct ClientMetadata {
    config: Config,
    fetch: Arc<dyn DynFetch>,
    clock: Arc<dyn Clock>,
    audit: Arc<dyn AuditSink>,
    limiter: Option<Limiter<IpNet>>,
    permits: Semaphore,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    documents: HashMap<ClientId, Cached>,
    fetches: HashMap<ClientId, Arc<Pending>>,
}

struct Cached {
    document: Arc<Document>,
    /// When it was used last, and until when it may be, on the monotonic clock.
    used: Duration,
    until: Duration,
}

/// A fetch that all who ask for its document wait for. If the first of them goes away, the next one fetches.
type Pending = OnceCell<Result<Arc<Document>, Failure>>;

/// Why the document of a client is not there.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("`client_id` must be an https URL with a path, without query, fragment, user name and dot segments")]
    Url,
    #[error("this service takes no client metadata document of its host")]
    Host,
    #[error("its client metadata document can't be fetched: {0}")]
    Fetch(#[source] Arc<FetchError>),
    #[error("its client metadata document is not valid: {0}")]
    Invalid(#[from] Invalid),
    /// Too many fetches at once, or for this source.
    #[error("too many client metadata documents are being fetched")]
    TooMany,
}

impl ClientMetadata {
    pub(crate) fn new(
        config: &Config,
        fetch: Arc<dyn DynFetch>,
        clock: &Arc<dyn Clock>,
        audit: Arc<dyn AuditSink>,
    ) -> Self {
        let rate = config.limits().rates.metadata_fetches;
        Self {
            config: config.clone(),
            fetch,
            clock: Arc::clone(clock),
            audit,
            limiter: rate.map(|rate| Limiter::new(Quota::per_minute(rate), clock)),
            permits: Semaphore::new(MOST_FETCHES),
            state: Mutex::default(),
        }
    }

    /// Whether this service takes the identifier for the URL of a metadata document. Fetches nothing.
    pub(crate) fn check(&self, id: &ClientId) -> Result<(), Failure> {
        let host = id.metadata_host().ok_or(Failure::Url)?;
        if self.config.oauth().trusts_metadata_of(host) { Ok(()) } else { Err(Failure::Host) }
    }

    /// The document of a client, for a browser at the address `source`.
    pub(crate) async fn find(&self, id: &ClientId, source: Option<IpAddr>) -> Result<Arc<Document>, Failure> {
        self.check(id)?;
        let pending = {
            let mut state = self.state();
            if let Some(document) = state.cached(id, self.clock.elapsed()) {
                return Ok(document);
            }
            match state.fetches.get(id) {
                Some(pending) => Arc::clone(pending),
                None => {
                    self.count(source)?;
                    Arc::clone(state.fetches.entry(id.clone()).or_default())
                }
            }
        };
        let waiting = Waiting { metadata: self, id, pending };
        waiting.pending.get_or_init(|| self.fetch(id)).await.clone()
    }

    fn count(&self, source: Option<IpAddr>) -> Result<(), Failure> {
        let (Some(limiter), Some(source)) = (&self.limiter, source) else { return Ok(()) };
        limiter.check(&source_of(source)).map_err(|_| Failure::TooMany)
    }

    /// Fetches a document, and caches it if it is valid.
    async fn fetch(&self, id: &ClientId) -> Result<Arc<Document>, Failure> {
        let found = self.fetch_now(id).await;
        if let Err(failure @ (Failure::Fetch(_) | Failure::Invalid(_))) = &found {
            let event = Event::client_metadata_refused(id, failure);
            self.audit.record(self.clock.now(), &event);
        }
        let mut state = self.state();
        // Before anybody is told, so that whoever asks after a failure fetches again.
        state.fetches.remove(id);
        found.map(|(document, max_age)| {
            let now = self.clock.elapsed();
            let document = Arc::new(document);
            let until = now + max_age.clamp(FLOOR, CEILING);
            state.keep(id, Cached { document: Arc::clone(&document), used: now, until });
            document
        })
    }

    async fn fetch_now(&self, id: &ClientId) -> Result<(Document, Duration), Failure> {
        let _permit = self.permits.try_acquire().map_err(|_| Failure::TooMany)?;
        let failed = |error| Failure::Fetch(Arc::new(error));
        let fetched = tokio::time::timeout(self.config.limits().metadata_fetch, self.fetch.fetch(id.as_str())).await;
        let fetched = fetched.unwrap_or(Err(FetchError::TooSlow)).map_err(failed)?;
        document::check(&fetched, LONGEST).map_err(failed)?;
        let document = Document::read(id, &fetched.body, self.config.oauth())?;
        Ok((document, fetched.max_age.unwrap_or_default()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn cached(&mut self, id: &ClientId, now: Duration) -> Option<Arc<Document>> {
        let cached = self.documents.get_mut(id).filter(|cached| now < cached.until)?;
        cached.used = now;
        Some(Arc::clone(&cached.document))
    }

    /// Caches a document. If too many are cached, the expired ones leave, and else the one that was used longest ago.
    fn keep(&mut self, id: &ClientId, cached: Cached) {
        if self.documents.len() >= MOST_DOCUMENTS {
            self.documents.retain(|_, other| cached.used < other.until);
        }
        if self.documents.len() >= MOST_DOCUMENTS {
            let oldest = self.documents.iter().min_by_key(|(_, other)| other.used).map(|(id, _)| id.clone());
            oldest.and_then(|oldest| self.documents.remove(&oldest));
        }
        self.documents.insert(id.clone(), cached);
    }
}

/// Somebody who waits for a fetch. The last one who goes away without an answer takes the fetch along.
struct Waiting<'a> {
    metadata: &'a ClientMetadata,
    id: &'a ClientId,
    pending: Arc<Pending>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.metadata.state();
        let listed = state.fetches.get(self.id).is_some_and(|listed| Arc::ptr_eq(listed, &self.pending));
        // The table's and this one.
        if listed && Arc::strong_count(&self.pending) == 2 {
            state.fetches.remove(self.id);
        }
    }
}
