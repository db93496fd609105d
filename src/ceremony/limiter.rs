use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::Clock as GovernorClock,
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{
        InMemoryState, NotKeyed, StateStore,
        keyed::{HashMapStateStore, ShrinkableKeyedStateStore},
    },
};

use crate::types::clock::Clock;

/// The most keys that have counts of their own. Further keys share counts, which bounds memory to about 0.5 MiB per
/// limiter.
const MOST: usize = 8_192;
/// The number of shared counts. A key without a count of its own uses one of them, chosen by a secret hash. So further
/// keys together get no more than this many times the rate, and a client that fills the table blocks few others.
const SHARED: usize = 256;
/// How often idle keys are removed at most.
const SWEEP: Duration = Duration::from_secs(1);

/// Counts requests by key (generic cell rate algorithm), in this process's memory. Losing the counts does no harm. It
/// measures elapsed time, so a leap of the date neither blocks a key nor frees it.
pub(crate) struct Limiter<K: Clone + Eq + Hash> {
    limiter: RateLimiter<K, Counts<K>, Time, NoOpMiddleware<Nanos>>,
    clock: Arc<dyn Clock>,
    swept: Mutex<Duration>,
}

impl<K: Clone + Eq + Hash> Limiter<K> {
    pub(crate) fn new(quota: Quota, clock: &Arc<dyn Clock>) -> Self {
        let limiter = RateLimiter::new(quota, Counts::new(), Time(Arc::clone(clock)));
        Self { limiter, clock: Arc::clone(clock), swept: Mutex::new(clock.elapsed()) }
    }

    /// Counts one request if it is within the limit. Otherwise returns how long to wait.
    pub(crate) fn check(&self, key: &K) -> Result<(), Duration> {
        if self.limiter.len() >= MOST {
            self.sweep();
        }
        self.limiter.check_key(key).map_err(|until| until.wait_time_from(Time(Arc::clone(&self.clock)).now()))
    }

    /// Removes idle keys.
    fn sweep(&self) {
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.elapsed();
        if now.saturating_sub(*swept) >= SWEEP {
            *swept = now;
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
    }
}

/// The counts of up to [`MOST`] keys, and the shared counts of all others. A known key keeps its own count.
struct Counts<K> {
    own: HashMapStateStore<K>,
    shared: Box<[InMemoryState]>,
    hasher: RandomState,
}

impl<K: Clone + Eq + Hash> Counts<K> {
    fn new() -> Self {
        let shared = std::iter::repeat_with(InMemoryState::default).take(SHARED).collect();
        Self { own: HashMapStateStore::default(), shared, hasher: RandomState::new() }
    }

    fn has_own(&self, key: &K) -> bool {
        let own = self.own.lock();
        own.len() < MOST || own.contains_key(key)
    }
}

impl<K: Clone + Eq + Hash> StateStore for Counts<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let place = usize::try_from(self.hasher.hash_one(key) % SHARED as u64).unwrap_or(0);
        match self.shared.get(place) {
            Some(shared) if !self.has_own(key) => shared.measure_and_replace(&NotKeyed::NonKey, f),
            _ => self.own.measure_and_replace(key, f),
        }
    }
}

impl<K: Clone + Eq + Hash> ShrinkableKeyedStateStore<K> for Counts<K> {
    fn retain_recent(&self, drop_below: Nanos) {
        self.own.retain_recent(drop_below);
    }

    fn shrink_to_fit(&self) {
        self.own.shrink_to_fit();
    }

    fn len(&self) -> usize {
        self.own.len()
    }

    fn is_empty(&self) -> bool {
        self.own.is_empty()
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
        let passed = (0..1_000_000).filter(|key| limiter.check(key).is_ok()).count();
        assert_eq!(limiter.limiter.len(), MOST);
        assert_eq!(passed, MOST + 10 * SHARED, "further keys share counts");
        clock.advance(Duration::from_secs(60));
        assert_eq!(limiter.check(&7), Ok(()));
        assert_eq!(limiter.limiter.len(), 1);
    }

    #[test]
    fn e13_a_full_table_still_blocks_the_keys_that_it_has() {
        let (limiter, clock) = limiter(10);
        let spend = |key: u32| (0..20).filter(|_| limiter.check(&key).is_ok()).count();
        assert_eq!(spend(0), 10);
        for key in 1..MOST as u32 {
            assert_eq!(limiter.check(&key), Ok(()));
        }
        assert_eq!(spend(0), 0, "it was blocked before the table was full");
        assert_eq!(spend(1), 9, "it goes on counting");
        // The same while others push at the table, and when idle keys have been removed meanwhile.
        for key in 1_000_000..1_010_000 {
            let _ = limiter.check(&key);
        }
        assert_eq!(spend(0) + spend(1), 0);
        clock.advance(Duration::from_secs(6));
        assert_eq!([spend(0), spend(1)], [1, 1], "one more in six seconds, as for any key");
    }

    #[test]
    fn e13_keys_beyond_a_full_table_share_a_rate_and_do_not_pass_freely() {
        let (limiter, clock) = limiter(10);
        for key in 0..MOST as u32 {
            assert_eq!(limiter.check(&key), Ok(()));
        }
        let one = (0..1_000).filter(|_| limiter.check(&u32::MAX).is_ok()).count();
        assert_eq!(one, 10, "one key gets its rate");
        let many = (1_000_000..1_100_000).filter(|key| limiter.check(key).is_ok()).count();
        assert!(many <= 10 * SHARED, "{many}");
        let newcomer = (2_000_000..2_000_100).filter(|key| limiter.check(key).is_err()).count();
        assert_eq!(newcomer, 100, "until time has passed");
        clock.advance(Duration::from_secs(60));
        assert_eq!(limiter.check(&2_000_000), Ok(()));
    }
}
