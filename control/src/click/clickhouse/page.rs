//! Pages of raw clicks.
//!
//! Within a second, clicks are in the order of a number made of their batch's and their place in it,
//! which differs for all of them: two batches would have to be alike in 46 bits.

use carom_shared::click::{Channel, Detail, Device, Kind, Privacy, Via};
use carom_shared::{LinkId, WorkspaceId};
use serde::Deserialize;

use super::ClickStore;
use super::sql::{list, time};
use crate::click::export::{ClickPlace, ExportQuery, StoredClick};
use crate::click::moving::row::MovedClick;
use crate::db::StoreError;

/// A click's number within its second.
pub(super) const SEQ: &str = "reinterpretAsInt64(bitXor(batch, bitShiftLeft(toUInt64(row), 46)))";

/// What [`StoredRow`] reads, in its order.
pub(super) fn columns() -> String {
    format!(
        "[toInt64(toUnixTimestamp(at)), {SEQ}, domain, toInt64(click.n), toInt64(kind), toInt64(via), \
         toInt64(variant), toInt64(status), toInt64(target_revision), toInt64(privacy), \
         toInt64(channel), toInt64(device), link] AS numbers, visitor, [{}]",
        list(Detail::ALL.iter().map(|detail| format!("toString({})", detail.as_str())))
    )
}

#[derive(Debug, Deserialize)]
pub(super) struct StoredRow([i64; 13], u64, Vec<String>);

/// The same with the workspace behind it.
#[derive(Debug, Deserialize)]
pub(super) struct MovedRow([i64; 13], u64, Vec<String>, i64);

impl MovedRow {
    /// The click, read of a day.
    pub(super) fn moved(self, day: u32) -> Result<MovedClick, StoreError> {
        let Self(numbers, visitor, names, workspace) = self;
        let (link, stored) = StoredRow(numbers, visitor, names).click()?;
        let place = [day.into(), workspace, link.get(), stored.place.at_s.into(), stored.place.seq];
        let workspace =
            WorkspaceId::try_from(workspace).map_err(|_| StoreError::Corrupt("click"))?;
        Ok(MovedClick { place, workspace, link, stored })
    }
}

impl ClickStore {
    /// A page, and whether there are more.
    pub(crate) async fn clicks_page(
        &self,
        query: &ExportQuery,
    ) -> Result<(Vec<StoredClick>, bool), StoreError> {
        let place = query.after.unwrap_or(ClickPlace { at_s: query.span.from_s, seq: i64::MIN });
        let more = if query.after.is_some() { ">" } else { ">=" };
        let sql = format!(
            "SELECT {} FROM click WHERE workspace = {} AND link = {} AND at >= {} AND at < {} \
             AND (at, {SEQ}) {more} ({}, {}) ORDER BY at, {SEQ} LIMIT {} FORMAT JSONCompactEachRow",
            columns(),
            query.workspace.get(),
            query.link.get(),
            time(place.at_s),
            time(query.span.to_s),
            time(place.at_s),
            number(place.seq),
            u64::from(query.limit) + 1,
        );
        let (clicks, has_more) = self.clicks_of(&sql, query.limit).await?;
        Ok((clicks.into_iter().map(|(_, click)| click).collect(), has_more))
    }

    /// Clicks of all links behind a place, and whether there are more: by workspace, link and time.
    pub(crate) async fn clicks_after(
        &self,
        after: Option<(LinkId, ClickPlace)>,
        limit: u32,
    ) -> Result<(Vec<(LinkId, StoredClick)>, bool), StoreError> {
        let behind = match after {
            None => "1".to_owned(),
            Some((link, ClickPlace { at_s, seq })) => {
                let workspace = self.workspace_of(link).await?;
                // The first condition is the one that the order of rows helps with.
                format!(
                    "(workspace, link, at) >= ({workspace}, {link}, {at}) \
                     AND (workspace, link, at, {SEQ}) > ({workspace}, {link}, {at}, {seq})",
                    link = link.get(),
                    at = time(at_s),
                    seq = number(seq),
                )
            }
        };
        let sql = format!(
            "SELECT {} FROM click WHERE {behind} ORDER BY workspace, link, at, {SEQ} LIMIT {} \
             FORMAT JSONCompactEachRow",
            columns(),
            u64::from(limit) + 1,
        );
        self.clicks_of(&sql, limit).await
    }

    /// Clicks of all links of a workspace behind a place, and whether there are more: by link and time.
    pub(crate) async fn clicks_of_workspace(
        &self,
        workspace: WorkspaceId,
        after: Option<(LinkId, ClickPlace)>,
        limit: u32,
    ) -> Result<(Vec<(LinkId, StoredClick)>, bool), StoreError> {
        let behind = after.map_or_else(String::new, |(link, ClickPlace { at_s, seq })| {
            let (link, at, seq) = (link.get(), time(at_s), number(seq));
            format!(
                " AND (link, at) >= ({link}, {at}) AND (link, at, {SEQ}) > ({link}, {at}, {seq})"
            )
        });
        let sql = format!(
            "SELECT {} FROM click WHERE workspace = {}{behind} ORDER BY link, at, {SEQ} LIMIT {} \
             FORMAT JSONCompactEachRow",
            columns(),
            workspace.get(),
            u64::from(limit) + 1,
        );
        self.clicks_of(&sql, limit).await
    }

    async fn clicks_of(
        &self,
        sql: &str,
        limit: u32,
    ) -> Result<(Vec<(LinkId, StoredClick)>, bool), StoreError> {
        let mut rows: Vec<StoredRow> = self.rows(sql).await?;
        let has_more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let clicks = rows.into_iter().map(StoredRow::click).collect::<Result<_, _>>()?;
        Ok((clicks, has_more))
    }

    async fn workspace_of(&self, link: LinkId) -> Result<i64, StoreError> {
        let sql = format!(
            "SELECT workspace FROM click_quarter WHERE link = {} LIMIT 1 FORMAT JSONCompactEachRow",
            link.get()
        );
        let found: Vec<(i64,)> = self.rows(&sql).await?;
        let erased = StoreError::Corrupt("place among the clicks: they were erased meanwhile");
        found.first().map(|(workspace,)| *workspace).ok_or(erased)
    }
}

/// The lowest number has no literal of its own.
fn number(seq: i64) -> String {
    format!("toInt64('{seq}')")
}

impl StoredRow {
    pub(super) fn click(self) -> Result<(LinkId, StoredClick), StoreError> {
        let corrupt = || StoreError::Corrupt("click");
        let Self(numbers, visitor, names) = self;
        let [
            at,
            seq,
            domain,
            n,
            kind,
            via,
            variant,
            status,
            revision,
            privacy,
            channel,
            device,
            link,
        ] = numbers;
        let small = |value: i64| u8::try_from(value).map_err(|_| corrupt());
        let count = |value: i64| u64::try_from(value).map_err(|_| corrupt());
        let privacy = Privacy::from_bits(small(privacy)?).ok_or_else(corrupt)?;
        let click = StoredClick {
            place: ClickPlace { at_s: u32::try_from(at).map_err(|_| corrupt())?, seq },
            domain,
            n: count(n)?,
            kind: Kind::from_u8(small(kind)?).ok_or_else(corrupt)?.as_str(),
            via: Via::from_u8(small(via)?).ok_or_else(corrupt)?.as_str(),
            variant: count(variant)?,
            status: count(status)?,
            target_revision: count(revision)?,
            visitor,
            do_not_track: privacy.do_not_track,
            global_privacy_control: privacy.global_privacy_control,
            channel: Channel::from_u8(small(channel)?).ok_or_else(corrupt)?.as_str(),
            device: Device::from_u8(small(device)?).ok_or_else(corrupt)?.as_str(),
            names: names.try_into().map_err(|_| corrupt())?,
        };
        Ok((LinkId::try_from(link).map_err(|_| corrupt())?, click))
    }
}
