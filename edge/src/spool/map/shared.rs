//! What the two ends of a segment see of it.
//!
//! The ends are written over this trait, and not over the mapping alone, so that a model checker can
//! drive the same code (`races.rs`): its words and bytes are watched in every order in which two
//! threads, and the memory between them, can act.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::super::segment::{SEGMENT_LEN, padded};

/// An atomic word.
pub(in crate::spool) trait Word<T> {
    fn load(&self, order: Ordering) -> T;
    fn store(&self, value: T, order: Ordering);
}

/// The bytes and words of a segment. Where bytes begin and how many they are is the ends' to keep
/// to: within the segment, and without the length word.
pub(in crate::spool) trait Shared {
    type Length: Word<u32>;
    type Sealed: Word<u64>;

    fn epoch(&self) -> u64;
    /// Whether its disk failed.
    fn is_retired(&self, order: Ordering) -> bool;
    /// The length word of the record at `at`.
    fn length_at(&self, at: usize) -> &Self::Length;
    /// The word that says where the records end.
    fn sealed(&self) -> &Self::Sealed;
    /// Bytes that the caller is about to read.
    fn bytes(&self, at: usize, len: usize) -> *const u8;
    /// Bytes that the caller is about to change.
    fn bytes_mut(&self, at: usize, len: usize) -> *mut u8;

    /// The space of the record at `at`; 0 if there is none yet, or no room for one.
    fn padded_at(&self, at: usize) -> usize {
        if at >= SEGMENT_LEN {
            return 0;
        }
        match self.length_at(at).load(Ordering::Acquire) as usize {
            0 => 0,
            len => padded(len),
        }
    }
}

impl Word<u32> for AtomicU32 {
    #[inline]
    fn load(&self, order: Ordering) -> u32 {
        self.load(order)
    }

    #[inline]
    fn store(&self, value: u32, order: Ordering) {
        self.store(value, order);
    }
}

impl Word<u64> for AtomicU64 {
    #[inline]
    fn load(&self, order: Ordering) -> u64 {
        self.load(order)
    }

    #[inline]
    fn store(&self, value: u64, order: Ordering) {
        self.store(value, order);
    }
}
