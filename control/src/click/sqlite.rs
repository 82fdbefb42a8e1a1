//! Clicks in SQLite: rows, rollup and ledger of batches, in their own file.
//!
//! A batch is stored in one transaction with its token: it is there whole, once, or not at all. Its
//! own file, because it has a writer of its own: a checkpoint of clicks does not hold up a create.

mod block;
mod copy;
mod erase;
mod first;
mod import;
mod insert;
mod link_total;
mod moving;
mod page;
mod part;
mod report;
mod rollup;
mod rows;
mod write;

use std::path::Path;
use std::time::Duration;

pub(crate) use carom_shared::batch::is_forgotten;
use carom_shared::batch::{Batch, LEDGER_LIFE, Token};
use carom_shared::click::Kind;
use carom_shared::{LinkId, UnixMillis, WorkspaceId};
use sqlx::{Sqlite, Transaction};

use super::{Stored, Summary, TopLink, Totals};
use crate::db::{DbOpenError, Schema, SqliteFile, StoreError, schema};
pub(crate) use erase::{PartPlace, kept_since};
use link_total::add_totals;
pub(crate) use report::ReportError;
use write::insert_clicks;

pub(crate) const SCHEMA: Schema = schema!("clicks_sqlite":
    1 "0001_batch",
    2 "0002_name",
    3 "0003_click",
    4 "0004_click_quarter",
    5 "0005_click_link",
    6 "0006_erasure",
    7 "0007_imported",
    8 "0008_part",
    9 "0009_moving",
    10 "0010_block",
    11 "0011_heads",
);

/// Ledger rows stay longer than they are needed, so that a clock which was a little ahead when it
/// pruned them does no harm.
const LEDGER_MARGIN: Duration = Duration::from_hours(48);
/// Ledger rows removed with each batch, at most: more than one, so pruning keeps up.
const PRUNED_MAX: i64 = 16;
/// Bits of `seq` that number the rows within a batch: a batch has at most 2¹⁸ rows.
const ROW_BITS: u32 = 18;
/// The store of clicks.
#[derive(Clone, Debug)]
pub(crate) struct ClickStore {
    file: SqliteFile,
}

impl ClickStore {
    pub(crate) async fn open(path: &Path) -> Result<Self, DbOpenError> {
        Ok(Self { file: SqliteFile::open(path, SCHEMA).await? })
    }

    pub(crate) async fn close(&self) {
        self.file.close().await;
    }

    /// Stores a batch under its token, once.
    pub(crate) async fn store(
        &self,
        token: &Token,
        batch: &Batch,
        now: UnixMillis,
    ) -> Result<Stored, StoreError> {
        let mut tx = self.file.write.begin_with("begin immediate").await?;
        let Some(ordinal) = ledger_insert(&mut tx, token, batch, now).await? else {
            tx.rollback().await?;
            return Ok(Stored::Duplicate);
        };
        // Asked after the ledger: a batch that is known to be stored is a duplicate at any age.
        if is_forgotten(batch.made_at(), now) {
            tx.rollback().await?;
            return Ok(Stored::TooOld);
        }
        let quarters = insert_clicks(&mut tx, ordinal, batch, now).await?;
        add_totals(&mut tx, ordinal, &quarters).await?;
        ledger_prune(&mut tx, now).await?;
        tx.commit().await?;
        Ok(Stored::New { rows: batch.len(), clicks: batch.header().clicks })
    }

    /// Totals of everything.
    pub(crate) async fn summary(&self) -> Result<Summary, StoreError> {
        const ALL: &str = "select kind, cast(sum(n) as integer), max(last_at_s) \
             from workspace_quarter group by kind";
        let rows: Vec<(i64, i64, i64)> = sqlx::query_as(ALL).fetch_all(&self.file.read).await?;
        let mut totals = Totals::default();
        let mut last_click_at = None;
        for (kind, n, last_at_s) in rows {
            let kind = u8::try_from(kind).ok().and_then(Kind::from_u8);
            let kind = kind.ok_or(StoreError::Corrupt("kind of click"))?;
            totals.add(kind, count(n)?);
            if kind == Kind::Human {
                last_click_at = Some(UnixMillis::new(last_at_s * 1000));
            }
        }
        Ok(Summary { totals, last_click_at })
    }

    /// The links with the most clicks by people, most first.
    pub(crate) async fn top(&self, limit: u32) -> Result<Vec<TopLink>, StoreError> {
        const TOP: &str = "select workspace, link, \
               cast(sum(case when kind = 0 then n else 0 end) as integer) as clicks, \
               cast(sum(case when kind = 1 then n else 0 end) as integer) as bots, \
               max(case when kind = 0 then last_at_s end) as last_at_s \
             from click_quarter group by workspace, link \
             order by clicks desc, bots desc, workspace, link limit ?";
        let rows: Vec<(i64, i64, i64, i64, Option<i64>)> =
            sqlx::query_as(TOP).bind(i64::from(limit)).fetch_all(&self.file.read).await?;
        let corrupt = |_| StoreError::Corrupt("click rollup");
        rows.into_iter()
            .map(|(workspace, link, clicks, bots, last_at_s)| {
                Ok(TopLink {
                    workspace: WorkspaceId::try_from(workspace).map_err(corrupt)?,
                    link: LinkId::try_from(link).map_err(corrupt)?,
                    clicks: count(clicks)?,
                    bots: count(bots)?,
                    last_click_at: last_at_s.map(|s| UnixMillis::new(s * 1000)),
                })
            })
            .collect()
    }
}

fn count(n: i64) -> Result<u64, StoreError> {
    u64::try_from(n).map_err(|_| StoreError::Corrupt("number of clicks"))
}

fn before(now: UnixMillis, life: Duration) -> UnixMillis {
    UnixMillis::new(now.get().saturating_sub(i64::try_from(life.as_millis()).unwrap_or(i64::MAX)))
}

/// The number of a new batch; `None` if its token is in the ledger.
async fn ledger_insert(
    tx: &mut Transaction<'static, Sqlite>,
    token: &Token,
    batch: &Batch,
    now: UnixMillis,
) -> Result<Option<i64>, StoreError> {
    const INSERT: &str = "insert into batch (token, rows, clicks, made_at_ms, stored_at_ms) \
         values (?, ?, ?, ?, ?) on conflict (token) do nothing returning id";
    let rows = i64::try_from(batch.len()).unwrap_or(i64::MAX);
    let clicks = i64::try_from(batch.header().clicks).unwrap_or(i64::MAX);
    let query = sqlx::query_scalar(INSERT).bind(token.as_str()).bind(rows).bind(clicks);
    let query = query.bind(batch.made_at().get()).bind(now.get());
    Ok(query.fetch_optional(&mut **tx).await?)
}

/// By the time at which batches were made, which is what makes one too old.
async fn ledger_prune(
    tx: &mut Transaction<'static, Sqlite>,
    now: UnixMillis,
) -> Result<(), StoreError> {
    const PRUNE: &str = "delete from batch where id in \
         (select id from batch where made_at_ms < ? order by made_at_ms limit ?)";
    let horizon = before(now, LEDGER_LIFE + LEDGER_MARGIN);
    sqlx::query(PRUNE).bind(horizon.get()).bind(PRUNED_MAX).execute(&mut **tx).await?;
    Ok(())
}

#[cfg(test)]
pub(in crate::click) mod tests;
