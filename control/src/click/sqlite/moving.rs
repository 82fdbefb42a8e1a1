//! What a move of clicks asks of this store, as where they come from and as where they go.

use std::collections::BTreeMap;

use carom_shared::batch::Batch;
use carom_shared::click::{Detail, Kind};
use carom_shared::{LinkId, UnixMillis, WorkspaceId};
use sqlx::{Arguments as _, Row as _, Sqlite, Transaction};

use super::ClickStore;
use super::insert::{Table, insert_each, insert_rows};
use super::link_total::add_totals;
use super::page::{NUMBERS, names_read, stored_click};
use super::write::{insert_clicks, part_of_each};
use crate::click::moving::row::{
    LedgerRow, LinkRow, MovedClick, OldPlace, OldQuarter, Place, Visitors,
};
use crate::click::sketch::stored_with;
use crate::db::StoreError;
use crate::db::moving::{Mark, MarkRow, READ_MARK, WRITE_MARK};

const LINKS: Table = Table {
    before: "insert into click_link (link, workspace, clicks, bots, last_at_s, batch, imported) values ",
    columns: 7,
    after: " on conflict (link) do update set imported = excluded.imported",
};
const LEDGER: Table = Table {
    before: "insert into batch (token, rows, clicks, made_at_ms, stored_at_ms) values ",
    columns: 5,
    after: " on conflict (token) do nothing",
};
/// The rollup of links and that of workspaces, where nothing of these quarter hours is yet.
const OLD_LINKS: Table = Table {
    before: "insert into click_quarter \
             (part, workspace, link, quarter, kind, n, last_at_s, visitors) values ",
    columns: 8,
    after: "",
};
const OLD_WORKSPACES: Table = Table {
    before: "insert into workspace_quarter (workspace, quarter, kind, n, last_at_s, visitors) values ",
    columns: 6,
    after: "",
};

impl ClickStore {
    pub(crate) async fn mark(&self) -> Result<Option<Mark>, StoreError> {
        let row: Option<MarkRow> =
            sqlx::query_as(READ_MARK).fetch_optional(&self.file.read).await?;
        row.map(Mark::of_row).transpose()
    }

    /// `None` takes it away.
    pub(crate) async fn set_mark(&self, mark: Option<&Mark>) -> Result<(), StoreError> {
        let query = match mark {
            None => sqlx::query("delete from moving"),
            Some(mark) => sqlx::query(WRITE_MARK)
                .bind(mark.state.word())
                .bind(mark.token)
                .bind(mark.other.clone())
                .bind(mark.at.get()),
        };
        query.execute(&self.file.write).await?;
        Ok(())
    }

    /// Whether nothing was ever stored in it.
    pub(crate) async fn is_unused(&self) -> Result<bool, StoreError> {
        const UNUSED: &str = "select not exists (select 1 from batch) \
             and not exists (select 1 from workspace_quarter)";
        Ok(sqlx::query_scalar(UNUSED).fetch_one(&self.file.read).await?)
    }

    /// From when on there are rows, in seconds since 1970; 0: none were deleted for their age.
    pub(crate) async fn rows_since(&self) -> Result<u32, StoreError> {
        const SINCE: &str = "select detail_since_s from retention";
        let since: Option<i64> = sqlx::query_scalar(SINCE).fetch_optional(&self.file.read).await?;
        Ok(since.and_then(|since| u32::try_from(since).ok()).unwrap_or_default())
    }

    pub(crate) async fn rows_count(&self) -> Result<u64, StoreError> {
        super::count(
            sqlx::query_scalar("select count(*) from click").fetch_one(&self.file.read).await?,
        )
    }

    /// Clicks since `since_s` behind a place, part by part.
    pub(crate) async fn moved_rows(
        &self,
        since_s: u32,
        after: Option<Place>,
        limit: u32,
    ) -> Result<Vec<MovedClick>, StoreError> {
        const PAGE: &str = "select at_s, seq, domain, n, kind, via, variant, status, \
               target_revision, visitor, privacy, channel, device, referrer, referrer_path, country, \
               region, city, browser, browser_version, os, os_version, language, utm_source, \
               utm_medium, utm_campaign, utm_term, utm_content, link, workspace, part \
             from click where (part, workspace, link, at_s, seq) > (?, ?, ?, ?, ?) and at_s >= ? \
             order by part, workspace, link, at_s, seq limit ?";
        const LINK: usize = NUMBERS + Detail::ALL.len();
        let mut tx = self.file.read.begin().await?;
        let mut page = sqlx::query(PAGE);
        for value in after.unwrap_or([-1, 0, 0, 0, 0]) {
            page = page.bind(value);
        }
        let rows = page.bind(i64::from(since_s)).bind(i64::from(limit)).fetch_all(&mut *tx).await?;
        let names = names_read(&mut tx, &rows).await?;
        tx.rollback().await?;
        let moved = rows.iter().map(|row| {
            let corrupt = |_| StoreError::Corrupt("click");
            let [link, workspace, part] =
                [row.try_get(LINK)?, row.try_get(LINK + 1)?, row.try_get(LINK + 2)?];
            let stored = stored_click(row, &names)?;
            Ok(MovedClick {
                place: [part, workspace, link, stored.place.at_s.into(), stored.place.seq],
                workspace: WorkspaceId::try_from(workspace).map_err(corrupt)?,
                link: LinkId::try_from(link).map_err(corrupt)?,
                stored,
            })
        });
        moved.collect()
    }

    /// What is left of links' clicks before a quarter hour, behind a place.
    pub(crate) async fn old_links(
        &self,
        before: i64,
        after: Option<OldPlace>,
        limit: u32,
    ) -> Result<Vec<OldQuarter>, StoreError> {
        const PAGE: &str = "select part, workspace, link, quarter, kind, n, last_at_s, visitors \
             from click_quarter where (part, workspace, link, quarter, kind) > (?, ?, ?, ?, ?) \
             and part < ? and quarter < ? order by part, workspace, link, quarter, kind limit ?";
        let mut page = sqlx::query(PAGE);
        for value in after.unwrap_or([-1, 0, 0, 0, 0]) {
            page = page.bind(value);
        }
        let page = page.bind(before).bind(before).bind(i64::from(limit));
        let rows = page.fetch_all(&self.file.read).await?;
        let old = rows.iter().map(|row| {
            let mut place = [0; 5];
            for (at, part) in place.iter_mut().enumerate() {
                *part = row.try_get(at)?;
            }
            let [_, workspace, link, quarter, kind] = place;
            old_quarter(
                row,
                5,
                OldQuarter {
                    place,
                    workspace,
                    link,
                    quarter,
                    kind,
                    n: 0,
                    last_at_s: 0,
                    visitors: Visitors::Count(0),
                },
            )
        });
        old.collect()
    }

    /// The same of workspaces.
    pub(crate) async fn old_workspaces(
        &self,
        before: i64,
        after: Option<OldPlace>,
        limit: u32,
    ) -> Result<Vec<OldQuarter>, StoreError> {
        const PAGE: &str = "select workspace, quarter, kind, n, last_at_s, visitors \
             from workspace_quarter where (workspace, quarter, kind) > (?, ?, ?) \
             and quarter < ? order by workspace, quarter, kind limit ?";
        let [_, workspace, _, quarter, kind] = after.unwrap_or([0, 0, 0, -1, 0]);
        let page = sqlx::query(PAGE).bind(workspace).bind(quarter).bind(kind);
        let rows = page.bind(before).bind(i64::from(limit)).fetch_all(&self.file.read).await?;
        let old = rows.iter().map(|row| {
            let (workspace, quarter, kind) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            old_quarter(
                row,
                3,
                OldQuarter {
                    place: [0, workspace, 0, quarter, kind],
                    workspace,
                    link: 0,
                    quarter,
                    kind,
                    n: 0,
                    last_at_s: 0,
                    visitors: Visitors::Count(0),
                },
            )
        });
        old.collect()
    }

    /// Batches of the ledger behind a place.
    pub(crate) async fn ledger_page(
        &self,
        after: Option<i128>,
        limit: u32,
    ) -> Result<Vec<LedgerRow>, StoreError> {
        const PAGE: &str = "select id, token, rows, clicks, made_at_ms, stored_at_ms from batch \
             where id > ? order by id limit ?";
        let after = after.map_or(0, |place| i64::try_from(place).unwrap_or(i64::MAX));
        let page = sqlx::query_as(PAGE).bind(after).bind(i64::from(limit));
        let rows: Vec<(i64, String, i64, i64, i64, i64)> = page.fetch_all(&self.file.read).await?;
        let row = |(id, token, rows, clicks, made_ms, stored_ms): (i64, _, _, _, _, _)| LedgerRow {
            place: id.into(),
            token,
            rows,
            clicks,
            made_ms,
            stored_ms,
        };
        Ok(rows.into_iter().map(row).collect())
    }

    /// Links that ever had clicks, behind one of them.
    pub(crate) async fn links_page(
        &self,
        after: Option<LinkRow>,
        limit: u32,
    ) -> Result<Vec<LinkRow>, StoreError> {
        const PAGE: &str = "select workspace, link, imported from click_link where link > ? \
             order by link limit ?";
        let page =
            sqlx::query_as(PAGE).bind(after.map_or(0, |row| row.link)).bind(i64::from(limit));
        let rows: Vec<(i64, i64, i64)> = page.fetch_all(&self.file.read).await?;
        let row = |(workspace, link, imported)| LinkRow { workspace, link, imported };
        Ok(rows.into_iter().map(row).collect())
    }

    /// What the rollup says of days and kinds.
    pub(crate) async fn rollup_days(&self) -> Result<BTreeMap<(i64, i64), i64>, StoreError> {
        const DAYS: &str = "select quarter / 96, kind, cast(sum(n) as integer) as s \
             from click_quarter group by 1, 2 having s != 0";
        let rows: Vec<(i64, i64, i64)> = sqlx::query_as(DAYS).fetch_all(&self.file.read).await?;
        Ok(rows.into_iter().map(|(day, kind, n)| ((day, kind), n)).collect())
    }

    /// The last of the tokens that begin so.
    pub(crate) async fn last_token(&self, prefix: &str) -> Result<Option<String>, StoreError> {
        const LAST: &str = "select max(token) from batch where token >= ? and token < ?";
        let last = sqlx::query_scalar(LAST).bind(prefix.to_owned()).bind(format!("{prefix}~"));
        Ok(last.fetch_one(&self.file.read).await?)
    }

    /// Stores clicks under a name, once.
    pub(crate) async fn put_rows(
        &self,
        token: &str,
        batch: &Batch,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let mut tx = self.file.write.begin_with("begin immediate").await?;
        let clicks = batch.header().clicks.cast_signed();
        let rows = i64::try_from(batch.len()).unwrap_or(i64::MAX);
        if let Some(ordinal) = number(&mut tx, token, [rows, clicks], now).await? {
            let quarters = insert_clicks(&mut tx, ordinal, batch, now).await?;
            add_totals(&mut tx, ordinal, &quarters).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Adds what is left of old clicks, of links or of workspaces, once under a name.
    pub(crate) async fn put_old(
        &self,
        token: &str,
        old: &[OldQuarter],
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let mut tx = self.file.write.begin_with("begin immediate").await?;
        let Some(ordinal) = number(&mut tx, token, [0, 0], now).await? else {
            tx.rollback().await?;
            return Ok(());
        };
        let of_links: Vec<&OldQuarter> = old.iter().filter(|of| of.link != 0).collect();
        let mut quarters: BTreeMap<i64, i64> = BTreeMap::new();
        of_links.iter().for_each(|of| *quarters.entry(of.quarter).or_default() += 1);
        let parts = part_of_each(&mut tx, quarters, now).await?;
        let sketch = |of: &OldQuarter| {
            let hashes = of.visitors.hashes([of.workspace, of.link, of.quarter]);
            match of.kind == Kind::Human as i64 {
                true => stored_with(&[], &hashes).unwrap_or_default(),
                false => Vec::new(),
            }
        };
        insert_each(&mut tx, &OLD_LINKS, &of_links, |of, values| {
            values.add(parts.get(&of.quarter).copied().unwrap_or_default())?;
            for value in [of.workspace, of.link, of.quarter, of.kind, of.n, of.last_at_s] {
                values.add(value)?;
            }
            values.add(sketch(of))
        })
        .await?;
        let of_workspaces: Vec<&OldQuarter> = old.iter().filter(|of| of.link == 0).collect();
        insert_each(&mut tx, &OLD_WORKSPACES, &of_workspaces, |of, values| {
            for value in [of.workspace, of.quarter, of.kind, of.n, of.last_at_s] {
                values.add(value)?;
            }
            values.add(sketch(of))
        })
        .await?;
        let mut totals: Vec<[i64; 6]> = of_links
            .iter()
            .map(|of| [of.workspace, of.link, of.quarter, of.kind, of.n, of.last_at_s])
            .collect();
        totals.sort_unstable();
        add_totals(&mut tx, ordinal, &totals).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Adds batches to the ledger.
    pub(crate) async fn put_ledger(&self, rows: &[LedgerRow]) -> Result<(), StoreError> {
        let mut tx = self.file.write.begin_with("begin immediate").await?;
        insert_each(&mut tx, &LEDGER, rows, |row, values| {
            values.add(row.token.clone())?;
            let numbers = [row.rows, row.clicks, row.made_ms, row.stored_ms];
            numbers.iter().try_for_each(|number| values.add(*number))
        })
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Makes links known that have no clicks any more, and how many of each one's came from files.
    pub(crate) async fn put_links(
        &self,
        token: &str,
        rows: &[LinkRow],
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        const ORDINAL: &str = "select id from batch where token = ?";
        let mut tx = self.file.write.begin_with("begin immediate").await?;
        let ordinal = match number(&mut tx, token, [0, 0], now).await? {
            Some(ordinal) => ordinal,
            None => sqlx::query_scalar(ORDINAL).bind(token.to_owned()).fetch_one(&mut *tx).await?,
        };
        let row = |of: &LinkRow| [of.link, of.workspace, 0, 0, 0, ordinal, of.imported];
        let rows: Vec<[i64; 7]> = rows.iter().map(row).collect();
        insert_rows(&mut tx, &LINKS, &rows).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Clicks from before are gone.
    pub(crate) async fn put_rows_since(&self, since_s: u32) -> Result<(), StoreError> {
        const SINCE: &str = "insert into retention (one, detail_since_s) values (1, ?) \
             on conflict (one) do update set detail_since_s = excluded.detail_since_s";
        if since_s > 0 {
            let since = sqlx::query(SINCE).bind(i64::from(since_s));
            since.execute(&self.file.write).await?;
        }
        Ok(())
    }
}

/// Fills in a row's columns behind its key.
fn old_quarter(
    row: &sqlx::sqlite::SqliteRow,
    at: usize,
    mut of: OldQuarter,
) -> Result<OldQuarter, StoreError> {
    let sketch: &[u8] = row.try_get(at + 2)?;
    of.visitors = Visitors::of_sketch(sketch).ok_or(StoreError::Corrupt("sketch of visitors"))?;
    (of.n, of.last_at_s) = (row.try_get(at)?, row.try_get(at + 1)?);
    Ok(of)
}

/// A number of the ledger for what comes under a name; `None` if it came already.
async fn number(
    tx: &mut Transaction<'static, Sqlite>,
    token: &str,
    [rows, clicks]: [i64; 2],
    now: UnixMillis,
) -> Result<Option<i64>, StoreError> {
    const INSERT: &str = "insert into batch (token, rows, clicks, made_at_ms, stored_at_ms) \
         values (?, ?, ?, ?, ?) on conflict (token) do nothing returning id";
    let query = sqlx::query_scalar(INSERT).bind(token.to_owned()).bind(rows).bind(clicks);
    Ok(query.bind(now.get()).bind(now.get()).fetch_optional(&mut **tx).await?)
}
