//! The table `workspace`.

use carom_shared::{Random, UnixMillis, WorkspaceId};

use crate::db::{StoreError, Tx, on_tx};

/// The name of the workspace that a new installation begins with.
const FIRST_NAME: &str = "default";

/// The oldest workspace; makes it in an empty database. The caller's lock keeps two from doing so.
pub(crate) async fn workspace_ensure_first(
    tx: &mut Tx,
    now: UnixMillis,
    random: &dyn Random,
) -> Result<WorkspaceId, StoreError> {
    const FIRST: &str = "select id from workspace order by created_at_ms, id limit 1";
    let found: Option<i64> =
        on_tx!(tx, |conn| sqlx::query_scalar(FIRST).fetch_optional(conn).await)?;
    if let Some(id) = found {
        return WorkspaceId::try_from(id).map_err(|_| StoreError::Corrupt("workspace id"));
    }
    let id = WorkspaceId::generate(now, random);
    const INSERT: &str = "insert into workspace (id, name, created_at_ms) values ($1, $2, $3)";
    on_tx!(tx, |conn| {
        sqlx::query(INSERT)
            .bind(id.get())
            .bind(FIRST_NAME)
            .bind(now.get())
            .execute(conn)
            .await
            .map(|done| done.rows_affected())
    })?;
    Ok(id)
}
