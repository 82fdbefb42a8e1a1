//! The tables `feed` and `change`.

use std::time::Duration;

use carom_shared::{Code, DomainId, FeedPage, FeedPosition, Random, RouteChange, UnixMillis};
use sqlx::postgres::PgConnection;

use super::NewChange;
use crate::db::{Db, StoreError, Tx, on_db, on_tx};
use crate::link::store::{RouteRow, route_columns};
use crate::publish::Change;

/// How long changes are kept: who was away longer asks for each route again.
const CHANGE_LIFE: Duration = Duration::from_hours(24);
/// Changes removed by one [`feed_prune`], at most: the write lock is not held for long.
pub(crate) const PRUNED_MAX: u64 = 1024;
const HEAD: &str = "select epoch, next_seq - 1 from feed where id = 1";
/// Rows of one insert: six values each, of the 32,766 that SQLite binds.
const ROWS_PER_INSERT: usize = 256;
/// Of an epoch that begins in a database that had one before.
const RANDOM_BITS: u32 = 21;

/// Starts the numbering in an empty database. Returns the last number given, 0 for none.
pub(crate) async fn feed_ensure(tx: &mut Tx, now: UnixMillis) -> Result<FeedPosition, StoreError> {
    const ENSURE: &str = "insert into feed (id, epoch, next_seq) values (1, $1, 1) \
         on conflict (id) do nothing";
    on_tx!(tx, |conn| sqlx::query(ENSURE)
        .bind(now.get().max(1))
        .execute(conn)
        .await
        .map(|done| done.rows_affected()))?;
    let (epoch, seq): (i64, i64) = on_tx!(tx, |conn| sqlx::query_as(HEAD).fetch_one(conn).await)?;
    Ok(FeedPosition { epoch: number(epoch)?, seq: number(seq)? })
}

/// Begins a new numbering, as if the database were new; whoever followed the old one asks again.
///
/// Its epoch was never used: keys in Redis are named after it, and edges tell numberings apart by
/// it. The same backup may be restored twice, even with a clock that was set back in between, so
/// the time alone is not enough: it is made as an id is, of 42 bits of milliseconds and 21 random
/// ones.
pub(crate) async fn feed_restart(
    tx: &mut Tx,
    now: UnixMillis,
    random: &dyn Random,
) -> Result<(), StoreError> {
    const RESTART: &str = "update feed set next_seq = 1, \
           epoch = case when epoch < $1 then $1 else epoch + $2 end where id = 1";
    let mut bytes = [0; 4];
    random.fill(&mut bytes);
    let drawn = i64::from(u32::from_le_bytes(bytes) >> (32 - RANDOM_BITS));
    on_tx!(tx, |conn| sqlx::query(RESTART)
        .bind((now.get().clamp(0, (1 << 42) - 1) << RANDOM_BITS) | drawn)
        .bind(drawn + 1)
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

/// The last change that has a number.
pub(crate) async fn feed_head(db: &Db) -> Result<FeedPosition, StoreError> {
    let (epoch, seq): (i64, i64) = on_db!(db, |pool| sqlx::query_as(HEAD).fetch_one(pool).await)?;
    Ok(FeedPosition { epoch: number(epoch)?, seq: number(seq)? })
}

/// The same on this connection.
pub(crate) async fn feed_head_of(
    connection: &mut PgConnection,
) -> Result<FeedPosition, StoreError> {
    let (epoch, seq): (i64, i64) = sqlx::query_as(HEAD).fetch_one(connection).await?;
    Ok(FeedPosition { epoch: number(epoch)?, seq: number(seq)? })
}

#[derive(sqlx::FromRow)]
struct ChangedRow {
    seq: i64,
    domain_id: i64,
    code: String,
    #[sqlx(flatten)]
    route: RouteRow,
}

/// The changes after a position, at most `limit` of them, as their routes are now. `None`: they are
/// not known any more, or the position is another database's; whoever asks has to look at each
/// route again.
pub(crate) async fn feed_page(
    db: &Db,
    after: FeedPosition,
    limit: usize,
) -> Result<Option<FeedPage>, StoreError> {
    const PAGE: &str = concat!(
        "select c.seq, c.domain_id, c.code, ",
        route_columns!(),
        " from change c join route r on r.domain_id = c.domain_id and r.code = c.code \
           left join link l on l.id = r.link_id \
         where c.epoch = $1 and c.seq > $2 order by c.seq limit $3"
    );
    let mut head = feed_head(db).await?;
    if after.epoch != head.epoch || after.seq > head.seq {
        return Ok(None);
    }
    let limit = i64::try_from(limit.min(FeedPage::CHANGES_MAX)).unwrap_or(i64::MAX);
    let rows: Vec<ChangedRow> = on_db!(db, |pool| {
        let page = sqlx::query_as(PAGE).bind(after.epoch.cast_signed());
        page.bind(after.seq.cast_signed()).bind(limit).fetch_all(pool).await
    })?;
    let mut changes = Vec::with_capacity(rows.len());
    for (expected, row) in (after.seq + 1..).zip(rows) {
        if number(row.seq)? != expected {
            return Ok(None);
        }
        changes.push(RouteChange {
            domain: DomainId::try_from(row.domain_id)
                .map_err(|_| StoreError::Corrupt("domain id"))?,
            code: Code::parse(&row.code).map_err(|_| StoreError::Corrupt("code"))?,
            record: row.route.try_into()?,
        });
    }
    // They were pruned.
    if changes.is_empty() && after.seq < head.seq {
        return Ok(None);
    }
    let first = if changes.is_empty() { 0 } else { after.seq + 1 };
    head.seq = head.seq.max(after.seq + changes.len() as u64);
    Ok(Some(FeedPage { head, first, changes }))
}

fn number(n: i64) -> Result<u64, StoreError> {
    u64::try_from(n).map_err(|_| StoreError::Corrupt("feed number"))
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
