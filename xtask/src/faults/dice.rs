//! Chance that comes again: what a client does in a round is known by the numbers of both.

use std::time::Duration;

/// SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// The dice of a round, or of a client in it.
    pub(crate) fn of(round: usize, client: usize) -> Self {
        let mut dice = Self((round as u64) << 20 | client as u64);
        dice.next();
        dice
    }

    /// The dice of the fault of a round.
    pub(crate) fn of_fault(round: usize) -> Self {
        /// No client has this number.
        const FAULT: usize = (1 << 20) - 1;
        Self::of(round, FAULT)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// A time from `least` up to `most` milliseconds.
    pub(crate) fn millis(&mut self, least: usize, most: usize) -> Duration {
        Duration::from_millis((least + self.below(most - least)) as u64)
    }

    /// True once in `times`.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// A part of `all` that is not empty, in their order.
    pub(crate) fn some_of<T: Copy>(&mut self, all: &[T]) -> Vec<T> {
        let sure = self.below(all.len());
        let mut index = 0..;
        all.iter().copied().filter(|_| index.next() == Some(sure) || self.once_in(2)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Dice;

    #[test]
    fn what_comes_is_known_by_the_numbers() {
        let throw = |round, client| Dice::of(round, client).below(1_000_000);
        assert_eq!(throw(3, 5), throw(3, 5));
        assert_ne!(throw(3, 5), throw(5, 3));
    }

    #[test]
    fn a_part_is_never_empty() {
        let mut dice = Dice::of(1, 1);
        for _ in 0..1_000 {
            assert!((1..=3).contains(&dice.some_of(&["a", "b", "c"]).len()));
        }
    }
}
