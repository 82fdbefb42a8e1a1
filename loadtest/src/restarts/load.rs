//! Visitors at a constant rate: each has its time for each request, whether or not the last one was
//! answered in time, and waiting counts from then on. So who waits for a server that is away is seen
//! in the times, and is not missing in the load afterwards.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

use crate::api::Link;
use crate::failure::Failure;
use crate::http::{Connection, EXCHANGE_MAX, HttpError};
use crate::latency::Latencies;
use crate::population::Rng;
use crate::traffic::{ONE_USER_AGENT, is_redirect, write_request};

const EXAMPLES_MAX: usize = 10;

/// How visitors come.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) edge: SocketAddr,
    pub(super) host: String,
    /// Between two requests of one visitor.
    pub(super) pause: Duration,
    pub(super) new_percent: u8,
}

/// Visitors who come until they are told to stop.
pub(super) struct Load {
    shared: Arc<Shared>,
    visitors: JoinSet<(usize, Seen)>,
    links: usize,
}

struct Shared {
    plan: Plan,
    is_over: AtomicBool,
    is_switching: AtomicBool,
    /// Of the switch that goes on, in microseconds.
    longest_us: AtomicU64,
    begun: Instant,
    /// When the last switch ended, in microseconds from the beginning.
    switched_us: AtomicU64,
}

/// What they saw.
#[derive(Debug)]
pub(super) struct Seen {
    /// Right answers of each link.
    pub(super) by_link: Vec<u64>,
    pub(super) sent: u64,
    pub(super) connections: u64,
    pub(super) refused: u64,
    /// Connections that ended before the answer was whole.
    pub(super) reset: u64,
    pub(super) timed_out: u64,
    pub(super) server_errors: u64,
    /// Whole answers that are neither the redirect nor a 5xx.
    pub(super) wrong: u64,
    pub(super) examples: Vec<String>,
    /// Of requests that were due or under way at any moment of a switch, and of the others.
    pub(super) switching: Latencies,
    pub(super) calm: Latencies,
}

impl Seen {
    fn nothing(links: usize) -> Self {
        Self {
            by_link: vec![0; links],
            sent: 0,
            connections: 0,
            refused: 0,
            reset: 0,
            timed_out: 0,
            server_errors: 0,
            wrong: 0,
            examples: Vec::new(),
            switching: Latencies::new(),
            calm: Latencies::new(),
        }
    }

    fn add(&mut self, index: usize, other: Self) {
        self.by_link[index] += other.by_link.iter().sum::<u64>();
        self.sent += other.sent;
        self.connections += other.connections;
        self.refused += other.refused;
        self.reset += other.reset;
        self.timed_out += other.timed_out;
        self.server_errors += other.server_errors;
        self.wrong += other.wrong;
        self.examples.extend(other.examples);
        self.examples.truncate(EXAMPLES_MAX);
        self.switching.add(&other.switching);
        self.calm.add(&other.calm);
    }
}

impl Load {
    /// One visitor for each link.
    pub(super) fn begin(plan: Plan, links: &[Link], rng: &mut Rng) -> Self {
        let shared = Arc::new(Shared {
            plan,
            is_over: AtomicBool::new(false),
            is_switching: AtomicBool::new(false),
            longest_us: AtomicU64::new(0),
            begun: Instant::now(),
            switched_us: AtomicU64::new(0),
        });
        let mut visitors = JoinSet::new();
        for (index, link) in links.iter().enumerate() {
            // Spread evenly over the pause.
            let first = shared.plan.pause.mul_f64(index as f64 / links.len() as f64);
            let visitor = Visitor {
                shared: Arc::clone(&shared),
                link: link.clone(),
                rng: rng.fork(),
                kept: None,
                seen: Seen::nothing(1),
            };
            visitors.spawn(async move { (index, visitor.run(first).await) });
        }
        Self { shared, visitors, links: links.len() }
    }

    pub(super) fn switch_begins(&self) {
        self.shared.longest_us.store(0, Ordering::SeqCst);
        self.shared.is_switching.store(true, Ordering::SeqCst);
    }

    pub(super) fn switch_ends(&self) {
        let now = micros(self.shared.begun.elapsed());
        self.shared.switched_us.store(now, Ordering::SeqCst);
        self.shared.is_switching.store(false, Ordering::SeqCst);
    }

    /// The longest that somebody waited because of the last switch.
    pub(super) fn longest_wait(&self) -> Duration {
        Duration::from_micros(self.shared.longest_us.load(Ordering::SeqCst))
    }

    /// Lets everybody finish what is under way.
    pub(super) async fn end(mut self) -> Result<Seen, Failure> {
        self.shared.is_over.store(true, Ordering::SeqCst);
        let mut sum = Seen::nothing(self.links);
        while let Some(seen) = self.visitors.join_next().await {
            let (index, seen) =
                seen.map_err(|error| Failure::new(format!("a visitor died: {error}")))?;
            sum.add(index, seen);
        }
        Ok(sum)
    }
}

impl Shared {
    /// Whether a switch goes on, or went on when the request was due.
    fn met_a_switch(&self, due: Instant) -> bool {
        let due = micros(due.duration_since(self.begun));
        self.is_switching.load(Ordering::SeqCst) || due < self.switched_us.load(Ordering::SeqCst)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

struct Visitor {
    shared: Arc<Shared>,
    link: Link,
    rng: Rng,
    kept: Option<Connection>,
    seen: Seen,
}

impl Visitor {
    async fn run(mut self, first: Duration) -> Seen {
        let mut request = String::new();
        let Plan { host, pause, new_percent, .. } = self.shared.plan.clone();
        write_request(&mut request, &self.link.code, &host, ONE_USER_AGENT, None);
        let mut due = Instant::now() + first;
        while !self.shared.is_over.load(Ordering::Relaxed) {
            sleep_until(due.into()).await;
            if self.rng.below(100) < usize::from(new_percent) {
                self.kept = None;
            }
            self.seen.sent += 1;
            let visit = timeout(EXCHANGE_MAX, self.visit(&request)).await;
            if let Err(error) = visit.unwrap_or(Err(HttpError::Timeout)) {
                self.note(&error);
            }
            let took = due.elapsed();
            if self.shared.met_a_switch(due) {
                self.shared.longest_us.fetch_max(micros(took), Ordering::SeqCst);
                self.seen.switching.record(took);
            } else {
                self.seen.calm.record(took);
            }
            due += pause;
        }
        self.seen
    }

    async fn visit(&mut self, request: &str) -> Result<(), HttpError> {
        let mut connection = match self.kept.take() {
            Some(kept) => kept,
            None => {
                self.seen.connections += 1;
                Connection::open(self.shared.plan.edge).await?
            }
        };
        connection.send(request.as_bytes()).await?;
        let head = connection.read_head().await?;
        let response = connection.read_body(&head).await?;
        let status = response.status;
        if is_redirect(status, response.location, Some(&self.link.url)) {
            self.seen.by_link[0] += 1;
        } else {
            match status {
                500.. => self.seen.server_errors += 1,
                _ => self.seen.wrong += 1,
            }
            self.example(format!("status {status} instead of the redirect"));
        }
        self.kept = (!head.close).then_some(connection);
        Ok(())
    }

    fn note(&mut self, error: &HttpError) {
        match error {
            HttpError::Io(error) if error.kind() == ErrorKind::ConnectionRefused => {
                self.seen.refused += 1;
            }
            HttpError::Timeout => self.seen.timed_out += 1,
            HttpError::Malformed(_) => self.seen.wrong += 1,
            HttpError::Io(_) | HttpError::Cut => self.seen.reset += 1,
        }
        self.example(error.to_string());
    }

    fn example(&mut self, text: String) {
        if self.seen.examples.len() < EXAMPLES_MAX {
            self.seen.examples.push(text);
        }
    }
}
