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
    /// Changes are heard of from a stream, not from control.
    streams: AtomicBool,
    pub(crate) gaps: Counter,
    /// Times that control was asked for what the stream did not bring.
    pub(crate) stream_gaps: Counter,
    pub(crate) stream_pages: Counter,
}

impl FeedState {
    /// From now on somebody follows; everything was known at these times, or later if that was said
    /// before.
    pub(crate) fn begin(&self, fresh_at: UnixMillis, bundle_at: UnixMillis) {
        self.fresh_at.fetch_max(fresh_at.get(), Ordering::Relaxed);
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

    pub(crate) fn set_streams(&self, streams: bool) {
        self.streams.store(streams, Ordering::Relaxed);
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
        let streams = self.streams.load(Ordering::Relaxed);
        page.gauge("carom_edge_feed_source", "1 for where changes are heard of from now.")
            .sample(&[("source", "stream")], u64::from(streams))
            .sample(&[("source", "control")], u64::from(!streams));
        page.counter("carom_edge_stream_pages_total", "Pages of changes read from Redis.")
            .sample(&[], self.stream_pages.get());
        page.counter(
            "carom_edge_stream_gaps_total",
            "Times that control was asked for changes that Redis did not bring.",
        )
        .sample(&[], self.stream_gaps.get());
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

    /// Forgets everything: it is of another database. An answer that is under way may be, too, and is
    /// asked for again.
    pub(crate) fn forget(&self) {
        self.0.flights.supersede_all();
        self.0.memory.start_with(None);
    }

    /// Changes were missed that are not to be had any more; from now on all are applied again. What
    /// the keeper listed until now may be older than those and is no part of what will be asked for
    /// again: that is given up, and all routes are listed once more.
    pub(crate) fn missed_for_good(&self) {
        self.0.feed.gaps.add(1);
        self.0.memory.whole.set_holds_all(false);
        self.0.memory.abandon();
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
        self.0.origin.render(&mut page);
        page.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use carom_shared::{
        LinkId, QueryPolicy, RedirectStatus, RouteChange, RouteRecord, RouteState, TestClock,
        WorkspaceId,
    };
    use tokio::runtime::Runtime;
    use tokio::sync::Notify;

    use super::super::{Keeper, Key, Known, Origin, OriginFuture, ResolveConfig, SnapshotPlan};
    use super::*;

    /// Of one database at first, whose answer waits until it is let go, and then of another.
    #[derive(Default)]
    struct Restored {
        asked: AtomicUsize,
        gate: Arc<Notify>,
    }

    impl Origin for Restored {
        fn resolve(&self, _: DomainId, _: &Code) -> OriginFuture {
            let (is_old, gate) =
                (self.asked.fetch_add(1, Ordering::SeqCst) == 0, Arc::clone(&self.gate));
            Box::pin(async move {
                if is_old {
                    gate.notified().await;
                }
                Ok(Some(record(if is_old { 9 } else { 1 })))
            })
        }
    }

    fn record(version: u64) -> RouteRecord {
        RouteRecord {
            version,
            state: RouteState::Active,
            link: LinkId::try_from(7).unwrap(),
            workspace: WorkspaceId::try_from(5).unwrap(),
            status: RedirectStatus::Found,
            target_revision: 1,
            not_before: None,
            expires_at: None,
            target: "https://e.test/".into(),
            fallback: None,
            query: QueryPolicy::default(),
            max_age_s: 0,
        }
    }

    fn resolver(runtime: &Runtime, origin: Arc<Restored>) -> (Resolver, DomainId, Code, Key) {
        let resolver = Resolver::new(&ResolveConfig::default(), origin, runtime.handle().clone());
        let (domain, code) = (DomainId::try_from(1).unwrap(), Code::parse("a").unwrap());
        let key = Key::new(domain, code.as_str());
        (resolver, domain, code, key)
    }

    #[test]
    fn an_answer_of_the_database_before_is_asked_for_again() {
        let (runtime, origin) = (Runtime::new().unwrap(), Arc::<Restored>::default());
        let (resolver, domain, code, key) = resolver(&runtime, Arc::clone(&origin));
        let found = runtime.block_on(async {
            let asking = resolver.look_up(&key, domain, code);
            let restoring = async {
                while origin.asked.load(Ordering::SeqCst) == 0 {
                    tokio::task::yield_now().await;
                }
                resolver.forget();
                origin.gate.notify_one();
            };
            tokio::join!(asking, restoring).0
        });
        assert_eq!(found.unwrap().unwrap().version, 1);
        assert!(matches!(resolver.known(&key), Known::Route(route) if route.version == 1));
    }

    #[test]
    fn a_snapshot_that_was_being_written_does_not_bring_back_what_was_forgotten() {
        let (runtime, dir) = (Runtime::new().unwrap(), tempfile::tempdir().unwrap());
        let (resolver, domain, code, key) = resolver(&runtime, Arc::default());
        let (clock, path) = (Arc::new(TestClock::default()), dir.path().join("snapshot"));
        let plan = SnapshotPlan { path, bytes_max: 1 << 20, clock };
        let keeper = Keeper::open(resolver.clone(), plan);
        resolver.set_position(FeedPosition { epoch: 1, seq: 1 });
        resolver.apply(RouteChange { domain, code, record: record(9) });
        let rewrite = resolver.0.memory.begin().unwrap();
        let (snapshot, _) = keeper.write(&rewrite, false, &|| false).unwrap();
        resolver.forget();
        assert!(resolver.0.memory.install(&Arc::new(snapshot), &rewrite).is_err());
        assert!(matches!(resolver.known(&key), Known::Unknown));
    }
}
