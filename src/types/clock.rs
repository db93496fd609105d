//! Time in whole milliseconds, from an injected clock.
//!
//! A clock has two halves. Dates follow the wall clock: they are stored, compared between nodes, and may be corrected.
//! Elapsed time is monotonic: it measures what happens within this process, and no correction changes it.
//!
//! ```
//! use std::time::Duration;
//! use tower_agent_auth::types::clock::{Clock, ManualClock, Timestamp};
//!
//! let clock = ManualClock::at(Timestamp::from_millis(1_000));
//! clock.advance(Duration::from_secs(2));
//! assert_eq!(clock.now(), Timestamp::from_millis(3_000));
//! assert_eq!(clock.elapsed(), Duration::from_secs(2));
//! ```

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

mod system;

pub use system::{MachineTime, SystemClock, TimeSource};

/// The largest difference between the clocks of two nodes with which a service keeps the promises that docs/stores.md
/// lists as kept.
/// It is also how long a [`SystemClock`] may follow a wrong date.
pub(crate) const SKEW: Duration = Duration::from_secs(300);

/// The source of time for this crate.
pub trait Clock: Send + Sync + 'static {
    /// Returns the current date. A correction may set it back.
    fn now(&self) -> Timestamp;

    /// Returns the time since a fixed but arbitrary instant, for rates and intervals within this process. It never
    /// decreases.
    ///
    /// By default it follows [`now`](Self::now), which is right for a clock whose date never leaps. Otherwise implement
    /// it by a monotonic clock.
    fn elapsed(&self) -> Duration {
        self.now().since(Timestamp(0))
    }

    /// Whether data may be deleted by the current date. [Housekeeping](crate::AgentAuth::housekeeping) deletes nothing
    /// while this is `false`.
    ///
    /// `true` by default. A clock whose date may leap returns `false` until it has a reason to believe the date.
    fn is_trusted(&self) -> bool {
        true
    }
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

impl<C: Clock> Clock for Arc<C> {
    fn now(&self) -> Timestamp {
        C::now(self)
    }

    fn elapsed(&self) -> Duration {
        C::elapsed(self)
    }

    fn is_trusted(&self) -> bool {
        C::is_trusted(self)
    }
}

/// A clock for tests that changes only when told. Clones share the time.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Manual>);

#[derive(Debug)]
struct Manual {
    date: AtomicI64,
    elapsed: AtomicI64,
}

impl ManualClock {
    /// Creates a clock that shows `start`.
    #[must_use]
    pub fn at(start: Timestamp) -> Self {
        Self(Arc::new(Manual { date: AtomicI64::new(start.0), elapsed: AtomicI64::new(0) }))
    }

    /// Lets time pass: moves the date and the elapsed time forward.
    pub fn advance(&self, span: Duration) {
        self.set(self.now().after(span));
        let elapsed = Timestamp(self.0.elapsed.load(Ordering::SeqCst)).after(span);
        self.0.elapsed.store(elapsed.0, Ordering::SeqCst);
    }

    /// Sets the date, forwards or backwards. No time passes: this is a leap.
    pub fn set(&self, now: Timestamp) {
        self.0.date.store(now.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.date.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Duration {
        Timestamp(self.0.elapsed.load(Ordering::SeqCst)).since(Timestamp(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
