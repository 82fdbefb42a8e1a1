//! [`Ask`](crate::request::Ask) → [`Route`]: memory first, then, once for all who wait, the origin.
//!
//! ```text
//! known route     memory                                      no wait, no I/O
//! known absence   negative cache                              no wait, no I/O
//! anything else   one flight per key: origin -> memory        waits, with a deadline
//! ```
//!
//! Rules that keep an edge right while it is told of changes and asks at the same time:
//!
//! - A route replaces another only if its version is greater. Routes have no time to live: what is
//!   known stays known until something newer is known, or memory runs out.
//! - An absence is believed for [`ResolveConfig::negative_ms`], in a cache of its own that random
//!   codes may fill without pushing out a single route.
//! - A change lands between an asking and its answer: the answer is older and must not be kept.
//!   Both go through the key's flight, under one lock, so one of them is first.

mod flight;
mod memory;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use carom_shared::{
    Code, DomainId, Forward, LinkId, QueryPolicy, RedirectStatus, RouteRecord, RouteState,
    UnixMillis, WorkspaceId,
};

use flight::{Boarding, Flights};
pub use memory::Key;
use memory::Memory;

/// Where an edge asks for a route that it does not know: the control plane.
pub trait Origin: Send + Sync + 'static {
    /// The route of a code, or `None` if there never was one.
    fn resolve(&self, domain: DomainId, code: &Code) -> OriginFuture;
}

pub type OriginFuture =
    Pin<Box<dyn Future<Output = Result<Option<RouteRecord>, OriginError>> + Send>>;

/// The origin cannot answer; the text is for the log.
#[derive(Clone, Debug, thiserror::Error)]
#[error("origin: {0}")]
pub struct OriginError(pub String);

/// A change of one route, as the feed brings it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteChange {
    pub domain: DomainId,
    pub code: Code,
    pub record: RouteRecord,
}

/// A route, ready to be answered: its targets are header values already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub version: u64,
    pub link: LinkId,
    pub workspace: WorkspaceId,
    pub expires_at: Option<UnixMillis>,
    pub location: HeaderValue,
    pub target_revision: u32,
    pub status: RedirectStatus,
    pub max_age_s: u16,
    pub state: RouteState,
    /// Apart, because nearly no route has any: in place it would cost each of them 72 bytes more.
    extras: Option<Box<Extras>>,
}

/// What few routes have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Extras {
    not_before: Option<UnixMillis>,
    fallback: Option<HeaderValue>,
    query: QueryPolicy,
}

impl Route {
    #[must_use]
    pub fn not_before(&self) -> Option<UnixMillis> {
        self.extras.as_ref()?.not_before
    }

    /// Where the link leads to once it has ended.
    #[must_use]
    pub fn fallback(&self) -> Option<&HeaderValue> {
        self.extras.as_ref()?.fallback.as_ref()
    }

    /// `None`: nothing of a query is passed on.
    #[must_use]
    pub fn query_policy(&self) -> Option<&QueryPolicy> {
        self.extras
            .as_ref()
            .map(|extras| &extras.query)
            .filter(|query| query.forward != Forward::None)
    }

    /// Memory beside the route itself, in bytes.
    fn heap_bytes(&self) -> usize {
        let extras = self.extras.as_ref().map_or(0, |extras| {
            let names = match &extras.query.forward {
                Forward::Only(names) => names.as_str().len(),
                Forward::None | Forward::All => 0,
            };
            size_of::<Extras>() + extras.fallback.as_ref().map_or(0, HeaderValue::len) + names
        });
        self.location.len() + extras
    }
}

impl TryFrom<RouteRecord> for Route {
    type Error = http::header::InvalidHeaderValue;

    fn try_from(record: RouteRecord) -> Result<Self, Self::Error> {
        let header = |url: Box<str>| HeaderValue::try_from(String::from(url));
        let extras = Extras {
            not_before: record.not_before,
            fallback: record.fallback.map(header).transpose()?,
            query: record.query,
        };
        let has_extras = extras.not_before.is_some()
            || extras.fallback.is_some()
            || extras.query.forward != Forward::None;
        Ok(Self {
            version: record.version,
            link: record.link,
            workspace: record.workspace,
            expires_at: record.expires_at,
            location: header(record.target)?,
            target_revision: record.target_revision,
            status: record.status,
            max_age_s: record.max_age_s,
            state: record.state,
            extras: has_extras.then(|| Box::new(extras)),
        })
    }
}

/// Limits of the resolver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResolveConfig {
    /// Memory for known routes, in bytes.
    pub max_cache_bytes: u64,
    /// Known absences, at most.
    pub max_negative_entries: u64,
    /// How long an absence is believed, in milliseconds.
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
            max_negative_entries: 100_000,
            negative_ms: 1000,
            max_in_flight: 256,
            timeout_ms: 2000,
        }
    }
}

/// How often the origin is asked in one flight: again only if the route changed meanwhile.
const ASKS_MAX: usize = 3;

/// What the origin's answer came to.
type Outcome = Result<Option<Arc<Route>>, Unavailable>;

/// The route is not known here and could not be looked up now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable;

/// Finds routes; shared by all threads of an edge.
#[derive(Clone)]
pub struct Resolver(Arc<Inner>);

struct Inner {
    memory: Memory,
    flights: Flights<Outcome>,
    origin: Arc<dyn Origin>,
    permits: Semaphore,
    timeout: Duration,
    /// Flights outlive the visitor that began them, so they run elsewhere than on its thread.
    background: Handle,
    tasks: TaskTracker,
}

/// What memory alone says.
#[derive(Clone, Debug)]
pub enum Known {
    Route(Arc<Route>),
    Absent,
    Unknown,
}

impl Resolver {
    #[must_use]
    pub fn new(config: &ResolveConfig, origin: Arc<dyn Origin>, background: Handle) -> Self {
        Self(Arc::new(Inner {
            memory: Memory::new(config),
            flights: Flights::default(),
            origin,
            permits: Semaphore::new(config.max_in_flight),
            timeout: Duration::from_millis(config.timeout_ms),
            background,
            tasks: TaskTracker::new(),
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
        let mut arrival = match self.0.flights.board(key) {
            Boarding::Passenger(arrival) => arrival,
            Boarding::Pilot(arrival) => {
                let resolver = self.clone();
                let key = key.clone();
                self.0.tasks.spawn_on(
                    async move { resolver.fly(key, domain, code).await },
                    &self.0.background,
                );
                arrival
            }
        };
        match arrival.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or(Err(Unavailable)),
            Err(_) => Err(Unavailable),
        }
    }

    /// Asks the origin, keeps the answer unless a change came in between, and lands the flight.
    async fn fly(&self, key: Key, domain: DomainId, code: Code) {
        // However this ends, those who wait are told.
        let mut flight = self.0.flights.land_on_drop(&key, Err(Unavailable));
        for _ in 0..ASKS_MAX {
            let answer = self.ask(domain, &code).await;
            if flight.land(|superseded| self.settle(&key, answer, superseded)) {
                return;
            }
        }
    }

    /// What those who wait are told, and what is kept; `None` if the origin must be asked again.
    fn settle(
        &self,
        key: &Key,
        answer: Result<Option<Route>, Unavailable>,
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
            Ok(Some(route)) => Ok(Some(self.0.memory.keep(key, route))),
            Ok(None) => {
                self.0.memory.keep_absence(key);
                Ok(None)
            }
            Err(unavailable) => Err(unavailable),
        })
    }

    async fn ask(&self, domain: DomainId, code: &Code) -> Result<Option<Route>, Unavailable> {
        let Ok(_permit) = self.0.permits.try_acquire() else {
            return Err(Unavailable);
        };
        let answer = match timeout(self.0.timeout, self.0.origin.resolve(domain, code)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                tracing::warn!(%error, "a route could not be looked up");
                return Err(Unavailable);
            }
            Err(_) => {
                tracing::warn!(timeout_ms = self.0.timeout.as_millis(), "the origin is too slow");
                return Err(Unavailable);
            }
        };
        answer.map(Route::try_from).transpose().map_err(|error| {
            tracing::error!(%error, "the origin sent a target that is not a header value");
            Unavailable
        })
    }

    /// Takes a change into memory. When this returns, no answer of this edge is older than it.
    pub fn apply(&self, change: RouteChange) {
        let key = Key::new(change.domain, change.code.as_str());
        match Route::try_from(change.record) {
            Ok(route) => self.0.flights.supersede(&key, || {
                self.0.memory.forget_absence(&key);
                self.0.memory.keep(&key, route);
            }),
            Err(error) => {
                tracing::error!(%error, "a change holds a target that is not a header value")
            }
        }
    }

    /// Routes in memory, and the bytes they are accounted with.
    #[must_use]
    pub fn memory_use(&self) -> (u64, u64) {
        self.0.memory.in_use()
    }
}

#[cfg(test)]
mod tests;
