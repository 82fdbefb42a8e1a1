//! `dimensions`: each dimension's clicks and visitors are those of the requests that were sent.
//!
//! A mixed crowd of which is known who they are ([`people`]) comes through a trusted proxy. After
//! the run, the reports of the workspace and of some links must say exactly what was answered.

mod people;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::api::{Api, ApiClient, Link, Report, Totals};
use crate::count::{read_link_totals, routes, wait_for_totals};
use crate::failure::Failure;
use crate::installation::Installation;
use crate::latency::Quantiles;
use crate::links::{self, Enough};
use crate::population::{Rng, Zipf, read_lines};
use crate::process::{Cost, CpuSample};
use crate::report::{per_second, progress};
use crate::subject::PlaceArgs;
use crate::traffic::{Faults, Seen, Traffic, Until};
use people::Expected;

/// Differences that are described; the others are counted.
const EXAMPLES_MAX: usize = 20;
/// Links whose dimensions are looked at, beside the workspace's: the most and the least clicked.
const LINKS: usize = 6;
/// Dimensions of one question, at most.
const BY_MAX: usize = 10;
/// How far the visitors in totals may be off, which are estimated: five standard errors.
const ESTIMATE_OFF_MAX: f64 = 0.08;
/// How long clicks may take until they are all stored.
const VISIBLE_MAX: Duration = Duration::from_secs(120);
const CREATE_CONNECTIONS: usize = 8;

#[derive(Debug, Args)]
pub(crate) struct DimensionsArgs {
    /// The `carom` to start, with an empty data folder and ports of its own.
    #[arg(long, value_name = "PROGRAM")]
    carom: PathBuf,
    #[command(flatten)]
    place: PlaceArgs,
    /// File of URLs to shorten, one a line.
    #[arg(long, value_name = "FILE", default_value = "target/loadtest/urls.txt")]
    urls: PathBuf,
    /// File of user agents and what they say: user agent, browser, version, system, version, with
    /// tabs between them.
    #[arg(long, value_name = "FILE", default_value = "edge/src/enrich/corpus.tsv")]
    agents: PathBuf,
    /// Links to create. An edge remembers some 400,000 names of all links together; with many more,
    /// a few known ones count as new, and in a minute that has too many as `(other)`.
    #[arg(long, default_value_t = 1000, value_parser = crate::at_least_one)]
    links: usize,
    /// Redirects to ask for.
    #[arg(long, default_value_t = 1_000_000)]
    requests: u64,
    /// Connections of visitors, one request in flight on each.
    #[arg(long, default_value_t = 32, value_parser = crate::at_least_one)]
    connections: usize,
}

/// The outcome. `exact` is the verdict.
#[derive(Debug, Serialize)]
pub(crate) struct DimensionsReport {
    exact: bool,
    seed: u64,
    links: usize,
    requests: u64,
    answered: u64,
    faults: Faults,
    redirects_per_second: f64,
    latency: Quantiles,
    expected: Totals,
    visitors: u64,
    /// In the workspace's totals, where they are estimated.
    visitors_estimated: u64,
    /// Links whose totals were compared, by kind.
    links_compared: usize,
    /// Values of dimensions that were compared, each with its clicks and visitors.
    values_compared: u64,
    differences: u64,
    examples: Vec<String>,
    cost: Cost,
}

impl DimensionsReport {
    pub(crate) const fn passed(&self) -> bool {
        self.exact
    }
}

/// Clicks and visitors by dimension and value.
type Counts = BTreeMap<&'static str, BTreeMap<String, (u64, BTreeSet<u32>)>>;

/// What a scope must show.
#[derive(Default)]
struct Sums {
    totals: Totals,
    visitors: BTreeSet<u32>,
    by: Counts,
}

impl Sums {
    fn add(&mut self, expected: &Expected, n: u64) {
        let Expected { kind, visitor, values } = expected;
        let total = match *kind {
            "human" => &mut self.totals.clicks,
            "bot" => &mut self.totals.bots,
            "preview" => &mut self.totals.previews,
            "prefetch" => &mut self.totals.prefetches,
            _ => &mut self.totals.heads,
        };
        *total += n;
        if *kind != "human" {
            return;
        }
        self.visitors.extend(visitor);
        for (dimension, value) in values {
            let values = self.by.entry(dimension).or_default();
            let (clicks, visitors) = values.entry(value.clone()).or_default();
            *clicks += n;
            visitors.extend(visitor);
        }
    }
}

/// Collects differences.
#[derive(Default)]
struct Verdict {
    values: u64,
    differences: u64,
    examples: Vec<String>,
}

impl Verdict {
    fn check(&mut self, is_right: bool, what: impl FnOnce() -> String) {
        self.values += 1;
        if !is_right {
            self.differences += 1;
            if self.examples.len() < EXAMPLES_MAX {
                self.examples.push(what());
            }
        }
    }

    /// Compares what a report says of its dimensions.
    fn compare(&mut self, of: &str, sums: &Sums, asked: &[&'static str], report: &Report) {
        let none = BTreeMap::new();
        for dimension in asked {
            let expected = sums.by.get(dimension).unwrap_or(&none);
            let empty = Vec::new();
            let found = report.top.get(*dimension).unwrap_or(&empty);
            for top in found {
                let right = expected.get(&top.value);
                let (clicks, visitors) = right.map_or((0, 0), |(n, who)| (*n, who.len() as u64));
                self.check((top.clicks, top.visitors) == (clicks, visitors), || {
                    format!(
                        "{of}: {dimension} {:?}: {} clicks of {} visitors, not {clicks} of \
                         {visitors}",
                        top.value, top.clicks, top.visitors
                    )
                });
            }
            let missing = expected.keys().filter(|key| found.iter().all(|top| top.value != **key));
            for value in missing {
                self.check(false, || format!("{of}: {dimension} {value:?} is missing"));
            }
        }
    }
}

pub(crate) async fn run(args: &DimensionsArgs, seed: u64) -> Result<DimensionsReport, Failure> {
    let mut urls = read_lines(&args.urls)?;
    Rng::new(seed).shuffle(&mut urls);
    let urls: Arc<[String]> = urls.into();
    let installation = args
        .place
        .installation(&args.carom, "dimensions")?
        .with_settings(&["edge.trusted_proxies=[\"127.0.0.1\"]"]);
    let report = measure(args, seed, &urls, &installation).await?;
    if report.passed() && !args.place.keep {
        installation.remove()?;
    }
    Ok(report)
}

async fn measure(
    args: &DimensionsArgs,
    seed: u64,
    urls: &Arc<[String]>,
    installation: &Installation,
) -> Result<DimensionsReport, Failure> {
    let mut rng = Rng::new(seed);
    let (asks, expected) = people::draw(&args.agents, &mut rng)?;
    let mut server = installation.start()?;
    server.ready().await?;
    let api = Api { control: installation.control(), key: installation.create_key().await? };
    let mut client = ApiClient::new(api.clone());
    progress(&format!("creating {} links", args.links));
    let enough = Enough::Accepted(args.links);
    let links = links::create(&api, urls, CREATE_CONNECTIONS, enough).await?.links;

    progress(&format!("asking for {} redirects", args.requests));
    let traffic = Traffic {
        edge: installation.edge(),
        host: installation.edge().to_string(),
        routes: routes(&links),
        zipf: Zipf::new(links.len(), 1.0),
        asks,
        is_logged: true,
        connections: args.connections,
        until: Until::Requests(args.requests),
    };
    let sample = CpuSample::take(server.pid())?;
    let seen = traffic.run(&mut rng).await?;
    progress("waiting for the totals");
    let before = Totals::default();
    wait_for_totals(&mut client, &before, seen.answered, VISIBLE_MAX).await?;
    let cost = sample.cost_until_now(server.pid(), seen.answered)?;

    progress("comparing");
    let mut verdict = Verdict::default();
    let all = compare_all(&api, &links, &expected, &seen, &mut verdict).await?;
    let estimated = client.report("/api/v1/stats").await?.totals.visitors;
    server.stop().await?;
    let visitors = all.visitors.len() as u64;
    let off = (estimated as f64 - visitors as f64).abs() / visitors.max(1) as f64;
    verdict.check(off < ESTIMATE_OFF_MAX, || {
        format!("the workspace's totals have {estimated} visitors, not about {visitors}")
    });
    Ok(DimensionsReport {
        exact: verdict.differences == 0
            && seen.answered == args.requests
            && all.totals.sum() == args.requests
            && seen.faults.is_empty(),
        seed,
        links: links.len(),
        requests: args.requests,
        answered: seen.answered,
        redirects_per_second: per_second(seen.answered, seen.elapsed),
        latency: seen.latencies.quantiles(),
        faults: seen.faults,
        expected: all.totals,
        visitors,
        visitors_estimated: estimated,
        links_compared: links.len(),
        values_compared: verdict.values,
        differences: verdict.differences,
        examples: verdict.examples,
        cost,
    })
}

/// Compares everything; what the workspace must show.
async fn compare_all(
    api: &Api,
    links: &[Link],
    expected: &[Expected],
    seen: &Seen,
    verdict: &mut Verdict,
) -> Result<Sums, Failure> {
    let mut all = Sums::default();
    let mut by_link: Vec<BTreeMap<usize, u64>> = vec![BTreeMap::new(); links.len()];
    let mut by_ask = vec![0; expected.len()];
    for &(link, ask) in &seen.log {
        by_ask[ask as usize] += 1;
        *by_link[link as usize].entry(ask as usize).or_default() += 1;
    }
    for (expected, n) in expected.iter().zip(by_ask).filter(|(_, n)| *n > 0) {
        all.add(expected, n);
    }
    compare_scope(api, "/api/v1/stats", "workspace", &all, verdict).await?;

    let stored = read_link_totals(api, links).await?;
    for (place, (link, stored)) in links.iter().zip(&stored).enumerate() {
        let mut sums = Sums::default();
        for (ask, n) in &by_link[place] {
            sums.add(&expected[*ask], *n);
        }
        verdict.check(sums.totals == *stored, || {
            format!("/{}: {stored}, not {}", link.code, sums.totals)
        });
        if place < LINKS / 2 || place >= links.len() - LINKS / 2 {
            let path = format!("/api/v1/links/{}/stats", link.id);
            compare_scope(api, &path, &format!("/{}", link.code), &sums, verdict).await?;
        }
    }
    Ok(all)
}

/// Asks for all dimensions of a scope. A filter that all people pass has visitors counted one by
/// one.
async fn compare_scope(
    api: &Api,
    path: &str,
    of: &str,
    sums: &Sums,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let mut client = ApiClient::new(api.clone());
    let dimensions: Vec<&'static str> = sums.by.keys().copied().collect();
    for part in dimensions.chunks(BY_MAX) {
        let by = part.join(",");
        let report = client.report(&format!("{path}?limit=100&by={by}")).await?;
        verdict.check(report.totals.totals == sums.totals, || {
            format!("{of}: {}, not {}", report.totals.totals, sums.totals)
        });
        verdict.compare(of, sums, part, &report);
    }
    let people = client.report(&format!("{path}?filter=kind==human")).await?;
    let (clicks, visitors) = (people.totals.totals.clicks, people.totals.visitors);
    let right = (sums.totals.clicks, sums.visitors.len() as u64);
    verdict.check((clicks, visitors) == right, || {
        format!("{of}: {clicks} clicks of {visitors} people, not {} of {}", right.0, right.1)
    });
    Ok(())
}

impl fmt::Display for DimensionsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.exact { "each dimension is exact" } else { "NOT EXACT" };
        writeln!(f, "dimensions: {verdict} (seed {})", self.seed)?;
        writeln!(
            f,
            "  redirects             {} of {} right at {:.0} a second over {} links, {}",
            self.answered, self.requests, self.redirects_per_second, self.links, self.latency
        )?;
        write!(f, "{}", self.faults)?;
        writeln!(f, "  sent                  {}", self.expected)?;
        writeln!(
            f,
            "  visitors              {}; {} in totals, where they are estimated",
            self.visitors, self.visitors_estimated
        )?;
        writeln!(
            f,
            "  compared              {} values, and the totals of {} links by kind",
            self.values_compared, self.links_compared
        )?;
        writeln!(f, "  differences           {}", self.differences)?;
        self.examples.iter().try_for_each(|example| writeln!(f, "    {example}"))?;
        write!(f, "{}", self.cost)
    }
}
