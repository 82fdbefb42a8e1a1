//! Looks after the store of clicks: deletes rows of clicks once they are older than
//! `clicks.retention_days`, and keeps the rollups. Of several control planes one does
//! ([`super::leader`]).
//!
//! What remains of older clicks: totals and series of clicks, bots and visitors, of a link and of a
//! workspace, without filters, in buckets of an hour or longer. What is missing: breakdowns, filters,
//! minutes, raw clicks; an answer's `detail_since` says from when on those are whole. What becomes
//! approximate: a range that begins within a quarter hour counts all of it, and visitors are
//! estimated where there were more than 512 in a quarter hour.

use std::sync::Arc;
use std::time::Duration;

use carom_shared::Clock;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::ClickStore;
use super::leader::Leads;
use super::sqlite::kept_since;
use crate::db::StoreError;
use crate::metrics::Metrics;

/// How often it is looked whether a day has passed.
const ROUND_INTERVAL: Duration = Duration::from_hours(1);
/// Between two steps: batches are stored there.
const STEP_PAUSE: Duration = Duration::from_millis(20);

/// What keeps the store in bounds.
pub(crate) struct RetentionTask {
    pub(crate) clicks: ClickStore,
    pub(crate) clock: Arc<dyn Clock>,
    /// 0: nothing is too old.
    pub(crate) days: u32,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) leads: Leads,
}

impl RetentionTask {
    /// Ends cut-off erasures, compares sums with rows, then deletes what is too old, day by day; makes
    /// breakdowns of times that are over beside it; until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let (blocks, clock) = (self.clicks.clone(), Arc::clone(&self.clock));
        let work = async {
            let mut done_until = None;
            loop {
                if !self.leads.now() {
                    // What an earlier audit found is another one's to tell now.
                    self.metrics.clicks_audit_diff.set(0);
                    self.leads.wait().await;
                }
                if let Err(error) = self.round(&mut done_until).await {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "old clicks were not deleted: trying again in an hour"
                    );
                }
                sleep(ROUND_INTERVAL).await;
            }
        };
        let blocks = blocks.make_blocks(clock);
        tokio::select! {
            () = work => {}
            () = blocks => {}
            () = stop.cancelled() => {}
        }
    }

    async fn round(&self, done_until: &mut Option<i64>) -> Result<(), StoreError> {
        self.clicks.erasures_resume().await?;
        if !self.leads.now() {
            return Ok(());
        }
        let off = self.clicks.audit(self.clock.now()).await?;
        self.metrics.clicks_audit_diff.set(off);
        if self.days == 0 {
            return Ok(());
        }
        let since_s = kept_since(self.days, self.clock.now());
        if *done_until == Some(since_s) {
            return Ok(());
        }
        let mut place = 0;
        while let Some(next) = self.clicks.retention_step(since_s, place).await? {
            if !self.leads.now() {
                return Ok(());
            }
            place = next;
            sleep(STEP_PAUSE).await;
        }
        *done_until = Some(since_s);
        Ok(())
    }
}
