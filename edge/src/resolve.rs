//! [`Ask`](crate::request::Ask) → [`Route`]: memory first, then, once for all who wait, the origin.
//!
//! ```text
//! known route     memory: snapshot, overlay                   no wait, no I/O
//! known absence   memory that is whole, or negative cache     no wait, no I/O
//! anything else   one flight per key: origin -> memory        waits, with a deadline
//! ```
//!
//! What is known survives the process: `keeper.rs` writes it to a file (`snapshot.rs`), which the
//! next start maps and brings up to date before anybody is answered.
//!
//! Rules that keep an edge right while it is told of changes and asks at the same time:
//!
//! - A route replaces another only if its version is greater. Routes have no time to live: what is
//!   known stays known until something newer is known, or memory runs out.
//! - An absence is believed for [`ResolveConfig::negative_ms`], in a cache of its own that random
//!   codes may fill without pushing out a single route.
//! - An absence is believed only by those who came before the origin was asked. Who comes while the
//!   question is under way may have heard that the link was made meanwhile, and has it asked again.
//! - A change lands between an asking and its answer: the answer is older and must not be kept.
//!   Both go through the key's flight, under one lock, so one of them is first.

mod feed;
mod flight;
mod keeper;
mod memory;
mod route;
mod snapshot;
mod whole;

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use carom_shared::exposition::Exposition;
use carom_shared::trace::{LOOK_UP, TARGET};
use carom_shared::{Code, DomainId, FeedPage, FeedPosition, RouteRecord};

pub use carom_shared::RouteChange;

pub(crate) use feed::FeedState;
use feed::LookUps;
use flight::{Boarding, Flights};
pub(crate) use keeper::KeeperThread;
pub use keeper::{Keeper, RewriteError, SnapshotCounts, SnapshotPlan};
use memory::Memory;
pub use memory::{Held, Key, SnapshotHeld};
pub use route::{Route, RouteError};
pub use snapshot::SnapshotError;

/// Where an edge asks for a route that it does not know: the control plane.
pub trait Origin: Send + Sync + 'static {
    /// The route of a code, or `None` if there never was one.
    fn resolve(&self, domain: DomainId, code: &Code) -> OriginFuture;

    /// The first of the changes after a position, without a gap, or none if there are none yet;
    /// `None` if some of them are not kept any more, or the position is of another numbering. Without
    /// a position: no changes, but how far the feed goes now.
    ///
    /// Unless an origin has a feed, nothing that one life of an edge knew is of use to the next.
    fn changes(&self, _after: Option<FeedPosition>) -> OriginFuture<Option<FeedPage>> {
        Box::pin(async { Ok(None) })
    }

    /// Whether somebody follows this origin's changes for as long as the edge runs
    /// ([`Follower`](crate::follow::Follower)). What a start could not bring up to date is then kept,
    /// and made good as soon as the origin answers.
    fn is_followed(&self) -> bool {
        false
    }

    /// Whether each change is in [`Resolver::apply`] before anybody hears of it, but for what
    /// [`Resolver::missed`] tells of. An edge that holds every route then knows what does not exist.
    fn announces_changes(&self) -> bool {
        false
    }

    /// The first of all routes after this one, in an order of the origin's own; none at the end. It is
    /// asked for them page by page when an edge begins without a snapshot, in the background.
    fn routes(&self, _after: Option<(DomainId, Code)>) -> OriginFuture<Vec<RouteChange>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// What it counts, for the edge's metrics.
    fn render(&self, _page: &mut Exposition) {}
}

pub type OriginFuture<T = Option<RouteRecord>> =
    Pin<Box<dyn Future<Output = Result<T, OriginError>> + Send>>;

/// The origin cannot answer; the text is for the log.
#[derive(Clone, Debug, thiserror::Error)]
#[error("origin: {0}")]
pub struct OriginError(pub String);

/// Limits of the resolver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResolveConfig {
    /// Memory for routes that are not in the snapshot, in bytes.
    pub max_cache_bytes: u64,
    /// The file of what is known, in bytes, at most; 0: none is kept.
    pub snapshot_max_bytes: u64,
    /// Known absences, at most.
    pub max_negative_entries: u64,
    /// How long an absence is believed, in milliseconds; 0: not at all.
    pub negative_ms: u64,
    /// Questions to the origin under way at once, at most; more are answered 503.
    pub max_in_flight: usize,
    /// How long a visitor waits for the origin, in milliseconds, before the answer is 503.
    pub timeout_ms: u64,
}

impl Default for ResolveConfig {
    fn default() -> Self {
        Self {
            max_cache_bytes: 512 << 20,
            snapshot_max_bytes: 1 << 30,
            max_negative_entries: 100_000,
            negative_ms: 1000,
            max_in_flight: 256,
            timeout_ms: 2000,
        }
    }
}

/// After missed changes could not be had, until they are asked for again.
const MISSED_AGAIN: Duration = Duration::from_secs(1);

/// How often the origin is asked in one flight: again only if the route changed meanwhile.
const ASKS_MAX: usize = 3;

/// What the origin's answer came to.
type Outcome = Result<Option<Route>, Unavailable>;

/// How a flight ended.
#[derive(Clone, Debug)]
struct Landed {
    outcome: Outcome,
    /// When the origin was asked.
    asked_at: Instant,
}

/// Flights that a visitor may need: the second begins after it came.
const FLIGHTS_MAX: usize = 2;

/// The route is not known here and could not be looked up now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable;

/// Finds routes; shared by all threads of an edge.
#[derive(Clone)]
pub struct Resolver(Arc<Inner>);

struct Inner {
    memory: Memory,
    flights: Flights<Landed>,
    origin: Arc<dyn Origin>,
    permits: Semaphore,
    timeout: Duration,
    /// Flights outlive the visitor that began them, so they run elsewhere than on its thread.
    background: Handle,
    tasks: TaskTracker,
    feed: FeedState,
    look_ups: LookUps,
}

/// What memory alone says.
#[derive(Clone, Debug)]
pub enum Known {
    Route(Route),
    Absent,
    Unknown,
}

impl Resolver {
    #[must_use]
    pub fn new(config: &ResolveConfig, origin: Arc<dyn Origin>, background: Handle) -> Self {
        Self(Arc::new(Inner {
            memory: Memory::new(config, origin.announces_changes()),
            flights: Flights::default(),
            origin,
            permits: Semaphore::new(config.max_in_flight),
            timeout: Duration::from_millis(config.timeout_ms),
            background,
            tasks: TaskTracker::new(),
            feed: FeedState::default(),
            look_ups: LookUps::default(),
        }))
    }

    /// What this edge knows of a key, without asking anyone. The whole of most redirects.
    #[must_use]
    pub fn known(&self, key: &Key) -> Known {
        self.0.memory.find(key)
    }

    /// The route of a code that memory does not know; asks the origin once for all who wait.
    ///
    /// # Errors
    /// [`Unavailable`] if the origin does not answer in time, or too many questions are under way.
    pub async fn look_up(&self, key: &Key, domain: DomainId, code: Code) -> Outcome {
        let came_at = Instant::now();
        for _ in 0..FLIGHTS_MAX {
            match self.board(key, domain, code.clone()).await {
                Some(Landed { outcome: Ok(None), asked_at }) if asked_at < came_at => {}
                landed => return landed.map_or(Err(Unavailable), |landed| landed.outcome),
            }
        }
        Err(Unavailable)
    }

    /// How the key's next flight ends.
    async fn board(&self, key: &Key, domain: DomainId, code: Code) -> Option<Landed> {
        let mut arrival = match self.0.flights.board(key) {
            Boarding::Passenger(arrival) => arrival,
            Boarding::Pilot(arrival) => {
                let resolver = self.clone();
                let key = key.clone();
                let span = tracing::info_span!(
                    target: TARGET,
                    parent: None,
                    LOOK_UP,
                    carom.outcome = Empty,
                    error = Empty,
                );
                let flight = async move { resolver.fly(key, domain, code).await };
                self.0.tasks.spawn_on(flight.instrument(span), &self.0.background);
                arrival
            }
        };
        arrival.wait_for(Option::is_some).await.ok().and_then(|landed| landed.clone())
    }

    /// Asks the origin, keeps the answer unless a change came in between, and lands the flight.
    async fn fly(&self, key: Key, domain: DomainId, code: Code) {
        // However this ends, those who wait are told.
        let crashed = Landed { outcome: Err(Unavailable), asked_at: Instant::now() };
        let mut flight = self.0.flights.land_on_drop(&key, crashed);
        for _ in 0..ASKS_MAX {
            let asked_at = Instant::now();
            let answer = self.ask(domain, &code).await;
            note(&answer);
            let settle = |superseded| {
                let outcome = self.settle(&key, answer, superseded)?;
                Some(Landed { outcome, asked_at })
            };
            if flight.land(settle) {
                return;
            }
        }
    }

    /// What those who wait are told, and what is kept; `None` if the origin must be asked again.
    fn settle(
        &self,
        key: &Key,
        answer: Result<Option<Bytes>, Unavailable>,
        superseded: bool,
    ) -> Option<Outcome> {
        // The change may say more than the answer; if memory did not keep it, nobody knows.
        if superseded {
            return match self.0.memory.find(key) {
                Known::Route(route) => Some(Ok(Some(route))),
                Known::Absent | Known::Unknown => None,
            };
        }
        Some(match answer {
            Ok(Some(record)) => {
                let kept = self.0.memory.keep(key, record)?;
                Route::decode(kept).map(Some).map_err(|_| Unavailable)
            }
            Ok(None) => {
                self.0.memory.keep_absence(key);
                Ok(None)
            }
            Err(unavailable) => Err(unavailable),
        })
    }

    /// The compact record of a route, which can be answered.
    async fn ask(&self, domain: DomainId, code: &Code) -> Result<Option<Bytes>, Unavailable> {
        let look_ups = &self.0.look_ups;
        let Ok(_permit) = self.0.permits.try_acquire() else {
            look_ups.too_many.add(1);
            return Err(Unavailable);
        };
        let answer = match timeout(self.0.timeout, self.0.origin.resolve(domain, code)).await {
            Ok(Ok(answer)) => {
                if answer.is_some() { &look_ups.found } else { &look_ups.absent }.add(1);
                answer
            }
            Ok(Err(error)) => {
                look_ups.failed.add(1);
                // Whoever may be away for hours says so itself, and not for each visitor.
                if self.0.origin.is_followed() {
                    tracing::debug!(%error, "a route could not be looked up");
                } else {
                    tracing::warn!(%error, "a route could not be looked up");
                }
                return Err(Unavailable);
            }
            Err(_) => {
                look_ups.failed.add(1);
                tracing::warn!(timeout_ms = self.0.timeout.as_millis(), "the origin is too slow");
                return Err(Unavailable);
            }
        };
        answer.map(|record| checked(&record)).transpose().map_err(|error| {
            tracing::error!(%error, "the origin sent a route that cannot be answered");
            Unavailable
        })
    }

    /// Takes a change into memory. When this returns, no answer of this edge is older than it.
    pub fn apply(&self, change: RouteChange) {
        let RouteChange { domain, code, record } = change;
        let key = Key::new(domain, code.as_str());
        match checked(&record) {
            Ok(record) => self.0.flights.supersede(&key, || {
                self.0.memory.forget_absence(&key);
                self.0.memory.keep(&key, record);
            }),
            Err(error) => {
                self.0.memory.whole.overflow();
                tracing::error!(%error, "a change holds a route that cannot be answered");
            }
        }
    }

    /// The changes with these numbers are applied, so that a snapshot may say so. If some before
    /// them are not, they are asked for.
    pub fn advance(&self, epoch: u64, first: u64, last: u64) {
        if !self.0.memory.advance(epoch, first, last) {
            self.missed();
        }
    }

    /// Changes may have been made that were not applied: asks for all since the position, in the
    /// background. Until they are applied, what is not known here is asked for too.
    pub fn missed(&self) {
        if !self.0.memory.whole.doubt() {
            return;
        }
        let resolver = self.clone();
        self.0.tasks.spawn_on(
            async move {
                loop {
                    let whole = &resolver.0.memory.whole;
                    let doubts = whole.doubts();
                    match resolver.catch_up().await {
                        Ok(true) => {}
                        Ok(false) => {
                            tracing::warn!("changes were missed that are not kept any more");
                            whole.set_holds_all(false);
                        }
                        Err(error) => {
                            tracing::warn!(%error, "missed changes could not be asked for");
                            sleep(MISSED_AGAIN).await;
                            continue;
                        }
                    }
                    if whole.settle(doubts) {
                        return;
                    }
                }
            },
            &self.0.background,
        );
    }

    /// What is held in memory.
    #[must_use]
    pub fn held(&self) -> Held {
        self.0.memory.held()
    }
}

/// Says in the look-up's span what it came to.
fn note(answer: &Result<Option<Bytes>, Unavailable>) {
    let outcome = match answer {
        Ok(Some(_)) => "found",
        Ok(None) => "absent",
        Err(Unavailable) => "unavailable",
    };
    let span = Span::current();
    span.record("carom.outcome", outcome);
    span.record("error", answer.is_err());
}

/// The compact bytes of a record that can be answered.
fn checked(record: &RouteRecord) -> Result<Bytes, RouteError> {
    let compact = record.to_compact();
    Route::decode(Bytes::copy_from_slice(&compact))?;
    // Without the room that was not needed.
    Ok(Bytes::from(compact.into_boxed_slice()))
}

#[cfg(test)]
mod tests;
