//! Clicks of each link, kept with each batch: what lists show and sort by.

use carom_shared::click::Kind;
use carom_shared::{LinkId, WorkspaceId};
use sqlx::{Sqlite, Transaction};

use super::ClickStore;
use super::insert::{Table, insert_rows};
use crate::db::StoreError;
use crate::link::clicks::{ClickCursor, LinkClicks};

const TOTAL: Table = Table {
    before: "insert into click_link (link, workspace, clicks, bots, last_at_s, batch) values ",
    columns: 6,
    after: " on conflict (link) do update \
            set clicks = clicks + excluded.clicks, bots = bots + excluded.bots, \
                last_at_s = max(last_at_s, excluded.last_at_s), batch = excluded.batch",
};

/// Adds a batch to the totals of its links. `quarters` are its rows of `click_quarter`, sorted:
/// workspace, link, quarter, kind, clicks, last of them.
pub(super) async fn add_totals(
    tx: &mut Transaction<'static, Sqlite>,
    batch: i64,
    quarters: &[[i64; 6]],
) -> Result<(), StoreError> {
    let totals: Vec<[i64; 6]> = quarters
        .chunk_by(|a, b| a[..2] == b[..2])
        .filter_map(|rows| {
            let of = |kind: Kind| rows.iter().filter(move |row| row[3] == kind as i64);
            let sum = |kind| of(kind).map(|row| row[4]).sum::<i64>();
            let (clicks, bots) = (sum(Kind::Human), sum(Kind::Bot));
            let last_at_s = of(Kind::Human).map(|row| row[5]).max().unwrap_or_default();
            let &[workspace, link, ..] = rows.first()?;
            (clicks + bots > 0).then_some([link, workspace, clicks, bots, last_at_s, batch])
        })
        .collect();
    insert_rows(tx, &TOTAL, &totals).await
}

impl ClickStore {
    /// Links that were clicked since a place, and the place of the last of them. `None`: none were.
    pub(crate) async fn changed_since(
        &self,
        after: ClickCursor,
        limit: u32,
    ) -> Result<(Vec<LinkClicks>, Option<ClickCursor>), StoreError> {
        const CHANGED: &str = "select workspace, link, clicks, imported, last_at_s, batch \
             from click_link \
             where (batch, link) > (?, ?) order by batch, link limit ?";
        let query = sqlx::query_as(CHANGED).bind(after.batch).bind(after.link);
        let rows: Vec<(i64, i64, i64, i64, i64, i64)> =
            query.bind(i64::from(limit)).fetch_all(&self.file.read).await?;
        let next = rows.last().map(|&(_, link, .., batch)| ClickCursor { batch, link });
        let corrupt = |_| StoreError::Corrupt("link of a click");
        let links = rows.into_iter().map(|(workspace, link, clicks, moved, last_at_s, _)| {
            Ok(LinkClicks {
                workspace: WorkspaceId::try_from(workspace).map_err(corrupt)?,
                link: LinkId::try_from(link).map_err(corrupt)?,
                clicks,
                moved,
                last_click_ms: last_at_s.saturating_mul(1000),
            })
        });
        Ok((links.collect::<Result<_, StoreError>>()?, next))
    }

    /// The place of the last link that was clicked.
    pub(crate) async fn last_change(&self) -> Result<ClickCursor, StoreError> {
        const LAST: &str =
            "select batch, link from click_link order by batch desc, link desc limit 1";
        let last: Option<(i64, i64)> = sqlx::query_as(LAST).fetch_optional(&self.file.read).await?;
        Ok(last.map(|(batch, link)| ClickCursor { batch, link }).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
