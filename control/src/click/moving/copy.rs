//! The copying of a store's content into another one, and the sums of what is in one.

use carom_shared::UnixMillis;
use carom_shared::batch::{Batch, BatchBuilder};

use super::ClicksProgress;
use super::row::{LedgerRow, LinkRow, MovedClick, OldPlace, OldQuarter, Place, Sums};
use crate::click::store::ClickStore;
use crate::click::{clickhouse, sqlite};
use crate::db::StoreError;
use crate::db::moving::Mark;

/// Clicks of a page, at most: what an edge puts into a batch. Tests have many pages.
const ROWS_MAX: u32 = if cfg!(test) { 61 } else { 50_000 };
/// Bytes of names of a page, at most.
const TEXT_MAX: usize = 32 << 20;
/// Of other pages.
const PAGE_MAX: u32 = if cfg!(test) { 23 } else { 2000 };

/// A store that clicks are read from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Sqlite { store: sqlite::ClickStore, since_s: u32 },
    ClickHouse(clickhouse::Reader),
}

impl Source {
    /// Of a store to which nobody writes.
    pub(crate) async fn new(store: &ClickStore) -> Result<Self, StoreError> {
        Ok(match store {
            ClickStore::Sqlite(store) => {
                Self::Sqlite { store: store.clone(), since_s: store.rows_since().await? }
            }
            ClickStore::ClickHouse(store) => {
                Self::ClickHouse(clickhouse::Reader::new(store).await?)
            }
        })
    }

    fn rows_since(&self) -> u32 {
        match self {
            Self::Sqlite { since_s, .. } => *since_s,
            Self::ClickHouse(reader) => reader.rows_since(),
        }
    }

    pub(crate) async fn rows_count(&self) -> Result<u64, StoreError> {
        match self {
            Self::Sqlite { store, .. } => store.rows_count().await,
            Self::ClickHouse(reader) => reader.rows_count().await,
        }
    }

    /// A page of clicks whose names are not too long together.
    async fn rows(&self, after: Option<Place>) -> Result<Vec<MovedClick>, StoreError> {
        let mut rows = match self {
            Self::Sqlite { store, since_s } => store.moved_rows(*since_s, after, ROWS_MAX).await?,
            Self::ClickHouse(reader) => reader.rows(after, ROWS_MAX).await?,
        };
        let mut text = 0;
        let fitting = rows.iter().take_while(|row| {
            text += row.text_len();
            text <= TEXT_MAX
        });
        let fitting = fitting.count().max(1);
        rows.truncate(fitting);
        Ok(rows)
    }

    async fn old_links(&self, after: Option<OldPlace>) -> Result<Vec<OldQuarter>, StoreError> {
        match self {
            Self::Sqlite { store, since_s } => {
                store.old_links(first_quarter(*since_s), after, PAGE_MAX).await
            }
            Self::ClickHouse(reader) => reader.old_links(after, PAGE_MAX).await,
        }
    }

    async fn old_workspaces(&self, after: Option<OldPlace>) -> Result<Vec<OldQuarter>, StoreError> {
        match self {
            Self::Sqlite { store, since_s } => {
                store.old_workspaces(first_quarter(*since_s), after, PAGE_MAX).await
            }
            Self::ClickHouse(reader) => reader.old_workspaces(after, PAGE_MAX).await,
        }
    }

    async fn ledger(&self, after: Option<i128>) -> Result<Vec<LedgerRow>, StoreError> {
        match self {
            Self::Sqlite { store, .. } => store.ledger_page(after, PAGE_MAX).await,
            Self::ClickHouse(reader) => reader.ledger(after, PAGE_MAX).await,
        }
    }

    async fn links(&self, after: Option<LinkRow>) -> Result<Vec<LinkRow>, StoreError> {
        match self {
            Self::Sqlite { store, .. } => store.links_page(after, PAGE_MAX).await,
            Self::ClickHouse(reader) => reader.links(after, PAGE_MAX * 10).await,
        }
    }
}

fn first_quarter(since_s: u32) -> i64 {
    (since_s / crate::click::report::QUARTER_S).into()
}

/// Asks whichever store there is.
macro_rules! on_store {
    ($store:expr, |$inner:ident| $body:expr) => {
        match $store {
            ClickStore::Sqlite($inner) => $body,
            ClickStore::ClickHouse($inner) => $body,
        }
    };
}

impl ClickStore {
    pub(crate) async fn mark(&self) -> Result<Option<Mark>, StoreError> {
        on_store!(self, |store| store.mark().await)
    }

    pub(super) async fn set_mark(
        &self,
        mark: Option<&Mark>,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(store) => store.set_mark(mark).await,
            Self::ClickHouse(store) => store.set_mark(mark, now).await,
        }
    }

    pub(super) async fn is_unused(&self) -> Result<bool, StoreError> {
        on_store!(self, |store| store.is_unused().await)
    }

    async fn put_old(
        &self,
        token: &str,
        old: &[OldQuarter],
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(store) => store.put_old(token, old, now).await,
            Self::ClickHouse(store) => store.put_old(old, now).await,
        }
    }

    async fn put_rows(
        &self,
        token: &str,
        rows: &[MovedClick],
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let mut builder = BatchBuilder::new();
        for row in rows {
            builder.push(&row.click()?);
        }
        let file = builder.finish(now, &[]);
        let batch = Batch::from_bytes(&file.bytes).map_err(|_| StoreError::Corrupt("page"))?;
        on_store!(self, |store| store.put_rows(token, &batch, now).await)
    }
}

/// Copies everything, or goes on with that. `name` is that of this copy and of no other; returns how
/// many rows were there already.
pub(crate) async fn copy(
    source: &Source,
    target: &ClickStore,
    name: &str,
    now: UnixMillis,
    progress: &mut (dyn FnMut(ClicksProgress) + Send),
) -> Result<u64, StoreError> {
    if let ClickStore::ClickHouse(target) = target {
        target.take_out_unnoted().await?;
    }
    on_store!(target, |store| store.put_rows_since(source.rows_since()).await)?;
    copy_old(source, target, name, now).await?;
    let rows_before = copy_rows(source, target, name, now, progress).await?;
    let mut after = None;
    loop {
        let page = source.ledger(after).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.place);
        on_store!(target, |store| store.put_ledger(&page).await)?;
    }
    let mut after = None;
    loop {
        let page = source.links(after).await?;
        let Some(&last) = page.last() else { break };
        after = Some(last);
        match target {
            ClickStore::Sqlite(target) => {
                target.put_links(&format!("links-{name}"), &page, now).await?;
            }
            ClickStore::ClickHouse(target) => target.put_links(&page, now).await?,
        }
    }
    Ok(rows_before)
}

async fn copy_old(
    source: &Source,
    target: &ClickStore,
    name: &str,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let (mut after, mut number) = (None, 0_u64);
    loop {
        let page = source.old_links(after).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.place);
        target.put_old(&format!("old-{name}-{number}"), &page, now).await?;
        number += 1;
    }
    let mut after = None;
    loop {
        let page = source.old_workspaces(after).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.place);
        target.put_old(&format!("old-{name}-{number}"), &page, now).await?;
        number += 1;
    }
}

/// Where a page ends, as its name says.
fn place_of(token: &str, name: &str) -> Option<(u64, u64, Place)> {
    let (number, rest) = token.strip_prefix(name)?.strip_prefix('-')?.split_once('-')?;
    let (rows, place) = rest.split_once('.')?;
    let mut parts = place.split('.');
    let mut place = [0; 5];
    for part in &mut place {
        *part = parts.next()?.parse().ok()?;
    }
    parts.next().is_none().then_some((number.parse().ok()?, rows.parse().ok()?, place))
}

fn page_token(name: &str, number: u64, rows: u64, place: Place) -> String {
    let place = place.map(|part| part.to_string()).join(".");
    format!("{name}-{number:010}-{rows}.{place}")
}

async fn copy_rows(
    source: &Source,
    target: &ClickStore,
    name: &str,
    now: UnixMillis,
    progress: &mut (dyn FnMut(ClicksProgress) + Send),
) -> Result<u64, StoreError> {
    let last = on_store!(target, |store| store.last_token(&format!("{name}-")).await)?;
    let last =
        last.map(|token| place_of(&token, name).ok_or(StoreError::Corrupt("name of a page")));
    let (mut number, rows_before, mut after) = match last.transpose()? {
        Some((number, rows, place)) => (number + 1, rows, Some(place)),
        None => (0, 0, None),
    };
    let all = source.rows_count().await?;
    let mut done = rows_before;
    let mut page = source.rows(after).await?;
    while let Some(last) = page.last() {
        after = Some(last.place);
        done += page.len() as u64;
        let token = page_token(name, number, done, last.place);
        // One writes while the other reads ahead.
        let (next, stored) = tokio::join!(source.rows(after), target.put_rows(&token, &page, now));
        stored?;
        page = next?;
        number += 1;
        progress(ClicksProgress { is_check: false, done, all });
    }
    Ok(rows_before)
}

/// Reads everything in a store, but for what the copy itself put into its ledger under this name, if it has
/// one.
pub(crate) async fn sums(
    source: &Source,
    name: &str,
    mut progress: impl FnMut(u64),
) -> Result<Sums, StoreError> {
    let (mut sums, mut bytes) = (Sums::default(), Vec::new());
    let (mut after, mut done) = (None, 0);
    loop {
        let page = source.rows(after).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.place);
        page.iter().for_each(|row| sums.add_click(row, &mut bytes));
        done += page.len() as u64;
        progress(done);
    }
    sums.rollup = match source {
        Source::Sqlite { store, .. } => store.rollup_days().await?,
        Source::ClickHouse(reader) => reader.rollup_days().await?,
    };
    let mut after = None;
    loop {
        let page = source.ledger(after).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.place);
        let is_own = |row: &&LedgerRow| !name.is_empty() && row.token.contains(name);
        page.iter().filter(|row| !is_own(row)).for_each(|row| sums.add_batch(row));
    }
    let mut after = None;
    loop {
        let page = source.links(after).await?;
        let Some(&last) = page.last() else { return Ok(sums) };
        after = Some(last);
        page.iter().for_each(|row| sums.add_link(row));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pages_name_says_where_it_ends() {
        let place = [1_767_225_600, 3, i64::MAX, 1_767_225_600, i64::MIN];
        let token = page_token("move-00ff", 17, 850_000, place);
        assert_eq!(place_of(&token, "move-00ff"), Some((17, 850_000, place)));
        assert_eq!(place_of(&token, "move-00fe"), None);
        assert!(token > page_token("move-00ff", 9, 450_000, place), "names are in order");
        assert_eq!(place_of("move-00ff-1-2.3.4.5.6", "move-00ff"), None);
    }
}
