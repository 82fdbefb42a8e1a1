//! What the control plane counts, and how it is written for Prometheus. Every name is here.
//!
//! Labels are bounded: route templates, methods and status classes, never a code, a URL, an address.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use carom_shared::exposition::Exposition;

use crate::limit::Limit;
use crate::mail::MailMetrics;

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
    pub(crate) batches_refused: Counter,
    pub(crate) clicks_stored: Counter,
    pub(crate) clicks_audit_diff: Counter,
    pub(crate) click_store_up: Counter,
    pub(crate) feed_seq: Counter,
    pub(crate) links_unindexed: Counter,
    pub(crate) l2: L2Metrics,
    pub(crate) blocklist: BlocklistMetrics,
    pub(crate) limits: Arc<LimitMetrics>,
    pub(crate) mail: MailMetrics,
}

/// What limits refuse.
#[derive(Debug, Default)]
pub(crate) struct LimitMetrics {
    /// By [`Limit::ALL`].
    refused: [Counter; Limit::ALL.len()],
    pub(crate) keys: Counter,
    pub(crate) is_shared: Counter,
    pub(crate) shared_failures: Counter,
}

impl LimitMetrics {
    pub(crate) fn refused(&self, limit: Limit) -> &Counter {
        &self.refused[limit as usize]
    }

    fn write(&self, out: &mut Exposition) {
        let mut family =
            out.counter("carom_control_limited_total", "Requests that a limit refused.");
        for limit in Limit::ALL {
            family.sample(&[("limit", limit.name())], self.refused(limit).get());
        }
        out.counter(
            "carom_control_limits_shared_failures_total",
            "Times that Redis failed to count limits, or took longer than 25 ms.",
        )
        .sample(&[], self.shared_failures.get());
        out.gauge("carom_control_limits_shared", "1 while Redis counts limits.")
            .sample(&[], self.is_shared.get());
        out.gauge(
            "carom_control_limit_keys",
            "Keys, workspaces, accounts and address blocks that are counted in this process, at \
             most 393,216.",
        )
        .sample(&[], self.keys.get());
    }
}

/// What is known of blocklists.
#[derive(Debug, Default)]
pub(crate) struct BlocklistMetrics {
    pub(crate) entries: Counter,
    /// Files that are not taken as they are.
    pub(crate) failed: Counter,
    /// When the file that changed last did, in seconds since 1970; 0: there is none.
    pub(crate) changed_at: Counter,
    /// 1 while links follow the lists of another control plane, which has others.
    pub(crate) others_lead: Counter,
}

impl BlocklistMetrics {
    fn write(&self, out: &mut Exposition) {
        out.gauge("carom_control_blocklist_entries", "Hosts and addresses on blocklists.")
            .sample(&[], self.entries.get());
        out.gauge(
            "carom_control_blocklist_files_failed",
            "Blocklists that could not be taken as they are; what was read before stays.",
        )
        .sample(&[], self.failed.get());
        out.gauge(
            "carom_control_blocklist_changed_timestamp_seconds",
            "When the blocklist that changed last did, since 1970; 0 where there is none.",
        )
        .sample(&[], self.changed_at.get());
        out.gauge(
            "carom_control_blocklist_others_lead",
            "1 while links follow the blocklists of another control plane, which has other files.",
        )
        .sample(&[], self.others_lead.get());
    }
}

/// What becomes of routes on their way to Redis.
#[derive(Debug, Default)]
pub(crate) struct L2Metrics {
    pub(crate) enabled: Counter,
    pub(crate) writes: Counter,
    pub(crate) write_failures: Counter,
    pub(crate) keeper: Counter,
    pub(crate) lease_given: Counter,
    pub(crate) lag: Counter,
    pub(crate) fills: Counter,
    pub(crate) fill_routes: Counter,
    pub(crate) replayed: Counter,
    pub(crate) rounds_failed: Counter,
}

impl L2Metrics {
    /// Another process is.
    pub(crate) fn is_not_keeper(&self) {
        for gauge in [&self.keeper, &self.lease_given, &self.lag] {
            gauge.set(0);
        }
    }

    fn write(&self, out: &mut Exposition, answers_held: usize) {
        let mut counter = |name, help, counter: &Counter| {
            out.counter(name, help).sample(&[], counter.get());
        };
        counter(
            "carom_control_l2_changes_written_total",
            "Changes that Redis had before those who made them were answered.",
            &self.writes,
        );
        counter(
            "carom_control_l2_write_failures_total",
            "Commits whose changes Redis did not take: their answers waited 1.2 s.",
            &self.write_failures,
        );
        counter(
            "carom_control_l2_changes_replayed_total",
            "Changes that the keeper wrote to Redis again.", &self.replayed,
        );
        counter(
            "carom_control_l2_fills_total", "Times that all routes were written to Redis.",
            &self.fills,
        );
        counter(
            "carom_control_l2_rounds_failed_total",
            "Rounds of the keeper that ended with an error.", &self.rounds_failed,
        );
        for (name, help, gauge) in [
            ("carom_control_l2_enabled", "1 if there is a redis.url.", &self.enabled),
            ("carom_control_l2_keeper", "1 if this process is the keeper.", &self.keeper),
            (
                "carom_control_l2_lease_given",
                "1 if this process gives the lease: edges then need not ask for codes that do not \
                 exist.",
                &self.lease_given,
            ),
            ("carom_control_l2_lag", "Changes that the keeper has yet to write.", &self.lag),
            (
                "carom_control_l2_fill_routes",
                "Routes that the last or present filling of Redis has written.",
                &self.fill_routes,
            ),
        ] {
            out.gauge(name, help).sample(&[], gauge.get());
        }
        out.gauge("carom_control_l2_answers_held", "Answers that wait for Redis, at most 4,096.")
            .sample(&[], answers_held as u64);
    }
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
    pub(crate) answers_held: usize,
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
            "carom_control_click_batches_refused_total",
            "Batches that ClickHouse refused for what is in them; edges set them aside.",
            &self.batches_refused,
        );
        counter(
            "carom_control_clicks_stored_total", "Clicks of all kinds that were stored.",
            &self.clicks_stored,
        );
        out.gauge(
            "carom_control_clicks_audit_diff",
            "Clicks by which ClickHouse's sums differed from its rows when they were last compared; \
             they were repaired.",
        )
        .sample(&[], self.clicks_audit_diff.get());
        out.gauge(
            "carom_control_click_store_up",
            "1 if the store of clicks answered when it was last asked; ClickHouse is, every 5 s.",
        )
        .sample(&[], self.click_store_up.get());
        out.gauge("carom_control_feed_seq", "Number of the newest change.")
            .sample(&[], self.feed_seq.get());
        out.gauge(
            "carom_control_links_unindexed",
            "Links that the index of texts does not know yet; each slows searches down.",
        )
        .sample(&[], self.links_unindexed.get());
        out.gauge("carom_control_writes_waiting", "Commands that wait to be written.")
            .sample(&[], gauges.writes_waiting as u64);
        self.l2.write(&mut out, gauges.answers_held);
        self.blocklist.write(&mut out);
        self.limits.write(&mut out);
        self.mail.write(&mut out);
        out.gauge("carom_control_live_streams", "Open streams of the live feed, at most 100.")
            .sample(&[], gauges.live_streams as u64);
        out.gauge("carom_control_draining", "1 while the process is shutting down.")
            .sample(&[], u64::from(gauges.is_draining));
        carom_shared::trace::SPANS.render(&mut out);
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
