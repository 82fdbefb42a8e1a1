//! What was measured, and what it comes to: medians over rounds, and ratios within each.

use std::collections::BTreeMap;

use serde::Serialize;

use super::usage::CpuTime;
use crate::report::per_second;

/// One measurement of one server.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    pub(crate) load: String,
    pub(crate) server: &'static str,
    pub(crate) round: usize,
    pub(crate) answered: u64,
    pub(crate) seconds: f64,
    #[serde(flatten)]
    pub(crate) figures: Figures,
}

/// The figures of a measurement, by name.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Figures {
    /// Microseconds of CPU for each answer, of the threads that answer.
    pub(crate) serving_us: f64,
    /// The same of all threads.
    pub(crate) all_us: f64,
    pub(crate) per_second: f64,
    /// How much of the time the server's processor worked for it: well below 1, the client was
    /// slower than it, or the rate was fixed.
    pub(crate) busy: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
}

/// Where a figure lies over the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    /// A quarter of the rounds are below.
    pub(crate) lower: f64,
    /// A quarter of the rounds are above.
    pub(crate) upper: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

/// A server's figures under one load, over the rounds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) load: String,
    pub(crate) server: &'static str,
    pub(crate) figures: BTreeMap<&'static str, Spread>,
}

/// One server's figures divided by another's of the same round, over the rounds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Ratio {
    pub(crate) load: String,
    pub(crate) of: &'static str,
    pub(crate) to: &'static str,
    /// CPU of the threads that answer.
    pub(crate) serving: Spread,
    /// CPU of all threads.
    pub(crate) all: Spread,
    pub(crate) per_second: Spread,
    pub(crate) p99: Spread,
}

impl Figures {
    pub(crate) fn new(
        cpu: CpuTime,
        answered: u64,
        elapsed: std::time::Duration,
        quantiles_ms: [f64; 3],
    ) -> Self {
        let each_us = |ns: u64| ns as f64 / 1e3 / answered.max(1) as f64;
        let all_ns = cpu.serving_ns + cpu.others_ns;
        let [p50_us, p99_us, p999_us] = quantiles_ms.map(|ms| ms * 1e3);
        Self {
            serving_us: each_us(cpu.serving_ns),
            all_us: each_us(all_ns),
            per_second: per_second(answered, elapsed),
            busy: all_ns as f64 / elapsed.as_nanos().max(1) as f64,
            p50_us,
            p99_us,
            p999_us,
        }
    }

    fn by_name(&self) -> [(&'static str, f64); 7] {
        let Self { serving_us, all_us, per_second, busy, p50_us, p99_us, p999_us } = *self;
        [
            ("serving_us", serving_us),
            ("all_us", all_us),
            ("per_second", per_second),
            ("busy", busy),
            ("p50_us", p50_us),
            ("p99_us", p99_us),
            ("p999_us", p999_us),
        ]
    }
}

impl Spread {
    /// Of values in any order; all 0 of none.
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        let at = |part: f64| {
            let Some(last) = values.len().checked_sub(1) else { return 0.0 };
            // Between two values in proportion.
            let place = part * last as f64;
            let below = (0..last).take_while(|&index| (index + 1) as f64 <= place).count();
            let (low, high) = (values[below], values[(below + 1).min(last)]);
            low + (high - low) * (place - below as f64)
        };
        Self { median: at(0.5), lower: at(0.25), upper: at(0.75), min: at(0.0), max: at(1.0) }
    }
}

impl Summary {
    pub(crate) fn of(samples: &[Sample], load: &str, server: &'static str) -> Self {
        let mut values: BTreeMap<_, Vec<f64>> = BTreeMap::new();
        for sample in samples.iter().filter(|of| of.load == load && of.server == server) {
            for (name, value) in sample.figures.by_name() {
                values.entry(name).or_default().push(value);
            }
        }
        let figures = values.into_iter().map(|(name, values)| (name, Spread::of(values)));
        Self { load: load.to_owned(), server, figures: figures.collect() }
    }

    pub(crate) fn median(&self, figure: &str) -> f64 {
        self.figures.get(figure).map_or(0.0, |spread| spread.median)
    }
}

impl Ratio {
    pub(crate) fn of(
        samples: &[Sample],
        load: &str,
        of: &'static str,
        to: &'static str,
    ) -> Option<Self> {
        let by_round = |server| {
            let own = samples.iter().filter(move |of| of.load == load && of.server == server);
            own.map(|sample| (sample.round, sample.figures)).collect::<BTreeMap<_, _>>()
        };
        let (above, below) = (by_round(of), by_round(to));
        let pairs: Vec<_> =
            above.iter().filter_map(|(round, above)| Some((above, below.get(round)?))).collect();
        let spread = |figure: fn(&Figures) -> f64| {
            let ratio = |(above, below): &(&Figures, &Figures)| figure(above) / figure(below);
            Spread::of(pairs.iter().map(ratio).filter(|ratio| ratio.is_finite()).collect())
        };
        (!pairs.is_empty()).then(|| Self {
            load: load.to_owned(),
            of,
            to,
            serving: spread(|figures| figures.serving_us),
            all: spread(|figures| figures.all_us),
            per_second: spread(|figures| figures.per_second),
            p99: spread(|figures| figures.p99_us),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_spread_is_that_of_the_sorted_list() {
        let spread = Spread::of(vec![4.0, 1.0, 3.0, 2.0, 5.0]);
        let expected = Spread { median: 3.0, lower: 2.0, upper: 4.0, min: 1.0, max: 5.0 };
        assert_eq!(spread, expected);
        let even = Spread::of(vec![1.0, 2.0]);
        assert!((even.median - 1.5).abs() < 1e-9 && (even.upper - 1.75).abs() < 1e-9, "{even:?}");
        assert!(Spread::of(Vec::new()).max.abs() < 1e-9);
    }

    #[test]
    fn ratios_are_within_rounds() {
        let sample = |server, round, us: u64| Sample {
            load: "hits".to_owned(),
            server,
            round,
            answered: 1000,
            seconds: 1.0,
            figures: Figures::new(
                CpuTime { serving_ns: us * 1_000_000, others_ns: us * 1_000_000 },
                1000,
                Duration::from_secs(1),
                [1.0, 2.0, 3.0],
            ),
        };
        // Each round the machine is twice as slow as in the last; the ratio stays.
        let samples: Vec<_> = (0..5)
            .flat_map(|round| [sample("a", round, 6 << round), sample("b", round, 8 << round)])
            .chain([sample("a", 5, 1)])
            .collect();
        let ratio = Ratio::of(&samples, "hits", "a", "b").unwrap();
        assert!((ratio.serving.min - 0.75).abs() < 1e-9, "{ratio:?}");
        assert!((ratio.serving.max - 0.75).abs() < 1e-9, "{ratio:?}");
        assert!((ratio.per_second.median - 1.0).abs() < 1e-9, "{ratio:?}");
        assert!(Ratio::of(&samples, "misses", "a", "b").is_none());
        let summary = Summary::of(&samples, "hits", "b");
        assert!((summary.median("all_us") - 64.0).abs() < 1e-9, "{summary:?}");
        assert!((summary.median("p999_us") - 3000.0).abs() < 1e-9, "{summary:?}");
    }
}
