//! Clicks in ClickHouse: rows, a rollup by link and quarter hour, a ledger of batches.
//!
//! The schema is in `migrations/clicks_clickhouse`, the way of a batch into it in
//! [`carom_shared::clickhouse`]. Answers are those of SQLite, for which one suite of tests runs over
//! both. Where they differ:
//!
//! - Each statement sees the clicks of its own moment: totals and series are of one statement, a
//!   breakdown may know a batch more.
//! - Visitors are exact up to some thousands of a range, then within 0.4 % from rows and 1.6 % from the
//!   rollup (`uniqCombined64`, of 17 and 12 bits).
//! - Rollups are a view's and may be off after a server was killed, until the [`audit`] has compared
//!   them with rows.
//!
//! Several control planes may share a database: nothing here is remembered between calls but the
//! last stamp of a change.

mod audit;
mod erase;
mod facts;
mod first;
mod http;
mod import;
mod link_total;
mod moving;
mod open;
mod page;
mod report;
mod schema;
mod ship;
mod sql;

use std::sync::Arc;

use carom_shared::batch::{Batch, Token};
use carom_shared::click::Kind;
use carom_shared::clickhouse::{SETTINGS, Statement, WRITE_SETTINGS};
use carom_shared::{LinkId, UnixMillis, WorkspaceId};
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use super::{Stored, Summary, TopLink};
use crate::db::StoreError;
pub(crate) use carom_shared::clickhouse::{ClickHouseAt, ClickHouseError};
pub use facts::{ClickHouseContent, ClickHouseFacts};
pub(crate) use http::ClickHouseServer;
use http::Client;
pub(crate) use moving::{Cut, Reader, is_there};

/// The store of clicks on a server.
#[derive(Clone, Debug)]
pub(crate) struct ClickStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: Client,
    /// Where its tables are replicated; empty: they are not.
    cluster: String,
    /// When a change was noted last, in milliseconds since 1970: later ones get later times.
    stamp: Mutex<i64>,
    /// One file of clicks is imported at a time: two could both find that a click is missing.
    importing: Mutex<()>,
}

impl ClickStore {
    /// Stores a batch under its token, once.
    pub(crate) async fn store(
        &self,
        token: &Token,
        batch: &Batch,
        now: UnixMillis,
    ) -> Result<Stored, StoreError> {
        self.ship(token.as_str(), batch, now, false).await
    }

    /// Totals of everything.
    pub(crate) async fn summary(&self) -> Result<Summary, StoreError> {
        const ALL: &str = "SELECT kind, greatest(sum(click_quarter.n), 0), toUnixTimestamp(max(last_at)) \
             FROM click_quarter GROUP BY kind HAVING sum(click_quarter.n) > 0 FORMAT JSONCompactEachRow";
        let rows: Vec<(u8, u64, i64)> = self.rows(ALL).await?;
        let mut summary = Summary::default();
        for (kind, n, last_at_s) in rows {
            let kind = Kind::from_u8(kind).ok_or(StoreError::Corrupt("kind of click"))?;
            summary.totals.add(kind, n);
            if kind == Kind::Human {
                summary.last_click_at = Some(UnixMillis::new(last_at_s * 1000));
            }
        }
        Ok(summary)
    }

    /// The links with the most clicks by people, most first.
    pub(crate) async fn top(&self, limit: u32) -> Result<Vec<TopLink>, StoreError> {
        let sql = format!(
            "SELECT workspace, link, greatest(sumIf(click_quarter.n, kind = 0), 0) AS clicks, \
               greatest(sumIf(click_quarter.n, kind = 1), 0) AS bots, \
               toUnixTimestamp(maxIf(last_at, kind = 0)) \
             FROM click_quarter GROUP BY workspace, link HAVING sum(click_quarter.n) > 0 \
             ORDER BY clicks DESC, bots DESC, workspace, link LIMIT {limit} \
             FORMAT JSONCompactEachRow"
        );
        let rows: Vec<(i64, i64, u64, u64, i64)> = self.rows(&sql).await?;
        let corrupt = |_| StoreError::Corrupt("click rollup");
        rows.into_iter()
            .map(|(workspace, link, clicks, bots, last_at_s)| {
                Ok(TopLink {
                    workspace: WorkspaceId::try_from(workspace).map_err(corrupt)?,
                    link: LinkId::try_from(link).map_err(corrupt)?,
                    clicks,
                    bots,
                    last_click_at: (last_at_s > 0).then(|| UnixMillis::new(last_at_s * 1000)),
                })
            })
            .collect()
    }

    /// Nothing is open that would have to be written back.
    pub(crate) const fn close(&self) {}

    /// Reads rows that are asked for `FORMAT JSONCompactEachRow`.
    async fn rows<T: DeserializeOwned>(&self, sql: &str) -> Result<Vec<T>, ClickHouseError> {
        self.0.client.rows(Statement::new(sql, SETTINGS)).await
    }

    /// Carries out a statement that changes something and can be repeated.
    async fn write(&self, sql: &str) -> Result<(), ClickHouseError> {
        self.0.client.run(Statement::new(sql, WRITE_SETTINGS)).await.map(drop)
    }

    /// Inserts rows of numbers of 64 bits.
    async fn insert_numbers(&self, table: &str, numbers: &[i64]) -> Result<(), ClickHouseError> {
        let sql = format!("INSERT INTO {table} FORMAT RowBinary");
        let data: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let statement =
            Statement { data: Some((data, None)), ..Statement::new(&sql, WRITE_SETTINGS) };
        self.0.client.run(statement).await.map(drop)
    }

    /// From when on there are rows; `None` if none were deleted for their age.
    async fn detail_since_s(&self) -> Result<Option<u32>, ClickHouseError> {
        const SINCE: &str = "SELECT max(detail_since_s) FROM retention FORMAT JSONCompactEachRow";
        let since: Vec<(i64,)> = self.rows(SINCE).await?;
        let since = since.into_iter().next().map(|(since,)| since).filter(|since| *since > 0);
        Ok(since.and_then(|since| u32::try_from(since).ok()))
    }
}

#[cfg(feature = "clickhouse-tests")]
#[cfg(test)]
pub(crate) mod tests;
