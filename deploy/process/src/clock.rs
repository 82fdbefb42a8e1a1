//! The time by which a process serves: the wall clock's, but it does not jump.
//!
//! By this time clicks are dated, batches are taken or refused as too old, links end and old clicks
//! are deleted. A wall clock that a person or a time service sets wrong, if only for a minute, must
//! do none of that.
//!
//! So time goes on from what the wall clock showed at the start as the monotonic clock does, which
//! nobody sets. That stands still while the machine sleeps: how long it slept, the kernel says in
//! `/proc/uptime`. Both, and the wall clock, are looked at once a second ([`SteadyClock::compare`]):
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
use std::time::{Duration, Instant};

use carom_shared::{Clock, SystemClock, UnixMillis};
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
pub struct SteadyClock {
    started: Instant,
    /// For how long the machine has slept since its boot, as was seen last, in milliseconds.
    slept_ms: AtomicI64,
    /// Milliseconds from steady time to Unix time.
    offset_ms: AtomicI64,
    jump: Mutex<Option<Jump>>,
}

/// Where the wall clock went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Jump {
    offset_ms: i64,
    since_ms: i64,
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
    #[must_use]
    pub fn start() -> Self {
        let clock = Self {
            started: Instant::now(),
            slept_ms: AtomicI64::new(0),
            offset_ms: AtomicI64::new(0),
            jump: Mutex::new(None),
        };
        clock.look_at_uptime();
        let offset_ms = SystemClock.now().get() - clock.steady_ms();
        clock.offset_ms.store(offset_ms, Ordering::Relaxed);
        clock
    }

    /// A time that nobody can set and that goes on while the machine sleeps; from which moment on is not said.
    #[must_use]
    pub fn steady(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.steady_ms()).unwrap_or_default())
    }

    /// Milliseconds that nobody can set, sleep included.
    fn steady_ms(&self) -> i64 {
        let awake_ms = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        awake_ms + self.slept_ms.load(Ordering::Relaxed)
    }

    /// Sees whether the machine has slept. Where there is no such file, sleep is a jump.
    fn look_at_uptime(&self) {
        let Some(uptime_ms) = uptime_ms() else { return };
        let slept_ms = uptime_ms - (self.steady_ms() - self.slept_ms.load(Ordering::Relaxed));
        // The file is exact to 10 ms: what is less than a second is its reading, not sleep.
        if (slept_ms - self.slept_ms.load(Ordering::Relaxed)).abs() > 1000 {
            self.slept_ms.store(slept_ms, Ordering::Relaxed);
        }
    }

    /// Looks at the wall clock again and again, until `stop`.
    pub async fn keep(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
            self.look_at_uptime();
            match self.compare(self.steady_ms(), SystemClock.now().get()) {
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

    fn compare(&self, steady_ms: i64, wall_ms: i64) -> Look {
        let mut jump = self.jump.lock().unwrap_or_else(PoisonError::into_inner);
        let (offset_ms, believed_ms) =
            (wall_ms - steady_ms, self.offset_ms.load(Ordering::Relaxed));
        let off_ms = offset_ms - believed_ms;
        let (is_plausible, was_plausible) =
            (PLAUSIBLE.contains(&wall_ms), PLAUSIBLE.contains(&(steady_ms + believed_ms)));
        let same = jump.filter(|jump| (offset_ms - jump.offset_ms).abs() <= FOLLOWED_MAX_MS);
        let is_proven = same.is_some_and(|jump| {
            steady_ms - jump.since_ms >= i64::try_from(PROOF.as_millis()).unwrap_or(i64::MAX)
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
            *jump = Some(Jump { offset_ms, since_ms: steady_ms });
            Look::Jumped(off_ms)
        }
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> UnixMillis {
        UnixMillis::new(self.steady_ms() + self.offset_ms.load(Ordering::Relaxed))
    }
}

/// Milliseconds since the machine was started, sleep included.
fn uptime_ms() -> Option<i64> {
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    let (seconds, hundredths) = text.split_whitespace().next()?.split_once('.')?;
    Some(seconds.parse::<i64>().ok()? * 1000 + hundredths.parse::<i64>().ok()? * 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000;
    const HOUR: i64 = 3_600_000;
    const MINUTE: i64 = 60_000;

    fn clock(offset_ms: i64) -> SteadyClock {
        let offset_ms = AtomicI64::new(offset_ms);
        let slept_ms = AtomicI64::new(0);
        SteadyClock { started: Instant::now(), slept_ms, offset_ms, jump: Mutex::new(None) }
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
    fn sleep_is_seen_at_the_next_look_and_moves_nothing_else() {
        let clock = SteadyClock::start();
        let (now, steady) = (clock.now().get(), clock.steady());
        // As if the machine had not slept for an hour that it did sleep.
        clock.slept_ms.fetch_sub(HOUR, Ordering::Relaxed);
        assert!((now - HOUR - clock.now().get()).abs() < MINUTE);
        clock.look_at_uptime();
        assert!((now - clock.now().get()).abs() < MINUTE);
        assert!(clock.steady() - steady < Duration::from_mins(1), "it has gone on meanwhile");
        let before = clock.slept_ms.load(Ordering::Relaxed);
        clock.look_at_uptime();
        assert_eq!(clock.slept_ms.load(Ordering::Relaxed), before);
    }

    #[test]
    fn it_shows_the_wall_clocks_time() {
        let off = SteadyClock::start().now().get() - SystemClock.now().get();
        assert!(off.abs() < MINUTE, "{off} ms");
    }
}
