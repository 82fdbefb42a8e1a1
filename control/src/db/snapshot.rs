//! A copy of a SQLite file while others write to it, and the look at such a copy.

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqlitePool, SqlitePoolOptions};
use sqlx::{ConnectOptions, Connection};

use super::{DbOpenError, Schema, StoreError};

/// Complaints about a damaged file that are read, at most.
const COMPLAINTS_MAX: usize = 3;

/// Why a file is not a database that this program can use.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    #[error("the database {path} is damaged: {complaint}")]
    Damaged { path: String, complaint: String },
    #[error(transparent)]
    Open(#[from] DbOpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Writes the database as it is at one moment into a file that is not there yet; returns its
/// schema's version.
///
/// `vacuum into` reads in one transaction: in WAL mode it holds up no writer, only what it keeps of
/// the log from being written back, until it is done. What was deleted is not in the copy. It is
/// not synced: whoever makes it reads it at once.
pub(crate) async fn copy_to(pool: &SqlitePool, to: &Path) -> Result<i64, StoreError> {
    // A connection of its own: readers of the pool may not write, not even another file.
    let from = pool.connect_options();
    let mut copying = from.as_ref().clone().pragma("query_only", "off").connect().await?;
    let copied = sqlx::query("vacuum into ?").bind(to.display().to_string());
    let copied = copied.execute(&mut copying).await;
    copying.close().await?;
    copied?;
    let mut copy = read_only(to).connect().await?;
    let version = schema_version(&mut copy).await;
    copy.close().await?;
    Ok(version?)
}

/// Opens a copy, to be read.
pub(crate) async fn open_copy(path: &Path) -> Result<SqlitePool, StoreError> {
    Ok(SqlitePoolOptions::new().max_connections(1).connect_with(read_only(path)).await?)
}

/// Looks at every page of a file that nobody has open; returns its schema's version, which is not
/// newer than `schema`.
pub(crate) async fn check(path: &Path, schema: Schema) -> Result<i64, CheckError> {
    let shown = path.display().to_string();
    let damaged = |complaint: String| CheckError::Damaged { path: shown.clone(), complaint };
    let failed = |error: sqlx::Error| match &error {
        // SQLITE_CORRUPT, SQLITE_NOTADB, SQLITE_ERROR: no such table.
        sqlx::Error::Database(told)
            if told.code().is_some_and(|code| matches!(&*code, "1" | "11" | "26" | "267")) =>
        {
            damaged(told.message().to_owned())
        }
        _ => CheckError::Store(error.into()),
    };
    let mut connection = read_only(path).connect().await.map_err(failed)?;
    const CHECK: &str = "pragma integrity_check(3)";
    let complaints: Vec<String> =
        sqlx::query_scalar(CHECK).fetch_all(&mut connection).await.map_err(failed)?;
    if complaints != ["ok"] {
        let complaints = complaints.iter().take(COMPLAINTS_MAX).map(String::as_str);
        return Err(damaged(complaints.collect::<Vec<_>>().join("; ")));
    }
    let found = schema_version(&mut connection).await.map_err(failed)?;
    connection.close().await.map_err(failed)?;
    let known = schema.last().map_or(0, |&(version, ..)| version);
    if found > known {
        return Err(DbOpenError::Newer { path: shown, found, known }.into());
    }
    Ok(found)
}

fn read_only(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(path).read_only(true)
}

async fn schema_version(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    const VERSION: &str = "select coalesce(max(version), 0) from _sqlx_migrations";
    sqlx::query_scalar(VERSION).fetch_one(connection).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{SCHEMA_SQLITE, SqliteFile};

    #[tokio::test]
    async fn a_copy_is_of_one_moment_and_holds_up_no_writer() {
        let folder = tempfile::tempdir().unwrap();
        let file = SqliteFile::open(&folder.path().join("a.db"), SCHEMA_SQLITE).await.unwrap();
        let write = |sql: &'static str| sqlx::query(sql).execute(&file.write);
        write("create table filler (id integer primary key, a blob, b blob)").await.unwrap();
        write("create table pair (a integer, b integer)").await.unwrap();
        write(
            "with recursive n (i) as (select 1 union all select i + 1 from n where i < 20000) \
             insert into filler select i, randomblob(1000), randomblob(10) from n",
        )
        .await
        .unwrap();
        let to = folder.path().join("copy.db");
        let copying = copy_to(&file.read, &to);
        let mut copying = std::pin::pin!(copying);
        let mut written = 0_u64;
        let version = loop {
            tokio::select! {
                biased;
                version = &mut copying => break version.unwrap(),
                done = write("insert into pair values (1, 1)") => {
                    done.unwrap();
                    written += 1;
                }
            }
        };
        assert_eq!(version, SCHEMA_SQLITE.last().unwrap().0);
        assert!(written > 0, "nothing was written while it was copied");
        assert_eq!(check(&to, SCHEMA_SQLITE).await.unwrap(), version);
        let newer = check(&to, &SCHEMA_SQLITE[..1]).await.unwrap_err();
        assert!(matches!(newer, CheckError::Open(DbOpenError::Newer { .. })), "{newer:?}");
        file.close().await;
    }

    #[tokio::test]
    async fn damage_and_other_files_are_told_from_databases() {
        let folder = tempfile::tempdir().unwrap();
        let file = SqliteFile::open(&folder.path().join("a.db"), SCHEMA_SQLITE).await.unwrap();
        let to = folder.path().join("copy.db");
        copy_to(&file.read, &to).await.unwrap();
        file.close().await;
        let whole = std::fs::read(&to).unwrap();
        let zeroed = [&whole[..4096], &vec![0; whole.len() - 4096][..]].concat();
        for bytes in [&b"not a database at all, but longer than its header says it is"[..], &zeroed]
        {
            std::fs::write(&to, bytes).unwrap();
            let error = check(&to, SCHEMA_SQLITE).await.unwrap_err();
            assert!(matches!(error, CheckError::Damaged { .. }), "{error:?}");
        }
    }
}
