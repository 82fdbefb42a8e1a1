//! The control database of a test, and what a test does to it behind the program's back.

use std::path::{Path, PathBuf};

#[cfg(feature = "postgres-tests")]
use sqlx::Connection as _;
use sqlx::{Sqlite, SqlitePool, Transaction};

#[cfg(feature = "postgres-tests")]
use super::postgres::TestPostgres;

/// Whether these files are compiled into the target that runs them on PostgreSQL.
#[cfg(feature = "postgres-tests")]
const IS_POSTGRES: bool = matches!(env!("CARGO_CRATE_NAME").as_bytes(), b"it_postgres");

/// What a control plane's transaction takes first, whatever its version: `db/postgres.rs`.
#[cfg(feature = "postgres-tests")]
const WRITER_LOCK: i64 = 0x63_61_72_6f_6d_01;

pub(crate) enum TestDatabase {
    Sqlite(PathBuf),
    #[cfg(feature = "postgres-tests")]
    Postgres(TestPostgres),
}

/// As if another program wrote: the control plane's writer waits until this is released.
pub(crate) enum WriteLock {
    Sqlite(Transaction<'static, Sqlite>),
    #[cfg(feature = "postgres-tests")]
    Postgres(sqlx::postgres::PgConnection),
}

impl TestDatabase {
    /// `folder` is where a file may be made.
    pub(crate) async fn new(folder: &Path) -> Self {
        #[cfg(feature = "postgres-tests")]
        if IS_POSTGRES {
            return Self::Postgres(TestPostgres::new(true).await);
        }
        std::future::ready(Self::Sqlite(folder.join("carom.db"))).await
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite(path) => format!("sqlite://{}", path.display()),
            #[cfg(feature = "postgres-tests")]
            Self::Postgres(database) => database.url.clone(),
        }
    }

    /// Runs a statement and lets go of the database.
    pub(crate) async fn execute(&self, sql: &'static str) {
        match self {
            Self::Sqlite(path) => {
                let pool = SqlitePool::connect(path.to_str().unwrap()).await.unwrap();
                sqlx::query(sql).execute(&pool).await.unwrap();
                pool.close().await;
            }
            #[cfg(feature = "postgres-tests")]
            Self::Postgres(database) => {
                let mut connection = database.connect().await;
                sqlx::query(sql).execute(&mut connection).await.unwrap();
            }
        }
    }

    pub(crate) async fn lock_writes(&self) -> WriteLock {
        match self {
            Self::Sqlite(path) => {
                let pool = SqlitePool::connect(path.to_str().unwrap()).await.unwrap();
                WriteLock::Sqlite(pool.begin_with("begin immediate").await.unwrap())
            }
            #[cfg(feature = "postgres-tests")]
            Self::Postgres(database) => {
                let mut connection = database.connect().await;
                let lock = sqlx::query("select pg_advisory_lock($1)").bind(WRITER_LOCK);
                lock.execute(&mut connection).await.unwrap();
                WriteLock::Postgres(connection)
            }
        }
    }
}

impl WriteLock {
    pub(crate) async fn release(self) {
        match self {
            Self::Sqlite(tx) => tx.rollback().await.unwrap(),
            #[cfg(feature = "postgres-tests")]
            Self::Postgres(connection) => connection.close().await.unwrap(),
        }
    }
}
