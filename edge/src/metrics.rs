//! Every metric of the edge, in one place: no label ever holds a code, a URL or an address.

use std::sync::atomic::{AtomicU64, Ordering};

use carom_shared::exposition::Exposition;

use crate::respond::ErrorPage;

/// A count that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A value that goes up and down.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicU64);

impl Gauge {
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Does something if its thread panics while it lives.
pub(crate) struct OnPanic<F: Fn()>(pub(crate) F);

impl<F: Fn()> Drop for OnPanic<F> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            (self.0)();
        }
    }
}

/// Counts of one edge thread, on cache lines of its own: threads do not slow each other down.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct WorkerMetrics {
    pub(crate) connections: Counter,
    pub(crate) connections_closed: Counter,
    pub(crate) redirects: Counter,
    pub(crate) previews: Counter,
    pub(crate) files: Counter,
    errors: [Counter; ErrorPage::ALL.len()],
    pub(crate) memory_hits: Counter,
    pub(crate) absence_hits: Counter,
    pub(crate) look_ups: Counter,
    pub(crate) clicks_recorded: Counter,
    pub(crate) clicks_dropped: Counter,
}

impl WorkerMetrics {
    pub(crate) fn error(&self, page: ErrorPage) {
        self.errors[page as usize].add(1);
    }
}

/// Counts of one edge.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) workers: Box<[WorkerMetrics]>,
    pub(crate) accept_errors: Counter,
    /// Threads that ended though they should not; only a restart brings them back.
    pub(crate) threads_lost: Counter,
    /// Segments of all rings that hold clicks or are about to.
    pub(crate) ring_segments: Gauge,
    pub(crate) clicks_recovered: Counter,
    pub(crate) clicks_drained: Counter,
    pub(crate) clicks_unreadable: Counter,
    pub(crate) batch_bytes: Counter,
    pub(crate) batches_shipped: Counter,
    pub(crate) batches_repeated: Counter,
    pub(crate) batches_quarantined: Counter,
    pub(crate) spool_errors: Counter,
    pub(crate) ship_errors: Counter,
}

/// What is looked up at the moment of asking.
pub(crate) struct Gauges {
    pub(crate) routes: u64,
    pub(crate) route_bytes: u64,
    pub(crate) batches_waiting: usize,
    pub(crate) ring_segments_limit: usize,
}

impl Metrics {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            workers: (0..workers).map(|_| WorkerMetrics::default()).collect(),
            accept_errors: Counter::default(),
            threads_lost: Counter::default(),
            ring_segments: Gauge::default(),
            clicks_recovered: Counter::default(),
            clicks_drained: Counter::default(),
            clicks_unreadable: Counter::default(),
            batch_bytes: Counter::default(),
            batches_shipped: Counter::default(),
            batches_repeated: Counter::default(),
            batches_quarantined: Counter::default(),
            spool_errors: Counter::default(),
            ship_errors: Counter::default(),
        }
    }

    pub(crate) fn sum(&self, counter: impl Fn(&WorkerMetrics) -> &Counter) -> u64 {
        self.workers.iter().map(|worker| counter(worker).get()).sum()
    }

    /// The page at `/metrics`.
    pub(crate) fn render(&self, gauges: &Gauges) -> String {
        let mut page = Exposition::new();
        self.render_requests(&mut page);
        self.render_clicks(&mut page);
        page.gauge("carom_edge_threads_lost", "Threads that ended and are not coming back.")
            .sample(&[], self.threads_lost.get());
        page.gauge("carom_edge_ring_segments", "Segments of the click rings that are in use.")
            .sample(&[], self.ring_segments.get());
        page.gauge("carom_edge_ring_segments_limit", "Segments of the click rings in all.")
            .sample(&[], gauges.ring_segments_limit as u64);
        page.gauge("carom_edge_routes", "Routes in memory.").sample(&[], gauges.routes);
        page.gauge("carom_edge_route_bytes", "Memory that routes are accounted with, in bytes.")
            .sample(&[], gauges.route_bytes);
        page.gauge("carom_edge_batches_waiting", "Batches of clicks that wait to be stored.")
            .sample(&[], gauges.batches_waiting as u64);
        page.finish()
    }

    fn render_requests(&self, page: &mut Exposition) {
        let mut answers = page.counter("carom_edge_answers_total", "Requests answered, by status.");
        answers.sample(&[("status", "redirect")], self.sum(|worker| &worker.redirects));
        answers.sample(&[("status", "preview")], self.sum(|worker| &worker.previews));
        answers.sample(&[("status", "file")], self.sum(|worker| &worker.files));
        for error in ErrorPage::ALL {
            let count = self.sum(|worker| &worker.errors[*error as usize]);
            answers.sample(&[("status", error.status().as_str())], count);
        }
        page.counter("carom_edge_resolved_total", "How codes were resolved.")
            .sample(&[("by", "memory")], self.sum(|worker| &worker.memory_hits))
            .sample(&[("by", "absence")], self.sum(|worker| &worker.absence_hits))
            .sample(&[("by", "origin")], self.sum(|worker| &worker.look_ups));
        let opened = self.sum(|worker| &worker.connections);
        let closed = self.sum(|worker| &worker.connections_closed);
        page.counter("carom_edge_connections_total", "Connections accepted.").sample(&[], opened);
        page.gauge("carom_edge_connections_open", "Connections open now.")
            .sample(&[], opened.saturating_sub(closed));
        page.counter("carom_edge_accept_errors_total", "Connections that could not be accepted.")
            .sample(&[], self.accept_errors.get());
    }

    fn render_clicks(&self, page: &mut Exposition) {
        page.counter("carom_edge_clicks_recorded_total", "Clicks recorded before their answer.")
            .sample(&[], self.sum(|worker| &worker.clicks_recorded));
        page.counter("carom_edge_clicks_dropped_total", "Clicks answered and not recorded.")
            .sample(&[("reason", "ring_full")], self.sum(|worker| &worker.clicks_dropped));
        for (name, help, counter) in [
            (
                "carom_edge_clicks_recovered_total", "Clicks of an earlier run found in the ring.",
                &self.clicks_recovered,
            ),
            ("carom_edge_clicks_drained_total", "Clicks written to batches.", &self.clicks_drained),
            (
                "carom_edge_clicks_unreadable_total",
                "Clicks that could not be read back from the ring.", &self.clicks_unreadable,
            ),
            ("carom_edge_batch_bytes_total", "Bytes of batches written.", &self.batch_bytes),
            ("carom_edge_batches_shipped_total", "Batches stored.", &self.batches_shipped),
            (
                "carom_edge_batches_repeated_total", "Batches that the store had already.",
                &self.batches_repeated,
            ),
            (
                "carom_edge_batches_quarantined_total",
                "Batches set aside because they cannot be stored.", &self.batches_quarantined,
            ),
            (
                "carom_edge_spool_errors_total", "Failed writes to the click spool.",
                &self.spool_errors,
            ),
            ("carom_edge_ship_errors_total", "Failed tries to store a batch.", &self.ship_errors),
        ] {
            page.counter(name, help).sample(&[], counter.get());
        }
    }
}
