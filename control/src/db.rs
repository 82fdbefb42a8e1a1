//! The control database: the pools, the dispatch over drivers, the errors, the schema's versions.
//!
//! SQL is written once, in the subset that SQLite and PostgreSQL share, and runs through
//! [`on_db!`] or [`on_tx!`], which compile its body once per driver as ordinary typed sqlx:
//!
//! - `$1…$n`, each bound exactly once: SQLite reads an unbound `$n` as NULL.
//! - ids and times come from Rust, as 64-bit integers; no `now()`, no sequences.
//! - types: integer, text, boolean, bytes. SQLite's tables are `strict`, a boolean is an integer
//!   there and is written `true` or `false`. In PostgreSQL each integer is a `bigint`, because
//!   sqlx decodes nothing else as `i64`, and each text is `collate "C"`: it sorts and compares by
//!   its bytes, as in SQLite, and no update of the system's locales can break an index.
//! - `insert … on conflict … returning`, never a failed insert: in PostgreSQL that would undo the
//!   whole transaction.
//! - no collations, arrays, JSON operators. Case is folded in Rust.
//! - sums and counts are cast to bigint; every list has a total order and pages by key.
//!
//! What cannot be shared is an open `match` on [`Db`] or [`Tx`] with a comment that says why.
//!
//! In both databases one connection writes and a few read beside it, a commit that returned is on
//! disk, and one [`Tx`] writes at a time, over all processes.

pub mod check;
pub mod moving;
mod postgres;
mod session;
pub(crate) mod snapshot;
mod sqlite;

use std::time::Duration;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{PgPool, Postgres, SqlSafeStr, Sqlite, SqlitePool, Transaction};

use crate::click::clickhouse::ClickHouseError;
use crate::config::DatabaseAt;
pub(crate) use postgres::{CLICKS_LOCK, PostgresAt, PostgresPools};
pub(crate) use session::{KEEPER_LOCK, SessionLock};
pub(crate) use sqlite::SqliteFile;

/// How long a request waits for a free connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a statement waits for a lock that another program holds.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// A pool of one of the supported databases.
#[derive(Clone, Debug)]
pub(crate) enum Db {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// Where to read and where to write.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    pub(crate) read: Db,
    pub(crate) write: Db,
}

/// A transaction that writes; rolled back unless committed.
#[derive(Debug)]
pub(crate) enum Tx {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

/// Runs one body on whichever pool is open.
macro_rules! on_db {
    ($db:expr, |$pool:ident| $body:expr) => {
        match $db {
            $crate::db::Db::Sqlite($pool) => $body,
            $crate::db::Db::Postgres($pool) => $body,
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
            $crate::db::Tx::Postgres(tx) => {
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
    #[error("the store of clicks failed")]
    Clicks(#[from] ClickHouseError),
    /// A batch can never be stored as it is.
    #[error("the store of clicks refuses what is in the batch")]
    BatchRefused(#[source] ClickHouseError),
    #[error("this control plane keeps no clicks; another one on the same database does")]
    NoClicks,
    #[error("these links were moved to another database: serve that one")]
    Moved,
    #[error("{0} random {1} in a row were taken")]
    Exhausted(usize, &'static str),
}

impl StoreError {
    /// Whether trying again later can help: all connections are busy or lost, the server stops,
    /// starts or is a standby, somebody held a lock for too long, or the store is closing.
    pub(crate) fn is_unavailable(&self) -> bool {
        match self {
            Self::Database(
                sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_),
            ) => true,
            Self::Database(sqlx::Error::Database(error)) => {
                error.code().is_some_and(|code| is_unavailable_code(&code))
            }
            Self::Clicks(error) => error.is_unavailable(),
            // Another control plane, on that database, answers.
            Self::Moved => true,
            _ => false,
        }
    }
}

/// Codes of PostgreSQL have five characters (its manual, appendix A), those of SQLite at most four.
fn is_unavailable_code(code: &str) -> bool {
    match code {
        // SQLITE_BUSY, and with what: recovery, snapshot, timeout.
        "5" | "261" | "517" | "773" => true,
        // read_only_sql_transaction: a standby. query_canceled: the time of a statement is up.
        // lock_not_available, deadlock_detected, serialization_failure,
        // idle_in_transaction_session_timeout.
        "25006" | "25P03" | "57014" | "55P03" | "40P01" | "40001" => true,
        // Class 08: connection exception. Class 53: insufficient resources. 57P..: the server
        // stops, crashed, or starts.
        code => code.len() == 5 && ["08", "53", "57P"].iter().any(|class| code.starts_with(class)),
    }
}

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum DbOpenError {
    #[error("cannot open the database {path}")]
    Open { path: String, source: sqlx::Error },
    #[error("cannot open the database {path}: {problem}")]
    Tls { path: String, problem: String },
    #[error(
        "the database {path} was written by a newer version of Carom (schema {found}, this version \
         knows {known}); start that version, or restore a backup made before the upgrade"
    )]
    Newer { path: String, found: i64, known: i64 },
    #[error("cannot bring the database {path} to this version's schema")]
    Migrate { path: String, source: MigrateError },
    #[error(
        "the database {path} has the encoding {encoding} and cannot hold every text; create it \
         with encoding 'UTF8'"
    )]
    Encoding { path: String, encoding: String },
    #[error("cannot use the ClickHouse at {at}")]
    ClickHouse { at: String, source: ClickHouseError },
}

impl Database {
    /// Opens the database and brings its schema up to date.
    pub(crate) async fn open(at: &DatabaseAt) -> Result<Self, DbOpenError> {
        Ok(match at {
            DatabaseAt::Sqlite(path) => {
                let SqliteFile { read, write } = SqliteFile::open(path, SCHEMA_SQLITE).await?;
                Self { read: Db::Sqlite(read), write: Db::Sqlite(write) }
            }
            DatabaseAt::Postgres(at) => {
                let PostgresPools { read, write } =
                    PostgresPools::open(at, SCHEMA_POSTGRES).await?;
                Self { read: Db::Postgres(read), write: Db::Postgres(write) }
            }
        })
    }

    /// Begins the one transaction that writes; waits for another process's.
    pub(crate) async fn begin(&self) -> Result<Tx, StoreError> {
        // Each has a lock of its own for this, and takes it before the first statement: what a
        // transaction has read stays so until it writes.
        Ok(match &self.write {
            Db::Sqlite(pool) => Tx::Sqlite(pool.begin_with("begin immediate").await?),
            Db::Postgres(pool) => Tx::Postgres(postgres::begin(pool).await?),
        })
    }

    pub(crate) async fn close(&self) {
        match (&self.read, &self.write) {
            (Db::Sqlite(read), Db::Sqlite(write)) => {
                SqliteFile { read: read.clone(), write: write.clone() }.close().await;
            }
            (read, write) => {
                on_db!(read, |pool| pool.close().await);
                on_db!(write, |pool| pool.close().await);
            }
        }
    }
}

impl Tx {
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(tx) => tx.commit().await?,
            Self::Postgres(tx) => tx.commit().await?,
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

/// The control schema, whose changes have the same names in both databases.
macro_rules! control_schema {
    ($folder:literal) => {
        schema!($folder:
            1 "0001_workspace",
            2 "0002_domain",
            3 "0003_api_key",
            4 "0004_link",
            5 "0005_route",
            6 "0006_feed",
            7 "0007_secret",
            8 "0008_click_cursor",
            9 "0009_idempotency",
            10 "0010_salt",
            11 "0011_link_search",
            12 "0012_missing_code",
            13 "0013_imported_clicks",
            14 "0014_moved_clicks",
            15 "0015_moving",
            16 "0016_account",
            17 "0017_session",
            18 "0018_member",
            19 "0019_audit",
            20 "0020_key",
            21 "0021_domain",
            22 "0022_report",
            23 "0023_share",
            24 "0024_identity",
            25 "0025_click_loss",
            26 "0026_passkey",
            27 "0027_operator",
            28 "0028_held",
            29 "0029_invitation",
        )
    };
}

pub(crate) const SCHEMA_SQLITE: Schema = control_schema!("sqlite");
const SCHEMA_POSTGRES: Schema = control_schema!("postgres");

fn migrator(schema: Schema) -> Migrator {
    let migrations = schema.iter().map(|&(version, name, sql)| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    });
    Migrator::with_migrations(migrations.collect())
}

/// Tells a database that is newer than this program from one that cannot be changed.
fn refused_schema(schema: Schema, path: String, source: MigrateError) -> DbOpenError {
    let known = schema.last().map_or(0, |&(version, ..)| version);
    match source {
        MigrateError::VersionMissing(found) if found > known => {
            DbOpenError::Newer { path, found, known }
        }
        source => DbOpenError::Migrate { path, source },
    }
}

#[cfg(test)]
mod tests;
