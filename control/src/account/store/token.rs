//! The table `account_token`.

use carom_shared::{AccountId, UnixMillis};

use crate::account::token::{NewToken, Purpose, TICKET_TRIES, TokenRow};
use crate::db::{Db, StoreError, Tx, on_db, on_tx};
use crate::secret::token::TokenHash;

#[derive(sqlx::FromRow)]
struct Row {
    account_id: Option<i64>,
    detail: String,
    bound: Vec<u8>,
    created_at_ms: i64,
}

impl TryFrom<Row> for TokenRow {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let corrupt = || StoreError::Corrupt("account_token row");
        let account = row.account_id.map(AccountId::try_from).transpose();
        Ok(Self {
            account: account.map_err(|_| corrupt())?,
            detail: row.detail,
            bound: row.bound.try_into().map_err(|_| corrupt())?,
            created_at: UnixMillis::new(row.created_at_ms),
        })
    }
}

/// Writes a new one.
pub(crate) async fn token_insert(
    tx: &mut Tx,
    token: &NewToken,
    now: UnixMillis,
) -> Result<(), StoreError> {
    const INSERT: &str = "insert into account_token \
           (hash, account_id, purpose, detail, bound, created_at_ms, expires_at_ms) \
         values ($1, $2, $3, $4, $5, $6, $7)";
    on_tx!(tx, |conn| {
        let query = sqlx::query(INSERT)
            .bind(token.hash.as_slice())
            .bind(token.account.map(AccountId::get))
            .bind(token.purpose.number())
            .bind(token.detail.as_str())
            .bind(token.bound.as_slice())
            .bind(now.get())
            .bind(now.saturating_add(token.life).get());
        query.execute(conn).await.map(|done| done.rows_affected())
    })?;
    Ok(())
}

/// Ends what is open for this: of an account, or of a detail where there is no account.
pub(crate) async fn tokens_void(
    tx: &mut Tx,
    account: Option<AccountId>,
    detail: &str,
    purpose: Purpose,
) -> Result<(), StoreError> {
    const OF_ACCOUNT: &str = "delete from account_token where account_id = $1 and purpose = $2";
    const OF_DETAIL: &str =
        "delete from account_token where account_id is null and detail = $1 and purpose = $2";
    on_tx!(tx, |conn| {
        let query = match account {
            Some(account) => sqlx::query(OF_ACCOUNT).bind(account.get()),
            None => sqlx::query(OF_DETAIL).bind(detail),
        };
        query.bind(purpose.number()).execute(conn).await.map(|done| done.rows_affected())
    })?;
    Ok(())
}

/// Ends what was made for this since then, and what was made at the same time.
pub(crate) async fn tokens_void_since(
    tx: &mut Tx,
    account: AccountId,
    purpose: Purpose,
    since: UnixMillis,
) -> Result<(), StoreError> {
    const VOID: &str = "delete from account_token \
         where account_id = $1 and purpose = $2 and created_at_ms >= $3";
    on_tx!(tx, |conn| {
        let query = sqlx::query(VOID).bind(account.get()).bind(purpose.number());
        query.bind(since.get()).execute(conn).await.map(|done| done.rows_affected())
    })?;
    Ok(())
}

/// Removes what does not work any more.
pub(crate) async fn tokens_prune(tx: &mut Tx, now: UnixMillis) -> Result<(), StoreError> {
    const PRUNE: &str = "delete from account_token where expires_at_ms <= $1";
    on_tx!(tx, |conn| {
        sqlx::query(PRUNE).bind(now.get()).execute(conn).await.map(|done| done.rows_affected())
    })?;
    Ok(())
}

/// One that works now; looking at it changes nothing.
pub(crate) async fn token_find(
    db: &Db,
    hash: &TokenHash,
    purpose: Purpose,
    now: UnixMillis,
) -> Result<Option<TokenRow>, StoreError> {
    const FIND: &str = "select account_id, detail, bound, created_at_ms from account_token \
         where hash = $1 and purpose = $2 and used_at_ms is null and expires_at_ms > $3";
    let row: Option<Row> = on_db!(db, |pool| {
        let query = sqlx::query_as(FIND).bind(hash.as_slice());
        query.bind(purpose.number()).bind(now.get()).fetch_optional(pool).await
    })?;
    row.map(TokenRow::try_from).transpose()
}

/// Uses one up; of several at the same time one has it.
pub(crate) async fn token_take(
    tx: &mut Tx,
    hash: &TokenHash,
    purpose: Purpose,
    now: UnixMillis,
) -> Result<Option<TokenRow>, StoreError> {
    const TAKE: &str = "update account_token set used_at_ms = $3 \
         where hash = $1 and purpose = $2 and used_at_ms is null and expires_at_ms > $3 \
         returning account_id, detail, bound, created_at_ms";
    let row: Option<Row> = on_tx!(tx, |conn| {
        let query = sqlx::query_as(TAKE).bind(hash.as_slice());
        query.bind(purpose.number()).bind(now.get()).fetch_optional(conn).await
    })?;
    row.map(TokenRow::try_from).transpose()
}

/// Uses up one try of a ticket; `None` if there is none left, or the ticket does not work.
pub(crate) async fn token_try(
    tx: &mut Tx,
    hash: &TokenHash,
    now: UnixMillis,
) -> Result<Option<TokenRow>, StoreError> {
    const TRY: &str = "update account_token set tries = tries + 1 \
         where hash = $1 and purpose = $2 and used_at_ms is null and expires_at_ms > $3 \
           and tries < $4 \
         returning account_id, detail, bound, created_at_ms";
    let row: Option<Row> = on_tx!(tx, |conn| {
        let query = sqlx::query_as(TRY).bind(hash.as_slice()).bind(Purpose::Ticket.number());
        query.bind(now.get()).bind(TICKET_TRIES).fetch_optional(conn).await
    })?;
    row.map(TokenRow::try_from).transpose()
}
