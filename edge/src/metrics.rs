//! Every metric of the edge, in one place: no label ever holds a code, a URL or an address.

use std::sync::atomic::{AtomicU64, Ordering};

use carom_shared::UnixMillis;
use carom_shared::exposition::Exposition;

use crate::pressure::Pressure;
use crate::resolve::Held;
use crate::respond::ErrorPage;
use crate::spool::losses::{Loss, Losses};

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
    pub(crate) homes: Counter,
    errors: [Counter; ErrorPage::ALL.len()],
    pub(crate) memory_hits: Counter,
    pub(crate) absence_hits: Counter,
    pub(crate) look_ups: Counter,
    pub(crate) clicks_recorded: Counter,
    /// Clicks whose response did not wait for their sync any longer.
    pub(crate) clicks_unsynced: Counter,
    /// 4 while clicks are only counted, or refused, 5 while some are dropped, else 0.
    pub(crate) pressure: Gauge,
    /// How late the thread was when it last looked.
    pub(crate) lag_ms: Gauge,
    /// Turns that connections waited for behind everybody else.
    pub(crate) turns: Counter,
}

impl WorkerMetrics {
    pub(crate) fn error(&self, page: ErrorPage) {
        self.errors[page as usize].add(1);
    }
}

/// Connections that were closed before anything was answered on them, by reason.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    /// Their block has as many as it may.
    pub(crate) block: Counter,
    /// No PROXY header, or not from a trusted proxy.
    pub(crate) proxy: Counter,
    /// No handshake of TLS, or too late.
    pub(crate) tls: Counter,
    /// The thread lags.
    pub(crate) overload: Counter,
}

/// Counts of certificates.
#[derive(Debug, Default)]
pub(crate) struct TlsMetrics {
    /// Certificates in use.
    pub(crate) certificates: Gauge,
    pub(crate) reloads: Counter,
    pub(crate) reload_errors: Counter,
}

/// Connections that the edge ended, by reason.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// No request, or half of one.
    pub(crate) head: Counter,
    pub(crate) idle: Counter,
    pub(crate) age: Counter,
    /// Their answers were not taken in.
    pub(crate) unread: Counter,
    /// Frames of HTTP/2 that are no requests.
    pub(crate) frames: Counter,
}

/// Counts of what is found out about clicks.
#[derive(Debug, Default)]
pub(crate) struct EnrichMetrics {
    /// User agents that were not remembered and had to be read.
    pub(crate) agents_read: Counter,
    /// Names that were replaced, because a link had too many new ones.
    pub(crate) names_refused: Counter,
    /// 1 while addresses have places, else 0.
    pub(crate) geo_loaded: Gauge,
    pub(crate) geo_errors: Counter,
}

impl EnrichMetrics {
    fn render(&self, page: &mut Exposition) {
        page.counter(
            "carom_edge_clients_read_total", "Programs of visitors that were not remembered.",
        )
        .sample(&[], self.agents_read.get());
        page.counter("carom_edge_names_refused_total", "Names of clicks that became (other).")
            .sample(&[], self.names_refused.get());
        page.gauge("carom_edge_geo_loaded", "Whether a file of places is in use.")
            .sample(&[], self.geo_loaded.get());
        page.counter("carom_edge_geo_errors_total", "Files of places that could not be used.")
            .sample(&[], self.geo_errors.get());
    }
}

/// Counts of one edge.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) workers: Box<[WorkerMetrics]>,
    pub(crate) accept_errors: Counter,
    pub(crate) connections_refused: Refused,
    pub(crate) connections_ended: Ended,
    pub(crate) tls: TlsMetrics,
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
    pub(crate) sync_errors: Counter,
    /// 1 while the store does not take batches.
    pub(crate) store_away: Gauge,
    /// 1 while no batch can be written.
    pub(crate) drain_stalled: Gauge,
    pub(crate) enrich: EnrichMetrics,
}

/// What is looked up at the moment of asking.
pub(crate) struct Gauges {
    pub(crate) connections_limit: u64,
    /// Blocks of addresses in the table of misses.
    pub(crate) missing_blocks: u64,
    pub(crate) held: Held,
    /// Written and failed.
    pub(crate) snapshots: (u64, u64),
    pub(crate) now: UnixMillis,
    pub(crate) batches_waiting: usize,
    /// Of the outbox, and how many it may have.
    pub(crate) outbox_bytes: (u64, u64),
    pub(crate) pressure: Pressure,
    pub(crate) ring_segments_limit: usize,
}

impl Metrics {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            workers: (0..workers).map(|_| WorkerMetrics::default()).collect(),
            accept_errors: Counter::default(),
            connections_refused: Refused::default(),
            connections_ended: Ended::default(),
            tls: TlsMetrics::default(),
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
            sync_errors: Counter::default(),
            store_away: Gauge::default(),
            drain_stalled: Gauge::default(),
            enrich: EnrichMetrics::default(),
        }
    }

    pub(crate) fn sum(&self, counter: impl Fn(&WorkerMetrics) -> &Counter) -> u64 {
        self.workers.iter().map(|worker| counter(worker).get()).sum()
    }

    /// The page at `/metrics`.
    pub(crate) fn render(&self, gauges: &Gauges, losses: &Losses) -> String {
        let mut page = Exposition::new();
        self.render_requests(&mut page);
        self.render_limits(&mut page, gauges);
        self.render_clicks(&mut page);
        render_losses(&mut page, losses);
        self.enrich.render(&mut page);
        carom_shared::trace::SPANS.render(&mut page);
        page.gauge("carom_edge_threads_lost", "Threads that ended and are not coming back.")
            .sample(&[], self.threads_lost.get());
        page.gauge("carom_edge_ring_segments", "Segments of the click rings that are in use.")
            .sample(&[], self.ring_segments.get());
        page.gauge("carom_edge_ring_segments_limit", "Segments of the click rings in all.")
            .sample(&[], gauges.ring_segments_limit as u64);
        render_routes(&mut page, gauges);
        page.gauge("carom_edge_batches_waiting", "Batches of clicks that wait to be stored.")
            .sample(&[], gauges.batches_waiting as u64);
        page.gauge("carom_edge_outbox_bytes", "Bytes of batches of clicks that wait.")
            .sample(&[], gauges.outbox_bytes.0);
        page.gauge("carom_edge_outbox_bytes_limit", "Bytes of batches that may wait.")
            .sample(&[], gauges.outbox_bytes.1);
        page.gauge(
            "carom_edge_pressure_level", "0: clicks are stored as they come; 5: they are lost.",
        )
        .sample(&[], u64::from(gauges.pressure.level()));
        page.finish()
    }

    fn render_requests(&self, page: &mut Exposition) {
        let mut answers = page.counter("carom_edge_answers_total", "Requests answered, by status.");
        answers.sample(&[("status", "redirect")], self.sum(|worker| &worker.redirects));
        answers.sample(&[("status", "preview")], self.sum(|worker| &worker.previews));
        answers.sample(&[("status", "file")], self.sum(|worker| &worker.files));
        answers.sample(&[("status", "home")], self.sum(|worker| &worker.homes));
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

    /// What is kept from whoever takes too much.
    fn render_limits(&self, page: &mut Exposition, gauges: &Gauges) {
        let Refused { block, proxy, tls, overload } = &self.connections_refused;
        page.counter("carom_edge_connections_refused_total", "Connections closed at their begin.")
            .sample(&[("reason", "block")], block.get())
            .sample(&[("reason", "proxy")], proxy.get())
            .sample(&[("reason", "tls")], tls.get())
            .sample(&[("reason", "overload")], overload.get());
        let Ended { head, idle, age, unread, frames } = &self.connections_ended;
        page.counter(
            "carom_edge_connections_ended_total", "Connections that took too long or too much.",
        )
        .sample(&[("reason", "head")], head.get())
        .sample(&[("reason", "idle")], idle.get())
        .sample(&[("reason", "age")], age.get())
        .sample(&[("reason", "unread")], unread.get())
        .sample(&[("reason", "frames")], frames.get());
        page.gauge("carom_edge_connections_limit", "Connections that may be open.")
            .sample(&[], gauges.connections_limit);
        page.gauge("carom_edge_missing_blocks", "Address blocks that missed codes of late.")
            .sample(&[], gauges.missing_blocks);
        let lag_ms = self.workers.iter().map(|worker| worker.lag_ms.get()).max();
        page.gauge("carom_edge_lag_ms", "How late the latest thread is, in milliseconds.")
            .sample(&[], lag_ms.unwrap_or_default());
        page.counter("carom_edge_turns_total", "Turns of connections that asked for much at once.")
            .sample(&[], self.sum(|worker| &worker.turns));
        page.gauge("carom_edge_tls_certificates", "Certificates in use.")
            .sample(&[], self.tls.certificates.get());
        page.counter("carom_edge_tls_reloads_total", "Times that certificates were replaced.")
            .sample(&[], self.tls.reloads.get());
        page.counter(
            "carom_edge_tls_reload_errors_total",
            "Times that new certificates could not be used, and the old ones stayed.",
        )
        .sample(&[], self.tls.reload_errors.get());
    }

    fn render_clicks(&self, page: &mut Exposition) {
        page.counter("carom_edge_clicks_recorded_total", "Clicks recorded before their answer.")
            .sample(&[], self.sum(|worker| &worker.clicks_recorded));
        page.counter(
            "carom_edge_clicks_unsynced_total",
            "Clicks answered before they were on the disk, though they should have been.",
        )
        .sample(&[], self.sum(|worker| &worker.clicks_unsynced));
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
            ("carom_edge_sync_errors_total", "Failed syncs of recorded clicks.", &self.sync_errors),
        ] {
            page.counter(name, help).sample(&[], counter.get());
        }
    }
}

/// What is known of routes, and where.
fn render_routes(page: &mut Exposition, gauges: &Gauges) {
    let held = gauges.held;
    page.gauge("carom_edge_routes", "Routes that are known.").sample(&[], held.routes());
    page.gauge("carom_edge_route_bytes", "Bytes of routes that are not in the snapshot.")
        .sample(&[], held.overlay_bytes);
    let snapshot = held.snapshot;
    page.gauge("carom_edge_snapshot_routes", "Routes that are answered from the snapshot.")
        .sample(&[], snapshot.map_or(0, |snapshot| snapshot.routes));
    page.gauge(
        "carom_edge_routes_whole",
        "Whether every route is in memory, so that unknown codes are answered without a question.",
    )
    .sample(&[], u64::from(held.is_whole));
    page.gauge("carom_edge_snapshot_superseded", "Routes of the snapshot that changed since.")
        .sample(&[], snapshot.map_or(0, |snapshot| snapshot.superseded));
    page.gauge("carom_edge_snapshot_bytes", "Bytes of the snapshot's file and of its index.")
        .sample(&[("of", "file")], snapshot.map_or(0, |snapshot| snapshot.file_bytes))
        .sample(&[("of", "index")], snapshot.map_or(0, |snapshot| snapshot.index_bytes));
    let age_ms = snapshot.map_or(0, |of| gauges.now.get().saturating_sub(of.written_at.get()));
    page.gauge("carom_edge_snapshot_age_seconds", "Seconds since the snapshot was written.")
        .sample(&[], u64::try_from(age_ms / 1000).unwrap_or_default());
    page.counter("carom_edge_snapshots_written_total", "Snapshots written.")
        .sample(&[], gauges.snapshots.0);
    page.counter("carom_edge_snapshot_errors_total", "Snapshots not written, or not usable.")
        .sample(&[], gauges.snapshots.1);
}

/// Totals over all starts on the spool.
fn render_losses(page: &mut Exposition, losses: &Losses) {
    for (name, help, reason, loss) in [
        (
            "carom_edge_clicks_dropped_total",
            "Clicks answered and not recorded.",
            "table_full",
            Loss::Dropped,
        ),
        ("carom_edge_clicks_lost_total", "Clicks recorded and lost.", "power", Loss::Power),
        (
            "carom_edge_clicks_counted_total",
            "Clicks of which only the number was recorded.",
            "ring_full",
            Loss::Counted,
        ),
        (
            "carom_edge_clicks_compacted_total",
            "Clicks of which only the number was kept.",
            "outbox_full",
            Loss::Compacted,
        ),
    ] {
        page.counter(name, help).sample(&[("reason", reason)], losses.get(loss));
    }
    page.counter("carom_edge_records_torn_total", "Records whose writing a kill interrupted.")
        .sample(&[], losses.get(Loss::Torn));
    page.counter("carom_edge_records_damaged_total", "Records that could not be read.")
        .sample(&[], losses.get(Loss::Damaged));
}
