//! [`LossReporter`]: says what the spool could not keep, so that statistics show it.
//!
//! What is lost is in the spool's totals, which outlive the process. Each minute it is noted in which quarter
//! of an hour they grew, and told; what is told again changes nothing, so what nobody answered is told again.
//! A killed process forgets the quarters that it could not tell: their losses count to a later one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use carom_shared::internal::{LOSS_QUARTER_S, LOSS_QUARTERS_MAX, LossReport, LossTotals};
use carom_shared::{Clock, UnixMillis};

use super::ClickSink;
use crate::spool::losses::{Loss, Losses};

const EVERY: Duration = Duration::from_secs(60);

/// Reports the losses of one spool.
pub(crate) struct LossReporter {
    spool: u64,
    losses: Arc<Losses>,
    sink: Arc<dyn ClickSink>,
    clock: Arc<dyn Clock>,
    quarters: Quarters,
}

/// Totals that were not told yet, oldest first.
#[derive(Debug, Default)]
struct Quarters {
    untold: VecDeque<LossTotals>,
    last: LossTotals,
}

impl Quarters {
    /// Notes totals as they are now, if they grew.
    fn note(&mut self, now: UnixMillis, totals: LossTotals) {
        let now_s = u32::try_from(now.as_secs()).unwrap_or_default();
        let is_same = LossTotals { at_s: 0, ..totals } == LossTotals { at_s: 0, ..self.last };
        if is_same {
            return;
        }
        let totals = LossTotals { at_s: now_s / LOSS_QUARTER_S * LOSS_QUARTER_S, ..totals };
        self.last = totals;
        match self.untold.back_mut() {
            Some(last) if last.at_s == totals.at_s => *last = totals,
            _ => self.untold.push_back(totals),
        }
        // What the oldest had is in the next one, too.
        if self.untold.len() > LOSS_QUARTERS_MAX {
            self.untold.pop_front();
        }
    }
}

impl LossReporter {
    pub(crate) fn new(
        spool: u64,
        losses: Arc<Losses>,
        sink: Arc<dyn ClickSink>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { spool, losses, sink, clock, quarters: Quarters::default() }
    }

    /// Reports for ever.
    pub(crate) async fn run(mut self) {
        loop {
            self.report().await;
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Once.
    pub(crate) async fn report(&mut self) {
        let of = |loss| self.losses.get(loss);
        // Torn records had no answer: nobody was redirected, and nothing is missing.
        let totals = LossTotals {
            at_s: 0,
            counted: of(Loss::Counted),
            compacted: of(Loss::Compacted),
            dropped: of(Loss::Dropped),
            power: of(Loss::Power),
            damaged: of(Loss::Damaged),
        };
        self.quarters.note(self.clock.now(), totals);
        if self.quarters.untold.is_empty() {
            return;
        }
        let quarters = self.quarters.untold.iter().copied().collect();
        let report = LossReport { spool: format!("{:016x}", self.spool), quarters };
        match self.sink.report_losses(report).await {
            Ok(()) => self.quarters.untold.clear(),
            Err(error) => tracing::warn!(%error, "lost clicks are not reported yet"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_noted_by_quarters_in_which_they_grew() {
        let mut quarters = Quarters::default();
        let dropped = |dropped| LossTotals { dropped, ..LossTotals::default() };
        let at = |s: i64| UnixMillis::new(s * 1000);
        for (s, total) in [(0, 0), (1000, 0), (1000, 2), (1799, 3), (1800, 3), (4000, 4)] {
            quarters.note(at(s), dropped(total));
        }
        let noted: Vec<_> = quarters.untold.iter().map(|of| (of.at_s, of.dropped)).collect();
        assert_eq!(noted, [(900, 3), (3600, 4)]);
        for n in 0..200 {
            quarters.note(at(10_000 + n * 900), dropped(n.unsigned_abs() + 5));
        }
        assert_eq!(quarters.untold.len(), LOSS_QUARTERS_MAX);
        assert_eq!(quarters.untold.back().unwrap().dropped, 204);
        let report = LossReport { spool: format!("{:016x}", 7), quarters: quarters.untold.into() };
        assert!(report.is_possible());
    }
}
