//! The table `api_key`.

use carom_shared::{ApiKeyId, Random, UnixMillis, WorkspaceId};

use super::KeyRow;
use crate::db::{Db, StoreError, Tx, on_db, on_tx};

/// How often an id is drawn before giving up.
const ID_DRAWS_MAX: usize = 8;
/// Keys of a list, at most: far above what an installation's people can keep apart.
const LIST_MAX: i64 = 1000;

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    workspace_id: i64,
    name: String,
    hint: String,
    created_at_ms: i64,
    revoked_at_ms: Option<i64>,
}

impl TryFrom<Row> for KeyRow {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let id = |_| StoreError::Corrupt("key row");
        Ok(Self {
            id: ApiKeyId::try_from(row.id).map_err(id)?,
            workspace: WorkspaceId::try_from(row.workspace_id).map_err(id)?,
            name: row.name,
            hint: row.hint,
            created_at: UnixMillis::new(row.created_at_ms),
            revoked_at: row.revoked_at_ms.map(UnixMillis::new),
        })
    }
}

/// What a new key is made of.
#[derive(Clone, Debug)]
pub(crate) struct NewKey {
    pub(crate) workspace: WorkspaceId,
    pub(crate) name: String,
    pub(crate) hash: [u8; 32],
    pub(crate) hint: String,
}

pub(crate) async fn key_create(
    tx: &mut Tx,
    key: NewKey,
    now: UnixMillis,
    random: &dyn Random,
) -> Result<KeyRow, StoreError> {
    const INSERT: &str = "insert into api_key (id, workspace_id, name, hash, hint, created_at_ms) \
         values ($1, $2, $3, $4, $5, $6) on conflict (id) do nothing";
    for _ in 0..ID_DRAWS_MAX {
        let id = ApiKeyId::generate(now, random);
        let result = on_tx!(tx, |conn| {
            let query = sqlx::query(INSERT)
                .bind(id.get())
                .bind(key.workspace.get())
                .bind(key.name.as_str())
                .bind(key.hash.as_slice())
                .bind(key.hint.as_str())
                .bind(now.get());
            query.execute(conn).await.map(|result| result.rows_affected())
        });
        if result? == 1 {
            let NewKey { workspace, name, hint, .. } = key;
            return Ok(KeyRow { id, workspace, name, hint, created_at: now, revoked_at: None });
        }
    }
    Err(StoreError::Exhausted(ID_DRAWS_MAX, "ids"))
}

/// Whose key this is; `None` if there is none or it was revoked.
pub(crate) async fn key_find(
    db: &Db,
    hash: &[u8; 32],
) -> Result<Option<(ApiKeyId, WorkspaceId)>, StoreError> {
    const FIND: &str =
        "select id, workspace_id from api_key where hash = $1 and revoked_at_ms is null";
    let row: Option<(i64, i64)> = on_db!(db, |pool| {
        sqlx::query_as(FIND).bind(hash.as_slice()).fetch_optional(pool).await
    })?;
    let Some((id, workspace)) = row else { return Ok(None) };
    let corrupt = |_| StoreError::Corrupt("key row");
    Ok(Some((
        ApiKeyId::try_from(id).map_err(corrupt)?,
        WorkspaceId::try_from(workspace).map_err(corrupt)?,
    )))
}

/// Whether a key is there and was not revoked.
pub(crate) async fn key_is_active(db: &Db, id: ApiKeyId) -> Result<bool, StoreError> {
    const FIND: &str = "select id from api_key where id = $1 and revoked_at_ms is null";
    let found: Option<i64> =
        on_db!(db, |pool| sqlx::query_scalar(FIND).bind(id.get()).fetch_optional(pool).await)?;
    Ok(found.is_some())
}

/// Every key, newest first, revoked ones too; at most 1,000.
pub(crate) async fn key_list(db: &Db) -> Result<Vec<KeyRow>, StoreError> {
    const LIST: &str = "select id, workspace_id, name, hint, created_at_ms, revoked_at_ms \
         from api_key order by created_at_ms desc, id desc limit $1";
    let rows: Vec<Row> =
        on_db!(db, |pool| sqlx::query_as(LIST).bind(LIST_MAX).fetch_all(pool).await)?;
    rows.into_iter().map(KeyRow::try_from).collect()
}

/// Revokes a key for good; a second time changes nothing. `None` if there is no such key.
pub(crate) async fn key_revoke(
    tx: &mut Tx,
    id: ApiKeyId,
    now: UnixMillis,
) -> Result<Option<KeyRow>, StoreError> {
    const REVOKE: &str = "update api_key set revoked_at_ms = coalesce(revoked_at_ms, $2) \
         where id = $1 \
         returning id, workspace_id, name, hint, created_at_ms, revoked_at_ms";
    let row: Option<Row> = on_tx!(tx, |conn| {
        sqlx::query_as(REVOKE).bind(id.get()).bind(now.get()).fetch_optional(conn).await
    })?;
    row.map(KeyRow::try_from).transpose()
}

#[cfg(test)]
mod tests;
