//! Counting in this process: governor's rule (GCRA) over a bounded table.
//!
//! A limiter is a quota, a clock and the times that it remembers. Only the times are kept; the
//! limiter is made for each decision, on the stack, because a key may have a quota of its own, and
//! quotas shrink when Redis is away.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use carom_shared::{Clock, UnixMillis};
use governor::clock::Clock as GovernorClock;
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota as GovernorQuota, RateLimiter};

use super::quota::{Charge, Limit, Quota, Subject};
use super::{Decision, SWEEP_EVERY};

/// Keys of one table, at most: 10 MB. New ones are refused above it.
pub(super) const KEYS_MAX: usize = 1 << 17;
/// Parts of a table with a lock each: a sweep holds up a 32nd of the requests.
const SHARDS: usize = 32;

type Key = (Limit, Subject);
type Limiter<'t> = RateLimiter<Key, &'t Room<'t>, Hand, StateInformationMiddleware>;

/// When whose quota is whole again. Tables are kept apart by who can fill them: strangers cannot take
/// the room of those who are known.
#[derive(Debug)]
pub(super) struct Table {
    shards: Vec<Mutex<HashMap<Key, Nanos>>>,
    hasher: RandomState,
    shard_max: usize,
}

/// The time since the process began, by a clock that may be set. It never goes back: a step back of
/// the wall clock would shut everybody out for as long.
pub(super) struct Ticks {
    /// What the clock said last, and the time until then.
    last: Mutex<(UnixMillis, Duration)>,
    clock: Arc<dyn Clock>,
}

impl Ticks {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { last: Mutex::new((clock.now(), Duration::ZERO)), clock }
    }

    pub(super) fn now(&self) -> Duration {
        let now = self.clock.now();
        let mut last = lock(&self.last);
        let passed = now.get().saturating_sub(last.0.get());
        last.1 = last.1.saturating_add(Duration::from_millis(passed.try_into().unwrap_or(0)));
        last.0 = now;
        last.1
    }
}

impl Table {
    pub(super) fn new(keys_max: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, hasher: RandomState::new(), shard_max: keys_max.div_ceil(SHARDS) }
    }

    /// Counts one more unless that is too much: of `weight` times its size, in a quota that is
    /// `factor` times as large.
    pub(super) fn check(
        &self,
        charge: &Charge,
        factor: u32,
        weight: u32,
        now: Duration,
    ) -> Decision {
        let Charge { limit, subject, .. } = *charge;
        let quota = charge.quota.times(factor);
        let room = Room { table: self, is_full: Cell::new(false) };
        // The first reading is the beginning of time.
        let hand = Hand(Cell::new(Nanos::new(0)));
        let limiter: Limiter<'_> = RateLimiter::new(governor_quota(quota), &room, hand);
        let now = Nanos::from(now);
        limiter.clock().0.set(now);
        let weight = NonZeroU32::new(weight.clamp(1, quota.burst.get())).unwrap_or(NonZeroU32::MIN);
        // More than there is at all cannot be asked for.
        let outcome = limiter.check_key_n(&(limit, subject), weight).ok();
        let refused = |retry_after| Decision::refused(charge, retry_after);
        match outcome {
            None => refused(quota.window()),
            Some(Ok(_)) if room.is_full.get() => refused(SWEEP_EVERY),
            Some(Ok(state)) => {
                let remaining = state.remaining_burst_capacity();
                Decision::allowed(charge, remaining / weight)
            }
            Some(Err(until)) => refused(until.wait_time_from(now)),
        }
    }

    /// What one more would be refused with, if it were; counts nothing.
    pub(super) fn refusal(&self, charge: &Charge, now: Duration) -> Option<Decision> {
        let Charge { limit, subject, quota } = *charge;
        let key = (limit, subject);
        let whole = Duration::from(self.shard(&key).get(&key).copied()?);
        let since = (whole + quota.every).saturating_sub(quota.window());
        let wait = since.checked_sub(now).filter(|wait| !wait.is_zero())?;
        Some(Decision::refused(charge, wait))
    }

    /// Forgets those whose quota is whole again.
    pub(super) fn sweep(&self, now: Duration) {
        let now = Nanos::from(now);
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.retain(|_, whole| *whole > now);
            if shard.capacity() > shard.len().saturating_mul(4) {
                shard.shrink_to_fit();
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, HashMap<Key, Nanos>> {
        let at = self.hasher.hash_one(key) % SHARDS as u64;
        lock(&self.shards[usize::try_from(at).unwrap_or(0)])
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn governor_quota(quota: Quota) -> GovernorQuota {
    let quota_of_one = GovernorQuota::with_period(quota.every.max(Duration::from_nanos(1)));
    quota_of_one.map_or(GovernorQuota::per_second(quota.burst), |one| one.allow_burst(quota.burst))
}

/// A table as governor uses it for one decision.
struct Room<'t> {
    table: &'t Table,
    is_full: Cell<bool>,
}

impl StateStore for &Room<'_> {
    type Key = Key;

    fn measure_and_replace<T, F, E>(&self, key: &Key, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut shard = self.table.shard(key);
        let held = shard.get(key).copied();
        let (outcome, whole) = decide(held)?;
        if held.is_none() && shard.len() >= self.table.shard_max {
            self.is_full.set(true);
        } else {
            shard.insert(*key, whole);
        }
        Ok(outcome)
    }
}

/// The time of one decision.
#[derive(Debug)]
struct Hand(Cell<Nanos>);

impl GovernorClock for Hand {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.get()
    }
}
