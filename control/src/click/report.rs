//! What can be asked about clicks, and what is answered: the same whichever store holds them.
//!
//! ```text
//! parameters -> params -> ReportQuery -> a store's renderer -> Report -> api (JSON, CSV)
//! ```
//!
//! A [`ReportQuery`] is checked: a store carries it out without further questions. Clicks are those
//! of people; bots, previews, prefetches and HEAD requests are counted beside them, in totals. The
//! boundaries of its buckets are instants, worked out here in the zone asked for, because SQLite
//! knows no zones.
//!
//! # Visitors
//!
//! A visitor's number changes with each UTC day, so over several days visitors are the sum of each
//! day's, and in other zones a day can hold the same person twice. Clicks without a number (the
//! visitor asked not to be followed; rows that were compacted) add none. Answers from the rollup
//! are exact up to 512 visitors of a link in a quarter hour and 16,384 in all, then within 1.6 %
//! (standard error, see [`sketch`](super::sketch)); answers from rows are exact up to 262,144
//! visitors, then estimated from a part of them.

pub(crate) mod filter;
pub(crate) mod params;
pub(crate) mod tally;
pub(crate) mod time;
pub(crate) mod uniques;

use carom_shared::click::{Channel, Detail, Device, Kind, Via};
use carom_shared::{LinkId, UnixMillis, WorkspaceId};

use super::Totals;
use filter::{Filter, Test};
use time::{Buckets, Interval, Zone};

/// Whose clicks a report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReportScope {
    /// Everybody's: for the operator.
    All,
    Workspace(WorkspaceId),
    Link(WorkspaceId, LinkId),
}

impl ReportScope {
    /// `None`: of all of them.
    pub(crate) const fn workspace(self) -> Option<WorkspaceId> {
        match self {
            Self::All => None,
            Self::Workspace(workspace) | Self::Link(workspace, _) => Some(workspace),
        }
    }
}

/// What clicks can be told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Dimension {
    /// By a name.
    Detail(Detail),
    Channel,
    Device,
    Kind,
    Via,
    Status,
    Variant,
    TargetRevision,
    Domain,
    Link,
}

impl Dimension {
    const OTHERS: [Self; 9] = [
        Self::Channel,
        Self::Device,
        Self::Kind,
        Self::Via,
        Self::Status,
        Self::Variant,
        Self::TargetRevision,
        Self::Domain,
        Self::Link,
    ];

    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Detail::ALL.iter().map(|detail| Self::Detail(*detail)).chain(Self::OTHERS)
    }

    /// Its name in parameters and answers, which is its column's too.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Detail(detail) => detail.as_str(),
            Self::Channel => "channel",
            Self::Device => "device",
            Self::Kind => "kind",
            Self::Via => "via",
            Self::Status => "status",
            Self::Variant => "variant",
            Self::TargetRevision => "target_revision",
            Self::Domain => "domain",
            Self::Link => "link",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::all().find(|dimension| dimension.as_str() == name)
    }

    /// Its values, where they are few words: each with its number.
    pub(crate) fn words(self) -> Option<Vec<(i64, &'static str)>> {
        macro_rules! words {
            ($name:ident) => {
                Some($name::ALL.iter().map(|value| (*value as i64, value.as_str())).collect())
            };
        }
        match self {
            Self::Channel => words!(Channel),
            Self::Device => words!(Device),
            Self::Kind => words!(Kind),
            Self::Via => words!(Via),
            _ => None,
        }
    }
}

/// A checked question.
#[derive(Clone, Debug)]
pub(crate) struct ReportQuery {
    pub(crate) scope: ReportScope,
    pub(crate) zone: Zone,
    pub(crate) interval: Interval,
    pub(crate) period: Buckets,
    pub(crate) compare: Option<Buckets>,
    /// Each of them once.
    pub(crate) by: Vec<Dimension>,
    /// All of them must hold.
    pub(crate) filters: Vec<Filter>,
    /// Values in each breakdown, at most.
    pub(crate) limit: usize,
    /// Whether anybody looks at visitors; where nobody does, they may be 0.
    pub(crate) with_visitors: bool,
    /// Clicks of the period up to which visitors of breakdowns are counted. Of more they may be
    /// missing, where that spares a look at each click.
    pub(crate) top_visitors_max: u64,
}

/// Clicks of a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PeriodReport {
    pub(crate) totals: Totals,
    pub(crate) visitors: u64,
    /// One for each bucket, also where there were none.
    pub(crate) series: Vec<Point>,
}

/// Clicks of a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) clicks: u64,
    pub(crate) visitors: u64,
    pub(crate) bots: u64,
}

/// A value of a dimension, with the clicks that have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopValue {
    /// Empty where it is unknown. A domain or a link is its id.
    pub(crate) value: String,
    pub(crate) clicks: u64,
    pub(crate) visitors: u64,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) period: PeriodReport,
    pub(crate) compare: Option<PeriodReport>,
    /// In the order asked for; most clicks first. `kind` counts all clicks, others those of people.
    pub(crate) top: Vec<(Dimension, Vec<TopValue>)>,
    /// Visitors of `top` were not counted: they are 0.
    pub(crate) is_without_top_visitors: bool,
    /// When a person last clicked, at any time.
    pub(crate) last_click_at: Option<UnixMillis>,
    /// Rows before this were deleted: totals and series without filters know those clicks, nothing
    /// else does.
    pub(crate) detail_since: Option<UnixMillis>,
}

impl ReportQuery {
    /// The links that a filter names, where it is about several of a workspace.
    pub(crate) fn links(&self) -> Option<(WorkspaceId, &[i64])> {
        let ReportScope::Workspace(workspace) = self.scope else { return None };
        let links = self.filters.iter().find_map(|filter| match &filter.test {
            Test::Number(Dimension::Link, links) if !filter.is_negated => Some(links.as_slice()),
            _ => None,
        });
        Some((workspace, links?))
    }

    /// Whether the rollup, which has no details and knows quarter hours, can answer it.
    pub(crate) fn fits_rollup(&self, buckets: &Buckets) -> bool {
        self.filters.is_empty() && buckets.starts[1..].iter().all(|s| s.is_multiple_of(QUARTER_S))
    }
}

/// Seconds of the rollup's grain: zones are off by whole quarter hours.
pub(crate) const QUARTER_S: u32 = 900;

#[cfg(test)]
mod tests;
