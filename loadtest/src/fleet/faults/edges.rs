//! The edges as visitors and the model see them: whether one is up, which life of its it lives, and up
//! to when it says that it knows all changes.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::super::visitor::Shown;
use crate::http::{Connection, EXCHANGE_MAX, HttpError};
use crate::traffic::{ONE_USER_AGENT, write_request};

/// Any of its names: hosts are compared without their ports, and those of loopback are one.
const HOST: &str = "127.0.0.1";
/// Servers end connections that nobody uses; one that rested longer is not used again.
const REST_MAX: Duration = Duration::from_secs(5);
const AGE: &str = "carom_edge_feed_age_seconds ";

/// One edge.
#[derive(Debug)]
pub(in super::super) struct EdgeAt {
    pub(in super::super) address: SocketAddr,
    pub(super) admin: SocketAddr,
    now: Mutex<Now>,
}

#[derive(Clone, Copy, Debug)]
struct Now {
    is_up: bool,
    life: u32,
    fresh: Option<Instant>,
}

/// An edge at a moment: its life, and up to when it knows all changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) life: u32,
    pub(super) fresh: Option<Instant>,
}

impl EdgeAt {
    pub(super) const fn new(address: SocketAddr, admin: SocketAddr) -> Self {
        Self { address, admin, now: Mutex::new(Now { is_up: true, life: 1, fresh: None }) }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().expect("nobody panics while an edge is looked at")
    }

    /// What it says of itself; `None` while visitors do not come to it.
    pub(super) fn claim(&self) -> Option<Claim> {
        let Now { is_up, life, fresh } = *self.now();
        is_up.then_some(Claim { life, fresh })
    }

    /// Whether it has been up since this claim.
    pub(super) fn is_still(&self, claim: &Claim) -> bool {
        self.claim().is_some_and(|now| now.life == claim.life)
    }

    /// Visitors do not come any more.
    pub(super) fn set_down(&self) {
        let mut now = self.now();
        (now.is_up, now.fresh) = (false, None);
    }

    /// It begins another life.
    pub(super) fn set_up(&self) {
        let mut now = self.now();
        (now.is_up, now.fresh, now.life) = (true, None, now.life + 1);
    }

    /// Asks how old its feed is, and remembers what that means.
    pub(super) async fn look(&self) -> Option<Duration> {
        let claim = self.claim()?;
        let asked = Instant::now();
        let age = timeout(EXCHANGE_MAX, feed_age(self.admin)).await.ok()?.ok()??;
        let mut now = self.now();
        if now.is_up && now.life == claim.life {
            now.fresh = asked.checked_sub(age);
        }
        Some(age)
    }
}

/// The age of an edge's feed; `None` if nobody follows one.
async fn feed_age(admin: SocketAddr) -> Result<Option<Duration>, HttpError> {
    let mut connection = Connection::open(admin).await?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    connection.send(request.as_bytes()).await?;
    let head = connection.read_head().await?;
    let response = connection.read_body(&head).await?;
    Ok(parse_age(&String::from_utf8_lossy(response.body)))
}

fn parse_age(metrics: &str) -> Option<Duration> {
    let seconds = metrics.lines().find_map(|line| line.strip_prefix(AGE))?;
    Duration::try_from_secs_f64(seconds.trim().parse().ok()?).ok()
}

/// What an edge answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Shown(Shown),
    /// 503, and whether it says when to ask again.
    Unavailable {
        says_when: bool,
    },
}

/// A visitor of one edge, with a connection that is kept.
#[derive(Debug)]
pub(in super::super) struct Asker {
    edge: SocketAddr,
    kept: Option<Kept>,
    request: String,
}

#[derive(Debug)]
struct Kept {
    connection: Connection,
    used: Instant,
    /// Of the edge.
    life: u32,
}

impl Asker {
    pub(in super::super) const fn of(edge: SocketAddr) -> Self {
        Self { edge, kept: None, request: String::new() }
    }

    /// Asks once, an edge in this life of its: whoever is cut may have been counted.
    pub(super) async fn ask(&mut self, code: &str, life: u32) -> Result<Reply, HttpError> {
        let exchange = async {
            write_request(&mut self.request, code, HOST, ONE_USER_AGENT, None);
            let mut connection = match self.kept.take() {
                Some(kept) if kept.life == life && kept.used.elapsed() < REST_MAX => {
                    kept.connection
                }
                _ => Connection::open(self.edge).await?,
            };
            connection.send(self.request.as_bytes()).await?;
            let head = connection.read_head().await?;
            let response = connection.read_body(&head).await?;
            let reply = match (response.status, response.location) {
                (302, Some(to)) => {
                    Reply::Shown(Shown::To(String::from_utf8_lossy(to).into_owned()))
                }
                (503, _) => Reply::Unavailable { says_when: response.retry_after.is_some() },
                (status, _) => Reply::Shown(Shown::Status(status)),
            };
            let used = Instant::now();
            self.kept = (!head.close).then_some(Kept { connection, used, life });
            Ok(reply)
        };
        timeout(EXCHANGE_MAX, exchange).await.unwrap_or(Err(HttpError::Timeout))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge() -> EdgeAt {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        EdgeAt::new(address, address)
    }

    #[test]
    fn the_age_is_read_of_all_metrics() {
        let page = "# HELP carom_edge_feed_age_seconds Since when.\n\
            # TYPE carom_edge_feed_age_seconds gauge\ncarom_edge_feed_age_seconds 0.25\n\
            carom_edge_bundle_age_seconds 3\n";
        assert_eq!(parse_age(page), Some(Duration::from_millis(250)));
        assert_eq!(parse_age("carom_edge_bundle_age_seconds 3\n"), None);
    }

    #[test]
    fn a_claim_ends_with_its_life() {
        let edge = edge();
        let claim = edge.claim().unwrap();
        assert!(edge.is_still(&claim));
        edge.set_down();
        assert!(edge.claim().is_none() && !edge.is_still(&claim));
        edge.set_up();
        assert!(!edge.is_still(&claim));
        assert_eq!(edge.claim().unwrap().life, claim.life + 1);
    }
}
