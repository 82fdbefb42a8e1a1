//! A click as the edge saw it: with the address and the whole user agent, which nothing but the
//! ring of the edge that saw it ever holds, and that for seconds.
//!
//! # Bytes, format 1 (little endian)
//!
//! ```text
//!  0  i64  time, milliseconds since 1970
//!  8  i64  link id
//! 16  i64  workspace id
//! 24  i64  domain id
//! 32  16   address: IPv6, or IPv4 mapped into it
//! 48  u32  target revision
//! 52  u16  HTTP status answered
//! 54  u16  variant
//! 56  u8   via
//! 57  u8   flags: 1 HEAD, 2 prefetch, 4 DNT: 1, 8 Sec-GPC: 1
//! 58  u8   format = 1
//! 59  u8   length of the referrer, at most 255
//! 60  u16  length of the user agent, at most 512
//! 62  u8   length of the language, at most 32
//! 63  u8   length of the query, at most 255
//! 64  ...  user agent, referrer, language, query: as received, cut at the limit
//! ```

use std::net::{IpAddr, Ipv6Addr};

use super::Via;
use crate::{DomainId, LinkId, WorkspaceId};

const FORMAT: u8 = 1;
const FIXED_LEN: usize = 64;

const HEAD: u8 = 1;
const PREFETCH: u8 = 2;
const DO_NOT_TRACK: u8 = 4;
const GLOBAL_PRIVACY_CONTROL: u8 = 8;

/// A request that was answered for a link. Texts are as received: any bytes, of any length; the
/// bytes of the format keep as much of each as its limit allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawClick<'a> {
    /// Milliseconds since 1970.
    pub at_ms: i64,
    pub link: LinkId,
    pub workspace: WorkspaceId,
    pub domain: DomainId,
    /// Who asked. IPv4 addresses come back mapped into IPv6.
    pub address: IpAddr,
    pub target_revision: u32,
    pub status: u16,
    pub variant: u16,
    pub via: Via,
    pub head: bool,
    pub prefetch: bool,
    pub do_not_track: bool,
    pub global_privacy_control: bool,
    pub user_agent: &'a [u8],
    pub referrer: &'a [u8],
    pub language: &'a [u8],
    /// The query of the request, where it names a campaign (`utm_...`).
    pub query: &'a [u8],
}

/// Why bytes are not a click.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RawClickError {
    #[error("click of unknown format {0}: written by another version of Carom")]
    Format(u8),
    #[error("click has the wrong length")]
    Length,
    #[error("click holds an impossible {0}")]
    Field(&'static str),
}

impl<'a> RawClick<'a> {
    pub const USER_AGENT_MAX: usize = 512;
    pub const REFERRER_MAX: usize = 255;
    pub const LANGUAGE_MAX: usize = 32;
    pub const QUERY_MAX: usize = 255;
    /// The longest encoding, in bytes.
    pub const MAX_LEN: usize = FIXED_LEN
        + Self::USER_AGENT_MAX
        + Self::REFERRER_MAX
        + Self::LANGUAGE_MAX
        + Self::QUERY_MAX;

    /// The texts in the order of the format, each cut at its limit.
    fn texts(&self) -> [&'a [u8]; 4] {
        let cut = |text: &'a [u8], max: usize| &text[..text.len().min(max)];
        [
            cut(self.user_agent, Self::USER_AGENT_MAX),
            cut(self.referrer, Self::REFERRER_MAX),
            cut(self.language, Self::LANGUAGE_MAX),
            cut(self.query, Self::QUERY_MAX),
        ]
    }

    /// How many bytes [`RawClick::encode`] writes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        FIXED_LEN + self.texts().iter().map(|text| text.len()).sum::<usize>()
    }

    /// Writes the bytes of format 1 to the start of `out`.
    ///
    /// # Panics
    /// If `out` is shorter than [`RawClick::encoded_len`].
    #[expect(clippy::cast_possible_truncation, reason = "each text was cut to its limit")]
    pub fn encode(&self, out: &mut [u8]) {
        let texts = self.texts();
        let address = match self.address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let flag = |on: bool, bit: u8| if on { bit } else { 0 };
        let (fixed, mut rest) =
            out.split_first_chunk_mut::<FIXED_LEN>().expect("room for a click's fixed part");
        fixed[0..8].copy_from_slice(&self.at_ms.to_le_bytes());
        fixed[8..16].copy_from_slice(&self.link.get().to_le_bytes());
        fixed[16..24].copy_from_slice(&self.workspace.get().to_le_bytes());
        fixed[24..32].copy_from_slice(&self.domain.get().to_le_bytes());
        fixed[32..48].copy_from_slice(&address.octets());
        fixed[48..52].copy_from_slice(&self.target_revision.to_le_bytes());
        fixed[52..54].copy_from_slice(&self.status.to_le_bytes());
        fixed[54..56].copy_from_slice(&self.variant.to_le_bytes());
        fixed[56] = self.via as u8;
        fixed[57] = flag(self.head, HEAD)
            | flag(self.prefetch, PREFETCH)
            | flag(self.do_not_track, DO_NOT_TRACK)
            | flag(self.global_privacy_control, GLOBAL_PRIVACY_CONTROL);
        fixed[58] = FORMAT;
        fixed[59] = texts[1].len() as u8;
        fixed[60..62].copy_from_slice(&(texts[0].len() as u16).to_le_bytes());
        fixed[62] = texts[2].len() as u8;
        fixed[63] = texts[3].len() as u8;
        for text in texts {
            let (place, after) = rest.split_at_mut(text.len());
            place.copy_from_slice(text);
            rest = after;
        }
    }

    /// Reads the bytes of any released format; their length must be exact.
    ///
    /// # Errors
    /// [`RawClickError`] for a format of a newer version, a wrong length or impossible values.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, RawClickError> {
        let (fixed, texts) = bytes.split_first_chunk::<FIXED_LEN>().ok_or(RawClickError::Length)?;
        if fixed[58] != FORMAT {
            return Err(RawClickError::Format(fixed[58]));
        }
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&fixed[at..at + 8]);
            i64::from_le_bytes(word)
        };
        let half = |at: usize| u16::from_le_bytes([fixed[at], fixed[at + 1]]);
        let field = RawClickError::Field;

        let mut rest = texts;
        let mut text = |len: usize| -> Result<&'a [u8], RawClickError> {
            let (text, after) = rest.split_at_checked(len).ok_or(RawClickError::Length)?;
            rest = after;
            Ok(text)
        };
        let user_agent = text(usize::from(half(60)))?;
        let referrer = text(usize::from(fixed[59]))?;
        let language = text(usize::from(fixed[62]))?;
        let query = text(usize::from(fixed[63]))?;
        if !rest.is_empty() {
            return Err(RawClickError::Length);
        }

        let mut address = [0; 16];
        address.copy_from_slice(&fixed[32..48]);
        Ok(Self {
            at_ms: word(0),
            link: LinkId::try_from(word(8)).map_err(|_| field("link id"))?,
            workspace: WorkspaceId::try_from(word(16)).map_err(|_| field("workspace id"))?,
            domain: DomainId::try_from(word(24)).map_err(|_| field("domain id"))?,
            address: IpAddr::V6(Ipv6Addr::from(address)),
            target_revision: u32::from_le_bytes([fixed[48], fixed[49], fixed[50], fixed[51]]),
            status: half(52),
            variant: half(54),
            via: Via::from_u8(fixed[56]).ok_or(field("via"))?,
            head: fixed[57] & HEAD != 0,
            prefetch: fixed[57] & PREFETCH != 0,
            do_not_track: fixed[57] & DO_NOT_TRACK != 0,
            global_privacy_control: fixed[57] & GLOBAL_PRIVACY_CONTROL != 0,
            user_agent,
            referrer,
            language,
            query,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn click() -> RawClick<'static> {
        RawClick {
            at_ms: 0x0102_0304_0506_0708,
            link: LinkId::try_from(2).unwrap(),
            workspace: WorkspaceId::try_from(3).unwrap(),
            domain: DomainId::try_from(4).unwrap(),
            address: IpAddr::from([192, 0, 2, 1]),
            target_revision: 5,
            status: 302,
            variant: 6,
            via: Via::Qr,
            head: false,
            prefetch: true,
            do_not_track: false,
            global_privacy_control: true,
            user_agent: b"UA",
            referrer: b"http://r.test/",
            language: b"en",
            query: b"utm_source=x",
        }
    }

    fn bytes(click: &RawClick<'_>) -> Vec<u8> {
        let mut bytes = vec![0; click.encoded_len()];
        click.encode(&mut bytes);
        bytes
    }

    #[test]
    fn golden_bytes_of_format_1() {
        let golden = b"\x08\x07\x06\x05\x04\x03\x02\x01\
            \x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\
            \0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\x02\x01\
            \x05\0\0\0\x2e\x01\x06\0\x01\x0a\x01\x0e\x02\0\x02\x0c\
            UAhttp://r.test/enutm_source=x";
        assert_eq!(bytes(&click()), golden);
    }

    #[test]
    fn newer_formats_and_impossible_values_are_refused_by_name() {
        let with = |at: usize, byte: u8| {
            let mut bytes = bytes(&click());
            bytes[at] = byte;
            RawClick::decode(&bytes).unwrap_err()
        };
        assert_eq!(with(58, 2), RawClickError::Format(2));
        assert_eq!(with(8, 0), RawClickError::Field("link id"));
        assert_eq!(with(56, 9), RawClickError::Field("via"));
        assert_eq!(with(63, 13), RawClickError::Length);
        assert_eq!(with(63, 11), RawClickError::Length);
    }

    proptest! {
        #[test]
        fn clicks_survive_their_bytes_with_texts_cut(
            user_agent in proptest::collection::vec(any::<u8>(), 0..700),
            referrer in proptest::collection::vec(any::<u8>(), 0..400),
            language in proptest::collection::vec(any::<u8>(), 0..60),
            query in proptest::collection::vec(any::<u8>(), 0..400),
            flags in any::<[bool; 4]>(), address in any::<u128>(),
        ) {
            let click = RawClick {
                user_agent: &user_agent,
                referrer: &referrer,
                language: &language,
                query: &query,
                head: flags[0],
                prefetch: flags[1],
                do_not_track: flags[2],
                global_privacy_control: flags[3],
                address: IpAddr::V6(Ipv6Addr::from(address)),
                ..click()
            };
            let bytes = bytes(&click);
            prop_assert!(bytes.len() <= RawClick::MAX_LEN);
            let cut = RawClick {
                user_agent: &user_agent[..user_agent.len().min(512)],
                referrer: &referrer[..referrer.len().min(255)],
                language: &language[..language.len().min(32)],
                query: &query[..query.len().min(255)],
                ..click
            };
            prop_assert_eq!(RawClick::decode(&bytes), Ok(cut));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(click) = RawClick::decode(&bytes) {
                let mut again = vec![0; click.encoded_len()];
                click.encode(&mut again);
                prop_assert_eq!(RawClick::decode(&again), Ok(click));
            }
        }
    }
}
