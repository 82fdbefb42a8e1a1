//! The store of clicks, whichever it is.

use carom_shared::batch::{Batch, Token};
use carom_shared::{Click, LinkId, UnixMillis, WorkspaceId};

use super::export::{ClickPlace, ExportQuery, StoredClick};
use super::import::Fate;
use super::report::{Report, ReportQuery};
use super::sqlite::{PartPlace, ReportError};
use super::{Stored, Summary, TopLink, clickhouse, sqlite};
use crate::config::ClicksAt;
use crate::db::{DbOpenError, StoreError};
use crate::link::clicks::{ClickCursor, LinkClicks};

/// The store of clicks. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) enum ClickStore {
    Sqlite(sqlite::ClickStore),
    ClickHouse(clickhouse::ClickStore),
}

/// Asks whichever store there is: both answer alike.
macro_rules! on_store {
    ($store:expr, |$inner:ident| $body:expr) => {
        match $store {
            ClickStore::Sqlite($inner) => $body,
            ClickStore::ClickHouse($inner) => $body,
        }
    };
}

impl ClickStore {
    /// Opens it, and brings its schema up to date.
    pub(crate) async fn open(at: &ClicksAt) -> Result<Self, DbOpenError> {
        Ok(match at {
            ClicksAt::Sqlite(path) => Self::Sqlite(sqlite::ClickStore::open(path).await?),
            ClicksAt::ClickHouse { at, cluster } => {
                Self::ClickHouse(clickhouse::ClickStore::open(at.clone(), cluster).await?)
            }
        })
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(store) => store.close().await,
            Self::ClickHouse(store) => store.close(),
        }
    }

    /// Stores a batch under its token, once.
    pub(crate) async fn store(
        &self,
        token: &Token,
        batch: &Batch,
        now: UnixMillis,
    ) -> Result<Stored, StoreError> {
        on_store!(self, |store| store.store(token, batch, now).await)
    }

    /// Totals of everything.
    pub(crate) async fn summary(&self) -> Result<Summary, StoreError> {
        on_store!(self, |store| store.summary().await)
    }

    /// The links with the most clicks by people, most first.
    pub(crate) async fn top(&self, limit: u32) -> Result<Vec<TopLink>, StoreError> {
        on_store!(self, |store| store.top(limit).await)
    }

    /// Answers a question.
    pub(crate) async fn report(&self, query: &ReportQuery) -> Result<Report, ReportError> {
        on_store!(self, |store| store.report(query).await)
    }

    /// A page of a link's clicks, and whether there are more.
    pub(crate) async fn clicks_page(
        &self,
        query: &ExportQuery,
    ) -> Result<(Vec<StoredClick>, bool), StoreError> {
        on_store!(self, |store| store.clicks_page(query).await)
    }

    /// Clicks of all links behind a place, and whether there are more; those of a link in the order of
    /// time.
    pub(crate) async fn clicks_after(
        &self,
        after: Option<(LinkId, ClickPlace)>,
        limit: u32,
    ) -> Result<(Vec<(LinkId, StoredClick)>, bool), StoreError> {
        on_store!(self, |store| store.clicks_after(after, limit).await)
    }

    /// Stores those clicks of a file that are not there; says what became of each.
    pub(crate) async fn import(
        &self,
        clicks: &[(u32, Click<'_>)],
        kept_since_s: i64,
        now: UnixMillis,
        is_dry_run: bool,
    ) -> Result<Vec<Fate>, StoreError> {
        on_store!(self, |store| store.import(clicks, kept_since_s, now, is_dry_run).await)
    }

    /// Erases the clicks that a link has so far. Returns how many rows were deleted.
    pub(crate) async fn erase_link(
        &self,
        workspace: WorkspaceId,
        link: LinkId,
        now: UnixMillis,
    ) -> Result<u64, StoreError> {
        on_store!(self, |store| store.erase_link(workspace, link, now).await)
    }

    /// Erases all clicks of a workspace. Returns how many rows were deleted.
    pub(crate) async fn erase_workspace(
        &self,
        workspace: WorkspaceId,
        now: UnixMillis,
    ) -> Result<u64, StoreError> {
        on_store!(self, |store| store.erase_workspace(workspace, now).await)
    }

    /// Goes on with erasures that a stop cut off.
    pub(crate) async fn erasures_resume(&self) -> Result<(), StoreError> {
        on_store!(self, |store| store.erasures_resume().await)
    }

    /// Deletes some rows older than `since_s`, from a place on. Returns where to go on; `None` at the
    /// end.
    pub(crate) async fn retention_step(
        &self,
        since_s: i64,
        from: PartPlace,
    ) -> Result<Option<PartPlace>, StoreError> {
        match self {
            Self::Sqlite(store) => store.retention_step(since_s, from).await,
            Self::ClickHouse(store) => store.retention(since_s).await.map(|()| None),
        }
    }

    /// Compares what is derived with rows, and repairs it. Returns by how many clicks it was off. In
    /// SQLite both change in one transaction.
    pub(crate) async fn audit(&self, now: UnixMillis) -> Result<u64, StoreError> {
        match self {
            Self::Sqlite(_) => Ok(0),
            Self::ClickHouse(store) => store.audit(now).await,
        }
    }

    /// Links that were clicked since a place, and the place of the last of them. `None`: none were.
    pub(crate) async fn changed_since(
        &self,
        after: ClickCursor,
        limit: u32,
    ) -> Result<(Vec<LinkClicks>, Option<ClickCursor>), StoreError> {
        on_store!(self, |store| store.changed_since(after, limit).await)
    }

    /// The place of the last link that was clicked.
    pub(crate) async fn last_change(&self) -> Result<ClickCursor, StoreError> {
        on_store!(self, |store| store.last_change().await)
    }
}
