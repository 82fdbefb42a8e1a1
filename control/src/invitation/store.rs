//! The table `invitation`.

use carom_shared::{AccountId, InvitationId, Random, UnixMillis, WorkspaceId};

use super::{Invitation, LIFE};
use crate::access::Role;
use crate::account::Email;
use crate::db::{Db, StoreError, Tx, on_db, on_tx};
use crate::secret::token::TokenHash;

/// How often an id is drawn before giving up.
const ID_DRAWS_MAX: usize = 8;
/// Invitations of a list, at most: as many as can be open.
const LIST_MAX: i64 = super::OPEN_MAX;
/// Milliseconds after its end that an invitation is forgotten.
const FORGOTTEN_AFTER_MS: i64 = 30 * 86_400_000;
/// Invitations that are forgotten at once.
pub(crate) const PRUNED_MAX: u64 = 1024;

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    workspace_id: i64,
    email: String,
    role: i64,
    invited_by: Option<i64>,
    mailed: bool,
    created_at_ms: i64,
    expires_at_ms: i64,
}

macro_rules! columns {
    () => {
        "invitation.id, invitation.workspace_id, invitation.email, invitation.role, \
         invitation.invited_by, invitation.mailed, invitation.created_at_ms, invitation.expires_at_ms"
    };
}

/// Those that can be accepted at the time `$2`. Whoever invited still may: from 3 on, a role is that of
/// who manages members. Otherwise somebody who is out would come back by an invitation of their own.
macro_rules! open {
    () => {
        " from invitation join workspace on workspace.id = invitation.workspace_id \
         where workspace.deleted_at_ms is null and accepted_at_ms is null \
           and withdrawn_at_ms is null and expires_at_ms > $2 \
           and (invitation.invited_by is null or exists (select 1 from member \
             join account on account.id = member.account_id \
             where member.workspace_id = invitation.workspace_id \
               and member.account_id = invitation.invited_by \
               and member.role >= 3 and account.state = 0)) "
    };
}

impl TryFrom<Row> for Invitation {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let corrupt = |_| StoreError::Corrupt("invitation row");
        Ok(Self {
            id: InvitationId::try_from(row.id).map_err(corrupt)?,
            workspace: WorkspaceId::try_from(row.workspace_id).map_err(corrupt)?,
            email: Email::stored(row.email),
            role: Role::from_number(row.role).ok_or(StoreError::Corrupt("invitation role"))?,
            invited_by: row.invited_by.map(AccountId::try_from).transpose().map_err(corrupt)?,
            is_mailed: row.mailed,
            created_at: UnixMillis::new(row.created_at_ms),
            expires_at: UnixMillis::new(row.expires_at_ms),
        })
    }
}

/// The invitations of a workspace that can be accepted, newest first.
pub(crate) async fn invitation_list(
    db: &Db,
    workspace: WorkspaceId,
    now: UnixMillis,
) -> Result<Vec<Invitation>, StoreError> {
    const LIST: &str = concat!(
        "select ",
        columns!(),
        open!(),
        "and invitation.workspace_id = $1 \
         order by invitation.created_at_ms desc, invitation.id desc limit $3"
    );
    let rows: Vec<Row> = on_db!(db, |pool| {
        let query = sqlx::query_as(LIST).bind(workspace.get()).bind(now.get());
        query.bind(LIST_MAX).fetch_all(pool).await
    })?;
    rows.into_iter().map(Invitation::try_from).collect()
}

const OF_TOKEN: &str = concat!("select ", columns!(), open!(), "and token_hash = $1");

/// The invitation of a token, if it can be accepted.
pub(crate) async fn invitation_find(
    db: &Db,
    token: &TokenHash,
    now: UnixMillis,
) -> Result<Option<Invitation>, StoreError> {
    let row: Option<Row> = on_db!(db, |pool| {
        let query = sqlx::query_as(OF_TOKEN).bind(token.as_slice()).bind(now.get());
        query.fetch_optional(pool).await
    })?;
    row.map(Invitation::try_from).transpose()
}

/// As [`invitation_find`], as it is in this transaction.
pub(crate) async fn invitation_of(
    tx: &mut Tx,
    token: &TokenHash,
    now: UnixMillis,
) -> Result<Option<Invitation>, StoreError> {
    let row: Option<Row> = on_tx!(tx, |conn| {
        let query = sqlx::query_as(OF_TOKEN).bind(token.as_slice()).bind(now.get());
        query.fetch_optional(conn).await
    })?;
    row.map(Invitation::try_from).transpose()
}

/// Forgets the oldest of those whose time ended [`FORGOTTEN_AFTER_MS`] ago, whatever came of them, at most
/// [`PRUNED_MAX`]; says how many. The audit log tells it.
pub(crate) async fn invitations_prune(tx: &mut Tx, now: UnixMillis) -> Result<u64, StoreError> {
    const PRUNE: &str = "delete from invitation where id in (\
           select id from invitation where expires_at_ms < $1 order by expires_at_ms limit $2)";
    let done = on_tx!(tx, |conn| {
        let query = sqlx::query(PRUNE).bind(now.get().saturating_sub(FORGOTTEN_AFTER_MS));
        query.bind(PRUNED_MAX.cast_signed()).execute(conn).await.map(|done| done.rows_affected())
    });
    Ok(done?)
}

/// Whether a workspace waits for whoever has this address.
pub(crate) async fn email_is_invited(
    db: &Db,
    email: &Email,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    const FIND: &str =
        concat!("select invitation.id", open!(), "and invitation.email = $1 limit 1");
    let found: Option<i64> = on_db!(db, |pool| {
        let query = sqlx::query_scalar(FIND).bind(email.as_str()).bind(now.get());
        query.fetch_optional(pool).await
    })?;
    Ok(found.is_some())
}

/// How many of a workspace can be accepted.
pub(crate) async fn invitation_count(
    tx: &mut Tx,
    workspace: WorkspaceId,
    now: UnixMillis,
) -> Result<i64, StoreError> {
    const COUNT: &str =
        concat!("select cast(count(*) as bigint)", open!(), "and invitation.workspace_id = $1");
    let count = on_tx!(tx, |conn| {
        let query = sqlx::query_scalar(COUNT).bind(workspace.get()).bind(now.get());
        query.fetch_one(conn).await
    })?;
    Ok(count)
}

/// Whether an address is a member's already.
pub(crate) async fn email_is_member(
    tx: &mut Tx,
    workspace: WorkspaceId,
    email: &Email,
) -> Result<bool, StoreError> {
    const FIND: &str = "select account.id from account \
         join member on member.account_id = account.id \
         where account.email = $1 and member.workspace_id = $2";
    let found: Option<i64> = on_tx!(tx, |conn| {
        let query = sqlx::query_scalar(FIND).bind(email.as_str()).bind(workspace.get());
        query.fetch_optional(conn).await
    })?;
    Ok(found.is_some())
}

/// What an invitation is made of.
#[derive(Clone, Debug)]
pub(crate) struct NewInvitation {
    pub(crate) workspace: WorkspaceId,
    pub(crate) email: Email,
    pub(crate) role: Role,
    pub(crate) token: TokenHash,
    pub(crate) invited_by: Option<AccountId>,
    pub(crate) is_mailed: bool,
}

pub(crate) async fn invitation_insert(
    tx: &mut Tx,
    new: NewInvitation,
    now: UnixMillis,
    random: &dyn Random,
) -> Result<Invitation, StoreError> {
    const INSERT: &str = "insert into invitation (id, workspace_id, email, role, token_hash, \
           invited_by, created_at_ms, expires_at_ms, mailed) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict (id) do nothing";
    let NewInvitation { workspace, email, role, token, invited_by, is_mailed } = new;
    let expires_at = now.saturating_add(LIFE);
    for _ in 0..ID_DRAWS_MAX {
        let id = InvitationId::generate(now, random);
        let written = on_tx!(tx, |conn| {
            let query = sqlx::query(INSERT)
                .bind(id.get())
                .bind(workspace.get())
                .bind(email.as_str())
                .bind(role.number())
                .bind(token.as_slice())
                .bind(invited_by.map(AccountId::get))
                .bind(now.get())
                .bind(expires_at.get())
                .bind(is_mailed);
            query.execute(conn).await.map(|done| done.rows_affected())
        });
        if written? == 1 {
            let created_at = now;
            return Ok(Invitation {
                id,
                workspace,
                email,
                role,
                invited_by,
                is_mailed,
                created_at,
                expires_at,
            });
        }
    }
    Err(StoreError::Exhausted(ID_DRAWS_MAX, "ids"))
}

/// Ends the invitation, or all that an address has; tells whether there was one.
pub(crate) async fn invitation_withdraw(
    tx: &mut Tx,
    workspace: WorkspaceId,
    which: Which<'_>,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    const WITHDRAW: &str = "update invitation set withdrawn_at_ms = $4 where workspace_id = $1 \
         and (id = $2 or email = $3) and accepted_at_ms is null and withdrawn_at_ms is null \
         and expires_at_ms > $4";
    let (id, email) = match which {
        Which::One(id) => (Some(id.get()), None),
        Which::For(email) => (None, Some(email.as_str())),
    };
    let done = on_tx!(tx, |conn| {
        let query = sqlx::query(WITHDRAW).bind(workspace.get()).bind(id).bind(email);
        query.bind(now.get()).execute(conn).await.map(|done| done.rows_affected())
    });
    Ok(done? > 0)
}

/// Which invitations.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which<'a> {
    One(InvitationId),
    For(&'a Email),
}

/// Uses an invitation up; of several at the same time one has it.
pub(crate) async fn invitation_accept(
    tx: &mut Tx,
    id: InvitationId,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    const ACCEPT: &str = "update invitation set accepted_at_ms = $2 \
         where id = $1 and accepted_at_ms is null and withdrawn_at_ms is null";
    let done = on_tx!(tx, |conn| {
        let query = sqlx::query(ACCEPT).bind(id.get()).bind(now.get());
        query.execute(conn).await.map(|done| done.rows_affected())
    });
    Ok(done? == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{NOW, TestDb, on_each_database};

    on_each_database!(what_ended_long_ago_is_forgotten);

    async fn what_ended_long_ago_is_forgotten(test: TestDb) {
        let at = |ms: i64| UnixMillis::new(NOW.get() + ms);
        let email = |text| Email::parse(text, "#").unwrap();
        let new = |name, token: u8| NewInvitation {
            workspace: test.workspace,
            email: email(name),
            role: Role::Viewer,
            token: [token; 32],
            invited_by: None,
            is_mailed: false,
        };
        let mut tx = test.db.begin().await.unwrap();
        let random = &test.random;
        let old = invitation_insert(&mut tx, new("ada@example.com", 1), NOW, random).await.unwrap();
        assert!(invitation_accept(&mut tx, old.id, NOW).await.unwrap());
        invitation_insert(&mut tx, new("ben@example.com", 2), NOW, random).await.unwrap();
        let late = at(FORGOTTEN_AFTER_MS);
        invitation_insert(&mut tx, new("cleo@example.com", 3), late, random).await.unwrap();
        let end = i64::try_from(LIFE.as_millis()).unwrap() + FORGOTTEN_AFTER_MS;
        assert_eq!(invitations_prune(&mut tx, at(end)).await.unwrap(), 0);
        assert_eq!(invitations_prune(&mut tx, at(end + 1)).await.unwrap(), 2);
        tx.commit().await.unwrap();
        let db = &test.db.read;
        assert!(email_is_invited(db, &email("cleo@example.com"), late).await.unwrap());
        assert!(!email_is_invited(db, &email("ben@example.com"), NOW).await.unwrap());
    }
}
