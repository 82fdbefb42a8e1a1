//! Identifiers: positive 63-bit integers that any instance makes without asking another.
//!
//! ```text
//! bit 63      0
//! bits 62–21  42 bits: milliseconds since 1970 (lasts until 2109)
//! bits 20–0   21 bits: random
//! ```
//!
//! Ids of one millisecond collide with probability n²/2²², so whoever inserts one retries on
//! conflict. They sort by age, fit `bigint` in both databases, and are not secrets. In JSON they
//! are strings: JavaScript's numbers end at 2⁵³.

use std::fmt;
use std::num::NonZeroI64;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Random, UnixMillis};

const RANDOM_BITS: u32 = 21;

fn generate(now: UnixMillis, random: &dyn Random) -> NonZeroI64 {
    let mut bytes = [0; 8];
    random.fill(&mut bytes);
    let low = u64::from_le_bytes(bytes) & ((1 << RANDOM_BITS) - 1);
    let high = (now.get().unsigned_abs() << RANDOM_BITS) & (u64::MAX >> 1);
    // A clock at zero that also draws zero is the one way to make 0, which is no id.
    NonZeroI64::new((high | low).cast_signed()).unwrap_or(const { NonZeroI64::new(1).unwrap() })
}

/// Why a text or a number is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id: expected a positive whole number of at most 19 digits")]
pub struct IdError;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(NonZeroI64);

        impl $name {
            /// A new id. The caller inserts it under a unique constraint and retries on conflict.
            #[must_use]
            pub fn generate(now: UnixMillis, random: &dyn Random) -> Self {
                Self(generate(now, random))
            }

            /// The number as databases and wire formats hold it; always positive.
            #[must_use]
            pub const fn get(self) -> i64 {
                self.0.get()
            }
        }

        impl TryFrom<i64> for $name {
            type Error = IdError;

            fn try_from(value: i64) -> Result<Self, IdError> {
                NonZeroI64::new(value).filter(|id| id.is_positive()).map(Self).ok_or(IdError)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                // One spelling per id: no sign, no leading zero.
                if !text.starts_with(|c: char| matches!(c, '1'..='9')) {
                    return Err(IdError);
                }
                Self::try_from(text.parse::<i64>().map_err(|_| IdError)?)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// A workspace: who owns links, domains and keys.
    WorkspaceId
);
id!(
    /// A domain on which codes are unique.
    DomainId
);
id!(
    /// A link: what a code leads to, through all its changes of target.
    LinkId
);
id!(
    /// An API key. Names a key in lists and logs; never the key itself.
    ApiKeyId
);
id!(
    /// A person's account.
    AccountId
);
id!(
    /// Somebody being signed in somewhere. Names it in lists and logs; never its token.
    SessionId
);
id!(
    /// Who somebody is to a provider that they sign in with.
    IdentityId
);
id!(
    /// A passkey of an account. Names it in lists and logs; its credential id is the authenticator's.
    PasskeyId
);
id!(
    /// An invitation into a workspace.
    InvitationId
);
id!(
    /// An entry of the audit log.
    AuditId
);
id!(
    /// A report of abuse.
    ReportId
);
id!(
    /// Statistics that are shown to whoever has an address. Names them in lists and logs; never its token.
    ShareId
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeededRandom;

    #[test]
    fn an_id_holds_its_millisecond_and_is_positive() {
        let random = SeededRandom::new(7);
        for ms in [0, 1, 1_700_000_000_000, (1 << 42) - 1] {
            let id = LinkId::generate(UnixMillis::new(ms), &random).get();
            assert!(id > 0);
            assert_eq!(id >> RANDOM_BITS, ms);
        }
    }

    #[test]
    fn ids_have_one_spelling() {
        for bad in ["", "0", "-1", "+1", "01", "1 ", "9223372036854775808", "x", "1.0"] {
            assert_eq!(bad.parse::<LinkId>(), Err(IdError), "{bad:?}");
        }
        let id: LinkId = "9223372036854775807".parse().unwrap();
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"9223372036854775807\"");
        assert_eq!(serde_json::from_str::<LinkId>("\"9223372036854775807\"").unwrap(), id);
        assert!(serde_json::from_str::<LinkId>("42").is_err());
    }
}
