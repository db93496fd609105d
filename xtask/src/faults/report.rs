//! What a run found: how much was acknowledged, and each promise that was broken.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::output::{complain, say};

/// What is checked, by its number in the list of invariants.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Rule {
    /// I1: an acknowledged session authenticates, with exactly its scopes.
    Lost,
    /// I2: an acknowledged revoke or denial stays.
    Revived,
    /// I3: a claim has one session at most.
    Double,
    /// I4: no session without an exchanged claim, nor the reverse.
    Half,
    /// I6: no answer but the documented ones; 503 and broken connections during the fault only.
    Undocumented,
    /// I7: no secret in the log.
    Leaked,
    /// Ready again in time.
    Late,
}

impl Rule {
    const ALL: [Self; 7] =
        [Self::Lost, Self::Revived, Self::Double, Self::Half, Self::Undocumented, Self::Leaked, Self::Late];

    const fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Revived => "revived",
            Self::Double => "double",
            Self::Half => "half done",
            Self::Undocumented => "undocumented",
            Self::Leaked => "leaked",
            Self::Late => "late",
        }
    }
}

pub(crate) struct Report {
    run: &'static str,
    /// Rounds are told.
    verbose: bool,
    /// Violations are told as they are found.
    loud: bool,
    round: AtomicUsize,
    rounds: AtomicUsize,
    acknowledged: AtomicUsize,
    violations: Mutex<Vec<Violation>>,
    longest: Mutex<BTreeMap<&'static str, Duration>>,
    counts: Mutex<BTreeMap<&'static str, usize>>,
}

struct Violation {
    round: usize,
    rule: Rule,
    text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "round {}: {}: {}", self.round, self.rule.name(), self.text)
    }
}

impl Report {
    pub(crate) fn new(run: &'static str, verbose: bool) -> Self {
        Self {
            run,
            verbose,
            loud: true,
            round: AtomicUsize::new(0),
            rounds: AtomicUsize::new(0),
            acknowledged: AtomicUsize::new(0),
            violations: Mutex::default(),
            longest: Mutex::default(),
            counts: Mutex::default(),
        }
    }

    /// The same for a run whose violations are wanted.
    pub(crate) fn silent(run: &'static str) -> Self {
        Self { loud: false, ..Self::new(run, false) }
    }

    pub(crate) fn begin_round(&self, round: usize) {
        self.round.store(round, Ordering::Relaxed);
        self.rounds.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn round(&self) -> usize {
        self.round.load(Ordering::Relaxed)
    }

    /// Counts an answer that came whole and was a documented one.
    pub(crate) fn acknowledge(&self) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes a broken promise, and tells it at once.
    pub(crate) fn violation(&self, rule: Rule, text: String) {
        /// More of them say nothing new.
        const SHOWN: usize = 40;
        let violation = Violation { round: self.round(), rule, text };
        let mut violations = locked(&self.violations);
        if self.loud && violations.len() < SHOWN {
            complain(&format!("{}: {violation}", self.run));
        }
        violations.push(violation);
    }

    /// Remembers the longest time that something took.
    pub(crate) fn took(&self, what: &'static str, time: Duration) {
        let mut longest = locked(&self.longest);
        let known = longest.entry(what).or_default();
        *known = time.max(*known);
    }

    /// Counts something that the summary tells.
    pub(crate) fn count(&self, what: &'static str) {
        *locked(&self.counts).entry(what).or_default() += 1;
    }

    /// What was counted so far.
    pub(crate) fn counted(&self, what: &str) -> usize {
        locked(&self.counts).get(what).copied().unwrap_or_default()
    }

    /// A line for a round, where that is wanted.
    pub(crate) fn tell(&self, text: &str) {
        if self.verbose {
            say(&format!("{}: round {}: {text}", self.run, self.round()));
        }
    }

    pub(crate) fn violations(&self) -> usize {
        locked(&self.violations).len()
    }

    pub(crate) fn violations_of(&self, rule: Rule) -> usize {
        locked(&self.violations).iter().filter(|violation| violation.rule == rule).count()
    }

    /// The run in one line.
    pub(crate) fn summary(&self) -> String {
        let broken: Vec<String> = Rule::ALL.map(|rule| format!("{} {}", self.violations_of(rule), rule.name())).into();
        let mut text = format!(
            "{}: {} rounds, {} acknowledged answers, {}",
            self.run,
            self.rounds.load(Ordering::Relaxed),
            grouped(self.acknowledged.load(Ordering::Relaxed)),
            broken.join(", ")
        );
        for (what, count) in locked(&self.counts).iter() {
            text.push_str(&format!("; {} {what}", grouped(*count)));
        }
        for (what, time) in locked(&self.longest).iter() {
            text.push_str(&format!("; {what} after at most {:.3} s", time.as_secs_f64()));
        }
        text
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number as one reads it: 41,312.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Report, Rule, grouped};

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1_000, 41_312, 1_234_567].map(grouped), ["0", "999", "1,000", "41,312", "1,234,567"]);
    }

    #[test]
    fn what_is_broken_is_counted_by_its_rule() {
        let report = Report::silent("test");
        report.begin_round(7);
        report.violation(Rule::Double, "twice".into());
        assert_eq!((report.violations(), report.violations_of(Rule::Double)), (1, 1));
        assert!(report.summary().contains("1 rounds") && report.summary().contains("1 double"));
    }
}
