//! The statements about a batch, and the bytes of its insert.

use std::collections::BTreeSet;
use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use super::Found;
use crate::UnixMillis;
use crate::batch::Batch;
pub use crate::batch::LinkKey;

/// The table of clicks.
pub const CLICK_TABLE: &str = "click";
/// How a batch's insert is coded: `Content-Encoding`.
pub const INSERT_ENCODING: &str = "zstd";
const ZSTD_LEVEL: i32 = 1;

/// The answer to [`look_statement`]: times that the batch is in the ledger, its rows that are there,
/// and what was erased since it was made.
pub type Look = (u64, u64, Vec<LinkKey>);

/// The workspace and link of an erasure which says that this store of clicks is closed to edges: it moves to
/// another, or moved. Every [`Look`] has it, and an edge needs no other right to see it.
pub const CLOSED: LinkKey = [0, 0];

/// The number under which a batch's rows are stored: SipHash-2-4 of its token with a key of zeros. Among
/// a hundred million batches two are alike with a probability of one in four thousand.
#[must_use]
pub fn batch_number(token: &str) -> u64 {
    let mut hasher = SipHasher24::new();
    hasher.write(token.as_bytes());
    hasher.finish()
}

/// The deduplication token of an attempt: a repetition of it is recognised by the server too.
#[must_use]
pub fn attempt_name(token: &str, attempt: u32) -> String {
    format!("{token}.{attempt}")
}

/// Asks what is known of a batch: one row, a [`Look`], as JSON.
#[must_use]
pub fn look_statement(number: u64, made_at: UnixMillis) -> String {
    format!(
        "SELECT (SELECT count() FROM batch WHERE batch = {number}), ({}), \
           (SELECT groupArray([workspace, link]) FROM erasure WHERE at_ms >= {}) \
         FORMAT JSONCompactEachRow",
        count_statement(number),
        made_at.get(),
    )
}

/// What a [`Look`] says of a batch with so many rows of each of these links.
#[must_use]
pub fn found(
    (noted, rows, erasures): Look,
    is_older_than_ledger: bool,
    links: impl IntoIterator<Item = (LinkKey, u64)>,
) -> Found {
    let erasures: BTreeSet<LinkKey> = erasures.into_iter().collect();
    let is_erased = |[workspace, link]: LinkKey| {
        erasures.contains(&[workspace, link]) || erasures.contains(&[workspace, 0])
    };
    let erased = if erasures.is_empty() {
        0
    } else {
        links.into_iter().filter(|(link, _)| is_erased(*link)).map(|(_, rows)| rows).sum()
    };
    Found { is_noted: noted > 0, rows, erased, is_older_than_ledger }
}

/// The INSERT whose body is [`insert_body`].
#[must_use]
pub fn insert_statement() -> String {
    format!("INSERT INTO {CLICK_TABLE} FORMAT Native")
}

/// The bytes of a batch's insert: its block with the columns `batch`, `row` and `imported` behind it, as
/// zstd. The same for the same batch, always.
#[must_use]
pub fn insert_body(token: &str, batch: &Batch, is_imported: bool) -> Vec<u8> {
    let more = insert_columns(token, batch.len(), is_imported);
    let block = batch.block_with(&more.as_columns());
    zstd::bulk::compress(&block, ZSTD_LEVEL).expect("zstd compresses from memory")
}

/// What an insert has beside a batch's own columns.
pub(super) struct InsertColumns {
    batch: Vec<u8>,
    row_type: &'static str,
    row: Vec<u8>,
    imported: Vec<u8>,
}

pub(super) fn insert_columns(token: &str, rows: usize, is_imported: bool) -> InsertColumns {
    // The server converts: numbers that all differ are half of what such a body would weigh.
    let (row_type, row) = match u16::try_from(rows) {
        Ok(rows) => ("UInt16", (0..rows).flat_map(u16::to_le_bytes).collect()),
        Err(_) => {
            let rows = u32::try_from(rows).unwrap_or(u32::MAX);
            ("UInt32", (0..rows).flat_map(u32::to_le_bytes).collect())
        }
    };
    let batch = batch_number(token).to_le_bytes().repeat(rows);
    InsertColumns { batch, row_type, row, imported: vec![u8::from(is_imported); rows] }
}

impl InsertColumns {
    pub(super) fn as_columns(&self) -> [(&str, &str, &[u8]); 3] {
        [
            ("batch", "UInt64", &self.batch),
            ("row", self.row_type, &self.row),
            ("imported", "UInt8", &self.imported),
        ]
    }
}

/// How many of a batch's rows there are, one number.
#[must_use]
pub fn count_statement(number: u64) -> String {
    format!("SELECT count() FROM {CLICK_TABLE} WHERE batch = {number}")
}

/// Takes out the rows of a batch that is there in part, unless somebody else has completed it and
/// written it down since; returns once they are gone.
#[must_use]
pub fn delete_part_statement(number: u64) -> String {
    format!(
        "ALTER TABLE {CLICK_TABLE} DELETE WHERE batch = {number} AND batch NOT IN \
         (SELECT batch FROM batch WHERE batch = {number})"
    )
}

/// Takes out all of a batch's rows, of which there are too many; returns once they are gone.
#[must_use]
pub fn delete_statement(number: u64) -> String {
    format!("ALTER TABLE {CLICK_TABLE} DELETE WHERE batch = {number}")
}

/// Writes down which links' totals changed; its body is [`change_rows`].
pub const CHANGE_STATEMENT: &str = "INSERT INTO click_change FORMAT RowBinary";

/// Each link under a time, in milliseconds since 1970.
#[must_use]
pub fn change_rows(stamp: i64, links: impl IntoIterator<Item = LinkKey>) -> Vec<u8> {
    let rows = links.into_iter().flat_map(|[workspace, link]| [stamp, workspace, link]);
    rows.flat_map(i64::to_le_bytes).collect()
}

/// Writes a batch into the ledger.
#[must_use]
pub fn ledger_statement(
    token: &str,
    rows: usize,
    clicks: u64,
    made_at: UnixMillis,
    stamp: i64,
) -> String {
    format!(
        "INSERT INTO batch (batch, token, rows, clicks, made_ms, stored_ms) \
         VALUES ({}, {}, {rows}, {clicks}, {}, {stamp})",
        batch_number(token),
        literal(token),
        made_at.get(),
    )
}

/// The query id of an attempt. A server has one set of them for all of its databases.
#[must_use]
pub fn query_id(database: &str, token: &str, attempt: u32) -> String {
    format!("{database}/{}", attempt_name(token, attempt))
}

/// Stops every attempt at a batch, whoever made it, and returns once none runs any more.
#[must_use]
pub fn kill_statement(database: &str, token: &str) -> String {
    format!("KILL QUERY WHERE startsWith(query_id, '{database}/{token}.') SYNC")
}

/// A text as a literal: whatever is not plain ASCII is written as its bytes' numbers, so nothing in it
/// means anything to the server but itself.
///
/// Parameters (`{name:String}`) are put into the text by the server in the same way; they come in the
/// URL, which is shorter than a filter may be.
#[must_use]
pub fn literal(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('\'');
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b" ._-/@:".contains(&byte) {
            literal.push(byte.into());
        } else {
            literal.push_str(&format!("\\x{byte:02X}"));
        }
    }
    literal.push('\'');
    literal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_holds_nothing_but_plain_ascii() {
        assert_eq!(literal("News-1 a.b/c@d:e_"), "'News-1 a.b/c@d:e_'");
        assert_eq!(literal("a'b\\;é\0"), "'a\\x27b\\x5C\\x3B\\xC3\\xA9\\x00'");
    }

    #[test]
    fn erased_rows_are_those_of_a_link_or_of_a_whole_workspace() {
        let links = || [([1, 1], 1), ([1, 2], 1), ([2, 1], 2)];
        for (erasures, erased) in [
            (vec![], 0),
            (vec![[1, 1]], 1),
            (vec![[2, 0]], 2),
            (vec![[1, 0], [2, 1]], 4),
            (vec![[3, 0], [1, 3]], 0),
        ] {
            let found = found((0, 4, erasures.clone()), false, links());
            assert_eq!(
                (found.rows, found.erased, found.is_noted),
                (4, erased, false),
                "{erasures:?}"
            );
        }
        assert!(found((2, 0, vec![]), true, links()).is_noted);
    }

    #[test]
    fn changes_are_rows_of_three_numbers() {
        let rows = change_rows(1, [[2, 3], [4, 5]]);
        let expected: Vec<u8> =
            [1_i64, 2, 3, 1, 4, 5].into_iter().flat_map(i64::to_le_bytes).collect();
        assert_eq!(rows, expected);
    }
}
