//! The table `missing_code`.

use carom_shared::{Code, DomainId, UnixMillis, WorkspaceId};

use super::{CODES_MAX, LIFETIME, MissingCode};
use crate::db::{Db, StoreError, Tx, on_db, on_tx};

/// Rows of one insert: five values each, of the 32,766 that SQLite binds.
const ROWS_PER_INSERT: usize = 256;

/// Adds requests for codes of a domain, each code once, and keeps its list within its limits.
pub(crate) async fn missing_note(
    tx: &mut Tx,
    domain: DomainId,
    codes: &[(Code, u64)],
    now: UnixMillis,
) -> Result<(), StoreError> {
    for chunk in codes.chunks(ROWS_PER_INSERT) {
        on_tx!(tx, |conn| {
            let mut insert = sqlx::QueryBuilder::new(
                "insert into missing_code (domain_id, code, requests, first_seen_ms, last_seen_ms) ",
            );
            insert.push_values(chunk, |mut row, (code, n)| {
                row.push_bind(domain.get())
                    .push_bind(code.as_str())
                    .push_bind(i64::try_from(*n).unwrap_or(i64::MAX))
                    .push_bind(now.get())
                    .push_bind(now.get());
            });
            insert.push(
                " on conflict (domain_id, code) do update set \
                   requests = missing_code.requests + excluded.requests, \
                   last_seen_ms = excluded.last_seen_ms",
            );
            // Not kept: there would be a statement per number of codes.
            insert.build().persistent(false).execute(conn).await.map(|done| done.rows_affected())
        })?;
    }
    missing_trim(tx, domain, now).await
}

async fn missing_trim(tx: &mut Tx, domain: DomainId, now: UnixMillis) -> Result<(), StoreError> {
    const FORGET: &str = "delete from missing_code where domain_id = $1 and last_seen_ms < $2";
    let life_ms = i64::try_from(LIFETIME.as_millis()).unwrap_or(i64::MAX);
    let horizon = now.get().saturating_sub(life_ms);
    on_tx!(tx, |conn| {
        let query = sqlx::query(FORGET).bind(domain.get()).bind(horizon);
        query.execute(conn).await.map(|done| done.rows_affected())
    })?;
    const FIRST_TOO_MANY: &str = "select requests from missing_code where domain_id = $1 \
         order by requests desc limit 1 offset $2";
    let kept = i64::try_from(CODES_MAX).unwrap_or(i64::MAX);
    let cut: Option<i64> = on_tx!(tx, |conn| {
        sqlx::query_scalar(FIRST_TOO_MANY).bind(domain.get()).bind(kept).fetch_optional(conn).await
    })?;
    let Some(cut) = cut else { return Ok(()) };
    const TAKE_OFF: &str = "update missing_code set requests = requests - $2 where domain_id = $1";
    const LEAVE: &str = "delete from missing_code where domain_id = $1 and requests <= 0";
    on_tx!(tx, |conn| {
        let query = sqlx::query(TAKE_OFF).bind(domain.get()).bind(cut);
        query.execute(conn).await.map(|done| done.rows_affected())
    })?;
    on_tx!(tx, |conn| {
        let query = sqlx::query(LEAVE).bind(domain.get());
        query.execute(conn).await.map(|done| done.rows_affected())
    })?;
    Ok(())
}

/// Codes that do not exist on the domains that a workspace owns, or on one of them; most requests first.
/// Those of the installation's own are the first workspace's: another one would learn what readers of
/// a stranger's poster look for, and could make the link. A code that has become a link meanwhile is left
/// out, also once that is deleted.
pub(crate) async fn missing_list(
    db: &Db,
    workspace: WorkspaceId,
    domain: Option<DomainId>,
    limit: u32,
) -> Result<Vec<MissingCode>, StoreError> {
    const LIST: &str = "select d.host, m.code, m.requests, m.first_seen_ms, m.last_seen_ms \
         from missing_code m join domain d on d.id = m.domain_id \
         where (d.workspace_id = $1 or (d.workspace_id is null \
             and $1 = (select id from workspace order by created_at_ms, id limit 1))) \
           and ($2 = 0 or m.domain_id = $2) \
           and not exists (\
             select 1 from route r where r.domain_id = m.domain_id and r.code = m.code) \
         order by m.requests desc, m.code, m.domain_id limit $3";
    let rows: Vec<(String, String, i64, i64, i64)> = on_db!(db, |pool| {
        let query = sqlx::query_as(LIST).bind(workspace.get());
        let query = query.bind(domain.map_or(0, DomainId::get)).bind(i64::from(limit));
        query.fetch_all(pool).await
    })?;
    rows.into_iter()
        .map(|(host, code, requests, first_seen_ms, last_seen_ms)| {
            Ok(MissingCode {
                host,
                code,
                requests: u64::try_from(requests)
                    .map_err(|_| StoreError::Corrupt("missing code row"))?,
                first_seen: UnixMillis::new(first_seen_ms),
                last_seen: UnixMillis::new(last_seen_ms),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests;
