use std::{
    sync::{
        Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use super::{Clock, SKEW, Timestamp};

/// How often the wall clock is compared with the elapsed time, in milliseconds.
const COMPARED_EVERY: i64 = 100;
/// A difference up to this is followed gradually, in milliseconds. A larger one is a leap.
const FOLLOWED: i64 = 1_000;
/// A difference is followed at a tenth of the elapsed time at most.
const SLEW: i64 = 10;
/// A leap is followed if the wall clock still differs by the same after this time, in milliseconds.
const CORRECTED_AFTER: i64 = SKEW.as_millis() as i64;
/// How long wall clock and elapsed time must have agreed before data is deleted by the date, in milliseconds.
const TRUSTED_AFTER: i64 = 3_600_000;
/// A reading of all clocks that took longer, in milliseconds, was interrupted and says nothing.
const INTERRUPTED: i64 = 20;
/// Coarse ticks lag by less than this, in milliseconds. If they lag by more, the machine was suspended.
const SUSPENDED: i64 = 100;

/// The time of a machine as it is, for a [`SystemClock`] to make dates of. Implement it to test what a service does
/// when the wall clock leaps.
pub trait TimeSource: Send + Sync + 'static {
    /// The wall clock. It may leap, in both directions.
    fn wall(&self) -> Timestamp;

    /// The time since a fixed but arbitrary instant. It never decreases, and counts the time that the machine was
    /// suspended, where the platform can.
    fn elapsed(&self) -> Duration;

    /// Like [`elapsed`](Self::elapsed), but may be coarser, cheaper, and stand still while the machine is suspended. It
    /// is read for each token check. Defaults to `elapsed`.
    fn ticks(&self) -> Duration {
        self.elapsed()
    }
}

/// The clocks of this machine.
///
/// The elapsed time counts suspension on Linux (`CLOCK_BOOTTIME`) and macOS (`CLOCK_MONOTONIC_RAW`). On other platforms
/// it is [`Instant`], which may not count it. On Linux `ticks` is `CLOCK_MONOTONIC_COARSE`, which lags by up to 10 ms:
/// reading it takes 7 ns instead of 39 ns, which is an eighth of a token check.
#[derive(Debug)]
#[non_exhaustive]
pub struct MachineTime {
    started: Instant,
}

impl Default for MachineTime {
    fn default() -> Self {
        Self { started: Instant::now() }
    }
}

impl TimeSource for MachineTime {
    fn wall(&self) -> Timestamp {
        Timestamp::from(SystemTime::now())
    }

    fn elapsed(&self) -> Duration {
        machine::elapsed().unwrap_or_else(|| self.started.elapsed())
    }

    fn ticks(&self) -> Duration {
        machine::ticks().unwrap_or_else(|| self.started.elapsed())
    }
}

#[cfg(any(target_os = "linux", target_os = "macos"))]
mod machine {
    use std::time::Duration;

    use nix::time::{ClockId, clock_gettime};

    #[cfg(target_os = "linux")]
    const ELAPSED: ClockId = ClockId::CLOCK_BOOTTIME;
    #[cfg(target_os = "linux")]
    const TICKS: ClockId = ClockId::CLOCK_MONOTONIC_COARSE;

    /// The continuous time of Mach. `CLOCK_MONOTONIC` follows corrections of the wall clock there.
    #[cfg(target_os = "macos")]
    const ELAPSED: ClockId = ClockId::from_raw(nix::libc::CLOCK_MONOTONIC_RAW);
    #[cfg(target_os = "macos")]
    const TICKS: ClockId = ELAPSED;

    pub(super) fn elapsed() -> Option<Duration> {
        clock_gettime(ELAPSED).map(Duration::from).ok()
    }

    pub(super) fn ticks() -> Option<Duration> {
        clock_gettime(TICKS).map(Duration::from).ok()
    }
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
mod machine {
    use std::time::Duration;

    pub(super) const fn elapsed() -> Option<Duration> {
        None
    }

    pub(super) const fn ticks() -> Option<Duration> {
        None
    }
}

/// The machine's clock. Elapsed time is monotonic, and dates follow the wall clock within bounds.
///
/// At its start the clock takes the date of the wall clock. From then on the date advances with the elapsed time, and
/// is compared with the wall clock every 100 ms of use:
///
/// * **A difference up to a second** is followed: the date runs faster or slower by a tenth at most.
/// * **A larger difference is a leap.** It is not followed at first. If the wall clock still differs by the same after
///   five minutes, the date is corrected, in one step. A leap that ends before that has no effect.
/// * **Suspension** is no leap where the platform counts it; see [`MachineTime`]. Elsewhere, and when a virtual machine
///   was paused, the date is late until the correction. After a resume the date is late, too, until the next comparison:
///   for up to 100 ms of use.
///
/// So the date is wrong for five minutes at most after the wall clock was mended, and it runs backwards only by that
/// correction. If the clock started with a wrong wall clock, its dates are wrong until five minutes after the mending.
///
/// The clock is [trusted](Clock::is_trusted) once wall clock and elapsed time have agreed for an hour, since the start
/// or since the last leap.
#[derive(Debug)]
pub struct SystemClock<S = MachineTime> {
    source: S,
    /// The date is the ticks plus this.
    offset: AtomicI64,
    /// The ticks at which the next comparison is due.
    compare_at: AtomicI64,
    /// The latest date shown, so that a small step back is not seen.
    latest: AtomicI64,
    halves: Mutex<Halves>,
}

/// How the two halves of a clock relate, in milliseconds.
#[derive(Debug)]
struct Halves {
    /// The date is the elapsed time plus this.
    offset: i64,
    /// The elapsed time is the ticks plus this.
    suspended: i64,
    /// The elapsed time at the last comparison.
    compared: i64,
    /// Since when, by elapsed time, the wall clock has agreed with the date; `None` while it differs.
    agreed: Option<i64>,
    leap: Option<Leap>,
}

/// A leap of the wall clock that is not followed yet.
#[derive(Clone, Copy, Debug)]
struct Leap {
    since: i64,
    by: i64,
}

impl SystemClock {
    /// Creates the clock of this machine.
    #[must_use]
    pub fn new() -> Self {
        Self::over(MachineTime::default())
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: TimeSource> SystemClock<S> {
    /// Creates a clock over another source of time: for tests of leaps.
    #[must_use]
    pub fn over(source: S) -> Self {
        let first = Reading::of(&source);
        let halves = Halves {
            offset: first.wall.saturating_sub(first.elapsed),
            suspended: first.elapsed.saturating_sub(first.ticks),
            compared: first.elapsed,
            agreed: Some(first.elapsed),
            leap: None,
        };
        Self {
            offset: AtomicI64::new(halves.shown()),
            compare_at: AtomicI64::new(first.ticks.saturating_add(COMPARED_EVERY)),
            latest: AtomicI64::new(i64::MIN),
            halves: Mutex::new(halves),
            source,
        }
    }

    /// Compares both halves, unless another thread is about to.
    #[cold]
    fn compare(&self) {
        let mut halves = match self.halves.try_lock() {
            Ok(halves) => halves,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let reading = Reading::of(&self.source);
        if reading.ticks < self.compare_at.load(Ordering::Relaxed) {
            return;
        }
        self.compare_at.store(reading.ticks.saturating_add(COMPARED_EVERY), Ordering::Relaxed);
        if !reading.interrupted {
            halves.compare(&reading);
            self.offset.store(halves.shown(), Ordering::Relaxed);
        }
    }

    fn halves(&self) -> MutexGuard<'_, Halves> {
        self.halves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hides a step back within the bound that is followed. A larger one is a correction. `latest` was read before the
    /// ticks of `date`: otherwise the date of a thread that was interrupted between the two would look like a correction.
    fn in_order(&self, latest: i64, date: i64) -> i64 {
        if date > latest {
            // Writes at most once per millisecond, because concurrent writes to one location contend.
            self.latest.fetch_max(date, Ordering::Release);
            date
        } else if latest.saturating_sub(date) <= FOLLOWED {
            latest
        } else {
            // If another thread shows a date from before the correction now, the next call comes here again.
            let _ = self.latest.compare_exchange(latest, date, Ordering::Relaxed, Ordering::Relaxed);
            date
        }
    }
}

impl<S: TimeSource> Clock for SystemClock<S> {
    fn now(&self) -> Timestamp {
        let latest = self.latest.load(Ordering::Acquire);
        let ticks = millis(self.source.ticks());
        if ticks >= self.compare_at.load(Ordering::Relaxed) {
            self.compare();
        }
        Timestamp(self.in_order(latest, ticks.saturating_add(self.offset.load(Ordering::Relaxed))))
    }

    fn elapsed(&self) -> Duration {
        self.source.elapsed()
    }

    fn is_trusted(&self) -> bool {
        self.now();
        let agreed = self.halves().agreed;
        agreed.is_some_and(|since| millis(self.source.elapsed()).saturating_sub(since) >= TRUSTED_AFTER)
    }
}

impl Halves {
    /// What the date is ahead of the ticks.
    const fn shown(&self) -> i64 {
        self.offset.saturating_add(self.suspended)
    }

    fn compare(&mut self, reading: &Reading) {
        let ahead = reading.elapsed.saturating_sub(reading.ticks);
        if ahead < self.suspended || ahead > self.suspended.saturating_add(SUSPENDED) {
            self.suspended = ahead;
        }
        let since = reading.elapsed.saturating_sub(self.compared);
        self.compared = reading.elapsed;
        let by = reading.wall.saturating_sub(reading.elapsed.saturating_add(self.offset));
        if by.saturating_abs() <= FOLLOWED {
            let most = (since / SLEW).max(1);
            self.follow(by.clamp(-most, most), reading.elapsed);
            return;
        }
        self.agreed = None;
        let leap = self.leap.filter(|leap| leap.by.saturating_sub(by).saturating_abs() <= FOLLOWED);
        let leap = *self.leap.insert(leap.unwrap_or(Leap { since: reading.elapsed, by }));
        if reading.elapsed.saturating_sub(leap.since) >= CORRECTED_AFTER {
            self.follow(by, reading.elapsed);
        }
    }

    fn follow(&mut self, by: i64, elapsed: i64) {
        self.offset = self.offset.saturating_add(by);
        self.agreed = self.agreed.or(Some(elapsed));
        self.leap = None;
    }
}

/// All clocks of a source at one instant, in milliseconds.
struct Reading {
    elapsed: i64,
    ticks: i64,
    wall: i64,
    interrupted: bool,
}

impl Reading {
    /// Reads again if the thread was interrupted in between, a few times at most.
    fn of(source: &impl TimeSource) -> Self {
        const ATTEMPTS: usize = 3;
        let mut attempts = 0;
        loop {
            let elapsed = millis(source.elapsed());
            let (ticks, wall) = (millis(source.ticks()), source.wall().0);
            let interrupted = millis(source.elapsed()).saturating_sub(elapsed) > INTERRUPTED;
            attempts += 1;
            if !interrupted || attempts == ATTEMPTS {
                return Self { elapsed, ticks, wall, interrupted };
            }
        }
    }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_secs()).unwrap_or(i64::MAX).saturating_mul(1_000).saturating_add(span.subsec_millis().into())
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread};

    use super::*;

    const SECOND: i64 = 1_000;
    const MINUTE: i64 = 60 * SECOND;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    /// 2026-11-24T01:10:00Z
    const START: i64 = 1_795_482_600_000;
    const LEAPS: [i64; 10] =
        [2 * SECOND, 10 * MINUTE, DAY, 400 * DAY, 50 * YEAR, -2 * SECOND, -10 * MINUTE, -DAY, -400 * DAY, -50 * YEAR];

    /// A machine whose wall clock is off by `error`.
    #[derive(Clone, Default)]
    struct Machine(Arc<Hands>);

    #[derive(Default)]
    struct Hands {
        elapsed: AtomicI64,
        asleep: AtomicI64,
        error: AtomicI64,
    }

    impl Machine {
        fn clock(error: i64) -> (SystemClock<Self>, Self) {
            let machine = Self::default();
            machine.leap(error);
            (SystemClock::over(machine.clone()), machine)
        }

        fn truth(&self) -> i64 {
            START + self.0.elapsed.load(Ordering::SeqCst)
        }

        /// Sets the wall clock to be off by this.
        fn leap(&self, error: i64) {
            self.0.error.store(error, Ordering::SeqCst);
        }

        fn pass(&self, millis: i64) {
            self.0.elapsed.fetch_add(millis, Ordering::SeqCst);
        }

        fn sleep(&self, millis: i64) {
            self.0.asleep.fetch_add(millis, Ordering::SeqCst);
            self.pass(millis);
        }
    }

    impl TimeSource for Machine {
        fn wall(&self) -> Timestamp {
            Timestamp((self.truth() + self.0.error.load(Ordering::SeqCst)).max(0))
        }

        fn elapsed(&self) -> Duration {
            Timestamp(self.truth()).since(Timestamp(START))
        }

        /// As coarse as those of a kernel with 100 ticks a second.
        fn ticks(&self) -> Duration {
            let awake = self.0.elapsed.load(Ordering::SeqCst) - self.0.asleep.load(Ordering::SeqCst);
            Duration::from_millis((awake / 10 * 10).unsigned_abs())
        }
    }

    /// Lets time pass, read twice a second, and checks at each reading how far the date is from the truth.
    fn run(clock: &SystemClock<Machine>, machine: &Machine, millis: i64, off: std::ops::RangeInclusive<i64>) {
        for _ in 0..millis / 500 {
            machine.pass(500);
            let difference = clock.now().0 - machine.truth();
            assert!(off.contains(&difference), "off by {difference}, not by {off:?}");
        }
    }

    /// What ticks and rounding may add.
    const TICK: i64 = 20;

    #[test]
    fn r13_a_step_back_of_the_wall_clock_is_not_seen() {
        for step in [1, 500, SECOND, 2 * SECOND, HOUR, 400 * DAY] {
            let (clock, machine) = Machine::clock(0);
            run(&clock, &machine, MINUTE, -TICK..=TICK);
            let mut latest = clock.now();
            machine.leap(-step);
            for _ in 0..1_000 {
                machine.pass(10);
                let now = clock.now();
                assert!(now >= latest, "{step}");
                latest = now;
            }
        }
    }

    #[test]
    fn c1_a_leap_for_one_reading_has_no_effect() {
        for leap in LEAPS {
            let (clock, machine) = Machine::clock(0);
            for _ in 0..20 {
                run(&clock, &machine, 10 * SECOND, -TICK..=TICK);
                machine.leap(leap);
                machine.pass(COMPARED_EVERY);
                assert!((clock.now().0 - machine.truth()).abs() <= TICK, "{leap}");
                machine.leap(0);
            }
            run(&clock, &machine, MINUTE, -TICK..=TICK);
        }
    }

    #[test]
    fn c1_a_leap_shorter_than_five_minutes_has_no_effect_however_often_it_comes() {
        for leap in LEAPS {
            let (clock, machine) = Machine::clock(0);
            for _ in 0..5 {
                machine.leap(leap);
                run(&clock, &machine, 4 * MINUTE + 50 * SECOND, -TICK..=TICK);
                machine.leap(0);
                run(&clock, &machine, SECOND, -TICK..=TICK);
            }
        }
    }

    #[test]
    fn c1_a_wall_clock_that_stays_different_is_followed_after_five_minutes_and_back_after_five() {
        for leap in LEAPS {
            let (clock, machine) = Machine::clock(0);
            machine.leap(leap);
            run(&clock, &machine, CORRECTED_AFTER, -TICK..=TICK);
            run(&clock, &machine, SECOND, leap.min(-TICK)..=leap.max(TICK));
            let error = machine.wall().0 - machine.truth();
            run(&clock, &machine, HOUR, error - TICK..=error + TICK);
            machine.leap(0);
            run(&clock, &machine, CORRECTED_AFTER, error - TICK..=error + TICK);
            run(&clock, &machine, SECOND, leap.min(-TICK)..=leap.max(TICK));
            run(&clock, &machine, HOUR, -TICK..=TICK);
        }
    }

    /// Each new leap restarts the five minutes, so that no date of a clock that leaps about is believed.
    #[test]
    fn c1_a_wall_clock_that_leaps_about_is_not_followed() {
        let (clock, machine) = Machine::clock(0);
        for round in 0..10 {
            for leap in LEAPS {
                machine.leap(leap + round * 10 * SECOND);
                run(&clock, &machine, 2 * MINUTE, -TICK..=TICK);
            }
        }
        machine.leap(0);
        run(&clock, &machine, HOUR, -TICK..=TICK);
        // One that runs at twice the speed never shows a difference that stays.
        for second in 0..1_000 {
            machine.leap(second * SECOND);
            run(&clock, &machine, SECOND, -TICK..=SECOND + TICK);
        }
    }

    #[test]
    fn c1_a_start_with_a_wrong_wall_clock_is_mended_within_five_minutes() {
        for error in [-56 * YEAR, -6 * YEAR, -DAY, DAY, 6 * YEAR] {
            let (clock, machine) = Machine::clock(error);
            let wrong = machine.wall().0 - machine.truth();
            run(&clock, &machine, MINUTE, wrong - TICK..=wrong + TICK);
            machine.leap(0);
            run(&clock, &machine, CORRECTED_AFTER + SECOND, wrong.min(-TICK)..=wrong.max(TICK));
            run(&clock, &machine, HOUR, -TICK..=TICK);
        }
    }

    #[test]
    fn c1_a_small_difference_is_followed_at_a_bounded_rate_and_never_backwards() {
        for error in [-SECOND, -300, 300, SECOND] {
            let (clock, machine) = Machine::clock(0);
            run(&clock, &machine, SECOND, -TICK..=TICK);
            machine.leap(error);
            let mut latest = clock.now().0;
            for _ in 0..150 {
                machine.pass(COMPARED_EVERY);
                let now = clock.now().0;
                assert!((0..=COMPARED_EVERY + COMPARED_EVERY / SLEW + TICK).contains(&(now - latest)), "{error}");
                latest = now;
            }
            run(&clock, &machine, MINUTE, error - TICK..=error + TICK);
        }
    }

    /// An oscillator that is 500 parts per million off against the wall clock, for a week, in both directions.
    #[test]
    fn c1_a_slow_drift_is_followed() {
        for drift in [1, -1] {
            let (clock, machine) = Machine::clock(0);
            for step in 0..7 * DAY / (2 * SECOND) {
                machine.leap(drift * step);
                machine.pass(2 * SECOND);
                let difference = clock.now().0 - machine.wall().0;
                assert!(difference.abs() <= TICK, "{difference} after {step}");
            }
            assert!(clock.is_trusted());
        }
    }

    #[test]
    fn c1_a_suspension_is_time_that_passed() {
        for asleep in [200, SECOND, HOUR, 3 * DAY, YEAR] {
            let (clock, machine) = Machine::clock(0);
            run(&clock, &machine, MINUTE, -TICK..=TICK);
            let before = clock.elapsed();
            machine.sleep(asleep);
            machine.pass(COMPARED_EVERY);
            assert!((clock.now().0 - machine.truth()).abs() <= TICK, "{asleep}");
            assert_eq!(clock.elapsed() - before, Duration::from_millis((asleep + COMPARED_EVERY).unsigned_abs()));
            run(&clock, &machine, MINUTE, -TICK..=TICK);
            // The wall clock leaps while the machine is suspended.
            machine.leap(400 * DAY);
            machine.sleep(asleep);
            run(&clock, &machine, MINUTE, -TICK..=TICK);
        }
    }

    #[test]
    fn c1_elapsed_time_knows_no_leap() {
        let (clock, machine) = Machine::clock(0);
        for leap in LEAPS {
            let before = clock.elapsed();
            machine.leap(leap);
            run(&clock, &machine, 10 * MINUTE, leap.min(0) - 100 * YEAR..=leap.max(0) + 100 * YEAR);
            assert_eq!(clock.elapsed() - before, Duration::from_secs(600));
        }
    }

    #[test]
    fn c1_a_clock_is_trusted_after_an_hour_without_a_leap() {
        let (clock, machine) = Machine::clock(0);
        let hour = |clock: &SystemClock<Machine>, machine: &Machine| {
            for _ in 0..59 {
                machine.pass(MINUTE);
                assert!(!clock.is_trusted());
            }
            machine.pass(MINUTE + SECOND);
            assert!(clock.is_trusted());
        };
        hour(&clock, &machine);
        for leap in LEAPS {
            // For one reading: the hour starts again.
            machine.leap(leap);
            machine.pass(COMPARED_EVERY);
            assert!(!clock.is_trusted(), "{leap}");
            machine.leap(0);
            machine.pass(COMPARED_EVERY);
            clock.now();
            hour(&clock, &machine);
            // For good: not before an hour after the correction.
            machine.leap(leap);
            for _ in 0..65 {
                machine.pass(MINUTE);
                assert!(!clock.is_trusted(), "{leap}");
            }
            machine.pass(2 * MINUTE);
            assert!(clock.is_trusted(), "{leap}");
            machine.leap(0);
            run(&clock, &machine, 10 * MINUTE, leap.min(0) - TICK..=leap.max(0) + TICK);
            machine.pass(HOUR + SECOND);
            assert!(clock.is_trusted(), "{leap}");
        }
    }

    /// Random leaps, drifts, suspensions and pauses. Whatever happened, five minutes with a right wall clock mend it, and
    /// the date runs backwards only when a correction is due.
    #[test]
    fn c1_random_histories_are_mended_within_the_bound() {
        for seed in 1..200_u64 {
            let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let mut dice = |sides: i64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                i64::try_from(state >> 1).unwrap() % sides
            };
            let (clock, machine) = Machine::clock([0, -YEAR, YEAR][usize::try_from(dice(3)).unwrap()]);
            let mut wrong_for = 0;
            for _ in 0..60 {
                let before = (clock.now().0, machine.truth());
                match dice(6) {
                    0 => machine.leap(LEAPS[usize::try_from(dice(10)).unwrap()]),
                    1 => machine.leap(dice(2_000) - 1_000),
                    2 => machine.sleep(dice(2 * HOUR)),
                    _ => machine.leap(0),
                }
                for _ in 0..dice(40) {
                    machine.pass(dice(10 * SECOND) + 1);
                    wrong_for += 1;
                    clock.now();
                }
                let after = (clock.now().0, machine.truth());
                let corrected = after.0 < before.0;
                assert!(!corrected || wrong_for > 0, "{seed}: {before:?} {after:?}");
            }
            machine.leap(0);
            run(&clock, &machine, CORRECTED_AFTER + SECOND, i64::MIN..=i64::MAX);
            run(&clock, &machine, 10 * MINUTE, -TICK..=TICK);
        }
    }

    /// Reads by four threads. After each reading, `step` moves the machine's clocks. `check` gets what a thread read, and
    /// the truth before and after.
    fn race(
        clock: &SystemClock<Machine>,
        machine: &Machine,
        steps: i64,
        step: impl Fn(i64) + Sync,
        check: impl Fn(&mut i64, i64, i64, i64) + Sync,
    ) {
        let steps_made = AtomicI64::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut latest = i64::MIN;
                    loop {
                        let number = steps_made.fetch_add(1, Ordering::SeqCst);
                        if number >= steps {
                            break;
                        }
                        let from = machine.truth();
                        let now = clock.now().0;
                        check(&mut latest, now, from, machine.truth());
                        step(number);
                    }
                });
            }
        });
    }

    /// Leaps shorter than the bound: no thread sees one, and none a date before one that it saw.
    #[test]
    fn c1_leaps_under_concurrency_are_not_seen() {
        let (clock, machine) = Machine::clock(0);
        let step = |number: i64| {
            machine.leap(LEAPS[usize::try_from(number / 80).unwrap() % LEAPS.len()] * (number / 40 % 2));
            machine.pass(15);
        };
        race(&clock, &machine, 100_000, step, |latest, now, from, to| {
            assert!((from - TICK..=to + TICK).contains(&now), "{now} is not in {from} to {to}");
            assert!(now >= *latest);
            *latest = now;
        });
        machine.leap(0);
        run(&clock, &machine, MINUTE, -TICK..=TICK);
    }

    /// After a correction, threads that were late with the old date don't bring it back.
    #[test]
    fn c1_a_correction_under_concurrency_is_for_good() {
        for leap in [400 * DAY, -400 * DAY, 10 * MINUTE, -10 * MINUTE] {
            let (clock, machine) = Machine::clock(leap);
            machine.leap(0);
            let step = |_| machine.pass(20);
            race(&clock, &machine, (CORRECTED_AFTER + 10 * SECOND) / 20, step, |_, now, from, to| {
                let mended = from - TICK..=to + TICK;
                let wrong = from + leap - TICK..=to + leap + TICK;
                assert!(mended.contains(&now) || wrong.contains(&now), "{now} is not in {mended:?} or {wrong:?}");
            });
            run(&clock, &machine, MINUTE, -TICK..=TICK);
        }
    }

    #[test]
    fn c1_impossible_dates_neither_panic_nor_wrap() {
        struct Odd(AtomicI64);
        impl TimeSource for Odd {
            fn wall(&self) -> Timestamp {
                Timestamp([i64::MAX, i64::MIN, 0, -1][usize::try_from(self.0.load(Ordering::SeqCst)).unwrap() % 4])
            }
            fn elapsed(&self) -> Duration {
                [Duration::MAX, Duration::ZERO][usize::try_from(self.0.fetch_add(1, Ordering::SeqCst)).unwrap() / 3 % 2]
            }
        }
        for first in 0..12 {
            let clock = SystemClock::over(Odd(AtomicI64::new(first)));
            for _ in 0..100 {
                clock.now();
                clock.is_trusted();
            }
        }
    }

    /// The real machine: the date is that of the wall clock, and elapsed time passes.
    #[test]
    fn c1_the_machine_has_both_halves() {
        let clock = SystemClock::default();
        let (from, wall) = (clock.elapsed(), Timestamp::from(SystemTime::now()));
        let now = clock.now();
        let difference = now.since(wall).max(wall.since(now));
        assert!(difference < Duration::from_secs(2), "the machine may be busy: {difference:?}");
        thread::sleep(Duration::from_millis(30));
        assert!(clock.elapsed() - from >= Duration::from_millis(30));
        assert!(clock.now() >= now);
        assert!(!clock.is_trusted());
    }
}
