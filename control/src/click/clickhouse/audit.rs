//! Compares the rollup with rows, and repairs it by the difference.
//!
//! A view's rows may be missing, or be there twice, after a server was killed between a table and its
//! view, or after a batch was taken out and put in again. Rows are what is right: they are counted with
//! each batch. For each quarter hour that is over since a while, and of which rows are kept, both sums
//! are compared (rows' by the projection: milliseconds); where they differ, each link's difference
//! is added. Sketches of visitors are added again, which changes nothing in those that had them; those of
//! clicks that were taken out stay.
//!
//! An insert that comes between reading and adding makes the repair wrong by that insert; the next round
//! finds that. Clicks come within seconds of their time, or long after it, so it is rare.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use carom_shared::UnixMillis;
use carom_shared::clickhouse::{Statement, WRITE_SETTINGS};

use super::ClickStore;
use super::sql::{list, time};
use crate::click::report::QUARTER_S;
use crate::db::StoreError;

/// A quarter hour is looked at once it is over for so long.
const SETTLED: Duration = Duration::from_mins(10);
/// Quarter hours of a round that are repaired, at most; the others come in the next one.
const REPAIRS_MAX: u32 = 96;

/// Of this process: the names of repairs differ.
static REPAIRS: AtomicU64 = AtomicU64::new(0);

impl ClickStore {
    /// Compares and repairs. Returns by how many clicks the rollup was off.
    pub(crate) async fn audit(&self, now: UnixMillis) -> Result<u64, StoreError> {
        let settled = i64::try_from(SETTLED.as_secs()).unwrap_or_default();
        let until =
            u32::try_from(now.as_secs() - settled).unwrap_or_default() / QUARTER_S * QUARTER_S;
        let since =
            self.detail_since_s().await?.unwrap_or_default().div_ceil(QUARTER_S) * QUARTER_S;
        let span = format!("quarter >= {} AND quarter < {}", time(since), time(until));
        let sql = format!(
            "SELECT toUnixTimestamp(quarter), sum(d) AS off FROM (\
             SELECT toStartOfFifteenMinutes(at) AS quarter, toInt64(sum(click.n)) AS d \
             FROM click GROUP BY quarter HAVING {span} \
             UNION ALL SELECT quarter, -sum(click_quarter.n) AS d \
             FROM click_quarter WHERE {span} GROUP BY quarter) \
             GROUP BY quarter HAVING off != 0 ORDER BY quarter LIMIT {REPAIRS_MAX} \
             FORMAT JSONCompactEachRow"
        );
        let off: Vec<(u32, i64)> = self.rows(&sql).await?;
        for (quarter, clicks) in &off {
            tracing::warn!(
                quarter,
                clicks,
                "the rollup of clicks lacks some of a quarter hour: repaired"
            );
            self.repair(*quarter, now).await?;
        }
        Ok(off.iter().map(|(_, clicks)| clicks.unsigned_abs()).sum())
    }

    async fn repair(&self, quarter: u32, now: UnixMillis) -> Result<(), StoreError> {
        let (from, to) = (time(quarter), time(quarter.saturating_add(QUARTER_S)));
        let keys = "workspace, link, quarter, kind";
        let sums = list(["sum(d) AS m", "sum(e) AS i", "max(l) AS last"]);
        let sql = format!(
            "INSERT INTO click_quarter (workspace, link, quarter, kind, n, imported, last_at, visitors) \
             SELECT {keys}, m, i, last, v FROM (SELECT {keys}, {sums}, \
               uniqCombined64MergeState(12)(s) AS v FROM (\
             SELECT workspace, link, {from} AS quarter, kind, toInt64(sum(click.n)) AS d, \
               toInt64(sumIf(click.n, click.imported != 0)) AS e, max(at) AS l, \
               uniqCombined64StateIf(12)(visitor, kind = 0 AND visitor != 0) AS s \
             FROM click WHERE at >= {from} AND at < {to} GROUP BY workspace, link, kind \
             UNION ALL SELECT workspace, link, quarter, kind, -sum(click_quarter.n) AS d, \
               -sum(click_quarter.imported) AS e, max(last_at) AS l, \
               uniqCombined64MergeState(12)(visitors) AS s \
             FROM click_quarter WHERE quarter = {from} GROUP BY {keys}) \
             GROUP BY {keys}) WHERE m != 0 OR i != 0"
        );
        // A difference may be one that was added before, and is no repetition of it.
        let number = REPAIRS.fetch_add(1, Ordering::Relaxed);
        let name = format!("repair-{quarter}-{}-{number}", now.get());
        let more: &[(&str, &str)] = &[("insert_deduplication_token", &name)];
        let repair = Statement { more, ..Statement::new(&sql, WRITE_SETTINGS) };
        self.0.client.run(repair).await?;
        Ok(())
    }
}
