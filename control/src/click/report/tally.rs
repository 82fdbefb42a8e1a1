//! Adds up what a store finds: rows of clicks, or rows of its rollup.

use std::cmp::Reverse;
use std::collections::HashMap;

use carom_shared::click::Kind;

use super::time::Buckets;
use super::uniques::Uniques;
use super::{Dimension, PeriodReport, Point};
use crate::click::sketch::{BuildIdHasher, Sketch, hash};

/// Different values of a dimension that are told apart, at most: some 20 MB with their counts.
pub(crate) const VALUES_MAX: usize = 1 << 18;

/// A dimension has more values than are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "by: {0} has more than {VALUES_MAX} different values in this range; choose a shorter range, or \
     filter"
)]
pub(crate) struct TooManyValues(&'static str);

impl TooManyValues {
    pub(crate) const fn of(dimension: Dimension) -> Self {
        Self(dimension.as_str())
    }
}

/// A click as a tally needs it, or several that are alike.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// Within the period's span.
    pub(crate) at_s: u32,
    pub(crate) n: u64,
    pub(crate) kind: Kind,
    pub(crate) visitor: u64,
}

/// A value as the store numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TopNumber {
    pub(crate) number: i64,
    pub(crate) clicks: u64,
    pub(crate) visitors: u64,
}

/// Adds up rows of clicks, in any order.
#[derive(Debug)]
pub(crate) struct Tally<'a> {
    buckets: &'a Buckets,
    report: PeriodReport,
    visitors: Uniques,
    series_visitors: Uniques,
    breakdowns: Vec<Breakdown>,
    last_bucket: usize,
    is_period_wanted: bool,
}

#[derive(Debug)]
struct Breakdown {
    dimension: Dimension,
    places: HashMap<i64, u32, BuildIdHasher>,
    /// Number and clicks.
    values: Vec<(i64, u64)>,
    visitors: Uniques,
}

impl<'a> Tally<'a> {
    /// Of breakdowns alone, or of totals and series too.
    pub(crate) fn new(buckets: &'a Buckets, by: &[Dimension], is_period_wanted: bool) -> Self {
        let breakdown = |dimension: &Dimension| Breakdown {
            dimension: *dimension,
            places: HashMap::default(),
            values: Vec::new(),
            visitors: Uniques::default(),
        };
        Self {
            buckets,
            report: empty(buckets),
            visitors: Uniques::default(),
            series_visitors: Uniques::default(),
            breakdowns: by.iter().map(breakdown).collect(),
            last_bucket: 0,
            is_period_wanted,
        }
    }

    /// Adds a row; `values` has a number for each breakdown.
    pub(crate) fn add(&mut self, row: Row, values: &[i64]) -> Result<(), TooManyValues> {
        let is_human = row.kind == Kind::Human;
        let hash = (row.visitor != 0).then(|| hash(row.visitor));
        if self.is_period_wanted {
            let bucket = self.bucket(row.at_s);
            count(&mut self.report, bucket, row.kind, row.n);
            if let Some(hash) = hash.filter(|_| is_human) {
                self.visitors.insert(0, hash);
                // Buckets are at most a thousand.
                self.series_visitors.insert(u32::try_from(bucket).unwrap_or(u32::MAX), hash);
            }
        }
        for (breakdown, number) in self.breakdowns.iter_mut().zip(values) {
            if is_human || breakdown.dimension == Dimension::Kind {
                breakdown.add(*number, row.n, hash)?;
            }
        }
        Ok(())
    }

    /// Rows mostly come in the order of time.
    fn bucket(&mut self, at_s: u32) -> usize {
        let starts = &self.buckets.starts;
        let is_in = starts[self.last_bucket] <= at_s
            && starts.get(self.last_bucket + 1).is_none_or(|next| at_s < *next);
        if !is_in {
            self.last_bucket = self.buckets.at(at_s);
        }
        self.last_bucket
    }

    /// The report, and the first `limit` values of each breakdown.
    pub(crate) fn finish(self, limit: usize) -> (PeriodReport, Vec<(Dimension, Vec<TopNumber>)>) {
        let mut report = self.report;
        report.visitors = self.visitors.counts().get(&0).copied().unwrap_or_default();
        for (bucket, visitors) in self.series_visitors.counts() {
            report.series[bucket as usize].visitors = visitors;
        }
        let top = self.breakdowns.into_iter();
        (report, top.map(|breakdown| breakdown.finish(limit)).collect())
    }
}

impl Breakdown {
    fn add(&mut self, number: i64, n: u64, hash: Option<u32>) -> Result<(), TooManyValues> {
        let place = match self.places.get(&number) {
            Some(place) => *place,
            None => {
                if self.values.len() == VALUES_MAX {
                    return Err(TooManyValues(self.dimension.as_str()));
                }
                let place = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
                self.places.insert(number, place);
                self.values.push((number, 0));
                place
            }
        };
        self.values[place as usize].1 += n;
        if let Some(hash) = hash {
            self.visitors.insert(place, hash);
        }
        Ok(())
    }

    fn finish(self, limit: usize) -> (Dimension, Vec<TopNumber>) {
        let visitors = self.visitors.counts();
        let mut top: Vec<TopNumber> = (0_u32..)
            .zip(self.values)
            .map(|(place, (number, clicks))| {
                let visitors = visitors.get(&place).copied().unwrap_or_default();
                TopNumber { number, clicks, visitors }
            })
            .collect();
        top.sort_unstable_by_key(|top| (Reverse((top.clicks, top.visitors)), top.number));
        top.truncate(limit);
        (self.dimension, top)
    }
}

/// Adds up rows of a rollup in the order of time: of the buckets, only one has its visitors in
/// memory.
#[derive(Debug)]
pub(crate) struct RollupTally<'a> {
    buckets: &'a Buckets,
    report: PeriodReport,
    all: Sketch,
    bucket: usize,
    of_bucket: Sketch,
}

impl<'a> RollupTally<'a> {
    pub(crate) fn new(buckets: &'a Buckets) -> Self {
        Self {
            buckets,
            report: empty(buckets),
            all: Sketch::default(),
            bucket: 0,
            of_bucket: Sketch::default(),
        }
    }

    /// Adds a row of clicks.
    pub(crate) fn add(&mut self, row: Row) {
        self.go_to(row.at_s);
        count(&mut self.report, self.bucket, row.kind, row.n);
        if row.kind == Kind::Human {
            self.of_bucket.insert(row.visitor);
        }
    }

    /// Adds a quarter hour; `None` if its sketch is of a newer version.
    pub(crate) fn add_quarter(
        &mut self,
        at_s: u32,
        kind: Kind,
        n: u64,
        sketch: &[u8],
    ) -> Option<()> {
        self.go_to(at_s);
        count(&mut self.report, self.bucket, kind, n);
        self.of_bucket.merge_bytes(sketch)
    }

    fn go_to(&mut self, at_s: u32) {
        let bucket = self.buckets.at(at_s);
        if bucket != self.bucket {
            self.end_bucket();
            self.bucket = bucket;
        }
    }

    fn end_bucket(&mut self) {
        let of_bucket = std::mem::take(&mut self.of_bucket);
        self.report.series[self.bucket].visitors = of_bucket.estimate();
        self.all.merge(&of_bucket);
    }

    pub(crate) fn finish(mut self) -> PeriodReport {
        self.end_bucket();
        self.report.visitors = self.all.estimate();
        self.report
    }
}

fn empty(buckets: &Buckets) -> PeriodReport {
    let series = vec![Point::default(); buckets.starts.len()];
    PeriodReport { series, ..PeriodReport::default() }
}

fn count(report: &mut PeriodReport, bucket: usize, kind: Kind, n: u64) {
    report.totals.add(kind, n);
    let point = &mut report.series[bucket];
    match kind {
        Kind::Human => point.clicks += n,
        Kind::Bot => point.bots += n,
        Kind::Preview | Kind::Prefetch | Kind::Head => {}
    }
}
