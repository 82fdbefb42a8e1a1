//! How full the way of a click is: what operators see before anything is lost, and while it is.

use crate::metrics::Metrics;
use crate::spool::outbox::Outbox;

/// The levels in the order in which they come. None of them makes a redirect wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// Clicks are stored as they come.
    None,
    /// The store does not take batches; they wait in the outbox.
    StoreAway,
    /// The outbox nears its quota: its oldest batches are compacted to counts.
    Compacting,
    /// No batch can be written: the outbox or the disk is full, or fails. Clicks wait in the rings.
    Stalled,
    /// A ring is full: clicks are only counted, or their visitors refused, as `edge.on_overload` says.
    Counting,
    /// A table of counts is full as well: clicks are lost, and their total is kept.
    Dropping,
}

impl Pressure {
    /// 0 to 5.
    #[must_use]
    pub const fn level(self) -> u8 {
        self as u8
    }

    /// What it means, in a sentence's half.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "clicks are stored as they come",
            Self::StoreAway => "the click store is away, clicks wait on disk",
            Self::Compacting => {
                "the click outbox nears its quota, details of old clicks are given up"
            }
            Self::Stalled => "no batch of clicks can be written, clicks wait in memory",
            Self::Counting => {
                "the click ring is full, clicks are only counted, or refused (edge.on_overload)"
            }
            Self::Dropping => "the click ring and its counts are full, clicks are dropped",
        }
    }

    pub(crate) fn of(metrics: &Metrics, outbox: &Outbox) -> Self {
        let worst = metrics.workers.iter().map(|worker| worker.pressure.get()).max();
        let reached = [
            (Self::Dropping, worst == Some(Self::Dropping as u64)),
            (Self::Counting, worst == Some(Self::Counting as u64)),
            (Self::Stalled, metrics.drain_stalled.get() > 0),
            (Self::Compacting, outbox.is_above_limit()),
            (Self::StoreAway, metrics.store_away.get() > 0),
        ];
        reached
            .into_iter()
            .find(|(_, is_reached)| *is_reached)
            .map_or(Self::None, |(level, _)| level)
    }
}
