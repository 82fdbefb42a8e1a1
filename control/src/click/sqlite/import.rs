//! Clicks of files: stored unless they are there.

use std::collections::{BTreeMap, BTreeSet};

use carom_shared::batch::{Batch, BatchBuilder};
use carom_shared::click::{Detail, Kind};
use carom_shared::{Click, UnixMillis};
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, Row as _, Sqlite, Transaction};

use super::ClickStore;
use super::link_total::add_totals;
use super::page::{NUMBERS, names_read, stored_click};
use super::write::insert_clicks;
use crate::click::export::StoredClick;
use crate::click::import::Fate;
use crate::click::import::known::fates_of;
use crate::db::StoreError;

/// What [`stored_click`] reads, in its order.
const COLUMNS: &str = "c.at_s, c.seq, c.domain, c.n, c.kind, c.via, c.variant, c.status, \
     c.target_revision, c.visitor, c.privacy, c.channel, c.device, c.referrer, c.referrer_path, \
     c.country, c.region, c.city, c.browser, c.browser_version, c.os, c.os_version, c.language, \
     c.utm_source, c.utm_medium, c.utm_campaign, c.utm_term, c.utm_content";
/// Seconds of links looked up per statement.
const SECONDS: usize = 100;

impl ClickStore {
    /// Stores those of the clicks that are not there, in one transaction; says what became of each.
    ///
    /// Each comes with how many of the file before it are the same. Clicks from before
    /// `kept_since_s`, or from before what has been deleted, are left out: rows are gone there, and
    /// nobody can say which.
    pub(crate) async fn import(
        &self,
        clicks: &[(u32, Click<'_>)],
        kept_since_s: i64,
        now: UnixMillis,
        is_dry_run: bool,
    ) -> Result<Vec<Fate>, StoreError> {
        if clicks.is_empty() {
            return Ok(Vec::new());
        }
        let mut tx = if is_dry_run {
            self.file.read.begin().await?
        } else {
            self.file.write.begin_with("begin immediate").await?
        };
        let fates = fates(&mut tx, clicks, kept_since_s).await?;
        let mut builder = BatchBuilder::new();
        let new = clicks.iter().zip(&fates).filter(|(_, fate)| **fate == Fate::New);
        let new = new.map(|((_, click), _)| click);
        new.clone().for_each(|click| builder.push(click));
        if is_dry_run || builder.is_empty() {
            tx.rollback().await?;
            return Ok(fates);
        }
        let file = builder.finish(UnixMillis::new(0), &[]);
        let batch = Batch::from_bytes(&file.bytes).map_err(|_| StoreError::Corrupt("import"))?;
        let ordinal = number(&mut tx, &file.bytes, &batch, now).await?;
        let quarters = insert_clicks(&mut tx, ordinal, &batch, now).await?;
        add_totals(&mut tx, ordinal, &quarters).await?;
        let mut imported: BTreeMap<i64, i64> = BTreeMap::new();
        for click in new.filter(|click| click.kind == Kind::Human) {
            *imported.entry(click.link.get()).or_default() += i64::from(click.n);
        }
        for (link, n) in imported {
            const ADD: &str = "update click_link set imported = imported + ? where link = ?";
            sqlx::query(ADD).bind(n).bind(link).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(fates)
    }
}

async fn fates(
    tx: &mut Transaction<'static, Sqlite>,
    clicks: &[(u32, Click<'_>)],
    kept_since_s: i64,
) -> Result<Vec<Fate>, StoreError> {
    const SINCE: &str = "select detail_since_s from retention";
    let since: Option<i64> = sqlx::query_scalar(SINCE).fetch_optional(&mut **tx).await?;
    let since_s = since.unwrap_or_default().max(kept_since_s);
    let second = |(_, click): &(u32, Click<'_>)| {
        [click.workspace.get(), click.link.get(), click.at_s.into()]
    };
    let seconds: BTreeSet<_> = clicks.iter().map(second).collect();
    let seconds: Vec<_> = seconds.into_iter().filter(|[.., at_s]| *at_s >= since_s).collect();
    let stored = stored(tx, &seconds).await?;
    Ok(fates_of(clicks, since_s, &stored))
}

/// The clicks of some seconds of links, without those that are being erased.
async fn stored(
    tx: &mut Transaction<'static, Sqlite>,
    seconds: &[[i64; 3]],
) -> Result<Vec<(i64, StoredClick)>, StoreError> {
    let mut clicks = Vec::new();
    for chunk in seconds.chunks(SECONDS) {
        let keys = vec!["(?,?,?)"; chunk.len()].join(",");
        let sql = format!(
            "with k (workspace, link, at_s) as (values {keys}) select {COLUMNS}, c.link \
             from k cross join click c on c.workspace = k.workspace and c.link = k.link \
               and c.at_s = k.at_s \
               and c.part = (select max(first_quarter) from part where first_quarter <= k.at_s / 900) \
             where not exists (select 1 from erasure e where e.workspace = c.workspace \
               and e.link = c.link and c.seq < e.below_seq)"
        );
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for value in chunk.as_flattened() {
            query = query.bind(*value);
        }
        let rows = query.fetch_all(&mut **tx).await?;
        let names = names_read(tx, &rows).await?;
        for row in &rows {
            let link = row.try_get(NUMBERS + Detail::ALL.len())?;
            clicks.push((link, stored_click(row, &names)?));
        }
    }
    Ok(clicks)
}

/// Takes a number of the ledger, under a name that is made of the clicks themselves. They may have
/// been imported before, and erased since.
async fn number(
    tx: &mut Transaction<'static, Sqlite>,
    bytes: &[u8],
    batch: &Batch,
    now: UnixMillis,
) -> Result<i64, StoreError> {
    const FORGET: &str = "delete from batch where token = ?";
    const NUMBER: &str = "insert into batch (token, rows, clicks, made_at_ms, stored_at_ms) \
         values (?, ?, ?, ?, ?) returning id";
    let hash = Sha256::digest(bytes);
    let digits: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    // No batch's token has a blank in it.
    let token = format!("import {digits}");
    sqlx::query(FORGET).bind(&token).execute(&mut **tx).await?;
    let rows = i64::try_from(batch.len()).unwrap_or(i64::MAX);
    let clicks = i64::try_from(batch.header().clicks).unwrap_or(i64::MAX);
    let query = sqlx::query_scalar(NUMBER).bind(&token).bind(rows).bind(clicks);
    Ok(query.bind(now.get()).bind(now.get()).fetch_one(&mut **tx).await?)
}

#[cfg(test)]
mod tests;
