//! The control database: the pools, the dispatch over drivers, the errors, the schema's versions.
//!
//! SQL is written once, in the subset that SQLite and PostgreSQL share, and runs through
//! [`on_db!`] or [`on_tx!`], which compile its body once per driver as ordinary typed sqlx:
//!
//! - `$1…$n`, each bound exactly once: SQLite reads an unbound `$n` as NULL.
//! - ids and times come from Rust, as 64-bit integers; no `now()`, no sequences.
//! - types: integer, text, boolean, bytes. SQLite's tables are `strict`.
//! - `insert … on conflict … returning`, never a failed insert: in PostgreSQL that would undo the
//!   whole transaction.
//! - no collations, arrays, JSON operators. Case is folded in Rust.
//! - sums and counts are cast to bigint; every list has a total order and pages by key.
//!
//! SQLite runs in WAL mode with `synchronous = full`: a commit that returned is on disk. One
//! connection writes, a few read beside it.

use std::path::Path;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{SqlSafeStr, Sqlite, SqlitePool, Transaction};

/// Connections that read, per SQLite file.
const READERS_MAX: u32 = 4;
/// How long a statement waits for a lock that another program holds on the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// KiB of pages that the connection which writes keeps, at most: the upper levels of its trees stay
/// in memory. Readers have SQLite's own 2,000.
const WRITER_CACHE_KIB: u32 = 16 * 1024;
/// Pages of the log after which it is written back into the file: each time, both files are flushed
/// while commands wait. With SQLite's own 1,000 and its small cache, 64 callers made 6,000 links a
/// second instead of 9,200.
const CHECKPOINT_PAGES: u32 = 4000;
/// How long a request waits for a free connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// A pool of one of the supported databases.
#[derive(Clone, Debug)]
pub(crate) enum Db {
    Sqlite(SqlitePool),
}

/// Where to read and where to write. PostgreSQL has one pool for both.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    pub(crate) read: Db,
    pub(crate) write: Db,
}

/// A transaction that writes; rolled back unless committed.
#[derive(Debug)]
pub(crate) enum Tx {
    Sqlite(Transaction<'static, Sqlite>),
}

/// Runs one body on whichever pool is open.
macro_rules! on_db {
    ($db:expr, |$pool:ident| $body:expr) => {
        match $db {
            $crate::db::Db::Sqlite($pool) => $body,
        }
    };
}

/// Runs one body on the connection of whichever transaction is open.
macro_rules! on_tx {
    ($tx:expr, |$conn:ident| $body:expr) => {
        match $tx {
            $crate::db::Tx::Sqlite(tx) => {
                let $conn = &mut **tx;
                $body
            }
        }
    };
}

pub(crate) use {on_db, on_tx};

/// Why a store could not do what it was asked. Nothing of it is for clients.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    #[error("the database holds an impossible {0}; restore a backup or report a defect")]
    Corrupt(&'static str),
    #[error("{0} random {1} in a row were taken")]
    Exhausted(usize, &'static str),
}

impl StoreError {
    /// Whether trying again later can help: all connections are busy, or the store is closing.
    pub(crate) const fn is_unavailable(&self) -> bool {
        matches!(self, Self::Database(sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed))
    }
}

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum DbOpenError {
    #[error("cannot open the database {path}")]
    Open { path: String, source: sqlx::Error },
    #[error(
        "the database {path} was written by a newer version of Carom (schema {found}, this version \
         knows {known}); start that version, or restore a backup made before the upgrade"
    )]
    Newer { path: String, found: i64, known: i64 },
    #[error("cannot bring the database {path} to this version's schema")]
    Migrate { path: String, source: MigrateError },
}

impl Database {
    pub(crate) async fn open_sqlite(path: &Path) -> Result<Self, DbOpenError> {
        let SqliteFile { read, write } = SqliteFile::open(path, SCHEMA).await?;
        Ok(Self { read: Db::Sqlite(read), write: Db::Sqlite(write) })
    }

    pub(crate) async fn begin(&self) -> Result<Tx, StoreError> {
        Ok(match &self.write {
            // Immediate: a transaction that began by reading could fail to become a writer.
            Db::Sqlite(pool) => Tx::Sqlite(pool.begin_with("begin immediate").await?),
        })
    }

    pub(crate) async fn close(&self) {
        match (&self.read, &self.write) {
            (Db::Sqlite(read), Db::Sqlite(write)) => {
                SqliteFile { read: read.clone(), write: write.clone() }.close().await;
            }
        }
    }
}

impl Tx {
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(tx) => tx.commit().await?,
        }
        Ok(())
    }
}

/// A schema: each change of it, in order.
pub(crate) type Schema = &'static [(i64, &'static str, &'static str)];

macro_rules! schema {
    ($folder:literal: $($version:literal $name:literal),+ $(,)?) => {
        &[$((
            $version,
            $name,
            include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/migrations/",
                $folder,
                "/",
                $name,
                ".sql"
            )),
        )),+]
    };
}
pub(crate) use schema;

const SCHEMA: Schema = schema!("sqlite":
    1 "0001_workspace",
    2 "0002_domain",
    3 "0003_api_key",
    4 "0004_link",
    5 "0005_route",
    6 "0006_feed",
);

/// One SQLite file: a connection that writes, and some that read.
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
            .busy_timeout(BUSY_TIMEOUT);
        let open_error = |source| DbOpenError::Open { path: shown.clone(), source };
        let pool = || {
            SqlitePoolOptions::new()
                .acquire_timeout(ACQUIRE_TIMEOUT)
                .idle_timeout(None)
                .max_lifetime(None)
                // A connection to a file in this process does not go away by itself.
                .test_before_acquire(false)
        };
        let writer = options
            .clone()
            .pragma("cache_size", format!("-{WRITER_CACHE_KIB}"))
            .pragma("wal_autocheckpoint", CHECKPOINT_PAGES.to_string());
        let write = pool().max_connections(1).connect_with(writer);
        let write = write.await.map_err(open_error)?;
        if let Err(error) = migrate(&write, schema, &shown).await {
            write.close().await;
            return Err(error);
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

async fn migrate(pool: &SqlitePool, schema: Schema, path: &str) -> Result<(), DbOpenError> {
    let migrations = schema.iter().map(|&(version, name, sql)| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    });
    let migrator = Migrator::with_migrations(migrations.collect());
    let known = schema.last().map_or(0, |&(version, ..)| version);
    migrator.run(pool).await.map_err(|source| match source {
        MigrateError::VersionMissing(found) if found > known => {
            DbOpenError::Newer { path: path.into(), found, known }
        }
        source => DbOpenError::Migrate { path: path.into(), source },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_database_of_a_newer_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("carom.db");
        let newer: Schema = &[(1, "one", "select 1"), (2, "two", "select 1")];
        SqliteFile::open(&path, newer).await.unwrap().close().await;
        let error = SqliteFile::open(&path, &newer[..1]).await.unwrap_err();
        assert!(matches!(error, DbOpenError::Newer { found: 2, known: 1, .. }), "{error:?}");
    }

    #[tokio::test]
    async fn commits_are_durable_and_readers_cannot_write() {
        let folder = tempfile::tempdir().unwrap();
        let file = SqliteFile::open(&folder.path().join("a.db"), SCHEMA).await.unwrap();
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

    /// Each file of the folder is in the schema, under its own number.
    #[test]
    fn the_schema_is_the_folder() {
        for (folder, schema) in [
            ("migrations/sqlite", SCHEMA),
            ("migrations/clicks_sqlite", crate::click::sqlite::SCHEMA),
        ] {
            let mut files: Vec<String> =
                std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))
                    .unwrap()
                    .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                    .collect();
            files.sort();
            let listed: Vec<String> = schema
                .iter()
                .map(|(version, name, _)| {
                    assert!(name.starts_with(&format!("{version:04}_")));
                    format!("{name}.sql")
                })
                .collect();
            assert_eq!(files, listed);
        }
    }
}
