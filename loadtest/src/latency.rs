//! How long answers took: counts in buckets that are at most 1/32 wide, so 1 M of them fit in 15 KB.

use std::time::Duration;

use serde::Serialize;

/// Buckets to each doubling: the relative error of a quantile is below 1 / 32.
const STEPS: usize = 32;
/// Up to 2³⁸ ns, above four minutes; longer ones fall into the last bucket.
const DOUBLINGS: usize = 38;
const BUCKETS: usize = (DOUBLINGS - 4) * STEPS;

/// A histogram of durations.
#[derive(Clone, Debug)]
pub(crate) struct Latencies {
    counts: Vec<u64>,
    max: Duration,
}

/// The figures that are reported, in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Quantiles {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

impl Latencies {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; BUCKETS], max: Duration::ZERO }
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(ns)] += 1;
        self.max = self.max.max(latency);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(sum, count)| *sum += count);
        self.max = self.max.max(other.max);
    }

    pub(crate) fn quantiles(&self) -> Quantiles {
        Quantiles {
            p50_ms: self.quantile_ms(50),
            p99_ms: self.quantile_ms(99),
            max_ms: self.max.as_secs_f64() * 1e3,
        }
    }

    fn quantile_ms(&self, percent: u64) -> f64 {
        self.per_mille_ms(percent * 10)
    }

    /// The upper edge of the bucket that holds the `per_mille`-th of a thousand; 0 of nothing.
    pub(crate) fn per_mille_ms(&self, per_mille: u64) -> f64 {
        let total: u64 = self.counts.iter().sum();
        let wanted = (total * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return (upper_ns(index) as f64 / 1e6).min(self.max.as_secs_f64() * 1e3);
            }
        }
        0.0
    }
}

/// The first `STEPS` buckets hold one nanosecond each; from there on each doubling has `STEPS`.
fn bucket(ns: u64) -> usize {
    let shift = ns.max(1).ilog2().saturating_sub(STEPS.ilog2()) as usize;
    let steps = usize::try_from(ns >> shift).unwrap_or(usize::MAX);
    (shift * STEPS).saturating_add(steps).min(BUCKETS - 1)
}

/// The largest number of nanoseconds that falls into bucket `index`.
fn upper_ns(index: usize) -> u64 {
    let shift = (index / STEPS).saturating_sub(1);
    (((index - shift * STEPS + 1) as u64) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_is_within_a_thirty_second_of_its_edge() {
        for ns in (0..36).map(|bit| 1_u64 << bit).flat_map(|ns| [ns, ns + ns / 3, 2 * ns - 1]) {
            let upper = upper_ns(bucket(ns));
            assert!(upper >= ns && upper <= ns + ns / STEPS as u64, "{ns} ns: {upper}");
            assert!(ns == 1 || bucket(ns) >= bucket(ns - 1), "{ns}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_list() {
        let mut low = Latencies::new();
        let mut high = Latencies::new();
        (1..=500).for_each(|us| low.record(Duration::from_micros(us)));
        (501..=1000).for_each(|us| high.record(Duration::from_micros(us)));
        low.add(&high);
        let quantiles = low.quantiles();
        assert!((0.500..0.517).contains(&quantiles.p50_ms), "{quantiles:?}");
        assert!((0.990..1.001).contains(&quantiles.p99_ms), "{quantiles:?}");
        assert!((quantiles.max_ms - 1.0).abs() < 1e-9, "{quantiles:?}");
        assert!(Latencies::new().quantiles().p99_ms.abs() < 1e-9);
    }
}
