//! The table `audit`.

use carom_shared::{AccountId, ApiKeyId, AuditId, UnixMillis, WorkspaceId};

use super::Noted;
use super::list::{AuditFilter, AuditQuery};
use crate::db::{Db, StoreError, Tx, on_db, on_tx};

/// Rows of one insert: ten values each, of the 32,766 that SQLite binds.
const ROWS: usize = 64;
/// Entries removed by one [`audit_prune`], at most: the write lock is not held for long.
pub(crate) const PRUNED_MAX: u64 = 1024;
/// Bits of an id below its millisecond.
const COUNT_BITS: u32 = 21;
/// Ids have 42 bits for the millisecond.
const MILLIS_MAX: i64 = (1 << 42) - 1;

/// Writes entries, in the transaction of what they tell of.
///
/// Their ids rise from commit to commit, whatever the clock does, and within one in the order of what
/// was done: nobody who reads the log by them misses an entry. Only one transaction writes at a time, so
/// the greatest is known.
pub(crate) async fn audit_append(
    tx: &mut Tx,
    entries: &[Noted],
    now: UnixMillis,
) -> Result<(), StoreError> {
    const LAST: &str = "select cast(coalesce(max(id), 0) as bigint) from audit";
    if entries.is_empty() {
        return Ok(());
    }
    let last: i64 = on_tx!(tx, |conn| sqlx::query_scalar(LAST).fetch_one(conn).await)?;
    let mut first = (now.get().clamp(0, MILLIS_MAX) << COUNT_BITS).max(last + 1);
    for chunk in entries.chunks(ROWS) {
        chunk_insert(tx, chunk, first, now).await?;
        first += chunk.len() as i64;
    }
    Ok(())
}

async fn chunk_insert(
    tx: &mut Tx,
    entries: &[Noted],
    first: i64,
    now: UnixMillis,
) -> Result<(), StoreError> {
    const INSERT: &str = "insert into audit (id, workspace_id, at_ms, account_id, key_id, action, \
           object, address, request, detail) ";
    on_tx!(tx, |conn| {
        let mut insert = sqlx::QueryBuilder::new(INSERT);
        insert.push_values((first..).zip(entries), |mut row, (id, Noted { by, entry })| {
            row.push_bind(id)
                .push_bind(entry.workspace.map(WorkspaceId::get))
                .push_bind(now.get())
                .push_bind(by.account.map(AccountId::get))
                .push_bind(by.key.map(ApiKeyId::get))
                .push_bind(entry.action)
                .push_bind(entry.object.as_str())
                .push_bind(by.address.map(|address| address.to_string()).unwrap_or_default())
                .push_bind(by.request.as_str())
                .push_bind(entry.detail.to_string());
        });
        // Kept for what is frequent: one alone, and as many as fit.
        let is_kept = entries.len() == 1 || entries.len() == ROWS;
        insert.build().persistent(is_kept).execute(conn).await.map(|done| done.rows_affected())
    })?;
    Ok(())
}

/// An entry as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct AuditRow {
    pub(crate) id: i64,
    pub(crate) workspace_id: Option<i64>,
    pub(crate) at_ms: i64,
    pub(crate) account_id: Option<i64>,
    pub(crate) key_id: Option<i64>,
    pub(crate) action: String,
    pub(crate) object: String,
    pub(crate) address: String,
    pub(crate) request: String,
    pub(crate) detail: String,
}

/// Entries that a query asks for, newest first.
pub(crate) async fn audit_list(
    db: &Db,
    query: &AuditQuery,
    limit: u32,
) -> Result<Vec<AuditRow>, StoreError> {
    const LIST: &str = "select id, workspace_id, at_ms, account_id, key_id, action, object, \
         address, request, detail from audit where id < ";
    let AuditFilter { workspace, action, object, account, key, from, to } = &query.filter;
    let rows = on_db!(db, |pool| {
        let mut list = sqlx::QueryBuilder::new(LIST);
        list.push_bind(query.below.map_or(i64::MAX, AuditId::get));
        // No entry's id is less than its time: what is before that is not looked at.
        if let Some(from) = from {
            list.push(" and id >= ").push_bind(from.clamp(&0, &MILLIS_MAX) << COUNT_BITS);
        }
        for (column, number) in [
            (" and workspace_id = ", workspace.map(WorkspaceId::get)),
            (" and account_id = ", account.map(AccountId::get)),
            (" and key_id = ", key.map(ApiKeyId::get)),
            (" and at_ms >= ", *from),
            (" and at_ms < ", *to),
        ] {
            if let Some(number) = number {
                list.push(column).push_bind(number);
            }
        }
        for (column, text) in [(" and action = ", action), (" and object = ", object)] {
            if let Some(text) = text {
                list.push(column).push_bind(text.as_str());
            }
        }
        list.push(" order by id desc limit ").push_bind(i64::from(limit));
        list.build_query_as().fetch_all(pool).await
    })?;
    Ok(rows)
}

/// Removes the oldest entries that are from before `horizon`, at most [`PRUNED_MAX`]; says how many.
pub(crate) async fn audit_prune(tx: &mut Tx, horizon: UnixMillis) -> Result<u64, StoreError> {
    const PRUNE: &str = "delete from audit where id in (\
           select id from (select id, at_ms from audit order by id limit $1) oldest \
           where at_ms < $2)";
    let done = on_tx!(tx, |conn| {
        let query = sqlx::query(PRUNE).bind(PRUNED_MAX.cast_signed()).bind(horizon.get());
        query.execute(conn).await.map(|done| done.rows_affected())
    });
    Ok(done?)
}

#[cfg(test)]
mod tests;
