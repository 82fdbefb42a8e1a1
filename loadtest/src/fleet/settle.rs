//! How long a change takes until every edge answers right.
//!
//! Each link goes through all kinds of change, through either control plane. After each
//! acknowledgement all edges are asked again and again, side by side, until each has answered right;
//! the slowest counts. Then each is asked once more: who answers as before has gone back, and that is
//! wrong.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::task::JoinSet;

use super::Fleet;
use super::check::Wrong;
use super::visitor::{Shown, Visitor};
use crate::api::{ApiClient, ApiError, Link};
use crate::failure::Failure;
use crate::latency::{Latencies, Quantiles};
use crate::population::Rng;

/// A takedown is visible within 5 s: who takes longer is not waited for.
const SETTLE_MAX: Duration = Duration::from_secs(5);
/// Any other change is visible within 2 s.
const CHANGE_MAX: Duration = Duration::from_secs(2);
/// Between two questions to an edge.
const POLL: Duration = Duration::from_millis(1);

/// Changes of one kind.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Settled {
    what: &'static str,
    count: usize,
    /// From the acknowledgement until the last edge answered right.
    until_right: Quantiles,
    /// Edges that did not within 5 s, or went back.
    wrong: Wrong,
}

impl Settled {
    pub(super) fn passed(&self, judges_times: bool) -> bool {
        let is_late = self.until_right.max_ms > CHANGE_MAX.as_secs_f64() * 1e3;
        self.wrong.count == 0 && !(judges_times && is_late)
    }
}

impl fmt::Display for Settled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, count, until_right, wrong } = self;
        write!(f, "{what:<10} {count:>6} x {until_right}; {wrong}")
    }
}

/// Kinds of change, in the order in which a link goes through them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Target,
    Disable,
    Enable,
    Delete,
    Recreate,
}

impl Change {
    const ALL: [Self; 5] =
        [Self::Target, Self::Disable, Self::Enable, Self::Delete, Self::Recreate];

    const fn name(self) -> &'static str {
        match self {
            Self::Target => "change",
            Self::Disable => "disable",
            Self::Enable => "enable",
            Self::Delete => "delete",
            Self::Recreate => "recreate",
        }
    }
}

struct Kind {
    until_right: Latencies,
    wrong: Wrong,
}

/// Takes `links` new links through every kind of change.
pub(super) async fn settle(
    fleet: &Fleet,
    links: usize,
    rng: &mut Rng,
) -> Result<Vec<Settled>, Failure> {
    let mut controls: Vec<_> =
        (0..fleet.controls.len()).map(|n| ApiClient::new(fleet.api(n))).collect();
    let mut edges: Vec<_> = fleet.edge_addresses().into_iter().map(Visitor::of).collect();
    let mut kinds =
        Change::ALL.map(|_| Kind { until_right: Latencies::new(), wrong: Wrong::default() });
    for n in 0..links {
        let count = controls.len();
        let control = &mut controls[rng.below(count)];
        let mut link =
            control.create(&url(n, "made"), None).await.map_err(|error| refused(&error))?;
        // It is known everywhere, so that the change has something to replace.
        for edge in &mut edges {
            let shown = edge.follow(&link.code).await;
            shown.map_err(|error| Failure::new(format!("/{}: {error}", link.code)))?;
        }
        for (change, kind) in Change::ALL.into_iter().zip(&mut kinds) {
            let control = &mut controls[rng.below(count)];
            let expected =
                carry_out(control, change, n, &mut link).await.map_err(|error| refused(&error))?;
            let acknowledged = Instant::now();
            let (back, slowest) =
                wait(edges, &link.code, &expected, acknowledged, &mut kind.wrong).await;
            edges = back;
            kind.until_right.record(slowest);
        }
    }
    Ok(Change::ALL
        .into_iter()
        .zip(kinds)
        .map(|(change, kind)| Settled {
            what: change.name(),
            count: links,
            until_right: kind.until_right.quantiles(),
            wrong: kind.wrong,
        })
        .collect())
}

fn url(n: usize, what: &str) -> String {
    format!("https://example.com/settled/{n}/{what}")
}

fn refused(error: &ApiError) -> Failure {
    Failure::new(format!("a change: {error}"))
}

/// What edges must show from now on.
async fn carry_out(
    control: &mut ApiClient,
    change: Change,
    n: usize,
    link: &mut Link,
) -> Result<Shown, ApiError> {
    let path = format!("/api/v1/links/{}", link.id);
    let state = |state: &str| serde_json::json!({ "state": state }).to_string();
    match change {
        Change::Target => {
            let body = serde_json::json!({ "url": url(n, "changed") }).to_string();
            *link = control.call("PATCH", &path, &body, 200).await?;
            Ok(Shown::To(link.url.clone()))
        }
        Change::Disable => {
            *link = control.call("PATCH", &path, &state("disabled"), 200).await?;
            Ok(Shown::Status(410))
        }
        Change::Enable => {
            *link = control.call("PATCH", &path, &state("active"), 200).await?;
            Ok(Shown::To(link.url.clone()))
        }
        Change::Delete => {
            let () = control.call("DELETE", &path, "", 204).await?;
            Ok(Shown::Status(410))
        }
        Change::Recreate => {
            *link = control.create(&url(n, "again"), Some(&link.code)).await?;
            Ok(Shown::To(link.url.clone()))
        }
    }
}

/// Asks all edges side by side until each is right; gives them back, and what the slowest took.
async fn wait(
    edges: Vec<Visitor>,
    code: &str,
    expected: &Shown,
    acknowledged: Instant,
    wrong: &mut Wrong,
) -> (Vec<Visitor>, Duration) {
    let mut asking = JoinSet::new();
    for (number, mut edge) in edges.into_iter().enumerate() {
        let (code, expected) = (code.to_owned(), expected.clone());
        asking.spawn(async move {
            let is_right = async |edge: &mut Visitor| {
                edge.follow(&code).await.is_ok_and(|shown| shown == expected)
            };
            let mut right = is_right(&mut edge).await;
            while !right && acknowledged.elapsed() < SETTLE_MAX {
                tokio::time::sleep(POLL).await;
                right = is_right(&mut edge).await;
            }
            let took = acknowledged.elapsed();
            let stays = right && is_right(&mut edge).await;
            (number, edge, took, right, stays)
        });
    }
    let mut answers = asking.join_all().await;
    answers.sort_by_key(|&(number, ..)| number);
    let mut slowest = Duration::ZERO;
    let mut back = Vec::new();
    for (number, edge, took, right, stays) in answers {
        slowest = slowest.max(took);
        if !right || !stays {
            let what = if right { "went back" } else { "was not right within 5 s" };
            wrong.note(|| format!("/{code}: edge-{} {what}, {expected:?} is right", number + 1));
        }
        back.push(edge);
    }
    (back, slowest)
}
