//! What to do next about a batch, as a machine without I/O.
//!
//! ```text
//! Look ─ in the ledger ──────────────────────────────────────────────► Done(Already)
//!   ├─── whole ────────────────────────────────────────► Note ───────► Done(Already)
//!   ├─── none, older than the ledger ────────────────────────────────► Done(TooOld)
//!   ├─── none ─► Send ─ clean ───► Count ─ whole ──────► Note ───────► Done(Stored)
//!   │             ├──── refused ─────────────────────────────────────► Done(Later)
//!   │             └──── unknown ─► Settle ► Count ─ none ────────────► Done(Later)
//!   ├─── some, being erased ─────────────────────────────────────────► Done(Later)
//!   └─── some, or too many ──────► Settle ► Count
//!
//! Count, once nothing runs any more:
//!   whole                       ─► Note ─► Done
//!   none                        ─► Send, under the next name
//!   some, or too many           ─► Delete ─► Count
//! ```
//!
//! A failed step ends the call: nothing of it has to be remembered, the next one begins with `Look`.

/// Attempts of one call: each but the first means that a server was killed at a bad moment.
const ATTEMPTS_MAX: u32 = 16;
/// Deletions of one call: a second one means that somebody else inserts the batch too.
const DELETES_MAX: u32 = 3;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// See what is known of the batch.
    Look,
    /// Insert it, under the name of this attempt.
    Send(u32),
    /// Stop whatever still inserts it.
    Settle,
    Count,
    /// Delete all of its rows.
    Delete,
    /// Write it into the ledger.
    Note,
    Done(Outcome),
}

/// How a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All rows are there, once, and some of them by this call.
    Stored,
    /// They were there.
    Already,
    /// It is older than the ledger, and no row of it is there: nobody can say whether it was.
    TooOld,
    /// Not yet; call again.
    Later(&'static str),
}

/// What is known of a batch before anything is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// It is in the ledger.
    pub is_noted: bool,
    /// Rows that are there.
    pub rows: u64,
    /// Of all its rows, those that an erasure since it was made took, if they were there.
    pub erased: u64,
    /// It was made before the time that the ledger covers.
    pub is_older_than_ledger: bool,
}

/// What an insert came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It was answered with success: which says little.
    Clean,
    /// The server said no, or was not there.
    Refused,
    /// No whole answer came: it may have been carried out, may still be, or may never be.
    Unknown,
}

/// A call that stores a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shipment {
    rows: u64,
    step: Step,
    attempt: u32,
    deletes: u32,
    has_sent: bool,
    /// Nothing inserts the batch any more.
    is_settled: bool,
    /// The last insert's outcome is unknown.
    is_unknown: bool,
}

impl Shipment {
    /// Of a batch with so many rows.
    #[must_use]
    pub const fn new(rows: u64) -> Self {
        Self {
            rows,
            step: Step::Look,
            attempt: 0,
            deletes: 0,
            has_sent: false,
            is_settled: false,
            is_unknown: false,
        }
    }

    /// What to do now. The answer goes to the method that fits; a step that failed ends the call.
    #[must_use]
    pub const fn step(&self) -> Step {
        self.step
    }

    /// After [`Step::Look`].
    pub fn looked(&mut self, found: Found) {
        let Found { is_noted, rows, erased, is_older_than_ledger } = found;
        let left = self.rows.saturating_sub(erased);
        self.step = if is_noted {
            Step::Done(Outcome::Already)
        } else if rows == self.rows || (erased > 0 && rows == left) {
            Step::Note
        } else if rows == 0 && is_older_than_ledger {
            Step::Done(Outcome::TooOld)
        } else if rows == 0 {
            Step::Send(self.attempt)
        } else if rows > left && rows < self.rows {
            Step::Done(Outcome::Later("some of its clicks are being erased"))
        } else {
            Step::Settle
        };
    }

    /// After [`Step::Send`].
    pub fn sent(&mut self, sent: Sent) {
        self.has_sent = true;
        self.is_settled = false;
        self.is_unknown = sent == Sent::Unknown;
        self.step = match sent {
            Sent::Clean => Step::Count,
            Sent::Refused => Step::Done(Outcome::Later("the server refused it")),
            Sent::Unknown => Step::Settle,
        };
    }

    /// After [`Step::Settle`].
    pub fn settled(&mut self) {
        self.is_settled = true;
        self.step = Step::Count;
    }

    /// After [`Step::Count`].
    pub fn counted(&mut self, rows: u64) {
        self.step = if rows == self.rows {
            Step::Note
        } else if !self.is_settled {
            Step::Settle
        } else if rows > 0 {
            self.deletes += 1;
            if self.deletes > DELETES_MAX {
                Step::Done(Outcome::Later("its rows come and go: somebody else inserts it too"))
            } else {
                Step::Delete
            }
        } else if self.is_unknown {
            Step::Done(Outcome::Later("its insert was cut off"))
        } else {
            // A name is never used again for rows that were taken out, or swallowed.
            self.attempt += 1;
            if self.attempt < ATTEMPTS_MAX {
                Step::Send(self.attempt)
            } else {
                Step::Done(Outcome::Later("its inserts succeed and leave nothing"))
            }
        };
    }

    /// After [`Step::Delete`].
    pub fn deleted(&mut self) {
        // Its rows were taken out on purpose: what the last insert came to is of no interest now.
        self.is_unknown = false;
        self.step = Step::Count;
    }

    /// After [`Step::Note`].
    pub fn noted(&mut self) {
        let outcome = if self.has_sent { Outcome::Stored } else { Outcome::Already };
        self.step = Step::Done(outcome);
    }
}

#[cfg(test)]
mod tests;
