//! The bytes of a segment: the header's fields and a record's frame. Pure.
//!
//! # Segment file, format 1 (little endian)
//!
//! ```text
//!    0  8    "CAROMSEG"
//!    8  u16  format = 1
//!   10  u16  worker: which thread's clicks
//!   12  u32  file length in bytes; records begin at 4,096
//!   16  u64  epoch: random name of this life of the segment
//!   24  16   boot: the kernel's random name of the time since the machine started; zeros: unknown
//!   40  u32  CRC-32C of bytes 0..40
//!   48  u64  note: how far it is drained; what lies before is in synced batches  (word, atomic)
//!   56  u64  sealed: 0 while written to, then where the records end              (word, atomic)
//! 4096  ...  records, each on a multiple of 64 bytes
//! ```
//!
//! The two words are places: u16 offset / 64, u16 number of the record that begins there, u32
//! CRC-32C of these, begun from the low half of the epoch. A word is written at once, so it is its
//! own proof.
//!
//! # Record
//!
//! ```text
//!  0  u32  length of frame and payload, not padded; 0: nothing here yet.    (word, atomic)
//!          Written last: it commits the record
//!  4  u32  CRC-32C of bytes 8..length, begun from the low half of the epoch
//!  8  u32  number of the record in the segment, from 0
//! 12  u32  zero
//! 16  ...  payload: a `RawClick`
//! ```
//!
//! Constraints that the format serves:
//!
//! - One writer, which never waits, takes no lock and calls no kernel: the length word is enough.
//! - A record on a cache line of its own: records are found again by scanning, whatever is torn.
//! - What a segment held in an earlier life does not validate in this one: the epoch is in the CRC.
//! - Bytes before the note may be erased while the segment is still written to. Their length words
//!   stay, and nobody reads them again.
//!
//! # Note file, `{epoch:016x}.note`
//!
//! The note of a segment whose own file failed to sync: the word in hexadecimal, and a line's end.

use carom_shared::{RawClick, batch};

pub(super) const MAGIC: &[u8; 8] = b"CAROMSEG";
pub(super) const FORMAT: u16 = 1;
/// Small enough that a segment is drained, zeroed and used again within the caches' reach; large
/// enough that changing segments (a lock) is a matter of one record in ten thousand.
pub(super) const SEGMENT_LEN: usize = 2 << 20;
pub(super) const HEADER_LEN: usize = 4096;
pub(super) const ALIGN: usize = 64;
pub(super) const FRAME_LEN: usize = 16;
pub(super) const NOTE_AT: usize = 48;
pub(super) const SEALED_AT: usize = 56;
/// Bytes of the header that its CRC covers.
const SIGNED_LEN: usize = 40;

const _: () = assert!(HEADER_LEN + RECORD_LEN_MAX < SEGMENT_LEN && SEGMENT_LEN < u32::MAX as usize);
/// The longest record, padding included.
pub(super) const RECORD_LEN_MAX: usize = padded(FRAME_LEN + RawClick::MAX_LEN);
/// The most records that a batch of one segment can hold.
const _: () = assert!(SEGMENT_LEN / ALIGN <= batch::ROWS_MAX);

/// The space that a record of a length takes.
pub(super) const fn padded(len: usize) -> usize {
    len.next_multiple_of(ALIGN)
}

/// What the header of a segment in use says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) worker: u16,
    pub(super) epoch: u64,
    pub(super) boot: Boot,
}

/// The kernel's random name of the time since the machine started. Same boot: what was written to a
/// mapping is all there, in order. Any other: pages reached the disk in any order, or not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Boot([u8; 16]);

impl Boot {
    /// This boot; unknown where the system does not say.
    pub(super) fn read() -> Self {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
        Self(u128::from_str_radix(&digits, 16).unwrap_or_default().to_le_bytes())
    }

    /// Whether both are known, and the same.
    pub(super) fn is(self, other: Self) -> bool {
        self == other && self != Self::default()
    }
}

/// A place between two records of a segment: how far it is drained, or where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: usize,
    /// Of the record that begins there.
    pub(super) number: u32,
}

impl Place {
    pub(super) const START: Self = Self { offset: HEADER_LEN, number: 0 };

    pub(super) fn word(self, epoch: u64) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a segment has 32,768 units of 64 bytes"
        )]
        let [unit, number] = [(self.offset / ALIGN) as u16, self.number as u16];
        let low = u64::from(unit) | u64::from(number) << 16;
        low | u64::from(Self::crc(epoch, low)) << 32
    }

    /// `None` if it is no place of a segment of this epoch.
    pub(super) fn from_word(epoch: u64, word: u64) -> Option<Self> {
        let number = u32::try_from(word >> 16 & 0xffff).ok()?;
        let place = Self { offset: offset_of(word), number };
        let records = place.offset.checked_sub(HEADER_LEN)? / ALIGN;
        let is_possible = place.offset <= SEGMENT_LEN && number as usize <= records;
        (is_possible && place.word(epoch) == word).then_some(place)
    }

    /// The text of a note file.
    pub(super) fn to_text(self, epoch: u64) -> String {
        format!("{:016x}\n", self.word(epoch))
    }

    pub(super) fn from_text(epoch: u64, text: &str) -> Option<Self> {
        let word = u64::from_str_radix(text.strip_suffix('\n')?, 16).ok()?;
        Self::from_word(epoch, word).filter(|place| place.to_text(epoch) == text)
    }

    fn crc(epoch: u64, low: u64) -> u32 {
        let [a, b, c, d, ..] = epoch.to_le_bytes();
        crc32c::crc32c_append(u32::from_le_bytes([a, b, c, d]), &low.to_le_bytes()[..4])
    }
}

/// The offset that a word says, checked or not; 0 for no place.
pub(super) const fn offset_of(word: u64) -> usize {
    (word & 0xffff) as usize * ALIGN
}

impl Header {
    pub(super) fn to_bytes(self) -> [u8; SIGNED_LEN + 4] {
        let mut bytes = [0; SIGNED_LEN + 4];
        let (signed, crc) = bytes.split_at_mut(SIGNED_LEN);
        signed[0..8].copy_from_slice(MAGIC);
        signed[8..10].copy_from_slice(&FORMAT.to_le_bytes());
        signed[10..12].copy_from_slice(&self.worker.to_le_bytes());
        #[expect(clippy::cast_possible_truncation, reason = "a constant below 4 GiB")]
        signed[12..16].copy_from_slice(&(SEGMENT_LEN as u32).to_le_bytes());
        signed[16..24].copy_from_slice(&self.epoch.to_le_bytes());
        signed[24..40].copy_from_slice(&self.boot.0);
        crc.copy_from_slice(&crc32c::crc32c(signed).to_le_bytes());
        bytes
    }

    /// `None` if the bytes are not the header of a segment of this format and length.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.first_chunk::<{ SIGNED_LEN + 4 }>()?;
        let header = Self {
            worker: u16::from_le_bytes([bytes[10], bytes[11]]),
            epoch: u64::from_le_bytes(*bytes[16..].first_chunk()?),
            boot: Boot(*bytes[24..].first_chunk()?),
        };
        (header.to_bytes() == *bytes).then_some(header)
    }
}

/// The CRC of a record: of everything after the CRC itself.
pub(super) fn record_crc(epoch: u64, after_crc: &[u8]) -> u32 {
    let [a, b, c, d, ..] = epoch.to_le_bytes();
    crc32c::crc32c_append(u32::from_le_bytes([a, b, c, d]), after_crc)
}

/// A whole record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) number: u32,
    pub(super) payload: &'a [u8],
    /// The space that it takes.
    pub(super) padded: usize,
}

/// The record that begins `bytes`; `None` if no whole record of this epoch begins here.
pub(super) fn read_record(epoch: u64, bytes: &[u8]) -> Option<Record<'_>> {
    let frame = bytes.first_chunk::<FRAME_LEN>()?;
    let len = usize::try_from(u32::from_le_bytes([frame[0], frame[1], frame[2], frame[3]])).ok()?;
    if !(FRAME_LEN..=RECORD_LEN_MAX).contains(&len) {
        return None;
    }
    let record = bytes.get(..len)?;
    let crc = u32::from_le_bytes([frame[4], frame[5], frame[6], frame[7]]);
    (record_crc(epoch, &record[8..]) == crc).then_some(Record {
        number: u32::from_le_bytes([frame[8], frame[9], frame[10], frame[11]]),
        payload: &record[FRAME_LEN..],
        padded: padded(len),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_header_of_format_1() {
        let boot = Boot(*b"0123456789abcdef");
        let header = Header { worker: 3, epoch: 0x1122_3344_5566_7788, boot };
        let bytes = header.to_bytes();
        assert_eq!(bytes[24..40], *b"0123456789abcdef");
        assert_eq!(bytes[..24], *b"CAROMSEG\x01\0\x03\0\0\0\x20\0\x88\x77\x66\x55\x44\x33\x22\x11");
        assert_eq!(Header::from_bytes(&bytes), Some(header));
        for at in 0..bytes.len() {
            let mut damaged = bytes;
            damaged[at] ^= 1;
            assert_eq!(Header::from_bytes(&damaged), None, "byte {at}");
        }
    }

    #[test]
    fn a_record_is_whole_and_of_its_epoch_or_nothing() {
        let epoch = 0xfeed_0000_0000_0001;
        let mut record = b"\0\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0payload".to_vec();
        let len = record.len();
        record[0] = u8::try_from(len).unwrap();
        let crc = record_crc(epoch, &record[8..]);
        record[4..8].copy_from_slice(&crc.to_le_bytes());
        record.resize(padded(len) + 8, 0);
        let found = Record { number: 7, payload: b"payload", padded: 64 };
        assert_eq!(read_record(epoch, &record), Some(found));
        assert_eq!(read_record(epoch ^ 1, &record), None);
        assert_eq!(read_record(epoch, &record[..len - 1]), None);
        for at in 0..len {
            let mut damaged = record.clone();
            damaged[at] ^= 1;
            assert_eq!(read_record(epoch, &damaged), None, "byte {at}");
        }
    }

    #[test]
    fn a_place_is_possible_or_nothing_in_both_its_forms() {
        let epoch = 0xfeed_0000_0000_0009;
        let place = Place { offset: 4096 + 640, number: 5 };
        assert_eq!(Place::from_word(epoch, place.word(epoch)), Some(place));
        assert_eq!(place.word(epoch) & 0xffff_ffff, 5 << 16 | 74);
        assert_eq!(Place::from_text(epoch, &place.to_text(epoch)), Some(place));
        assert_eq!(Place::from_word(epoch ^ 1, place.word(epoch)), None);
        for bit in 0..64 {
            assert_eq!(Place::from_word(epoch, place.word(epoch) ^ 1 << bit), None, "bit {bit}");
        }
        for at in 0..place.to_text(epoch).len() {
            let mut text = place.to_text(epoch).into_bytes();
            text[at] ^= 1;
            let text = String::from_utf8(text).unwrap();
            assert_eq!(Place::from_text(epoch, &text), None, "byte {at}");
        }
        for (offset, number) in [(0, 0), (4032, 0), (SEGMENT_LEN + 64, 0), (4096, 1)] {
            let word = Place { offset, number }.word(epoch);
            assert_eq!(Place::from_word(epoch, word), None, "{offset} {number}");
        }
    }

    #[test]
    fn an_unknown_boot_is_no_boot() {
        assert!(!Boot::default().is(Boot::default()));
        assert!(Boot([1; 16]).is(Boot([1; 16])) && !Boot([1; 16]).is(Boot([2; 16])));
        assert_eq!(Boot::read(), Boot::read());
    }
}
