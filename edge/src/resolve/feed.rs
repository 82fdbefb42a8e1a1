//! What whoever follows a feed of changes needs of a [`Resolver`], and says to it.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use carom_shared::exposition::Exposition;
use carom_shared::{Code, DomainId, FeedPosition, UnixMillis};

use super::{Memory, Resolver};
use crate::metrics::Counter;

/// How well this edge knows what it knows. Until somebody follows a feed there is nothing to say.
#[derive(Debug, Default)]
pub(crate) struct FeedState {
    is_followed: AtomicBool,
    /// Known links are not answered: they are older than the setting allows.
    refuses: AtomicBool,
    /// When all changes were known, in milliseconds since 1970.
    fresh_at: AtomicI64,
    bundle_at: AtomicI64,
    pub(crate) gaps: Counter,
}

impl FeedState {
    /// From now on somebody follows; everything was known at these times.
    pub(crate) fn begin(&self, fresh_at: UnixMillis, bundle_at: UnixMillis) {
        self.fresh(fresh_at);
        self.bundle(bundle_at);
        self.is_followed.store(true, Ordering::Release);
    }

    /// Every change up to this time is known.
    pub(crate) fn fresh(&self, at: UnixMillis) {
        self.fresh_at.store(at.get(), Ordering::Relaxed);
    }

    /// The bundle is of this time.
    pub(crate) fn bundle(&self, at: UnixMillis) {
        self.bundle_at.store(at.get(), Ordering::Relaxed);
    }

    /// How long ago every change was known, in milliseconds.
    pub(crate) fn age_ms(&self, now: UnixMillis) -> i64 {
        now.get().saturating_sub(self.fresh_at.load(Ordering::Relaxed)).max(0)
    }

    /// When every change was known, as far as that can be said: now, unless somebody follows.
    pub(super) fn known_at(&self, now: UnixMillis) -> UnixMillis {
        match self.is_followed.load(Ordering::Acquire) {
            true => UnixMillis::new(self.fresh_at.load(Ordering::Relaxed)),
            false => now,
        }
    }

    pub(crate) fn set_refuses(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::Relaxed);
    }

    pub(crate) fn refuses(&self) -> bool {
        self.refuses.load(Ordering::Relaxed)
    }

    fn render(&self, page: &mut Exposition, now: UnixMillis) {
        if !self.is_followed.load(Ordering::Acquire) {
            return;
        }
        let bundle_ms = now.get().saturating_sub(self.bundle_at.load(Ordering::Relaxed)).max(0);
        page.gauge("carom_edge_feed_age_seconds", "Since when changes may be unknown here.")
            .sample(&[], seconds(self.age_ms(now)));
        page.gauge("carom_edge_bundle_age_seconds", "Age of what is known of domains and salts.")
            .sample(&[], seconds(bundle_ms));
        page.counter("carom_edge_feed_gaps_total", "Times that changes could not be had any more.")
            .sample(&[], self.gaps.get());
        page.gauge("carom_edge_feed_refuses", "Whether known links are too old to be answered.")
            .sample(&[], u64::from(self.refuses()));
    }
}

fn seconds(ms: i64) -> f64 {
    std::time::Duration::from_millis(u64::try_from(ms).unwrap_or_default()).as_secs_f64()
}

/// What questions to the origin came to.
#[derive(Debug, Default)]
pub(super) struct LookUps {
    pub(super) found: Counter,
    pub(super) absent: Counter,
    pub(super) failed: Counter,
    pub(super) too_many: Counter,
}

impl Resolver {
    pub(crate) fn feed(&self) -> &FeedState {
        &self.0.feed
    }

    /// Everything up to this position is known; `None`: nobody knows.
    pub(crate) fn position(&self) -> Option<FeedPosition> {
        self.0.memory.position()
    }

    /// Every change up to this position is applied, or is of a route that is not known here.
    pub(crate) fn set_position(&self, position: FeedPosition) {
        self.0.memory.set_position(Some(position));
    }

    /// Forgets everything: it is of another database.
    pub(crate) fn forget(&self) {
        self.0.memory.start_with(None);
    }

    /// What is known now, first what was asked for; `each` says whether to go on.
    pub(crate) fn visit_known(&self, mut each: impl FnMut(DomainId, Code) -> bool) {
        let snapshot = self.0.memory.snapshot();
        let overlay = self.0.memory.overlay().filter_map(|(key, _)| Memory::parts(&key));
        let mapped = snapshot.iter().flat_map(|snapshot| snapshot.routes());
        let mapped = mapped.filter_map(|(key, _)| Memory::parts(key));
        for (domain, code) in overlay.chain(mapped) {
            if !each(domain, code) {
                return;
            }
        }
    }

    /// The metrics of this file.
    pub(crate) fn render_feed(&self, now: UnixMillis) -> String {
        let mut page = Exposition::new();
        let LookUps { found, absent, failed, too_many } = &self.0.look_ups;
        page.counter("carom_edge_lookups_total", "What questions to the origin came to.")
            .sample(&[("outcome", "found")], found.get())
            .sample(&[("outcome", "absent")], absent.get())
            .sample(&[("outcome", "failed")], failed.get())
            .sample(&[("outcome", "too_many")], too_many.get());
        self.0.feed.render(&mut page, now);
        page.finish()
    }
}
