//! The tables `feed` and `change`.

use std::time::Duration;

use carom_shared::UnixMillis;

use super::NewChange;
use crate::db::{StoreError, Tx, on_tx};
use crate::publish::Change;

/// How long changes are kept: who was away longer asks for each route again.
const CHANGE_LIFE: Duration = Duration::from_hours(24);
/// Changes removed by one [`feed_prune`], at most: the write lock is not held for long.
pub(crate) const PRUNED_MAX: u64 = 1024;
/// Rows of one insert: six values each, of the 32,766 that SQLite binds.
const ROWS_PER_INSERT: usize = 256;

/// Starts the numbering in an empty database. Returns the last number given, 0 for none.
pub(crate) async fn feed_ensure(tx: &mut Tx, now: UnixMillis) -> Result<u64, StoreError> {
    const ENSURE: &str = "insert into feed (id, epoch, next_seq) values (1, $1, 1) \
         on conflict (id) do nothing";
    on_tx!(tx, |conn| sqlx::query(ENSURE)
        .bind(now.get().max(1))
        .execute(conn)
        .await
        .map(|done| done.rows_affected()))?;
    const NEXT: &str = "select next_seq from feed where id = 1";
    let next: i64 = on_tx!(tx, |conn| sqlx::query_scalar(NEXT).fetch_one(conn).await)?;
    u64::try_from(next - 1).map_err(|_| StoreError::Corrupt("feed number"))
}

/// Begins a new numbering, as if the database were new; whoever followed the old one asks again.
pub(crate) async fn feed_restart(tx: &mut Tx, now: UnixMillis) -> Result<(), StoreError> {
    const RESTART: &str = "update feed set next_seq = 1, \
           epoch = case when epoch < $1 then $1 else epoch + 1 end where id = 1";
    on_tx!(tx, |conn| sqlx::query(RESTART)
        .bind(now.get())
        .execute(conn)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(())
}

/// Numbers changes and writes them down, in the transaction that made them.
pub(crate) async fn feed_append(
    tx: &mut Tx,
    changes: Vec<NewChange>,
    now: UnixMillis,
) -> Result<Vec<Change>, StoreError> {
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let count = i64::try_from(changes.len()).unwrap_or(i64::MAX);
    const NUMBER: &str = "update feed set next_seq = next_seq + $1 where id = 1 \
         returning epoch, next_seq";
    let (epoch, next): (i64, i64) =
        on_tx!(tx, |conn| sqlx::query_as(NUMBER).bind(count).fetch_one(conn).await)?;
    let number = |n: i64| u64::try_from(n).map_err(|_| StoreError::Corrupt("feed number"));
    let (epoch, first) = (number(epoch)?, number(next - count)?);
    let numbered: Vec<Change> = (first..)
        .zip(changes)
        .map(|(seq, NewChange { domain, code, record })| Change {
            epoch,
            seq,
            domain,
            code,
            record,
        })
        .collect();
    for chunk in numbered.chunks(ROWS_PER_INSERT) {
        on_tx!(tx, |conn| {
            let mut insert = sqlx::QueryBuilder::new(
                "insert into change (epoch, seq, domain_id, code, version, at_ms) ",
            );
            insert.push_values(chunk, |mut row, change| {
                row.push_bind(change.epoch.cast_signed())
                    .push_bind(change.seq.cast_signed())
                    .push_bind(change.domain.get())
                    .push_bind(change.code.as_str().to_owned())
                    .push_bind(change.record.version.cast_signed())
                    .push_bind(now.get());
            });
            // Not kept: there would be a statement per number of changes.
            insert.build().persistent(false).execute(conn).await.map(|done| done.rows_affected())
        })?;
    }
    Ok(numbered)
}

/// Removes the oldest changes that are older than a day, at most [`PRUNED_MAX`]; says how many.
pub(crate) async fn feed_prune(tx: &mut Tx, now: UnixMillis) -> Result<u64, StoreError> {
    const PRUNE: &str = "delete from change where (epoch, seq) in (\
           select epoch, seq from (\
             select epoch, seq, at_ms from change order by epoch, seq limit $1\
           ) oldest where at_ms < $2)";
    let life_ms = i64::try_from(CHANGE_LIFE.as_millis()).unwrap_or(i64::MAX);
    let horizon = now.get().saturating_sub(life_ms);
    let limit = PRUNED_MAX.cast_signed();
    let result = on_tx!(tx, |conn| {
        sqlx::query(PRUNE).bind(limit).bind(horizon).execute(conn).await.map(|r| r.rows_affected())
    });
    Ok(result?)
}

#[cfg(test)]
mod tests;
