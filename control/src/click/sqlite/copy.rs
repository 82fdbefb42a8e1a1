//! What backups ask of the store of clicks.

use sqlx::sqlite::SqlitePool;

use super::{ClickStore, count};
use crate::db::{SqliteFile, StoreError};

impl ClickStore {
    /// A copy that is only read.
    pub(crate) fn of_copy(copy: SqlitePool) -> Self {
        // What would write fails: the copy is open for reading.
        Self { file: SqliteFile { read: copy.clone(), write: copy } }
    }

    /// The connections that read.
    pub(crate) const fn readers(&self) -> &SqlitePool {
        &self.file.read
    }

    /// How many batches the ledger knows.
    pub(crate) async fn batches(&self) -> Result<u64, StoreError> {
        const COUNT: &str = "select count(*) from batch";
        count(sqlx::query_scalar(COUNT).fetch_one(&self.file.read).await?)
    }
}
