//! The store of clicks, whichever it is.

use std::sync::Arc;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use carom_shared::batch::{Batch, Token};
use carom_shared::{Click, Clock, LinkId, UnixMillis, WorkspaceId};
use tokio_util::sync::CancellationToken;

use super::export::{ClickPlace, ExportQuery, StoredClick};
use super::import::Fate;
use super::report::{Report, ReportQuery, ReportScope};
use super::sqlite::{PartPlace, ReportError};
use super::{Stored, Summary, TopLink, clickhouse, sqlite};
use crate::app::App;
use crate::config::ClicksAt;
use crate::db::{DbOpenError, StoreError};
use crate::link::clicks::{ClickCursor, LinkClicks};
use crate::metrics::Metrics;

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
    /// Opens it, and brings its schema up to date; a server that is away is [kept](Self::keep) trying.
    pub(crate) async fn open(at: &ClicksAt) -> Result<Self, DbOpenError> {
        Ok(match at {
            ClicksAt::Sqlite(path) => Self::Sqlite(sqlite::ClickStore::open(path).await?),
            ClicksAt::ClickHouse { server, cluster } => {
                Self::ClickHouse(clickhouse::ClickStore::open(server.clone(), cluster).await?)
            }
        })
    }

    /// Looks whether it is there, until `stop`. A file is.
    pub(crate) async fn keep(self, metrics: Arc<Metrics>, stop: CancellationToken) {
        match self {
            Self::Sqlite(_) => metrics.click_store_up.set(1),
            Self::ClickHouse(store) => store.keep(&metrics, stop).await,
        }
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

    /// The start of the first quarter hour in which anything was clicked; `None`: nothing was.
    pub(crate) async fn first_click(
        &self,
        scope: ReportScope,
    ) -> Result<Option<UnixMillis>, StoreError> {
        on_store!(self, |store| store.first_click(scope).await)
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

    /// Clicks of all links of a workspace behind a place, and whether there are more; those of a link
    /// in the order of time.
    pub(crate) async fn clicks_of_workspace(
        &self,
        workspace: WorkspaceId,
        after: Option<(LinkId, ClickPlace)>,
        limit: u32,
    ) -> Result<(Vec<(LinkId, StoredClick)>, bool), StoreError> {
        on_store!(self, |store| store.clicks_of_workspace(workspace, after, limit).await)
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

    /// Makes breakdowns of times that are over, for ever, where the store has such.
    pub(crate) async fn make_blocks(self, clock: Arc<dyn Clock>) {
        match self {
            Self::Sqlite(store) => store.make_blocks(&*clock).await,
            Self::ClickHouse(_) => std::future::pending().await,
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
    /// Where changes have times, those after `until` come later.
    pub(crate) async fn changed_since(
        &self,
        after: ClickCursor,
        until: UnixMillis,
        limit: u32,
    ) -> Result<(Vec<LinkClicks>, Option<ClickCursor>), StoreError> {
        match self {
            Self::Sqlite(store) => store.changed_since(after, limit).await,
            Self::ClickHouse(store) => store.changed_since(after, until, limit).await,
        }
    }

    /// The times in a span under which changes were noted, and how many under each. `None` where they
    /// have no times, but an order without gaps.
    pub(crate) async fn change_times(
        &self,
        span: RangeInclusive<i64>,
    ) -> Result<Option<BTreeMap<i64, u64>>, StoreError> {
        match self {
            Self::Sqlite(_) => Ok(None),
            Self::ClickHouse(store) => store.change_times(span).await.map(Some),
        }
    }

    /// The links whose changes were noted under these times.
    pub(crate) async fn changed_at(&self, times: &[i64]) -> Result<Vec<LinkClicks>, StoreError> {
        match self {
            Self::Sqlite(_) => Ok(Vec::new()),
            Self::ClickHouse(store) => store.changed_at(times).await,
        }
    }

    /// The place of the last link that was clicked.
    pub(crate) async fn last_change(&self) -> Result<ClickCursor, StoreError> {
        on_store!(self, |store| store.last_change().await)
    }
}

impl App {
    /// Makes sure that the store of clicks has this version's schema, for a command that ends with that:
    /// whoever serves does not wait for it.
    ///
    /// # Errors
    /// [`DbOpenError`] says what keeps it from that.
    pub async fn migrate_clicks(&self) -> Result<(), DbOpenError> {
        match self.clicks() {
            Ok(ClickStore::ClickHouse(store)) => store.prepare().await,
            Ok(ClickStore::Sqlite(_)) | Err(_) => Ok(()),
        }
    }
}
