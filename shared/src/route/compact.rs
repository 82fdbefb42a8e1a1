//! A route in as few bytes as it takes: what an edge holds a million of.
//!
//! # Bytes (little endian; without a format of their own: what holds them has one)
//!
//! ```text
//! u8      bits 0-1 state; 2-3 redirect status: 301, 302, 307, 308; 4 has a not before;
//!         5 has an end; 6 has a fallback; 7 has an age of its own
//! u8      bits 0-1 query: nothing, all, the parameters that are named; 2 of a parameter that both
//!         have the visitor's value; others 0
//! varint  version
//! varint  target revision
//! i64     link id
//! i64     workspace id
//! i64     not before, if bit 4
//! i64     expires at, if bit 5
//! u16     age in seconds, if bit 7; else it is 300
//! varint  length of the fallback, and the fallback, if bit 6
//! varint  length of the names, and the names, if the query is 2
//! ...     the target, to the end
//! ```
//!
//! A varint is LEB128 in as few bytes as it takes. A link with nothing special costs 20 bytes beside
//! its target; the fixed fields of [`RouteRecord::to_bytes`] are 58.

use super::{RedirectStatus, RouteRecord, RouteRecordError, RouteState};
use crate::{Forward, LinkId, ParameterNames, QueryPolicy, UnixMillis, WorkspaceId};

const STATUSES: [RedirectStatus; 4] = [
    RedirectStatus::MovedPermanently,
    RedirectStatus::Found,
    RedirectStatus::TemporaryRedirect,
    RedirectStatus::PermanentRedirect,
];
const HAS_NOT_BEFORE: u8 = 1 << 4;
const HAS_EXPIRES_AT: u8 = 1 << 5;
const HAS_FALLBACK: u8 = 1 << 6;
const HAS_MAX_AGE: u8 = 1 << 7;
const VISITOR_WINS: u8 = 1 << 2;

/// A [`RouteRecord`] in its compact bytes. Targets are as they were written: whoever makes a header
/// of them has to check them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactRoute<'a> {
    pub version: u64,
    pub state: RouteState,
    pub link: LinkId,
    pub workspace: WorkspaceId,
    pub status: RedirectStatus,
    pub target_revision: u32,
    pub not_before: Option<UnixMillis>,
    pub expires_at: Option<UnixMillis>,
    /// The last bytes.
    pub target: &'a [u8],
    pub fallback: Option<&'a [u8]>,
    pub query: QueryPolicy,
    pub max_age_s: u16,
}

impl RouteRecord {
    /// The compact bytes.
    #[must_use]
    pub fn to_compact(&self) -> Vec<u8> {
        let (forward, names) = match &self.query.forward {
            Forward::None => (0, None),
            Forward::All => (1, None),
            Forward::Only(names) => (2, Some(names.as_str())),
        };
        let status = match self.status {
            RedirectStatus::MovedPermanently => 0,
            RedirectStatus::Found => 1,
            RedirectStatus::TemporaryRedirect => 2,
            RedirectStatus::PermanentRedirect => 3,
        };
        let has = |is: bool, bit: u8| if is { bit } else { 0 };
        let has_max_age = self.max_age_s != Self::MAX_AGE_MAX_S;
        let texts = [self.fallback.as_deref(), names];
        let text_bytes: usize = texts.iter().flatten().map(|text| text.len() + 2).sum();
        let mut bytes = Vec::with_capacity(56 + text_bytes + self.target.len());
        bytes.push(
            self.state as u8
                | status << 2
                | has(self.not_before.is_some(), HAS_NOT_BEFORE)
                | has(self.expires_at.is_some(), HAS_EXPIRES_AT)
                | has(self.fallback.is_some(), HAS_FALLBACK)
                | has(has_max_age, HAS_MAX_AGE),
        );
        bytes.push(forward | has(self.query.visitor_wins, VISITOR_WINS));
        push_varint(&mut bytes, self.version);
        push_varint(&mut bytes, self.target_revision.into());
        bytes.extend(self.link.get().to_le_bytes());
        bytes.extend(self.workspace.get().to_le_bytes());
        for at in [self.not_before, self.expires_at].into_iter().flatten() {
            bytes.extend(at.get().to_le_bytes());
        }
        if has_max_age {
            bytes.extend(self.max_age_s.to_le_bytes());
        }
        for text in texts.into_iter().flatten() {
            push_varint(&mut bytes, text.len() as u64);
            bytes.extend(text.as_bytes());
        }
        bytes.extend(self.target.as_bytes());
        bytes
    }
}

impl<'a> CompactRoute<'a> {
    /// Reads compact bytes.
    ///
    /// # Errors
    /// [`RouteRecordError`] for a wrong length or impossible values.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RouteRecordError> {
        let field = RouteRecordError::Field;
        let (&[flags, query], rest) =
            bytes.split_first_chunk::<2>().ok_or(RouteRecordError::Length)?;
        let mut rest = rest;
        let version = take_varint(&mut rest)?;
        let target_revision =
            u32::try_from(take_varint(&mut rest)?).map_err(|_| field("target revision"))?;
        let link = LinkId::try_from(take_i64(&mut rest)?).map_err(|_| field("link id"))?;
        let workspace = take_i64(&mut rest)?;
        let workspace = WorkspaceId::try_from(workspace).map_err(|_| field("workspace id"))?;
        let mut time = |bit: u8| -> Result<_, RouteRecordError> {
            let is_there = flags & bit != 0;
            is_there.then(|| take_i64(&mut rest).map(UnixMillis::new)).transpose()
        };
        let (not_before, expires_at) = (time(HAS_NOT_BEFORE)?, time(HAS_EXPIRES_AT)?);
        let max_age_s = match flags & HAS_MAX_AGE {
            0 => RouteRecord::MAX_AGE_MAX_S,
            _ => u16::from_le_bytes(take(&mut rest)?),
        };
        // A default that is spelled out would be a second way to say the same.
        if max_age_s > RouteRecord::MAX_AGE_MAX_S
            || (flags & HAS_MAX_AGE != 0 && max_age_s == RouteRecord::MAX_AGE_MAX_S)
        {
            return Err(field("age"));
        }
        let fallback = match flags & HAS_FALLBACK {
            0 => None,
            _ => Some(take_text(&mut rest)?),
        };
        let forward = match query & !VISITOR_WINS {
            0 => Forward::None,
            1 => Forward::All,
            2 => {
                let names = std::str::from_utf8(take_text(&mut rest)?).ok();
                let names = names.and_then(|names| ParameterNames::parse(names).ok());
                Forward::Only(names.ok_or(field("parameter names"))?)
            }
            _ => return Err(field("query policy")),
        };
        let state = RouteState::try_from(flags & 3)?;
        if state == RouteState::Active && rest.is_empty() {
            return Err(field("target"));
        }
        Ok(Self {
            version,
            state,
            link,
            workspace,
            status: STATUSES[usize::from(flags >> 2 & 3)],
            target_revision,
            not_before,
            expires_at,
            target: rest,
            fallback,
            query: QueryPolicy { forward, visitor_wins: query & VISITOR_WINS != 0 },
            max_age_s,
        })
    }
}

/// Appends a number as LEB128.
fn push_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

/// Takes a number that is LEB128 in as few bytes as it takes.
fn take_varint(bytes: &mut &[u8]) -> Result<u64, RouteRecordError> {
    let mut number = 0;
    for (at, &byte) in bytes.iter().enumerate().take(10) {
        let bits = u64::from(byte & 0x7f);
        if at == 9 && bits > 1 || at > 0 && byte == 0 {
            return Err(RouteRecordError::Field("number"));
        }
        number |= bits << (7 * at);
        if byte < 0x80 {
            *bytes = &bytes[at + 1..];
            return Ok(number);
        }
    }
    Err(RouteRecordError::Length)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], RouteRecordError> {
    let (taken, rest) = bytes.split_first_chunk::<N>().ok_or(RouteRecordError::Length)?;
    *bytes = rest;
    Ok(*taken)
}

fn take_i64(bytes: &mut &[u8]) -> Result<i64, RouteRecordError> {
    take(bytes).map(i64::from_le_bytes)
}

fn take_text<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], RouteRecordError> {
    let len = usize::try_from(take_varint(bytes)?).map_err(|_| RouteRecordError::Length)?;
    let (text, rest) = bytes.split_at_checked(len).ok_or(RouteRecordError::Length)?;
    *bytes = rest;
    if text.is_empty() { Err(RouteRecordError::Field("text")) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain() -> RouteRecord {
        RouteRecord {
            version: 300,
            state: RouteState::Active,
            link: LinkId::try_from(0x0102_0304_0506_0708).unwrap(),
            workspace: WorkspaceId::try_from(9).unwrap(),
            status: RedirectStatus::Found,
            target_revision: 2,
            not_before: None,
            expires_at: None,
            target: "https://e.com/".into(),
            fallback: None,
            query: QueryPolicy::default(),
            max_age_s: RouteRecord::MAX_AGE_MAX_S,
        }
    }

    fn special() -> RouteRecord {
        RouteRecord {
            status: RedirectStatus::PermanentRedirect,
            not_before: Some(UnixMillis::new(1)),
            expires_at: Some(UnixMillis::new(1_700_000_000_000)),
            fallback: Some("https://f.com/".into()),
            query: QueryPolicy {
                forward: Forward::Only(ParameterNames::new(["a", "b"]).unwrap()),
                visitor_wins: true,
            },
            max_age_s: 0,
            ..plain()
        }
    }

    /// The record that a compact route stands for.
    fn record(route: &CompactRoute<'_>) -> RouteRecord {
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).unwrap().into();
        RouteRecord {
            version: route.version,
            state: route.state,
            link: route.link,
            workspace: route.workspace,
            status: route.status,
            target_revision: route.target_revision,
            not_before: route.not_before,
            expires_at: route.expires_at,
            target: text(route.target),
            fallback: route.fallback.map(text),
            query: route.query.clone(),
            max_age_s: route.max_age_s,
        }
    }

    #[test]
    fn golden_bytes() {
        let golden = b"\x05\0\xac\x02\x02\x08\x07\x06\x05\x04\x03\x02\x01\x09\0\0\0\0\0\0\0\
            https://e.com/";
        assert_eq!(plain().to_compact(), golden);
        assert_eq!(record(&CompactRoute::parse(golden).unwrap()), plain());
        let golden = b"\xfd\x06\xac\x02\x02\x08\x07\x06\x05\x04\x03\x02\x01\x09\0\0\0\0\0\0\0\
            \x01\0\0\0\0\0\0\0\x00\x68\xe5\xcf\x8b\x01\0\0\0\0\
            \x0ehttps://f.com/\x03a,bhttps://e.com/";
        assert_eq!(special().to_compact(), golden);
        assert_eq!(record(&CompactRoute::parse(golden).unwrap()), special());
    }

    #[test]
    fn impossible_values_are_refused_by_name() {
        let with = |at: usize, byte: u8| {
            let mut bytes = special().to_compact();
            bytes[at] = byte;
            CompactRoute::parse(&bytes).unwrap_err()
        };
        assert_eq!(with(1, 3), RouteRecordError::Field("query policy"));
        assert_eq!(with(1, 8), RouteRecordError::Field("query policy"));
        assert_eq!(with(3, 0), RouteRecordError::Field("number"));
        assert_eq!(with(12, 0x81), RouteRecordError::Field("link id"));
        assert_eq!(with(13, 0), RouteRecordError::Field("workspace id"));
        assert_eq!(with(38, 2), RouteRecordError::Field("age"));
        assert_eq!(with(39, 0xff), RouteRecordError::Length);
        assert_eq!(with(39, 0), RouteRecordError::Field("text"));
        assert_eq!(with(54, 2), RouteRecordError::Field("parameter names"));
        let nowhere = RouteRecord { target: "".into(), ..plain() }.to_compact();
        assert_eq!(CompactRoute::parse(&nowhere), Err(RouteRecordError::Field("target")));
        for len in 0..20 {
            let cut = &plain().to_compact()[..len];
            assert_eq!(CompactRoute::parse(cut), Err(RouteRecordError::Length), "{len}");
        }
    }

    proptest! {
        #[test]
        fn records_survive_their_compact_bytes(
            version in any::<u64>(), revision in any::<u32>(), state in 0_u8..4, status in 0_usize..4,
            link in 1_i64.., workspace in 1_i64.., times in any::<(Option<i64>, Option<i64>)>(),
            targets in ("[!-~]{1,300}", proptest::option::of("[!-~]{1,300}")),
            query in (0_u8..3, any::<bool>(), "[a-z]{1,9}(,[A-Z_.~-]{1,9}){0,4}"), age in 0_u16..=300,
        ) {
            let original = RouteRecord {
                version,
                state: RouteState::try_from(state).unwrap(),
                link: LinkId::try_from(link).unwrap(),
                workspace: WorkspaceId::try_from(workspace).unwrap(),
                status: STATUSES[status],
                target_revision: revision,
                not_before: times.0.map(UnixMillis::new),
                expires_at: times.1.map(UnixMillis::new),
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
            let bytes = original.to_compact();
            prop_assert_eq!(record(&CompactRoute::parse(&bytes).unwrap()), original);
        }

        #[test]
        fn any_bytes_are_read_one_way_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..160)) {
            if let Ok(route) = CompactRoute::parse(&bytes)
                && route.fallback.unwrap_or_default().is_ascii() && route.target.is_ascii()
            {
                prop_assert_eq!(record(&route).to_compact(), bytes);
            }
        }
    }
}
