use std::{future::Future, pin::pin, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};

use super::{Ceremony, CeremonyError};
use crate::{
    audit::Event,
    store::{Cutoff, REMEMBERED},
};

/// How often last-used times are persisted.
const WRITE_USES: Duration = Duration::from_secs(5);
/// How often expired records are deleted.
const FORGET: Duration = Duration::from_secs(60);
/// The most records of each kind that one call deletes, so that other calls do not wait long.
const FORGOTTEN_AT_ONCE: usize = 500;
/// The pause between two such calls, for other users of the store.
const PAUSE: Duration = Duration::from_millis(50);
/// The most last-used times that one call persists.
const USES_AT_ONCE: usize = 500;

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
        loop {
            let batch = self.uses.take(USES_AT_ONCE);
            if batch.is_empty() {
                return Ok(());
            }
            let written = self.store.record_uses(&batch).await;
            if written.is_err() {
                self.uses.put_back(batch);
            }
            written?;
        }
    }

    async fn try_to_write_uses(&self) {
        if let Err(error) = self.write_uses().await {
            self.record(&Event::unavailable(&error));
        }
    }

    /// Deletes records that ended before the cutoff, until none are left or the store fails.
    async fn forget(&self) {
        let before = |span| self.now().before(span);
        let mut cutoff = Cutoff::at(before(self.config.lifetimes().history));
        cutoff.authorizations = before(REMEMBERED);
        loop {
            match self.store.forget(&cutoff, FORGOTTEN_AT_ONCE).await {
                Ok(true) => sleep(PAUSE).await,
                Ok(false) => return,
                Err(error) => return self.record(&Event::unavailable(&error)),
            }
        }
    }
}
