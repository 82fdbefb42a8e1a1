//! [`Whole`]: whether memory holds every route that there is. A code that is not in it then does not
//! exist, and nobody has to be asked: codes made up at full speed cost the database nothing.
//!
//! That takes an [`Origin`](super::Origin) that announces each change before anybody hears of it, a
//! snapshot in which all its routes had room, and two more things that are watched here:
//!
//! - **Nothing is forgotten.** The overlay forgets when it is full, and a visitor might look between
//!   its forgetting and our hearing of it. So what it takes in is summed up, and memory is not whole
//!   any more at half of its room: before it forgets anything.
//! - **Nothing was missed.** A number that is missing in the feed, or a commit of which nobody knows
//!   whether it happened, is a *doubt*. While there is one, unknown codes are asked for again; it is
//!   over when the changes since the position were asked for and applied.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What the answer depends on. Orderings are the strongest throughout: readers look here after they
/// found nothing, and must see what happened before it went.
#[derive(Debug)]
pub(super) struct Whole {
    /// Each change is heard of before anybody else does. Otherwise all this is only noted: what is
    /// not in memory may have been made just now.
    is_announced: bool,
    /// Every route was in memory at some time, and none was forgotten since.
    holds_all: AtomicBool,
    /// Bytes that the overlay took in since it was last seen with as many.
    taken_in: AtomicU64,
    /// From so many on it may forget.
    room: u64,
    /// How often it may have.
    overflows: AtomicU64,
    doubts: AtomicU64,
    /// Somebody is at the doubts.
    is_asking: AtomicBool,
}

impl Whole {
    /// For an overlay that holds so many bytes, of an origin that announces each change or does not.
    pub(super) fn new(overlay_bytes: u64, is_announced: bool) -> Self {
        Self {
            is_announced,
            holds_all: AtomicBool::new(false),
            taken_in: AtomicU64::new(0),
            room: overlay_bytes / 2,
            overflows: AtomicU64::new(0),
            doubts: AtomicU64::new(0),
            is_asking: AtomicBool::new(false),
        }
    }

    /// Whether what is not in memory does not exist. Ask after having looked.
    pub(super) fn is_whole(&self) -> bool {
        self.is_announced && self.holds_all() && self.doubts() == 0
    }

    pub(super) fn holds_all(&self) -> bool {
        self.holds_all.load(Ordering::SeqCst)
    }

    pub(super) fn set_holds_all(&self, holds_all: bool) {
        self.holds_all.store(holds_all, Ordering::SeqCst);
    }

    pub(super) fn overflows(&self) -> u64 {
        self.overflows.load(Ordering::SeqCst)
    }

    /// Before the overlay takes in so many bytes.
    pub(super) fn take_in(&self, bytes: u64) {
        if self.taken_in.fetch_add(bytes, Ordering::SeqCst) + bytes > self.room {
            self.overflow();
        }
    }

    /// A route is not in memory, or may not be.
    pub(super) fn overflow(&self) {
        self.overflows.fetch_add(1, Ordering::SeqCst);
        self.set_holds_all(false);
    }

    /// The overlay holds so many bytes, and takes nothing in while this is said.
    pub(super) fn recount(&self, bytes: u64) {
        self.taken_in.store(bytes, Ordering::SeqCst);
    }

    /// Something may have been missed; true for the one who is to see to it.
    pub(super) fn doubt(&self) -> bool {
        self.doubts.fetch_add(1, Ordering::SeqCst);
        !self.is_asking.swap(true, Ordering::SeqCst)
    }

    /// The doubts there are now.
    pub(super) fn doubts(&self) -> u64 {
        self.doubts.load(Ordering::SeqCst)
    }

    /// So many doubts are over; true if there are no more, and whoever saw to them may go.
    pub(super) fn settle(&self, doubts: u64) -> bool {
        if self.doubts.fetch_sub(doubts, Ordering::SeqCst) > doubts {
            return false;
        }
        self.is_asking.store(false, Ordering::SeqCst);
        // One that came in between was told that somebody is there.
        self.doubts() == 0 || self.is_asking.swap(true, Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_room_is_where_it_ends() {
        let whole = Whole::new(1000, true);
        whole.set_holds_all(true);
        whole.take_in(500);
        assert!(whole.is_whole());
        whole.recount(100);
        whole.take_in(400);
        assert!(whole.is_whole());
        whole.take_in(1);
        assert!(!whole.is_whole());
        assert_eq!(whole.overflows(), 1);
    }

    #[test]
    fn one_sees_to_all_doubts() {
        let whole = Whole::new(1000, true);
        whole.set_holds_all(true);
        assert!(whole.doubt());
        assert!(!whole.doubt(), "somebody is there already");
        assert!(!whole.is_whole());
        let seen = whole.doubts();
        assert!(!whole.doubt());
        assert!(!whole.settle(seen), "one came meanwhile");
        assert!(whole.settle(1));
        assert!(whole.is_whole());
        assert!(whole.doubt(), "nobody is there any more");
    }
}
