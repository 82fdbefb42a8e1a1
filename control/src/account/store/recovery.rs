//! The table `recovery_code`.

use carom_shared::{AccountId, UnixMillis};

use crate::db::{Db, StoreError, Tx, on_db, on_tx};

/// Puts these in place of all that there were.
pub(crate) async fn recovery_replace(
    tx: &mut Tx,
    account: AccountId,
    hashes: &[[u8; 32]],
) -> Result<(), StoreError> {
    const CLEAR: &str = "delete from recovery_code where account_id = $1";
    const INSERT: &str = "insert into recovery_code (account_id, hash) values ($1, $2) \
         on conflict (account_id, hash) do nothing";
    on_tx!(tx, |conn| {
        sqlx::query(CLEAR).bind(account.get()).execute(conn).await.map(|done| done.rows_affected())
    })?;
    for hash in hashes {
        on_tx!(tx, |conn| {
            let query = sqlx::query(INSERT).bind(account.get()).bind(hash.as_slice());
            query.execute(conn).await.map(|done| done.rows_affected())
        })?;
    }
    Ok(())
}

/// Uses a code up; false if there is none like it, or it was used.
pub(crate) async fn recovery_use(
    tx: &mut Tx,
    account: AccountId,
    hash: &[u8; 32],
    now: UnixMillis,
) -> Result<bool, StoreError> {
    const USE: &str = "update recovery_code set used_at_ms = $3 \
         where account_id = $1 and hash = $2 and used_at_ms is null";
    let done = on_tx!(tx, |conn| {
        let query = sqlx::query(USE).bind(account.get()).bind(hash.as_slice()).bind(now.get());
        query.execute(conn).await.map(|done| done.rows_affected())
    });
    Ok(done? == 1)
}

/// Codes that were not used yet.
pub(crate) async fn recovery_left(db: &Db, account: AccountId) -> Result<u64, StoreError> {
    const COUNT: &str = "select cast(count(*) as bigint) from recovery_code \
         where account_id = $1 and used_at_ms is null";
    let count: i64 =
        on_db!(db, |pool| sqlx::query_scalar(COUNT).bind(account.get()).fetch_one(pool).await)?;
    Ok(count.unsigned_abs())
}
