//! An outbox that grows towards its quota gives up detail: its oldest batches that no store has
//! seen become one batch of counts ([`CountKey`]), which takes a small part of the room.
//!
//! # Once, through a kill
//!
//! The new batch's header holds the ranges of all that it replaces. Bytes of a ring are in one
//! batch only, so **of two batches that hold the same bytes the one named later replaces the
//! other** ([`replaced`]). The steps:
//!
//! 1. take the batches off the list, so that the shipper does not see them,
//! 2. write the new batch, synced: from here on the old ones are void,
//! 3. remove the old ones, sync the folder,
//! 4. hand the new one over. Not before: were it stored and gone while an old one could come back
//!    with the power, its clicks would be counted twice.
//!
//! Killed before 2: nothing happened. Killed after: the start finds both, goes on with 3. If 2
//! fails, the new batch may be there all the same, so it is tried again, under its name.
//!
//! A batch that a store may have seen cannot be replaced, as its clicks may be counted already:
//! the outbox keeps a mark of how far it has sent ([`Outbox::may_be_sent`]).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;

use carom_shared::Clock;
use carom_shared::batch::{Batch, BatchBuilder, BatchFile, RANGES_MAX, ROWS_MAX, Range, Token};

use super::count::CountKey;
use super::losses::{Loss, Losses};
use super::outbox::{Outbox, Waiting};

/// Batches that are compacted into one, at most.
const INPUTS_MAX: usize = 64;

/// A compaction that is not done with.
#[derive(Debug)]
struct Pending {
    made: Waiting,
    /// Until it is written. After a failed try it may be on the disk or not, so that it is tried
    /// again and nothing else is done with what it replaces.
    batch: Option<BatchFile>,
    inputs: Vec<Token>,
    clicks: u64,
}

/// Compacts an outbox; holds what a failed step left to do.
#[derive(Debug, Default)]
pub(crate) struct Compactor {
    pending: Option<Pending>,
}

impl Compactor {
    /// Compacts until there is room, or nothing is left that could be compacted.
    ///
    /// # Errors
    /// If a step fails: nothing is lost, the next call goes on with it.
    pub(crate) fn relieve(
        &mut self,
        outbox: &Outbox,
        clock: &dyn Clock,
        losses: &Losses,
    ) -> io::Result<()> {
        self.finish(outbox, losses)?;
        while outbox.is_under_pressure() {
            let inputs = outbox.take_unsent(INPUTS_MAX);
            if inputs.is_empty() {
                return Ok(());
            }
            self.compact(outbox, inputs, clock, losses)?;
        }
        Ok(())
    }

    /// Whether a step is left to do.
    pub(crate) const fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    fn compact(
        &mut self,
        outbox: &Outbox,
        inputs: Vec<Waiting>,
        clock: &dyn Clock,
        losses: &Losses,
    ) -> io::Result<()> {
        let read = read(outbox, inputs)?;
        outbox.give_back(read.left);
        if read.taken.is_empty() {
            return Ok(());
        }
        let batch = read.counts.batch(clock);
        let token = outbox.name(&batch);
        let made = Waiting { token, bytes: batch.bytes.len() as u64, is_compact: true };
        let inputs = read.taken.into_iter().map(|waiting| waiting.token).collect();
        let clicks = read.counts.clicks;
        self.pending = Some(Pending { made, batch: Some(batch), inputs, clicks });
        self.finish(outbox, losses)
    }

    /// Steps 2 to 4, or what is left of them.
    fn finish(&mut self, outbox: &Outbox, losses: &Losses) -> io::Result<()> {
        if let Some(pending) = &mut self.pending {
            if let Some(batch) = &pending.batch {
                outbox.put_replacement(&pending.made.token, batch)?;
                losses.add(Loss::Compacted, pending.clicks);
                pending.batch = None;
            }
            outbox.remove_replaced(&pending.inputs)?;
        }
        if let Some(pending) = self.pending.take() {
            outbox.hand_over(pending.made);
        }
        Ok(())
    }
}

/// What was read of batches that are to be compacted.
#[derive(Default)]
struct Taken {
    taken: Vec<Waiting>,
    /// There was no room for them in one batch.
    left: Vec<Waiting>,
    counts: Counts,
}

fn read(outbox: &Outbox, inputs: Vec<Waiting>) -> io::Result<Taken> {
    let mut read = Taken::default();
    let mut inputs = inputs.into_iter();
    while let Some(waiting) = inputs.next() {
        let bytes = match outbox.read(&waiting.token) {
            Ok(bytes) => bytes,
            Err(error) => {
                outbox.give_back(read.taken);
                outbox.give_back([waiting].into_iter().chain(inputs));
                return Err(error);
            }
        };
        match Batch::from_bytes(&bytes) {
            Ok(batch) if read.counts.add(&batch) => read.taken.push(waiting),
            Ok(_) if read.taken.is_empty() => {
                // It has more different rows than a batch may have: it stays as it is.
                read.left.push(Waiting { is_compact: true, ..waiting });
            }
            Ok(_) => {
                read.left.push(waiting);
                read.left.extend(inputs);
                break;
            }
            Err(error) => {
                tracing::error!(batch = %waiting.token, %error, "a batch is damaged and is set aside");
                // On the list again, so that it is taken off with its file.
                let token = waiting.token.clone();
                outbox.give_back([waiting]);
                if let Err(error) = outbox.quarantine(&token) {
                    outbox.give_back(read.taken.into_iter().chain(read.left).chain(inputs));
                    return Err(error);
                }
            }
        }
    }
    Ok(read)
}

#[derive(Default)]
struct Counts {
    rows: BTreeMap<CountKey, u64>,
    ranges: Vec<Range>,
    clicks: u64,
}

impl Counts {
    /// Adds a batch, if the limits of one batch allow it.
    fn add(&mut self, batch: &Batch) -> bool {
        let ranges = merge(self.ranges.iter().chain(&batch.header().ranges).copied().collect());
        if ranges.len() > RANGES_MAX || self.rows.len() + batch.len() > ROWS_MAX / 2 {
            return false;
        }
        self.ranges = ranges;
        for click in batch.clicks() {
            *self.rows.entry(CountKey::of(&click)).or_default() += u64::from(click.n);
            self.clicks += u64::from(click.n);
        }
        true
    }

    fn batch(&self, clock: &dyn Clock) -> BatchFile {
        let mut builder = BatchBuilder::new();
        for (key, &clicks) in &self.rows {
            let mut left = clicks;
            while left > 0 {
                let n = u32::try_from(left).unwrap_or(u32::MAX);
                builder.push(&key.row(n));
                left -= u64::from(n);
            }
        }
        builder.finish(clock.now(), &self.ranges)
    }
}

/// The same bytes in as few ranges as possible.
fn merge(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_by_key(|range| (range.epoch, range.from));
    ranges.dedup_by(|next, last| {
        let touches = last.epoch == next.epoch && next.from <= last.to;
        if touches {
            last.to = last.to.max(next.to);
        }
        touches
    });
    ranges
}

/// Which batches another one replaces: those of whose bytes all are in a batch named later.
pub(super) fn replaced(batches: &[(Token, Vec<Range>)]) -> HashSet<Token> {
    // For each life of a segment, who holds bytes of it.
    let mut holders: HashMap<u64, Vec<(&Token, Range)>> = HashMap::new();
    for (token, ranges) in batches {
        for range in merge(ranges.clone()) {
            holders.entry(range.epoch).or_default().push((token, range));
        }
    }
    let later = |token: &Token, range: &Range| -> HashSet<&Token> {
        let holders = holders.get(&range.epoch).into_iter().flatten();
        let covers = |held: &Range| held.from <= range.from && range.to <= held.to;
        let later = holders.filter(|(other, held)| other.place() > token.place() && covers(held));
        later.map(|(other, _)| *other).collect()
    };
    let is_replaced = |(token, ranges): &&(Token, Vec<Range>)| {
        let mut by = merge(ranges.clone()).into_iter().map(|range| later(token, &range));
        let first = by.next().unwrap_or_default();
        !by.fold(first, |all, range| all.intersection(&range).copied().collect()).is_empty()
    };
    batches.iter().filter(is_replaced).map(|(token, _)| token.clone()).collect()
}

#[cfg(test)]
mod tests;
