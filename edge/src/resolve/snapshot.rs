//! A [`Snapshot`]: what an edge knew at one moment, in one file, mapped, with an index in memory.
//!
//! # Bytes, format 1 (little endian)
//!
//! ```text
//!  0  [u8; 8]  "CAROMRTS"
//!  8  u8       format = 1
//!  9  u8       1 if every route that there was is in here, else 0
//! 10  [u8; 6]  zero
//! 16  u64      epoch of the feed
//! 24  u64      number in the feed: every change up to and with it is in here
//! 32  i64      up to when changes were known as it was written, milliseconds since 1970
//! 40  u64      how many routes there are
//! 48  u64      length of the routes in bytes
//! 56  u32      CRC-32C of the routes
//! 60  u32      CRC-32C of bytes 0 to 59
//! 64  ...      the routes; for each:
//!              u8 length of the key; i64 domain id and the code; u16 length of the record; the
//!              record, in the compact bytes of `shared/src/route/compact.rs`
//! ```
//!
//! Nothing follows the last route. A file is written under another name, synced and renamed, and
//! never changed. A link with a target of 60 bytes takes 99 bytes of it.
//!
//! # The index
//!
//! Open addressing with a load of three quarters, a word of eight bytes a slot: where the route is in
//! the file, 30 bits of its hash, and two marks. It is not in the file but made when that is
//! opened, which reads every byte anyway, to check it: so the two can never differ, and the hash
//! is keyed anew each time and cannot be prepared for. A hit costs one word and one route.
//!
//! - **superseded**: something newer was applied. Such a route is never answered again.
//! - **touched**: it was asked for. What is touched is kept when not everything can be.

mod write;

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;

use carom_shared::{Code, CompactRoute, FeedPosition, UnixMillis};

use crate::spool::map::Frozen;

pub(super) use write::SnapshotWriter;

const MAGIC: &[u8; 8] = b"CAROMRTS";
const FORMAT: u8 = 1;
const HEADER_LEN: usize = 64;
/// Bytes of a domain's id at the beginning of a key.
const DOMAIN_LEN: usize = 8;
/// Offsets in the index have 32 bits.
pub(super) const FILE_BYTES_MAX: u64 = u32::MAX as u64;

const TAG: u64 = 0x3fff_ffff << 32;
const TOUCHED: u64 = 1 << 62;
const SUPERSEDED: u64 = 1 << 63;

/// Threads that take routes from a snapshot without sharing a counter of references.
const LANES: usize = 16;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("it is no snapshot of routes")]
    Foreign,
    #[error("its format is {0}: written by another version of Carom")]
    Format(u8),
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
}

/// The fixed part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    position: FeedPosition,
    written_at: UnixMillis,
    routes: u64,
    len: u64,
    crc: u32,
    is_whole: bool,
}

impl Header {
    fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8] = FORMAT;
        bytes[9] = self.is_whole.into();
        bytes[16..24].copy_from_slice(&self.position.epoch.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.position.seq.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.written_at.get().to_le_bytes());
        bytes[40..48].copy_from_slice(&self.routes.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.len.to_le_bytes());
        bytes[56..60].copy_from_slice(&self.crc.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Self, SnapshotError> {
        if bytes[..8] != *MAGIC {
            return Err(SnapshotError::Foreign);
        }
        if bytes[8] != FORMAT {
            return Err(SnapshotError::Format(bytes[8]));
        }
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(word)
        };
        let half = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        if half(60) != crc32c::crc32c(&bytes[..60]) {
            return Err(SnapshotError::Damaged("its header"));
        }
        Ok(Self {
            position: FeedPosition { epoch: word(16), seq: word(24) },
            written_at: UnixMillis::new(word(32).cast_signed()),
            routes: word(40),
            len: word(48),
            crc: half(56),
            is_whole: bytes[9] == 1,
        })
    }
}

/// Where a route is: its slot in the index, and its record in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    slot: usize,
    from: usize,
    to: usize,
}

/// An owner of the mapping that shares its cache lines with no other: each has a counter of the
/// routes that are taken from it.
#[repr(align(128))]
struct Lane(Arc<Frozen>);

impl AsRef<[u8]> for Lane {
    fn as_ref(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}

pub(super) struct Snapshot {
    header: Header,
    map: Arc<Frozen>,
    lanes: Box<[Bytes]>,
    slots: Box<[AtomicU64]>,
    hasher: RandomState,
    routes: u64,
    superseded: AtomicU64,
}

impl Snapshot {
    /// Maps a file, checks every byte of it, and makes its index: about 0.2 s for a million routes.
    pub(super) fn open(path: &Path) -> Result<Self, SnapshotError> {
        let file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(SnapshotError::Foreign);
        }
        let map = Arc::new(Frozen::map(&file)?);
        let bytes: &[u8] = (*map).as_ref();
        let (header, routes) =
            bytes.split_first_chunk::<HEADER_LEN>().ok_or(SnapshotError::Foreign)?;
        let header = Header::parse(header)?;
        if routes.len() as u64 != header.len || bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(SnapshotError::Damaged("its length"));
        }
        if crc32c::crc32c(routes) != header.crc {
            return Err(SnapshotError::Damaged("its routes"));
        }
        // No route takes fewer bytes than that, so the count is no reason to ask for much memory.
        let count = usize::try_from(header.routes).unwrap_or(usize::MAX);
        if count > routes.len() / (1 + DOMAIN_LEN) {
            return Err(SnapshotError::Damaged("its count"));
        }
        let mut snapshot = Self {
            header,
            lanes: (0..LANES).map(|_| Bytes::from_owner(Lane(Arc::clone(&map)))).collect(),
            slots: (0..count / 3 * 4 + 4).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
            routes: 0,
            superseded: AtomicU64::new(0),
            map,
        };
        snapshot.index(count)?;
        Ok(snapshot)
    }

    fn index(&mut self, count: usize) -> Result<(), SnapshotError> {
        let map = Arc::clone(&self.map);
        let bytes: &[u8] = (*map).as_ref();
        let mut at = HEADER_LEN;
        for _ in 0..count {
            let (key, from, to) = entry(bytes, at).ok_or(SnapshotError::Damaged("a route"))?;
            let (first, tag) = self.hash(key);
            let offset = u32::try_from(at).unwrap_or_default();
            let mut slot = first;
            // Fewer routes than slots: there is an empty one.
            loop {
                let word = *self.slots[slot].get_mut();
                if word == 0 {
                    *self.slots[slot].get_mut() = tag | u64::from(offset);
                    self.routes += 1;
                    break;
                }
                // One that changed while it was written may be there twice.
                if word & TAG == tag
                    && let Some((other, other_from, other_to)) = entry(bytes, offset_of(word))
                    && other == key
                {
                    if version(&bytes[other_from..other_to]) < version(&bytes[from..to]) {
                        *self.slots[slot].get_mut() = tag | u64::from(offset);
                    }
                    break;
                }
                slot = self.after(slot);
            }
            at = to;
        }
        if at == bytes.len() { Ok(()) } else { Err(SnapshotError::Damaged("a route")) }
    }

    fn hash(&self, key: &[u8]) -> (usize, u64) {
        let hash = self.hasher.hash_one(key);
        // The upper half, scaled to the slots, which may be any number of them.
        let first = ((hash >> 32) * self.slots.len() as u64) >> 32;
        (usize::try_from(first).unwrap_or_default(), (hash << 32) & TAG)
    }

    const fn after(&self, slot: usize) -> usize {
        if slot + 1 == self.slots.len() { 0 } else { slot + 1 }
    }

    /// Whether every route that there was is in here.
    pub(super) const fn is_whole(&self) -> bool {
        self.header.is_whole
    }

    /// Where the route of a key is, superseded or not.
    pub(super) fn find(&self, key: &[u8]) -> Option<Place> {
        let bytes: &[u8] = (*self.map).as_ref();
        let (mut slot, tag) = self.hash(key);
        loop {
            let word = self.slots[slot].load(Ordering::Relaxed);
            if word == 0 {
                return None;
            }
            if word & TAG == tag
                && let Some((found, from, to)) = entry(bytes, offset_of(word))
                && found == key
            {
                return Some(Place { slot, from, to });
            }
            slot = self.after(slot);
        }
    }

    /// The record of a route, unless it is superseded.
    pub(super) fn live(&self, place: Place) -> Option<Bytes> {
        let slot = &self.slots[place.slot];
        // Acquire: who sees the mark sees what superseded it.
        let word = slot.load(Ordering::Acquire);
        if word & SUPERSEDED != 0 {
            return None;
        }
        if word & TOUCHED == 0 {
            slot.fetch_or(TOUCHED, Ordering::Relaxed);
        }
        Some(self.lanes[lane()].slice(place.from..place.to))
    }

    pub(super) fn is_live(&self, place: Place) -> bool {
        self.slots[place.slot].load(Ordering::Acquire) & SUPERSEDED == 0
    }

    /// The bytes of a record, superseded or not.
    pub(super) fn record(&self, place: Place) -> &[u8] {
        &(*self.map).as_ref()[place.from..place.to]
    }

    /// From now on this route is not answered.
    pub(super) fn supersede(&self, place: Place) {
        let before = self.slots[place.slot].fetch_or(SUPERSEDED, Ordering::AcqRel);
        if before & SUPERSEDED == 0 {
            self.superseded.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Keys and records of the routes that are not superseded; those that were asked for come first.
    pub(super) fn routes(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let bytes: &[u8] = (*self.map).as_ref();
        // Each slot is judged once: one that is touched between two looks would be in neither half.
        let (touched, others): (Vec<_>, Vec<_>) = self
            .slots
            .iter()
            .filter(|slot| slot.load(Ordering::Relaxed) != 0)
            .partition(|slot| slot.load(Ordering::Relaxed) & TOUCHED != 0);
        touched.into_iter().chain(others).filter_map(|slot| {
            let word = slot.load(Ordering::Acquire);
            let at = Some(word).filter(|word| word & SUPERSEDED == 0)?;
            let (key, from, to) = entry(bytes, offset_of(at))?;
            Some((key, &bytes[from..to]))
        })
    }

    pub(super) const fn position(&self) -> FeedPosition {
        self.header.position
    }

    /// Routes that are answered from here.
    pub(super) fn live_count(&self) -> u64 {
        self.routes.saturating_sub(self.superseded_count())
    }

    pub(super) fn superseded_count(&self) -> u64 {
        self.superseded.load(Ordering::Relaxed)
    }

    pub(super) const fn written_at(&self) -> UnixMillis {
        self.header.written_at
    }

    /// Bytes of the file, and of the index.
    pub(super) fn bytes(&self) -> (u64, u64) {
        (HEADER_LEN as u64 + self.header.len, size_of_val(&*self.slots) as u64)
    }
}

fn offset_of(word: u64) -> usize {
    usize::try_from(word & u64::from(u32::MAX)).unwrap_or_default()
}

/// The key at an offset, and where its record begins and ends.
fn entry(bytes: &[u8], at: usize) -> Option<(&[u8], usize, usize)> {
    let key_len = usize::from(*bytes.get(at)?);
    if !(DOMAIN_LEN + 1..=DOMAIN_LEN + Code::MAX_LEN).contains(&key_len) {
        return None;
    }
    let key = bytes.get(at + 1..at + 1 + key_len)?;
    let from = at + 1 + key_len + 2;
    let len = u16::from_le_bytes([*bytes.get(from - 2)?, *bytes.get(from - 1)?]);
    let to = from + usize::from(len);
    (to <= bytes.len()).then_some((key, from, to))
}

/// The version of a record; 0 of one that cannot be read.
pub(super) fn version(record: &[u8]) -> u64 {
    CompactRoute::parse(record).map_or(0, |route| route.version)
}

/// Which lane this thread takes.
fn lane() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static LANE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % LANES;
    }
    LANE.with(|lane| *lane)
}

#[cfg(test)]
mod tests;
