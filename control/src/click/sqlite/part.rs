//! Parts: the consecutive times into which clicks and their rollup by link are cut.
//!
//! A batch's clicks are of a short time and of many links. In one tree in the order of links each of
//! them changes a page of its own, and all of those pages are written twice: into the log, and back.
//! With the time of a part before the link, a batch changes the pages of one part or two, which are
//! few and fill up. A part is cut off once it has [`ROWS`], so a question about a link looks into one
//! more place per so many clicks of all links, and the store of a small site has one part for years.
//!
//! Parts do not overlap and each quarter hour is in one, whatever the order in which clicks come:
//! a new part begins behind the last quarter hour of the one before. So a link's rows in the order of
//! parts are in the order of time.

use std::collections::BTreeMap;

use sqlx::{Sqlite, Transaction};

use super::insert::{Table, insert_rows};
use crate::db::StoreError;

/// Rows after which a part is cut off, at the next quarter hour: some 17 MB of clicks and rollup.
/// With half of it a batch of 50,000 clicks costs hardly less, and questions look into twice as many
/// places. Tests cut early, to have many.
const ROWS: i64 = if cfg!(test) { 100 } else { 1 << 17 };
/// Quarter hours from now on that a wrong clock may be ahead; a click beyond them gets a part of its
/// own, or else no later part could begin before it.
const AHEAD: i64 = 4;

/// Rows of the part before, or of the quarter hour in one batch, from which on a part begins where time is left
/// out before it. After an outage clicks come newest first: with the newest of them the part before would reach
/// to now, and all that waited would go into it, however much that is (13 M rows, in a trial of 20 M clicks, at
/// three times the cost of each). A small store does not get a part for each night in which nobody clicked.
const ROWS_BEFORE_GAP: i64 = ROWS / 16;
const ROWS_AFTER_GAP: i64 = if cfg!(test) { 50 } else { ROWS / 128 };

const PART: Table = Table {
    before: "insert into part (first_quarter, last_quarter, rows) values ",
    columns: 3,
    after: " on conflict (first_quarter) do update \
            set last_quarter = excluded.last_quarter, rows = excluded.rows",
};

/// What a statement says to look into the parts `p` of a span: bound are the span's first quarter
/// hour, and the first one behind it.
macro_rules! parts_of_span {
    () => {
        "p.first_quarter >= (select max(first_quarter) from part where first_quarter <= ?) \
         and p.first_quarter < ?"
    };
}
pub(super) use parts_of_span;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    last: i64,
    rows: i64,
}

/// The parts that a batch may belong to, by their first quarter hour.
#[derive(Debug, Default)]
pub(super) struct Parts {
    parts: BTreeMap<i64, Part>,
    changed: Vec<i64>,
}

impl Parts {
    /// The parts from that of a quarter hour on.
    pub(super) async fn from(
        tx: &mut Transaction<'static, Sqlite>,
        quarter: i64,
    ) -> Result<Self, StoreError> {
        const FROM: &str = "select first_quarter, last_quarter, rows from part where \
             first_quarter >= (select max(first_quarter) from part where first_quarter <= ?)";
        let rows: Vec<(i64, i64, i64)> =
            sqlx::query_as(FROM).bind(quarter).fetch_all(&mut **tx).await?;
        let parts = rows.into_iter().map(|(first, last, rows)| (first, Part { last, rows }));
        Ok(Self { parts: parts.collect(), changed: Vec::new() })
    }

    /// The part to which rows of a quarter hour go, which is not before the one that was read from;
    /// `now` is the present quarter hour.
    pub(super) fn admit(&mut self, quarter: i64, rows: i64, now: i64) -> Result<i64, StoreError> {
        let found = self.parts.range_mut(..=quarter).next_back();
        let (&first, part) = found.ok_or(StoreError::Corrupt("list of parts"))?;
        let is_over = part.rows >= ROWS || (part.rows > 0 && quarter > now + AHEAD);
        let leaves_out =
            quarter > part.last + 1 && (part.rows >= ROWS_BEFORE_GAP || rows >= ROWS_AFTER_GAP);
        let first = if quarter > part.last && (is_over || leaves_out) {
            self.parts.insert(quarter, Part { last: quarter, rows });
            quarter
        } else {
            part.last = part.last.max(quarter);
            part.rows += rows;
            first
        };
        self.changed.push(first);
        Ok(first)
    }

    pub(super) async fn write(
        mut self,
        tx: &mut Transaction<'static, Sqlite>,
    ) -> Result<(), StoreError> {
        self.changed.sort_unstable();
        self.changed.dedup();
        let row = |first: &i64| {
            let Part { last, rows } = self.parts.get(first)?;
            Some([*first, *last, *rows])
        };
        let rows: Vec<[i64; 3]> = self.changed.iter().filter_map(row).collect();
        insert_rows(tx, &PART, &rows).await
    }
}

#[cfg(test)]
mod tests;
