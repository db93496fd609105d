use std::{
    future::Future,
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::{Instant, sleep, sleep_until};

use super::{Ceremony, CeremonyError};
use crate::{
    audit::Event,
    store::{Cutoff, REMEMBERED, StoreError, last_used::WRITE_USES},
    types::clock::{Clock, Timestamp},
};

/// How often expired records are deleted.
const FORGET: Duration = Duration::from_secs(60);
/// The most records of each kind that one call deletes, so that other calls do not wait long.
pub(super) const FORGOTTEN_AT_ONCE: usize = 500;
/// The pause between two such calls, for other users of the store.
const PAUSE: Duration = Duration::from_millis(50);

impl Ceremony {
    /// Runs housekeeping until `stopped` completes. See [`AgentAuth::housekeeping`](crate::AgentAuth::housekeeping).
    pub async fn housekeeping(&self, stopped: impl Future<Output = ()> + Send) {
        let mut stopped = pin!(stopped);
        let mut forget_at = Instant::now();
        loop {
            tokio::select! {
                () = &mut stopped => break,
                () = sleep(WRITE_USES) => self.try_to_write_uses().await,
                () = sleep_until(forget_at) => {
                    forget_at = Instant::now() + FORGET;
                    tokio::select! {
                        () = &mut stopped => break,
                        () = self.forget() => {}
                    }
                }
            }
        }
        self.try_to_write_uses().await;
    }

    /// Persists the last-used times that were recorded since the previous call. Call it regularly, and before the
    /// process ends.
    ///
    /// # Errors
    /// When the store fails; the last-used times are kept for the next call.
    pub async fn write_uses(&self) -> Result<(), CeremonyError> {
        Ok(self.persist_uses().await?)
    }

    pub(crate) async fn persist_uses(&self) -> Result<(), StoreError> {
        self.uses.write_to(&*self.store, &*self.clock).await
    }

    pub(crate) async fn try_to_write_uses(&self) {
        if let Err(error) = self.write_uses().await {
            self.record(&Event::unavailable(&error));
        }
    }

    /// Deletes records that ended before the cutoff, until none are left or the store fails.
    async fn forget(&self) {
        let forgotten = async {
            let Some(cutoff) = self.cutoff().await? else { return Ok(()) };
            while self.store.forget(&cutoff, FORGOTTEN_AT_ONCE).await? {
                sleep(PAUSE).await;
            }
            if let Some(clients) = self.clients.as_deref() {
                while self.forget_some_clients(clients, &cutoff).await? {
                    sleep(PAUSE).await;
                }
            }
            if let Some(identities) = self.identities.as_deref() {
                // By the cutoff that is at least an hour ago.
                while identities.forget_used(cutoff.authorizations, FORGOTTEN_AT_ONCE).await? {
                    sleep(PAUSE).await;
                }
            }
            Ok::<_, StoreError>(())
        };
        if let Err(error) = forgotten.await {
            self.record(&Event::unavailable(&error));
        }
    }

    /// Deletes some expired authorization requests in a task, once a minute, or again at once if there may be more.
    /// Anybody can create requests, so a service without housekeeping must not keep them for ever.
    pub(super) fn forget_some_requests(&self) {
        if !self.forgetting.is_due(&*self.clock) {
            return;
        }
        let ceremony = self.clone();
        tokio::spawn(async move {
            let forgotten = async {
                let Some(mut cutoff) = ceremony.cutoff().await? else { return Ok(false) };
                cutoff.sessions = Timestamp::from_millis(i64::MIN);
                ceremony.store.forget(&cutoff, FORGOTTEN_AT_ONCE).await
            };
            match forgotten.await {
                Ok(true) => ceremony.forgetting.repeat(),
                Ok(false) => {}
                Err(error) => ceremony.record(&Event::unavailable(&error)),
            }
        });
    }

    /// Up to when ended records may be deleted; `None` while this node's clock is not trusted. A record must have ended
    /// long ago by this node's clock and by that of the store's server.
    pub(super) async fn cutoff(&self) -> Result<Option<Cutoff>, StoreError> {
        if !self.clock.is_trusted() {
            return Ok(None);
        }
        let server_time = self.store.server_time().await?;
        let now = server_time.map_or_else(|| self.now(), |time| time.min(self.now()));
        let mut cutoff = Cutoff::at(now.before(self.config.lifetimes().history.max(REMEMBERED)));
        cutoff.authorizations = now.before(REMEMBERED);
        Ok(Some(cutoff))
    }
}

/// When expired authorization requests are deleted next, by elapsed milliseconds.
pub(super) struct Forgetting(AtomicU64);

impl Forgetting {
    pub(super) fn new(clock: &dyn Clock) -> Self {
        Self(AtomicU64::new(elapsed(clock).saturating_add(elapsed_millis(FORGET))))
    }

    /// Whether it is due now. Of concurrent callers one gets `true`.
    fn is_due(&self, clock: &dyn Clock) -> bool {
        let (due, now) = (self.0.load(Ordering::Relaxed), elapsed(clock));
        let next = now.saturating_add(elapsed_millis(FORGET));
        now >= due && self.0.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn repeat(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

fn elapsed(clock: &dyn Clock) -> u64 {
    elapsed_millis(clock.elapsed())
}

fn elapsed_millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
