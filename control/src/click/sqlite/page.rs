//! Pages of raw clicks.

use std::collections::{BTreeSet, HashMap};

use carom_shared::click::{Channel, Detail, Device, Kind, Privacy, Via};
use carom_shared::{LinkId, WorkspaceId};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row as _, Sqlite, Transaction};

use super::insert::placeholders;
use super::part::parts_of_span;
use super::{ClickStore, count};
use crate::click::export::{ClickPlace, ExportQuery, StoredClick};
use crate::click::report::QUARTER_S;
use crate::db::StoreError;

/// Names looked up per statement.
const NAMES: usize = 500;
/// Columns before those of names.
pub(super) const NUMBERS: usize = 13;

impl ClickStore {
    /// A page, and whether there are more.
    pub(crate) async fn clicks_page(
        &self,
        query: &ExportQuery,
    ) -> Result<(Vec<StoredClick>, bool), StoreError> {
        // Parts are in the order of time, and so is a link within each: nothing is sorted.
        const PAGE: &str = concat!(
            "select at_s, seq, domain, n, kind, via, variant, status, \
               target_revision, visitor, privacy, channel, device, referrer, referrer_path, country, \
               region, city, browser, browser_version, os, os_version, language, utm_source, \
               utm_medium, utm_campaign, utm_term, utm_content \
             from part p cross join click c where ",
            parts_of_span!(),
            " and c.part = p.first_quarter and c.workspace = ? and c.link = ? and c.at_s < ? \
               and (c.at_s, c.seq) > (?, ?) \
             order by p.first_quarter, c.at_s, c.seq limit ?"
        );
        let first = ClickPlace { at_s: query.span.from_s, seq: -1 };
        let after = query.after.unwrap_or(first);
        let page = sqlx::query(PAGE).bind(i64::from(after.at_s / QUARTER_S));
        let page = page.bind(i64::from(query.span.to_s.div_ceil(QUARTER_S)));
        let page = page.bind(query.workspace.get()).bind(query.link.get());
        let page = page.bind(i64::from(query.span.to_s)).bind(i64::from(after.at_s));
        let page = page.bind(after.seq).bind(i64::from(query.limit) + 1);
        let mut tx = self.file.read.begin().await?;
        let mut rows = page.fetch_all(&mut *tx).await?;
        let has_more = rows.len() > query.limit as usize;
        rows.truncate(query.limit as usize);
        let names = names_read(&mut tx, &rows).await?;
        tx.rollback().await?;
        let clicks = rows.iter().map(|row| stored_click(row, &names));
        Ok((clicks.collect::<Result<_, _>>()?, has_more))
    }

    /// Clicks of all links behind a place, and whether there are more: part by part, in each by
    /// workspace, link and time.
    pub(crate) async fn clicks_after(
        &self,
        after: Option<(LinkId, ClickPlace)>,
        limit: u32,
    ) -> Result<(Vec<(LinkId, StoredClick)>, bool), StoreError> {
        const PART: &str = "select max(first_quarter) from part where first_quarter <= ?";
        const PAGE: &str = "select at_s, seq, domain, n, kind, via, variant, status, \
               target_revision, visitor, privacy, channel, device, referrer, referrer_path, country, \
               region, city, browser, browser_version, os, os_version, language, utm_source, \
               utm_medium, utm_campaign, utm_term, utm_content, link \
             from click where (part, workspace, link, at_s, seq) > (?, ?, ?, ?, ?) \
             order by part, workspace, link, at_s, seq limit ?";
        let mut tx = self.file.read.begin().await?;
        let place = match after {
            None => [-1, 0, 0, 0, 0],
            Some((link, ClickPlace { at_s, seq })) => {
                let part = sqlx::query_scalar(PART).bind(i64::from(at_s / QUARTER_S));
                let part: i64 = part.fetch_one(&mut *tx).await?;
                let workspace = workspace_of(&mut tx, part, link).await?;
                [part, workspace, link.get(), at_s.into(), seq]
            }
        };
        let mut page = sqlx::query(PAGE);
        for value in place {
            page = page.bind(value);
        }
        let mut rows = page.bind(i64::from(limit) + 1).fetch_all(&mut *tx).await?;
        let has_more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let names = names_read(&mut tx, &rows).await?;
        tx.rollback().await?;
        Ok((links_clicks(&rows, &names)?, has_more))
    }

    /// Clicks of all links of a workspace behind a place, and whether there are more: part by part, in
    /// each by link and time.
    pub(crate) async fn clicks_of_workspace(
        &self,
        workspace: WorkspaceId,
        after: Option<(LinkId, ClickPlace)>,
        limit: u32,
    ) -> Result<(Vec<(LinkId, StoredClick)>, bool), StoreError> {
        const PART: &str = "select max(first_quarter) from part where first_quarter <= ?";
        const NEXT: &str = "select min(first_quarter) from part where first_quarter > ?";
        // Of one part, so that the place is one in the index.
        const PAGE: &str = "select at_s, seq, domain, n, kind, via, variant, status, \
               target_revision, visitor, privacy, channel, device, referrer, referrer_path, country, \
               region, city, browser, browser_version, os, os_version, language, utm_source, \
               utm_medium, utm_campaign, utm_term, utm_content, link \
             from click where part = ? and workspace = ? and (link, at_s, seq) > (?, ?, ?) \
             order by link, at_s, seq limit ?";
        let mut tx = self.file.read.begin().await?;
        let (mut part, mut place) = match after {
            None => (Some(0), [0, 0, 0]),
            Some((link, ClickPlace { at_s, seq })) => {
                let part = sqlx::query_scalar(PART).bind(i64::from(at_s / QUARTER_S));
                (part.fetch_one(&mut *tx).await?, [link.get(), at_s.into(), seq])
            }
        };
        let wanted = limit as usize + 1;
        let mut rows: Vec<SqliteRow> = Vec::new();
        while let Some(of) = part {
            let mut page = sqlx::query(PAGE).bind(of).bind(workspace.get());
            for value in place {
                page = page.bind(value);
            }
            let left = i64::try_from(wanted - rows.len()).unwrap_or(i64::MAX);
            rows.extend(page.bind(left).fetch_all(&mut *tx).await?);
            if rows.len() == wanted {
                break;
            }
            part = sqlx::query_scalar(NEXT).bind(of).fetch_one(&mut *tx).await?;
            place = [0, 0, 0];
        }
        let has_more = rows.len() == wanted;
        rows.truncate(limit as usize);
        let names = names_read(&mut tx, &rows).await?;
        tx.rollback().await?;
        Ok((links_clicks(&rows, &names)?, has_more))
    }
}

/// Rows of clicks with their links behind everything else.
fn links_clicks(
    rows: &[SqliteRow],
    names: &HashMap<i64, String>,
) -> Result<Vec<(LinkId, StoredClick)>, StoreError> {
    let click = |row: &SqliteRow| {
        let link = row.try_get::<i64, _>(NUMBERS + Detail::ALL.len())?;
        let link = link.try_into().map_err(|_| StoreError::Corrupt("click"))?;
        Ok((link, stored_click(row, names)?))
    };
    rows.iter().map(click).collect()
}

/// The workspace of a link's clicks in a part. An erased link keeps its totals, which are 0; a link
/// of which only previews came has none, but its clicks.
async fn workspace_of(
    tx: &mut Transaction<'_, Sqlite>,
    part: i64,
    link: LinkId,
) -> Result<i64, StoreError> {
    const TOTALS: &str = "select workspace from click_link where link = ?";
    const CLICKS: &str = "with recursive w (workspace) as (\
         select min(workspace) from click where part = ?1 union all \
         select (select min(c.workspace) from click c \
           where c.part = ?1 and c.workspace > w.workspace) \
         from w where w.workspace is not null) \
         select w.workspace from w where w.workspace is not null and exists (\
           select 1 from click c \
           where c.part = ?1 and c.workspace = w.workspace and c.link = ?2) limit 1";
    let totals = sqlx::query_scalar(TOTALS).bind(link.get()).fetch_optional(&mut **tx).await?;
    if let Some(workspace) = totals {
        return Ok(workspace);
    }
    let clicks = sqlx::query_scalar(CLICKS).bind(part).bind(link.get());
    let clicks = clicks.fetch_optional(&mut **tx).await?;
    clicks.ok_or(StoreError::Corrupt("place among the clicks: they were erased meanwhile"))
}

/// The names of what is numbered in rows of clicks.
pub(super) async fn names_read(
    tx: &mut Transaction<'_, Sqlite>,
    rows: &[SqliteRow],
) -> Result<HashMap<i64, String>, StoreError> {
    let mut ids = BTreeSet::new();
    for row in rows {
        for column in NUMBERS..NUMBERS + Detail::ALL.len() {
            ids.insert(row.try_get::<i64, _>(column)?);
        }
    }
    let ids: Vec<i64> = ids.into_iter().collect();
    let mut names = HashMap::new();
    for chunk in ids.chunks(NAMES) {
        let list = placeholders(chunk.len());
        let sql = format!("select id, text from name where id in ({list})");
        let mut query = sqlx::query_as(AssertSqlSafe(sql));
        for id in chunk {
            query = query.bind(*id);
        }
        let found: Vec<(i64, String)> = query.fetch_all(&mut **tx).await?;
        names.extend(found);
    }
    Ok(names)
}

pub(super) fn stored_click(
    row: &SqliteRow,
    names: &HashMap<i64, String>,
) -> Result<StoredClick, StoreError> {
    let get = |column: usize| row.try_get::<i64, _>(column);
    let corrupt = || StoreError::Corrupt("click");
    let small = |column: usize| u8::try_from(get(column)?).map_err(|_| corrupt());
    let privacy = Privacy::from_bits(small(10)?).ok_or_else(corrupt)?;
    let mut click = StoredClick {
        place: ClickPlace { at_s: u32::try_from(get(0)?).map_err(|_| corrupt())?, seq: get(1)? },
        domain: get(2)?,
        n: count(get(3)?)?,
        kind: Kind::from_u8(small(4)?).ok_or_else(corrupt)?.as_str(),
        via: Via::from_u8(small(5)?).ok_or_else(corrupt)?.as_str(),
        variant: count(get(6)?)?,
        status: count(get(7)?)?,
        target_revision: count(get(8)?)?,
        visitor: get(9)?.cast_unsigned(),
        do_not_track: privacy.do_not_track,
        global_privacy_control: privacy.global_privacy_control,
        channel: Channel::from_u8(small(11)?).ok_or_else(corrupt)?.as_str(),
        device: Device::from_u8(small(12)?).ok_or_else(corrupt)?.as_str(),
        names: Default::default(),
    };
    for (column, name) in (NUMBERS..).zip(&mut click.names) {
        name.clone_from(names.get(&get(column)?).ok_or_else(corrupt)?);
    }
    Ok(click)
}
