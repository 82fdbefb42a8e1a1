//! Visitors: connections that are kept alive, each asking for one link after another, every answer
//! checked. Closed loop: a connection asks again when it has its answer, so the rate is what the
//! server and this program can do together, and latencies are those at that rate.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::failure::Failure;
use crate::http::{Connection, EXCHANGE_MAX, HttpError};
use crate::latency::Latencies;
use crate::population::{Rng, Zipf};

/// Wrong answers that are described; the others are counted.
const EXAMPLES_MAX: usize = 10;
/// A connection gives up after so many requests in a row without an answer.
const FAILURES_IN_A_ROW_MAX: u32 = 10;

/// What a visitor of today's most common browser is called, where no list is given.
pub(crate) const ONE_USER_AGENT: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 \
     (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36";

/// A link to ask for and the answer to expect.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) code: String,
    /// `None` if only the caller knows: then any target is right.
    pub(crate) location: Option<String>,
}

/// What a visitor sends beside the code: one visitor, or many who are alike.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) is_head: bool,
    /// With its question mark; empty if there is none.
    pub(crate) query: String,
    /// Whole lines.
    pub(crate) headers: String,
}

impl Ask {
    /// Somebody with a user agent, and nothing else of note.
    pub(crate) fn with_agent(user_agent: &str) -> Self {
        let headers = format!("User-Agent: {user_agent}\r\nAccept-Language: en-GB,en;q=0.9\r\n");
        Self { is_head: false, query: String::new(), headers }
    }

    /// Writes the request, in place of what was there.
    fn write(&self, request: &mut String, code: &str, host: &str) {
        let Self { is_head, query, headers } = self;
        let method = if *is_head { "HEAD" } else { "GET" };
        request.clear();
        write!(
            request,
            "{method} /{code}{query} HTTP/1.1\r\nHost: {host}\r\nConnection: keep-alive\r\n\
             {headers}{BROWSER_HEADERS}\r\n"
        )
        .expect("a string takes what it is given");
    }
}

/// Which visitors come, and for what.
#[derive(Debug)]
pub(crate) struct Traffic {
    pub(crate) edge: SocketAddr,
    pub(crate) host: String,
    pub(crate) routes: Vec<Route>,
    pub(crate) zipf: Zipf,
    /// One of these is drawn for each request, all alike.
    pub(crate) asks: Vec<Ask>,
    /// Whether [`Seen::log`] is wanted, which takes 8 bytes for each answer.
    pub(crate) is_logged: bool,
    pub(crate) connections: usize,
    pub(crate) until: Until,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    Requests(u64),
    Elapsed(Duration),
}

/// What the visitors saw.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Right answers, per route and in sum.
    pub(crate) answered_by_route: Vec<u64>,
    pub(crate) answered: u64,
    /// Places of the route and of the ask of each right answer, if that was wanted.
    pub(crate) log: Vec<(u32, u32)>,
    pub(crate) faults: Faults,
    pub(crate) latencies: Latencies,
    pub(crate) elapsed: Duration,
}

/// What should not have happened.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Faults {
    /// Whole answers with another status or another target.
    pub(crate) wrong: u64,
    /// Requests without a whole answer; they may have been counted or not.
    pub(crate) unanswered: u64,
    pub(crate) examples: Vec<String>,
}

impl Faults {
    pub(crate) const fn is_empty(&self) -> bool {
        self.wrong == 0 && self.unanswered == 0
    }

    fn wrong(&mut self, text: impl FnOnce() -> String) {
        self.wrong += 1;
        self.example(text);
    }

    fn unanswered(&mut self, text: impl FnOnce() -> String) {
        self.unanswered += 1;
        self.example(text);
    }

    fn example(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(text());
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.wrong += other.wrong;
        self.unanswered += other.unanswered;
        self.examples.extend(other.examples);
        self.examples.truncate(EXAMPLES_MAX);
    }
}

impl Traffic {
    /// Lets the visitors come until there were enough.
    pub(crate) async fn run(self, rng: &mut Rng) -> Result<Seen, Failure> {
        let begun = Instant::now();
        let traffic = Arc::new(self);
        let tickets = Arc::new(AtomicU64::new(0));
        let mut visitors = JoinSet::new();
        for _ in 0..traffic.connections {
            let visitor = Visitor {
                traffic: Arc::clone(&traffic),
                rng: rng.fork(),
                seen: Seen::nothing(traffic.routes.len()),
            };
            visitors.spawn(visitor.run(Arc::clone(&tickets), begun));
        }
        let mut sum = Seen::nothing(traffic.routes.len());
        while let Some(seen) = visitors.join_next().await {
            sum.add(seen.map_err(|error| Failure::new(format!("a visitor died: {error}")))?);
        }
        sum.elapsed = begun.elapsed();
        Ok(sum)
    }
}

impl Seen {
    fn nothing(routes: usize) -> Self {
        Self {
            answered_by_route: vec![0; routes],
            answered: 0,
            log: Vec::new(),
            faults: Faults::default(),
            latencies: Latencies::new(),
            elapsed: Duration::ZERO,
        }
    }

    fn add(&mut self, other: Self) {
        let pairs = self.answered_by_route.iter_mut().zip(&other.answered_by_route);
        pairs.for_each(|(sum, count)| *sum += count);
        self.answered += other.answered;
        self.log.extend(other.log);
        self.faults.add(other.faults);
        self.latencies.add(&other.latencies);
    }
}

struct Visitor {
    traffic: Arc<Traffic>,
    rng: Rng,
    seen: Seen,
}

impl Visitor {
    async fn run(mut self, tickets: Arc<AtomicU64>, begun: Instant) -> Seen {
        let more = |until| match until {
            Until::Requests(max) => tickets.fetch_add(1, Ordering::Relaxed) < max,
            Until::Elapsed(max) => begun.elapsed() < max,
        };
        let mut connection = None;
        let mut request = String::new();
        let mut failures_in_a_row = 0;
        while failures_in_a_row < FAILURES_IN_A_ROW_MAX && more(self.traffic.until) {
            let index = self.traffic.zipf.draw(&mut self.rng);
            let ask = self.rng.below(self.traffic.asks.len());
            let code = &self.traffic.routes[index].code;
            self.traffic.asks[ask].write(&mut request, code, &self.traffic.host);
            let sent = Instant::now();
            let visit = self.visit(connection.take(), index, ask, &request);
            match timeout(EXCHANGE_MAX, visit).await {
                Ok(Ok(kept)) => {
                    self.seen.latencies.record(sent.elapsed());
                    connection = kept;
                    failures_in_a_row = 0;
                }
                failed => {
                    let error = failed.unwrap_or(Err(HttpError::Timeout)).err();
                    let error = error.unwrap_or(HttpError::Cut);
                    let code = &self.traffic.routes[index].code;
                    self.seen.faults.unanswered(|| format!("/{code}: {error}"));
                    failures_in_a_row += 1;
                }
            }
        }
        self.seen
    }

    /// One request and its answer; returns the connection if it may be used again.
    async fn visit(
        &mut self,
        connection: Option<Connection>,
        index: usize,
        ask: usize,
        request: &str,
    ) -> Result<Option<Connection>, HttpError> {
        let mut connection = match connection {
            Some(connection) => connection,
            None => Connection::open(self.traffic.edge).await?,
        };
        connection.send(request.as_bytes()).await?;
        let head = connection.read_head().await?;
        let response = connection.read_body(&head).await?;
        let route = &self.traffic.routes[index];
        if is_redirect(response.status, response.location, route.location.as_deref()) {
            self.seen.answered += 1;
            self.seen.answered_by_route[index] += 1;
            if self.traffic.is_logged {
                let place = |place| u32::try_from(place).expect("lists that fit in memory");
                self.seen.log.push((place(index), place(ask)));
            }
        } else {
            self.seen.faults.wrong(|| {
                let location = String::from_utf8_lossy(response.location.unwrap_or(b"nothing"));
                let expected = route.location.as_deref().unwrap_or("any target");
                let Route { code, .. } = route;
                let status = response.status;
                format!("/{code}: {status} to {location}, not 302 to {expected}")
            });
        }
        Ok((!head.close).then_some(connection))
    }
}

/// Whether an answer is 302 to `expected`, to the byte, or to anything where that is not known.
pub(crate) fn is_redirect(status: u16, location: Option<&[u8]>, expected: Option<&str>) -> bool {
    status == 302
        && location
            .is_some_and(|location| expected.is_none_or(|expected| expected.as_bytes() == location))
}

/// What browsers send with a click, whoever they are.
const BROWSER_HEADERS: &str = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
     Accept-Encoding: gzip, deflate, br\r\nUpgrade-Insecure-Requests: 1\r\n\
     Sec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Site: cross-site\r\n\
     Sec-Fetch-User: ?1\r\n";

/// Writes a request as browsers send it to a link that was clicked, in place of what was there.
pub(crate) fn write_request(
    request: &mut String,
    code: &str,
    host: &str,
    user_agent: &str,
    referrer: Option<&str>,
) {
    request.clear();
    write!(
        request,
        "GET /{code} HTTP/1.1\r\nHost: {host}\r\nConnection: keep-alive\r\n\
         User-Agent: {user_agent}\r\nAccept-Language: en-GB,en;q=0.9\r\n{BROWSER_HEADERS}"
    )
    .expect("a string takes what it is given");
    if let Some(referrer) = referrer {
        write!(request, "Referer: {referrer}\r\n").expect("a string takes what it is given");
    }
    request.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_302_to_the_target_is_right() {
        let target = "https://example.com/a";
        let cases = [
            (302, Some(target), Some(target), true),
            (302, Some(target), None, true),
            (302, Some("https://example.com/a/"), Some(target), false),
            (301, Some(target), Some(target), false),
            (404, None, Some(target), false),
            (302, None, None, false),
        ];
        for (status, location, expected, right) in cases {
            let got = is_redirect(status, location.map(str::as_bytes), expected);
            assert_eq!(got, right, "{status} {location:?} {expected:?}");
        }
    }

    #[test]
    fn a_request_is_whole_and_replaces_the_last_one() {
        let mut request = String::new();
        write_request(
            &mut request,
            "a-much-longer-code",
            "localhost",
            "x",
            Some("http://r1.test/"),
        );
        assert!(request.ends_with("\r\nReferer: http://r1.test/\r\n\r\n"));
        write_request(&mut request, "b", "localhost:8080", "y", None);
        assert!(request.starts_with("GET /b HTTP/1.1\r\nHost: localhost:8080\r\n"));
        assert!(request.contains("\r\nUser-Agent: y\r\n") && request.ends_with("?1\r\n\r\n"));
        assert_eq!(request.matches("\r\n\r\n").count(), 1);
        let ask = Ask { is_head: true, query: "?via=qr".to_owned(), ..Ask::with_agent("z") };
        ask.write(&mut request, "c", "localhost");
        assert!(request.starts_with("HEAD /c?via=qr HTTP/1.1\r\nHost: localhost\r\n"));
        assert!(request.contains("\r\nUser-Agent: z\r\n") && request.ends_with("?1\r\n\r\n"));
        assert_eq!(request.matches("\r\n\r\n").count(), 1);
    }
}
