//! Looks after the store of clicks: deletes rows of clicks once they are older than
//! `clicks.retention_days`, and keeps the rollups; and erases those of deleted workspaces. Of several
//! control planes one does ([`super::leader`]).
//!
//! What remains of older clicks: totals and series of clicks, bots and visitors, of a link and of a
//! workspace, without filters, in buckets of an hour or longer. What is missing: breakdowns, filters,
//! minutes, raw clicks; an answer's `detail_since` says from when on those are whole. What becomes
//! approximate: a range that begins within a quarter hour counts all of it, and visitors are
//! estimated where there were more than 512 in a quarter hour.

use std::sync::Arc;
use std::time::Duration;

use carom_shared::{Clock, UnixMillis};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::ClickStore;
use super::leader::Leads;
use super::sqlite::kept_since;
use crate::db::{Db, StoreError};
use crate::metrics::Metrics;
use crate::workspace::store::workspaces_deleted;

/// How often it is looked whether a day has passed.
const ROUND_INTERVAL: Duration = Duration::from_hours(1);
/// Between two steps: batches are stored there.
const STEP_PAUSE: Duration = Duration::from_millis(20);
/// How long clicks of a deleted workspace may still come: an edge's batch is refused after 90 days.
const LATE_MAX: Duration = Duration::from_hours(24 * 92);

/// What keeps the store in bounds.
pub(crate) struct RetentionTask {
    /// Where workspaces are.
    pub(crate) links: Db,
    pub(crate) clicks: ClickStore,
    pub(crate) clock: Arc<dyn Clock>,
    /// 0: nothing is too old.
    pub(crate) days: u32,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) leads: Leads,
}

impl RetentionTask {
    /// Ends cut-off erasures, compares sums with rows, then deletes what is too old, day by day, and what
    /// deleted workspaces had; makes breakdowns of times that are over beside it; until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let (blocks, clock) = (self.clicks.clone(), Arc::clone(&self.clock));
        let work = async {
            let (mut done_until, mut erased_until) = (None, UnixMillis::new(i64::MIN));
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
                if let Err(error) = self.erase_deleted(&mut erased_until).await {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "clicks of deleted workspaces were not erased: trying again in an hour"
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

    /// Erases what deleted workspaces have: of all of them at first, then of those of which clicks may still
    /// come. Where there is nothing it costs a look.
    async fn erase_deleted(&self, since: &mut UnixMillis) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut after = None;
        loop {
            let ids = workspaces_deleted(&self.links, *since, after).await?;
            let Some(last) = ids.last() else { break };
            after = Some(*last);
            for id in ids {
                if !self.leads.now() {
                    return Ok(());
                }
                let rows = self.clicks.erase_workspace(id, now).await?;
                if rows > 0 {
                    tracing::info!(workspace.id = %id, rows, "clicks of a deleted workspace are erased");
                }
            }
        }
        let late_ms = i64::try_from(LATE_MAX.as_millis()).unwrap_or(i64::MAX);
        *since = UnixMillis::new(now.get().saturating_sub(late_ms));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use carom_shared::click::Kind;
    use carom_shared::{Click, TestClock, WorkspaceId};

    use super::*;
    use crate::click::sqlite::tests::{NOW_S, batch, click};
    use crate::click::testing::TestStore;
    use crate::config::DatabaseAt;
    use crate::testing::{NOW, TestDb, on_each_database};
    use crate::workspace::store::{workspace_end, workspace_insert};

    on_each_database!(clicks_of_deleted_workspaces_go_also_those_that_come_late);

    async fn store(test: &TestStore, number: u32, workspaces: &[WorkspaceId]) {
        let of = |workspace| Click { workspace, ..click(1, Kind::Human, NOW_S, 1, "") };
        let clicks: Vec<_> = workspaces.iter().copied().map(of).collect();
        let (token, batch) = batch(number, NOW, &clicks);
        test.store.store(&token, &batch, NOW).await.unwrap();
    }

    async fn clicks(test: &TestStore) -> u64 {
        test.store.summary().await.unwrap().totals.clicks
    }

    async fn clicks_of_deleted_workspaces_go_also_those_that_come_late(test: TestDb) {
        for clicks_of in TestStore::each().await {
            let kind = clicks_of.kind;
            let mut tx = test.db.begin().await.unwrap();
            let id = workspace_insert(&mut tx, kind, NOW, &test.random).await.unwrap();
            tx.commit().await.unwrap();
            let clock = Arc::new(TestClock::new(NOW));
            let sqlite = DatabaseAt::Sqlite("links.db".into());
            let task = RetentionTask {
                links: test.db.read.clone(),
                clicks: clicks_of.store.clone(),
                clock: Arc::<TestClock>::clone(&clock),
                days: 0,
                metrics: Arc::default(),
                leads: Leads::new(&sqlite, None).0,
            };
            let mut since = UnixMillis::new(i64::MIN);
            store(&clicks_of, 1, &[id, test.workspace, id]).await;
            task.erase_deleted(&mut since).await.unwrap();
            assert_eq!(clicks(&clicks_of).await, 3, "{kind}: nothing is deleted");

            let mut tx = test.db.begin().await.unwrap();
            workspace_end(&mut tx, id, NOW).await.unwrap();
            tx.commit().await.unwrap();
            task.erase_deleted(&mut since).await.unwrap();
            assert_eq!(clicks(&clicks_of).await, 1, "{kind}");
            // As of an edge that could not reach it until then.
            clock.advance(LATE_MAX - Duration::from_hours(1));
            store(&clicks_of, 2, &[id]).await;
            task.erase_deleted(&mut since).await.unwrap();
            assert_eq!(clicks(&clicks_of).await, 1, "{kind}: late");
            clicks_of.remove().await;
        }
    }
}
