//! The table `api_key`.

use carom_shared::{AccountId, AddressBlock, ApiKeyId, DomainId, Random, UnixMillis, WorkspaceId};

use super::uses::Use;
use super::{Grant, KeyRow};
use crate::access::{Role, Scopes};
use crate::db::{Db, StoreError, Tx, on_db, on_tx};

/// How often an id is drawn before giving up.
const ID_DRAWS_MAX: usize = 8;
/// Keys of a list, at most: far above what people can keep apart.
const LIST_MAX: i64 = 1000;

/// What a [`Row`] is read from.
macro_rules! columns {
    () => {
        "api_key.id, api_key.workspace_id, api_key.account_id, api_key.name, api_key.hint, \
         api_key.scopes, api_key.domains, api_key.addresses, api_key.expires_at_ms, \
         api_key.rate_per_minute, api_key.created_at_ms, api_key.revoked_at_ms, \
         api_key.last_used_at_ms, api_key.last_used_address, api_key.replaced_by"
    };
}

/// Who made a key, as they are now.
macro_rules! maker {
    () => {
        " left join account on account.id = api_key.account_id \
         left join member on member.account_id = api_key.account_id \
           and member.workspace_id = api_key.workspace_id "
    };
}

/// A [`FoundRow`] of the key with `$1`, if it can be used at the time `$2`.
macro_rules! find {
    ($which:literal) => {
        concat!(
            "select ",
            columns!(),
            ", member.role as role, account.state as account_state, \
             (select disabled_at_ms from workspace where workspace.id = api_key.workspace_id) \
               as disabled_at_ms from api_key",
            maker!(),
            "where ",
            $which,
            " = $1 and revoked_at_ms is null and (expires_at_ms is null or expires_at_ms > $2)"
        )
    };
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    workspace_id: i64,
    account_id: Option<i64>,
    name: String,
    hint: String,
    scopes: String,
    domains: String,
    addresses: String,
    expires_at_ms: Option<i64>,
    rate_per_minute: Option<i64>,
    created_at_ms: i64,
    revoked_at_ms: Option<i64>,
    last_used_at_ms: Option<i64>,
    last_used_address: String,
    replaced_by: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct FoundRow {
    #[sqlx(flatten)]
    key: Row,
    role: Option<i64>,
    account_state: Option<i64>,
    disabled_at_ms: Option<i64>,
}

impl TryFrom<Row> for KeyRow {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let domains = row.domains.split_ascii_whitespace().map(str::parse::<DomainId>);
        let addresses = row.addresses.split_ascii_whitespace().map(AddressBlock::parse);
        let rate = row.rate_per_minute.map(|rate| u32::try_from(rate).and_then(TryInto::try_into));
        Ok(Self {
            id: sound(row.id.try_into())?,
            workspace: sound(row.workspace_id.try_into())?,
            account: sound(row.account_id.map(AccountId::try_from).transpose())?,
            name: row.name,
            hint: row.hint,
            grant: Grant {
                scopes: sound(Scopes::parse(&row.scopes))?,
                domains: sound(domains.collect())?,
                addresses: sound(addresses.collect())?,
                expires_at: row.expires_at_ms.map(UnixMillis::new),
                rate_per_minute: sound(rate.transpose())?,
            },
            created_at: UnixMillis::new(row.created_at_ms),
            revoked_at: row.revoked_at_ms.map(UnixMillis::new),
            last_used_at: row.last_used_at_ms.map(UnixMillis::new),
            last_used_from: row.last_used_address.parse().ok(),
            replaced_by: sound(row.replaced_by.map(ApiKeyId::try_from).transpose())?,
        })
    }
}

fn sound<T, E>(value: Result<T, E>) -> Result<T, StoreError> {
    value.map_err(|_| StoreError::Corrupt("key row"))
}

fn spaced<T: ToString>(values: &[T]) -> String {
    values.iter().map(T::to_string).collect::<Vec<_>>().join(" ")
}

/// What a new key is made of.
#[derive(Clone, Debug)]
pub(crate) struct NewKey {
    pub(crate) workspace: WorkspaceId,
    /// Whose role it depends on. `None`: an operator makes it.
    pub(crate) account: Option<AccountId>,
    pub(crate) name: String,
    pub(crate) hash: [u8; 32],
    pub(crate) hint: String,
    pub(crate) grant: Grant,
}

pub(crate) async fn key_create(
    tx: &mut Tx,
    key: NewKey,
    now: UnixMillis,
    random: &dyn Random,
) -> Result<KeyRow, StoreError> {
    const INSERT: &str = "insert into api_key (id, workspace_id, account_id, name, hash, hint, \
           scopes, domains, addresses, expires_at_ms, rate_per_minute, created_at_ms) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) on conflict (id) do nothing";
    let NewKey { workspace, account, name, hash, hint, grant } = key;
    for _ in 0..ID_DRAWS_MAX {
        let id = ApiKeyId::generate(now, random);
        let result = on_tx!(tx, |conn| {
            let query = sqlx::query(INSERT)
                .bind(id.get())
                .bind(workspace.get())
                .bind(account.map(AccountId::get))
                .bind(name.as_str())
                .bind(hash.as_slice())
                .bind(hint.as_str())
                .bind(grant.scopes.to_string())
                .bind(spaced(&grant.domains))
                .bind(spaced(&grant.addresses))
                .bind(grant.expires_at.map(UnixMillis::get))
                .bind(grant.rate_per_minute.map(|rate| i64::from(rate.get())))
                .bind(now.get());
            query.execute(conn).await.map(|result| result.rows_affected())
        });
        if result? == 1 {
            return Ok(KeyRow {
                id,
                workspace,
                account,
                name,
                hint,
                grant,
                created_at: now,
                revoked_at: None,
                last_used_at: None,
                last_used_from: None,
                replaced_by: None,
            });
        }
    }
    Err(StoreError::Exhausted(ID_DRAWS_MAX, "ids"))
}

/// The key with this hash, and what its scopes come to with the role of whoever made it. `None` if
/// there is none, if it was revoked or has expired, and if who made it is not there any more.
pub(crate) async fn key_find(
    db: &Db,
    hash: &[u8; 32],
    now: UnixMillis,
) -> Result<Option<(KeyRow, Scopes)>, StoreError> {
    const FIND: &str = find!("hash");
    let row: Option<FoundRow> = on_db!(db, |pool| {
        sqlx::query_as(FIND).bind(hash.as_slice()).bind(now.get()).fetch_optional(pool).await
    })?;
    found(row)
}

/// As [`key_find`], of a key that was found before: what it may now.
pub(crate) async fn key_scopes(
    db: &Db,
    id: ApiKeyId,
    now: UnixMillis,
) -> Result<Option<Scopes>, StoreError> {
    const FIND: &str = find!("api_key.id");
    let row: Option<FoundRow> = on_db!(db, |pool| {
        sqlx::query_as(FIND).bind(id.get()).bind(now.get()).fetch_optional(pool).await
    })?;
    Ok(found(row)?.map(|(_, scopes)| scopes))
}

fn found(row: Option<FoundRow>) -> Result<Option<(KeyRow, Scopes)>, StoreError> {
    let Some(FoundRow { key, role, account_state, disabled_at_ms }) = row else { return Ok(None) };
    let key = KeyRow::try_from(key)?;
    let role = match (key.account, role, account_state) {
        (None, ..) => Scopes::ALL,
        (Some(_), Some(role), Some(0)) => {
            Role::from_number(role).ok_or(StoreError::Corrupt("member role"))?.scopes()
        }
        (Some(_), ..) => return Ok(None),
    };
    // As with people: who is in a workspace that is disabled only reads.
    let role = if disabled_at_ms.is_some() { role.and(Role::Viewer.scopes()) } else { role };
    let scopes = key.grant.scopes.and(role);
    Ok(Some((key, scopes)))
}

/// Keys, newest first; at most 1,000. Of a workspace: those that were not revoked. Without one: all.
pub(crate) async fn key_list(
    db: &Db,
    workspace: Option<WorkspaceId>,
) -> Result<Vec<KeyRow>, StoreError> {
    const LIST: &str = concat!(
        "select ",
        columns!(),
        " from api_key where $1 is null or (workspace_id = $1 and revoked_at_ms is null) \
         order by created_at_ms desc, id desc limit $2"
    );
    let rows: Vec<Row> = on_db!(db, |pool| {
        let query = sqlx::query_as(LIST).bind(workspace.map(WorkspaceId::get)).bind(LIST_MAX);
        query.fetch_all(pool).await
    })?;
    rows.into_iter().map(KeyRow::try_from).collect()
}

/// How many keys of a workspace were not revoked and have not expired.
pub(crate) async fn key_count(
    tx: &mut Tx,
    workspace: WorkspaceId,
    now: UnixMillis,
) -> Result<i64, StoreError> {
    const COUNT: &str = "select count(*) from api_key where workspace_id = $1 \
         and revoked_at_ms is null and (expires_at_ms is null or expires_at_ms > $2)";
    let count: i64 = on_tx!(tx, |conn| {
        sqlx::query_scalar(COUNT).bind(workspace.get()).bind(now.get()).fetch_one(conn).await
    })?;
    Ok(count)
}

/// A key of this workspace, or of any; also one that was revoked.
pub(crate) async fn key_fetch(
    tx: &mut Tx,
    workspace: Option<WorkspaceId>,
    id: ApiKeyId,
) -> Result<Option<KeyRow>, StoreError> {
    const FETCH: &str = concat!(
        "select ",
        columns!(),
        " from api_key where id = $1 and ($2 is null or workspace_id = $2)"
    );
    let workspace = workspace.map(WorkspaceId::get);
    let row: Option<Row> = on_tx!(tx, |conn| {
        sqlx::query_as(FETCH).bind(id.get()).bind(workspace).fetch_optional(conn).await
    })?;
    row.map(KeyRow::try_from).transpose()
}

/// A key of this workspace that was not revoked.
pub(crate) async fn key_read(
    db: &Db,
    workspace: WorkspaceId,
    id: ApiKeyId,
) -> Result<Option<KeyRow>, StoreError> {
    const READ: &str = concat!(
        "select ",
        columns!(),
        " from api_key where id = $1 and workspace_id = $2 and revoked_at_ms is null"
    );
    let row: Option<Row> = on_db!(db, |pool| {
        sqlx::query_as(READ).bind(id.get()).bind(workspace.get()).fetch_optional(pool).await
    })?;
    row.map(KeyRow::try_from).transpose()
}

/// Writes what can be changed of a key.
pub(crate) async fn key_update(tx: &mut Tx, key: &KeyRow) -> Result<(), StoreError> {
    const UPDATE: &str = "update api_key set name = $2, scopes = $3, domains = $4, addresses = $5, \
           expires_at_ms = $6, rate_per_minute = $7, revoked_at_ms = $8, replaced_by = $9 \
         where id = $1";
    let KeyRow { grant, .. } = key;
    on_tx!(tx, |conn| {
        let query = sqlx::query(UPDATE)
            .bind(key.id.get())
            .bind(key.name.as_str())
            .bind(grant.scopes.to_string())
            .bind(spaced(&grant.domains))
            .bind(spaced(&grant.addresses))
            .bind(grant.expires_at.map(UnixMillis::get))
            .bind(grant.rate_per_minute.map(|rate| i64::from(rate.get())))
            .bind(key.revoked_at.map(UnixMillis::get))
            .bind(key.replaced_by.map(ApiKeyId::get));
        query.execute(conn).await.map(|done| done.rows_affected())
    })?;
    Ok(())
}

/// Notes when and from where keys were used last. One that another process used later stays.
pub(crate) async fn keys_note_uses(tx: &mut Tx, uses: &[Use]) -> Result<(), StoreError> {
    const NOTE: &str = "update api_key set last_used_at_ms = $2, last_used_address = $3 \
         where id = $1 and (last_used_at_ms is null or last_used_at_ms < $2)";
    for Use { key, at, from } in uses {
        let from = from.map(|from| from.to_string()).unwrap_or_default();
        on_tx!(tx, |conn| {
            let query = sqlx::query(NOTE).bind(key.get()).bind(at.get()).bind(from.as_str());
            query.execute(conn).await.map(|done| done.rows_affected())
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
