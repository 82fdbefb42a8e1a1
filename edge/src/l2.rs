//! [`L2`]: what Redis says of a code that this edge does not know, before control is asked.
//!
//! ```text
//! question      one MGET: lease, route                                    visitors of unknown codes
//! answer        lease valid, route found    the route                     control is not asked
//!               lease valid, no route       there is no such code         control is not asked
//!               anything else               control is asked; a route that was found is answered
//!                                           where control fails, and nothing is a 503
//! ```
//!
//! Why a valid lease makes absence an answer stands in [`carom_shared::redis`]. What this side owes
//! it:
//!
//! - **One command reads both.** Redis carries it out at one moment. With two commands, and be it in
//!   one pipeline, somebody could empty Redis between them: the lease would be read, the route not
//!   be there, and a known link be denied.
//! - **A lease counts only for the server it was given for.** Each connection asks for the server's
//!   `run_id` before anything else, and the lease must be equal to it. A connection never leads to
//!   another server than it did; one that breaks is not mended but replaced (`l2/link.rs`).
//! - **A question is of one epoch.** If another has begun when the answer comes, it is none.
//!
//! # What an absence costs here
//!
//! It is not kept: each visitor of a code that does not exist is a question to Redis. So an absence
//! is never older than its visitor, and nothing has to be said about how long it is believed. The
//! limits of misses by address block come before it.
//!
//! # Redis away
//!
//! Nobody waits for it: without a connection the outcome is there at once, and a question has
//! [`QUESTION_MAX`]. After [`FAILURES_MAX`] in a row the connection is let go, and a new one is in
//! use only once it answered within the same time. So who finds out whether Redis is back is a task
//! of this file, and no visitor.

mod client;
mod link;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::{Client, RedisError};
use tokio::sync::{Notify, watch};
use tracing::Instrument;
use tracing::field::Empty;

use carom_shared::exposition::Exposition;
use carom_shared::redis::{RedisKeys, RouteValue};
use carom_shared::settings::InvalidSetting;
use carom_shared::trace::TARGET;
use carom_shared::{Code, DomainId, FeedPage, FeedPosition, Random, RouteChange, RouteRecord};

use crate::metrics::Counter;
use crate::resolve::{Origin, OriginFuture};

use link::Link;

/// How long a question may take, at most.
const QUESTION_MAX: Duration = Duration::from_millis(50);
/// Of the time that a visitor waits for the origin, the part that a question may take.
const QUESTION_SHARE: u32 = 4;
/// Questions that failed in a row, after which a connection is let go.
const FAILURES_MAX: u32 = 3;

/// Asks Redis. Cheap to clone; used on the background runtime.
#[derive(Clone)]
pub struct L2(Arc<Inner>);

struct Inner {
    client: Client,
    question_max: Duration,
    random: Arc<dyn Random>,
    /// `None` until somebody knows the feed's epoch.
    epoch: watch::Sender<Option<Arc<Epoch>>>,
    /// `None` while Redis is away.
    link: ArcSwapOption<Link>,
    /// The link is gone.
    lost: Notify,
    counts: Counts,
}

/// The names in use.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Epoch {
    pub(crate) number: u64,
    pub(crate) keys: RedisKeys,
    lease: String,
}

/// What questions came to.
#[derive(Debug, Default)]
struct Counts {
    found: Counter,
    absent: Counter,
    no_lease: Counter,
    failed: Counter,
    timeout: Counter,
    away: Counter,
    connections: Counter,
}

/// What is known of a code.
#[derive(Debug)]
enum Said {
    /// It is so.
    Certain(Option<RouteRecord>),
    /// It may be otherwise by now.
    Uncertain(Option<RouteRecord>),
}

impl Said {
    fn outcome(&self) -> &'static str {
        match self {
            Self::Certain(Some(_)) => "found",
            Self::Certain(None) => "absent",
            Self::Uncertain(_) => "uncertain",
        }
    }
}

impl L2 {
    /// L2 in the Redis that `redis.url` names; with TLS the server's certificate has to be of an
    /// authority in the file at `ca_path`, or, if that is empty, of one that this machine trusts.
    /// A question may take `question_max`, see [`Self::question_max`]. Nothing is asked before
    /// [`Self::keep`] runs and [`Self::set_epoch`] was called.
    ///
    /// # Errors
    /// [`InvalidSetting`] for a URL that is not one of Redis, or a file that cannot be used; the URL is
    /// not in it.
    pub fn new(
        url: &str,
        ca_path: &Path,
        question_max: Duration,
        random: Arc<dyn Random>,
    ) -> Result<Self, InvalidSetting> {
        let client = client::open(url, ca_path)?;
        Ok(Self(Arc::new(Inner {
            client,
            question_max,
            random,
            epoch: watch::Sender::new(None),
            link: ArcSwapOption::empty(),
            lost: Notify::new(),
            counts: Counts::default(),
        })))
    }

    /// How long a question may take where a visitor waits so long for the origin: the rest is
    /// control's.
    #[must_use]
    pub fn question_max(resolve_max: Duration) -> Duration {
        QUESTION_MAX.min(resolve_max / QUESTION_SHARE)
    }

    /// From now on questions are of this epoch: whoever follows the feed knows it.
    pub fn set_epoch(&self, number: u64) {
        self.0.epoch.send_if_modified(|held| {
            if held.as_ref().is_some_and(|held| held.number == number) {
                return false;
            }
            let keys = RedisKeys::new(number);
            *held = Some(Arc::new(Epoch { number, lease: keys.lease(), keys }));
            true
        });
    }

    /// The epoch, and when there is another one.
    pub(crate) fn epoch(&self) -> watch::Receiver<Option<Arc<Epoch>>> {
        self.0.epoch.subscribe()
    }

    async fn ask(&self, domain: DomainId, code: &Code) -> Said {
        let counts = &self.0.counts;
        let epoch = self.0.epoch.borrow().clone();
        let (Some(epoch), Some(link)) = (epoch, self.0.link.load_full()) else {
            counts.away.add(1);
            return Said::Uncertain(None);
        };
        let (lease, value) = match link.read(&epoch.lease, &epoch.keys.route(domain, code)).await {
            Ok(read) => read,
            Err(error) => {
                if error.is_timeout() { &counts.timeout } else { &counts.failed }.add(1);
                self.failed(&link, &error);
                return Said::Uncertain(None);
            }
        };
        link.failures.store(0, Ordering::Relaxed);
        let is_same = self.0.epoch.borrow().as_ref().is_some_and(|now| now.number == epoch.number);
        let value = value.map(|bytes| RouteValue::from_bytes(&bytes)).transpose();
        let found = match value {
            Ok(found) if is_same => found.map(|RouteValue(record)| record),
            Ok(_) => {
                counts.failed.add(1);
                return Said::Uncertain(None);
            }
            Err(error) => {
                tracing::error!(%error, "Redis holds what is no route of this version");
                counts.failed.add(1);
                return Said::Uncertain(None);
            }
        };
        if lease.is_none_or(|lease| lease != link.run_id.as_bytes()) {
            counts.no_lease.add(1);
            return Said::Uncertain(found);
        }
        if found.is_some() { &counts.found } else { &counts.absent }.add(1);
        Said::Certain(found)
    }

    /// A question failed; after several, or where the connection is broken, it is let go.
    fn failed(&self, link: &Arc<Link>, error: &RedisError) {
        let failures = link.failures.fetch_add(1, Ordering::Relaxed) + 1;
        let is_broken = error.is_unrecoverable_error() && !error.is_timeout();
        if failures >= FAILURES_MAX || is_broken {
            self.let_go(link);
        }
    }

    /// What is counted, for an edge's metrics.
    fn render(&self, page: &mut Exposition) {
        let Counts { found, absent, no_lease, failed, timeout, away, connections } = &self.0.counts;
        page.counter("carom_edge_l2_reads_total", "What questions to Redis came to.")
            .sample(&[("outcome", "found")], found.get())
            .sample(&[("outcome", "absent")], absent.get())
            .sample(&[("outcome", "no_lease")], no_lease.get())
            .sample(&[("outcome", "failed")], failed.get())
            .sample(&[("outcome", "timeout")], timeout.get())
            .sample(&[("outcome", "away")], away.get());
        page.gauge("carom_edge_l2_connected", "Whether Redis can be asked.").sample(
            &[],
            u64::from(self.0.link.load().is_some() && self.0.epoch.borrow().is_some()),
        );
        page.counter("carom_edge_l2_connections_total", "Connections made to ask Redis.")
            .sample(&[], connections.get());
    }
}

/// L2 before control.
pub struct L2Origin {
    l2: L2,
    control: Arc<dyn Origin>,
}

impl L2Origin {
    #[must_use]
    pub fn new(l2: L2, control: Arc<dyn Origin>) -> Self {
        Self { l2, control }
    }
}

impl Origin for L2Origin {
    fn resolve(&self, domain: DomainId, code: &Code) -> OriginFuture {
        let (l2, control, code) = (self.l2.clone(), Arc::clone(&self.control), code.clone());
        Box::pin(async move {
            let span = tracing::info_span!(
                target: TARGET,
                "ask_redis",
                otel.kind = "client",
                carom.outcome = Empty,
            );
            let said = l2.ask(domain, &code).instrument(span.clone()).await;
            span.record("carom.outcome", said.outcome());
            drop(span);
            match said {
                Said::Certain(found) => Ok(found),
                // What is known may be old; that is better than nothing, and the feed mends it.
                Said::Uncertain(found) => match control.resolve(domain, &code).await {
                    Err(error) => found.map(Some).ok_or(error),
                    answer => answer,
                },
            }
        })
    }

    fn changes(&self, after: Option<FeedPosition>) -> OriginFuture<Option<FeedPage>> {
        self.control.changes(after)
    }

    fn routes(&self, after: Option<(DomainId, Code)>) -> OriginFuture<Vec<RouteChange>> {
        self.control.routes(after)
    }

    fn is_followed(&self) -> bool {
        self.control.is_followed()
    }

    fn render(&self, page: &mut Exposition) {
        self.l2.render(page);
    }
}

#[cfg(test)]
mod tests {
    use carom_shared::SystemRandom;

    use super::*;

    #[test]
    fn a_url_is_one_of_redis_and_a_password_is_not_repeated() {
        let new = |url| L2::new(url, Path::new(""), Duration::from_secs(2), Arc::new(SystemRandom));
        for url in ["redis://r", "redis://:secret@10.0.0.1:6380/3", "redis+unix:///run/r.sock?db=2"]
        {
            assert!(new(url).is_ok(), "{url}");
        }
        for url in [
            "", "r:6379", "http://:secret@r", "redis://:secret@r/x", "rediss://:secret@r/#insecure",
        ] {
            let Err(error) = new(url) else { panic!("{url}") };
            let error = error.to_string();
            assert!(
                error.starts_with("setting redis.url: ") && !error.contains("secret"),
                "{error}"
            );
        }
        for (url, problem) in
            [("rediss://:secret@r", "cannot be read"), ("redis://:secret@r", "of no use")]
        {
            let wait = Duration::from_secs(2);
            let new = L2::new(url, Path::new("/nowhere"), wait, Arc::new(SystemRandom));
            let Err(error) = new else { panic!("{url}") };
            assert_eq!(error.setting, "redis.ca_path");
            assert!(error.problem.contains(problem), "{error}");
        }
    }

    #[test]
    fn most_of_a_visitors_time_is_left_for_control() {
        for (resolve_ms, ms) in [(2000, 50), (200, 50), (100, 25), (1, 0)] {
            let max = L2::question_max(Duration::from_millis(resolve_ms));
            assert_eq!(max.as_millis(), ms);
        }
    }
}
