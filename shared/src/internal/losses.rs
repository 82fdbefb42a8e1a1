//! What an edge says of clicks that it could not keep.

use serde::{Deserialize, Serialize};

/// Quarters of an hour in a report, at most: a day. Of a longer silence the latest are told.
pub const LOSS_QUARTERS_MAX: usize = 96;
/// Seconds of one.
pub const LOSS_QUARTER_S: u32 = 900;

/// What a spool could not keep. Totals only grow, so a report may come twice, or not at all: the next one
/// says what it said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossReport {
    /// The spool's name: 16 hexadecimal digits.
    pub spool: String,
    /// At most [`LOSS_QUARTERS_MAX`].
    pub quarters: Vec<LossTotals>,
}

/// A spool's totals since it was made, as they were at the end of a quarter of an hour, or are now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossTotals {
    /// When the quarter began, in seconds since 1970.
    pub at_s: u32,
    /// Clicks of which only the number is kept: a ring was full.
    pub counted: u64,
    /// Clicks of which only the number is kept: the outbox was nearly full.
    pub compacted: u64,
    /// Clicks of which nothing is kept: the table of counts was full too.
    pub dropped: u64,
    /// Clicks that were not on the disk yet when the machine stopped, as far as that left a gap.
    pub power: u64,
    /// Records that could not be read.
    pub damaged: u64,
}

impl LossReport {
    /// Whether it is one that a spool makes.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        self.spool.len() == 16
            && self.spool.bytes().all(is_hex)
            && self.quarters.len() <= LOSS_QUARTERS_MAX
            && self.quarters.iter().all(|of| of.at_s.is_multiple_of(LOSS_QUARTER_S))
    }
}
