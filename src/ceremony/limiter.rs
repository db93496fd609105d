use std::{
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use governor::{
    Quota, RateLimiter, clock::Clock as GovernorClock, middleware::NoOpMiddleware, nanos::Nanos,
    state::keyed::HashMapStateStore,
};

use crate::types::clock::Clock;

/// The most keys that are counted at a time. Further keys are not counted, which bounds memory to about 0.5 MiB per
/// limiter.
const MOST: usize = 8_192;
/// How often idle keys are removed at most.
const SWEEP: Duration = Duration::from_secs(1);

/// Counts requests by key (generic cell rate algorithm), in this process's memory. Losing the counts does no harm. It
/// measures elapsed time, so a leap of the date neither blocks a key nor frees it.
pub(crate) struct Limiter<K: Clone + Eq + Hash> {
    limiter: RateLimiter<K, HashMapStateStore<K>, Time, NoOpMiddleware<Nanos>>,
    clock: Arc<dyn Clock>,
    swept: Mutex<Duration>,
}

impl<K: Clone + Eq + Hash> Limiter<K> {
    pub(crate) fn new(quota: Quota, clock: &Arc<dyn Clock>) -> Self {
        let limiter = RateLimiter::new(quota, HashMapStateStore::default(), Time(Arc::clone(clock)));
        Self { limiter, clock: Arc::clone(clock), swept: Mutex::new(clock.elapsed()) }
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
        let now = self.clock.elapsed();
        if now.saturating_sub(*swept) >= SWEEP {
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
        Nanos::from(self.0.elapsed())
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
    use crate::types::clock::{ManualClock, Timestamp};

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

    /// Neither a leap nor the way back from it blocks a key, refills a limit, or keeps idle keys.
    #[test]
    fn c1_a_leap_of_the_date_changes_no_limit() {
        const DAY: i64 = 86_400_000;
        for leap in [600_000, -600_000, 400 * DAY, -400 * DAY] {
            let (limiter, clock) = limiter(10);
            let (right, wrong) = (clock.now(), Timestamp::from_millis(clock.now().as_millis() + leap));
            for request in 0..10 {
                clock.set(if request % 2 == 0 { right } else { wrong });
                assert_eq!(limiter.check(&1), Ok(()), "{leap}");
            }
            for date in [wrong, right, wrong, right] {
                clock.set(date);
                assert_eq!(limiter.check(&1).map_err(seconds), Err(6), "{leap}");
            }
            clock.advance(Duration::from_secs(6));
            assert_eq!(limiter.check(&1), Ok(()), "{leap}");
            assert!(limiter.check(&1).is_err(), "{leap}");
        }
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
