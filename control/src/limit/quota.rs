//! What is limited, by how much, and whom it is counted for. Pure.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use carom_shared::{AccountId, ApiKeyId, SessionId, WorkspaceId};

use crate::config::LimitsConfig;

/// How much more a block of 2^16 IPv6 networks may ask than one of them: who was given a /48 can
/// change the /64 with every request.
const WIDE_BLOCK: u32 = 8;

/// How many times the quota of strangers the database is asked about wrong credentials: whoever shares
/// an address with one that has an old key is not refused for it, and a flood does not reach the database.
const LOOK_UPS: u32 = 10;

/// One limit. Its name is in headers, in metrics and in Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Limit {
    /// Requests of an API key, or of a person who is signed in.
    Key,
    Workspace,
    /// Requests without credentials, or with wrong ones.
    Address,
    /// Wrong credentials that the database was asked about. Counted in this process alone.
    LookUp,
    Login,
    LoginAccount,
    /// The same, from an address from which the account was signed in before: whoever tries passwords
    /// elsewhere does not keep its owner out.
    LoginKnown,
    /// Passwords of whoever is signed in.
    Confirm,
    /// Ways to the provider and back.
    Provider,
    /// Challenges for passkeys, and answers to them.
    Passkey,
    Totp,
    Registration,
    Reset,
    ResetAccount,
    /// Mails that somebody has sent to themselves once more.
    Resend,
    ResendHour,
    /// Of an account, and of a workspace.
    Invitation,
    Report,
    /// Tries of passwords of shares.
    Share,
    ShareOne,
}

impl Limit {
    pub(crate) const ALL: [Self; 20] = [
        Self::Key,
        Self::Workspace,
        Self::Address,
        Self::LookUp,
        Self::Login,
        Self::LoginAccount,
        Self::LoginKnown,
        Self::Confirm,
        Self::Provider,
        Self::Passkey,
        Self::Totp,
        Self::Registration,
        Self::Reset,
        Self::ResetAccount,
        Self::Resend,
        Self::ResendHour,
        Self::Invitation,
        Self::Report,
        Self::Share,
        Self::ShareOne,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Workspace => "workspace",
            Self::Address => "address",
            Self::LookUp => "look-up",
            Self::Login => "login",
            Self::LoginAccount => "login-account",
            Self::LoginKnown => "login-known",
            Self::Confirm => "confirm",
            Self::Provider => "provider",
            Self::Passkey => "passkey",
            Self::Totp => "totp",
            Self::Registration => "registration",
            Self::Reset => "reset",
            Self::ResetAccount => "reset-account",
            Self::Resend => "resend",
            Self::ResendHour => "resend-hour",
            Self::Invitation => "invitation",
            Self::Report => "report",
            Self::Share => "share",
            Self::ShareOne => "share-one",
        }
    }

    /// `None`: there is no limit.
    pub(super) const fn quota(self, config: &LimitsConfig) -> Option<Quota> {
        Some(match self {
            Self::Key => return Quota::per_minute(config.key_per_minute),
            Self::Workspace => return Quota::per_minute(config.workspace_per_minute),
            Self::Address => return Quota::per_minute(config.address_per_minute),
            Self::LookUp => {
                return Quota::per_minute(config.address_per_minute.saturating_mul(LOOK_UPS));
            }
            Self::Login => Quota::new(10, 10, MINUTE),
            Self::LoginAccount | Self::LoginKnown | Self::Confirm => Quota::new(10, 30, HOUR),
            Self::Provider => Quota::new(20, 20, MINUTE),
            Self::Passkey => Quota::new(30, 30, MINUTE),
            Self::Totp => Quota::new(10, 10, HOUR),
            Self::Registration | Self::Reset => Quota::new(5, 5, HOUR),
            Self::ResetAccount => Quota::new(3, 3, HOUR),
            Self::Resend => Quota::new(1, 1, MINUTE),
            Self::ResendHour => Quota::new(5, 5, HOUR),
            Self::Invitation => Quota::new(50, 50, HOUR),
            Self::Report => Quota::new(5, 10, HOUR),
            Self::Share => Quota::new(10, 10, MINUTE),
            Self::ShareOne => Quota::new(30, 60, HOUR),
        })
    }

    /// What people are told that they did too often.
    pub(super) const fn what(self) -> &'static str {
        match self {
            Self::Key => "requests with these credentials",
            Self::Workspace => "requests of this workspace",
            Self::Address | Self::LookUp => {
                "requests without valid credentials from this network address"
            }
            Self::Login => "attempts to sign in from this network address",
            Self::LoginAccount => "attempts to sign in with this e-mail address",
            Self::LoginKnown => {
                "attempts to sign in with this e-mail address from this network address"
            }
            Self::Confirm => "passwords in this session",
            Self::Provider => "attempts to sign in by the provider from this network address",
            Self::Passkey => "attempts to use a passkey from this network address",
            Self::Totp => "codes of the second factor",
            Self::Registration => "registrations from this network address",
            Self::Reset => "password resets from this network address",
            Self::ResetAccount => "password resets for this e-mail address",
            Self::Resend | Self::ResendHour => "mails to this e-mail address",
            Self::Invitation => "invitations of this account or this workspace",
            Self::Report => "reports from this network address",
            Self::Share => "passwords of shared pages from this network address",
            Self::ShareOne => "passwords for this shared page",
        }
    }
}

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// So many at once, and one more after each `every`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    pub(crate) burst: NonZeroU32,
    pub(crate) every: Duration,
}

impl Quota {
    /// `burst` at once; `count` come back in each `period`. Neither count is 0.
    const fn new(burst: u32, count: u32, period: Duration) -> Self {
        let burst = match NonZeroU32::new(burst) {
            Some(burst) => burst,
            None => NonZeroU32::MIN,
        };
        let every = match period.checked_div(count) {
            Some(every) => every,
            None => period,
        };
        Self { burst, every }
    }

    /// `None` for 0.
    pub(crate) const fn per_minute(count: u32) -> Option<Self> {
        if count == 0 { None } else { Some(Self::new(count, count, MINUTE)) }
    }

    /// In how long all of it comes back.
    pub(crate) fn window(self) -> Duration {
        self.every * self.burst.get()
    }

    /// As much more.
    pub(super) fn times(self, factor: u32) -> Self {
        let factor = NonZeroU32::new(factor).unwrap_or(NonZeroU32::MIN);
        Self { burst: self.burst.saturating_mul(factor), every: self.every / factor.get() }
    }
}

/// Whom something is counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Subject {
    kind: u8,
    of: [u8; 16],
}

impl Subject {
    fn new(kind: u8, of: u128) -> Self {
        Self { kind, of: of.to_be_bytes() }
    }

    pub(super) fn key(key: ApiKeyId) -> Self {
        Self::new(b'k', key.get().unsigned_abs().into())
    }

    pub(super) fn workspace(workspace: WorkspaceId) -> Self {
        Self::new(b'w', workspace.get().unsigned_abs().into())
    }

    pub(super) fn session(session: SessionId) -> Self {
        Self::new(b's', session.get().unsigned_abs().into())
    }

    pub(super) fn account(account: AccountId) -> Self {
        Self::new(b'a', account.get().unsigned_abs().into())
    }

    /// Of an e-mail address that may be nobody's.
    pub(super) fn hash(hash: &[u8; 32]) -> Self {
        let mut of = [0; 16];
        of.copy_from_slice(&hash[..16]);
        Self { kind: b'h', of }
    }

    /// As Redis names it.
    pub(super) fn text(self) -> String {
        format!("{}{:x}", char::from(self.kind), u128::from_be_bytes(self.of))
    }
}

/// One more for somebody, of what a quota allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Charge {
    pub(super) limit: Limit,
    pub(super) subject: Subject,
    pub(super) quota: Quota,
}

impl Charge {
    pub(super) const fn new(limit: Limit, subject: Subject, quota: Quota) -> Self {
        Self { limit, subject, quota }
    }

    /// For who sent something from an address: an IPv4 address; an IPv6 network (/64), and the /48
    /// around it, first, so that nobody fills the table with networks of their own. The price: a
    /// network that asks too much, again and again, takes from its neighbours in the /48.
    pub(super) fn of_address(
        limit: Limit,
        address: IpAddr,
        quota: Quota,
    ) -> impl Iterator<Item = Self> {
        let charge = |kind, of, quota| Self::new(limit, Subject::new(kind, of), quota);
        let (wide, narrow) = match address.to_canonical() {
            IpAddr::V4(v4) => (None, charge(b'4', v4.to_bits().into(), quota)),
            IpAddr::V6(v6) => (
                Some(charge(b'5', v6.to_bits() >> 80, quota.times(WIDE_BLOCK))),
                charge(b'6', v6.to_bits() >> 64, quota),
            ),
        };
        wide.into_iter().chain([narrow])
    }
}
