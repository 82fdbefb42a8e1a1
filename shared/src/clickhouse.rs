//! How a batch of clicks gets into ClickHouse exactly once: the statements, the bytes and the decisions.
//!
//! Whoever ships batches does the I/O and follows a [`Shipment`]: control, or, with fewer rights, an edge a
//! [`LimitedShipment`].
//!
//! # Why an insert with a token is not enough
//!
//! ClickHouse takes an insert apart from its name: on a plain `MergeTree` the token goes into the log
//! of tokens *before* the part is renamed into place. A server that is killed in between has the token
//! and not the rows; the retry is taken for a repetition, is answered with success and dropped. Newer
//! versions turn that order round, which turns the loss into a second copy. A token is also forgotten
//! once enough others came after it. And a batch whose rows are of two months becomes two parts, one of
//! which may be there without the other.
//!
//! # What is relied on instead
//!
//! 1. **Rows know their batch.** Column `batch` is a hash of the batch's token, `row` the place in it, so
//!    how much of a batch is there can be counted at any time, by a projection that lives within
//!    the parts: it cannot be out of step with the rows.
//! 2. **Every call begins with a count and ends with one.** Nothing is said to be stored because an
//!    insert said so, and nothing is inserted because nobody remembers that it was. Nothing about a
//!    batch has to be remembered between calls, so nothing is lost when whoever ships is killed.
//! 3. **One insert of a batch at a time.** Its query id is made from the token: the server refuses a
//!    second one while the first runs, whoever sends it. An insert whose outcome is unknown is
//!    stopped and waited for ([`kill_statement`]) before anything is concluded from a count.
//! 4. **What is wrong is taken out and put in again under another token**: no rows after an insert that
//!    was fine (the token was poisoned), some of them, or more than there are.
//! 5. **A ledger remembers longer than rows are kept.** It is written after the count, so it never names
//!    what is not there. A batch in it is stored, whatever has been deleted since. A batch that is
//!    counted whole and not in it (the one who shipped it was killed in between) is
//!    written down then.
//!
//! So at the moment when a call says "stored", all rows were counted, once each. Before that moment the
//! caller keeps the batch and calls again. What can still take rows away from under an answer is a server
//! that loses parts which it had (power cut without `fsync_after_insert`, which the schema asks for).
//!
//! Two copies can come to be when the server forgot the token and rows are invisible to a count
//! although their insert has ended: on a replica that lags. Inserts and counts of one batch must reach
//! the same replica, or `select_sequential_consistency` has to be on, which [`SETTINGS`] pins.
//!
//! The rollup is a view's: after kills it may lack what raw has, or hold it twice. It is compared with raw
//! and repaired by the difference; it is never asked whether a batch is there.
//!
//! # Two at once
//!
//! A batch whose fate is not known may be brought to another control plane while the first is still at
//! it; nothing is locked between them. Both count before they say anything, so that neither calls stored
//! what is not there. What the other may do afterwards:
//!
//! - *insert*: under the same name as the insert that was counted. While that one runs the query id is
//!   taken (error 216, and the caller is told "later"); after it the token is known, and the
//!   repetition is dropped. Only if the token was forgotten too is there a second copy, which the same
//!   call counts, and takes out.
//! - *stop*: an insert that is stopped has an unknown outcome for who sent it, who counts.
//! - *delete* rows that it had counted in part, however long ago: [`delete_part_statement`] takes nothing
//!   of a batch that the ledger has by then.
//!
//! What remains: a deletion that has begun when the other one's insert, count and note all fall into the
//! milliseconds that it takes, and whose caller dies before it puts the rows in again. It needs a batch in
//! part (a killed engine) on top. All control planes must name the same server: query ids are a server's.
//!
//! # Erased clicks
//!
//! Rows of a batch may be erased after it was stored and before it is written into the ledger. A batch of
//! which exactly the rows are missing that an erasure since its making took is whole. One of which
//! all were, and none is there, counts as stored: had it come late, its clicks would be of a time
//! before the erasure.

mod at;
mod limited;
mod prepared;
mod shipment;
mod statement;
mod wire;

pub use at::{ClickHouseAt, MAY_WANT_TLS};
pub use limited::{LimitedOutcome, LimitedShipment, LimitedStep};
pub use prepared::PreparedBatch;
pub use shipment::{Found, Outcome, Sent, Shipment, Step};
pub use statement::{
    CHANGE_STATEMENT, CLICK_TABLE, CLOSED, INSERT_ENCODING, LinkKey, Look, attempt_name,
    batch_number, change_rows, count_statement, delete_part_statement, delete_statement, found,
    insert_body, insert_statement, kill_statement, ledger_statement, literal, look_statement,
    query_id,
};
pub use wire::{
    ClickHouseError, EXCEPTION_HEADER, PASSWORD_HEADER, Statement, StatementRequest, USER_HEADER,
};

/// Settings of each insert.
///
/// With a server's own defaults, which change from version to version and with
/// whoever runs it, a batch may become several parts, views may count a repetition, or an
/// answer may come before anything is written.
pub const INSERT_SETTINGS: &[(&str, &str)] = &[
    ("async_insert", "0"),
    ("wait_end_of_query", "1"),
    ("insert_deduplicate", "1"),
    ("deduplicate_blocks_in_dependent_materialized_views", "1"),
    ("materialized_views_ignore_errors", "0"),
    ("parallel_view_processing", "0"),
    // A batch is one block: at most 2¹⁸ rows and 128 MiB.
    ("max_insert_block_size", "1048576"),
    ("min_insert_block_size_rows", "1048576"),
    ("min_insert_block_size_bytes", "268402944"),
    ("max_insert_threads", "1"),
    // Files of clicks may be of many years.
    ("max_partitions_per_insert_block", "10000"),
    ("input_format_native_allow_types_conversion", "1"),
    ("insert_quorum", "0"),
    ("replace_running_query", "0"),
    ("max_execution_time", "120"),
];

/// Settings of each question about batches.
pub const SETTINGS: &[(&str, &str)] = &[
    ("wait_end_of_query", "1"),
    ("optimize_use_projections", "1"),
    ("optimize_use_implicit_projections", "1"),
    ("select_sequential_consistency", "1"),
    ("use_query_cache", "0"),
    ("output_format_json_quote_64bit_integers", "0"),
    ("mutations_sync", "2"),
    // What a deletion asks of the ledger can only change so that it deletes less.
    ("allow_nondeterministic_mutations", "1"),
    ("max_execution_time", "120"),
];

/// Settings of what is written beside batches; it may come twice.
pub const WRITE_SETTINGS: &[(&str, &str)] = &[
    ("async_insert", "0"),
    ("wait_end_of_query", "1"),
    ("insert_deduplicate", "0"),
    ("insert_quorum", "0"),
    ("mutations_sync", "2"),
    ("max_execution_time", "120"),
];

#[cfg(test)]
mod tests;
