//! Who was refused, and from where, in the log: at most so many lines a second, so that a flood of
//! refusals does not become a flood of lines. What a secret was, or was close to, is in none.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use carom_shared::{AccountId, ApiKeyId};
use http::{Method, StatusCode};

use super::RequestId;

/// Lines of one second, at most, of one surface.
const LINES_MAX: u32 = 10;
const SECOND: Duration = Duration::from_secs(1);

/// The code of the problem that a response tells of.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProblemCode(pub(super) &'static str);

/// Who asks, as far as it was found out. It goes with the request, and whoever finds out says so.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asker(Arc<Mutex<Who>>);

#[derive(Clone, Copy, Debug, Default)]
struct Who {
    account: Option<AccountId>,
    key: Option<ApiKeyId>,
}

impl Asker {
    fn with(&self, set: impl FnOnce(&mut Who)) {
        set(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn set_account(&self, account: AccountId) {
        self.with(|who| who.account = Some(account));
    }

    pub(crate) fn set_key(&self, key: ApiKeyId) {
        self.with(|who| who.key = Some(key));
    }
}

/// How many lines were written in this second, and how many were left out since the last one.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    began: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl Window {
    /// How many were left out before this one; `None` if it is left out too.
    fn take(&mut self, now: Instant) -> Option<u64> {
        if self.began.is_none_or(|began| now.duration_since(began) >= SECOND) {
            self.began = Some(now);
            self.lines = 0;
        }
        if self.lines >= LINES_MAX {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

impl Refusals {
    /// Writes a line of what was refused, if there is room for one.
    pub(super) fn note(
        &self,
        (id, method, route): (&RequestId, &Method, Option<&str>),
        (status, code): (StatusCode, Option<ProblemCode>),
        (asker, address): (&Asker, Option<IpAddr>),
    ) {
        let is_refusal = matches!(
            status,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS
        );
        if !is_refusal {
            return;
        }
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(left_out) = window.take(Instant::now()) else { return };
        drop(window);
        let who = *asker.0.lock().unwrap_or_else(PoisonError::into_inner);
        tracing::info!(
            request.id = id.as_str(),
            %method,
            route = route.unwrap_or("none"),
            status = status.as_u16(),
            code = code.map_or("none", |code| code.0),
            client.address = address.map(tracing::field::display),
            account.id = who.account.map(tracing::field::display),
            key.id = who.key.map(tracing::field::display),
            left_out,
            "refused"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_ten_lines_a_second_and_the_rest_is_counted() {
        let (mut window, begin) = (Window::default(), Instant::now());
        for _ in 0..LINES_MAX {
            assert_eq!(window.take(begin), Some(0));
        }
        for _ in 0..500 {
            assert_eq!(window.take(begin + SECOND / 2), None);
        }
        assert_eq!(window.take(begin + SECOND), Some(500));
        assert_eq!(window.take(begin + SECOND), Some(0));
    }
}
