//! Who clicked, as a number that follows nobody: a keyed hash whose key lives for a day.
//!
//! ```text
//! SipHash-2-4 (key: the day's salt, 16 random bytes)
//!     i64  workspace id, little endian: nobody can be followed from one customer to another
//!     16   address: IPv4 mapped into IPv6, or the first 64 bits of IPv6 and zeros
//!     ...  user agent, as received, cut at 512 bytes
//! ```
//!
//! The hash is 0 for nobody; one that comes out as 0 becomes 1. Without the salt nobody can tell
//! which address a number stands for, or which two numbers of different days are one visitor's:
//! once a salt is gone from everywhere, so is that knowledge.
//!
//! Of an IPv6 address only the network counts: the rest is what the device makes up anew each day
//! or hour, and one visitor would be many. A household so counts as with IPv4: user agents tell its
//! members apart.

use std::fmt;
use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher24;

use crate::{Random, UnixMillis, WorkspaceId};

/// The key of one day (UTC).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Salt {
    /// Days since 1970-01-01.
    pub day: i32,
    pub key: [u8; 16],
}

impl Salt {
    /// The day that a time is in; times beyond what days can number are at the last one.
    #[must_use]
    pub fn day_of(at: UnixMillis) -> i32 {
        const DAY_S: i64 = 86_400;
        let day = at.as_secs().div_euclid(DAY_S);
        i32::try_from(day).unwrap_or(if day < 0 { i32::MIN } else { i32::MAX })
    }
}

/// Without the key: who has it can find out addresses.
impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Salt").field("day", &self.day).finish_non_exhaustive()
    }
}

/// The salts of a few days, each day at most once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Salts(Vec<Salt>);

impl Salts {
    /// Days, at most: yesterday, for clicks that come late; today; tomorrow, for clocks that are
    /// ahead and for edges that cannot ask when tomorrow comes; and one to spare.
    pub const DAYS_MAX: usize = 4;

    /// The last [`Salts::DAYS_MAX`] days of these; the first salt of each day.
    #[must_use]
    pub fn new(salts: impl IntoIterator<Item = Salt>) -> Self {
        let mut kept: Vec<Salt> = Vec::new();
        for salt in salts {
            match kept.binary_search_by_key(&salt.day, |known| known.day) {
                Ok(_) => {}
                Err(place) => kept.insert(place, salt),
            }
            if kept.len() > Self::DAYS_MAX {
                kept.remove(0);
            }
        }
        Self(kept)
    }

    /// The salts to have at a time: of yesterday, if there is one, of today and of tomorrow, which
    /// are made where they are missing. All others are gone.
    #[must_use]
    pub fn roll(&self, now: UnixMillis, random: &dyn Random) -> Self {
        let today = Salt::day_of(now);
        let make = |day| {
            let mut key = [0; 16];
            random.fill(&mut key);
            Salt { day, key }
        };
        let tomorrow = today.saturating_add(1);
        let yesterday = self.of(today.saturating_sub(1));
        let kept = [today, tomorrow].map(|day| self.of(day).unwrap_or_else(|| make(day)));
        Self::new(yesterday.into_iter().chain(kept))
    }

    /// Those of yesterday and later; all others are gone.
    #[must_use]
    pub fn recent(&self, now: UnixMillis) -> Self {
        let yesterday = Salt::day_of(now).saturating_sub(1);
        Self(self.0.iter().filter(|salt| salt.day >= yesterday).copied().collect())
    }

    /// The salt of a day.
    #[must_use]
    pub fn of(&self, day: i32) -> Option<Salt> {
        self.0.iter().find(|salt| salt.day == day).copied()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Salt> {
        self.0.iter()
    }
}

/// The number of a visitor: alike for a day and within a workspace, and never 0.
#[must_use]
pub fn visitor(salt: &Salt, workspace: WorkspaceId, address: IpAddr, user_agent: &[u8]) -> u64 {
    let address = match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => {
            let mut octets = v6.octets();
            octets[8..].fill(0);
            octets
        }
    };
    let mut hasher = SipHasher24::new_with_key(&salt.key);
    hasher.write(&workspace.get().to_le_bytes());
    hasher.write(&address);
    hasher.write(user_agent);
    hasher.finish().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeededRandom;

    const DAY_MS: i64 = 86_400_000;

    fn salt(day: i32) -> Salt {
        Salt { day, key: *b"0123456789abcdef" }
    }

    fn number(salt: &Salt, workspace: i64, address: &str, user_agent: &str) -> u64 {
        let workspace = WorkspaceId::try_from(workspace).unwrap();
        visitor(salt, workspace, address.parse().unwrap(), user_agent.as_bytes())
    }

    #[test]
    fn golden_numbers() {
        // Worked out with another implementation of SipHash-2-4 over the bytes above.
        assert_eq!(number(&salt(1), 5, "192.0.2.1", "UA"), 0x8f9e_4f16_8e87_1248);
        assert_eq!(number(&salt(1), 5, "2001:db8::1", "UA"), 0x40c9_8a6a_2991_931b);
    }

    #[test]
    fn a_visitor_is_alike_for_a_day_and_within_a_workspace() {
        let visitor = number(&salt(1), 5, "192.0.2.1", "UA");
        assert_eq!(visitor, number(&salt(1), 5, "::ffff:192.0.2.1", "UA"));
        for other in [
            number(&Salt { day: 2, key: [7; 16] }, 5, "192.0.2.1", "UA"),
            number(&salt(1), 6, "192.0.2.1", "UA"),
            number(&salt(1), 5, "192.0.2.2", "UA"),
            number(&salt(1), 5, "192.0.2.1", "UB"),
            number(&salt(1), 5, "192.0.2.1", ""),
        ] {
            assert_ne!(visitor, other);
        }
        let v6 = number(&salt(1), 5, "2001:db8:1:2:aaaa::1", "UA");
        assert_eq!(v6, number(&salt(1), 5, "2001:db8:1:2:bbbb::2", "UA"));
        assert_ne!(v6, number(&salt(1), 5, "2001:db8:1:3:aaaa::1", "UA"));
    }

    #[test]
    fn salts_roll_with_the_days() {
        let random = SeededRandom::new(1);
        let at = |day: i64| UnixMillis::new(day * DAY_MS + 5);
        let days = |salts: &Salts| salts.iter().map(|salt| salt.day).collect::<Vec<_>>();

        let first = Salts::default().roll(at(10), &random);
        assert_eq!(days(&first), [10, 11]);
        assert_eq!(first.roll(at(10), &random), first);
        let second = first.roll(at(11), &random);
        assert_eq!(days(&second), [10, 11, 12]);
        assert_eq!((second.of(10), second.of(11)), (first.of(10), first.of(11)));
        let third = second.roll(at(12), &random);
        assert_eq!(days(&third), [11, 12, 13]);
        assert_eq!(days(&third.roll(at(99), &random)), [99, 100]);
        assert_eq!(days(&third.roll(at(1), &random)), [1, 2]);
        assert_eq!(days(&third.recent(at(12))), [11, 12, 13]);
        assert_eq!(days(&third.recent(at(13))), [12, 13]);
        assert_eq!(third.recent(at(99)), Salts::default());
        let keys: std::collections::HashSet<_> = third.iter().map(|salt| salt.key).collect();
        assert_eq!(keys.len(), 3);
    }

    #[test]
    fn salts_are_few_and_of_days_of_their_own() {
        let salts = Salts::new([5, 3, 9, 3, 7, 1, 8].map(salt));
        assert_eq!(salts.iter().map(|salt| salt.day).collect::<Vec<_>>(), [5, 7, 8, 9]);
        assert_eq!(salts.of(6), None);
        assert!(!format!("{salts:?}").contains("key: ["));
    }

    #[test]
    fn days_begin_at_midnight_utc() {
        for (ms, day) in [(0, 0), (DAY_MS - 1, 0), (DAY_MS, 1), (-1, -1), (i64::MAX, i32::MAX)] {
            assert_eq!(Salt::day_of(UnixMillis::new(ms)), day, "{ms}");
        }
        assert_eq!(Salt::day_of(UnixMillis::new(i64::MIN)), i32::MIN);
    }
}
