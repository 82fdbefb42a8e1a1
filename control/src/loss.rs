//! Clicks that edges could not keep, so that a gap in statistics is shown as one.
//!
//! What gives under pressure is settled in `docs/decisions/0009`: detail first, then the link, never silently.
//! A spool counts all of it, as totals that only grow, and says them with the quarter of an hour they are of
//! ([`LossReport`]). Here the highest of each quarter is kept, in the database of links: clicks are lost
//! because their own store is away. What was lost in a range is the difference of two totals. Whose clicks they
//! were is not known of all, so it is said of the installation.

pub(crate) mod store;

use carom_shared::UnixMillis;
use carom_shared::internal::{LOSS_QUARTER_S, LossReport};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::click::report::time::Span;
use crate::db::StoreError;
use crate::write::{Act, Writing};
use store::{losses_between, losses_note};

/// Seconds by which an edge's clock may be ahead.
const AHEAD_S: u32 = 600;

/// What was lost in a range, of all clicks of the installation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Losses)]
pub(crate) struct Lost {
    /// Clicks that are counted nowhere.
    pub(crate) clicks: u64,
    /// Clicks that are counted, and of which nothing else is known.
    pub(crate) without_detail: u64,
}

/// Keeps what an edge says.
struct NoteLosses(LossReport);

impl Act for NoteLosses {
    type Done = ();

    async fn act(self, writing: &mut Writing<'_>) -> Result<(), StoreError> {
        losses_note(writing.tx, &self.0).await
    }
}

impl App {
    /// Keeps what an edge could not keep; may come again.
    ///
    /// # Errors
    /// A sentence for the log.
    pub async fn note_losses(&self, mut report: LossReport) -> Result<(), String> {
        if !report.is_possible() {
            return Err("a report of lost clicks is none that an edge makes".to_owned());
        }
        let latest = latest_quarter(self.now());
        report.quarters.iter_mut().for_each(|of| of.at_s = of.at_s.min(latest));
        let noted = self.act(NoteLosses(report)).await;
        noted.map_err(|error| format!("lost clicks are not noted: {error}"))
    }

    /// What was lost in a time, to whole quarters of an hour; `None`: nothing.
    pub(crate) async fn lost(&self, span: Span) -> Result<Option<Lost>, StoreError> {
        let lost = losses_between(self.read(), span).await?;
        Ok(Some(lost).filter(|lost| *lost != Lost::default()))
    }
}

/// Nothing is lost later than this.
fn latest_quarter(now: UnixMillis) -> u32 {
    let now_s = u32::try_from(now.as_secs()).unwrap_or(u32::MAX);
    now_s.saturating_add(AHEAD_S) / LOSS_QUARTER_S * LOSS_QUARTER_S
}
