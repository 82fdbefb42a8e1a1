//! What one edge knows: routes by version, and absences for a moment.

use std::sync::Arc;
use std::time::Duration;

use moka::ops::compute::{CompResult, Op};
use moka::sync::Cache;

use carom_shared::{Code, DomainId};

use super::{Known, ResolveConfig, Route};

/// What an entry costs beside its key and its texts: the route, and the cache's own books. As
/// measured with a million entries.
const ENTRY_OVERHEAD_BYTES: usize = 400;

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

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

pub(super) struct Memory {
    routes: Cache<Box<[u8]>, Arc<Route>>,
    absences: Cache<Box<[u8]>, ()>,
}

impl Memory {
    pub(super) fn new(config: &ResolveConfig) -> Self {
        #[expect(clippy::borrowed_box, reason = "moka hands out `&K`")]
        let weight = |key: &Box<[u8]>, route: &Arc<Route>| {
            let bytes = key.len() + route.heap_bytes() + ENTRY_OVERHEAD_BYTES;
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        Self {
            routes: Cache::builder().weigher(weight).max_capacity(config.max_cache_bytes).build(),
            absences: Cache::builder()
                .max_capacity(config.max_negative_entries)
                .time_to_live(Duration::from_millis(config.negative_ms))
                .build(),
        }
    }

    pub(super) fn find(&self, key: &Key) -> Known {
        if let Some(route) = self.routes.get(key.as_bytes()) {
            return Known::Route(route);
        }
        if self.absences.contains_key(key.as_bytes()) { Known::Absent } else { Known::Unknown }
    }

    /// Keeps a route unless a newer one is there, and returns the one that is there then.
    pub(super) fn keep(&self, key: &Key, route: Route) -> Arc<Route> {
        let route = Arc::new(route);
        let result = self.routes.entry(key.as_bytes().into()).and_compute_with(|held| {
            if held.is_some_and(|held| held.value().version >= route.version) {
                Op::Nop
            } else {
                Op::Put(Arc::clone(&route))
            }
        });
        match result {
            CompResult::Unchanged(held) => held.into_value(),
            _ => route,
        }
    }

    pub(super) fn keep_absence(&self, key: &Key) {
        self.absences.insert(key.as_bytes().into(), ());
    }

    pub(super) fn forget_absence(&self, key: &Key) {
        self.absences.invalidate(key.as_bytes());
    }

    /// Routes, and the bytes they are accounted with. The cache keeps its books when it has time:
    /// this makes it.
    pub(super) fn in_use(&self) -> (u64, u64) {
        self.routes.run_pending_tasks();
        (self.routes.entry_count(), self.routes.weighted_size())
    }
}
