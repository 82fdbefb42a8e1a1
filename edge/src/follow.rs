//! [`Follower`]: keeps an edge that is a program of its own up to date with its control plane.
//!
//! ```text
//! changes   each page is applied, then the position after it is noted     changes.rs
//!           out of a stream in Redis, or asked for all the time
//! bundle    each second: domains and salts; the last one is kept in a file
//! missing   each minute: codes that visitors asked for and do not exist
//! ```
//!
//! # What is known stays known
//!
//! Nothing here forgets a route because somebody does not answer. When changes were missed that
//! cannot be had any more (410), the feed is followed from its head on at once, and beside that
//! everything that was known before is asked for again, what visitors asked for first; until that is
//! done the snapshot's position stays where it was, so that a start in between begins it anew. Only
//! what is of *another database* (another epoch: a backup was restored) is forgotten: versions of two
//! histories cannot be compared. That happens while a control plane answers.
//!
//! # Create, then follow, never gives a 404
//!
//! Control acknowledges a create when its change is in the feed; this edge hears of it a moment later.
//! So such an edge keeps no absences (`edge.resolve.negative_ms` is 0 for it): an unknown code is
//! always asked for, after its visitor came ([`Resolver`]), and the answer is the
//! database's, or that of Redis as long as it is as good ([`L2`]). What shields control from random
//! codes is Redis, and where there is none the limits of misses and of questions under way. The
//! price is a question for each visitor of a code that does not exist.
//!
//! # How old it may be
//!
//! The feed's age is the time since all changes were known, those included that were missed and are made
//! good by asking again; it survives a restart in the snapshot's time. Beyond `edge.stale_max_s`, `edge.on_stale` decides whether known links are still answered.

mod changes;
mod file;
mod progress;
mod recheck;
mod stream;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use carom_shared::internal::{MISSING_MAX, MissingCount, MissingCounts};
use carom_shared::{Bundle, Clock, Code, Random};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::config::{EdgeConfig, OnStale};
use crate::control::{CallError, ControlClient};
use crate::domains::Domains;
use crate::l2::L2;
use crate::missing::MissingCodes;
use crate::resolve::Resolver;
use crate::{Edge, EdgeFeed};

use changes::Changes;

/// A domain that was verified is served within two seconds. A bundle is a few hundred bytes for each.
const BUNDLE_EVERY: Duration = Duration::from_secs(1);
const MISSING_EVERY: Duration = Duration::from_secs(60);
/// While the feed is older than this, missing codes stay where they are counted.
const MISSING_AGE_MAX_MS: i64 = 10_000;
const STALE_LOOK: Duration = Duration::from_secs(1);

/// What an edge starts with.
#[derive(Clone, Debug)]
pub struct FirstBundle {
    pub bundle: Bundle,
    /// It is of an earlier life: the control plane did not answer.
    pub is_kept: bool,
}

/// Why there is no bundle to start with.
#[derive(Debug, thiserror::Error)]
#[error("{asked}; and {} holds none: {kept}", .path.display())]
pub struct NoBundle {
    asked: CallError,
    path: PathBuf,
    kept: String,
}

/// Asks for the bundle, or takes the last one that was kept at this path.
///
/// # Errors
/// [`NoBundle`] if neither is to be had.
pub async fn first_bundle(client: &ControlClient, path: &Path) -> Result<FirstBundle, NoBundle> {
    let asked = match client.bundle().await {
        Ok(bundle) => return Ok(FirstBundle { bundle, is_kept: false }),
        Err(error) => error,
    };
    let kept = match file::read(path) {
        Ok(Some(bundle)) => return Ok(FirstBundle { bundle, is_kept: true }),
        Ok(None) => "there is no such file".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(NoBundle { asked, path: path.to_owned(), kept })
}

/// Follows the control planes for one edge.
pub struct Follower {
    client: ControlClient,
    l2: Option<L2>,
    feed: EdgeFeed,
    missing: Arc<MissingCodes>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    bundle_path: PathBuf,
    first: FirstBundle,
    stale_max_ms: i64,
    on_stale: OnStale,
}

impl Follower {
    /// A follower for an edge that was started with this bundle.
    #[must_use]
    pub fn new(
        edge: &Edge,
        client: ControlClient,
        config: &EdgeConfig,
        first: FirstBundle,
        bundle_path: PathBuf,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Self {
        Self {
            client,
            l2: None,
            feed: edge.feed(),
            missing: edge.missing_codes(),
            clock,
            random,
            bundle_path,
            first,
            stale_max_ms: i64::try_from(config.stale_max_s.saturating_mul(1000))
                .unwrap_or(i64::MAX),
            on_stale: config.on_stale,
        }
    }

    /// Where there is L2: follows the stream of changes in Redis, too, and tells it of which epoch it
    /// is.
    #[must_use]
    pub fn with_l2(self, l2: Option<L2>) -> Self {
        Self { l2, ..self }
    }

    fn resolver(&self) -> &Resolver {
        &self.feed.0.resolver
    }

    /// Follows until `stop`; then brings the missing codes that are left.
    pub async fn run(self, stop: CancellationToken) {
        self.begin();
        tokio::select! {
            () = stop.cancelled() => {}
            () = Changes::new(&self).follow() => {}
            () = self.keep_bundle() => {}
            () = self.keep_missing() => {}
            () = self.watch_age() => {}
        }
        self.report_missing().await;
    }

    /// What is known is as old as the snapshot, unless a start could bring it up to date, until the
    /// control plane answers.
    fn begin(&self) {
        let now = self.clock.now();
        let held = self.resolver().held();
        let fresh_at = held.snapshot.map_or(now, |snapshot| snapshot.written_at.min(now));
        self.resolver().feed().begin(fresh_at, now);
    }

    /// Half of a time at least, and a random part of the rest: edges should not come back at once.
    fn jittered(&self, time: Duration) -> Duration {
        let mut byte = [0];
        self.random.fill(&mut byte);
        time / 2 + time / 512 * u32::from(byte[0])
    }

    /// Never ends.
    async fn keep_bundle(&self) {
        let mut known = self.first.bundle.clone();
        let mut is_kept = self.first.is_kept;
        loop {
            let mut bundle = match self.client.bundle().await {
                Ok(bundle) => {
                    self.resolver().feed().bundle(self.clock.now());
                    bundle
                }
                Err(error) => {
                    tracing::warn!(%error, "domains and salts are not heard of");
                    known.clone()
                }
            };
            // Also while nobody answers: a day's salt is not kept beyond the next day.
            bundle.salts = bundle.salts.recent(self.clock.now());
            if bundle != known {
                let domains = Domains::serving(&bundle.domains);
                let report_url = bundle.report_url.as_deref();
                self.feed.set_domains(domains.with_report_url(report_url));
                self.feed.set_salts(bundle.salts.clone());
                self.feed.set_disabled_workspaces(&bundle.disabled_workspaces);
                (known, is_kept) = (bundle, false);
            }
            if !is_kept {
                is_kept = self.write(&known).await;
            }
            sleep(self.jittered(BUNDLE_EVERY * 4 / 3)).await;
        }
    }

    /// Whether a bundle is kept for the next start.
    async fn write(&self, bundle: &Bundle) -> bool {
        let (path, bundle) = (self.bundle_path.clone(), bundle.clone());
        let written = tokio::task::spawn_blocking(move || file::write(&path, &bundle)).await;
        let written = written.map_err(std::io::Error::other).flatten();
        if let Err(error) = &written {
            let path = self.bundle_path.display();
            tracing::error!(%path, %error, "domains and salts are not kept for the next start");
        }
        written.is_ok()
    }

    /// Never ends.
    async fn keep_missing(&self) {
        loop {
            sleep(MISSING_EVERY).await;
            self.report_missing().await;
        }
    }

    /// Brings what was counted. What is taken and cannot be brought is not counted: it may have
    /// arrived, and twice would be worse.
    async fn report_missing(&self) {
        if self.resolver().feed().age_ms(self.clock.now()) > MISSING_AGE_MAX_MS {
            return;
        }
        // The edge counts nothing that cannot be a link's code.
        let counts = self.missing.take().into_iter().filter_map(|of| {
            let code = Code::parse(&of.code).ok()?;
            Some(MissingCount { domain: of.domain, code, requests: of.at_least })
        });
        let counts: Vec<_> = counts.collect();
        for missing in counts.chunks(MISSING_MAX) {
            let report = MissingCounts { missing: missing.to_vec() };
            if let Err(error) = self.client.report_missing(&report).await {
                tracing::warn!(%error, "codes that do not exist are not reported");
                return;
            }
        }
    }

    /// Never ends.
    async fn watch_age(&self) {
        loop {
            let state = self.resolver().feed();
            let is_stale = state.age_ms(self.clock.now()) > self.stale_max_ms;
            let refuses = is_stale && self.on_stale == OnStale::Refuse;
            if refuses != state.refuses() {
                state.set_refuses(refuses);
                tracing::warn!(refuses, "known links are too old, or no longer (edge.on_stale)");
            }
            sleep(STALE_LOOK).await;
        }
    }
}
