//! A lock of PostgreSQL that is held for as long as a connection lives: one process of many does
//! what one is enough for.

use std::time::Duration;

use carom_shared::FeedPosition;
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tokio::time::timeout;

use super::postgres::PostgresAt;
use super::{DbOpenError, StoreError};
use crate::feed::store::feed_head_of;

/// What the keeper's advisory lock is called: `carom` in ASCII, and 3. Versions that run side by
/// side during an upgrade must agree on it.
pub(crate) const KEEPER_LOCK: i64 = 0x63_61_72_6f_6d_03;
/// How long the server has for an answer. All questions here are short.
const PATIENCE: Duration = Duration::from_secs(2);

/// The lock, held or not.
pub(crate) struct SessionLock {
    at: PostgresAt,
    lock: i64,
    session: Option<(PgConnection, bool)>,
}

impl SessionLock {
    pub(crate) const fn new(at: PostgresAt, lock: i64) -> Self {
        Self { at, lock, session: None }
    }

    /// Whether it is held now, taking it if nobody has it. That it was held before is not asked
    /// again: the next question on this connection says so.
    pub(crate) async fn hold(&mut self) -> Result<bool, StoreError> {
        let (at, lock) = (&self.at, self.lock);
        let (mut connection, is_held) = match self.session.take() {
            Some(session) => session,
            None => (within(open(at)).await?, false),
        };
        let is_held = is_held || {
            const TAKE: &str = "select pg_try_advisory_lock($1)";
            let take = sqlx::query_scalar(TAKE).bind(lock);
            within(async { Ok(take.fetch_one(&mut connection).await?) }).await?
        };
        self.session = Some((connection, is_held));
        Ok(is_held)
    }

    /// The last change that has a number, asked on the connection that holds the lock. After an
    /// error it is not held any more.
    pub(crate) async fn feed_head(&mut self) -> Result<FeedPosition, StoreError> {
        let Some((mut connection, is_held)) = self.session.take() else {
            return Err(StoreError::Database(sqlx::Error::PoolClosed));
        };
        let head = within(feed_head_of(&mut connection)).await?;
        self.session = Some((connection, is_held));
        Ok(head)
    }

    /// Lets somebody else have it.
    pub(crate) async fn release(self) {
        if let Some((connection, _)) = self.session {
            // Whoever does not answer loses the connection, and with it the lock.
            drop(timeout(PATIENCE, connection.close()).await);
        }
    }
}

/// A connection that the server misses soon after this machine is gone.
async fn open(at: &PostgresAt) -> Result<PgConnection, StoreError> {
    let mut connection = at.connect().await.map_err(|error| match error {
        DbOpenError::Open { source, .. } => StoreError::Database(source),
        _ => StoreError::Database(sqlx::Error::PoolClosed),
    })?;
    const KEEPALIVE: &str = "select set_config('tcp_keepalives_idle', '2', false), \
         set_config('tcp_keepalives_interval', '1', false), \
         set_config('tcp_keepalives_count', '3', false), \
         set_config('statement_timeout', '2000', false)";
    sqlx::query(KEEPALIVE).execute(&mut connection).await?;
    Ok(connection)
}

async fn within<T>(asked: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    timeout(PATIENCE, asked).await.unwrap_or(Err(StoreError::Database(sqlx::Error::PoolTimedOut)))
}
