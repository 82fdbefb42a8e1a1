//! A batch's clicks: into which parts they go, their rows, and what they add to the rollups.

use std::collections::BTreeMap;

use carom_shared::batch::Batch;
use carom_shared::click::Detail;
use carom_shared::{Click, UnixMillis};
use sqlx::{Arguments as _, Sqlite, Transaction};

use super::ROW_BITS;
use super::block::blocks_forget;
use super::insert::{Names, Table, insert_each};
use super::part::Parts;
use super::rollup::Sums;
use crate::click::report::QUARTER_S;
use crate::db::StoreError;

/// Columns of a click before its numbers, its numbers, and all of them.
const PLACE: usize = 5;
const NUMBERS: usize = 11;
const COLUMNS: usize = PLACE + NUMBERS + Detail::ALL.len();

const CLICK: Table = Table {
    before: "insert into click (part, workspace, link, at_s, seq, domain, n, kind, via, variant, \
             status, target_revision, visitor, privacy, channel, device, referrer, referrer_path, \
             country, region, city, browser, browser_version, os, os_version, language, utm_source, \
             utm_medium, utm_campaign, utm_term, utm_content) values ",
    columns: COLUMNS,
    after: "",
};

/// A click's place in the tree of clicks, where its neighbours share its pages: part, workspace,
/// link, second, and its place in the batch.
type Place = (i64, i64, i64, u32, usize);

/// Inserts a batch's clicks under its number. Returns what it added for each link: workspace, link,
/// quarter, kind, clicks, last of them; in the order of part, workspace, link.
pub(super) async fn insert_clicks(
    tx: &mut Transaction<'static, Sqlite>,
    ordinal: i64,
    batch: &Batch,
    now: UnixMillis,
) -> Result<Vec<[i64; 6]>, StoreError> {
    let mut names = Names::default();
    let mut quarters: BTreeMap<i64, i64> = BTreeMap::new();
    // Unpacked once: each look at a batch's clicks checks their texts again.
    let clicks: Vec<Click<'_>> = batch.clicks().collect();
    let mut names_of: Vec<[i64; Detail::ALL.len()]> = Vec::with_capacity(clicks.len());
    for click in &clicks {
        *quarters.entry(quarter(click)).or_default() += 1;
        names_of.push(click.details.names().map(|name| names.place(name)));
    }
    let quarter_of = |click: &Click<'_>| (click.workspace.get(), quarter(click));
    blocks_forget(tx, clicks.iter().map(quarter_of)).await?;
    let parts = part_of_each(tx, quarters, now).await?;
    let place = |(at, click): (usize, &Click<'_>)| {
        let part = parts.get(&quarter(click)).copied().unwrap_or_default();
        (part, click.workspace.get(), click.link.get(), click.at_s, at)
    };
    let mut order: Vec<Place> = clicks.iter().enumerate().map(place).collect();
    order.sort_unstable();
    let ids = names.intern(tx).await?;
    insert_each(tx, &CLICK, &order, |&(part, workspace, link, at_s, at), values| {
        let seq = (ordinal << ROW_BITS) | i64::try_from(at).unwrap_or(i64::MAX);
        for value in [part, workspace, link, at_s.into(), seq] {
            values.add(value)?;
        }
        numbers(&clicks[at]).iter().try_for_each(|value| values.add(*value))?;
        // Places of names, all of which were interned.
        names_of[at].iter().try_for_each(|place| values.add(ids[usize::try_from(*place)?]))
    })
    .await?;
    let mut sums = Sums::default();
    for &(part, .., at) in &order {
        sums.add(part, quarter(&clicks[at]), &clicks[at]);
    }
    sums.write(tx).await
}

fn quarter(click: &Click<'_>) -> i64 {
    (click.at_s / QUARTER_S).into()
}

/// The part of each quarter hour, of which there come so many rows.
pub(super) async fn part_of_each(
    tx: &mut Transaction<'static, Sqlite>,
    mut quarters: BTreeMap<i64, i64>,
    now: UnixMillis,
) -> Result<BTreeMap<i64, i64>, StoreError> {
    let Some((&first, _)) = quarters.first_key_value() else { return Ok(quarters) };
    let now = now.as_secs() / i64::from(QUARTER_S);
    let mut parts = Parts::from(tx, first).await?;
    for (quarter, value) in &mut quarters {
        *value = parts.admit(*quarter, *value, now)?;
    }
    parts.write(tx).await?;
    Ok(quarters)
}

/// The columns behind a click's place and before its names.
fn numbers(click: &Click<'_>) -> [i64; NUMBERS] {
    [
        click.domain.get(),
        click.n.into(),
        click.kind as i64,
        click.via as i64,
        click.variant.into(),
        click.status.into(),
        click.target_revision.into(),
        click.visitor.cast_signed(),
        click.privacy.bits().into(),
        click.channel as i64,
        click.device as i64,
    ]
}
