use std::{future::Future, pin::pin, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};

use super::{Ceremony, CeremonyError};
use crate::{
    audit::Event,
    store::{Cutoff, REMEMBERED},
};

/// How often last uses are written down.
const WRITE_USES: Duration = Duration::from_secs(5);
/// How often is looked for what may be forgotten.
const FORGET: Duration = Duration::from_secs(60);
/// How much of each kind is forgotten at a time, so that nobody waits long for it.
const FORGOTTEN_AT_ONCE: usize = 500;
/// How long others have the store to themselves between two of those.
const PAUSE: Duration = Duration::from_millis(50);
/// How many uses are written down at a time.
const USES_AT_ONCE: usize = 500;

impl Ceremony {
    /// Keeps house until `stopped` ends. See [`AgentAuth::housekeeping`](crate::AgentAuth::housekeeping).
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

    /// Writes down the last uses that were noted since the last time. Call it now and then, and before the process ends.
    ///
    /// # Errors
    /// When the store fails; the uses are kept for the next time.
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

    /// Forgets what ended long ago, until nothing is left to forget or the store fails.
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
