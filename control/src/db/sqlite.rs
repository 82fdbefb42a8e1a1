//! One SQLite file: a connection that writes, and some that read.
//!
//! WAL mode with `synchronous = full`: a commit that returned is on disk.

use std::path::Path;
use std::time::Duration;

use sqlx::Connection;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use super::{ACQUIRE_TIMEOUT, DbOpenError, LOCK_TIMEOUT, Schema, migrator, refused_schema};

/// Connections that read, per file.
const READERS_MAX: u32 = 4;
/// KiB of pages that the connection which writes keeps, at most: the upper levels of its trees stay
/// in memory. Readers have SQLite's own 2,000.
const WRITER_CACHE_KIB: u32 = 16 * 1024;
/// Pages of the log after which it is written back into the file: each time, both files are flushed
/// while commands wait. With SQLite's own 1,000 and its small cache, 64 callers made 6,000 links a
/// second instead of 9,200.
const CHECKPOINT_PAGES: u32 = 4000;

/// Steps of SQLite's machine, some 50 us, after which a connection's thread gives way.
///
/// Niceness says who gets how much of a processor, not in which pieces: the kernel looks at its clock a few
/// hundred times a second, so a statement that does not give way keeps a visitor waiting for up to 4 ms where
/// both share one. Giving way costs less than a microsecond where nobody waits.
const GIVE_WAY_STEPS: i32 = 1000;

#[derive(Clone, Debug)]
pub(crate) struct SqliteFile {
    pub(crate) read: SqlitePool,
    pub(crate) write: SqlitePool,
}

impl SqliteFile {
    pub(crate) async fn open(path: &Path, schema: Schema) -> Result<Self, DbOpenError> {
        let shown = path.display().to_string();
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // Normal would lose acknowledged commits with the power.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(LOCK_TIMEOUT);
        let open_error = |source| DbOpenError::Open { path: shown.clone(), source };
        let pool = || {
            SqlitePoolOptions::new()
                .acquire_timeout(ACQUIRE_TIMEOUT)
                .idle_timeout(None::<Duration>)
                .max_lifetime(None::<Duration>)
                // A connection to a file in this process does not go away by itself.
                .test_before_acquire(false)
                .after_connect(|connection, _| {
                    Box::pin(async move {
                        connection.lock_handle().await?.set_progress_handler(
                            GIVE_WAY_STEPS,
                            || {
                                std::thread::yield_now();
                                true
                            },
                        );
                        Ok(())
                    })
                })
        };
        let writer = options
            .clone()
            .pragma("cache_size", format!("-{WRITER_CACHE_KIB}"))
            .pragma("wal_autocheckpoint", CHECKPOINT_PAGES.to_string())
            // What is deleted, as a salt, is overwritten wherever that costs no extra write.
            .pragma("secure_delete", "fast");
        let write = pool().max_connections(1).before_acquire(|connection, _| {
            Box::pin(async move {
                // After some errors, a full disk among them, SQLite rolls back by itself. sqlx goes
                // on counting that transaction, and begins no other on the connection, for ever.
                if connection.is_in_transaction() {
                    // A rollback that is under way is done when this is.
                    connection.ping().await?;
                }
                Ok(!connection.is_in_transaction())
            })
        });
        let write = write.connect_with(writer);
        let write = write.await.map_err(open_error)?;
        if let Err(error) = migrator(schema).run(&write).await {
            write.close().await;
            return Err(refused_schema(schema, shown, error));
        }
        let readers = options.pragma("query_only", "on");
        let read = pool().max_connections(READERS_MAX).connect_with(readers);
        let read = read.await.map_err(open_error)?;
        Ok(Self { read, write })
    }

    /// Closes every connection; the last one writes the log back into the file and removes it.
    pub(crate) async fn close(&self) {
        self.read.close().await;
        let checkpoint = sqlx::query("pragma wal_checkpoint(truncate)").execute(&self.write).await;
        if let Err(error) = checkpoint
            && !matches!(error, sqlx::Error::PoolClosed)
        {
            // The log stays beside the file and is read at the next start: nothing is lost.
            tracing::warn!(%error, "checkpoint at close failed");
        }
        self.write.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::SCHEMA_SQLITE;

    #[tokio::test]
    async fn a_database_of_a_newer_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("carom.db");
        let newer: Schema = &[(1, "one", "select 1"), (2, "two", "select 1")];
        SqliteFile::open(&path, newer).await.unwrap().close().await;
        let error = SqliteFile::open(&path, &newer[..1]).await.unwrap_err();
        assert!(matches!(error, DbOpenError::Newer { found: 2, known: 1, .. }), "{error:?}");
    }

    /// As a full disk leaves it: SQLite has rolled back by itself, and sqlx does not know.
    #[tokio::test]
    async fn a_connection_whose_transaction_sqlite_ended_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = SqliteFile::open(&folder.path().join("a.db"), SCHEMA_SQLITE).await.unwrap();
        for _ in 0..2 {
            let mut tx = file.write.begin_with("begin immediate").await.unwrap();
            sqlx::raw_sql("rollback").execute(&mut *tx).await.unwrap();
            drop(tx);
        }
        let tx = file.write.begin_with("begin immediate").await.unwrap();
        tx.commit().await.unwrap();
        file.close().await;
    }

    #[tokio::test]
    async fn commits_are_durable_and_readers_cannot_write() {
        let folder = tempfile::tempdir().unwrap();
        let file = SqliteFile::open(&folder.path().join("a.db"), SCHEMA_SQLITE).await.unwrap();
        let pragma = |sql: &'static str| sqlx::query_scalar::<_, i64>(sql).fetch_one(&file.write);
        assert_eq!(pragma("pragma synchronous").await.unwrap(), 2);
        assert_eq!(pragma("pragma foreign_keys").await.unwrap(), 1);
        let mode: String =
            sqlx::query_scalar("pragma journal_mode").fetch_one(&file.write).await.unwrap();
        assert_eq!(mode, "wal");
        let refused = sqlx::query("delete from feed").execute(&file.read).await;
        assert!(refused.unwrap_err().to_string().contains("readonly"));
        file.close().await;
    }
}
