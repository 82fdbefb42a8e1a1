//! `redirects`: how many redirects a second, and what each costs, with every answer checked.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::count::routes;
use crate::failure::Failure;
use crate::latency::Quantiles;
use crate::links::{self, Enough};
use crate::population::{Rng, Zipf, made_up_urls, read_lines};
use crate::process::Cost;
use crate::report::{per_second, progress};
use crate::subject::{Subject, SubjectArgs};
use crate::traffic::{Ask, Faults, ONE_USER_AGENT, Route, Traffic, Until};

/// Connections that create the links.
const CREATE_CONNECTIONS: usize = 8;

#[derive(Debug, Args)]
pub(crate) struct RedirectsArgs {
    #[command(flatten)]
    subject: SubjectArgs,
    /// File of codes that exist, one a line; without it, links are created.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["links", "urls"])]
    codes: Option<PathBuf>,
    /// Links to create.
    #[arg(long, default_value_t = 1000, value_parser = crate::at_least_one)]
    links: usize,
    /// File of URLs to shorten, one a line [default: made-up ones of 60 bytes].
    #[arg(long, value_name = "FILE")]
    urls: Option<PathBuf>,
    /// File of user agents, one a line [default: one common browser].
    #[arg(long, value_name = "FILE")]
    user_agents: Option<PathBuf>,
    /// How long to measure, in seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// How long to run before that without measuring, in seconds.
    #[arg(long, default_value_t = 1)]
    warm_up: u64,
    /// Connections of visitors, one request in flight on each.
    #[arg(long, default_value_t = 32, value_parser = crate::at_least_one)]
    connections: usize,
    /// Exponent of Zipf's law over the links; 0 hits all alike.
    #[arg(long, default_value_t = 1.0)]
    zipf: f64,
    /// A setting of the installation that is started, such as spool.durability=always; may be
    /// repeated.
    #[arg(long = "set", value_name = "NAME=VALUE", requires = "carom")]
    settings: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct RedirectsReport {
    seed: u64,
    links: usize,
    connections: usize,
    seconds: f64,
    answered: u64,
    faults: Faults,
    redirects_per_second: f64,
    latency: Quantiles,
    cost: Option<Cost>,
}

impl RedirectsReport {
    pub(crate) const fn passed(&self) -> bool {
        self.answered > 0 && self.faults.is_empty()
    }
}

pub(crate) async fn run(args: &RedirectsArgs, seed: u64) -> Result<RedirectsReport, Failure> {
    let settings: Vec<&str> = args.settings.iter().map(String::as_str).collect();
    let installation = args.subject.installation("redirects")?;
    let installation = installation.map(|of| of.with_settings(&settings));
    let subject = args.subject.subject(installation.as_ref()).await?;
    let report = measure(args, seed, &subject).await?;
    subject.stop().await?;
    if report.passed() {
        args.subject.finish(installation.as_ref())?;
    }
    Ok(report)
}

async fn measure(
    args: &RedirectsArgs,
    seed: u64,
    subject: &Subject<'_>,
) -> Result<RedirectsReport, Failure> {
    let routes = find_or_create(args, subject).await?;
    let user_agents = match &args.user_agents {
        Some(file) => read_lines(file)?,
        None => vec![ONE_USER_AGENT.to_owned()],
    };
    let asks: Vec<_> = user_agents.iter().map(|agent| Ask::with_agent(agent)).collect();
    let links = routes.len();
    let mut rng = Rng::new(seed);
    let traffic = |seconds| Traffic {
        edge: subject.edge,
        host: subject.host.clone(),
        routes: routes.clone(),
        zipf: Zipf::new(links, args.zipf),
        asks: asks.clone(),
        is_logged: false,
        connections: args.connections,
        until: Until::Elapsed(Duration::from_secs(seconds)),
    };
    let warm_up = traffic(args.warm_up).run(&mut rng).await?;
    progress(&format!("asking for redirects for {} s", args.seconds));
    let sample = subject.sample()?;
    let mut seen = traffic(args.seconds).run(&mut rng).await?;
    let cost = subject.cost(sample.as_ref(), seen.answered)?;
    seen.faults.add(warm_up.faults);
    Ok(RedirectsReport {
        seed,
        links,
        connections: args.connections,
        seconds: seen.elapsed.as_secs_f64(),
        answered: seen.answered,
        faults: seen.faults,
        redirects_per_second: per_second(seen.answered, seen.elapsed),
        latency: seen.latencies.quantiles(),
        cost,
    })
}

async fn find_or_create(
    args: &RedirectsArgs,
    subject: &Subject<'_>,
) -> Result<Vec<Route>, Failure> {
    if let Some(file) = &args.codes {
        let codes = read_lines(file)?;
        return Ok(codes.into_iter().map(|code| Route { code, location: None }).collect());
    }
    progress(&format!("creating {} links", args.links));
    let urls = match &args.urls {
        Some(file) => read_lines(file)?,
        None => made_up_urls(args.links),
    };
    let enough = Enough::Accepted(args.links);
    let created = links::create(subject.api()?, &urls.into(), CREATE_CONNECTIONS, enough).await?;
    Ok(routes(&created.links))
}

impl fmt::Display for RedirectsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "redirects: {:.0} a second (seed {})", self.redirects_per_second, self.seed)?;
        writeln!(
            f,
            "  redirects             {} right in {:.1} s over {} connections and {} links",
            self.answered, self.seconds, self.connections, self.links
        )?;
        write!(f, "{}", self.faults)?;
        writeln!(f, "  latency               {}", self.latency)?;
        self.cost.as_ref().map_or(Ok(()), |cost| write!(f, "{cost}"))
    }
}
