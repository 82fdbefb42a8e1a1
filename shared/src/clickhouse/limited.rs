//! A call of who may only insert and count: an edge.
//!
//! ```text
//! Look ─ stored, or to be noted, or too old             as in a Shipment
//!   ├─── none ─► Send ─ clean ───► Count ─ whole ──────► Note ──► Done(Stored)
//!   │             │                   └─── else ─────────────────► Done(ForControl)
//!   │             └──── refused, unknown ───────────────────────► Done(Later)
//!   └─── some, or too many ─────────────────────────────────────► Done(ForControl)
//! ```
//!
//! It stops nobody's insert and deletes no row: whose batch needs that brings it to control, whose own
//! call begins with what is there. So it inserts under the batch's first name alone. An insert of it
//! whose fate is unknown may be carried out at any later time: as long as the server remembers that
//! name, it is then carried out once, by whomever; and when the server is killed it is not.

use super::{Found, Outcome, Sent, Shipment, Step};

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitedStep {
    /// See what is known of the batch.
    Look,
    /// Insert it, under its first name.
    Send,
    Count,
    /// Write it into the ledger.
    Note,
    Done(LimitedOutcome),
}

/// How a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitedOutcome {
    /// All rows are there, once, and some of them by this call.
    Stored,
    /// They were there.
    Already,
    /// It is older than the ledger, and no row of it is there: nobody can say whether it was.
    TooOld,
    /// Not yet; call again.
    Later(&'static str),
    /// Not yet, and only who may do more can go on.
    ForControl(&'static str),
}

/// A call that stores a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitedShipment {
    whole: Shipment,
    is_cut: bool,
}

impl LimitedShipment {
    /// The attempt under whose name it inserts.
    pub const ATTEMPT: u32 = 0;

    /// Of a batch with so many rows.
    #[must_use]
    pub const fn new(rows: u64) -> Self {
        Self { whole: Shipment::new(rows), is_cut: false }
    }

    /// What to do now. The answer goes to the method that fits; a step that failed ends the call.
    #[must_use]
    pub const fn step(&self) -> LimitedStep {
        let outcome = match self.whole.step() {
            Step::Look => return LimitedStep::Look,
            Step::Send(Self::ATTEMPT) => return LimitedStep::Send,
            Step::Count => return LimitedStep::Count,
            Step::Note => return LimitedStep::Note,
            _ if self.is_cut => LimitedOutcome::Later("nobody knows what became of its insert"),
            Step::Send(_) | Step::Settle | Step::Delete => {
                LimitedOutcome::ForControl("rows of it are missing, or there are too many")
            }
            Step::Done(Outcome::Stored) => LimitedOutcome::Stored,
            Step::Done(Outcome::Already) => LimitedOutcome::Already,
            Step::Done(Outcome::TooOld) => LimitedOutcome::TooOld,
            Step::Done(Outcome::Later(why)) => LimitedOutcome::Later(why),
        };
        LimitedStep::Done(outcome)
    }

    /// After [`LimitedStep::Look`].
    pub fn looked(&mut self, found: Found) {
        self.whole.looked(found);
    }

    /// After [`LimitedStep::Send`].
    pub fn sent(&mut self, sent: Sent) {
        self.is_cut = sent == Sent::Unknown;
        self.whole.sent(sent);
    }

    /// After [`LimitedStep::Count`].
    pub fn counted(&mut self, rows: u64) {
        self.whole.counted(rows);
    }

    /// After [`LimitedStep::Note`].
    pub fn noted(&mut self) {
        self.whole.noted();
    }
}

#[cfg(test)]
mod tests;
