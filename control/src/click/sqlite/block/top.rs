//! The first values of many blocks, without a look at all values.
//!
//! All links of a busy day are hundreds of thousands of values, of which a page shows ten. What is first
//! over a month is mostly first on each of its days: the blocks' heads are added up, and a head says
//! how many clicks a value may have that is not in it (the threshold of Fagin's algorithm, Fagin, Lotem, Naor:
//! Optimal Aggregation Algorithms for Middleware, 2001). Where that leaves a doubt about some values,
//! the rests are looked through for them; where it leaves one about all, the rests are added up. The
//! answer is always the exact one.

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::click::report::tally::TopNumber;
use crate::click::sketch::BuildIdHasher;

use super::{Counts, each_value};

/// What is known of a value.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    clicks: u64,
    /// Of the blocks whose heads have it, what their rests have of a value at most.
    seen: u64,
}

/// Clicks by value, of which some may be missing.
#[derive(Debug, Default)]
pub(super) struct Heads {
    known: HashMap<u64, Known, BuildIdHasher>,
    /// What all rests together have of a value at most.
    rests: u64,
    /// The values of each head that has a rest, in ascending order.
    heads: Vec<Vec<u64>>,
}

/// What the heads come to.
#[derive(Debug)]
pub(super) enum First {
    /// These are the first.
    Known(Vec<TopNumber>),
    /// The first are among these.
    Among(Among),
    /// They may be any.
    Unknown,
}

impl Heads {
    pub(super) fn add(&mut self, value: u64, n: u64) {
        self.known.entry(value).or_default().clicks += n;
    }

    /// Adds a block's head; `None` if a newer version wrote it.
    pub(super) fn add_head(&mut self, head: &[u8], has_rest: bool) -> Option<()> {
        let (mut least, mut values) = (u64::MAX, Vec::new());
        each_value(head, |value, n| {
            least = least.min(n);
            values.push(value);
            self.add(value, n);
        })?;
        if has_rest {
            self.rests += least;
            for value in &values {
                self.known.entry(*value).or_default().seen += least;
            }
            self.heads.push(values);
        }
        Some(())
    }

    pub(super) fn first(&self, limit: usize) -> First {
        let mut values: Vec<(Reverse<u64>, u64)> =
            self.known.iter().map(|(value, known)| (Reverse(known.clicks), *value)).collect();
        if self.rests == 0 {
            return First::Known(first(values, limit));
        }
        if values.len() < limit || limit == 0 {
            return First::Unknown;
        }
        let (_, &mut (Reverse(last), _), _) = values.select_nth_unstable(limit - 1);
        // As many as the last one's would be enough to come before it.
        if self.rests >= last {
            return First::Unknown;
        }
        let open = |known: &Known| self.rests - known.seen;
        let mut among: Vec<(u64, Known)> = self
            .known
            .iter()
            .filter(|(_, known)| known.clicks + open(known) >= last)
            .map(|(value, known)| (*value, *known))
            .collect();
        if among.iter().all(|(_, known)| open(known) == 0) {
            return First::Known(first(values, limit));
        }
        among.sort_unstable_by_key(|(value, _)| *value);
        let is_open =
            |head: &Vec<u64>| among.iter().any(|(value, _)| head.binary_search(value).is_err());
        First::Among(Among {
            open: self.heads.iter().map(is_open).collect(),
            values: among.into_iter().map(|(value, known)| (value, known.clicks)).collect(),
        })
    }
}

/// Values of which some may be first.
#[derive(Debug)]
pub(super) struct Among {
    /// Of each head that has a rest, in the order in which they were added, whether one of the values may be in
    /// the rest.
    pub(super) open: Vec<bool>,
    /// In ascending order, with the clicks of rows, heads, and the rests that were added.
    values: Vec<(u64, u64)>,
}

impl Among {
    /// Adds what a rest has of these values; `None` if a newer version wrote it.
    pub(super) fn add_rest(&mut self, rest: &[u8]) -> Option<()> {
        let mut at = 0;
        each_value(rest, |value, n| {
            while self.values.get(at).is_some_and(|(candidate, _)| *candidate < value) {
                at += 1;
            }
            let candidate = self.values.get_mut(at);
            if let Some((_, clicks)) = candidate.filter(|(candidate, _)| *candidate == value) {
                *clicks += n;
            }
        })
    }

    pub(super) fn first(self, limit: usize) -> Vec<TopNumber> {
        first(self.values.into_iter().map(|(value, n)| (Reverse(n), value)).collect(), limit)
    }
}

impl Counts {
    /// The first `limit` values.
    pub(super) fn first(&self, limit: usize) -> Vec<TopNumber> {
        first(self.each().map(|(value, n)| (Reverse(n), value)).collect(), limit)
    }
}

fn first(mut values: Vec<(Reverse<u64>, u64)>, limit: usize) -> Vec<TopNumber> {
    if limit < values.len() {
        values.select_nth_unstable(limit);
        values.truncate(limit);
    }
    values.sort_unstable();
    let number = |(Reverse(clicks), value): (Reverse<u64>, u64)| TopNumber {
        number: value.cast_signed(),
        clicks,
        visitors: 0,
    };
    values.into_iter().map(number).collect()
}
