//! What the edge serves for a code: one [`RouteRecord`], versioned, in memory and as bytes.
//!
//! # Bytes, format 1 (little endian)
//!
//! ```text
//!  0  u8   format = 1
//!  1  u8   state: 0 deleted, 1 active, 2 disabled, 3 blocked
//!  2  u16  redirect status: 301, 302, 307 or 308
//!  4  u32  target revision, from 1; counts the changes of target
//!  8  u64  version of the route, from 1
//! 16  i64  link id
//! 24  i64  workspace id
//! 32  i64  not before, milliseconds since 1970; i64::MIN: no such time
//! 40  i64  expires at, milliseconds since 1970; i64::MAX: never
//! 48  u8   query: 0 nothing is passed on, 1 all, 2 the parameters that are named
//! 49  u8   of a parameter that both have: 0 the target's value, 1 the visitor's
//! 50  u16  seconds for which a browser may keep a permanent redirect, at most 300
//! 52  u16  length of the target
//! 54  u16  length of the fallback; 0: none
//! 56  u16  length of the names; 0 unless byte 48 is 2
//! 58  ...  the target and the fallback: ASCII URLs as `TargetUrl` serialises them, each at most
//!          8,192 bytes; the names of parameters, with commas between them
//! ```
//!
//! Nothing follows: a longer text is another format. A deleted route keeps its version and ids and
//! has an empty target. Whoever holds a record replaces it only by one with a greater
//! version, so records may arrive twice, late, and in any order.

mod compact;

pub use compact::CompactRoute;

use crate::{Forward, LinkId, ParameterNames, QueryPolicy, TargetUrl, UnixMillis, WorkspaceId};

const FORMAT: u8 = 1;
const HEADER_LEN: usize = 58;

/// A route as the edge needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteRecord {
    /// Grows with each change of the route; from 1.
    pub version: u64,
    pub state: RouteState,
    pub link: LinkId,
    pub workspace: WorkspaceId,
    pub status: RedirectStatus,
    /// Which target a click went to: counts the changes of target, from 1.
    pub target_revision: u32,
    /// The link answers from this time on.
    pub not_before: Option<UnixMillis>,
    /// The link answers until just before this time.
    pub expires_at: Option<UnixMillis>,
    /// Empty for a deleted route.
    pub target: Box<str>,
    /// Where an expired link leads to, instead of saying that it has ended.
    pub fallback: Option<Box<str>>,
    pub query: QueryPolicy,
    /// How long a browser may keep a permanent redirect, in seconds; at most
    /// [`RouteRecord::MAX_AGE_MAX_S`]. Temporary ones are never kept.
    pub max_age_s: u16,
}

/// What a route is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RouteState {
    /// A tombstone: the code existed, and answers 410.
    Deleted = 0,
    Active = 1,
    /// Switched off by its owner: 410.
    Disabled = 2,
    /// Taken down by the operator: 451.
    Blocked = 3,
}

impl RouteState {
    const ALL: [Self; 4] = [Self::Deleted, Self::Active, Self::Disabled, Self::Blocked];
}

impl TryFrom<u8> for RouteState {
    type Error = RouteRecordError;

    fn try_from(byte: u8) -> Result<Self, RouteRecordError> {
        let known = Self::ALL.get(usize::from(byte)).copied();
        known.ok_or(RouteRecordError::Field("state"))
    }
}

/// The status of a redirect (RFC 9110, 15.4). 302 is the default: browsers ask again each time, so
/// each click is counted and a change is seen at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum RedirectStatus {
    MovedPermanently = 301,
    #[default]
    Found = 302,
    TemporaryRedirect = 307,
    PermanentRedirect = 308,
}

impl RedirectStatus {
    #[must_use]
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// Whether browsers may keep the answer: 301 and 308.
    #[must_use]
    pub const fn is_permanent(self) -> bool {
        matches!(self, Self::MovedPermanently | Self::PermanentRedirect)
    }
}

impl TryFrom<u16> for RedirectStatus {
    type Error = RouteRecordError;

    fn try_from(code: u16) -> Result<Self, RouteRecordError> {
        match code {
            301 => Ok(Self::MovedPermanently),
            302 => Ok(Self::Found),
            307 => Ok(Self::TemporaryRedirect),
            308 => Ok(Self::PermanentRedirect),
            _ => Err(RouteRecordError::Field("redirect status")),
        }
    }
}

/// Why bytes are not a route record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteRecordError {
    #[error("route record of unknown format {0}: written by another version of Carom")]
    Format(u8),
    #[error("route record has the wrong length")]
    Length,
    #[error("route record holds an impossible {0}")]
    Field(&'static str),
}

impl RouteRecord {
    /// The longest that a browser may keep a permanent redirect, in seconds: a takedown has to reach
    /// those who followed it before.
    pub const MAX_AGE_MAX_S: u16 = 300;

    /// The bytes of format 1.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let (forward, names) = match &self.query.forward {
            Forward::None => (0, ""),
            Forward::All => (1, ""),
            Forward::Only(names) => (2, names.as_str()),
        };
        let texts = [&*self.target, self.fallback.as_deref().unwrap_or_default(), names];
        let mut bytes = Vec::with_capacity(HEADER_LEN + texts.map(str::len).iter().sum::<usize>());
        bytes.push(FORMAT);
        bytes.push(self.state as u8);
        bytes.extend(self.status.code().to_le_bytes());
        bytes.extend(self.target_revision.to_le_bytes());
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(self.link.get().to_le_bytes());
        bytes.extend(self.workspace.get().to_le_bytes());
        bytes.extend(self.not_before.map_or(i64::MIN, UnixMillis::get).to_le_bytes());
        bytes.extend(self.expires_at.map_or(i64::MAX, UnixMillis::get).to_le_bytes());
        bytes.push(forward);
        bytes.push(u8::from(self.query.visitor_wins));
        bytes.extend(self.max_age_s.to_le_bytes());
        for text in texts {
            bytes.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes());
        }
        for text in texts {
            bytes.extend(text.as_bytes());
        }
        bytes
    }

    /// Reads the bytes of any released format.
    ///
    /// # Errors
    /// [`RouteRecordError`] for a format of a newer version, a wrong length or impossible values.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RouteRecordError> {
        let format = *bytes.first().ok_or(RouteRecordError::Length)?;
        if format != FORMAT {
            return Err(RouteRecordError::Format(format));
        }
        let (header, texts) =
            bytes.split_first_chunk::<HEADER_LEN>().ok_or(RouteRecordError::Length)?;
        let half = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&header[at..at + 8]);
            i64::from_le_bytes(word)
        };
        let field = RouteRecordError::Field;

        let mut rest = texts;
        let mut text = |len: u16, name| -> Result<&str, RouteRecordError> {
            let (text, after) =
                rest.split_at_checked(usize::from(len)).ok_or(RouteRecordError::Length)?;
            rest = after;
            let fits = text.len() <= TargetUrl::MAX_LEN && text.iter().all(u8::is_ascii_graphic);
            std::str::from_utf8(text).ok().filter(|_| fits).ok_or(field(name))
        };
        let target = text(half(52), "target")?;
        let fallback = text(half(54), "fallback")?;
        let names = text(half(56), "parameter names")?;
        if !rest.is_empty() {
            return Err(RouteRecordError::Length);
        }
        let state = RouteState::try_from(header[1])?;
        // What answers with a redirect must have somewhere to lead to.
        if state == RouteState::Active && target.is_empty() {
            return Err(field("target"));
        }
        let forward = match (header[48], names) {
            (0, "") => Forward::None,
            (1, "") => Forward::All,
            (2, names) => ParameterNames::parse(names)
                .map(Forward::Only)
                .map_err(|_| field("parameter names"))?,
            _ => return Err(field("query policy")),
        };
        let visitor_wins = match header[49] {
            0 => false,
            1 => true,
            _ => return Err(field("query policy")),
        };
        let max_age_s = half(50);
        if max_age_s > Self::MAX_AGE_MAX_S {
            return Err(field("age"));
        }
        Ok(Self {
            version: word(8).cast_unsigned(),
            state,
            link: LinkId::try_from(word(16)).map_err(|_| field("link id"))?,
            workspace: WorkspaceId::try_from(word(24)).map_err(|_| field("workspace id"))?,
            status: RedirectStatus::try_from(half(2))?,
            target_revision: u32::from_le_bytes([header[4], header[5], header[6], header[7]]),
            not_before: Some(word(32)).filter(|&ms| ms != i64::MIN).map(UnixMillis::new),
            expires_at: Some(word(40)).filter(|&ms| ms != i64::MAX).map(UnixMillis::new),
            target: target.into(),
            fallback: (!fallback.is_empty()).then(|| fallback.into()),
            query: QueryPolicy { forward, visitor_wins },
            max_age_s,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record() -> RouteRecord {
        RouteRecord {
            version: 3,
            state: RouteState::Active,
            link: LinkId::try_from(0x0102_0304_0506_0708).unwrap(),
            workspace: WorkspaceId::try_from(9).unwrap(),
            status: RedirectStatus::Found,
            target_revision: 2,
            not_before: None,
            expires_at: Some(UnixMillis::new(1_700_000_000_000)),
            target: "https://e.com/".into(),
            fallback: Some("https://f.com/".into()),
            query: QueryPolicy {
                forward: Forward::Only(ParameterNames::new(["a", "b"]).unwrap()),
                visitor_wins: true,
            },
            max_age_s: 300,
        }
    }

    #[test]
    fn golden_bytes_of_format_1() {
        let golden = b"\x01\x01\x2e\x01\x02\0\0\0\
            \x03\0\0\0\0\0\0\0\
            \x08\x07\x06\x05\x04\x03\x02\x01\
            \x09\0\0\0\0\0\0\0\
            \0\0\0\0\0\0\0\x80\
            \x00\x68\xe5\xcf\x8b\x01\0\0\
            \x02\x01\x2c\x01\x0e\0\x0e\0\x03\0\
            https://e.com/https://f.com/a,b";
        assert_eq!(record().to_bytes(), golden);
        assert_eq!(RouteRecord::from_bytes(golden), Ok(record()));
    }

    #[test]
    fn other_formats_and_impossible_values_are_refused_by_name() {
        let with = |at: usize, byte: u8| {
            let mut bytes = record().to_bytes();
            bytes[at] = byte;
            RouteRecord::from_bytes(&bytes).unwrap_err()
        };
        assert_eq!(with(0, 2), RouteRecordError::Format(2));
        assert_eq!(with(1, 4), RouteRecordError::Field("state"));
        assert_eq!(with(2, 0), RouteRecordError::Field("redirect status"));
        assert_eq!(with(23, 0x81), RouteRecordError::Field("link id"));
        assert_eq!(with(24, 0), RouteRecordError::Field("workspace id"));
        assert_eq!(with(48, 1), RouteRecordError::Field("query policy"));
        assert_eq!(with(48, 3), RouteRecordError::Field("query policy"));
        assert_eq!(with(49, 2), RouteRecordError::Field("query policy"));
        assert_eq!(with(51, 2), RouteRecordError::Field("age"));
        assert_eq!(with(52, 0), RouteRecordError::Length);
        assert_eq!(with(58, b'\n'), RouteRecordError::Field("target"));
        assert_eq!(with(72, b'\n'), RouteRecordError::Field("fallback"));
        assert_eq!(with(86, b' '), RouteRecordError::Field("parameter names"));
        let nowhere = RouteRecord { target: "".into(), ..record() }.to_bytes();
        assert_eq!(RouteRecord::from_bytes(&nowhere), Err(RouteRecordError::Field("target")));
        assert_eq!(RouteRecord::from_bytes(&[]), Err(RouteRecordError::Length));
    }

    proptest! {
        #[test]
        fn records_survive_their_bytes(
            version in 1_u64.., revision in 1_u32.., state in 0_u8..4, status in 0_usize..4,
            link in 1_i64.., workspace in 1_i64.., times in any::<(Option<i32>, Option<i32>)>(),
            targets in ("[!-~]{1,300}", proptest::option::of("[!-~]{1,300}")),
            query in (0_u8..3, any::<bool>(), "[a-z]{1,9}(,[A-Z_.~-]{1,9}){0,4}"), age in 0_u16..=300,
        ) {
            let record = RouteRecord {
                version,
                state: RouteState::try_from(state).unwrap(),
                link: LinkId::try_from(link).unwrap(),
                workspace: WorkspaceId::try_from(workspace).unwrap(),
                status: RedirectStatus::try_from([301, 302, 307, 308][status]).unwrap(),
                target_revision: revision,
                not_before: times.0.map(|ms| UnixMillis::new(ms.into())),
                expires_at: times.1.map(|ms| UnixMillis::new(ms.into())),
                target: targets.0.into(),
                fallback: targets.1.map(Into::into),
                query: QueryPolicy {
                    forward: match query.0 {
                        0 => Forward::None,
                        1 => Forward::All,
                        _ => Forward::Only(ParameterNames::parse(&query.2).unwrap()),
                    },
                    visitor_wins: query.1,
                },
                max_age_s: age,
            };
            prop_assert_eq!(RouteRecord::from_bytes(&record.to_bytes()), Ok(record));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..160)) {
            if let Ok(record) = RouteRecord::from_bytes(&bytes) {
                prop_assert_eq!(record.to_bytes(), bytes);
            }
        }
    }
}
