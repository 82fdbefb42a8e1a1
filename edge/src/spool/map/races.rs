//! The two ends under a model checker: loom runs them in every order in which two threads can act,
//! with every value that the memory model lets a load see, and ends the test where bytes are touched
//! by both without one having seen the other's word.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, AtomicU64};

use super::super::segment::{ALIGN, FRAME_LEN, HEADER_LEN, read_record};
use super::shared::{Shared, Word};
use super::{Reader, Writer};

const EPOCH: u64 = 0xfeed_0000_0000_0005;
/// Records that are written, each of one unit; one more unit is looked at.
const RECORDS: u8 = 2;
const UNITS: usize = RECORDS as usize + 1;

/// How words are stored and loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Orders {
    /// As the ends ask for.
    Asked,
    /// Stores publish nothing.
    WeakStores,
    /// Loads see nothing of what was published.
    WeakLoads,
}

impl Orders {
    fn load(self, order: Ordering) -> Ordering {
        if self == Self::WeakLoads { Ordering::Relaxed } else { order }
    }

    fn store(self, order: Ordering) -> Ordering {
        if self == Self::WeakStores { Ordering::Relaxed } else { order }
    }
}

struct Watched<T> {
    word: T,
    orders: Orders,
}

impl Word<u32> for Watched<AtomicU32> {
    fn load(&self, order: Ordering) -> u32 {
        self.word.load(self.orders.load(order))
    }

    fn store(&self, value: u32, order: Ordering) {
        self.word.store(value, self.orders.store(order));
    }
}

impl Word<u64> for Watched<AtomicU64> {
    fn load(&self, order: Ordering) -> u64 {
        self.word.load(self.orders.load(order))
    }

    fn store(&self, value: u64, order: Ordering) {
        self.word.store(value, self.orders.store(order));
    }
}

/// The first units of a segment.
struct Memory {
    lengths: Vec<Watched<AtomicU32>>,
    sealed: Watched<AtomicU64>,
    /// Of each unit: who has touched its bytes, as loom sees it.
    touched: Vec<UnsafeCell<()>>,
    bytes: std::cell::UnsafeCell<[u8; UNITS * ALIGN]>,
}

// SAFETY: all access to the bytes is first told to `touched`, and loom ends a run in which two
// threads touch a unit without an order between them.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    fn new(orders: Orders) -> Self {
        let length = || Watched { word: AtomicU32::new(0), orders };
        Self {
            lengths: (0..UNITS).map(|_| length()).collect(),
            sealed: Watched { word: AtomicU64::new(0), orders },
            touched: (0..UNITS).map(|_| UnsafeCell::new(())).collect(),
            bytes: std::cell::UnsafeCell::new([0; UNITS * ALIGN]),
        }
    }

    fn units(at: usize, len: usize) -> std::ops::RangeInclusive<usize> {
        (at - HEADER_LEN) / ALIGN..=(at + len - 1 - HEADER_LEN) / ALIGN
    }

    fn at(&self, at: usize) -> *mut u8 {
        // SAFETY: the ends stay below `UNITS`, or the index of `touched` would have failed.
        unsafe { self.bytes.get().cast::<u8>().add(at - HEADER_LEN) }
    }
}

impl Shared for Memory {
    type Length = Watched<AtomicU32>;
    type Sealed = Watched<AtomicU64>;

    fn epoch(&self) -> u64 {
        EPOCH
    }

    fn is_retired(&self, _: Ordering) -> bool {
        false
    }

    fn length_at(&self, at: usize) -> &Self::Length {
        &self.lengths[(at - HEADER_LEN) / ALIGN]
    }

    fn sealed(&self) -> &Self::Sealed {
        &self.sealed
    }

    fn bytes(&self, at: usize, len: usize) -> *const u8 {
        Self::units(at, len).for_each(|unit| self.touched[unit].with(|_| ()));
        self.at(at)
    }

    fn bytes_mut(&self, at: usize, len: usize) -> *mut u8 {
        Self::units(at, len).for_each(|unit| self.touched[unit].with_mut(|_| ()));
        self.at(at)
    }
}

fn payload(number: u8) -> Vec<u8> {
    vec![0xa0 + number; 30 + usize::from(number)]
}

/// Reads what is there; each record is whole, and the next one.
fn read(reader: &mut Reader<Memory>, memory: &Memory, number: &mut u8) {
    loop {
        let at = reader.cursor();
        let Some(found) = reader.next() else { return };
        assert_eq!(found, payload(*number), "record {number}");
        // With its frame, as a recovery would read it.
        let len = FRAME_LEN + found.len();
        let mut bytes = u32::try_from(len).unwrap().to_le_bytes().to_vec();
        // SAFETY: read just now, by the reader that is still here.
        bytes.extend(unsafe { std::slice::from_raw_parts(memory.bytes(at + 4, len - 4), len - 4) });
        let record = read_record(EPOCH, &bytes).expect("a whole record");
        assert_eq!(record.number, u32::from(*number));
        *number += 1;
    }
}

fn write_and_read(orders: Orders) {
    let memory = Arc::new(Memory::new(orders));
    let mut writer = Writer { map: Arc::clone(&memory), end: HEADER_LEN, number: 0 };
    let mut reader = Reader::of(Arc::clone(&memory));
    let writing = loom::thread::spawn(move || {
        for number in 0..RECORDS {
            let payload = payload(number);
            writer.append(payload.len(), |out| out.copy_from_slice(&payload)).unwrap();
        }
        drop(writer);
    });
    let mut number = 0;
    // While it is written, and what was read is erased in between.
    for _ in 0..2 {
        read(&mut reader, &memory, &mut number);
        reader.erase_read();
        if reader.is_at_end() {
            assert_eq!(number, RECORDS, "sealed before its last record was seen");
        }
        loom::thread::yield_now();
    }
    writing.join().unwrap();
    read(&mut reader, &memory, &mut number);
    assert!(number == RECORDS && reader.is_at_end());
}

#[test]
fn a_reader_never_sees_a_torn_record() {
    loom::model(|| write_and_read(Orders::Asked));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_length_that_is_stored_without_release_is_found_out() {
    loom::model(|| write_and_read(Orders::WeakStores));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_length_that_is_loaded_without_acquire_is_found_out() {
    loom::model(|| write_and_read(Orders::WeakLoads));
}
