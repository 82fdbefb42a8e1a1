//! The tables `session` and `session_replaced`.

#[cfg(test)]
mod tests;

use carom_shared::{AccountId, Random, SessionId, UnixMillis};

use super::{Device, Found, Life, NewSession, PER_ACCOUNT_MAX, REMEMBERED_AFTER, Session};
use crate::account::Email;
use crate::db::{Db, StoreError, Tx, on_db, on_tx};
use crate::secret::token::TokenHash;

/// How often an id is drawn before giving up.
const ID_DRAWS_MAX: usize = 8;

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    account_id: i64,
    auth_at_ms: i64,
    token_at_ms: i64,
    last_seen_at_ms: i64,
    expires_at_ms: i64,
    remembered: bool,
    replaced_at_ms: Option<i64>,
}

impl TryFrom<Row> for Found {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let corrupt = |_| StoreError::Corrupt("session row");
        let session = Session {
            id: SessionId::try_from(row.id).map_err(corrupt)?,
            account: AccountId::try_from(row.account_id).map_err(corrupt)?,
            auth_at: UnixMillis::new(row.auth_at_ms),
            token_at: UnixMillis::new(row.token_at_ms),
            last_seen_at: UnixMillis::new(row.last_seen_at_ms),
            expires_at: UnixMillis::new(row.expires_at_ms),
            is_remembered: row.remembered,
        };
        Ok(match row.replaced_at_ms {
            None => Self::Current(session),
            Some(at) => Self::Replaced(session, UnixMillis::new(at)),
        })
    }
}

macro_rules! find {
    ($from:literal, $replaced:literal, $token:literal) => {
        concat!(
            "select session.id, session.account_id, auth_at_ms, token_at_ms, last_seen_at_ms, \
               expires_at_ms, remembered, ",
            $replaced,
            " as replaced_at_ms ",
            "from ",
            $from,
            " join account on account.id = session.account_id \
             where ",
            $token,
            " = $1 and revoked_at_ms is null \
               and idle_expires_at_ms > $2 and expires_at_ms > $2 and account.state = 0"
        )
    };
}

/// The session of a token's hash; `None` if there is none, or it is over.
pub(crate) async fn session_find(
    db: &Db,
    hash: &TokenHash,
    now: UnixMillis,
) -> Result<Option<Found>, StoreError> {
    const CURRENT: &str = find!("session", "cast(null as bigint)", "session.token_hash");
    const REPLACED: &str = find!(
        "session_replaced join session on session.id = session_replaced.session_id",
        "session_replaced.replaced_at_ms",
        "session_replaced.token_hash"
    );
    for sql in [CURRENT, REPLACED] {
        let row: Option<Row> = on_db!(db, |pool| {
            let query = sqlx::query_as(sql).bind(hash.as_slice()).bind(now.get());
            query.fetch_optional(pool).await
        })?;
        if let Some(row) = row {
            return Found::try_from(row).map(Some);
        }
    }
    Ok(None)
}

const ACTIVE: &str = "select session.id from session \
     join account on account.id = session.account_id \
     where session.id = $1 and revoked_at_ms is null \
       and idle_expires_at_ms > $2 and expires_at_ms > $2 and account.state = 0";

/// As [`session_is_active`], as it is in this transaction.
pub(crate) async fn session_is_active_now(
    tx: &mut Tx,
    id: SessionId,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    let found: Option<i64> = on_tx!(tx, |conn| {
        sqlx::query_scalar(ACTIVE).bind(id.get()).bind(now.get()).fetch_optional(conn).await
    })?;
    Ok(found.is_some())
}

/// Whether a session that was there may still be used.
pub(crate) async fn session_is_active(
    db: &Db,
    id: SessionId,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    let found: Option<i64> = on_db!(db, |pool| {
        sqlx::query_scalar(ACTIVE).bind(id.get()).bind(now.get()).fetch_optional(pool).await
    })?;
    Ok(found.is_some())
}

/// A session as its owner sees it.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct SessionRow {
    pub(crate) id: i64,
    pub(crate) created_at_ms: i64,
    pub(crate) last_seen_at_ms: i64,
    pub(crate) idle_expires_at_ms: i64,
    pub(crate) expires_at_ms: i64,
    pub(crate) address: String,
    pub(crate) user_agent: String,
    pub(crate) second_factor: bool,
    pub(crate) remembered: bool,
}

/// The sessions of an account that may be used now, the last used first.
pub(crate) async fn session_list(
    db: &Db,
    account: AccountId,
    now: UnixMillis,
) -> Result<Vec<SessionRow>, StoreError> {
    const LIST: &str = "select id, created_at_ms, last_seen_at_ms, idle_expires_at_ms, \
           expires_at_ms, address, user_agent, second_factor, remembered from session \
         where account_id = $1 and revoked_at_ms is null \
           and idle_expires_at_ms > $2 and expires_at_ms > $2 \
         order by last_seen_at_ms desc, id desc limit $3";
    Ok(on_db!(db, |pool| {
        let query = sqlx::query_as(LIST).bind(account.get()).bind(now.get());
        query.bind(PER_ACCOUNT_MAX).fetch_all(pool).await
    })?)
}

/// Makes a session; the one that was used longest ago ends if there are too many.
pub(crate) async fn session_insert(
    tx: &mut Tx,
    session: &NewSession,
    now: UnixMillis,
    random: &dyn Random,
) -> Result<Session, StoreError> {
    const INSERT: &str = "insert into session (id, account_id, token_hash, token_at_ms, \
           created_at_ms, auth_at_ms, second_factor, remembered, last_seen_at_ms, \
           idle_expires_at_ms, expires_at_ms, address, user_agent) \
         values ($1, $2, $3, $4, $4, $4, $5, $6, $4, $7, $8, $9, $10) on conflict (id) do nothing";
    let Life { idle, absolute } = Life::of(session.is_remembered);
    let expires_at = now.saturating_add(absolute);
    for _ in 0..ID_DRAWS_MAX {
        let id = SessionId::generate(now, random);
        let written = on_tx!(tx, |conn| {
            let query = sqlx::query(INSERT)
                .bind(id.get())
                .bind(session.account.get())
                .bind(session.token.as_slice())
                .bind(now.get())
                .bind(session.has_second)
                .bind(session.is_remembered)
                .bind(now.saturating_add(idle).get())
                .bind(expires_at.get())
                .bind(session.device.address.as_str())
                .bind(session.device.user_agent.as_str());
            query.execute(conn).await.map(|done| done.rows_affected())
        });
        if written? == 1 {
            sessions_trim(tx, session.account, now).await?;
            return Ok(Session {
                id,
                account: session.account,
                auth_at: now,
                token_at: now,
                last_seen_at: now,
                expires_at,
                is_remembered: session.is_remembered,
            });
        }
    }
    Err(StoreError::Exhausted(ID_DRAWS_MAX, "ids"))
}

/// Ends those beyond the most that an account may have, and forgets those long over.
async fn sessions_trim(tx: &mut Tx, account: AccountId, now: UnixMillis) -> Result<(), StoreError> {
    const TRIM: &str = "update session set revoked_at_ms = $2 \
         where account_id = $1 and revoked_at_ms is null and expires_at_ms > $2 \
           and id not in (select id from session \
             where account_id = $1 and revoked_at_ms is null and expires_at_ms > $2 \
             order by last_seen_at_ms desc, id desc limit $3)";
    const FORGET: &str = "delete from session where account_id = $1 and expires_at_ms < $2";
    on_tx!(tx, |conn| {
        let query = sqlx::query(TRIM).bind(account.get()).bind(now.get()).bind(PER_ACCOUNT_MAX);
        query.execute(conn).await.map(|done| done.rows_affected())
    })?;
    let long_ago =
        now.get().saturating_sub(i64::try_from(REMEMBERED_AFTER.as_millis()).unwrap_or(i64::MAX));
    on_tx!(tx, |conn| {
        let query = sqlx::query(FORGET).bind(account.get()).bind(long_ago);
        query.execute(conn).await.map(|done| done.rows_affected())
    })?;
    Ok(())
}

/// Whether an account has signed in before, and whether from such a device.
pub(crate) async fn device_is_known(
    tx: &mut Tx,
    account: AccountId,
    device: &Device,
) -> Result<(bool, bool), StoreError> {
    const FIND: &str = "select cast(count(*) as bigint), \
           cast(coalesce(sum(case when user_agent = $2 then 1 else 0 end), 0) as bigint) \
         from session where account_id = $1";
    let (all, same): (i64, i64) = on_tx!(tx, |conn| {
        let query = sqlx::query_as(FIND).bind(account.get()).bind(device.user_agent.as_str());
        query.fetch_one(conn).await
    })?;
    Ok((all > 0, same > 0))
}

/// Whether an account is, or lately was, signed in from this network address; not from none.
pub(crate) async fn address_is_known(
    db: &Db,
    account: AccountId,
    address: &str,
) -> Result<bool, StoreError> {
    const FIND: &str = "select id from session where account_id = $1 and address = $2 limit 1";
    if address.is_empty() {
        return Ok(false);
    }
    let found: Option<i64> = on_db!(db, |pool| {
        sqlx::query_scalar(FIND).bind(account.get()).bind(address).fetch_optional(pool).await
    })?;
    Ok(found.is_some())
}

/// As [`address_is_known`], of the account with this e-mail address, if there is one.
pub(crate) async fn address_is_known_for(
    db: &Db,
    email: &Email,
    address: &str,
) -> Result<bool, StoreError> {
    const FIND: &str = "select session.id from account \
         join session on session.account_id = account.id \
         where account.email = $1 and session.address = $2 limit 1";
    if address.is_empty() {
        return Ok(false);
    }
    let found: Option<i64> = on_db!(db, |pool| {
        sqlx::query_scalar(FIND).bind(email.as_str()).bind(address).fetch_optional(pool).await
    })?;
    Ok(found.is_some())
}

/// Notes that a session was used: it may rest for as long again.
pub(crate) async fn session_touch(
    tx: &mut Tx,
    session: &Session,
    now: UnixMillis,
) -> Result<(), StoreError> {
    const TOUCH: &str = "update session set last_seen_at_ms = $2, idle_expires_at_ms = $3 \
         where id = $1 and last_seen_at_ms < $2";
    let idle = Life::of(session.is_remembered).idle;
    on_tx!(tx, |conn| {
        let query = sqlx::query(TOUCH).bind(session.id.get()).bind(now.get());
        let query = query.bind(now.saturating_add(idle).get());
        query.execute(conn).await.map(|done| done.rows_affected())
    })?;
    Ok(())
}

/// Gives a session a new token; false if it is over or, with `old`, if it has another by now.
pub(crate) async fn session_rotate(
    tx: &mut Tx,
    id: SessionId,
    old: Option<&TokenHash>,
    new: &TokenHash,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    const REMEMBER: &str = "insert into session_replaced (token_hash, session_id, replaced_at_ms) \
         select token_hash, id, $2 from session \
         where id = $1 and revoked_at_ms is null and token_hash = coalesce($3, token_hash)";
    const ROTATE: &str = "update session set token_hash = $2, token_at_ms = $3 where id = $1";
    let remembered = on_tx!(tx, |conn| {
        let query = sqlx::query(REMEMBER).bind(id.get()).bind(now.get());
        let query = query.bind(old.map(<[u8; 32]>::as_slice));
        query.execute(conn).await.map(|done| done.rows_affected())
    })?;
    if remembered == 0 {
        return Ok(false);
    }
    on_tx!(tx, |conn| {
        let query = sqlx::query(ROTATE).bind(id.get()).bind(new.as_slice()).bind(now.get());
        query.execute(conn).await.map(|done| done.rows_affected())
    })?;
    Ok(true)
}

/// Gives a session another token in place of one that nobody has used, for whoever has the token before
/// that; false if it was used by now, or replaced once more. Both of them have been replaced just now.
pub(crate) async fn session_regain(
    tx: &mut Tx,
    session: &Session,
    old: &TokenHash,
    new: &TokenHash,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    const AGAIN: &str = "update session_replaced set replaced_at_ms = $3 \
         where token_hash = $1 and session_id = $2 and replaced_at_ms = $4 \
           and exists (select 1 from session where id = $2 and revoked_at_ms is null \
             and token_at_ms = $4 and last_seen_at_ms = $4)";
    let done = on_tx!(tx, |conn| {
        let query = sqlx::query(AGAIN).bind(old.as_slice()).bind(session.id.get());
        let query = query.bind(now.get()).bind(session.token_at.get());
        query.execute(conn).await.map(|done| done.rows_affected())
    });
    if done? == 0 {
        return Ok(false);
    }
    session_touch(tx, session, now).await?;
    session_rotate(tx, session.id, None, new, now).await
}

/// Notes that whoever has this session has just shown who they are.
pub(crate) async fn session_confirm(
    tx: &mut Tx,
    id: SessionId,
    by_second: bool,
    now: UnixMillis,
) -> Result<(), StoreError> {
    const CONFIRM: &str = "update session set auth_at_ms = $2, \
           second_factor = (second_factor or $3) where id = $1";
    on_tx!(tx, |conn| {
        let query = sqlx::query(CONFIRM).bind(id.get()).bind(now.get()).bind(by_second);
        query.execute(conn).await.map(|done| done.rows_affected())
    })?;
    Ok(())
}

/// Ends one session of an account; false if there is none that could be ended.
pub(crate) async fn session_revoke(
    tx: &mut Tx,
    account: AccountId,
    id: SessionId,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    const REVOKE: &str = "update session set revoked_at_ms = $3 \
         where id = $1 and account_id = $2 and revoked_at_ms is null and expires_at_ms > $3";
    let done = on_tx!(tx, |conn| {
        let query = sqlx::query(REVOKE).bind(id.get()).bind(account.get()).bind(now.get());
        query.execute(conn).await.map(|done| done.rows_affected())
    });
    Ok(done? == 1)
}

/// Ends all sessions of an account but this one; how many those were.
pub(crate) async fn sessions_revoke(
    tx: &mut Tx,
    account: AccountId,
    but: Option<SessionId>,
    now: UnixMillis,
) -> Result<u64, StoreError> {
    const REVOKE: &str = "update session set revoked_at_ms = $3 \
         where account_id = $1 and id <> $2 and revoked_at_ms is null and expires_at_ms > $3";
    // No session has the id 0.
    let but = but.map_or(0, SessionId::get);
    Ok(on_tx!(tx, |conn| {
        let query = sqlx::query(REVOKE).bind(account.get()).bind(but).bind(now.get());
        query.execute(conn).await.map(|done| done.rows_affected())
    })?)
}

/// Removes all that is known of an account's sessions.
pub(crate) async fn sessions_forget(tx: &mut Tx, account: AccountId) -> Result<(), StoreError> {
    const FORGET: &str = "delete from session where account_id = $1";
    on_tx!(tx, |conn| {
        sqlx::query(FORGET).bind(account.get()).execute(conn).await.map(|done| done.rows_affected())
    })?;
    Ok(())
}
