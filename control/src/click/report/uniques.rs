//! Different visitors per value, in bounded memory.

use std::collections::HashMap;

/// Pairs of a value and a visitor that are kept, at most: 2 MiB, and as much again between cuts.
const PAIRS_MAX: usize = 1 << 18;

/// Counts the different hashes per key. Exact until there are [`PAIRS_MAX`] different pairs; from
/// there on it keeps one hash of 2, 4, 8... and scales up, which is off by about 1/√kept for a key.
#[derive(Debug, Default)]
pub(crate) struct Uniques {
    /// The key above the hash.
    pairs: Vec<u64>,
    /// How many of `pairs` are sorted and different.
    settled: usize,
    /// Hashes are kept whose lowest bits, this many, are 0.
    dropped_bits: u32,
}

impl Uniques {
    pub(crate) fn insert(&mut self, key: u32, hash: u32) {
        if hash & self.mask() != 0 {
            return;
        }
        self.pairs.push(u64::from(key) << 32 | u64::from(hash));
        if self.pairs.len() >= 2 * self.settled.max(PAIRS_MAX / 2) {
            self.settle();
        }
    }

    /// The hashes' number for each key that has any.
    pub(crate) fn counts(mut self) -> HashMap<u32, u64> {
        self.settle();
        let mut counts = HashMap::new();
        for key in self.pairs.iter().map(|pair| (pair >> 32) as u32) {
            *counts.entry(key).or_default() += 1 << self.dropped_bits;
        }
        counts
    }

    const fn mask(&self) -> u32 {
        (1 << self.dropped_bits) - 1
    }

    fn settle(&mut self) {
        self.pairs.sort_unstable();
        self.pairs.dedup();
        // 2¹⁶ pairs of the hash 0 under other keys are no reason to go on for ever.
        while self.pairs.len() > PAIRS_MAX && self.dropped_bits < 16 {
            self.dropped_bits += 1;
            let mask = u64::from(self.mask());
            self.pairs.retain(|pair| pair & mask == 0);
        }
        self.settled = self.pairs.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::click::sketch::hash;

    #[test]
    fn many_pairs_stay_bounded_and_are_counted_closely() {
        let mut uniques = Uniques::default();
        for visitor in 1..=1_000_000_u64 {
            for _ in 0..2 {
                uniques.insert((visitor % 10 == 0).into(), hash(visitor));
            }
            assert!(uniques.pairs.len() <= 2 * PAIRS_MAX);
        }
        let counts = uniques.counts();
        for (key, true_count) in [(0, 900_000.0), (1, 100_000.0)] {
            let error = counts[&key] as f64 / true_count - 1.0;
            assert!(error.abs() < 0.03, "{key}: {counts:?}");
        }
    }

    #[test]
    fn few_pairs_are_counted_exactly() {
        let mut uniques = Uniques::default();
        for n in 0..200_000_u32 {
            uniques.insert(n % 7, hash(u64::from(n % 70_000) + 1));
        }
        // 7 divides 70,000: each visitor has one key.
        let sum: u64 = uniques.counts().values().sum();
        assert_eq!(sum, 70_000);
    }
}
