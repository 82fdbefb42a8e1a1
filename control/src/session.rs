//! Sessions: who is signed in where. The server keeps them, and a cookie names one by a random token
//! of which the table holds the SHA-256.
//!
//! A session keeps its id for as long as it lasts; its token changes: with whatever makes it stronger
//! or is sensitive (a second factor, a confirmed password, a new password, address or factor), and once
//! a day. For a minute the token before still works, because browsers send requests side by side. Used
//! after that it was stolen, from the browser or from its owner: nobody can say who has the newer one,
//! so the session ends and its owner is told. Unless the newer one is that of another day, and nobody has
//! used it yet: then the answer that brought it may have been lost, as happens to people in trains, and
//! the token gets another one in its place. The price: a thief who is quicker than the browser's next
//! request is found by that request, not by their own.
//!
//! Each request looks its session up in the database. A cache would have to be told of what ends one,
//! and the look-up is one read of two indexes.

pub(crate) mod act;
pub(crate) mod api;
pub(crate) mod cookie;
pub(crate) mod sign_in;
pub(crate) mod store;

use std::time::Duration;

use carom_shared::{AccountId, SessionId, UnixMillis};

use crate::secret::token::TokenHash;

/// How long a session lasts without being used, and at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) idle: Duration,
    pub(crate) absolute: Duration,
}

/// Until the browser closes, and no longer than a week.
const LIFE: Life = Life { idle: Duration::from_hours(12), absolute: Duration::from_hours(7 * 24) };
/// Of whoever asked to be remembered on this device.
const LIFE_REMEMBERED: Life =
    Life { idle: Duration::from_hours(14 * 24), absolute: Duration::from_hours(30 * 24) };
/// How old a token becomes.
const ROTATE_AFTER: Duration = Duration::from_hours(24);
/// How long a token works after it was replaced.
const GRACE: Duration = Duration::from_secs(60);
/// How exactly it is known when a session was last used.
const SEEN_EVERY: Duration = Duration::from_mins(1);
/// How long somebody has just shown who they are.
pub(crate) const FRESH: Duration = Duration::from_mins(10);
/// Sessions of an account; the one that was used longest ago ends for a new one.
const PER_ACCOUNT_MAX: i64 = 50;
/// How long a session that is over is remembered, for what devices are known.
const REMEMBERED_AFTER: Duration = Duration::from_hours(30 * 24);

impl Life {
    pub(crate) const fn of(is_remembered: bool) -> Self {
        if is_remembered { LIFE_REMEMBERED } else { LIFE }
    }
}

/// A session that may be used now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) account: AccountId,
    pub(crate) auth_at: UnixMillis,
    pub(crate) token_at: UnixMillis,
    pub(crate) last_seen_at: UnixMillis,
    pub(crate) expires_at: UnixMillis,
    pub(crate) is_remembered: bool,
}

impl Session {
    fn is_due_to_rotate(&self, now: UnixMillis) -> bool {
        now >= self.token_at.saturating_add(ROTATE_AFTER)
    }

    fn is_due_to_be_seen(&self, now: UnixMillis) -> bool {
        now >= self.last_seen_at.saturating_add(SEEN_EVERY)
            || (self.is_token_unused() && now > self.token_at)
    }

    /// Whether nobody has come with the token that time asked for. It was made with the last use of the one
    /// before it; whatever else makes a token notes no use, or is what the session was shown with.
    fn is_token_unused(&self) -> bool {
        self.last_seen_at == self.token_at && self.auth_at < self.token_at
    }
}

/// What a token is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Current(Session),
    /// Of a session whose token was replaced at this time.
    Replaced(Session, UnixMillis),
}

/// From where somebody signs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    /// Empty if it is not known.
    pub(crate) address: String,
    /// At most 256 characters.
    pub(crate) user_agent: String,
}

/// What a new session is made of.
#[derive(Clone, Debug)]
pub(crate) struct NewSession {
    pub(crate) account: AccountId,
    pub(crate) token: TokenHash,
    pub(crate) is_remembered: bool,
    pub(crate) has_second: bool,
    pub(crate) device: Device,
}
