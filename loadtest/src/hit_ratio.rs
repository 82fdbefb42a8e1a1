//! `hit-ratio`: how often an edge's memory knows the link that a visitor asks for. A simulation:
//! nothing is served, and no time is measured.
//!
//! Links are asked for by Zipf's law, each request independent of those before. Memory is moka, the
//! cache in which an edge keeps what is not in its snapshot, with its own policy of what to keep.
//! Beside what it reached stands the best that any memory of this size could: to hold the links that
//! are asked for most, from the start, for ever. A snapshot keeps what was asked for, and so is
//! somewhere between the two.
//!
//! What visitors do is kinder and worse than this: a link's visits come in bursts, which helps, and
//! yesterday's links make room for today's, which does not.

use std::fmt;

use clap::Args;
use moka::sync::Cache;
use serde::Serialize;

use crate::failure::Failure;
use crate::population::{Rng, Zipf};
use crate::report::progress;

/// Links of a catalogue, at most: each takes 8 bytes while it is simulated.
const LINKS_MAX: usize = 200_000_000;

#[derive(Debug, Args)]
pub(crate) struct HitRatioArgs {
    /// Links of the catalogue.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000_000, 10_000_000])]
    links: Vec<usize>,
    /// Exponents of Zipf's law: the greater, the more of the visits go to few links.
    #[arg(long, value_delimiter = ',', default_values_t = [0.7, 0.9, 1.1])]
    exponents: Vec<f64>,
    /// Memory of an edge for routes, in MiB.
    #[arg(long, value_delimiter = ',', default_values_t = [128, 512])]
    memory_mib: Vec<u64>,
    /// What a route takes, in bytes: with a target of 60 bytes 440 of `edge.resolve.max_cache_bytes`,
    /// 110 of a snapshot and its index.
    #[arg(long, default_value_t = 440)]
    entry_bytes: u64,
    /// Requests to an edge that has just started with nothing, before the ratio is taken.
    #[arg(long, default_value_t = 3_000_000)]
    warm_up: u64,
    /// Requests that the ratio is taken of.
    #[arg(long, default_value_t = 1_000_000)]
    requests: u64,
}

impl HitRatioArgs {
    fn check(&self) -> Result<(), Failure> {
        let complain = |text: String| Err(Failure::new(text));
        if let Some(links) = self.links.iter().find(|links| !(1..=LINKS_MAX).contains(*links)) {
            return complain(format!("--links {links}: must be from 1 to {LINKS_MAX}"));
        }
        if let Some(bad) = self.exponents.iter().find(|exponent| !(0.0..=10.0).contains(*exponent))
        {
            return complain(format!("--exponents {bad}: must be from 0 to 10"));
        }
        if self.entry_bytes == 0 || self.warm_up == 0 || self.requests == 0 {
            return complain("--entry-bytes, --warm-up and --requests: must be at least 1".into());
        }
        Ok(())
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct HitRatioReport {
    seed: u64,
    entry_bytes: u64,
    warm_up: u64,
    requests: u64,
    simulated: Vec<Simulated>,
}

/// One catalogue, one law, one memory.
#[derive(Debug, Serialize)]
struct Simulated {
    links: usize,
    exponent: f64,
    memory_mib: u64,
    /// Routes that the memory has room for.
    entries: u64,
    /// Share of the requests that found their route in memory, while it filled and afterwards.
    cold: f64,
    warm: f64,
    /// Share of the requests for the `entries` links that are asked for most.
    best: f64,
}

impl HitRatioReport {
    /// No cache beats the best one: if it seems so, the simulation is wrong.
    pub(crate) fn passed(&self) -> bool {
        // Four standard deviations of a share, at its widest.
        let noise = 2.0 / (self.requests as f64).sqrt();
        self.simulated.iter().all(|of| of.warm > 0.0 && of.warm <= of.best + noise)
    }
}

pub(crate) fn run(args: &HitRatioArgs, seed: u64) -> Result<HitRatioReport, Failure> {
    args.check()?;
    let mut simulated = Vec::new();
    for &links in &args.links {
        for &exponent in &args.exponents {
            let zipf = Zipf::new(links, exponent);
            for &memory_mib in &args.memory_mib {
                progress(&format!("{links} links, exponent {exponent}, {memory_mib} MiB ..."));
                let entries = (memory_mib << 20) / args.entry_bytes;
                let (cold, warm) = simulate(&zipf, entries, args, &mut Rng::new(seed));
                let held = usize::try_from(entries).unwrap_or(usize::MAX);
                let best = zipf.share_of_first(held);
                let of = Simulated { links, exponent, memory_mib, entries, cold, warm, best };
                simulated.push(of);
            }
        }
    }
    let &HitRatioArgs { entry_bytes, warm_up, requests, .. } = args;
    Ok(HitRatioReport { seed, entry_bytes, warm_up, requests, simulated })
}

/// The shares of hits during the warm-up and after it.
fn simulate(zipf: &Zipf, entries: u64, args: &HitRatioArgs, rng: &mut Rng) -> (f64, f64) {
    let memory = Cache::new(entries);
    let mut share = |requests: u64| {
        let mut hits = 0_u64;
        for _ in 0..requests {
            let link = zipf.draw(rng);
            if memory.get(&link).is_some() {
                hits += 1;
            } else {
                memory.insert(link, ());
            }
        }
        hits as f64 / requests as f64
    };
    (share(args.warm_up), share(args.requests))
}

impl fmt::Display for HitRatioReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "hit-ratio: {} requests after {} to warm up, {} bytes a route, seed {}",
            self.requests, self.warm_up, self.entry_bytes, self.seed
        )?;
        writeln!(
            f,
            "{:>12} {:>9} {:>11} {:>11} {:>8} {:>8} {:>8}",
            "links", "exponent", "memory MiB", "routes", "cold %", "warm %", "best %"
        )?;
        for of in &self.simulated {
            let Simulated { links, exponent, memory_mib, entries, cold, warm, best } = of;
            let [cold, warm, best] = [cold, warm, best].map(|share| share * 100.0);
            writeln!(
                f,
                "{links:>12} {exponent:>9} {memory_mib:>11} {entries:>11} {cold:>8.2} {warm:>8.2} {best:>8.2}"
            )?;
        }
        if !self.passed() {
            writeln!(f, "NOT PASSED: a figure is beyond what is possible")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(links: usize, exponent: f64) -> HitRatioArgs {
        HitRatioArgs {
            links: vec![links],
            exponents: vec![exponent],
            memory_mib: vec![1, 4],
            entry_bytes: 1024,
            warm_up: 12_000,
            requests: 6000,
        }
    }

    #[test]
    fn a_memory_for_all_links_misses_none_once_it_is_warm() {
        let report = run(&args(500, 0.3), 1).unwrap();
        let [small, large] = &report.simulated[..] else { panic!("two memories: {report}") };
        assert_eq!((small.entries, large.entries), (1024, 4096));
        assert!(large.warm > 0.9999 && large.cold < 0.99, "{report}");
        assert!(report.passed(), "{report}");
    }

    /// With exponent 0 all links are alike, so a memory for a share of them hits that share,
    /// whatever it keeps.
    #[test]
    fn where_all_links_are_alike_the_ratio_is_the_share_that_is_held() {
        let report = run(&args(8192, 0.0), 1).unwrap();
        for of in &report.simulated {
            let held = of.entries as f64 / 8192.0;
            assert!((of.best - held).abs() < 1e-9, "{report}");
            assert!((of.warm - held).abs() < 0.05, "{report}");
        }
    }

    #[test]
    fn more_memory_and_a_steeper_law_hit_more_and_never_beyond_the_best() {
        let [flat, steep] = [0.7, 1.1].map(|exponent| run(&args(20_000, exponent), 7).unwrap());
        for report in [&flat, &steep] {
            assert!(report.passed(), "{report}");
            assert!(report.simulated[0].warm < report.simulated[1].warm, "{report}");
        }
        assert!(flat.simulated[0].warm < steep.simulated[0].warm, "{flat}{steep}");
    }

    #[test]
    fn a_figure_beyond_the_best_is_not_passed() {
        let mut report = run(&args(20_000, 0.7), 7).unwrap();
        report.simulated[0].warm = report.simulated[0].best + 0.05;
        assert!(!report.passed());
    }

    #[test]
    fn what_cannot_be_simulated_is_refused() {
        for (links, exponent) in [(0, 1.0), (LINKS_MAX + 1, 1.0), (10, -0.1), (10, f64::NAN)] {
            assert!(run(&args(links, exponent), 1).is_err(), "{links} {exponent}");
        }
    }
}
