//! What the control plane counts, and how it is written for Prometheus. Every name is here.
//!
//! Labels are bounded: route templates, methods and status classes, never a code, a URL, an address.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use carom_shared::exposition::Exposition;

/// Upper bounds of the duration buckets, in seconds.
const BUCKETS_S: [f64; 8] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5];
/// Series of one surface, at most. Labels are bounded by the router; should a defect break that,
/// further series are counted under `other`.
const SERIES_MAX: usize = 512;

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is counted.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<Series, Requests>>,
    pub(crate) commits: Counter,
    pub(crate) commits_failed: Counter,
    pub(crate) links_created: Counter,
    pub(crate) key_lookups: Counter,
    pub(crate) batches_stored: Counter,
    pub(crate) batches_duplicate: Counter,
    pub(crate) batches_too_old: Counter,
    pub(crate) clicks_stored: Counter,
    pub(crate) feed_seq: Counter,
    pub(crate) links_unindexed: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    surface: &'static str,
    method: &'static str,
    route: String,
}

#[derive(Clone, Copy, Debug, Default)]
struct Requests {
    /// By class: 1xx to 5xx.
    by_class: [u64; 5],
    buckets: [u64; BUCKETS_S.len()],
    seconds: f64,
}

/// What is measured at the moment of asking.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gauges {
    pub(crate) writes_waiting: usize,
    pub(crate) live_streams: usize,
    pub(crate) is_draining: bool,
}

impl Metrics {
    /// Counts an answered request. `route` is the router's template.
    pub(crate) fn count_request(
        &self,
        surface: &'static str,
        method: &http::Method,
        route: Option<&str>,
        status: u16,
        took: Duration,
    ) {
        let class = usize::from(status / 100).saturating_sub(1).min(4);
        let series =
            Series { surface, method: known(method), route: route.unwrap_or("none").to_owned() };
        // Held for the time of a lookup in a map of a few dozen.
        let Ok(mut map) = self.requests.lock() else { return };
        let series = if map.len() < SERIES_MAX || map.contains_key(&series) {
            series
        } else {
            Series { surface, method: "other", route: "other".to_owned() }
        };
        let requests = map.entry(series).or_default();
        requests.by_class[class] += 1;
        requests.seconds += took.as_secs_f64();
        let bucket = BUCKETS_S.iter().position(|&bound| took.as_secs_f64() <= bound);
        if let Some(bucket) = bucket {
            requests.buckets[bucket] += 1;
        }
    }

    pub(crate) fn write(&self, gauges: Gauges) -> String {
        let mut out = Exposition::new();
        out.gauge("carom_control_build_info", "Version of the program.")
            .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1_u64);
        self.write_requests(&mut out);
        let mut counter = |name, help, counter: &Counter| {
            out.counter(name, help).sample(&[], counter.get());
        };
        counter("carom_control_commits_total", "Commits of the control database.", &self.commits);
        counter(
            "carom_control_commits_failed_total", "Commits that failed and did nothing.",
            &self.commits_failed,
        );
        counter("carom_control_links_created_total", "Links that were made.", &self.links_created);
        counter(
            "carom_control_key_lookups_total", "Well-formed API keys that were looked up.",
            &self.key_lookups,
        );
        counter(
            "carom_control_click_batches_stored_total", "Batches of clicks that were stored.",
            &self.batches_stored,
        );
        counter(
            "carom_control_click_batches_duplicate_total",
            "Batches that were stored already and changed nothing.", &self.batches_duplicate,
        );
        counter(
            "carom_control_click_batches_too_old_total",
            "Batches older than the ledger, which were refused.", &self.batches_too_old,
        );
        counter(
            "carom_control_clicks_stored_total", "Clicks of all kinds that were stored.",
            &self.clicks_stored,
        );
        out.gauge("carom_control_feed_seq", "Number of the newest change.")
            .sample(&[], self.feed_seq.get());
        out.gauge(
            "carom_control_links_unindexed",
            "Links that the index of texts does not know yet; each slows searches down.",
        )
        .sample(&[], self.links_unindexed.get());
        out.gauge("carom_control_writes_waiting", "Commands that wait to be written.")
            .sample(&[], gauges.writes_waiting as u64);
        out.gauge("carom_control_live_streams", "Open streams of the live feed, at most 100.")
            .sample(&[], gauges.live_streams as u64);
        out.gauge("carom_control_draining", "1 while the process is shutting down.")
            .sample(&[], u64::from(gauges.is_draining));
        out.finish()
    }

    fn write_requests(&self, out: &mut Exposition) {
        let requests = self.requests.lock().map(|map| map.clone()).unwrap_or_default();
        let mut family =
            out.counter("carom_control_requests_total", "Requests that were answered.");
        for (Series { surface, method, route }, requests) in &requests {
            for (class, count) in ["1xx", "2xx", "3xx", "4xx", "5xx"].iter().zip(requests.by_class)
            {
                if count > 0 {
                    let labels = [
                        ("surface", *surface),
                        ("method", *method),
                        ("route", route.as_str()),
                        ("status", *class),
                    ];
                    family.sample(&labels, count);
                }
            }
        }
        let mut family = out.histogram(
            "carom_control_request_duration_seconds", "From the request's head to its answer.",
        );
        for (Series { surface, method, route }, requests) in &requests {
            let mut sum = 0;
            let buckets = requests.buckets.map(|count| {
                sum += count;
                sum
            });
            let cumulative: Vec<(f64, u64)> = BUCKETS_S.into_iter().zip(buckets).collect();
            let labels = [("surface", *surface), ("method", *method), ("route", route.as_str())];
            let count = requests.by_class.iter().sum();
            family.series(&labels, &cumulative, requests.seconds, count);
        }
    }
}

/// Methods are whatever a client writes: those that no route has share a label.
fn known(method: &http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}
