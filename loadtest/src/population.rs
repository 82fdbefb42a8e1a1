//! What the visitors of an experiment are made of: real URLs, real user agents, and how often each
//! link is hit. The lists come from files (`loadtest/fetch-population` makes them); none is here.

use std::fs;
use std::path::Path;

use crate::failure::Failure;

/// Lines of a list; a longer one is a mistake, not a population.
const LINES_MAX: usize = 5_000_000;

/// Reads a file of one item a line; blank lines do not count.
pub(crate) fn read_lines(path: &Path) -> Result<Vec<String>, Failure> {
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::new(format!(
            "cannot read {}: {error}; `loadtest/fetch-population` makes the lists",
            path.display()
        ))
    })?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines: Vec<_> = lines.take(LINES_MAX).map(str::to_owned).collect();
    if lines.is_empty() {
        return Err(Failure::new(format!("{} is empty", path.display())));
    }
    if let Some(bad) = lines.iter().find(|line| line.chars().any(char::is_control)) {
        return Err(Failure::new(format!("{}: a control character in {bad:?}", path.display())));
    }
    Ok(lines)
}

/// Targets of 60 bytes that all differ, where it does not matter what they are. Nothing asks for
/// them: a visitor here reads `Location` and goes no further.
pub(crate) fn made_up_urls(count: usize) -> Vec<String> {
    (0..count)
        .map(|n| format!("https://www.example.com/articles/made-up-for-load-{n:010}"))
        .collect()
}

/// A small, fast, repeatable generator (`SplitMix64`): a seed printed is a run that can be had again.
/// Never for secrets.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator of its own for each connection, with no state shared between them.
    pub(crate) const fn fork(&mut self) -> Self {
        Self(self.next_u64())
    }

    pub(crate) const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In `0..bound`; the bias of the multiplication is below `bound` / 2⁶⁴. `bound` is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let product = u128::from(self.next_u64()) * bound as u128;
        usize::try_from(product >> 64).expect("less than bound")
    }

    /// Puts `items` in an order of which each is as likely (Fisher and Yates).
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// In `0.0..1.0`, on the 53 bits of a double.
    fn unit(&mut self) -> f64 {
        const STEPS: f64 = 9_007_199_254_740_992.0;
        (self.next_u64() >> 11) as f64 / STEPS
    }
}

/// Zipf's law over ranks `0..n`: rank `k` is drawn with a weight of 1 / (k + 1)^exponent. Links are
/// hit like words are used: of 10,000 with exponent 1, the first gets a tenth of all.
#[derive(Debug)]
pub(crate) struct Zipf {
    /// Weight of the ranks up to and including each, of a total of 1.
    cumulative: Vec<f64>,
}

impl Zipf {
    /// # Panics
    /// If `n` is 0: there would be nothing to draw.
    pub(crate) fn new(n: usize, exponent: f64) -> Self {
        assert!(n > 0, "a distribution over nothing");
        let mut total = 0.0;
        let mut cumulative: Vec<f64> = (1..=n)
            .map(|rank| {
                total += (rank as f64).powf(-exponent);
                total
            })
            .collect();
        cumulative.iter_mut().for_each(|weight| *weight /= total);
        Self { cumulative }
    }

    pub(crate) fn draw(&self, rng: &mut Rng) -> usize {
        let unit = rng.unit();
        let rank = self.cumulative.partition_point(|&weight| weight <= unit);
        rank.min(self.cumulative.len() - 1)
    }

    /// How much of all is drawn of the first `ranks`.
    pub(crate) fn share_of_first(&self, ranks: usize) -> f64 {
        ranks.checked_sub(1).map_or(0.0, |last| self.cumulative.get(last).copied().unwrap_or(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// χ² over the ranks against the law itself: 99.9 % of fair draws stay below the bound.
    #[test]
    fn zipf_draws_each_rank_by_its_weight() {
        // (ranks, exponent, the 99.9 % quantile of χ² with ranks − 1 degrees of freedom)
        for (n, exponent, bound) in [(20, 1.0, 43.8), (20, 0.5, 43.8), (100, 1.2, 148.2)] {
            let zipf = Zipf::new(n, exponent);
            let mut rng = Rng::new(7);
            let draws = 200_000;
            let mut counts = vec![0_u32; n];
            for _ in 0..draws {
                counts[zipf.draw(&mut rng)] += 1;
            }
            let total: f64 = (1..=n).map(|rank| (rank as f64).powf(-exponent)).sum();
            let chi2: f64 = (1..=n)
                .zip(&counts)
                .map(|(rank, &count)| {
                    let expected = f64::from(draws) * (rank as f64).powf(-exponent) / total;
                    (f64::from(count) - expected).powi(2) / expected
                })
                .sum();
            assert!(chi2 < bound, "{n} ranks, exponent {exponent}: {chi2}");
        }
    }

    #[test]
    fn zipf_of_one_link_and_of_exponent_zero() {
        let mut rng = Rng::new(1);
        let one = Zipf::new(1, 1.0);
        assert!((0..1000).all(|_| one.draw(&mut rng) == 0));
        let even = Zipf::new(4, 0.0);
        let mut counts = [0_i32; 4];
        (0..40_000).for_each(|_| counts[even.draw(&mut rng)] += 1);
        assert!(counts.iter().all(|count| (count - 10_000).abs() < 500), "{counts:?}");
    }

    #[test]
    fn below_reaches_each_value_and_no_other() {
        let mut rng = Rng::new(3);
        let mut seen = [false; 5];
        (0..1000).for_each(|_| seen[rng.below(5)] = true);
        assert_eq!(seen, [true; 5]);
    }

    #[test]
    fn made_up_urls_have_sixty_bytes() {
        assert!(made_up_urls(3).iter().all(|url| url.len() == 60), "{:?}", made_up_urls(1));
    }

    #[test]
    fn a_shuffle_keeps_each_item_and_moves_some() {
        let mut items: Vec<_> = (0..100).collect();
        Rng::new(3).shuffle(&mut items);
        assert!(!items.is_sorted());
        items.sort_unstable();
        assert!(items.into_iter().eq(0..100));
    }

    #[test]
    fn forks_differ() {
        let mut rng = Rng::new(3);
        let (mut a, mut b) = (rng.fork(), rng.fork());
        assert_ne!(a.next_u64(), b.next_u64());
    }
}
