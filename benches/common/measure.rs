//! Times in turns, so that a machine that slows down slows all of them down alike.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use super::counting::counted;

const ROUNDS: usize = 30;
const TURN: Duration = Duration::from_millis(20);

/// Something that is called again and again.
pub(crate) struct Case<'c> {
    /// What the table calls it.
    pub name: &'static str,
    /// The case that is taken off: the same without what is measured.
    pub over: Option<&'static str>,
    /// Makes so many calls.
    turn: Box<dyn FnMut(usize) + 'c>,
}

/// What a call costs, with what it is over taken off.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Cost {
    /// The case.
    pub name: &'static str,
    /// Nanoseconds, the median of all turns.
    pub ns: f64,
    /// The same in hashes: the time of the case `sha256`.
    pub ratio_to_sha: f64,
    /// Allocations.
    pub allocations: f64,
}

impl<'c> Case<'c> {
    /// A case that makes its input, one after the other as on a connection, and drops its output: `over` is one that makes
    /// the same input.
    pub(crate) fn new<I, O>(
        name: &'static str,
        over: Option<&'static str>,
        mut input: impl FnMut() -> I + 'c,
        mut call: impl FnMut(I) -> O + 'c,
    ) -> Self {
        let turn = move |calls| {
            for _ in 0..calls {
                black_box(call(black_box(input())));
            }
        };
        Self { name, over, turn: Box::new(turn) }
    }

    fn timed(&mut self, calls: usize) -> Duration {
        let begun = Instant::now();
        (self.turn)(calls);
        begun.elapsed()
    }

    /// How often a call allocates.
    fn allocations(&mut self, calls: usize) -> f64 {
        let (made, _) = counted(|| (self.turn)(calls));
        made as f64 / calls as f64
    }

    /// So many calls that a turn is long enough to be timed.
    fn calls(&mut self) -> usize {
        let took = self.timed(64);
        let turns = TURN.as_nanos() / took.as_nanos().max(1);
        64 * usize::try_from(turns).unwrap_or(1).clamp(1, 10_000)
    }
}

/// All cases in turns, over and over.
pub(crate) fn costs(mut cases: Vec<Case<'_>>) -> Vec<Cost> {
    let calls: Vec<usize> = cases.iter_mut().map(Case::calls).collect();
    let mut times = vec![Vec::new(); cases.len()];
    for _ in 0..ROUNDS {
        for (number, case) in cases.iter_mut().enumerate() {
            times[number].push(case.timed(calls[number]).as_secs_f64() * 1e9 / calls[number] as f64);
        }
    }
    let allocations: Vec<f64> = cases.iter_mut().zip(&calls).map(|(case, calls)| case.allocations(*calls)).collect();
    let times: Vec<f64> = times.into_iter().map(median).collect();
    let of = |name: &str| cases.iter().position(|case| case.name == name).unwrap();
    let sha = times[of("sha256")];
    let cost = |(number, case): (usize, &Case<'_>)| {
        let (less_time, less_allocations) = match case.over {
            Some(over) => (times[of(over)], allocations[of(over)]),
            None => (0.0, 0.0),
        };
        let ns = times[number] - less_time;
        Cost { name: case.name, ns, ratio_to_sha: ns / sha, allocations: allocations[number] - less_allocations }
    };
    cases.iter().enumerate().map(cost).collect()
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
