//! A budget of codes that do not exist: who asks for many is guessing.
//!
//! Each block may miss `burst` times at once, and gets one back every `60 / per_minute` seconds. Beyond
//! that a miss is answered 429. What is there is always answered: whoever shares an address with a
//! guesser follows links as before. So the budget keeps guessing from reaching the control plane and
//! the lists of missing codes; that a guess hardly ever hits is due to the length of codes.
//!
//! The rule is GCRA (the generic cell rate algorithm of ITU-T I.371): of each block one number is kept,
//! the moment at which its budget will be whole again. A moment that has passed says nothing, so what
//! is forgotten is what is whole. [`BLOCKS_MAX`] bounds the rest; a block that finds no room has no
//! budget, until others have theirs back.

use std::sync::atomic::{AtomicI64, Ordering};

use http::HeaderValue;

use carom_shared::UnixMillis;

use super::{Block, SHARDS, Table};

/// Blocks whose budget is not whole, at most; about 3 MB of them.
const BLOCKS_MAX: usize = 1 << 16;
const MINUTE_MS: i64 = 60_000;

#[derive(Debug)]
pub(crate) struct Misses {
    /// When a block's budget is whole again, in milliseconds since 1970.
    whole_at: Table<i64>,
    /// Of each full part of the table, when the first of its budgets will be whole again: until then
    /// there is no room to be found in it, and nobody looks for any.
    full_until: Box<[AtomicI64]>,
    /// The time that a miss takes to come back.
    interval_ms: i64,
    /// How far in the future a budget may be whole again.
    span_ms: i64,
    retry_after: HeaderValue,
}

impl Misses {
    /// `burst` at once, and `per_minute` from then on; both at least 1.
    pub(crate) fn new(burst: u32, per_minute: u32) -> Self {
        let interval_ms = (MINUTE_MS / i64::from(per_minute.max(1))).max(1);
        let retry_after_s = interval_ms.div_euclid(1000) + i64::from(interval_ms % 1000 > 0);
        Self {
            whole_at: Table::new(),
            full_until: (0..SHARDS).map(|_| AtomicI64::new(i64::MIN)).collect(),
            interval_ms,
            span_ms: interval_ms * i64::from(burst.max(1)),
            retry_after: HeaderValue::from(retry_after_s),
        }
    }

    /// When it makes sense to ask again, for `Retry-After`.
    pub(crate) fn retry_after(&self) -> HeaderValue {
        self.retry_after.clone()
    }

    /// Whether a block has no miss left.
    pub(crate) fn is_spent(&self, block: Block, now: UnixMillis) -> bool {
        let shard = self.whole_at.shard(block);
        shard.get(&block).is_some_and(|whole_at| self.next(*whole_at, now).is_none())
    }

    /// Takes a miss of a block's budget; false: it has none.
    pub(crate) fn spend(&self, block: Block, now: UnixMillis) -> bool {
        let mut shard = self.whole_at.shard(block);
        let known = shard.get(&block).copied();
        if known.is_none() && shard.len() >= BLOCKS_MAX / SHARDS {
            let full_until = &self.full_until[Table::<i64>::place(block)];
            // Later than a whole budget takes: the clock was set back.
            let is_due = |at: i64| at > now.get() && at <= now.get().saturating_add(self.span_ms);
            if is_due(full_until.load(Ordering::Relaxed)) {
                return false;
            }
            shard.retain(|_, whole_at| is_due(*whole_at));
            if shard.len() >= BLOCKS_MAX / SHARDS {
                let first = shard.values().min().copied().unwrap_or_default();
                full_until.store(first, Ordering::Relaxed);
                return false;
            }
        }
        // A clock that was set back makes nobody wait for longer than a whole budget takes.
        let limit = now.get().saturating_add(self.span_ms);
        let whole_at = known.unwrap_or_default().min(limit);
        let next = self.next(whole_at, now);
        shard.insert(block, next.unwrap_or(whole_at));
        next.is_some()
    }

    /// When the budget will be whole after one more miss; `None`: there is none left.
    fn next(&self, whole_at: i64, now: UnixMillis) -> Option<i64> {
        let limit = now.get().saturating_add(self.span_ms);
        let next = whole_at.max(now.get()).saturating_add(self.interval_ms);
        (next <= limit).then_some(next)
    }

    /// Blocks whose budget was not whole when it was last looked at.
    pub(crate) fn len(&self) -> usize {
        self.whole_at.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> UnixMillis {
        UnixMillis::new(1_767_225_600_000 + ms)
    }

    #[test]
    fn a_burst_then_a_rate() {
        let misses = Misses::new(3, 10);
        assert_eq!(misses.retry_after(), "6");
        let spend = |ms| misses.spend(Block(1), at(ms));
        assert!(!misses.is_spent(Block(1), at(0)));
        assert_eq!([spend(0), spend(0), spend(1), spend(2)], [true, true, true, false]);
        assert!(misses.is_spent(Block(1), at(2)) && !misses.is_spent(Block(2), at(2)));
        assert!(misses.spend(Block(2), at(2)), "others have their own");
        assert!(!spend(5999), "not yet");
        assert_eq!([spend(6000), spend(6000)], [true, false], "one came back");
        assert_eq!([spend(18_000), spend(18_000), spend(18_000)], [true, true, false]);
        // Whole again, and not more than whole.
        let later = [spend(900_000), spend(900_000), spend(900_000), spend(900_000)];
        assert_eq!(later, [true, true, true, false]);
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_lock_out() {
        let misses = Misses::new(2, 60);
        assert!(misses.spend(Block(1), at(3_600_000)));
        assert!(!misses.spend(Block(1), at(0)));
        assert!(misses.spend(Block(1), at(1000)), "after a second one is back");
    }

    #[test]
    fn many_blocks_take_no_more_room_than_a_few() {
        let misses = Misses::new(30, 10);
        let spent = (0..300_000).filter(|n| misses.spend(Block(*n), at(0))).count();
        assert_eq!((spent, misses.len()), (BLOCKS_MAX, BLOCKS_MAX));
        assert!(misses.spend(Block(0), at(0)), "who was there first goes on");
        assert!(!misses.spend(Block(300_000), at(0)));
        assert!(misses.spend(Block(300_000), at(12_001)), "the others are whole and forgotten");
        assert!(misses.len() < BLOCKS_MAX);
    }
}
