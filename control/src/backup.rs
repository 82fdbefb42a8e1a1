//! Both stores as they were at one moment, for a backup, and what becomes of such copies.
//!
//! The order is what makes them fit: **clicks first, then links.** A link exists before it is
//! clicked, and no row of it is ever removed, so every click of the first copy finds its link in
//! the second. Lists show clicks that are carried over from the store of clicks to that of links;
//! between the two copies nothing is carried, or links would show clicks that the other copy does
//! not have.

use std::path::Path;

use carom_shared::batch::{Batch, Token};
use carom_shared::{Clock, SystemRandom, UnixMillis};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqlitePool;

use crate::app::App;
use crate::click::sqlite::{self, ClickStore};
use crate::click::{self, Stored, Totals};
use crate::config::DatabaseAt;
use crate::db::snapshot::{check, copy_to, open_copy};
use crate::db::{Database, Db, SCHEMA_SQLITE, StoreError};
use crate::feed::store::feed_restart;
use crate::link::store::link_count;

pub use crate::db::snapshot::CheckError;

/// The copies' names.
pub const LINKS_FILE: &str = "carom.db";
pub const CLICKS_FILE: &str = "clicks.db";

/// What is in a copy of the links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinksCopied {
    /// Version of its schema.
    pub schema: i64,
    pub links: u64,
}

/// What is in a copy of the clicks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClicksCopied {
    /// Version of its schema.
    pub schema: i64,
    /// Batches that its ledger knows.
    pub batches: u64,
    pub totals: Totals,
}

/// What is in both copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    pub links: LinksCopied,
    pub clicks: ClicksCopied,
}

/// Why the stores cannot be copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error(
        "the links are in PostgreSQL, and this is for databases in files: stop carom, back the \
         database up with pg_dump, and copy clicks.db and spool/ from the data folder"
    )]
    Postgres,
    #[error(
        "the clicks are in ClickHouse, and this is for databases in files: back that up with its own \
         BACKUP DATABASE, and copy carom.db and spool/ while carom is stopped"
    )]
    ClickHouse,
    #[error("cannot copy {file}")]
    Store { file: &'static str, source: StoreError },
}

impl App {
    /// Copies clicks and then links into files of a folder, while they are written to.
    ///
    /// # Errors
    /// [`CopyError`]; what is in the folder then is of no use.
    pub async fn copy_stores(&self, dir: &Path) -> Result<Copied, CopyError> {
        let Db::Sqlite(links_pool) = self.read() else { return Err(CopyError::Postgres) };
        let _carried = self.carrying().lock().await;
        let failed = |file| move |source| CopyError::Store { file, source };
        let clicks = self.clicks().map_err(failed(CLICKS_FILE))?;
        let click::ClickStore::Sqlite(clicks) = clicks else { return Err(CopyError::ClickHouse) };
        let clicks = copy_clicks(clicks, dir).await.map_err(failed(CLICKS_FILE))?;
        let links = copy_links(links_pool, dir).await.map_err(failed(LINKS_FILE))?;
        Ok(Copied { links, clicks })
    }

    /// Whether its stores are files that can be copied.
    ///
    /// # Errors
    /// [`CopyError::Postgres`], [`CopyError::ClickHouse`].
    pub fn can_be_copied(&self) -> Result<(), CopyError> {
        match self.read() {
            Db::Postgres(_) => Err(CopyError::Postgres),
            Db::Sqlite(_) if matches!(self.clicks(), Ok(click::ClickStore::ClickHouse(_))) => {
                Err(CopyError::ClickHouse)
            }
            Db::Sqlite(_) => Ok(()),
        }
    }
}

async fn copy_clicks(clicks: &ClickStore, dir: &Path) -> Result<ClicksCopied, StoreError> {
    let path = dir.join(CLICKS_FILE);
    let schema = copy_to(clicks.readers(), &path).await?;
    let copy = open_copy(&path).await?;
    let copied = clicks_copied(&ClickStore::of_copy(copy.clone()), schema).await;
    copy.close().await;
    copied
}

async fn copy_links(links: &SqlitePool, dir: &Path) -> Result<LinksCopied, StoreError> {
    let path = dir.join(LINKS_FILE);
    let schema = copy_to(links, &path).await?;
    let copy = open_copy(&path).await?;
    let links = link_count(&Db::Sqlite(copy.clone()), None).await;
    copy.close().await;
    Ok(LinksCopied { schema, links: links? })
}

async fn clicks_copied(store: &ClickStore, schema: i64) -> Result<ClicksCopied, StoreError> {
    let (totals, batches) = (store.summary().await?.totals, store.batches().await?);
    Ok(ClicksCopied { schema, batches, totals })
}

/// Copies that were taken out of a backup, on the way to become the stores of an installation.
#[derive(Debug)]
pub struct Restoring {
    links: Database,
    clicks: ClickStore,
    copied: Copied,
}

impl Restoring {
    /// Checks every page of both copies in a folder, and brings them to this version's schema.
    ///
    /// # Errors
    /// [`CheckError`] names the copy that is damaged, or newer than this program.
    pub async fn open(dir: &Path) -> Result<Self, CheckError> {
        let (links_path, clicks_path) = (dir.join(LINKS_FILE), dir.join(CLICKS_FILE));
        let links_schema = check(&links_path, SCHEMA_SQLITE).await?;
        let clicks_schema = check(&clicks_path, sqlite::SCHEMA).await?;
        let links = Database::open(&DatabaseAt::Sqlite(links_path)).await?;
        let clicks = ClickStore::open(&clicks_path).await?;
        let copied = Copied {
            links: LinksCopied {
                schema: links_schema,
                links: link_count(&links.read, None).await?,
            },
            clicks: clicks_copied(&clicks, clicks_schema).await?,
        };
        Ok(Self { links, clicks, copied })
    }

    /// What was found in them.
    #[must_use]
    pub const fn copied(&self) -> Copied {
        self.copied
    }

    /// Stores a batch that waited when the copies were made, unless they have it; `cut_at` is when
    /// that was. By the time of the restore it may be too old for the ledger to be asked.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    pub async fn store(
        &self,
        token: &Token,
        batch: &Batch,
        cut_at: UnixMillis,
    ) -> Result<Stored, StoreError> {
        self.clicks.store(token, batch, cut_at).await
    }

    /// Totals of the clicks as they are now.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    pub async fn totals(&self) -> Result<Totals, StoreError> {
        Ok(self.clicks.summary().await?.totals)
    }

    /// Begins a new numbering of changes: the old one goes on elsewhere, with other changes.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn begin_anew(&self, clock: &dyn Clock) -> Result<(), StoreError> {
        let mut tx = self.links.begin().await?;
        feed_restart(&mut tx, clock.now(), &SystemRandom).await?;
        tx.commit().await
    }

    /// Closes both with their logs written back.
    pub async fn close(self) {
        self.links.close().await;
        self.clicks.close().await;
    }
}
