//! The table `member`.

use carom_shared::{AccountId, UnixMillis, WorkspaceId};

use super::Member;
use crate::access::Role;
use crate::account::Email;
use crate::db::{Db, StoreError, Tx, on_db, on_tx};

fn role(number: i64) -> Result<Role, StoreError> {
    Role::from_number(number).ok_or(StoreError::Corrupt("member role"))
}

/// An account's role in this workspace, or in the first that it came into. Whoever is in one that is
/// disabled is a viewer there, whatever else they were.
pub(crate) async fn member_find(
    db: &Db,
    account: AccountId,
    workspace: Option<WorkspaceId>,
) -> Result<Option<(WorkspaceId, Role)>, StoreError> {
    const FIND: &str = "select member.workspace_id, \
           case when workspace.disabled_at_ms is null then member.role else 1 end \
         from member join workspace on workspace.id = member.workspace_id \
         where member.account_id = $1 and (member.workspace_id = $2 or $2 is null) \
           and workspace.deleted_at_ms is null \
         order by member.created_at_ms, member.workspace_id limit 1";
    let workspace = workspace.map(WorkspaceId::get);
    let row: Option<(i64, i64)> = on_db!(db, |pool| {
        sqlx::query_as(FIND).bind(account.get()).bind(workspace).fetch_optional(pool).await
    })?;
    let Some((workspace, number)) = row else { return Ok(None) };
    let workspace = WorkspaceId::try_from(workspace);
    let workspace = workspace.map_err(|_| StoreError::Corrupt("member row"))?;
    Ok(Some((workspace, role(number)?)))
}

#[derive(sqlx::FromRow)]
struct Row {
    account_id: i64,
    email: String,
    name: String,
    role: i64,
    created_at_ms: i64,
}

/// The members of a workspace in the order of their accounts, after one; so many at most.
pub(crate) async fn member_list(
    db: &Db,
    workspace: WorkspaceId,
    after: Option<AccountId>,
    limit: u32,
) -> Result<Vec<Member>, StoreError> {
    const LIST: &str = "select member.account_id, account.email, account.name, member.role, \
           member.created_at_ms from member join account on account.id = member.account_id \
         where member.workspace_id = $1 and member.account_id > $2 \
         order by member.account_id limit $3";
    let rows: Vec<Row> = on_db!(db, |pool| {
        let query = sqlx::query_as(LIST).bind(workspace.get());
        let query = query.bind(after.map_or(0, AccountId::get)).bind(i64::from(limit));
        query.fetch_all(pool).await
    })?;
    let read = |row: Row| {
        let account = AccountId::try_from(row.account_id);
        Ok(Member {
            account: account.map_err(|_| StoreError::Corrupt("member row"))?,
            email: Email::stored(row.email),
            name: row.name,
            role: role(row.role)?,
            since: UnixMillis::new(row.created_at_ms),
        })
    };
    rows.into_iter().map(read).collect()
}

/// An account's role in a workspace, as it is in this transaction.
pub(crate) async fn member_now(
    tx: &mut Tx,
    workspace: WorkspaceId,
    account: AccountId,
) -> Result<Option<Role>, StoreError> {
    const READ: &str = "select role from member where workspace_id = $1 and account_id = $2";
    let found: Option<i64> = on_tx!(tx, |conn| {
        let query = sqlx::query_scalar(READ).bind(workspace.get()).bind(account.get());
        query.fetch_optional(conn).await
    })?;
    found.map(role).transpose()
}

/// Makes an account a member, or changes its role.
pub(crate) async fn member_put(
    tx: &mut Tx,
    workspace: WorkspaceId,
    account: AccountId,
    role: Role,
    now: UnixMillis,
) -> Result<(), StoreError> {
    const PUT: &str = "insert into member (workspace_id, account_id, role, created_at_ms) \
         values ($1, $2, $3, $4) \
         on conflict (workspace_id, account_id) do update set role = excluded.role";
    on_tx!(tx, |conn| {
        let query = sqlx::query(PUT).bind(workspace.get()).bind(account.get());
        let query = query.bind(role.number()).bind(now.get());
        query.execute(conn).await.map(|done| done.rows_affected())
    })?;
    Ok(())
}

pub(crate) async fn member_remove(
    tx: &mut Tx,
    workspace: WorkspaceId,
    account: AccountId,
) -> Result<(), StoreError> {
    const REMOVE: &str = "delete from member where workspace_id = $1 and account_id = $2";
    on_tx!(tx, |conn| {
        let query = sqlx::query(REMOVE).bind(workspace.get()).bind(account.get());
        query.execute(conn).await.map(|done| done.rows_affected())
    })?;
    Ok(())
}

/// How many members of a workspace have this role.
pub(crate) async fn member_count(
    tx: &mut Tx,
    workspace: WorkspaceId,
    role: Option<Role>,
) -> Result<i64, StoreError> {
    const COUNT: &str = "select cast(count(*) as bigint) from member \
         where workspace_id = $1 and (role = $2 or $2 is null)";
    let count = on_tx!(tx, |conn| {
        let query = sqlx::query_scalar(COUNT).bind(workspace.get());
        query.bind(role.map(Role::number)).fetch_one(conn).await
    })?;
    Ok(count)
}

/// How many workspaces an account owns.
pub(crate) async fn owned_count(tx: &mut Tx, account: AccountId) -> Result<i64, StoreError> {
    const COUNT: &str =
        "select cast(count(*) as bigint) from member where account_id = $1 and role = 4";
    let count =
        on_tx!(tx, |conn| sqlx::query_scalar(COUNT).bind(account.get()).fetch_one(conn).await)?;
    Ok(count)
}

/// A workspace that nobody but this account owns, by its name; `None` if there is none.
pub(crate) async fn sole_owned(
    tx: &mut Tx,
    account: AccountId,
) -> Result<Option<String>, StoreError> {
    const FIND: &str = "select workspace.name from member \
         join workspace on workspace.id = member.workspace_id \
         where member.account_id = $1 and member.role = 4 and workspace.deleted_at_ms is null \
           and not exists (select 1 from member other where other.role = 4 \
             and other.workspace_id = member.workspace_id and other.account_id <> $1) \
         order by workspace.id limit 1";
    Ok(on_tx!(tx, |conn| {
        sqlx::query_scalar(FIND).bind(account.get()).fetch_optional(conn).await
    })?)
}

/// Takes an account out of all workspaces.
pub(crate) async fn members_remove(tx: &mut Tx, account: AccountId) -> Result<(), StoreError> {
    const REMOVE: &str = "delete from member where account_id = $1";
    on_tx!(tx, |conn| {
        sqlx::query(REMOVE).bind(account.get()).execute(conn).await.map(|done| done.rows_affected())
    })?;
    Ok(())
}
