//! Deletes clicks: those that are too old, and those of a link or of a workspace.
//!
//! An erasure is written down, then rows and rollup are deleted, then it is written down that they are.
//! What a stop cuts off, the next start goes on with. Clicks that come while it runs may go or stay.

use std::time::Duration;

use carom_shared::clickhouse::CLOSED;
use carom_shared::{LinkId, UnixMillis, WorkspaceId};

use super::ClickStore;
use super::sql::{literal, time};
use crate::db::StoreError;

/// How far an edge's clock may be ahead: an erasure that goes on later leaves what came after it.
const AHEAD: Duration = Duration::from_mins(10);
/// Later than any batch is made.
const CLOSED_AT_MS: i64 = i64::MAX / 2;
/// The ledger knows batches made so long ago, and some longer: it goes by whole months.
const LEDGER_LIFE: Duration = Duration::from_hours(92 * 24);

impl ClickStore {
    /// Erases the clicks that a link has so far. Returns how many rows were deleted.
    pub(crate) async fn erase_link(
        &self,
        workspace: WorkspaceId,
        link: LinkId,
        now: UnixMillis,
    ) -> Result<u64, StoreError> {
        self.erase([workspace.get(), link.get()], now, None).await
    }

    /// Erases all clicks of a workspace. Returns how many rows were deleted. Where there are none it writes
    /// nothing: a mutation goes through all parts.
    pub(crate) async fn erase_workspace(
        &self,
        workspace: WorkspaceId,
        now: UnixMillis,
    ) -> Result<u64, StoreError> {
        let any = format!(
            "SELECT (SELECT count() FROM click WHERE workspace = {workspace}) \
             + (SELECT count() FROM click_quarter WHERE workspace = {workspace}) \
             FORMAT JSONCompactEachRow"
        );
        let any: Vec<(u64,)> = self.rows(&any).await?;
        if any.first().is_none_or(|(any,)| *any == 0) {
            return Ok(0);
        }
        self.erase([workspace.get(), 0], now, None).await
    }

    /// Goes on with erasures that a stop cut off.
    pub(crate) async fn erasures_resume(&self) -> Result<(), StoreError> {
        const OPEN: &str = "SELECT workspace, link, at_ms FROM erasure \
             GROUP BY workspace, link, at_ms HAVING max(is_done) = 0 FORMAT JSONCompactEachRow";
        let open: Vec<(i64, i64, i64)> = self.rows(OPEN).await?;
        for (workspace, link, at_ms) in open {
            let at = UnixMillis::new(at_ms);
            self.erase([workspace, link], at, Some(at.saturating_add(AHEAD))).await?;
        }
        Ok(())
    }

    /// Of a link, or with link 0 of a workspace; `until` bounds what an erasure that goes on takes.
    async fn erase(
        &self,
        [workspace, link]: [i64; 2],
        at: UnixMillis,
        until: Option<UnixMillis>,
    ) -> Result<u64, StoreError> {
        let which = match link {
            0 => format!("workspace = {workspace}"),
            link => format!("workspace = {workspace} AND link = {link}"),
        };
        let until = until.map(|until| u32::try_from(until.as_secs()).unwrap_or(u32::MAX));
        let until = |column: &str| match until {
            Some(until) => format!(" AND {column} <= {}", time(until)),
            None => String::new(),
        };
        if until("at").is_empty() {
            self.note_erasure([workspace, link], at, 0).await?;
        }
        let count = format!("SELECT count() FROM click WHERE {which} FORMAT JSONCompactEachRow");
        let rows: Vec<(u64,)> = self.rows(&count).await?;
        let links = format!(
            "SELECT DISTINCT workspace, link FROM click_quarter WHERE {which} FORMAT JSONCompactEachRow"
        );
        let mut links: Vec<[i64; 2]> = self.rows(&links).await?;
        if links.is_empty() && link != 0 {
            links.push([workspace, link]);
        }
        self.write(&format!("ALTER TABLE click DELETE WHERE {which}{}", until("at"))).await?;
        let quarters = until("quarter");
        self.write(&format!("ALTER TABLE click_quarter DELETE WHERE {which}{quarters}")).await?;
        self.note_changes(links, at).await?;
        self.note_erasure([workspace, link], at, 1).await?;
        Ok(rows.first().map_or(0, |(rows,)| *rows))
    }

    async fn note_erasure(
        &self,
        [workspace, link]: [i64; 2],
        at: UnixMillis,
        is_done: u8,
    ) -> Result<(), StoreError> {
        let sql = format!(
            "INSERT INTO erasure (workspace, link, at_ms, is_done) \
             VALUES ({workspace}, {link}, {}, {is_done})",
            at.get()
        );
        Ok(self.write(&sql).await?)
    }

    /// Closes it to edges that store clicks themselves, at this time, or opens it.
    pub(super) async fn set_closed(&self, at_ms: Option<i64>) -> Result<(), StoreError> {
        let [workspace, link] = CLOSED;
        let which = format!("workspace = {workspace} AND link = {link}");
        let count = format!("SELECT count() FROM erasure WHERE {which} FORMAT JSONCompactEachRow");
        let found: Vec<(u64,)> = self.rows(&count).await?;
        let is_now = found.first().is_some_and(|(rows,)| *rows > 0);
        let sql = match (is_now, at_ms) {
            (true, None) => format!("ALTER TABLE erasure DELETE WHERE {which}"),
            // Nothing is left to do. A line of its own each time: a server takes the same one again for a
            // repetition, also after it was deleted (26.9 does, whatever `insert_deduplicate` says).
            (false, Some(at_ms)) => format!(
                "INSERT INTO erasure (workspace, link, at_ms, is_done) \
                 VALUES ({workspace}, {link}, {}, 1)",
                CLOSED_AT_MS.saturating_add(at_ms)
            ),
            _ => return Ok(()),
        };
        Ok(self.write(&sql).await?)
    }

    /// Deletes rows older than `since_s`: months that are wholly older as what they are, the rest
    /// by one mutation. Writes down from when on there are details.
    pub(crate) async fn retention(&self, since_s: i64) -> Result<(), StoreError> {
        let Ok(since) = u32::try_from(since_s) else { return Ok(()) };
        let old = format!("at < {}", time(since));
        let count = format!("SELECT count() > 0 FROM click WHERE {old} FORMAT JSONCompactEachRow");
        let found: Vec<(u8,)> = self.rows(&count).await?;
        if found.first().is_none_or(|(found,)| *found == 0) {
            return Ok(());
        }
        self.insert_numbers("retention", &[since_s]).await?;
        let months = format!("_partition_id < toString(toYYYYMM({}))", time(since));
        self.drop_partitions("click", &months).await?;
        self.write(&format!("ALTER TABLE click DELETE WHERE {old}")).await?;
        let ledger_s = since_s.min(since_s - i64::try_from(LEDGER_LIFE.as_secs()).unwrap_or(0));
        let Ok(ledger) = u32::try_from(ledger_s) else { return Ok(()) };
        let months = format!("_partition_id < toString(toYYYYMM({}))", time(ledger));
        for table in ["batch", "click_change"] {
            self.drop_partitions(table, &months).await?;
        }
        Ok(())
    }

    async fn drop_partitions(&self, table: &str, which: &str) -> Result<(), StoreError> {
        let sql = format!(
            "SELECT DISTINCT _partition_id FROM {table} WHERE {which} FORMAT JSONCompactEachRow"
        );
        let partitions: Vec<(String,)> = self.rows(&sql).await?;
        for (id,) in partitions {
            self.write(&format!("ALTER TABLE {table} DROP PARTITION ID {}", literal(&id))).await?;
        }
        Ok(())
    }
}
