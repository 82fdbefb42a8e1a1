//! The table `workspace`.

use carom_shared::{AccountId, Random, UnixMillis, WorkspaceId};

use super::{Membership, Workspace};
use crate::access::Role;
use crate::db::{Db, StoreError, Tx, on_db, on_tx};

/// The name of the workspace that a new installation begins with.
const FIRST_NAME: &str = "default";
/// How often an id is drawn before giving up.
const ID_DRAWS_MAX: usize = 8;
/// Workspaces of a list, at most.
const LIST_MAX: i64 = 1000;

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    name: String,
    created_at_ms: i64,
    disabled_at_ms: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct MembershipRow {
    #[sqlx(flatten)]
    workspace: Row,
    role: i64,
}

macro_rules! columns {
    () => {
        "workspace.id, workspace.name, workspace.created_at_ms, workspace.disabled_at_ms"
    };
}

impl TryFrom<Row> for Workspace {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: id(row.id)?,
            name: row.name,
            created_at: UnixMillis::new(row.created_at_ms),
            disabled_at: row.disabled_at_ms.map(UnixMillis::new),
        })
    }
}

fn id(number: i64) -> Result<WorkspaceId, StoreError> {
    WorkspaceId::try_from(number).map_err(|_| StoreError::Corrupt("workspace id"))
}

/// The oldest workspace; makes it in an empty database. The caller's lock keeps two from doing so.
pub(crate) async fn workspace_ensure_first(
    tx: &mut Tx,
    now: UnixMillis,
    random: &dyn Random,
) -> Result<WorkspaceId, StoreError> {
    const FIRST: &str = "select id from workspace order by created_at_ms, id limit 1";
    let found: Option<i64> =
        on_tx!(tx, |conn| sqlx::query_scalar(FIRST).fetch_optional(conn).await)?;
    match found {
        Some(found) => id(found),
        None => workspace_insert(tx, FIRST_NAME, now, random).await,
    }
}

/// Makes a workspace without members.
pub(crate) async fn workspace_insert(
    tx: &mut Tx,
    name: &str,
    now: UnixMillis,
    random: &dyn Random,
) -> Result<WorkspaceId, StoreError> {
    const INSERT: &str = "insert into workspace (id, name, created_at_ms) values ($1, $2, $3) \
         on conflict (id) do nothing";
    for _ in 0..ID_DRAWS_MAX {
        let id = WorkspaceId::generate(now, random);
        let written = on_tx!(tx, |conn| {
            let query = sqlx::query(INSERT).bind(id.get()).bind(name).bind(now.get());
            query.execute(conn).await.map(|done| done.rows_affected())
        });
        if written? == 1 {
            return Ok(id);
        }
    }
    Err(StoreError::Exhausted(ID_DRAWS_MAX, "ids"))
}

/// The workspaces of an account, in the order in which it came into them; at most 1,000.
pub(crate) async fn workspace_list_of(
    db: &Db,
    account: AccountId,
) -> Result<Vec<Membership>, StoreError> {
    const LIST: &str = concat!(
        "select ",
        columns!(),
        ", member.role from member join workspace on workspace.id = member.workspace_id \
         where member.account_id = $1 and workspace.deleted_at_ms is null \
         order by member.created_at_ms, workspace.id limit $2"
    );
    let rows: Vec<MembershipRow> = on_db!(db, |pool| {
        sqlx::query_as(LIST).bind(account.get()).bind(LIST_MAX).fetch_all(pool).await
    })?;
    let read = |row: MembershipRow| {
        let role = Role::from_number(row.role).ok_or(StoreError::Corrupt("member role"))?;
        Ok(Membership { workspace: row.workspace.try_into()?, role })
    };
    rows.into_iter().map(read).collect()
}

/// All workspaces that are not deleted, oldest first; at most 1,000.
pub(crate) async fn workspace_list(db: &Db) -> Result<Vec<Workspace>, StoreError> {
    const LIST: &str = concat!(
        "select ",
        columns!(),
        " from workspace where deleted_at_ms is null order by created_at_ms, id limit $1"
    );
    let rows: Vec<Row> =
        on_db!(db, |pool| sqlx::query_as(LIST).bind(LIST_MAX).fetch_all(pool).await)?;
    rows.into_iter().map(Workspace::try_from).collect()
}

/// A workspace as it is in this transaction.
pub(crate) async fn workspace_now(
    tx: &mut Tx,
    id: WorkspaceId,
) -> Result<Option<Workspace>, StoreError> {
    const READ: &str =
        concat!("select ", columns!(), " from workspace where id = $1 and deleted_at_ms is null");
    let row: Option<Row> =
        on_tx!(tx, |conn| sqlx::query_as(READ).bind(id.get()).fetch_optional(conn).await)?;
    row.map(Workspace::try_from).transpose()
}

/// Writes the name, and since when it is disabled.
pub(crate) async fn workspace_update(tx: &mut Tx, workspace: &Workspace) -> Result<(), StoreError> {
    const UPDATE: &str = "update workspace set name = $2, disabled_at_ms = $3 where id = $1";
    on_tx!(tx, |conn| {
        let query = sqlx::query(UPDATE).bind(workspace.id.get()).bind(workspace.name.as_str());
        let query = query.bind(workspace.disabled_at.map(UnixMillis::get));
        query.execute(conn).await.map(|done| done.rows_affected())
    })?;
    Ok(())
}

/// Whether it has a link that is not deleted.
pub(crate) async fn workspace_has_links(tx: &mut Tx, id: WorkspaceId) -> Result<bool, StoreError> {
    const FIND: &str =
        "select id from link where workspace_id = $1 and deleted_at_ms is null limit 1";
    let found: Option<i64> =
        on_tx!(tx, |conn| sqlx::query_scalar(FIND).bind(id.get()).fetch_optional(conn).await)?;
    Ok(found.is_some())
}

/// Whether it has a domain of its own.
pub(crate) async fn workspace_has_domains(
    tx: &mut Tx,
    id: WorkspaceId,
) -> Result<bool, StoreError> {
    const FIND: &str = "select id from domain where workspace_id = $1 and state <> 2 limit 1";
    let found: Option<i64> =
        on_tx!(tx, |conn| sqlx::query_scalar(FIND).bind(id.get()).fetch_optional(conn).await)?;
    Ok(found.is_some())
}

/// Ends a workspace: its members, keys and invitations, and it is disabled until it is swept.
pub(crate) async fn workspace_end(
    tx: &mut Tx,
    id: WorkspaceId,
    now: UnixMillis,
) -> Result<(), StoreError> {
    for end in [
        "update workspace set deleted_at_ms = $2, disabled_at_ms = $2 where id = $1",
        "update api_key set revoked_at_ms = $2 where workspace_id = $1 and revoked_at_ms is null",
        "update invitation set withdrawn_at_ms = $2 where workspace_id = $1 \
           and accepted_at_ms is null and withdrawn_at_ms is null",
        "delete from member where workspace_id = $1 and $2 > 0",
    ] {
        on_tx!(tx, |conn| {
            let query = sqlx::query(end).bind(id.get()).bind(now.get());
            query.execute(conn).await.map(|done| done.rows_affected())
        })?;
    }
    Ok(())
}

/// Which workspaces are not served.
pub(crate) async fn workspace_disabled(db: &Db) -> Result<Vec<WorkspaceId>, StoreError> {
    const LIST: &str = "select id from workspace where disabled_at_ms is not null order by id";
    let ids: Vec<i64> = on_db!(db, |pool| sqlx::query_scalar(LIST).fetch_all(pool).await)?;
    ids.into_iter().map(id).collect()
}

/// A workspace that was deleted and may still have links.
pub(crate) async fn workspace_unswept(db: &Db) -> Result<Option<WorkspaceId>, StoreError> {
    const FIND: &str = "select id from workspace where deleted_at_ms is not null \
         and disabled_at_ms is not null order by id limit 1";
    let found: Option<i64> =
        on_db!(db, |pool| sqlx::query_scalar(FIND).fetch_optional(pool).await)?;
    found.map(id).transpose()
}

/// Workspaces that were deleted at this time or later, after one of them; some at a time.
pub(crate) async fn workspaces_deleted(
    db: &Db,
    since: UnixMillis,
    after: Option<WorkspaceId>,
) -> Result<Vec<WorkspaceId>, StoreError> {
    const LIST: &str =
        "select id from workspace where deleted_at_ms >= $1 and id > $2 order by id limit $3";
    let after = after.map_or(0, WorkspaceId::get);
    let ids: Vec<i64> = on_db!(db, |pool| {
        let query = sqlx::query_scalar(LIST).bind(since.get()).bind(after);
        query.bind(LIST_MAX).fetch_all(pool).await
    })?;
    ids.into_iter().map(id).collect()
}

/// Notes that a deleted workspace has no link any more: its tombstones answer for it.
pub(crate) async fn workspace_swept(tx: &mut Tx, id: WorkspaceId) -> Result<(), StoreError> {
    const UPDATE: &str =
        "update workspace set disabled_at_ms = null where id = $1 and deleted_at_ms is not null";
    on_tx!(tx, |conn| {
        sqlx::query(UPDATE).bind(id.get()).execute(conn).await.map(|done| done.rows_affected())
    })?;
    Ok(())
}

#[cfg(test)]
mod tests;
