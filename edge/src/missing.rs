//! Codes that were asked for and do not exist: the most frequent of each domain, so that its owner
//! finds the misprint on the poster.
//!
//! Whoever keeps them takes them: [`MissingCodes::take`] gives what was counted since the last time
//! and begins anew, so each request is handed over at most once. They are in memory only: a killed
//! edge forgets what nobody took, which is a minute of requests that led nowhere. To count on, and
//! tell sums apart by process, would lose as much and need a memory of processes.
//!
//! Whoever asks for random codes must not push out those that many ask for, nor take memory: each
//! domain has a frequent-items sketch (Misra and Gries, cleared in batches as Anderson et al. do in
//! "A high-performance algorithm for identifying frequent items in data streams", 2017). It holds
//! at most [`CODES_MAX`] codes; when it is full, the median of the counts is taken off all of them
//! and those at zero go, which costs a few operations per request on average. A code's count is
//! too low by at most the sum of what was taken off since it was last taken.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError, TryLockError};

use carom_shared::DomainId;

use crate::metrics::Counter;

/// Codes of a domain, at most.
const CODES_MAX: usize = 1000;
/// Domains, at most; a new one takes the place of the quietest. With the longest codes all of it
/// comes to about 8 MB.
const DOMAINS_MAX: usize = 64;

/// A code that does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingCode {
    pub domain: DomainId,
    pub code: Box<str>,
    /// How often it was asked for, at least.
    pub at_least: u64,
    /// How often it was asked for, at most.
    pub at_most: u64,
}

/// What the threads of an edge count together.
#[derive(Debug, Default)]
pub struct MissingCodes {
    domains: Mutex<HashMap<DomainId, Frequent>>,
    /// Requests that were not counted, because another thread was counting.
    pub(crate) skipped: Counter,
}

impl MissingCodes {
    /// Counts a request for a code, or lets it be if that would mean waiting: what is asked for
    /// often is then still counted often.
    pub(crate) fn count(&self, domain: DomainId, code: &str) {
        let mut domains = match self.domains.try_lock() {
            Ok(domains) => domains,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                self.skipped.add(1);
                return;
            }
        };
        if !domains.contains_key(&domain) && domains.len() >= DOMAINS_MAX {
            let quietest = domains.iter().min_by_key(|(id, codes)| (codes.total, **id));
            if let Some(quietest) = quietest.map(|(domain, _)| *domain) {
                domains.remove(&quietest);
            }
        }
        domains.entry(domain).or_default().count(code);
    }

    /// Takes what was counted since the last time: by domain, the most frequent first.
    #[must_use]
    pub fn take(&self) -> Vec<MissingCode> {
        // Requests that come meanwhile are not held up while this is put in order.
        let domains =
            std::mem::take(&mut *self.domains.lock().unwrap_or_else(PoisonError::into_inner));
        let mut missing: Vec<_> = domains
            .into_iter()
            .flat_map(|(domain, Frequent { counts, taken_off, .. })| {
                counts.into_iter().map(move |(code, count)| MissingCode {
                    domain,
                    code,
                    at_least: count,
                    at_most: count + taken_off,
                })
            })
            .collect();
        missing
            .sort_by(|a, b| (a.domain, b.at_least, &a.code).cmp(&(b.domain, a.at_least, &b.code)));
        missing
    }
}

/// The frequent ones of a domain.
#[derive(Debug, Default)]
struct Frequent {
    counts: HashMap<Box<str>, u64>,
    taken_off: u64,
    total: u64,
}

impl Frequent {
    fn count(&mut self, code: &str) {
        self.total += 1;
        if let Some(count) = self.counts.get_mut(code) {
            *count += 1;
            return;
        }
        if self.counts.len() >= CODES_MAX {
            let mut counts: Vec<u64> = self.counts.values().copied().collect();
            let (_, median, _) = counts.select_nth_unstable(CODES_MAX / 2);
            let median = *median;
            self.counts.retain(|_, count| {
                *count = count.saturating_sub(median);
                *count > 0
            });
            self.taken_off += median;
        }
        self.counts.insert(code.into(), 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(id: i64) -> DomainId {
        DomainId::try_from(id).unwrap()
    }

    #[test]
    fn what_many_ask_for_survives_random_codes() {
        let missing = MissingCodes::default();
        for n in 0..200_000 {
            missing.count(domain(1), &format!("random{n}"));
            if n % 20 == 0 {
                missing.count(domain(1), "poster");
            }
        }
        let found = missing.take();
        assert!(found.len() <= CODES_MAX);
        let first = &found[0];
        assert_eq!(&*first.code, "poster");
        assert!(first.at_least <= 10_000 && first.at_most >= 10_000, "{first:?}");
        // The algorithm's promise: off by no more than the requests over half of the room.
        assert!(first.at_most - first.at_least <= 210_000 / (CODES_MAX as u64 / 2));
    }

    #[test]
    fn few_codes_are_counted_exactly_and_in_order() {
        let missing = MissingCodes::default();
        for (id, code, times) in [(2, "b", 3), (1, "a", 2), (1, "c", 2), (1, "d", 5)] {
            (0..times).for_each(|_| missing.count(domain(id), code));
        }
        let found = missing.take();
        let rows: Vec<_> = found
            .iter()
            .map(|row| (row.domain.get(), &*row.code, row.at_least, row.at_most))
            .collect();
        assert_eq!(rows, [(1, "d", 5, 5), (1, "a", 2, 2), (1, "c", 2, 2), (2, "b", 3, 3)]);

        // What was taken is not given again.
        missing.count(domain(1), "a");
        let rows: Vec<_> =
            missing.take().iter().map(|row| (row.code.to_string(), row.at_least)).collect();
        assert_eq!(rows, [("a".to_owned(), 1)]);
        assert_eq!(missing.take(), []);
    }

    #[test]
    fn the_quietest_domain_makes_room() {
        let missing = MissingCodes::default();
        for id in 1..=DOMAINS_MAX as i64 {
            missing.count(domain(id), "x");
            if id != 7 {
                missing.count(domain(id), "x");
            }
        }
        missing.count(domain(1000), "x");
        let domains: Vec<_> = missing.take().iter().map(|row| row.domain.get()).collect();
        assert_eq!(domains.len(), DOMAINS_MAX);
        assert!(domains.contains(&1000) && !domains.contains(&7));
    }

    #[test]
    fn nobody_waits() {
        let missing = MissingCodes::default();
        let held = missing.domains.lock().unwrap();
        missing.count(domain(1), "x");
        drop(held);
        assert_eq!((missing.skipped.get(), missing.take().len()), (1, 0));
    }
}
