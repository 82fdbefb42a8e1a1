//! The time by which a process serves: the wall clock's, but it does not jump.
//!
//! By this time clicks are dated, batches are taken or refused as too old, links end and old clicks
//! are deleted. A wall clock that a person or a time service sets wrong, if only for a minute, must
//! do none of that.
//!
//! So time goes on from what the wall clock showed at the start as the clock does that counts since
//! boot, which nobody sets and which goes on while the machine sleeps. The wall clock is looked at
//! once a second ([`Steady::compare`]):
//!
//! - it is off by no more than [`FOLLOWED_MAX_MS`]: it is right, as after every small correction;
//! - by more: it has jumped. What it shows is believed once it has gone on from there for
//!   [`PROOF`]: the machine was stopped, or its clock was wrong before. Until then time goes on;
//! - it shows a year that cannot be ([`PLAUSIBLE`]): it is never believed; and where time itself is
//!   such a year, as on a machine that starts without a clock, the first other one is, at once.
//!
//! A process that is started while the clock is wrong knows no better.

use std::ops::Range;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use carom_shared::{Clock, SystemClock, UnixMillis};
use rustix::time::{ClockId, clock_gettime};
use tokio_util::sync::CancellationToken;

/// How often the wall clock is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// By how much the wall clock may be off, in milliseconds, to be followed at once.
const FOLLOWED_MAX_MS: i64 = 5000;
/// How long the wall clock must go on from where it has jumped to be believed.
const PROOF: Duration = Duration::from_mins(10);
/// From 2025 to the end of 2099, in milliseconds since 1970.
const PLAUSIBLE: Range<i64> = 1_735_689_600_000..4_102_444_800_000;

/// A clock that does not jump.
#[derive(Debug)]
pub(crate) struct SteadyClock {
    /// Milliseconds from boot time to Unix time.
    offset_ms: AtomicI64,
    jump: Mutex<Option<Jump>>,
}

/// Where the wall clock went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Jump {
    offset_ms: i64,
    since_boot_ms: i64,
}

/// What a look at the wall clock has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// It is right.
    Right,
    /// It is off by so many milliseconds, since now, and is not believed.
    Jumped(i64),
    /// It is where it jumped to, and is not believed yet.
    Doubted,
    /// It was off by so many milliseconds for long: from now on it is right.
    Believed(i64),
}

impl SteadyClock {
    pub(crate) fn start() -> Self {
        let offset_ms = SystemClock.now().get() - boot_ms();
        Self { offset_ms: AtomicI64::new(offset_ms), jump: Mutex::new(None) }
    }

    /// Looks at the wall clock again and again, until `stop`.
    pub(crate) async fn keep(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
            match self.compare(boot_ms(), SystemClock.now().get()) {
                Look::Jumped(by_ms) => tracing::error!(
                    by_s = by_ms / 1000,
                    "the machine's clock has jumped; it is not believed until it has gone on for \
                     {} minutes: set it, and let a time service keep it",
                    PROOF.as_secs() / 60
                ),
                Look::Believed(by_ms) => {
                    tracing::warn!(by_s = by_ms / 1000, "the machine's clock is believed again");
                }
                Look::Right | Look::Doubted => {}
            }
        }
    }

    fn compare(&self, boot_ms: i64, wall_ms: i64) -> Look {
        let mut jump = self.jump.lock().unwrap_or_else(PoisonError::into_inner);
        let (offset_ms, believed_ms) = (wall_ms - boot_ms, self.offset_ms.load(Ordering::Relaxed));
        let off_ms = offset_ms - believed_ms;
        let (is_plausible, was_plausible) =
            (PLAUSIBLE.contains(&wall_ms), PLAUSIBLE.contains(&(boot_ms + believed_ms)));
        let same = jump.filter(|jump| (offset_ms - jump.offset_ms).abs() <= FOLLOWED_MAX_MS);
        let is_proven = same.is_some_and(|jump| {
            boot_ms - jump.since_boot_ms >= i64::try_from(PROOF.as_millis()).unwrap_or(i64::MAX)
        });
        if off_ms.abs() <= FOLLOWED_MAX_MS {
            (*jump, _) = (None, self.offset_ms.swap(offset_ms, Ordering::Relaxed));
            Look::Right
        } else if is_plausible && (is_proven || !was_plausible) {
            (*jump, _) = (None, self.offset_ms.swap(offset_ms, Ordering::Relaxed));
            Look::Believed(off_ms)
        } else if let Some(same) = same {
            // It is corrected little by little, there as well.
            *jump = Some(Jump { offset_ms, ..same });
            Look::Doubted
        } else {
            *jump = Some(Jump { offset_ms, since_boot_ms: boot_ms });
            Look::Jumped(off_ms)
        }
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> UnixMillis {
        UnixMillis::new(boot_ms() + self.offset_ms.load(Ordering::Relaxed))
    }
}

/// Milliseconds since the machine was started, sleep included.
fn boot_ms() -> i64 {
    let since = clock_gettime(ClockId::Boottime);
    since.tv_sec * 1000 + since.tv_nsec / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000;
    const HOUR: i64 = 3_600_000;
    const MINUTE: i64 = 60_000;

    fn clock(offset_ms: i64) -> SteadyClock {
        SteadyClock { offset_ms: AtomicI64::new(offset_ms), jump: Mutex::new(None) }
    }

    /// Looks each second of a time, with the wall clock off by so much; what the last look showed.
    fn looks(clock: &SteadyClock, seconds: Range<i64>, off_ms: i64) -> Look {
        let look = |s: i64| clock.compare(s * 1000, NOW + s * 1000 + off_ms);
        seconds.map(look).last().unwrap()
    }

    #[test]
    fn a_jump_that_is_taken_back_changes_nothing() {
        for by in [HOUR, -HOUR, 86_400_000 - NOW, 4_260_211_200_000 - NOW] {
            let clock = clock(NOW);
            assert_eq!(looks(&clock, 0..10, 0), Look::Right);
            assert_eq!(looks(&clock, 10..11, by), Look::Jumped(by));
            assert_eq!(looks(&clock, 11..590, by), Look::Doubted);
            assert_eq!(looks(&clock, 590..600, 0), Look::Right);
            assert_eq!(clock.offset_ms.load(Ordering::Relaxed), NOW, "{by}");
        }
    }

    #[test]
    fn a_jump_that_stays_is_believed_unless_it_cannot_be() {
        let clock = clock(NOW);
        assert_eq!(looks(&clock, 0..600, HOUR), Look::Doubted);
        assert_eq!(looks(&clock, 600..601, HOUR), Look::Believed(HOUR));
        assert_eq!(looks(&clock, 601..700, HOUR), Look::Right);
        // Another jump begins another proof.
        assert_eq!(looks(&clock, 700..1200, 2 * HOUR), Look::Doubted);
        assert_eq!(looks(&clock, 1200..1201, 3 * HOUR), Look::Jumped(2 * HOUR));
        assert_eq!(looks(&clock, 1201..90_000, 86_400_000 - NOW), Look::Doubted);
        assert_eq!(clock.offset_ms.load(Ordering::Relaxed), NOW + HOUR);
    }

    #[test]
    fn small_corrections_are_followed_and_so_is_the_first_time_that_can_be() {
        let started_without_a_clock = clock(1000);
        assert_eq!(started_without_a_clock.compare(0, NOW), Look::Believed(NOW - 1000));
        let clock = clock(NOW);
        for (minute, off) in [(1, 4000), (2, 8000), (3, 4000), (4, 0)] {
            assert_eq!(clock.compare(minute * MINUTE, NOW + minute * MINUTE + off), Look::Right);
            assert_eq!(clock.offset_ms.load(Ordering::Relaxed), NOW + off);
        }
    }

    #[test]
    fn it_shows_the_wall_clocks_time() {
        let off = SteadyClock::start().now().get() - SystemClock.now().get();
        assert!(off.abs() < 1000, "{off} ms");
    }
}
