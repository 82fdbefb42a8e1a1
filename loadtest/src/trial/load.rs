//! The visitors of a trial: so many a second, over connections that are kept alive, each asking
//! for its own link, so that one click too many and one too few do not cancel out.
//!
//! A visitor who is late does not make up for it: a server that hangs is not then met by a burst.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

use crate::api::Link;
use crate::failure::Failure;
use crate::http::{Connection, EXCHANGE_MAX, Head, HttpError};
use crate::population::Rng;
use crate::traffic::{ONE_USER_AGENT, is_redirect, write_request};

/// Pause before a connection is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(5);
/// Phases that are told apart.
pub(super) const PHASES_MAX: usize = 16;
const EXAMPLES_MAX: usize = 10;

/// Visitors that come until they are told to stop.
pub(super) struct Visitors {
    control: Arc<Control>,
    tasks: JoinSet<(usize, Seen)>,
    links: usize,
}

#[derive(Debug)]
struct Control {
    edge: SocketAddr,
    /// Between two requests of one connection; zero: as fast as it goes.
    pause: Duration,
    phase: AtomicUsize,
    stop: AtomicBool,
}

/// What visitors saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Right redirects, and requests without a whole answer, of each link.
    pub(super) by_link: Vec<(u64, u64)>,
    pub(super) answered: u64,
    /// Sent, and the connection ended before the answer did.
    pub(super) cut: u64,
    /// Whole answers that are not the redirect.
    pub(super) wrong: u64,
    pub(super) examples: Vec<String>,
    /// Connections that were not accepted.
    pub(super) refused: u64,
    /// Microseconds of each answer, by phase.
    pub(super) latencies_us: Vec<Vec<u32>>,
}

impl Visitors {
    /// Begins: one connection for each link, `rate` requests a second in all; 0 is no limit.
    pub(super) fn begin(edge: SocketAddr, links: &[Link], rate: u32, rng: &mut Rng) -> Self {
        let pause = match rate {
            0 => Duration::ZERO,
            rate => Duration::from_secs(1) * u32::try_from(links.len()).unwrap_or(1) / rate,
        };
        let control = Arc::new(Control {
            edge,
            pause,
            phase: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        let mut tasks = JoinSet::new();
        for (index, link) in links.iter().enumerate() {
            let (control, link, rng) = (Arc::clone(&control), link.clone(), rng.fork());
            tasks.spawn(async move { (index, Visitor::new(control, link, rng).run().await) });
        }
        Self { control, tasks, links: links.len() }
    }

    /// Answers are from now on those of the next phase.
    pub(super) fn next_phase(&self) {
        self.control.phase.fetch_add(1, Ordering::SeqCst);
    }

    /// Lets everyone finish the request that is under way; what they saw.
    pub(super) async fn end(mut self) -> Result<Seen, Failure> {
        self.control.stop.store(true, Ordering::SeqCst);
        let mut sum = Seen { by_link: vec![(0, 0); self.links], ..Seen::nothing() };
        while let Some(seen) = self.tasks.join_next().await {
            let (index, seen) =
                seen.map_err(|error| Failure::new(format!("a visitor died: {error}")))?;
            sum.by_link[index] = (seen.answered, seen.cut);
            sum.add(seen);
        }
        sum.latencies_us.iter_mut().for_each(|phase| phase.sort_unstable());
        Ok(sum)
    }
}

impl Seen {
    fn nothing() -> Self {
        Self { latencies_us: vec![Vec::new(); PHASES_MAX], ..Self::default() }
    }

    fn add(&mut self, other: Self) {
        self.answered += other.answered;
        self.cut += other.cut;
        self.wrong += other.wrong;
        self.refused += other.refused;
        self.examples.extend(other.examples);
        self.examples.truncate(EXAMPLES_MAX);
        for (sum, phase) in self.latencies_us.iter_mut().zip(other.latencies_us) {
            sum.extend(phase);
        }
    }

    /// The latency that so many of a thousand answers of a phase stay below, in milliseconds.
    pub(super) fn quantile_ms(&self, phase: usize, of_1000: usize) -> f64 {
        let sorted = &self.latencies_us[phase];
        let at = (sorted.len() * of_1000).div_ceil(1000).saturating_sub(1);
        sorted.get(at).map_or(0.0, |&us| f64::from(us) / 1e3)
    }

    /// p50, p99.9 and the longest of a phase, as text.
    pub(super) fn latencies(&self, phase: usize) -> String {
        let [p50, p999, max] = [500, 999, 1000].map(|of| self.quantile_ms(phase, of));
        let answers = self.latencies_us[phase].len();
        format!("p50 {p50:.2} ms, p99.9 {p999:.2} ms, max {max:.2} ms of {answers}")
    }
}

struct Visitor {
    control: Arc<Control>,
    link: Link,
    rng: Rng,
    host: String,
    request: String,
    connection: Option<Connection>,
    seen: Seen,
}

impl Visitor {
    fn new(control: Arc<Control>, link: Link, rng: Rng) -> Self {
        let host = control.edge.to_string();
        let request = String::new();
        Self { control, link, rng, host, request, connection: None, seen: Seen::nothing() }
    }

    async fn run(mut self) -> Seen {
        let pause = self.control.pause;
        // Spread over the pause, or all would ask at once.
        let first = pause.mul_f64(self.rng.below(1000) as f64 / 1e3);
        let mut due = tokio::time::Instant::now() + first;
        while !self.control.stop.load(Ordering::SeqCst) {
            if !pause.is_zero() {
                sleep_until(due).await;
                due = (due + pause).max(tokio::time::Instant::now());
            }
            if self.visit().await.is_err() {
                sleep(RETRY_PAUSE).await;
            }
        }
        self.seen
    }

    async fn visit(&mut self) -> Result<(), HttpError> {
        let mut connection = match self.connection.take() {
            Some(kept) => kept,
            None => match Connection::open(self.control.edge).await {
                Ok(connection) => connection,
                Err(error) => {
                    self.seen.refused += 1;
                    return Err(error);
                }
            },
        };
        // Of many sizes and values, so that batches are not smaller than they would be.
        let (site, page) = (self.rng.below(2000), self.rng.next_u64());
        let referrer = format!("https://site-{site}.example/{page:016x}");
        let code = &self.link.code;
        write_request(&mut self.request, code, &self.host, ONE_USER_AGENT, Some(&referrer));
        let phase = self.control.phase.load(Ordering::SeqCst).min(PHASES_MAX - 1);
        let begun = Instant::now();
        let head = match timeout(EXCHANGE_MAX, self.ask(&mut connection)).await {
            Ok(Ok(head)) => head,
            failed => {
                let error = failed.unwrap_or(Err(HttpError::Timeout)).err();
                let error = error.unwrap_or(HttpError::Cut);
                self.seen.cut += 1;
                self.example(|| format!("cut: {error}"));
                return Err(error);
            }
        };
        let took = u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX);
        self.seen.latencies_us[phase].push(took);
        let location = connection.location(&head);
        if is_redirect(head.status, location, Some(&self.link.url)) {
            self.seen.answered += 1;
        } else {
            self.seen.wrong += 1;
            self.example(|| format!("status {} instead of the redirect", head.status));
        }
        let body = timeout(EXCHANGE_MAX, connection.read_body(&head)).await;
        if matches!(body, Ok(Ok(_))) && !head.close {
            self.connection = Some(connection);
        }
        Ok(())
    }

    async fn ask(&self, connection: &mut Connection) -> Result<Head, HttpError> {
        connection.send(self.request.as_bytes()).await?;
        connection.read_head().await
    }

    fn example(&mut self, text: impl FnOnce() -> String) {
        if self.seen.examples.len() < EXAMPLES_MAX {
            self.seen.examples.push(text());
        }
    }
}
