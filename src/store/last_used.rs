use std::{
    collections::HashMap,
    fmt,
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::sleep;

use super::{StoreError, traits::DynSessionRecordStore};
use crate::{
    audit::{AuditSink, Event},
    types::{clock::Clock, id::SessionId, session::Use},
};

/// How often last-used times are persisted.
pub(crate) const WRITE_USES: Duration = Duration::from_secs(5);
/// The most last-used times that one call persists.
const AT_ONCE: usize = 500;
/// The most sessions with an unwritten use. Uses of further sessions are dropped, so that memory stays bounded.
const MOST: usize = 100_000;

/// Buffers last uses of sessions. The guard adds them without a store write; they are written in batches.
#[derive(Debug, Default)]
pub(crate) struct LastUsedBuffer(Mutex<HashMap<SessionId, Use>>);

impl LastUsedBuffer {
    pub(crate) fn note(&self, session: &SessionId, new: Use) {
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = uses.get_mut(session) {
            *old = new;
        } else if uses.len() < MOST {
            uses.insert(session.clone(), new);
        }
    }

    /// Removes and returns at most `most` uses.
    pub(crate) fn take(&self, most: usize) -> Vec<(SessionId, Use)> {
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if uses.len() <= most {
            return std::mem::take(&mut *uses).into_iter().collect();
        }
        let taken: Vec<SessionId> = uses.keys().take(most).cloned().collect();
        taken.into_iter().filter_map(|session| uses.remove_entry(&session)).collect()
    }

    pub(crate) fn put_back(&self, batch: Vec<(SessionId, Use)>) {
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (session, old) in batch {
            uses.entry(session).or_insert(old);
        }
    }

    /// Persists what it has, in batches.
    pub(crate) async fn write_to(
        &self,
        store: &(impl DynSessionRecordStore + ?Sized),
        clock: &dyn Clock,
    ) -> Result<(), StoreError> {
        loop {
            let mut batch = Batch { buffer: self, uses: self.take(AT_ONCE) };
            if batch.uses.is_empty() {
                return Ok(());
            }
            store.record_uses(&batch.uses, clock.now()).await?;
            batch.uses.clear();
        }
    }
}

/// Uses that are being written. They are put back if the write fails or is dropped; writing them twice does no harm.
struct Batch<'b> {
    buffer: &'b LastUsedBuffer,
    uses: Vec<(SessionId, Use)>,
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.buffer.put_back(std::mem::take(&mut self.uses));
    }
}

/// Persists the last uses of a service that only checks tokens.
pub(crate) struct UseWriter {
    pub(crate) uses: Arc<LastUsedBuffer>,
    pub(crate) store: Arc<dyn DynSessionRecordStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) audit: Arc<dyn AuditSink>,
}

impl UseWriter {
    /// Runs until `stopped` completes.
    pub(crate) async fn run(&self, stopped: impl Future<Output = ()> + Send) {
        let mut stopped = pin!(stopped);
        loop {
            tokio::select! {
                () = &mut stopped => break,
                () = sleep(WRITE_USES) => self.try_to_write().await,
            }
        }
        self.try_to_write().await;
    }

    pub(crate) async fn write(&self) -> Result<(), StoreError> {
        self.uses.write_to(&*self.store, &*self.clock).await
    }

    async fn try_to_write(&self) {
        if let Err(error) = self.write().await {
            self.audit.record(self.clock.now(), &Event::unavailable(&error));
        }
    }
}

impl fmt::Debug for UseWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UseWriter").finish_non_exhaustive()
    }
}
