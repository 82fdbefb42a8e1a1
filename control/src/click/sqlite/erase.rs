//! Deletes clicks: those that are too old, and those of a link or of a workspace.
//!
//! Each step is a short transaction, between which batches are stored.
//!
//! An erasure first takes a number of the ledger: clicks numbered below it are meant, clicks that
//! come later are not. In the same transaction they leave the rollups, blocks and the link's totals, and the
//! erasure is written down; then their rows are deleted in chunks. What a stop cuts off, the next
//! start goes on with. Sketches cannot forget: over a workspace, the visitors of the quarter hours
//! keep counting an erased link's. A sketch names nobody.

use carom_shared::{LinkId, UnixMillis, WorkspaceId};
use sqlx::{Sqlite, Transaction};

use super::block::{blocks_delete_old, blocks_erased, blocks_forget_link};
use super::{ClickStore, ROW_BITS};
use crate::click::report::QUARTER_S;
use crate::db::StoreError;

/// Rows deleted in one transaction, at most.
const ROWS_PER_STEP: i64 = 5000;
/// Parts looked at in one transaction, at most: one that begins before the last second to delete is
/// looked through, some milliseconds.
const PARTS_PER_STEP: usize = 20;
const DAY_S: i64 = 24 * 3600;

/// A place in a walk over all parts; 0 is the first.
pub(crate) type PartPlace = i64;

impl ClickStore {
    /// Erases the clicks that a link has so far. Returns how many rows were deleted.
    pub(crate) async fn erase_link(
        &self,
        workspace: WorkspaceId,
        link: LinkId,
        now: UnixMillis,
    ) -> Result<u64, StoreError> {
        let (workspace, link) = (workspace.get(), link.get());
        let mut tx = self.file.write.begin_with("begin immediate").await?;
        let below_seq = erasure_begin(&mut tx, workspace, link, now).await?;
        blocks_forget_link(&mut tx, workspace, link).await?;
        leave_rollups(&mut tx, workspace, link, below_seq >> ROW_BITS).await?;
        tx.commit().await?;
        self.erasure_end(workspace, link, below_seq).await
    }

    /// Erases all clicks of a workspace, link by link. Returns how many rows were deleted.
    pub(crate) async fn erase_workspace(
        &self,
        workspace: WorkspaceId,
        now: UnixMillis,
    ) -> Result<u64, StoreError> {
        const NEXT: &str = "select min((select min(r.link) from click_quarter r \
             where r.part = p.first_quarter and r.workspace = ? and r.link > ?)) from part p";
        const REST: &str = "delete from workspace_quarter where workspace = ?";
        let mut rows = 0;
        let mut last = 0;
        loop {
            let next: Option<i64> = sqlx::query_scalar(NEXT)
                .bind(workspace.get())
                .bind(last)
                .fetch_one(&self.file.read)
                .await?;
            let Some(link) = next else { break };
            let id = LinkId::try_from(link).map_err(|_| StoreError::Corrupt("link of a click"))?;
            rows += self.erase_link(workspace, id, now).await?;
            last = link;
        }
        sqlx::query(REST).bind(workspace.get()).execute(&self.file.write).await?;
        Ok(rows)
    }

    /// Goes on with erasures that a stop cut off.
    pub(crate) async fn erasures_resume(&self) -> Result<(), StoreError> {
        const ALL: &str = "select workspace, link, below_seq from erasure";
        let all: Vec<(i64, i64, i64)> = sqlx::query_as(ALL).fetch_all(&self.file.read).await?;
        for (workspace, link, below_seq) in all {
            self.erasure_end(workspace, link, below_seq).await?;
        }
        Ok(())
    }

    async fn erasure_end(
        &self,
        workspace: i64,
        link: i64,
        below_seq: i64,
    ) -> Result<u64, StoreError> {
        const ROWS: &str = "delete from click where (part, workspace, link, at_s, seq) in (\
             select c.part, c.workspace, c.link, c.at_s, c.seq from part p cross join click c \
             where c.part = p.first_quarter and c.workspace = ? and c.link = ? and c.seq < ? \
             limit ?)";
        const DONE: &str = "delete from erasure where workspace = ? and link = ? and below_seq = ?";
        let mut rows = 0;
        loop {
            let delete = sqlx::query(ROWS).bind(workspace).bind(link).bind(below_seq);
            let deleted = delete.bind(ROWS_PER_STEP).execute(&self.file.write).await?;
            rows += deleted.rows_affected();
            if deleted.rows_affected() < ROWS_PER_STEP.cast_unsigned() {
                break;
            }
        }
        let mut tx = self.file.write.begin_with("begin immediate").await?;
        let done = sqlx::query(DONE).bind(workspace).bind(link).bind(below_seq);
        done.execute(&mut *tx).await?;
        blocks_erased(&mut tx).await?;
        tx.commit().await?;
        Ok(rows)
    }

    /// Deletes some rows older than `since_s`, of parts from a place on; as soon as there is one, it
    /// writes down from when on there are details. Returns where to go on; `None` at the end.
    pub(crate) async fn retention_step(
        &self,
        since_s: i64,
        from: PartPlace,
    ) -> Result<Option<PartPlace>, StoreError> {
        const NEXT: &str = "select min(first_quarter) from part \
             where first_quarter >= ? and first_quarter * 900 < ?";
        const ROWS: &str = "delete from click where (part, workspace, link, at_s, seq) in (\
             select part, workspace, link, at_s, seq from click \
             where part = ? and at_s < ? limit ?)";
        const SINCE: &str = "insert into retention (one, detail_since_s) values (1, ?) \
             on conflict (one) do update \
             set detail_since_s = max(detail_since_s, excluded.detail_since_s)";
        let mut tx = self.file.write.begin_with("begin immediate").await?;
        let (mut place, mut left) = (from, ROWS_PER_STEP);
        let mut is_end = false;
        for _ in 0..PARTS_PER_STEP {
            let next = sqlx::query_scalar(NEXT).bind(place).bind(since_s);
            let next: Option<i64> = next.fetch_one(&mut *tx).await?;
            let Some(part) = next else {
                is_end = true;
                break;
            };
            let delete = sqlx::query(ROWS).bind(part).bind(since_s).bind(left);
            left -= delete.execute(&mut *tx).await?.rows_affected().cast_signed();
            place = part;
            if left == 0 {
                break;
            }
            place += 1;
        }
        if left < ROWS_PER_STEP {
            sqlx::query(SINCE).bind(since_s).execute(&mut *tx).await?;
        }
        let quarter = since_s.div_euclid(i64::from(QUARTER_S));
        let blocks = blocks_delete_old(&mut tx, quarter, ROWS_PER_STEP).await?;
        is_end &= blocks < ROWS_PER_STEP.cast_unsigned();
        tx.commit().await?;
        Ok((!is_end).then_some(place))
    }
}

/// The second from which on clicks are kept: midnight (UTC), some days ago.
pub(crate) fn kept_since(days: u32, now: UnixMillis) -> i64 {
    (now.as_secs() / DAY_S - i64::from(days)).max(0) * DAY_S
}

/// Takes a number for an erasure and writes it down.
async fn erasure_begin(
    tx: &mut Transaction<'static, Sqlite>,
    workspace: i64,
    link: i64,
    now: UnixMillis,
) -> Result<i64, StoreError> {
    const FORGET: &str = "delete from batch where token = ?";
    const NUMBER: &str = "insert into batch (token, rows, clicks, made_at_ms, stored_at_ms) \
         values (?, 0, 0, ?, ?) returning id";
    const ERASURE: &str = "insert into erasure (workspace, link, below_seq) values (?, ?, ?) \
         on conflict (workspace, link) do update set below_seq = excluded.below_seq";
    // No batch's token has a blank in it.
    let token = format!("erase {workspace} {link}");
    sqlx::query(FORGET).bind(&token).execute(&mut **tx).await?;
    let number = sqlx::query_scalar(NUMBER).bind(&token).bind(now.get()).bind(now.get());
    let number: i64 = number.fetch_one(&mut **tx).await?;
    let below_seq = number << ROW_BITS;
    let query = sqlx::query(ERASURE).bind(workspace).bind(link).bind(below_seq);
    query.execute(&mut **tx).await?;
    Ok(below_seq)
}

/// Takes a link's clicks out of both rollups and out of the totals that lists sort by; `number`
/// tells whoever follows those that they changed.
async fn leave_rollups(
    tx: &mut Transaction<'static, Sqlite>,
    workspace: i64,
    link: i64,
    number: i64,
) -> Result<(), StoreError> {
    const SUBTRACT: &str = "update workspace_quarter set n = workspace_quarter.n - q.n \
         from (select r.quarter, r.kind, r.n from part p cross join click_quarter r \
           where r.part = p.first_quarter and r.workspace = ?1 and r.link = ?2) q \
         where workspace_quarter.workspace = ?1 \
         and workspace_quarter.quarter = q.quarter and workspace_quarter.kind = q.kind";
    const EMPTY: &str = "delete from workspace_quarter where workspace = ?1 and n = 0 \
         and quarter in (select r.quarter from part p cross join click_quarter r \
           where r.part = p.first_quarter and r.workspace = ?1 and r.link = ?2)";
    const LINK: &str = "delete from click_quarter \
         where part in (select first_quarter from part) and workspace = ? and link = ?";
    const TOTALS: &str = "update click_link set clicks = 0, bots = 0, last_at_s = 0, batch = ? \
         where workspace = ? and link = ?";
    for sql in [SUBTRACT, EMPTY, LINK] {
        sqlx::query(sql).bind(workspace).bind(link).execute(&mut **tx).await?;
    }
    sqlx::query(TOTALS).bind(number).bind(workspace).bind(link).execute(&mut **tx).await?;
    Ok(())
}

#[cfg(test)]
mod tests;
