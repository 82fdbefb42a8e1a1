//! Links that stand in mails and in the terminal: what each is for, and how long it works.
//!
//! The token is in the fragment of its address, which browsers send to nobody, and the page behind it
//! sends it in a body: what looks at links before their reader does (mail scanners fetch them) changes
//! nothing. A link works once, and not after what it is bound to has changed.

use std::time::Duration;

use carom_shared::{AccountId, UnixMillis};

use crate::secret::token::{Token, TokenHash};

/// What a link is for. The numbers are in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Makes the first account; of nobody yet.
    Setup = 1,
    /// Makes an account for the address in `detail`.
    Register = 2,
    /// Sets a password.
    Password = 3,
    /// Gives the account the address in `detail`.
    Email = 4,
    /// Gives the account back the address in `detail`.
    EmailUndo = 5,
    /// A sign-in that waits for its second factor; `detail` says whether it is remembered.
    Ticket = 6,
    /// The state of a question to the provider; `bound` is the hash of what the browser's cookie holds,
    /// and `detail` what the person goes there for.
    Provider = 7,
    /// The challenge that a passkey is to sign; `bound` is the hash of what the session or the browser's
    /// cookie is known by, and `detail` what the passkey is shown for.
    Passkey = 8,
}

impl Purpose {
    pub(crate) const fn number(self) -> i64 {
        self as i64
    }

    pub(crate) const fn life(self) -> Duration {
        match self {
            Self::Setup | Self::Password => Duration::from_mins(30),
            Self::Register | Self::Email => Duration::from_hours(24),
            Self::EmailUndo => Duration::from_hours(7 * 24),
            Self::Ticket | Self::Provider => Duration::from_mins(10),
            Self::Passkey => Duration::from_mins(5),
        }
    }

    /// Whether a new one ends those before it. A stolen account may change its address twice, and the
    /// first undo must still work.
    pub(crate) const fn replaces(self) -> bool {
        matches!(self, Self::Register | Self::Password | Self::Email)
    }
}

/// Codes that may be tried with one [`Purpose::Ticket`].
pub(crate) const TICKET_TRIES: i64 = 5;

/// A link that is made.
#[derive(Clone, Debug)]
pub(crate) struct NewToken {
    pub(crate) hash: TokenHash,
    pub(crate) account: Option<AccountId>,
    pub(crate) purpose: Purpose,
    pub(crate) detail: String,
    pub(crate) bound: [u8; 32],
    pub(crate) life: Duration,
}

impl NewToken {
    /// Bound to nothing.
    pub(crate) fn free(token: &Token, purpose: Purpose, detail: String) -> Self {
        let life = purpose.life();
        Self { hash: token.hash(), account: None, purpose, detail, bound: [0; 32], life }
    }

    /// Of an account.
    pub(crate) fn of(
        token: &Token,
        account: &super::Account,
        purpose: Purpose,
        detail: String,
    ) -> Self {
        let bound = account.bound();
        Self { account: Some(account.id), bound, ..Self::free(token, purpose, detail) }
    }
}

/// A link that still works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenRow {
    pub(crate) account: Option<AccountId>,
    pub(crate) detail: String,
    pub(crate) bound: [u8; 32],
    pub(crate) created_at: UnixMillis,
}
