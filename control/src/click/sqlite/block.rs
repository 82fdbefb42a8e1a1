//! Blocks: clicks of people by dimension and value, of times that are over.
//!
//! A breakdown looks at each click of its time, at 1 us for each; over a block it looks at each value.
//! Blocks of four lengths, of a quarter hour to 8 days, each begin at a multiple of their length, so any
//! range that begins and ends with quarter hours, as every zone's days do, is a few of them, and rows for
//! what has no block: what is under way, what is late, and times with few clicks.
//!
//! They are made [behind](build) the batches, not with them: of a link a batch has one or two clicks, and
//! each would change a row for each dimension. Whatever changes clicks of a time takes away its blocks in
//! the same transaction ([`blocks_forget`]), so one that is there is exact, and none that is missing makes
//! an answer wrong.
//!
//! Their lists know no visitors: those of two times are not the sum of each one's. Who asks for them
//! ([`ReportQuery::top_visitors_max`](crate::click::report::ReportQuery)) is answered from rows.
//!
//! # Body of a block, version 1
//!
//! A byte `1`, then for each value in ascending order two LEB128 numbers: how much it is above the value
//! before, and its clicks. A name is its number in `name`. Of many values the body is the head, those with
//! the most clicks, and the others are in the rest, written alike: what is [`first`](top) is
//! found without them. Beside dimensions there may be a sketch of the workspace's [`visitors`].

mod build;
mod read;
mod top;
mod visitors;

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use carom_shared::click::Detail;
use sqlx::{Sqlite, Transaction};

use crate::click::report::Dimension;
use crate::click::sketch::BuildIdHasher;
use crate::db::StoreError;
pub(super) use read::{block_lists, has_blocks_for};
pub(super) use visitors::add_merged;

/// Quarter hours of a block: a quarter hour, two hours, a day (UTC), eight days.
const LEVELS: [u32; 4] = [1, 8, 96, 768];
/// Those of links, of which few are looked at, and of a few clicks an hour.
const LINK_LEVELS: [u32; 2] = [96, 768];
/// Clicks of a day, or of eight, below which they get no block, nor do times within: their rows are read
/// in a millisecond. Of a day that has more, each quarter hour gets one, however few are in it: to find
/// a workspace's rows of a time, all of its rows in a part are gone through. Tests want blocks early.
const CLICKS_MIN: u64 = if cfg!(test) { 4 } else { 1 << 10 };
/// Values below this have a place of their own, 8 bytes each, up to the greatest one that there is.
const DENSE_MAX: usize = 1 << 22;

/// Values of a head: many times those of a page's list, so that its last one has few clicks.
const HEAD: usize = if cfg!(test) { 2 } else { 512 };

/// Values without a place of their own that a block may have of a dimension: 40 MB while they are added up.
const BLOCK_VALUES_MAX: usize = if cfg!(test) { 64 } else { 1 << 20 };

const VERSION: u8 = 1;

/// What blocks are made of, each under its place here: what the lists of a page show. New ones go to the
/// end, in a migration that empties the tables.
const DIMENSIONS: [Dimension; 20] = [
    Dimension::Detail(Detail::Country),
    Dimension::Link,
    Dimension::Domain,
    Dimension::TargetRevision,
    Dimension::Detail(Detail::Region),
    Dimension::Detail(Detail::City),
    Dimension::Detail(Detail::Language),
    Dimension::Detail(Detail::Referrer),
    Dimension::Channel,
    Dimension::Detail(Detail::ReferrerPath),
    Dimension::Via,
    Dimension::Detail(Detail::Browser),
    Dimension::Detail(Detail::BrowserVersion),
    Dimension::Detail(Detail::Os),
    Dimension::Device,
    Dimension::Detail(Detail::UtmCampaign),
    Dimension::Detail(Detail::UtmSource),
    Dimension::Detail(Detail::UtmMedium),
    Dimension::Detail(Detail::UtmTerm),
    Dimension::Detail(Detail::UtmContent),
];

fn place(dimension: Dimension) -> Option<i64> {
    let at = DIMENSIONS.iter().position(|of| *of == dimension)?;
    i64::try_from(at).ok()
}

/// Clicks by value.
#[derive(Debug, Default)]
struct Counts {
    dense: Vec<u64>,
    sparse: HashMap<u64, u64, BuildIdHasher>,
}

impl Counts {
    fn add(&mut self, value: u64, n: u64) {
        match usize::try_from(value) {
            Ok(at) if at < DENSE_MAX => {
                if at >= self.dense.len() {
                    self.dense.resize(at + 1, 0);
                }
                self.dense[at] += n;
            }
            _ => *self.sparse.entry(value).or_default() += n,
        }
    }

    /// Adds a block's body or rest; `None` if a newer version wrote it.
    fn add_body(&mut self, body: &[u8]) -> Option<()> {
        each_value(body, |value, n| self.add(value, n))
    }

    fn total(&self) -> u64 {
        self.each().map(|(_, n)| n).sum()
    }

    /// Values that have clicks.
    fn each(&self) -> impl Iterator<Item = (u64, u64)> {
        let dense = (0_u64..).zip(self.dense.iter().copied()).filter(|(_, n)| *n > 0);
        dense.chain(self.sparse.iter().map(|(value, n)| (*value, *n)))
    }

    /// Body and rest; the rest is empty where there are few values.
    fn body(&self) -> (Vec<u8>, Vec<u8>) {
        let mut values: Vec<(u64, u64)> = self.each().collect();
        let mut rest = Vec::new();
        // A rest of a few values would not be worth its bound.
        if values.len() > 2 * HEAD {
            values.select_nth_unstable_by_key(HEAD, |(value, n)| (Reverse(*n), *value));
            rest = written(values.split_off(HEAD));
        }
        (written(values), rest)
    }
}

fn written(mut values: Vec<(u64, u64)>) -> Vec<u8> {
    values.sort_unstable();
    let mut body = vec![VERSION];
    let mut last = 0;
    for (value, n) in values {
        put(&mut body, value - last);
        put(&mut body, n);
        last = value;
    }
    body
}

/// Hands over each value of a body or a rest and its clicks; `None` if a newer version wrote it.
fn each_value(body: &[u8], mut each: impl FnMut(u64, u64)) -> Option<()> {
    let (&VERSION, mut rest) = body.split_first()? else { return None };
    let mut value = 0_u64;
    while !rest.is_empty() {
        value = value.checked_add(number(&mut rest)?)?;
        each(value, number(&mut rest)?);
    }
    Some(())
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push((number & 0x7f) as u8);
}

/// Takes the next number; `None` if there is none.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let (mut number, mut shift) = (0, 0);
    loop {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
        shift += 7;
        if shift >= 64 {
            return None;
        }
    }
}

/// Takes away the blocks of quarter hours in which clicks of a workspace change, in the transaction that
/// changes them. Blocks under way are not stored.
pub(super) async fn blocks_forget(
    tx: &mut Transaction<'static, Sqlite>,
    quarters: impl Iterator<Item = (i64, i64)>,
) -> Result<(), StoreError> {
    const UNTIL: &str = "select until_quarter from block_state";
    const BLOCKS: [&str; 2] = [
        "delete from workspace_block where workspace = ? and level = ? and block = ?",
        "delete from link_block where workspace = ? and level = ? and block = ?",
    ];
    let until: i64 = sqlx::query_scalar(UNTIL).fetch_one(&mut **tx).await?;
    let late: BTreeSet<(i64, i64)> = quarters.filter(|(_, quarter)| *quarter < until).collect();
    if late.is_empty() {
        return Ok(());
    }
    for level in LEVELS.map(i64::from) {
        let blocks = late.iter().map(|(workspace, quarter)| (*workspace, quarter / level));
        for (workspace, block) in blocks.collect::<BTreeSet<_>>() {
            for sql in BLOCKS {
                let delete = sqlx::query(sql).bind(workspace).bind(level).bind(block);
                delete.execute(&mut **tx).await?;
            }
        }
    }
    changed(tx).await
}

/// What is being worked out is not stored.
async fn changed(tx: &mut Transaction<'static, Sqlite>) -> Result<(), StoreError> {
    const CHANGED: &str = "update block_state set changes = changes + 1";
    sqlx::query(CHANGED).execute(&mut **tx).await?;
    Ok(())
}

/// Takes away the blocks in which a link has clicks, while its quarter hours are still known.
pub(super) async fn blocks_forget_link(
    tx: &mut Transaction<'static, Sqlite>,
    workspace: i64,
    link: i64,
) -> Result<(), StoreError> {
    macro_rules! of_link {
        ($table:literal, $and:literal) => {
            concat!(
                "delete from ",
                $table,
                " where workspace = ?1 and level = ?3",
                $and,
                " and block in \
                 (select distinct r.quarter / ?3 from part p cross join click_quarter r \
                  where r.part = p.first_quarter and r.workspace = ?1 and r.link = ?2)"
            )
        };
    }
    const BLOCKS: [&str; 2] =
        [of_link!("workspace_block", ""), of_link!("link_block", " and link = ?2")];
    for level in LEVELS.map(i64::from) {
        for sql in BLOCKS {
            let delete = sqlx::query(sql).bind(workspace).bind(link).bind(level);
            delete.execute(&mut **tx).await?;
        }
    }
    changed(tx).await
}

/// The rows of an erasure are gone: what was read while they were there is not stored.
pub(super) async fn blocks_erased(tx: &mut Transaction<'static, Sqlite>) -> Result<(), StoreError> {
    changed(tx).await
}

/// Deletes some of the blocks that begin before a quarter hour; returns how many.
pub(super) async fn blocks_delete_old(
    tx: &mut Transaction<'static, Sqlite>,
    before: i64,
    max: i64,
) -> Result<u64, StoreError> {
    macro_rules! old {
        ($table:literal, $key:literal) => {
            concat!(
                "delete from ",
                $table,
                " where (",
                $key,
                ") in (with recursive w (id) as (\
                   select min(workspace) from ",
                $table,
                " union all select (select min(n.workspace) from ",
                $table,
                " n where n.workspace > w.id) from w where w.id is not null) \
                 select ",
                $key,
                " from w cross join ",
                $table,
                " b where b.workspace = w.id and b.level = ? and b.block < ? limit ?)"
            )
        };
    }
    const OLD: [&str; 2] = [
        old!("workspace_block", "workspace, level, block, dimension"),
        old!("link_block", "workspace, level, block, link, dimension"),
    ];
    let mut deleted = 0;
    for level in LEVELS.map(i64::from) {
        for sql in OLD {
            let block = before.div_euclid(level) + i64::from(before % level != 0);
            let delete = sqlx::query(sql).bind(level).bind(block).bind(max);
            deleted += delete.execute(&mut **tx).await?.rows_affected();
        }
    }
    Ok(deleted)
}

#[cfg(test)]
mod tests;
