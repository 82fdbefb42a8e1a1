//! `count`: what visitors were answered is what is stored, per link and in sum, to the click.
//!
//! Shortens real URLs, sends redirects over them with real user agents, and compares the totals of
//! each link, over all kinds of clicks, with the right answers that visitors counted. The workspace
//! may hold other clicks from before; nothing else may use it meanwhile.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::api::{Api, ApiClient, Link, Totals};
use crate::failure::Failure;
use crate::latency::Quantiles;
use crate::links::{self, Created, Enough, Refused};
use crate::population::{Rng, Zipf, read_lines};
use crate::process::Cost;
use crate::report::{per_second, progress};
use crate::subject::{Subject, SubjectArgs};
use crate::traffic::{Ask, Faults, Route, Seen, Traffic, Until};

/// Pause between two looks at the totals.
const TOTALS_POLL: Duration = Duration::from_millis(50);
/// The totals have stopped growing when they were the same for so long. Longer than any stage of
/// the pipeline rests, so that a click stored twice has time to show.
const TOTALS_STILL: Duration = Duration::from_secs(3);
/// What has not come when the totals were the same for so long is lost: longer than the drainer and
/// the shipper wait before they try again.
const TOTALS_STUCK: Duration = Duration::from_secs(30);
/// Connections that read the totals of each link.
const READERS: usize = 4;
/// Links that differ and are described; the others are counted.
const EXAMPLES_MAX: usize = 10;

#[derive(Debug, Args)]
pub(crate) struct CountArgs {
    #[command(flatten)]
    subject: SubjectArgs,
    /// File of URLs to shorten, one a line.
    #[arg(long, value_name = "FILE", default_value = "target/loadtest/urls.txt")]
    urls: PathBuf,
    /// File of user agents, one a line.
    #[arg(long, value_name = "FILE", default_value = "target/loadtest/user-agents.txt")]
    user_agents: PathBuf,
    /// Links to create; a URL that is refused is replaced by the next one.
    #[arg(long, default_value_t = 10_000, value_parser = crate::at_least_one)]
    links: usize,
    /// Redirects to ask for.
    #[arg(long, default_value_t = 1_000_000)]
    requests: u64,
    /// Connections of visitors, one request in flight on each.
    #[arg(long, default_value_t = 32, value_parser = crate::at_least_one)]
    connections: usize,
    /// Connections that create links.
    #[arg(long, default_value_t = 8, value_parser = crate::at_least_one)]
    create_connections: usize,
    /// Exponent of Zipf's law over the links; 0 hits all alike.
    #[arg(long, default_value_t = 1.0)]
    zipf: f64,
    /// Longest wait for the totals, in seconds.
    #[arg(long, default_value_t = 120)]
    visible_max: u64,
}

/// The outcome. `exact` is the verdict.
#[derive(Debug, Serialize)]
pub(crate) struct CountReport {
    exact: bool,
    seed: u64,
    links: usize,
    refused: Refused,
    creates_per_second: f64,
    create_latency: Quantiles,
    connections: usize,
    requests: u64,
    answered: u64,
    faults: Faults,
    redirects_per_second: f64,
    latency: Quantiles,
    /// From the last answer until the workspace's totals had all that was answered; `None`: never.
    visible_after_s: Option<f64>,
    /// What the workspace's totals grew by; `None` if one of them shrank.
    stored_by_workspace: Option<Totals>,
    /// The sum over the links.
    stored_by_links: Totals,
    differing_links: u64,
    differing_examples: Vec<String>,
    cost: Option<Cost>,
}

impl CountReport {
    pub(crate) const fn passed(&self) -> bool {
        self.exact
    }
}

pub(crate) async fn run(args: &CountArgs, seed: u64) -> Result<CountReport, Failure> {
    let mut urls = read_lines(&args.urls)?;
    // Lists come sorted; their beginning is not like the rest.
    Rng::new(seed).shuffle(&mut urls);
    let urls: Arc<[String]> = urls.into();
    let user_agents = read_lines(&args.user_agents)?;
    let installation = args.subject.installation("count")?;
    let subject = args.subject.subject(installation.as_ref()).await?;
    let report = measure(args, seed, &subject, &urls, &user_agents).await?;
    subject.stop().await?;
    if report.passed() {
        args.subject.finish(installation.as_ref())?;
    }
    Ok(report)
}

async fn measure(
    args: &CountArgs,
    seed: u64,
    subject: &Subject<'_>,
    urls: &Arc<[String]>,
    user_agents: &[String],
) -> Result<CountReport, Failure> {
    let mut client = subject.client()?;
    let before = client.totals().await?;

    progress(&format!("creating {} links", args.links));
    let enough = Enough::Accepted(args.links);
    let created = links::create(subject.api()?, urls, args.create_connections, enough).await?;

    progress(&format!("asking for {} redirects", args.requests));
    let traffic = Traffic {
        edge: subject.edge,
        host: subject.host.clone(),
        routes: routes(&created.links),
        zipf: Zipf::new(created.links.len(), args.zipf),
        asks: user_agents.iter().map(|agent| Ask::with_agent(agent)).collect(),
        is_logged: false,
        connections: args.connections,
        until: Until::Requests(args.requests),
    };
    let sample = subject.sample()?;
    let seen = traffic.run(&mut Rng::new(seed)).await?;

    progress("waiting for the totals");
    let wait = Duration::from_secs(args.visible_max);
    let visible = wait_for_totals(&mut client, &before, seen.answered, wait).await?;
    let cost = subject.cost(sample.as_ref(), seen.answered)?;

    progress("reading the totals of each link");
    let by_link = read_link_totals(subject.api()?, &created.links).await?;
    Ok(compare(args, seed, created, seen, &visible, &by_link, cost))
}

pub(crate) fn routes(links: &[Link]) -> Vec<Route> {
    let route = |link: &Link| Route { code: link.code.clone(), location: Some(link.url.clone()) };
    links.iter().map(route).collect()
}

/// What became of the workspace's totals.
pub(crate) struct Visible {
    /// From the call until they had grown by what was expected.
    pub(crate) after: Option<Duration>,
    pub(crate) grown: Option<Totals>,
}

/// Waits until the totals stand still, for long if they have not grown by `expected`; at most `wait`.
pub(crate) async fn wait_for_totals(
    client: &mut ApiClient,
    before: &Totals,
    expected: u64,
    wait: Duration,
) -> Result<Visible, Failure> {
    let begun = Instant::now();
    let mut after = None;
    let mut last = client.totals().await?;
    let mut last_change = begun;
    loop {
        if after.is_none() && last.sum() >= before.sum() + expected {
            after = Some(begun.elapsed());
        }
        let still = if after.is_some() { TOTALS_STILL } else { TOTALS_STUCK };
        if last_change.elapsed() >= still || begun.elapsed() >= wait {
            return Ok(Visible { after, grown: last.since(before) });
        }
        sleep(TOTALS_POLL).await;
        let now = client.totals().await?;
        if now != last {
            last = now;
            last_change = Instant::now();
        }
    }
}

/// The totals of each link, in the order of `links`.
pub(crate) async fn read_link_totals(api: &Api, links: &[Link]) -> Result<Vec<Totals>, Failure> {
    let mut readers = JoinSet::new();
    for (reader, part) in links.chunks(links.len().div_ceil(READERS)).enumerate() {
        let mut client = ApiClient::new(api.clone());
        let ids: Vec<_> = part.iter().map(|link| link.id.clone()).collect();
        readers.spawn(async move {
            let mut totals = Vec::with_capacity(ids.len());
            for id in ids {
                let read = client.link_totals(&id).await;
                totals.push(read.map_err(|error| {
                    Failure::new(format!("GET /api/v1/links/{id}/stats: {error}"))
                })?);
            }
            Ok::<_, Failure>((reader, totals))
        });
    }
    let mut parts = Vec::new();
    while let Some(part) = readers.join_next().await {
        parts.push(part.map_err(|error| Failure::new(format!("a reader died: {error}")))??);
    }
    parts.sort_unstable_by_key(|&(reader, _)| reader);
    Ok(parts.into_iter().flat_map(|(_, totals)| totals).collect())
}

fn compare(
    args: &CountArgs,
    seed: u64,
    created: Created,
    seen: Seen,
    visible: &Visible,
    by_link: &[Totals],
    cost: Option<Cost>,
) -> CountReport {
    let mut stored_by_links = Totals::default();
    let mut differing_links = 0;
    let mut differing_examples = Vec::new();
    let counted = seen.answered_by_route.iter().zip(by_link);
    for (link, (&answered, stored)) in created.links.iter().zip(counted) {
        stored_by_links.add(stored);
        if stored.sum() != answered {
            differing_links += 1;
            if differing_examples.len() < EXAMPLES_MAX {
                let code = &link.code;
                differing_examples.push(format!("/{code}: {answered} answered; stored {stored}"));
            }
        }
    }
    let grown = visible.grown.map(|grown| grown.sum());
    CountReport {
        exact: differing_links == 0
            && by_link.len() == created.links.len()
            && stored_by_links.sum() == args.requests
            && grown == Some(args.requests)
            && seen.answered == args.requests
            && seen.faults.is_empty(),
        seed,
        links: created.links.len(),
        refused: created.refused,
        creates_per_second: per_second(created.links.len() as u64, created.elapsed),
        create_latency: created.latencies.quantiles(),
        connections: args.connections,
        requests: args.requests,
        answered: seen.answered,
        faults: seen.faults,
        redirects_per_second: per_second(seen.answered, seen.elapsed),
        latency: seen.latencies.quantiles(),
        visible_after_s: visible.after.map(|after| after.as_secs_f64()),
        stored_by_workspace: visible.grown,
        stored_by_links,
        differing_links,
        differing_examples,
        cost,
    }
}

impl fmt::Display for CountReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.exact { "exact to the click" } else { "NOT EXACT" };
        writeln!(f, "count: {verdict} (seed {})", self.seed)?;
        writeln!(
            f,
            "  links                 {} at {:.0} a second, {}",
            self.links, self.creates_per_second, self.create_latency
        )?;
        writeln!(f, "  refused URLs          {}", self.refused.count)?;
        write!(f, "{}", self.refused)?;
        writeln!(
            f,
            "  redirects             {} of {} right at {:.0} a second over {} connections, {}",
            self.answered, self.requests, self.redirects_per_second, self.connections, self.latency
        )?;
        write!(f, "{}", self.faults)?;
        match self.visible_after_s {
            Some(seconds) => writeln!(f, "  all visible after     {seconds:.2} s")?,
            None => writeln!(f, "  all visible after     never")?,
        }
        match self.stored_by_workspace {
            Some(totals) => writeln!(f, "  stored, by workspace  {}: {totals}", totals.sum())?,
            None => writeln!(f, "  stored, by workspace  a total shrank")?,
        }
        let by_links = self.stored_by_links;
        writeln!(f, "  stored, by links      {}: {by_links}", by_links.sum())?;
        writeln!(f, "  links that differ     {}", self.differing_links)?;
        for example in &self.differing_examples {
            writeln!(f, "    {example}")?;
        }
        self.cost.as_ref().map_or(Ok(()), |cost| write!(f, "{cost}"))
    }
}
