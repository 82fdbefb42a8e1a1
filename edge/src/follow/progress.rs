//! Which of a feed's numbered changes were applied, in whatever order they come. Pure.

use std::collections::BTreeMap;

use carom_shared::FeedPosition;

/// Stretches of numbers beyond a gap that are remembered, at most. What finds no place is asked for
/// again, although it was applied.
const AHEAD_MAX: usize = 1024;

/// How far a feed is followed without a gap, and what is known beyond.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    epoch: u64,
    /// Every number up to this one was applied.
    seq: u64,
    /// Applied beyond a gap: first numbers, and the last of each.
    ahead: BTreeMap<u64, u64>,
    /// The greatest number that was heard of.
    head: u64,
}

impl Progress {
    pub(super) fn new(at: FeedPosition) -> Self {
        Self { epoch: at.epoch, seq: at.seq, ahead: BTreeMap::new(), head: at.seq }
    }

    /// Every change up to this position was applied.
    pub(super) fn at(&self) -> FeedPosition {
        FeedPosition { epoch: self.epoch, seq: self.seq }
    }

    /// Whether there are changes that were heard of and not applied.
    pub(super) fn is_behind(&self) -> bool {
        self.head > self.seq
    }

    /// The feed goes so far.
    pub(super) fn hear(&mut self, head: u64) {
        self.head = self.head.max(head);
    }

    /// So many changes from this number on were applied.
    pub(super) fn take(&mut self, first: u64, count: u64) {
        let Some(last) = count.checked_sub(1).map(|more| first.saturating_add(more)) else {
            return;
        };
        self.hear(last);
        if first > self.seq.saturating_add(1) {
            if self.ahead.len() < AHEAD_MAX {
                let held = self.ahead.entry(first).or_insert(last);
                *held = last.max(*held);
            }
            return;
        }
        self.seq = self.seq.max(last);
        while let Some(next) = self.ahead.first_entry()
            && *next.key() <= self.seq.saturating_add(1)
        {
            self.seq = self.seq.max(next.remove());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seq: u64) -> Progress {
        Progress::new(FeedPosition { epoch: 7, seq })
    }

    #[test]
    fn it_stands_still_at_a_gap_and_leaps_once_that_is_closed() {
        let mut progress = at(5);
        assert!(!progress.is_behind());
        progress.take(6, 2);
        assert_eq!(progress.at(), FeedPosition { epoch: 7, seq: 7 });
        progress.take(9, 1);
        progress.take(10, 5);
        assert_eq!((progress.at().seq, progress.is_behind()), (7, true));
        progress.take(3, 6);
        assert_eq!((progress.at().seq, progress.is_behind()), (14, false));
        progress.hear(15);
        assert!(progress.is_behind());
        progress.take(15, 0);
        progress.hear(3);
        assert!(progress.is_behind());
        progress.take(15, 1);
        assert!(!progress.is_behind());
        progress.take(u64::MAX, 9);
        assert_eq!(progress.at().seq, 15);
    }

    #[test]
    fn what_it_remembers_is_bounded_and_what_it_forgets_is_behind() {
        let mut progress = at(0);
        for stretch in 0..2 * AHEAD_MAX as u64 {
            progress.take(2 * stretch + 2, 1);
        }
        assert_eq!(progress.ahead.len(), AHEAD_MAX);
        for first in (1..=4 * AHEAD_MAX as u64).step_by(1024) {
            progress.take(first, 1024);
        }
        assert_eq!((progress.ahead.len(), progress.is_behind()), (0, false));
    }

    proptest! {
        #[test]
        fn it_is_the_first_number_that_is_missing(
            pages in proptest::collection::vec((1_u64..60, 0_u64..9), 0..40), from in 0_u64..9,
        ) {
            let mut progress = at(from);
            let mut applied: std::collections::BTreeSet<u64> = (1..=from).collect();
            for (first, count) in pages {
                progress.take(first, count);
                applied.extend(first..first + count);
                let seq = (1..).take_while(|seq| applied.contains(seq)).last().unwrap_or(0);
                prop_assert_eq!(progress.at().seq, seq);
                let head = applied.last().copied().unwrap_or(0);
                prop_assert_eq!(progress.is_behind(), head > seq);
            }
        }
    }
}
