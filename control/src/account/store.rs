//! The table `account`; the tables beside it are in the files beneath.

mod recovery;
#[cfg(test)]
mod tests;
mod token;

use carom_shared::{AccountId, Random, UnixMillis};

use super::{Account, Email, Second};
use crate::db::{Db, StoreError, Tx, on_db, on_tx};

pub(crate) use recovery::{recovery_left, recovery_replace, recovery_use};
pub(crate) use token::{
    token_find, token_insert, token_take, token_try, tokens_prune, tokens_void, tokens_void_since,
};

/// How often an id is drawn before giving up.
const ID_DRAWS_MAX: usize = 8;
/// Accounts of a list, at most.
const LIST_MAX: i64 = 1000;

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    email: String,
    name: String,
    password_hash: Option<String>,
    state: i64,
    totp_secret: Option<Vec<u8>>,
    totp_confirmed_at_ms: Option<i64>,
    wrong_tries: i64,
    verified_at_ms: Option<i64>,
    is_operator: bool,
    created_at_ms: i64,
}

impl TryFrom<Row> for Account {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: AccountId::try_from(row.id).map_err(|_| StoreError::Corrupt("account row"))?,
            email: Email::stored(row.email),
            name: row.name,
            password_hash: row.password_hash,
            is_disabled: row.state != 0,
            second: match (row.totp_secret, row.totp_confirmed_at_ms) {
                (None, _) => Second::None,
                (Some(sealed), None) => Second::Pending(sealed),
                (Some(sealed), Some(_)) => Second::Active(sealed),
            },
            wrong_tries: row.wrong_tries,
            is_confirmed: row.verified_at_ms.is_some(),
            is_operator: row.is_operator,
            created_at: UnixMillis::new(row.created_at_ms),
        })
    }
}

macro_rules! columns {
    () => {
        "id, email, name, password_hash, state, totp_secret, totp_confirmed_at_ms, wrong_tries, \
           verified_at_ms, is_operator, created_at_ms"
    };
}

const BY_EMAIL: &str = concat!("select ", columns!(), " from account where email = $1");
/// An account that was deleted is nobody's any more.
const BY_ID: &str = concat!("select ", columns!(), " from account where id = $1 and state <> 2");

pub(crate) async fn account_find(db: &Db, email: &Email) -> Result<Option<Account>, StoreError> {
    let row: Option<Row> = on_db!(db, |pool| {
        sqlx::query_as(BY_EMAIL).bind(email.as_str()).fetch_optional(pool).await
    })?;
    row.map(Account::try_from).transpose()
}

pub(crate) async fn account_fetch(db: &Db, id: AccountId) -> Result<Option<Account>, StoreError> {
    let row: Option<Row> =
        on_db!(db, |pool| sqlx::query_as(BY_ID).bind(id.get()).fetch_optional(pool).await)?;
    row.map(Account::try_from).transpose()
}

/// As [`account_fetch`], as it is in this transaction.
pub(crate) async fn account_now(tx: &mut Tx, id: AccountId) -> Result<Option<Account>, StoreError> {
    let row: Option<Row> =
        on_tx!(tx, |conn| sqlx::query_as(BY_ID).bind(id.get()).fetch_optional(conn).await)?;
    row.map(Account::try_from).transpose()
}

/// As [`account_find`], as it is in this transaction.
pub(crate) async fn account_find_now(
    tx: &mut Tx,
    email: &Email,
) -> Result<Option<Account>, StoreError> {
    let row: Option<Row> = on_tx!(tx, |conn| {
        sqlx::query_as(BY_EMAIL).bind(email.as_str()).fetch_optional(conn).await
    })?;
    row.map(Account::try_from).transpose()
}

/// Whether somebody looks after the installation.
pub(crate) async fn account_is_operator(db: &Db, id: AccountId) -> Result<bool, StoreError> {
    const FIND: &str = "select id from account where id = $1 and state = 0 and is_operator = true";
    let found: Option<i64> =
        on_db!(db, |pool| sqlx::query_scalar(FIND).bind(id.get()).fetch_optional(pool).await)?;
    Ok(found.is_some())
}

/// Whether an address is somebody's.
pub(crate) async fn email_is_taken(tx: &mut Tx, email: &Email) -> Result<bool, StoreError> {
    const FIND: &str = "select id from account where email = $1";
    let found: Option<i64> = on_tx!(tx, |conn| {
        sqlx::query_scalar(FIND).bind(email.as_str()).fetch_optional(conn).await
    })?;
    Ok(found.is_some())
}

const ANY: &str = "select id from account limit 1";

/// Whether there is an account.
pub(crate) async fn account_is_any(db: &Db) -> Result<bool, StoreError> {
    let found: Option<i64> = on_db!(db, |pool| sqlx::query_scalar(ANY).fetch_optional(pool).await)?;
    Ok(found.is_some())
}

/// As [`account_is_any`], as it is in this transaction.
pub(crate) async fn account_is_any_now(tx: &mut Tx) -> Result<bool, StoreError> {
    let found: Option<i64> = on_tx!(tx, |conn| sqlx::query_scalar(ANY).fetch_optional(conn).await)?;
    Ok(found.is_some())
}

/// Every account, oldest first; at most 1,000.
pub(crate) async fn account_list(db: &Db) -> Result<Vec<Account>, StoreError> {
    const LIST: &str = concat!(
        "select ",
        columns!(),
        " from account where state <> 2 order by created_at_ms, id limit $1"
    );
    let rows: Vec<Row> =
        on_db!(db, |pool| sqlx::query_as(LIST).bind(LIST_MAX).fetch_all(pool).await)?;
    rows.into_iter().map(Account::try_from).collect()
}

/// What a new account is made of.
#[derive(Clone)]
pub(crate) struct NewAccount {
    pub(crate) email: Email,
    pub(crate) name: String,
    pub(crate) password_hash: Option<String>,
    /// See [`Account::is_confirmed`].
    pub(crate) is_confirmed: bool,
}

/// Makes an account. The caller has seen in this transaction that the address is nobody's.
pub(crate) async fn account_insert(
    tx: &mut Tx,
    account: &NewAccount,
    now: UnixMillis,
    random: &dyn Random,
) -> Result<AccountId, StoreError> {
    const INSERT: &str = "insert into account \
           (id, email, name, password_hash, state, verified_at_ms, created_at_ms) \
         values ($1, $2, $3, $4, 0, $5, $6) on conflict (id) do nothing";
    let verified_at = account.is_confirmed.then_some(now.get());
    for _ in 0..ID_DRAWS_MAX {
        let id = AccountId::generate(now, random);
        let written = on_tx!(tx, |conn| {
            let query = sqlx::query(INSERT)
                .bind(id.get())
                .bind(account.email.as_str())
                .bind(account.name.as_str())
                .bind(account.password_hash.as_deref())
                .bind(verified_at)
                .bind(now.get());
            query.execute(conn).await.map(|done| done.rows_affected())
        });
        if written? == 1 {
            return Ok(id);
        }
    }
    Err(StoreError::Exhausted(ID_DRAWS_MAX, "ids"))
}

macro_rules! updates {
    ($($(#[$doc:meta])* $name:ident($($value:ident: $type:ty => $bind:expr),+) = $sql:literal;)+) => {$(
        $(#[$doc])*
        pub(crate) async fn $name(
            tx: &mut Tx,
            id: AccountId,
            $($value: $type),+
        ) -> Result<bool, StoreError> {
            let done = on_tx!(tx, |conn| {
                let query = sqlx::query($sql).bind(id.get())$(.bind($bind))+;
                query.execute(conn).await.map(|done| done.rows_affected())
            });
            Ok(done? == 1)
        }
    )+};
}

updates! {
    account_rename(name: &str => name) = "update account set name = $2 where id = $1";
    account_set_password(hash: &str => hash) =
        "update account set password_hash = $2, wrong_tries = 0 where id = $1";
    /// Replaces a hash by one of the same password, if it is still the same.
    account_rehash(old: &str => old, new: &str => new) =
        "update account set password_hash = $3 where id = $1 and password_hash = $2";
    account_set_email(email: &Email => email.as_str()) = "update account set email = $2 where id = $1";
    account_set_disabled(is_disabled: bool => i64::from(is_disabled)) =
        "update account set state = $2 where id = $1 and state <> 2";
    account_set_operator(is_operator: bool => is_operator) =
        "update account set is_operator = $2 where id = $1 and state <> 2";
    /// The address is theirs, from now on at the latest.
    account_confirm(now: UnixMillis => now.get()) =
        "update account set verified_at_ms = coalesce(verified_at_ms, $2) where id = $1";
    /// Sets a second factor that is not confirmed yet, in place of one that is not either.
    account_totp_begin(sealed: &[u8] => sealed) =
        "update account set totp_secret = $2, totp_step = 0 \
         where id = $1 and totp_confirmed_at_ms is null";
    /// The second factor counts from now on. The first code's step is used up with it.
    account_totp_confirm(now: UnixMillis => now.get(), step: i64 => step) =
        "update account set totp_confirmed_at_ms = $2, totp_step = $3 \
         where id = $1 and totp_confirmed_at_ms is null";
    /// Remembers a code's step; false if it, or a later one, was used before.
    account_totp_step(step: i64 => step) =
        "update account set totp_step = $2 where id = $1 and totp_step < $2";
}

/// Counts a wrong password or code; how many there are in a row. `None`: there is no such account.
pub(crate) async fn account_tried(tx: &mut Tx, id: AccountId) -> Result<Option<i64>, StoreError> {
    const TRIED: &str = "update account set wrong_tries = wrong_tries + 1 \
         where id = $1 and state <> 2 returning wrong_tries";
    Ok(on_tx!(tx, |conn| sqlx::query_scalar(TRIED).bind(id.get()).fetch_optional(conn).await)?)
}

/// Begins to count anew.
pub(crate) async fn account_tries_forget(tx: &mut Tx, id: AccountId) -> Result<(), StoreError> {
    const FORGET: &str = "update account set wrong_tries = 0 where id = $1 and wrong_tries <> 0";
    on_tx!(tx, |conn| {
        sqlx::query(FORGET).bind(id.get()).execute(conn).await.map(|done| done.rows_affected())
    })?;
    Ok(())
}

/// Makes an account nobody's, for good: what refers to it refers to a number from now on. Its address
/// is free.
pub(crate) async fn account_forget(tx: &mut Tx, id: AccountId) -> Result<(), StoreError> {
    const TOKENS: &str = "delete from account_token where account_id = $1";
    const FORGET: &str = "update account set state = 2, email = $2, name = '', \
           password_hash = null, verified_at_ms = null, totp_secret = null, \
           totp_confirmed_at_ms = null, totp_step = 0, wrong_tries = 0, is_operator = false \
         where id = $1";
    on_tx!(tx, |conn| {
        sqlx::query(TOKENS).bind(id.get()).execute(conn).await.map(|done| done.rows_affected())
    })?;
    // No address is like this.
    let nobody = format!("deleted:{id}");
    on_tx!(tx, |conn| {
        let query = sqlx::query(FORGET).bind(id.get()).bind(nobody);
        query.execute(conn).await.map(|done| done.rows_affected())
    })?;
    Ok(())
}

pub(crate) async fn account_clear_password(tx: &mut Tx, id: AccountId) -> Result<(), StoreError> {
    const CLEAR: &str = "update account set password_hash = null where id = $1";
    on_tx!(tx, |conn| {
        sqlx::query(CLEAR).bind(id.get()).execute(conn).await.map(|done| done.rows_affected())
    })?;
    Ok(())
}

/// Removes a second factor that was confirmed since then, or is not; tells whether there was one.
pub(crate) async fn account_totp_remove_since(
    tx: &mut Tx,
    id: AccountId,
    since: UnixMillis,
) -> Result<bool, StoreError> {
    const REMOVE: &str = "update account set totp_secret = null, totp_confirmed_at_ms = null, \
           totp_step = 0 where id = $1 and totp_secret is not null \
           and (totp_confirmed_at_ms is null or totp_confirmed_at_ms >= $2)";
    let done = on_tx!(tx, |conn| {
        let query = sqlx::query(REMOVE).bind(id.get()).bind(since.get());
        query.execute(conn).await.map(|done| done.rows_affected())
    });
    Ok(done? == 1)
}

pub(crate) async fn account_totp_remove(tx: &mut Tx, id: AccountId) -> Result<(), StoreError> {
    const REMOVE: &str = "update account set totp_secret = null, totp_confirmed_at_ms = null, \
           totp_step = 0 where id = $1";
    on_tx!(tx, |conn| {
        sqlx::query(REMOVE).bind(id.get()).execute(conn).await.map(|done| done.rows_affected())
    })?;
    Ok(())
}
