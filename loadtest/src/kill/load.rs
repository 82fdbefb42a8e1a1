//! The load of `kill`: visitors, whose requests carry ids of their own or none, and creators. Both
//! outlive the server: when it is gone they try again until it is back.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::verdict::referrer_host;
use crate::api::{Api, ApiClient, ApiError, Link};
use crate::http::{Connection, EXCHANGE_MAX, Head, HttpError};
use crate::population::Rng;
use crate::traffic::{is_redirect, write_request};

/// Pause before a connection is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(5);
/// Pause between two creates of a creator: creates are to be under way at each kill, but not to
/// take the machine from the redirects.
const CREATE_PAUSE: Duration = Duration::from_millis(10);
/// Wrong answers and refusals that are described; the others are counted.
pub(super) const EXAMPLES_MAX: usize = 10;
/// The end of a referrer, of which each request with an id takes a part: records have many lengths.
const REFERRING_PATH: &str = "a/page/with/a/long/address/that/people/come/from/because/somebody/\
     wrote/about/something/and/put/a/link/there/to/say/where/more/of/it/can/be/read/by/those/who/\
     have/the/time/to/do/so/today.html";

/// What visitors and creators share. The atomics are counters and flags of their own; what they
/// say together is read only when the load has stopped or does not matter to the instant.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) edge: SocketAddr,
    pub(crate) host: String,
    pub(crate) user_agents: Vec<String>,
    /// Whether requests carry their ids. They have them in any case.
    has_ids: bool,
    next_id: AtomicU64,
    next_code: AtomicU64,
    /// Requests that are written and not answered.
    in_flight: AtomicU64,
    /// Which life of the server it is. Grows when the last server is gone and before the next one
    /// starts, so what a connection opened in a round gets comes from that round's server.
    round: AtomicUsize,
    cut_by_round: Vec<AtomicU64>,
    /// When the server of each round was started and first answered a redirect.
    started: Mutex<Vec<Instant>>,
    first_redirect: Vec<Mutex<Option<Instant>>>,
    stop: AtomicBool,
}

/// What one visitor saw.
#[derive(Debug, Default)]
pub(crate) struct Visited {
    /// Right answers.
    pub(crate) answered: u64,
    /// Their ids, if requests carry them.
    pub(crate) ids: Vec<u64>,
    pub(crate) wrong: u64,
    pub(crate) wrong_examples: Vec<String>,
    /// Requests that were sent and have no complete response head.
    pub(crate) cut: u64,
}

/// What the edge answers for a code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// A redirect.
    To(String),
    /// 410: it was deleted.
    Gone,
    /// Another status.
    Other(u16),
}

/// What one creator was told.
#[derive(Debug, Default)]
pub(crate) struct Acknowledged {
    pub(crate) links: Vec<Link>,
    pub(crate) cut: u64,
    pub(crate) refused: u64,
    pub(crate) refused_examples: Vec<String>,
}

impl Load {
    pub(crate) fn new(
        edge: SocketAddr,
        user_agents: Vec<String>,
        has_ids: bool,
        kills: usize,
    ) -> Self {
        Self {
            edge,
            host: edge.to_string(),
            user_agents,
            has_ids,
            next_id: AtomicU64::new(0),
            next_code: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            round: AtomicUsize::new(0),
            cut_by_round: (0..=kills).map(|_| AtomicU64::new(0)).collect(),
            started: Mutex::new(Vec::new()),
            first_redirect: (0..=kills).map(|_| Mutex::new(None)).collect(),
            stop: AtomicBool::new(false),
        }
    }

    /// A server was started for the current round.
    pub(crate) fn server_started(&self, at: Instant) {
        self.started.lock().expect("no panic under this lock").push(at);
    }

    /// The server is gone; what is opened from now on belongs to the next one.
    pub(crate) fn server_gone(&self) {
        self.round.fetch_add(1, Ordering::SeqCst);
    }

    /// Lets everyone finish the request that is under way.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// How many ids were given.
    pub(crate) fn sent(&self) -> u64 {
        self.next_id.load(Ordering::SeqCst)
    }

    pub(crate) fn cut(&self, round: usize) -> u64 {
        self.cut_by_round[round].load(Ordering::SeqCst)
    }

    /// From the start of the server of `round` to its first redirect.
    pub(crate) fn start_to_redirect(&self, round: usize) -> Option<Duration> {
        let started = self.started.lock().expect("no panic under this lock");
        let first = *self.first_redirect[round].lock().expect("no panic under this lock");
        Some(first?.saturating_duration_since(*started.get(round)?))
    }

    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn redirect_answered(&self, round: usize) {
        let mut first = self.first_redirect[round].lock().expect("no panic under this lock");
        first.get_or_insert_with(Instant::now);
    }
}

/// A visitor: one connection at a time, one request in flight on it.
pub(crate) struct Visitor<'a> {
    load: &'a Load,
    rng: Rng,
    connection: Option<(Connection, usize)>,
    /// The round whose first redirect this visitor has reported.
    reported: Option<usize>,
    request: String,
    visited: Visited,
}

impl<'a> Visitor<'a> {
    pub(crate) fn new(load: &'a Load, rng: Rng) -> Self {
        Self {
            load,
            rng,
            connection: None,
            reported: None,
            request: String::new(),
            visited: Visited::default(),
        }
    }

    /// Follows `link` again and again until the load stops.
    pub(crate) async fn follow(mut self, link: &Link) -> Visited {
        while !self.load.stopped() {
            if self.visit(link).await.is_err() {
                sleep(RETRY_PAUSE).await;
            }
        }
        self.visited
    }

    pub(crate) fn finish(self) -> Visited {
        self.visited
    }

    /// Follows `link` once: whether it leads where it should.
    ///
    /// # Errors
    /// If there was no connection, or no whole answer on it.
    pub(crate) async fn visit(&mut self, link: &Link) -> Result<bool, HttpError> {
        let Link { code, url, .. } = link;
        let mut wrong = None;
        let judge = |status: u16, location: Option<&[u8]>| {
            let is_right = is_redirect(status, location, Some(url));
            if !is_right {
                let location = String::from_utf8_lossy(location.unwrap_or(b"nothing"));
                wrong = Some(format!("/{code}: {status} to {location}, not 302 to {url}"));
            }
            is_right
        };
        self.ask(code, judge).await?;
        let is_right = wrong.is_none();
        if let Some(text) = wrong {
            self.visited.wrong += 1;
            if self.visited.wrong_examples.len() < EXAMPLES_MAX {
                self.visited.wrong_examples.push(text);
            }
        }
        Ok(is_right)
    }

    /// Asks where `code` leads now. A redirect counts as a right answer, wherever it leads to.
    ///
    /// # Errors
    /// If there was no connection, or no whole answer on it.
    pub(crate) async fn look(&mut self, code: &str) -> Result<Shown, HttpError> {
        let mut shown = Shown::Other(0);
        let judge = |status: u16, location: Option<&[u8]>| {
            shown = match (status, location) {
                (302, Some(location)) => Shown::To(String::from_utf8_lossy(location).into_owned()),
                (410, _) => Shown::Gone,
                _ => Shown::Other(status),
            };
            matches!(shown, Shown::To(_))
        };
        self.ask(code, judge).await?;
        Ok(shown)
    }

    /// Asks for `code` once. `judge` is given status and `Location`, and says whether that is a
    /// redirect, which must be stored.
    async fn ask(
        &mut self,
        code: &str,
        judge: impl FnOnce(u16, Option<&[u8]>) -> bool,
    ) -> Result<(), HttpError> {
        let (mut connection, round) = match self.connection.take() {
            Some(kept) => kept,
            None => {
                // Read before it is opened: the server of a later round may answer for this one,
                // but never the other way round.
                let round = self.load.round.load(Ordering::SeqCst);
                (Connection::open(self.load.edge).await?, round)
            }
        };
        let id = self.load.next_id.fetch_add(1, Ordering::SeqCst);
        self.write(code, id);

        let head = match self.exchange(&mut connection).await {
            Ok(head) => head,
            Err(error) => {
                self.visited.cut += 1;
                self.load.cut_by_round[round].fetch_add(1, Ordering::SeqCst);
                return Err(error);
            }
        };
        // The head has the whole promise of a redirect. What follows is framing, and if it is cut
        // the visitor was answered all the same.
        if judge(head.status, connection.location(&head)) {
            self.visited.answered += 1;
            if self.load.has_ids {
                self.visited.ids.push(id);
            }
            if self.reported.replace(round) != Some(round) {
                self.load.redirect_answered(round);
            }
        }
        let body = timeout(EXCHANGE_MAX, connection.read_body(&head)).await;
        if matches!(body, Ok(Ok(_))) && !head.close {
            self.connection = Some((connection, round));
        }
        Ok(())
    }

    fn write(&mut self, code: &str, id: u64) {
        let agent = self.rng.below(self.load.user_agents.len());
        let user_agent = &self.load.user_agents[agent];
        let referrer = self.load.has_ids.then(|| {
            let length = self.rng.below(REFERRING_PATH.len() + 1);
            let path = REFERRING_PATH.get(..length).unwrap_or_default();
            format!("http://{}/{path}", referrer_host(id))
        });
        write_request(&mut self.request, code, &self.load.host, user_agent, referrer.as_deref());
    }

    /// Sends the request and reads the head of its answer, in flight in between.
    async fn exchange(&self, connection: &mut Connection) -> Result<Head, HttpError> {
        let send = timeout(EXCHANGE_MAX, connection.send(self.request.as_bytes()));
        send.await.unwrap_or(Err(HttpError::Timeout))?;
        self.load.in_flight.fetch_add(1, Ordering::SeqCst);
        let head = timeout(EXCHANGE_MAX, connection.read_head()).await;
        self.load.in_flight.fetch_sub(1, Ordering::SeqCst);
        head.unwrap_or(Err(HttpError::Timeout))
    }
}

impl Load {
    /// Creates links with codes of their own until the load stops.
    pub(crate) async fn create(&self, api: Api) -> Acknowledged {
        let mut client = ApiClient::new(api);
        let mut acknowledged = Acknowledged::default();
        while !self.stopped() {
            let code = format!("kill-{}", self.next_code.fetch_add(1, Ordering::SeqCst));
            let url = format!("https://www.example.com/{code}");
            match client.create(&url, Some(&code)).await {
                Ok(link) => {
                    // What was asked for is what must be there, whatever was answered.
                    acknowledged.links.push(Link { id: link.id, code, url });
                    sleep(CREATE_PAUSE).await;
                }
                Err(error) => {
                    acknowledged.not_created(&code, &error);
                    sleep(RETRY_PAUSE).await;
                }
            }
        }
        acknowledged
    }
}

impl Acknowledged {
    fn not_created(&mut self, code: &str, error: &ApiError) {
        match error {
            ApiError::Http(_) => self.cut += 1,
            ApiError::Refused(refusal) => {
                self.refused += 1;
                if self.refused_examples.len() < EXAMPLES_MAX {
                    self.refused_examples.push(format!("{code}: {refusal}"));
                }
            }
        }
    }
}
