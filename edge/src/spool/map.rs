//! A segment in memory: one writer and one reader, in two threads, over one mapped file.
//!
//! This module holds the only `unsafe` code of the edge. The rule that makes it sound is an offset:
//! the **committed end**, which only the [`Writer`] moves, and only forward.
//!
//! - Bytes from the committed end on belong to the one `Writer` (it is not `Clone`); it hands out
//!   `&mut` to them only while it is itself borrowed, and publishes them by storing the record's
//!   length with `Release`.
//! - Bytes before the committed end never change. The one [`Reader`] learns of them by loading the
//!   length with `Acquire` and hands out `&` to them only while it is itself borrowed.
//! - The three kinds of words (length, drained, sealed) are only touched as atomics.
//! - Erasing needs both ends: [`Reader::recycle`] proves that the writer is gone.
//!
//! The file is preallocated and locked with its folder, so nobody cuts it short under the mapping.

#![expect(unsafe_code, reason = "records are shared with the kernel and another thread by mapping")]

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use memmap2::{Advice, MmapRaw};
use rustix::fs::{FallocateFlags, fallocate};

use super::segment::{
    ALIGN, DRAINED_AT, FRAME_LEN, HEADER_LEN, Header, SEALED_AT, SEGMENT_LEN, padded, record_crc,
};

#[derive(Debug)]
struct Map {
    raw: MmapRaw,
    header: Header,
}

impl Map {
    fn u64_at(&self, at: usize) -> &AtomicU64 {
        debug_assert!(at.is_multiple_of(8) && at + 8 <= self.raw.len());
        // SAFETY: inside the mapping, aligned, and only ever accessed as an atomic.
        unsafe { AtomicU64::from_ptr(self.raw.as_mut_ptr().add(at).cast()) }
    }

    /// The length word of the record at `at`.
    fn length_at(&self, at: usize) -> &AtomicU32 {
        debug_assert!(at.is_multiple_of(ALIGN) && at + FRAME_LEN <= self.raw.len());
        // SAFETY: inside the mapping, aligned, and only ever accessed as an atomic.
        unsafe { AtomicU32::from_ptr(self.raw.as_mut_ptr().add(at).cast()) }
    }
}

/// The writing end.
#[derive(Debug)]
pub(super) struct Writer {
    map: Arc<Map>,
    end: usize,
    number: u32,
}

/// The segment has no room for the record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Writer {
    /// Appends a record whose payload of `len` bytes `fill` writes. When this returns, the record
    /// is the kernel's: it survives this process.
    pub(super) fn append(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) -> Result<(), Full> {
        let len = FRAME_LEN + len;
        if padded(len) > SEGMENT_LEN - self.end {
            return Err(Full);
        }
        // SAFETY: inside the mapping, and from the committed end on: nobody else looks at it. The
        // first four bytes are the length word, which is left to the atomic.
        let record = unsafe {
            std::slice::from_raw_parts_mut(self.map.raw.as_mut_ptr().add(self.end + 4), len - 4)
        };
        fill(&mut record[FRAME_LEN - 4..]);
        record[4..8].copy_from_slice(&self.number.to_le_bytes());
        let crc = record_crc(self.map.header.epoch, &record[4..]);
        record[..4].copy_from_slice(&crc.to_le_bytes());

        #[expect(clippy::cast_possible_truncation, reason = "a segment is smaller than 4 GiB")]
        self.map.length_at(self.end).store(len as u32, Ordering::Release);
        self.end += padded(len);
        self.number += 1;
        Ok(())
    }
}

impl Drop for Writer {
    /// Seals the segment: nothing will follow.
    fn drop(&mut self) {
        self.map.u64_at(SEALED_AT).store(self.end as u64, Ordering::Release);
    }
}

/// The reading end.
#[derive(Debug)]
pub(super) struct Reader {
    map: Arc<Map>,
    cursor: usize,
}

impl Reader {
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
        // SAFETY: the length was published, so these bytes are inside the mapping, were written
        // before it, and do not change as long as this reader lives.
        Some(unsafe {
            std::slice::from_raw_parts(self.map.raw.as_ptr().add(start), len - FRAME_LEN)
        })
    }

    pub(super) fn epoch(&self) -> u64 {
        self.map.header.epoch
    }

    /// Where the next record begins or will begin.
    pub(super) const fn cursor(&self) -> usize {
        self.cursor
    }

    /// Whether the writer is done and every record was read.
    pub(super) fn is_at_end(&self) -> bool {
        self.map.u64_at(SEALED_AT).load(Ordering::Acquire) == self.cursor as u64
    }

    /// Notes durably that everything before `offset` is in synced batches.
    pub(super) fn mark_drained(&self, offset: usize) -> io::Result<()> {
        self.map.u64_at(DRAINED_AT).store(offset as u64, Ordering::Release);
        self.sync_header()
    }

    /// Puts the header on the disk.
    pub(super) fn sync_header(&self) -> io::Result<()> {
        self.map.raw.flush_range(0, HEADER_LEN)
    }

    /// Erases a segment that was read to its end and makes it ready for another life; gives the
    /// reader back if the writer still holds it.
    pub(super) fn recycle(self, header: Header) -> Result<(Writer, Self), Self> {
        let cursor = self.cursor;
        match Arc::try_unwrap(self.map) {
            Ok(mut map) => {
                erase(&mut map, cursor);
                Ok(begin(map, header))
            }
            Err(map) => Err(Self { map, cursor }),
        }
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
    let mut options = File::options();
    // It holds addresses: for its owner alone, whatever the folder allows.
    options.read(true).write(true).create_new(true).mode(0o600);
    let file = options.open(path)?;
    allocate(&file)?;
    let raw = MmapRaw::map_raw(&file)?;
    // Advice is best effort: an old kernel refuses what it does not know, and pages then come when
    // they are touched. Core dumps must not hold addresses.
    drop(raw.advise(Advice::DontDump));
    if populate {
        drop(raw.advise(Advice::PopulateWrite));
    }
    Ok(begin(Map { raw, header }, header))
}

/// Reserves the file's blocks; writes zeros where the file system cannot reserve.
fn allocate(mut file: &File) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, SEGMENT_LEN as u64) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
            file.write_all(&vec![0; SEGMENT_LEN])
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Begins a life of a segment whose records are zero. The words come first and the header last, so
/// a kill in between leaves a header that does not validate, or the old one, which is drained.
fn begin(mut map: Map, header: Header) -> (Writer, Reader) {
    map.header = header;
    let bytes = header.to_bytes();
    // SAFETY: inside the mapping; neither end exists yet.
    unsafe { map.raw.as_mut_ptr().write_bytes(0, bytes.len()) }
    map.u64_at(DRAINED_AT).store(HEADER_LEN as u64, Ordering::Release);
    map.u64_at(SEALED_AT).store(0, Ordering::Release);
    // SAFETY: as above.
    unsafe { map.raw.as_mut_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) }
    let map = Arc::new(map);
    let writer = Writer { map: Arc::clone(&map), end: HEADER_LEN, number: 0 };
    (writer, Reader { map, cursor: HEADER_LEN })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header { worker: 0, epoch: 5 };

    fn fill(text: &[u8]) -> impl FnOnce(&mut [u8]) {
        move |out| out.copy_from_slice(text)
    }

    #[test]
    fn what_is_appended_is_read_in_order_and_a_full_segment_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let (mut writer, mut reader) = create(&dir.path().join("0.seg"), HEADER, true).unwrap();
        assert_eq!(reader.next(), None);
        let payload = [7_u8; 1000];
        let mut count = 0;
        while writer.append(payload.len(), fill(&payload)) == Ok(()) {
            count += 1;
        }
        assert_eq!(count, (SEGMENT_LEN - HEADER_LEN) / padded(FRAME_LEN + payload.len()));
        assert!(!reader.is_at_end());
        for _ in 0..count {
            assert_eq!(reader.next(), Some(&payload[..]));
        }
        assert_eq!(reader.next(), None);
        assert!(!reader.is_at_end(), "not sealed yet");
        drop(writer);
        assert!(reader.is_at_end());
    }

    #[test]
    fn a_segment_is_recycled_only_without_its_writer_and_comes_back_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.seg");
        let (mut writer, mut reader) = create(&path, HEADER, false).unwrap();
        writer.append(5, fill(b"hello")).unwrap();
        assert_eq!(reader.next(), Some(&b"hello"[..]));
        let mut reader = reader.recycle(Header { worker: 0, epoch: 6 }).unwrap_err();
        drop(writer);
        assert!(reader.is_at_end());
        assert!(std::fs::read(&path).unwrap().windows(5).any(|bytes| bytes == b"hello"));

        let (mut writer, fresh) = reader.recycle(Header { worker: 0, epoch: 6 }).unwrap();
        assert!(!std::fs::read(&path).unwrap().windows(5).any(|bytes| bytes == b"hello"));
        reader = fresh;
        assert_eq!(reader.next(), None);
        writer.append(5, fill(b"again")).unwrap();
        assert_eq!(reader.next(), Some(&b"again"[..]));
    }

    #[test]
    fn a_reader_in_another_thread_sees_whole_records_only() {
        let dir = tempfile::tempdir().unwrap();
        let (mut writer, mut reader) = create(&dir.path().join("0.seg"), HEADER, true).unwrap();
        let written = 6000_u32;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for n in 0..written {
                    let text = n.to_le_bytes().repeat(usize::try_from(n % 40).unwrap() + 1);
                    writer.append(text.len(), fill(&text)).unwrap();
                }
            });
            let mut expected = 0_u32;
            while !reader.is_at_end() {
                while let Some(payload) = reader.next() {
                    let text =
                        expected.to_le_bytes().repeat(usize::try_from(expected % 40).unwrap() + 1);
                    assert_eq!(payload, text);
                    expected += 1;
                }
            }
            assert_eq!(expected, written);
        });
    }
}
