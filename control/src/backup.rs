//! Both stores as they were at one moment, for a backup, and what becomes of such copies.
//!
//! The order is what makes them fit: **clicks first, then links.** A link exists before it is
//! clicked, and no row of it is ever removed, so every click of the first copy finds its link in
//! the second. Lists show clicks that are carried over from the store of clicks to that of links;
//! between the two copies nothing is carried, or links would show clicks that the other copy does
//! not have.
//!
//! Clicks in ClickHouse are elsewhere: a copy holds how many batches that knew. If asked for, they are
//! copied into a file as if they were in one: of the tables as they were at one moment, so that all above
//! holds for them too.

use std::path::Path;

use carom_shared::batch::{Batch, Token};
use carom_shared::{Clock, SystemRandom, UnixMillis};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqlitePool;

use crate::app::App;
use crate::click::clickhouse::{self, Cut};
use crate::click::moving::copy::{Source, copy};
use crate::click::sqlite::{self, ClickStore};
use crate::click::{self, Stored, Totals};
use crate::config::{ClicksAt, Config, DatabaseAt};
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

/// Clicks that are not in a copy, because a ClickHouse has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClicksElsewhere {
    /// Where they were; without a password.
    pub at: String,
    /// Batches that its ledger knew before the links were copied.
    pub batches: u64,
    pub totals: Totals,
}

/// What is in both copies. One of `clicks` and `elsewhere` is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    pub links: LinksCopied,
    pub clicks: Option<ClicksCopied>,
    pub elsewhere: Option<ClicksElsewhere>,
}

/// What becomes of clicks in ClickHouse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedClicks {
    /// They stay out: ClickHouse has its own tool for this.
    LeaveOut,
    /// They are copied into a file.
    Copy,
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
        "clicks.cluster is set, and clicks of a cluster cannot be copied into a file: leave --clicks (or \
         backup.clicks) out, and back the cluster up with its own BACKUP DATABASE"
    )]
    Cluster,
    #[error("cannot copy {file}")]
    Store { file: &'static str, source: StoreError },
}

impl App {
    /// Copies clicks and then links into files of a folder, while they are written to.
    ///
    /// # Errors
    /// [`CopyError`]; what is in the folder then is of no use.
    pub async fn copy_stores(&self, dir: &Path, shared: SharedClicks) -> Result<Copied, CopyError> {
        let Db::Sqlite(links_pool) = self.read() else { return Err(CopyError::Postgres) };
        let carried = self.carrying().lock().await;
        let failed = |file| move |source| CopyError::Store { file, source };
        let of_clicks = failed(CLICKS_FILE);
        let store = match self.clicks().map_err(of_clicks)? {
            click::ClickStore::Sqlite(clicks) => {
                let clicks = Some(copy_clicks(clicks, dir).await.map_err(of_clicks)?);
                let links = copy_links(links_pool, dir).await.map_err(failed(LINKS_FILE))?;
                return Ok(Copied { links, clicks, elsewhere: None });
            }
            click::ClickStore::ClickHouse(store) => store,
        };
        if shared == SharedClicks::LeaveOut {
            let elsewhere = store.elsewhere().await.map_err(of_clicks)?;
            let links = copy_links(links_pool, dir).await.map_err(failed(LINKS_FILE))?;
            return Ok(Copied { links, clicks: None, elsewhere: Some(elsewhere) });
        }
        let cut = Cut::make(store).await.map_err(of_clicks)?;
        let links = copy_links(links_pool, dir).await.map_err(failed(LINKS_FILE));
        // What the clicks are read from does not change any more.
        drop(carried);
        let copied = copy_cut(&cut, dir, self.now()).await.map_err(of_clicks);
        cut.remove().await.map_err(of_clicks)?;
        Ok(Copied { links: links?, clicks: Some(copied?), elsewhere: None })
    }

    /// Whether its stores can be copied so.
    ///
    /// # Errors
    /// [`CopyError::Postgres`], [`CopyError::Cluster`].
    pub fn can_be_copied(&self, shared: SharedClicks) -> Result<(), CopyError> {
        let is_cluster = self.are_clicks_shared() && !self.config().clicks.cluster.is_empty();
        match self.read() {
            Db::Postgres(_) => Err(CopyError::Postgres),
            Db::Sqlite(_) if is_cluster && shared == SharedClicks::Copy => Err(CopyError::Cluster),
            Db::Sqlite(_) => Ok(()),
        }
    }
}

/// Copies clicks as they were into a file.
async fn copy_cut(cut: &Cut, dir: &Path, now: UnixMillis) -> Result<ClicksCopied, StoreError> {
    let reader = cut.reader().await?;
    let path = dir.join(CLICKS_FILE);
    let made = ClickStore::open(&path).await.map_err(|error| {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "cannot make a copy of the clicks"
        );
        StoreError::Corrupt("copy of the clicks")
    })?;
    let target = click::ClickStore::Sqlite(made.clone());
    let copied = async {
        copy(&Source::ClickHouse(reader), &target, "copy", now, &mut |_| {}).await?;
        let schema = sqlite::SCHEMA.last().map_or(0, |&(version, ..)| version);
        clicks_copied(&made, schema).await
    };
    let copied = copied.await;
    made.close().await;
    copied
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
    clicks: Option<RestoredClicks>,
    copied: Copied,
}

/// Where clicks go that waited.
#[derive(Debug)]
enum RestoredClicks {
    File(ClickStore),
    ClickHouse(clickhouse::ClickStore),
}

/// Why clicks that are not in a backup cannot be joined with it.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error(
        "the clicks are not in this backup: they were in the ClickHouse at {0}. Set clicks.url to a ClickHouse that \
         has them (restored from its own backup, made after this one, or still as it was)"
    )]
    NoStore(String),
    #[error(
        "{at} has no clicks, and {was} had {batches} batches of them when the backup was made: restore its own \
         backup there first"
    )]
    Empty { at: String, was: String, batches: u64 },
    #[error(transparent)]
    Setting(#[from] carom_shared::settings::InvalidSetting),
    #[error(transparent)]
    NotServed(#[from] click::moving::ClicksNotServed),
    #[error(transparent)]
    Open(#[from] crate::db::DbOpenError),
    #[error("cannot ask the store of clicks")]
    Store(#[from] StoreError),
}

impl Restoring {
    /// Checks every page of the copies in a folder, and brings them to this version's schema. `elsewhere` is
    /// what the backup says of clicks that are not in it.
    ///
    /// # Errors
    /// [`CheckError`] names the copy that is damaged, or newer than this program.
    pub async fn open(dir: &Path, elsewhere: Option<ClicksElsewhere>) -> Result<Self, CheckError> {
        let links_path = dir.join(LINKS_FILE);
        let links_schema = check(&links_path, SCHEMA_SQLITE).await?;
        let (mut clicks, mut clicks_copied) = (None, None);
        if elsewhere.is_none() {
            let path = dir.join(CLICKS_FILE);
            let schema = check(&path, sqlite::SCHEMA).await?;
            let store = ClickStore::open(&path).await?;
            clicks_copied = Some(self::clicks_copied(&store, schema).await?);
            clicks = Some(RestoredClicks::File(store));
        }
        let links = Database::open(&DatabaseAt::Sqlite(links_path)).await?;
        let copied = Copied {
            links: LinksCopied {
                schema: links_schema,
                links: link_count(&links.read, None).await?,
            },
            clicks: clicks_copied,
            elsewhere,
        };
        Ok(Self { links, clicks, copied })
    }

    /// Finds the clicks that are not in the copies, where `config` says: what waited goes there.
    ///
    /// # Errors
    /// [`JoinError`]
    pub async fn join(&mut self, config: &Config) -> Result<(), JoinError> {
        let Some(elsewhere) = &self.copied.elsewhere else { return Ok(()) };
        let at = config.clicks.at(&config.data_dir)?;
        let Some(ClicksAt::ClickHouse { server, cluster }) = at else {
            return Err(JoinError::NoStore(elsewhere.at.clone()));
        };
        let store = clickhouse::ClickStore::open(server.clone(), &cluster).await?;
        click::moving::may_be_served(&click::ClickStore::ClickHouse(store.clone())).await?;
        if elsewhere.batches > 0 && store.is_unused().await? {
            let (was, batches) = (elsewhere.at.clone(), elsewhere.batches);
            return Err(JoinError::Empty { at: server.shown(), was, batches });
        }
        self.clicks = Some(RestoredClicks::ClickHouse(store));
        Ok(())
    }

    /// Where the clicks are, if they are not in the copies; without a password.
    #[must_use]
    pub fn clicks_at(&self) -> Option<String> {
        match &self.clicks {
            Some(RestoredClicks::ClickHouse(store)) => Some(store.shown()),
            Some(RestoredClicks::File(_)) | None => None,
        }
    }

    /// What was found in them.
    #[must_use]
    pub const fn copied(&self) -> &Copied {
        &self.copied
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
        match &self.clicks {
            None => Err(StoreError::NoClicks),
            Some(RestoredClicks::File(store)) => store.store(token, batch, cut_at).await,
            Some(RestoredClicks::ClickHouse(store)) => store.store(token, batch, cut_at).await,
        }
    }

    /// Totals of the clicks as they are now.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    pub async fn totals(&self) -> Result<Totals, StoreError> {
        match &self.clicks {
            None => Err(StoreError::NoClicks),
            Some(RestoredClicks::File(store)) => Ok(store.summary().await?.totals),
            Some(RestoredClicks::ClickHouse(store)) => Ok(store.summary().await?.totals),
        }
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

    /// Closes all with their logs written back.
    pub async fn close(self) {
        self.links.close().await;
        if let Some(RestoredClicks::File(store)) = self.clicks {
            store.close().await;
        }
    }
}
