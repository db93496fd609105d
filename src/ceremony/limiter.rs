use std::{
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use governor::{
    Quota, RateLimiter, clock::Clock as GovernorClock, middleware::NoOpMiddleware, nanos::Nanos,
    state::keyed::HashMapStateStore,
};

use crate::types::clock::{Clock, Timestamp};

/// The most keys that are counted at a time. Further keys are not counted, which bounds memory to about 0.5 MiB per
/// limiter.
const MOST: usize = 8_192;
/// How often idle keys are removed at most.
const SWEEP: Duration = Duration::from_secs(1);

/// Counts requests by key (generic cell rate algorithm), in this process's memory. Losing the counts does no harm.
pub(crate) struct Limiter<K: Clone + Eq + Hash> {
    limiter: RateLimiter<K, HashMapStateStore<K>, Time, NoOpMiddleware<Nanos>>,
    clock: Arc<dyn Clock>,
    swept: Mutex<Timestamp>,
}

impl<K: Clone + Eq + Hash> Limiter<K> {
    pub(crate) fn new(quota: Quota, clock: &Arc<dyn Clock>) -> Self {
        let limiter = RateLimiter::new(quota, HashMapStateStore::default(), Time(Arc::clone(clock)));
        Self { limiter, clock: Arc::clone(clock), swept: Mutex::new(clock.now()) }
    }

    /// Counts one request if it is within the limit. Otherwise returns how long to wait.
    pub(crate) fn check(&self, key: &K) -> Result<(), Duration> {
        if self.limiter.len() >= MOST && !self.sweep() {
            return Ok(());
        }
        self.limiter.check_key(key).map_err(|until| until.wait_time_from(Time(Arc::clone(&self.clock)).now()))
    }

    /// Removes idle keys, and returns whether that made room.
    fn sweep(&self) -> bool {
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        if now.since(*swept) >= SWEEP {
            *swept = now;
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        self.limiter.len() < MOST
    }
}

/// Adapts the injected clock to the limiter.
#[derive(Clone)]
struct Time(Arc<dyn Clock>);

impl GovernorClock for Time {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        let millis = u64::try_from(self.0.now().as_millis()).unwrap_or(0);
        Nanos::from(Duration::from_millis(millis))
    }
}

/// The wait in whole seconds, at least one.
pub(crate) fn seconds(wait: Duration) -> u64 {
    wait.as_millis().div_ceil(1_000).max(1).try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::types::clock::ManualClock;

    fn limiter(rate: u32) -> (Limiter<u32>, ManualClock) {
        let clock = ManualClock::at(Timestamp::from_millis(1_800_000_000_000));
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        (Limiter::new(Quota::per_minute(NonZeroU32::new(rate).unwrap()), &shared), clock)
    }

    #[test]
    fn r104_so_many_a_minute_then_a_wait_then_one_more() {
        let (limiter, clock) = limiter(10);
        for _ in 0..10 {
            assert_eq!(limiter.check(&1), Ok(()));
        }
        let wait = limiter.check(&1).unwrap_err();
        assert_eq!(seconds(wait), 6);
        assert_eq!(limiter.check(&2), Ok(()), "another key is not concerned");
        clock.advance(wait);
        assert_eq!(limiter.check(&1), Ok(()));
        assert!(limiter.check(&1).is_err());
    }

    #[test]
    fn r104_a_million_keys_take_bounded_memory_and_old_ones_leave() {
        let (limiter, clock) = limiter(10);
        for key in 0..1_000_000 {
            assert_eq!(limiter.check(&key), Ok(()));
        }
        assert_eq!(limiter.limiter.len(), MOST);
        clock.advance(Duration::from_secs(60));
        assert_eq!(limiter.check(&7), Ok(()));
        assert_eq!(limiter.limiter.len(), 1);
    }
}
