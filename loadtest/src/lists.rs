//! `lists`: how long lists and searches take among many links.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::api::{Api, ApiClient};
use crate::failure::Failure;
use crate::latency::{Latencies, Quantiles};
use crate::population::{Rng, Zipf, made_up_urls};
use crate::process::Cost;
use crate::report::{per_second, progress};
use crate::subject::{Subject, SubjectArgs};
use crate::traffic::{Ask, Faults, ONE_USER_AGENT, Route, Traffic, Until};

/// Links of one bulk call: as many as one takes.
const BULK: usize = 1000;
/// Calls that are under way while links are made.
const FILLERS: usize = 2;
/// One link in so many has the word [`SELDOM`] in its title.
const SELDOM_EVERY: usize = 1000;
const SELDOM: &str = "seldom";
/// How long clicks may take until lists sort by them.
const SETTLE_MAX: Duration = Duration::from_secs(120);
const SETTLE_POLL: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(crate) struct ListsArgs {
    #[command(flatten)]
    subject: SubjectArgs,
    /// Links to make first; 0 takes those of a running installation as they are.
    #[arg(long, default_value_t = 1_000_000)]
    links: usize,
    /// Redirects to ask for first, over the first 100,000 of these links, so that there is
    /// something to sort by.
    #[arg(long, default_value_t = 200_000)]
    clicks: u64,
    /// Requests of each kind.
    #[arg(long, default_value_t = 1000)]
    requests: u64,
    /// Connections, one request in flight on each.
    #[arg(long, default_value_t = 4, value_parser = crate::at_least_one)]
    connections: usize,
}

#[derive(Debug, Serialize)]
pub(crate) struct ListsReport {
    seed: u64,
    links: u64,
    links_made: u64,
    links_made_per_second: f64,
    clicks: u64,
    faults: Faults,
    connections: usize,
    requests_each: u64,
    kinds: Vec<Measured>,
    cost: Option<Cost>,
}

/// One kind of request.
#[derive(Debug, Serialize)]
struct Measured {
    kind: &'static str,
    example: String,
    /// Links that a request found, on average.
    found: f64,
    latency: Quantiles,
}

impl ListsReport {
    pub(crate) fn passed(&self) -> bool {
        self.faults.is_empty() && self.kinds.iter().all(|kind| kind.latency.max_ms > 0.0)
    }
}

pub(crate) async fn run(args: &ListsArgs, seed: u64) -> Result<ListsReport, Failure> {
    let installation = args.subject.installation("lists")?;
    let subject = args.subject.subject(installation.as_ref()).await?;
    let report = measure(args, seed, &subject).await?;
    subject.stop().await?;
    if report.passed() {
        args.subject.finish(installation.as_ref())?;
    }
    Ok(report)
}

async fn measure(
    args: &ListsArgs,
    seed: u64,
    subject: &Subject<'_>,
) -> Result<ListsReport, Failure> {
    let mut rng = Rng::new(seed);
    let begun = Instant::now();
    let codes = make_links(args.links, subject.api()?).await?;
    let elapsed = begun.elapsed();
    let (clicks, faults) = click(args, subject, &codes, &mut rng).await?;
    let links = subject.client()?.links_count().await?;
    let sample = subject.sample()?;
    let mut kinds = Vec::with_capacity(KINDS.len());
    for (kind, path) in KINDS {
        progress(kind);
        kinds.push(ask(args, subject, kind, path, links, &mut rng).await?);
    }
    Ok(ListsReport {
        seed,
        links,
        links_made: codes.len() as u64,
        links_made_per_second: per_second(codes.len() as u64, elapsed),
        clicks,
        faults,
        connections: args.connections,
        requests_each: args.requests,
        cost: subject.cost(sample.as_ref(), args.requests * KINDS.len() as u64)?,
        kinds,
    })
}

/// Makes `count` links with bulk calls; gives their codes.
pub(crate) async fn make_links(count: usize, api: &Api) -> Result<Vec<String>, Failure> {
    progress(&format!("making {count} links"));
    let next = Arc::new(AtomicUsize::new(0));
    let urls: Arc<[String]> = made_up_urls(count).into();
    let mut fillers = JoinSet::new();
    for _ in 0..FILLERS {
        let mut client = ApiClient::new(api.clone());
        let (urls, next) = (Arc::clone(&urls), Arc::clone(&next));
        fillers.spawn(async move {
            let mut codes = Vec::new();
            loop {
                let first = next.fetch_add(BULK, Ordering::Relaxed).min(urls.len());
                let end = (first + BULK).min(urls.len());
                if first == end {
                    return Ok::<_, Failure>(codes);
                }
                let links: Vec<_> = (first..end)
                    .map(|n| match n % SELDOM_EVERY {
                        0 => serde_json::json!({ "url": urls[n], "title": SELDOM }),
                        _ => serde_json::json!({ "url": urls[n] }),
                    })
                    .collect();
                codes.extend(client.create_bulk(&links).await?);
            }
        });
    }
    let mut codes = Vec::with_capacity(count);
    while let Some(result) = fillers.join_next().await {
        codes.extend(result.map_err(|error| Failure::new(format!("a filler died: {error}")))??);
    }
    Ok(codes)
}

/// Follows some of the links, and waits until their clicks are in the lists.
async fn click(
    args: &ListsArgs,
    subject: &Subject<'_>,
    codes: &[String],
    rng: &mut Rng,
) -> Result<(u64, Faults), Failure> {
    const CLICKED_MAX: usize = 100_000;
    let codes = &codes[..codes.len().min(CLICKED_MAX)];
    if codes.is_empty() || args.clicks == 0 {
        return Ok((0, Faults::default()));
    }
    progress(&format!("asking for {} redirects", args.clicks));
    let traffic = Traffic {
        edge: subject.edge,
        host: subject.host.clone(),
        routes: codes.iter().map(|code| Route { code: code.clone(), location: None }).collect(),
        zipf: Zipf::new(codes.len(), 1.0),
        asks: vec![Ask::with_agent(ONE_USER_AGENT)],
        is_logged: false,
        connections: args.connections,
        until: Until::Requests(args.clicks),
    };
    let seen = traffic.run(rng).await?;
    let most = seen.answered_by_route.iter().max().copied().unwrap_or_default();
    let mut client = subject.client()?;
    let begun = Instant::now();
    while client.most_clicks().await? < most {
        if begun.elapsed() > SETTLE_MAX {
            let what = format!("no link shows the {most} clicks that one has, after 120 s");
            return Err(Failure::new(what));
        }
        sleep(SETTLE_POLL).await;
    }
    Ok((seen.answered, seen.faults))
}

/// What a kind of request is called, and the path of one, for a number below that of the links.
type Kind = (&'static str, fn(u64) -> String);

const KINDS: [Kind; 14] = [
    ("newest", |_| LIST.to_owned()),
    ("by clicks", |_| format!("{LIST}?sort=clicks")),
    ("by last click", |_| format!("{LIST}?sort=last_click")),
    ("disabled (none)", |_| format!("{LIST}?state=disabled")),
    ("search: in one link", |n| format!("{LIST}?q={n:010}")),
    ("search: in one of 1,000", |_| format!("{LIST}?q={SELDOM}")),
    ("search: in all", |_| format!("{LIST}?q=articles")),
    ("search: in none", |n| format!("{LIST}?q=nowhere-{n}")),
    ("search: in none, of common parts", |_| format!("{LIST}?q=made-up-for-articles")),
    ("search: 4 digits", |n| format!("{LIST}?q={:04}", n % 10_000)),
    ("search by clicks: in one link", |n| format!("{LIST}?sort=clicks&q={n:010}")),
    ("search by clicks: in one of 1,000", |_| format!("{LIST}?sort=clicks&q={SELDOM}")),
    ("search by clicks: in all", |_| format!("{LIST}?sort=clicks&q=articles")),
    ("search by clicks: in none", |n| format!("{LIST}?sort=clicks&q=nowhere-{n}")),
];
const LIST: &str = "/api/v1/links";

async fn ask(
    args: &ListsArgs,
    subject: &Subject<'_>,
    kind: &'static str,
    path: fn(u64) -> String,
    links: u64,
    rng: &mut Rng,
) -> Result<Measured, Failure> {
    let tickets = Arc::new(AtomicU64::new(0));
    let mut askers = JoinSet::new();
    for _ in 0..args.connections {
        let (tickets, requests) = (Arc::clone(&tickets), args.requests);
        let (mut client, mut rng) = (subject.client()?, rng.fork());
        askers.spawn(async move {
            let (mut latencies, mut found) = (Latencies::new(), 0);
            while tickets.fetch_add(1, Ordering::Relaxed) < requests {
                let path = path(below(&mut rng, links));
                let sent = Instant::now();
                found += found_by(&mut client, &path).await?;
                latencies.record(sent.elapsed());
            }
            Ok::<_, Failure>((latencies, found))
        });
    }
    let (mut latencies, mut found) = (Latencies::new(), 0);
    while let Some(result) = askers.join_next().await {
        let (its_latencies, its_found) =
            result.map_err(|error| Failure::new(format!("an asker died: {error}")))??;
        latencies.add(&its_latencies);
        found += its_found;
    }
    Ok(Measured {
        kind,
        example: path(below(rng, links)),
        found: found as f64 / args.requests.max(1) as f64,
        latency: latencies.quantiles(),
    })
}

async fn found_by(client: &mut ApiClient, path: &str) -> Result<u64, Failure> {
    let found = client.list(path).await;
    found.map_err(|error| Failure::new(format!("GET {path}: {error}")))
}

fn below(rng: &mut Rng, bound: u64) -> u64 {
    let bound = usize::try_from(bound).unwrap_or(usize::MAX);
    rng.below(bound.max(1)) as u64
}

impl fmt::Display for ListsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "lists among {} links (seed {})", self.links, self.seed)?;
        writeln!(
            f,
            "  made                  {}, {:.0} a second; {} clicks",
            self.links_made, self.links_made_per_second, self.clicks
        )?;
        write!(f, "{}", self.faults)?;
        writeln!(
            f,
            "  requests              {} of each kind over {} connections",
            self.requests_each, self.connections
        )?;
        for Measured { kind, found, latency, .. } in &self.kinds {
            writeln!(f, "  {kind:<35} {latency}; {found:.1} found")?;
        }
        self.cost.as_ref().map_or(Ok(()), |cost| write!(f, "{cost}"))
    }
}
