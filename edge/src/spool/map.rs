//! Mapped files: a segment with one writer and one reader, in two threads; [`Words`]; [`Frozen`].
//!
//! This module holds nearly all `unsafe` code of the edge. The rule that makes it sound is an offset:
//! the **committed end**, which only the [`Writer`] moves, and only forward.
//!
//! - Bytes from the committed end on belong to the one `Writer` (it is not `Clone`); it hands out
//!   `&mut` to them only while it is itself borrowed, and publishes them by storing the record's
//!   length with `Release`.
//! - Bytes before the committed end belong to the one [`Reader`]. It learns of them by loading the
//!   length with `Acquire`, hands out `&` to them only while it is itself borrowed, and overwrites
//!   them only while it is itself borrowed mutably.
//! - The three kinds of words (length, note, sealed) are only touched as atomics. A [`Tail`], which
//!   syncs what others wrote, looks at nothing else.
//! - Using the file again needs all ends: [`Reader::recycle`] proves that it is alone.
//!
//! [`Words`] is a file of which every byte is part of an atomic word, so that it needs no rule.
//! [`Frozen`] is one that nobody changes.
//!
//! Files are preallocated and locked with their folder, so nobody cuts them short under the mapping.

#![expect(unsafe_code, reason = "records are shared with the kernel and another thread by mapping")]

mod frozen;
#[cfg(test)]
mod races;
mod shared;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use memmap2::{Advice, MmapRaw};
use rustix::fs::{FallocateFlags, fallocate};

use super::disk;
use super::segment::{
    ALIGN, FRAME_LEN, HEADER_LEN, Header, NOTE_AT, Place, SEALED_AT, SEGMENT_LEN, offset_of,
    padded, record_crc,
};

pub(crate) use frozen::Frozen;
use shared::{Shared, Word as _};

const PAGE_LEN: usize = 4096;

#[derive(Debug)]
pub(super) struct Map {
    raw: MmapRaw,
    header: Header,
    path: PathBuf,
    /// A sync failed: what is in here is taken out, and nothing more is put in.
    is_retired: AtomicBool,
    is_populated: AtomicBool,
}

impl Map {
    fn u64_at(&self, at: usize) -> &AtomicU64 {
        debug_assert!(at.is_multiple_of(8) && at + 8 <= self.raw.len());
        // SAFETY: inside the mapping, aligned, and only ever accessed as an atomic.
        unsafe { AtomicU64::from_ptr(self.raw.as_mut_ptr().add(at).cast()) }
    }

    /// Puts whole pages on the disk. After an error the file is retired: the kernel reports it once
    /// and forgets, so a second try would succeed without the bytes being there.
    fn sync(&self, from: usize, to: usize) -> io::Result<()> {
        let from = from / PAGE_LEN * PAGE_LEN;
        let synced = disk::step("msync").and_then(|()| self.raw.flush_range(from, to - from));
        if synced.is_err() {
            self.is_retired.store(true, Ordering::Release);
        }
        #[cfg(test)]
        disk::fault::synced(&self.path, from, to);
        synced
    }
}

impl Shared for Map {
    type Length = AtomicU32;
    type Sealed = AtomicU64;

    #[inline]
    fn epoch(&self) -> u64 {
        self.header.epoch
    }

    #[inline]
    fn is_retired(&self, order: Ordering) -> bool {
        self.is_retired.load(order)
    }

    #[inline]
    fn length_at(&self, at: usize) -> &AtomicU32 {
        debug_assert!(at.is_multiple_of(ALIGN) && at + FRAME_LEN <= self.raw.len());
        // SAFETY: inside the mapping, aligned, and only ever accessed as an atomic.
        unsafe { AtomicU32::from_ptr(self.raw.as_mut_ptr().add(at).cast()) }
    }

    #[inline]
    fn sealed(&self) -> &AtomicU64 {
        self.u64_at(SEALED_AT)
    }

    #[inline]
    fn bytes(&self, at: usize, len: usize) -> *const u8 {
        self.bytes_mut(at, len)
    }

    #[inline]
    fn bytes_mut(&self, at: usize, len: usize) -> *mut u8 {
        debug_assert!(at + len <= self.raw.len());
        // SAFETY: inside the mapping.
        unsafe { self.raw.as_mut_ptr().add(at) }
    }
}

/// The writing end.
#[derive(Debug)]
pub(super) struct Writer<M: Shared = Map> {
    map: Arc<M>,
    end: usize,
    number: u32,
}

/// The segment takes no more: it has no room for the record, or its disk failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl<M: Shared> Writer<M> {
    /// Appends a record whose payload of `len` bytes `fill` writes. When this returns, the record
    /// is the kernel's: it survives this process.
    pub(super) fn append(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) -> Result<(), Full> {
        let len = FRAME_LEN + len;
        // A word that hardly ever changes: looking at it costs nothing that could be measured.
        if padded(len) > SEGMENT_LEN - self.end || self.map.is_retired(Ordering::Relaxed) {
            return Err(Full);
        }
        // SAFETY: inside the mapping, and from the committed end on: nobody else looks at it. The
        // first four bytes are the length word, which is left to the atomic.
        let record = unsafe {
            std::slice::from_raw_parts_mut(self.map.bytes_mut(self.end + 4, len - 4), len - 4)
        };
        fill(&mut record[FRAME_LEN - 4..]);
        record[4..8].copy_from_slice(&self.number.to_le_bytes());
        let crc = record_crc(self.map.epoch(), &record[4..]);
        record[..4].copy_from_slice(&crc.to_le_bytes());

        #[expect(clippy::cast_possible_truncation, reason = "a segment is smaller than 4 GiB")]
        self.map.length_at(self.end).store(len as u32, Ordering::Release);
        self.end += padded(len);
        self.number += 1;
        Ok(())
    }
}

impl<M: Shared> Drop for Writer<M> {
    /// Seals the segment: nothing will follow.
    fn drop(&mut self) {
        let end = Place { offset: self.end, number: self.number };
        self.map.sealed().store(end.word(self.map.epoch()), Ordering::Release);
    }
}

/// The reading end.
#[derive(Debug)]
pub(super) struct Reader<M: Shared = Map> {
    map: Arc<M>,
    cursor: usize,
    /// How many records were read.
    number: u32,
    /// Records before this offset are erased.
    erased: usize,
}

impl<M: Shared> Reader<M> {
    /// The reader of a segment of which nothing was read yet.
    const fn of(map: Arc<M>) -> Self {
        Self { map, cursor: HEADER_LEN, number: 0, erased: HEADER_LEN }
    }

    /// The payload of the next record; `None` if there is none yet.
    pub(super) fn next(&mut self) -> Option<&[u8]> {
        if self.cursor >= SEGMENT_LEN {
            return None;
        }
        let len = self.map.length_at(self.cursor).load(Ordering::Acquire) as usize;
        if len == 0 {
            return None;
        }
        let start = self.cursor + FRAME_LEN;
        self.cursor += padded(len);
        self.number += 1;
        // SAFETY: the length was published, so these bytes are inside the mapping, were written
        // before it, and nobody changes them while this reader is borrowed.
        Some(unsafe {
            std::slice::from_raw_parts(self.map.bytes(start, len - FRAME_LEN), len - FRAME_LEN)
        })
    }

    pub(super) fn epoch(&self) -> u64 {
        self.map.epoch()
    }

    /// Where the next record begins or will begin.
    pub(super) const fn cursor(&self) -> usize {
        self.cursor
    }

    /// Whether the writer is done and every record was read.
    pub(super) fn is_at_end(&self) -> bool {
        offset_of(self.map.sealed().load(Ordering::Acquire)) == self.cursor
    }

    /// Whether the file's disk failed.
    pub(super) fn is_retired(&self) -> bool {
        self.map.is_retired(Ordering::Acquire)
    }

    /// Where the next record begins or will begin, as it is noted once all before is in batches.
    pub(super) const fn place(&self) -> Place {
        Place { offset: self.cursor, number: self.number }
    }

    /// Overwrites the records that were read, length words excepted; to be called when the note is
    /// on the disk. A thread with few visitors fills a segment in days, and addresses are not kept
    /// for days.
    pub(super) fn erase_read(&mut self) {
        while self.erased < self.cursor {
            let len = self.map.padded_at(self.erased);
            // SAFETY: the record was published and read, so it is inside the mapping and belongs to
            // this reader, which is borrowed mutably; its length word is left to the atomic.
            unsafe { self.map.bytes_mut(self.erased + 4, len - 4).write_bytes(0, len - 4) }
            self.erased += len;
        }
    }
}

impl Reader {
    pub(super) fn path(&self) -> &Path {
        &self.map.path
    }

    /// Writes the note and puts it on the disk.
    pub(super) fn mark_drained(&self) -> io::Result<()> {
        self.map.u64_at(NOTE_AT).store(self.place().word(self.epoch()), Ordering::Release);
        self.sync_header()
    }

    /// Puts the header on the disk.
    pub(super) fn sync_header(&self) -> io::Result<()> {
        self.map.sync(0, HEADER_LEN)
    }

    /// The end that syncs.
    pub(super) fn tail(&self) -> Tail {
        Tail { map: Arc::downgrade(&self.map), seen: HEADER_LEN, synced: 0 }
    }

    /// Erases a segment that was read to its end and makes it ready for another life; gives the
    /// reader back if another end still holds it.
    pub(super) fn recycle(self, header: Header) -> Result<(Writer, Self), Self> {
        let Self { map, cursor, number, erased } = self;
        match Arc::try_unwrap(map) {
            Ok(mut map) => {
                erase(&mut map, cursor);
                Ok(begin(map, header))
            }
            Err(map) => Err(Self { map, cursor, number, erased }),
        }
    }

    /// Brings the pages of a spare segment into memory, once. Best effort: an old kernel does not
    /// know how, and pages then come when they are touched.
    pub(super) fn populate(&self) -> Option<impl FnOnce() + use<>> {
        let is_first = !self.map.is_populated.swap(true, Ordering::AcqRel);
        let map = is_first.then(|| Arc::clone(&self.map))?;
        Some(move || drop(map.raw.advise(Advice::PopulateWrite)))
    }
}

/// The end that puts records on the disk while others write and read. It keeps neither of them
/// from using the segment again.
#[derive(Debug)]
pub(super) struct Tail {
    map: Weak<Map>,
    /// Where the committed records ended at the last look.
    seen: usize,
    synced: usize,
}

/// How far a [`Tail`] syncs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Every committed record.
    End,
    /// Whole pages, and what was committed at the last look. While a thread fills pages faster than
    /// it is looked at, the page it writes to is never touched: a write to a page that is on its
    /// way to the disk may have to wait for it.
    Behind,
}

/// What a [`Tail`] found.
#[derive(Debug)]
pub(super) enum Tailed {
    /// More may come.
    Open,
    /// Nothing will come.
    Done,
    /// The disk failed; the segment is retired.
    Failed(io::Error),
}

impl Tail {
    pub(super) fn is_alive(&self) -> bool {
        self.map.strong_count() > 0
    }

    pub(super) fn sync(&mut self, reach: Reach) -> Tailed {
        let Some(map) = self.map.upgrade() else { return Tailed::Done };
        if map.is_retired.load(Ordering::Acquire) {
            return Tailed::Done;
        }
        // Before looking at records: one that is sealed then has no more of them.
        let sealed = offset_of(map.u64_at(SEALED_AT).load(Ordering::Acquire));
        let before = self.seen;
        loop {
            match map.padded_at(self.seen) {
                0 => break,
                len => self.seen += len,
            }
        }
        let to = match reach {
            Reach::End => self.seen,
            Reach::Behind if sealed != 0 => self.seen,
            Reach::Behind => (self.seen / PAGE_LEN * PAGE_LEN).max(before),
        };
        if to > self.synced {
            if let Err(error) = map.sync(self.synced, to) {
                return Tailed::Failed(error);
            }
            self.synced = to;
        }
        if self.synced == sealed { Tailed::Done } else { Tailed::Open }
    }
}

/// Zeroes the records. The header still says that they are drained, so a kill in between leaves
/// nothing to read twice.
fn erase(map: &mut Map, end: usize) {
    let len = end.saturating_sub(HEADER_LEN);
    // SAFETY: inside the mapping, and `&mut Map` says that neither end is left.
    unsafe { map.raw.as_mut_ptr().add(HEADER_LEN).write_bytes(0, len) }
}

/// Makes a segment file whose blocks exist on disk: never sparse, so that a full disk is an error
/// here and not a signal at some later write. `populate` also brings its pages into memory.
pub(super) fn create(path: &Path, header: Header, populate: bool) -> io::Result<(Writer, Reader)> {
    let raw = allocated(path, SEGMENT_LEN)?;
    if populate && raw.advise(Advice::PopulateWrite).is_err() {
        for page in (0..SEGMENT_LEN).step_by(PAGE_LEN) {
            // SAFETY: inside the mapping, which nobody else has seen yet.
            unsafe { raw.as_mut_ptr().add(page).write_volatile(0) }
        }
    }
    let map = Map {
        raw,
        header,
        path: path.to_owned(),
        is_retired: AtomicBool::new(false),
        is_populated: AtomicBool::new(populate),
    };
    Ok(begin(map, header))
}

/// A new file of zeros, whose blocks exist on disk, mapped.
fn allocated(path: &Path, len: usize) -> io::Result<MmapRaw> {
    let file = disk::create_new(path)?;
    let made = (|| {
        allocate(&file, len)?;
        disk::step("mmap")?;
        MmapRaw::map_raw(&file)
    })();
    if made.is_err() {
        // The name is needed again; the file is empty or full of zeros.
        drop(std::fs::remove_file(path));
    }
    // Advice is best effort. Core dumps must not hold addresses.
    made.inspect(|raw| drop(raw.advise(Advice::DontDump)))
}

/// Reserves the file's blocks; writes zeros where the file system cannot reserve.
fn allocate(file: &File, len: usize) -> io::Result<()> {
    disk::step("fallocate")?;
    match fallocate(file, FallocateFlags::empty(), 0, len as u64) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => write_zeros(file, len),
        Err(errno) => Err(errno.into()),
    }
}

fn write_zeros(file: &File, len: usize) -> io::Result<()> {
    let zeros = vec![0; len.min(1 << 20)];
    for from in (0..len).step_by(zeros.len()) {
        disk::write_all(file, &zeros[..zeros.len().min(len - from)])?;
    }
    Ok(())
}

/// Begins a life of a segment whose records are zero. The words come first and the header last, so
/// a kill in between leaves a header that does not validate, or the old one, which is drained.
fn begin(mut map: Map, header: Header) -> (Writer, Reader) {
    map.header = header;
    let bytes = header.to_bytes();
    // SAFETY: inside the mapping; neither end exists yet.
    unsafe { map.raw.as_mut_ptr().write_bytes(0, bytes.len()) }
    map.u64_at(NOTE_AT).store(Place::START.word(header.epoch), Ordering::Release);
    map.u64_at(SEALED_AT).store(0, Ordering::Release);
    // SAFETY: as above.
    unsafe { map.raw.as_mut_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) }
    let map = Arc::new(map);
    let writer = Writer { map: Arc::clone(&map), end: HEADER_LEN, number: 0 };
    (writer, Reader::of(map))
}

/// A mapped file of 64-bit words, all of them atomic. What is stored in one survives the process.
#[derive(Debug)]
pub(super) struct Words {
    raw: MmapRaw,
}

impl Words {
    /// Makes a file of `len` words, all zero, whose blocks exist on disk.
    pub(super) fn create(path: &Path, len: usize) -> io::Result<Self> {
        Ok(Self { raw: allocated(path, len * 8)? })
    }

    /// Maps a file that is there, as many words as it holds.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        disk::step("mmap")?;
        Ok(Self { raw: MmapRaw::map_raw(&file)? })
    }

    pub(super) fn len(&self) -> usize {
        self.raw.len() / 8
    }

    pub(super) fn at(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.len(), "a word inside the file");
        // SAFETY: inside the mapping, aligned (a mapping begins on a page), and all access to this
        // mapping is through such words.
        unsafe { AtomicU64::from_ptr(self.raw.as_mut_ptr().cast::<u64>().add(index)) }
    }

    /// Puts the words on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        disk::step("msync")?;
        self.raw.flush()
    }
}

#[cfg(test)]
mod tests;
