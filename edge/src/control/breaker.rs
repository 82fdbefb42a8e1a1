//! A [`Breaker`]: after repeated failures nobody waits for the next one.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Failures in a row after which it opens.
const FAILURES: u32 = 3;
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// So long a control plane that is back may go unnoticed, if nothing else notices it.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Lets questions through, or not: closed, they go; open, they fail at once, but for one after each
/// pause that finds out how it is. Pauses double, and have a random part.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// Open until then.
    until: Option<Instant>,
}

impl Breaker {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a question may be asked now. Who asks says how it went, or is taken to have failed
    /// after the longest pause.
    pub(super) fn admits(&self, now: Instant) -> bool {
        let mut state = self.state();
        match state.until {
            Some(until) if now < until => false,
            Some(_) => {
                state.until = Some(now + PAUSE_MAX);
                true
            }
            None => true,
        }
    }

    pub(super) fn succeeded(&self) {
        *self.state() = State::default();
    }

    /// `chance` makes the pause up to a half shorter.
    pub(super) fn failed(&self, now: Instant, chance: u8) {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        if let Some(times) = state.failures.checked_sub(FAILURES) {
            let pause = PAUSE_MIN.saturating_mul(1 << times.min(10)).min(PAUSE_MAX);
            state.until = Some(now + pause - pause / 512 * u32::from(chance));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_lets_one_through_after_each_pause() {
        let (breaker, begin) = (Breaker::default(), Instant::now());
        let at = |ms| begin + Duration::from_millis(ms);
        for _ in 0..2 {
            breaker.failed(at(0), 0);
        }
        breaker.succeeded();
        for _ in 0..FAILURES {
            assert!(breaker.admits(at(0)));
            breaker.failed(at(0), 0);
        }
        assert_eq!([0, 99, 100, 101].map(|ms| breaker.admits(at(ms))), [false, false, true, false]);
        // It failed: the next pause is twice as long.
        breaker.failed(at(101), 0);
        assert_eq!([300, 301, 302].map(|ms| breaker.admits(at(ms))), [false, true, false]);
        for _ in 0..1000 {
            breaker.failed(at(302), 0);
        }
        assert_eq!([2301, 2302].map(|ms| breaker.admits(at(ms))), [false, true]);
        breaker.failed(at(2302), u8::MAX);
        assert!(breaker.admits(at(3310)), "chance makes it half as long");
        breaker.succeeded();
        assert!(breaker.admits(at(3310)) && breaker.admits(at(3310)));
    }
}
