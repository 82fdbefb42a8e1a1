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
//!   24  u32  CRC-32C of bytes 0..24
//!   32  u64  drained: records before this offset are in synced batches      (word, atomic)
//!   40  u64  sealed: 0 while written to, then the offset of the end          (word, atomic)
//! 4096  ...  records, each on a multiple of 64 bytes
//! ```
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

use carom_shared::{RawClick, batch};

pub(super) const MAGIC: &[u8; 8] = b"CAROMSEG";
pub(super) const FORMAT: u16 = 1;
/// Small enough that a segment is drained, zeroed and used again within the caches' reach; large
/// enough that changing segments (a lock) is a matter of one record in ten thousand.
pub(super) const SEGMENT_LEN: usize = 2 << 20;
pub(super) const HEADER_LEN: usize = 4096;
pub(super) const ALIGN: usize = 64;
pub(super) const FRAME_LEN: usize = 16;
pub(super) const DRAINED_AT: usize = 32;
pub(super) const SEALED_AT: usize = 40;
/// Bytes of the header that its CRC covers.
const SIGNED_LEN: usize = 24;

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
        crc.copy_from_slice(&crc32c::crc32c(signed).to_le_bytes());
        bytes
    }

    /// `None` if the bytes are not the header of a segment of this format and length.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.first_chunk::<{ SIGNED_LEN + 4 }>()?;
        let header = Self {
            worker: u16::from_le_bytes([bytes[10], bytes[11]]),
            epoch: u64::from_le_bytes(*bytes[16..].first_chunk()?),
        };
        (header.to_bytes() == *bytes).then_some(header)
    }
}

/// The CRC of a record: of everything after the CRC itself.
pub(super) fn record_crc(epoch: u64, after_crc: &[u8]) -> u32 {
    let [a, b, c, d, ..] = epoch.to_le_bytes();
    crc32c::crc32c_append(u32::from_le_bytes([a, b, c, d]), after_crc)
}

/// The payload of the record that begins `bytes`, and the space that the record takes; `None` if
/// no whole record of this epoch begins here.
pub(super) fn read_record(epoch: u64, bytes: &[u8]) -> Option<(&[u8], usize)> {
    let frame = bytes.first_chunk::<FRAME_LEN>()?;
    let len = usize::try_from(u32::from_le_bytes([frame[0], frame[1], frame[2], frame[3]])).ok()?;
    if !(FRAME_LEN..=RECORD_LEN_MAX).contains(&len) {
        return None;
    }
    let record = bytes.get(..len)?;
    let crc = u32::from_le_bytes([frame[4], frame[5], frame[6], frame[7]]);
    (record_crc(epoch, &record[8..]) == crc).then_some((&record[FRAME_LEN..], padded(len)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_header_of_format_1() {
        let header = Header { worker: 3, epoch: 0x1122_3344_5566_7788 };
        let bytes = header.to_bytes();
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
        assert_eq!(read_record(epoch, &record), Some((&b"payload"[..], 64)));
        assert_eq!(read_record(epoch ^ 1, &record), None);
        assert_eq!(read_record(epoch, &record[..len - 1]), None);
        for at in 0..len {
            let mut damaged = record.clone();
            damaged[at] ^= 1;
            assert_eq!(read_record(epoch, &damaged), None, "byte {at}");
        }
    }
}
