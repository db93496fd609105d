//! Time in whole milliseconds, from an injected clock.
//!
//! ```
//! use std::time::Duration;
//! use tower_agent_auth::types::clock::{Clock, ManualClock, Timestamp};
//!
//! let clock = ManualClock::at(Timestamp::from_millis(1_000));
//! clock.advance(Duration::from_secs(2));
//! assert_eq!(clock.now(), Timestamp::from_millis(3_000));
//! ```

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The source of time for this crate.
pub trait Clock: Send + Sync + 'static {
    /// Returns the current time.
    fn now(&self) -> Timestamp;
}

/// A point in time: milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Creates a timestamp from milliseconds since the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This instant plus `span`, saturating at the latest instant.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(millis))
    }

    /// This instant minus `span`, saturating at the earliest instant.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(millis))
    }

    /// The time from `earlier` to this instant; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        let millis = self.0.saturating_sub(earlier.0);
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }

    /// Whether something that expires at this instant has expired at `now`. The instant itself counts as expired.
    #[must_use]
    pub fn has_passed(self, now: Self) -> bool {
        now >= self
    }
}

/// Rounds down to the millisecond. Times before the Unix epoch become the epoch.
impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// RFC 3339 in UTC with whole seconds, rounded down: `2026-11-24T01:10:00Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 9999-12-31T23:59:59Z: the last instant that RFC 3339 can represent.
        const LAST_SECOND: u64 = 253_402_300_799;
        let seconds = u64::try_from(self.0.div_euclid(1_000)).unwrap_or(0);
        let time = UNIX_EPOCH + Duration::from_secs(seconds.min(LAST_SECOND));
        humantime::format_rfc3339_seconds(time).fmt(f)
    }
}

/// The machine's wall clock. Within one process it never runs backwards, so a step of the wall clock can't revive
/// expired items. On Linux it lags by up to 10 ms, because it reads the kernel's last tick.
#[derive(Debug, Default)]
pub struct SystemClock {
    latest: AtomicI64,
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let wall = wall();
        // Writes at most once per millisecond, because concurrent writes to one location contend.
        if wall > self.latest.load(Ordering::Relaxed) {
            self.latest.fetch_max(wall, Ordering::Relaxed);
        }
        Timestamp(self.latest.load(Ordering::Relaxed))
    }
}

/// The time of the kernel's last tick. Reading it takes 7 ns; the exact time takes 39 ns, an eighth of a token check.
#[cfg(target_os = "linux")]
fn wall() -> i64 {
    use nix::time::{ClockId, clock_gettime};
    let time = clock_gettime(ClockId::CLOCK_REALTIME_COARSE).map(Duration::from);
    time.map_or_else(|_| Timestamp::from(SystemTime::now()).0, |time| Timestamp(0).after(time).0)
}

#[cfg(not(target_os = "linux"))]
fn wall() -> i64 {
    Timestamp::from(SystemTime::now()).0
}

/// A clock for tests that changes only when set. Clones share the time.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// Creates a clock that shows `start`.
    #[must_use]
    pub fn at(start: Timestamp) -> Self {
        Self(Arc::new(AtomicI64::new(start.0)))
    }

    /// Moves the clock forward.
    pub fn advance(&self, span: Duration) {
        self.set(self.now().after(span));
    }

    /// Sets the time, forwards or backwards.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r13_a_step_back_of_the_wall_clock_is_not_seen() {
        let clock = SystemClock::default();
        let ahead = clock.now().after(Duration::from_secs(3_600));
        clock.latest.store(ahead.as_millis(), Ordering::Relaxed);
        assert_eq!(clock.now(), ahead);
    }

    #[test]
    fn r13_what_ends_at_an_instant_is_over_at_it() {
        let end = Timestamp::from_millis(10);
        assert!(!end.has_passed(Timestamp::from_millis(9)));
        assert!(end.has_passed(Timestamp::from_millis(10)));
        assert!(end.has_passed(Timestamp::from_millis(11)));
    }

    #[test]
    fn r13_arithmetic_saturates() {
        let far = Timestamp::from_millis(5).after(Duration::MAX);
        assert_eq!(far.as_millis(), i64::MAX);
        assert_eq!(far.to_string(), "9999-12-31T23:59:59Z");
        assert_eq!(Timestamp::from_millis(0).since(far), Duration::ZERO);
    }

    #[test]
    fn rfc_3339_is_rounded_down() {
        assert_eq!(Timestamp::from_millis(1_999).to_string(), "1970-01-01T00:00:01Z");
        assert_eq!(Timestamp::from_millis(-1).to_string(), "1970-01-01T00:00:00Z");
    }
}
