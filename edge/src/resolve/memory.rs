//! What one edge knows: a snapshot, the routes that came since, and absences for a moment.
//!
//! ```text
//! snapshot   a file, mapped; immutable but for its marks           looked at first
//! overlay    what was applied or looked up since; may forget       by version
//! absences   believed for a moment
//! ```
//!
//! A route is answered from the snapshot unless its record there is **superseded**. That mark is set
//! when something newer is taken in, and never taken back: so what is answered does not depend on
//! the overlay keeping anything. What it forgets is asked for again.
//!
//! Where memory is [whole](super::whole), what is in none of the three does not exist.
//!
//! # A snapshot is rewritten while changes come
//!
//! ```text
//! begin     alone: from now on every key that is taken in is noted; the feed's position is P
//! write     what is live in the snapshot, and the overlay -> a new file, complete up to P
//! install   alone: what was noted is superseded in the new one; it takes the old one's place
//! release   what is live in the new one leaves the overlay
//! ```
//!
//! Taking in a route (overlay, mark, note) happens under the **gate**, shared; begin and install hold
//! it alone. So each is wholly before begin, and then the writer finds it: the old record is marked,
//! the new one in the overlay or, forgotten, nowhere. Or it is noted with its version, and an older
//! record in the new snapshot is marked, whichever of both the writer has seen. Readers take no lock: they look at the snapshot that they
//! got hold of and then at the overlay, and once more if there is another snapshot by then.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use moka::ops::compute::{CompResult, Op};
use moka::sync::Cache;

use carom_shared::{Code, DomainId, FeedPosition, UnixMillis};

use super::snapshot::{Snapshot, version};
use super::whole::Whole;
use super::{Known, ResolveConfig, Route};

/// What an entry of the overlay costs beside its key and its record: the cache's own books. As
/// measured with a million entries.
const ENTRY_OVERHEAD_BYTES: usize = 470;

/// Keys that may be taken in while a snapshot is written; with more it is given up. All routes are
/// listed for a minute or two, while visitors may ask for thousands a second: this many are 60 MB at
/// most, which go with the rewrite.
const NOTED_MAX: usize = 1 << 20;

/// Domain and code in one piece of memory, so that a lookup borrows and an entry has one box.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    len: u8,
    bytes: [u8; Key::MAX_LEN],
}

impl Key {
    const ID_LEN: usize = 8;
    const MAX_LEN: usize = Self::ID_LEN + Code::MAX_LEN;

    /// The key of a code. A text that is too long for a code is cut, and is no code's key.
    #[must_use]
    pub fn new(domain: DomainId, code: &str) -> Self {
        let mut bytes = [0; Self::MAX_LEN];
        let (id, text) = bytes.split_at_mut(Self::ID_LEN);
        id.copy_from_slice(&domain.get().to_le_bytes());
        let len = code.len().min(Code::MAX_LEN);
        text[..len].copy_from_slice(&code.as_bytes()[..len]);
        let len = u8::try_from(Self::ID_LEN + len).unwrap_or(u8::MAX);
        Self { len, bytes }
    }

    /// The same on a domain on which case does not matter.
    #[must_use]
    pub fn folded(mut self) -> Self {
        self.bytes[Self::ID_LEN..].make_ascii_lowercase();
        self
    }

    /// What it is looked up by: the code, or another text. One that was cut within a character is empty.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.as_bytes()[Self::ID_LEN..]).unwrap_or_default()
    }

    /// The code, if it is one.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        Code::parse(self.text()).ok()
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// Keys and versions that were taken in since a rewrite began; `None`: too many.
type Noted = Mutex<Option<Vec<(Box<[u8]>, u64)>>>;

pub(super) struct Memory {
    snapshot: ArcSwapOption<Snapshot>,
    /// Records in their compact bytes.
    overlay: Cache<Box<[u8]>, Bytes>,
    absences: Cache<Box<[u8]>, ()>,
    /// Something while a rewrite is under way.
    gate: RwLock<Option<Noted>>,
    /// Everything up to there is applied; `None`: nobody knows.
    position: Mutex<Option<FeedPosition>>,
    pub(super) whole: Whole,
}

/// A rewrite that has begun.
pub(super) struct Rewrite {
    /// What is replaced.
    pub(super) old: Option<Arc<Snapshot>>,
    pub(super) position: FeedPosition,
    /// How often the overlay may have forgotten something before.
    pub(super) overflows: u64,
}

/// Why a snapshot that was written is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Useless {
    /// Too much was taken in meanwhile.
    TooManyChanges,
    /// Its rewrite was given up.
    Abandoned,
}

/// What is held, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Routes of the overlay, and the bytes they are accounted with.
    pub overlay_routes: u64,
    pub overlay_bytes: u64,
    pub snapshot: Option<SnapshotHeld>,
    /// Whether these are all routes there are.
    pub is_whole: bool,
}

/// What a snapshot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotHeld {
    /// Routes that are answered from it.
    pub routes: u64,
    /// Routes in it that something newer took the place of.
    pub superseded: u64,
    pub file_bytes: u64,
    pub index_bytes: u64,
    pub written_at: UnixMillis,
}

impl Held {
    /// Routes that are known.
    #[must_use]
    pub fn routes(&self) -> u64 {
        self.overlay_routes + self.snapshot.map_or(0, |snapshot| snapshot.routes)
    }
}

impl Memory {
    /// Memory for the routes of an origin that announces each change, or does not.
    pub(super) fn new(config: &ResolveConfig, is_announced: bool) -> Self {
        #[expect(clippy::borrowed_box, reason = "moka hands out `&K`")]
        let weight = |key: &Box<[u8]>, record: &Bytes| weight(key, record);
        Self {
            snapshot: ArcSwapOption::empty(),
            overlay: Cache::builder().weigher(weight).max_capacity(config.max_cache_bytes).build(),
            absences: Cache::builder()
                .max_capacity(if config.negative_ms == 0 { 0 } else { config.max_negative_entries })
                .time_to_live(Duration::from_millis(config.negative_ms))
                .build(),
            gate: RwLock::new(None),
            position: Mutex::new(None),
            whole: Whole::new(config.max_cache_bytes, is_announced),
        }
    }

    pub(super) fn find(&self, key: &Key) -> Known {
        let key = key.as_bytes();
        loop {
            let snapshot = self.snapshot.load();
            if let Some(snapshot) = &*snapshot
                && let Some(place) = snapshot.find(key)
                && let Some(route) = snapshot.live(place).and_then(decode)
            {
                return Known::Route(route);
            }
            if let Some(route) = self.overlay.get(key).and_then(decode) {
                return Known::Route(route);
            }
            // It may have moved from where was not looked yet to where was looked already.
            let is_same = match (&*snapshot, &*self.snapshot.load()) {
                (Some(seen), Some(now)) => Arc::ptr_eq(seen, now),
                (None, None) => true,
                _ => false,
            };
            if is_same {
                let is_absent = self.whole.is_whole() || self.absences.contains_key(key);
                return if is_absent { Known::Absent } else { Known::Unknown };
            }
        }
    }

    /// Takes a record in unless a newer one is there, and returns the one that is there then;
    /// nothing if a newer one was there and is forgotten.
    pub(super) fn keep(&self, key: &Key, record: Bytes) -> Option<Bytes> {
        let gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        let key = key.as_bytes();
        let new = version(&record);
        let snapshot = self.snapshot.load();
        let place = snapshot.as_ref().and_then(|snapshot| Some((snapshot, snapshot.find(key)?)));
        if let Some((snapshot, place)) = place
            && version(snapshot.record(place)) >= new
        {
            return snapshot.live(place).or_else(|| self.overlay.get(key));
        }
        self.whole.take_in(weight(key, &record).into());
        let result = self.overlay.entry(key.into()).and_compute_with(|held| {
            if held.is_some_and(|held| version(held.value()) >= new) {
                Op::Nop
            } else {
                Op::Put(record.clone())
            }
        });
        // After the overlay has it: who finds the mark finds what it stands for.
        if let Some((snapshot, place)) = place {
            snapshot.supersede(place);
        }
        if let Some(noted) = &*gate {
            let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
            match &mut *noted {
                Some(keys) if keys.len() < NOTED_MAX => keys.push((key.into(), new)),
                keys => *keys = None,
            }
        }
        match result {
            CompResult::Unchanged(held) => Some(held.into_value()),
            _ => Some(record),
        }
    }

    pub(super) fn keep_absence(&self, key: &Key) {
        self.absences.insert(key.as_bytes().into(), ());
    }

    pub(super) fn forget_absence(&self, key: &Key) {
        self.absences.invalidate(key.as_bytes());
    }

    /// The domain and the code of a key.
    pub(super) fn parts(key: &[u8]) -> Option<(DomainId, Code)> {
        let (id, code) = key.split_first_chunk::<{ Key::ID_LEN }>()?;
        let domain = DomainId::try_from(i64::from_le_bytes(*id)).ok()?;
        Some((domain, Code::parse(std::str::from_utf8(code).ok()?).ok()?))
    }

    pub(super) fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.snapshot.load_full()
    }

    pub(super) fn position(&self) -> Option<FeedPosition> {
        *self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything up to this position is applied, or is not known here.
    pub(super) fn set_position(&self, position: Option<FeedPosition>) {
        *self.position.lock().unwrap_or_else(PoisonError::into_inner) = position;
    }

    /// The changes numbered `first` to `last` are applied; false if some before them are missing.
    /// The position then stays where it is.
    pub(super) fn advance(&self, epoch: u64, first: u64, last: u64) -> bool {
        let mut position = self.position.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(at) = &mut *position else { return true };
        let is_next = at.epoch == epoch && first <= at.seq + 1;
        if is_next {
            at.seq = at.seq.max(last);
        }
        is_next
    }

    /// Begins a rewrite, in place of one that was given up; `None` if it is not known up to which
    /// change one would be complete.
    pub(super) fn begin(&self) -> Option<Rewrite> {
        let mut gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        let position = self.position()?;
        *gate = Some(Mutex::new(Some(Vec::new())));
        let overflows = self.whole.overflows();
        Some(Rewrite { old: self.snapshot.load_full(), position, overflows })
    }

    /// Keys and records of the overlay.
    pub(super) fn overlay(&self) -> impl Iterator<Item = (Arc<Box<[u8]>>, Bytes)> {
        self.overlay.iter()
    }

    /// Puts the snapshot that was written in its place, and lets go of what is in it.
    pub(super) fn install(
        &self,
        snapshot: &Arc<Snapshot>,
        rewrite: &Rewrite,
    ) -> Result<(), Useless> {
        {
            let mut gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
            let noted = gate.take().map(Mutex::into_inner).ok_or(Useless::Abandoned)?;
            let keys = noted.unwrap_or_else(PoisonError::into_inner);
            let keys = keys.ok_or(Useless::TooManyChanges)?;
            for (key, taken_in) in keys {
                if let Some(place) = snapshot.find(&key)
                    && version(snapshot.record(place)) < taken_in
                {
                    snapshot.supersede(place);
                }
            }
            self.snapshot.store(Some(Arc::clone(snapshot)));
            if snapshot.is_whole() && self.whole.overflows() == rewrite.overflows {
                self.whole.set_holds_all(true);
            }
        }
        for (key, record) in &self.overlay {
            if Self::has(snapshot, &key, &record) {
                self.overlay.entry((*key).clone()).and_compute_with(|held| match held {
                    Some(held) if Self::has(snapshot, &key, held.value()) => Op::Remove,
                    _ => Op::Nop,
                });
            }
        }
        // Alone, so that nothing is on its way in.
        let _gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        self.overlay.run_pending_tasks();
        self.whole.recount(self.overlay.weighted_size());
        Ok(())
    }

    /// Whether a snapshot answers with this record or a newer one.
    fn has(snapshot: &Snapshot, key: &[u8], record: &[u8]) -> bool {
        snapshot.find(key).is_some_and(|place| {
            snapshot.is_live(place) && version(snapshot.record(place)) >= version(record)
        })
    }

    /// Gives a rewrite up.
    pub(super) fn abandon(&self) {
        *self.gate.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Up to which change the snapshot was complete when it was written.
    pub(super) fn snapshot_position(&self) -> Option<FeedPosition> {
        self.snapshot.load().as_ref().map(|snapshot| snapshot.position())
    }

    /// Whether the rewrite that began last may still come into use.
    pub(super) fn is_rewriting(&self) -> Result<(), Useless> {
        let gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        let noted = gate.as_ref().ok_or(Useless::Abandoned)?;
        let noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.as_ref().map(drop).ok_or(Useless::TooManyChanges)
    }

    /// Begins with a snapshot or with nothing; whatever else is known is forgotten, and a rewrite
    /// that is under way is given up.
    pub(super) fn start_with(&self, snapshot: Option<Arc<Snapshot>>) {
        let mut gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        *gate = None;
        self.overlay.invalidate_all();
        self.set_position(snapshot.as_ref().map(|snapshot| snapshot.position()));
        self.whole.set_holds_all(snapshot.as_ref().is_some_and(|snapshot| snapshot.is_whole()));
        self.snapshot.store(snapshot);
    }

    /// What is held. The cache keeps its books when it has time: this makes it.
    pub(super) fn held(&self) -> Held {
        self.overlay.run_pending_tasks();
        let snapshot = self.snapshot.load();
        Held {
            overlay_routes: self.overlay.entry_count(),
            overlay_bytes: self.overlay.weighted_size(),
            is_whole: self.whole.is_whole(),
            snapshot: snapshot.as_ref().map(|snapshot| {
                let (file_bytes, index_bytes) = snapshot.bytes();
                SnapshotHeld {
                    routes: snapshot.live_count(),
                    superseded: snapshot.superseded_count(),
                    file_bytes,
                    index_bytes,
                    written_at: snapshot.written_at(),
                }
            }),
        }
    }

    /// Lets the overlay forget everything, as it may at any moment.
    #[cfg(test)]
    pub(super) fn forget(&self) {
        self.whole.overflow();
        self.overlay.invalidate_all();
        self.overlay.run_pending_tasks();
    }
}

/// What an entry of the overlay is accounted with.
fn weight(key: &[u8], record: &[u8]) -> u32 {
    u32::try_from(key.len() + record.len() + ENTRY_OVERHEAD_BYTES).unwrap_or(u32::MAX)
}

/// What was taken in was checked; a record of a file that was checked is what was taken in.
fn decode(record: Bytes) -> Option<Route> {
    Route::decode(record).inspect_err(|error| tracing::error!(%error, "a record is damaged")).ok()
}
