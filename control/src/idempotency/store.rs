//! The table `idempotency`.

use carom_shared::UnixMillis;

use super::{Answer, LIFETIME, OnceId};
use crate::db::{Db, StoreError, Tx, on_db, on_tx};

/// Old answers removed at a time, at most: the write lock is not held for long.
pub(crate) const PRUNED_MAX: u64 = 1024;

/// What is known of a request that says it may be a repetition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing: it is to be carried out.
    New,
    /// It was answered.
    Answered(Answer),
    /// The key was used for another request.
    Other,
}

#[derive(sqlx::FromRow)]
struct Row {
    fingerprint: Vec<u8>,
    status: i64,
    location: Option<String>,
    etag: Option<String>,
    body: Vec<u8>,
}

const FIND: &str = "select fingerprint, status, location, etag, body from idempotency \
     where workspace_id = $1 and route = $2 and key = $3 and created_at_ms > $4";

impl Known {
    fn new(row: Option<Row>, fingerprint: &[u8; 32]) -> Result<Self, StoreError> {
        let Some(Row { fingerprint: found, status, location, etag, body }) = row else {
            return Ok(Self::New);
        };
        if found != fingerprint {
            return Ok(Self::Other);
        }
        let status = u16::try_from(status);
        let status = status.map_err(|_| StoreError::Corrupt("idempotency row"))?;
        Ok(Self::Answered(Answer { status, location, etag, body }))
    }
}

/// Looks for an earlier answer; one whose life is over does not count.
pub(crate) async fn once_find(
    tx: &mut Tx,
    id: &OnceId,
    fingerprint: &[u8; 32],
    now: UnixMillis,
) -> Result<Known, StoreError> {
    let row = on_tx!(tx, |conn| {
        let query = sqlx::query_as(FIND).bind(id.workspace.get()).bind(id.route);
        query.bind(id.key.as_str()).bind(horizon(now)).fetch_optional(conn).await
    })?;
    Known::new(row, fingerprint)
}

/// As [`once_find`], for a request that will not write.
pub(crate) async fn once_read(
    db: &Db,
    id: &OnceId,
    fingerprint: &[u8; 32],
    now: UnixMillis,
) -> Result<Known, StoreError> {
    let row = on_db!(db, |pool| {
        let query = sqlx::query_as(FIND).bind(id.workspace.get()).bind(id.route);
        query.bind(id.key.as_str()).bind(horizon(now)).fetch_optional(pool).await
    })?;
    Known::new(row, fingerprint)
}

/// Stores an answer in the transaction of its effect; takes the place of one whose life is over.
pub(crate) async fn once_insert(
    tx: &mut Tx,
    id: &OnceId,
    fingerprint: &[u8; 32],
    answer: &Answer,
    now: UnixMillis,
) -> Result<(), StoreError> {
    const INSERT: &str = "insert into idempotency (workspace_id, route, key, fingerprint, status, \
           location, etag, body, created_at_ms) values ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
         on conflict (workspace_id, route, key) do update set fingerprint = excluded.fingerprint, \
           status = excluded.status, location = excluded.location, etag = excluded.etag, \
           body = excluded.body, created_at_ms = excluded.created_at_ms";
    on_tx!(tx, |conn| {
        let query = sqlx::query(INSERT)
            .bind(id.workspace.get())
            .bind(id.route)
            .bind(id.key.as_str())
            .bind(&fingerprint[..])
            .bind(i64::from(answer.status))
            .bind(answer.location.as_deref())
            .bind(answer.etag.as_deref())
            .bind(&answer.body[..])
            .bind(now.get());
        query.execute(conn).await.map(|done| done.rows_affected())
    })?;
    Ok(())
}

/// Removes answers whose life is over, at most [`PRUNED_MAX`]; says how many.
pub(crate) async fn once_prune(tx: &mut Tx, now: UnixMillis) -> Result<u64, StoreError> {
    const PRUNE: &str = "delete from idempotency where (workspace_id, route, key) in (\
           select workspace_id, route, key from idempotency where created_at_ms <= $1 limit $2)";
    let pruned = on_tx!(tx, |conn| {
        let query = sqlx::query(PRUNE).bind(horizon(now)).bind(PRUNED_MAX.cast_signed());
        query.execute(conn).await.map(|done| done.rows_affected())
    })?;
    Ok(pruned)
}

fn horizon(now: UnixMillis) -> i64 {
    now.get().saturating_sub(i64::try_from(LIFETIME.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::idempotency::command::IdempotencyKey;
    use crate::testing::{NOW, TestDb, on_each_database};
    use std::time::Duration;

    on_each_database!(an_answer_is_found_by_its_own_request_only, answers_end_after_a_day);

    fn id(test: &TestDb, route: &'static str, key: &str) -> OnceId {
        let key = IdempotencyKey::parse(key.as_bytes()).unwrap();
        OnceId { workspace: test.workspace, route, key }
    }

    fn answer(body: &str) -> Answer {
        Answer {
            status: 201,
            location: Some("/here".into()),
            etag: None,
            body: body.as_bytes().to_vec(),
        }
    }

    async fn an_answer_is_found_by_its_own_request_only(test: TestDb) {
        let mut tx = test.db.begin().await.unwrap();
        let this = id(&test, "POST /a", "k");
        assert_eq!(once_find(&mut tx, &this, &[1; 32], NOW).await.unwrap(), Known::New);
        once_insert(&mut tx, &this, &[1; 32], &answer("one"), NOW).await.unwrap();
        let found = once_find(&mut tx, &this, &[1; 32], NOW).await.unwrap();
        assert_eq!(found, Known::Answered(answer("one")));
        assert_eq!(once_find(&mut tx, &this, &[2; 32], NOW).await.unwrap(), Known::Other);
        for other in [id(&test, "POST /b", "k"), id(&test, "POST /a", "K")] {
            assert_eq!(once_find(&mut tx, &other, &[1; 32], NOW).await.unwrap(), Known::New);
        }
        tx.commit().await.unwrap();
        let read = once_read(&test.db.read, &this, &[1; 32], NOW).await.unwrap();
        assert_eq!(read, Known::Answered(answer("one")));
    }

    async fn answers_end_after_a_day(test: TestDb) {
        let mut tx = test.db.begin().await.unwrap();
        let (this, that) = (id(&test, "POST /a", "this"), id(&test, "POST /a", "that"));
        let at = |hours| NOW.saturating_add(Duration::from_hours(hours));
        once_insert(&mut tx, &this, &[1; 32], &answer("one"), NOW).await.unwrap();
        once_insert(&mut tx, &that, &[1; 32], &answer("two"), at(1)).await.unwrap();
        let known = once_find(&mut tx, &this, &[1; 32], at(23)).await.unwrap();
        assert_eq!(known, Known::Answered(answer("one")));
        // Also before it is removed, and its place can be taken.
        assert_eq!(once_find(&mut tx, &this, &[1; 32], at(24)).await.unwrap(), Known::New);
        assert_eq!(once_prune(&mut tx, at(24)).await.unwrap(), 1);
        once_insert(&mut tx, &that, &[2; 32], &answer("three"), at(25)).await.unwrap();
        assert_eq!(once_prune(&mut tx, at(26)).await.unwrap(), 0);
        let known = once_find(&mut tx, &that, &[2; 32], at(26)).await.unwrap();
        assert_eq!(known, Known::Answered(answer("three")));
        tx.commit().await.unwrap();
    }
}
