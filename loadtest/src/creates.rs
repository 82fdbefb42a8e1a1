//! `creates`: how many links a second, single calls, each durable when it is answered.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::failure::Failure;
use crate::latency::Quantiles;
use crate::links::{self, Enough, Refused};
use crate::population::{made_up_urls, read_lines};
use crate::process::Cost;
use crate::report::{per_second, progress};
use crate::subject::{Subject, SubjectArgs};

/// Made-up URLs that are used in turn, where no list is given.
const MADE_UP_URLS: usize = 10_000;

#[derive(Debug, Args)]
pub(crate) struct CreatesArgs {
    #[command(flatten)]
    subject: SubjectArgs,
    /// File of URLs to shorten, one a line, used again from the first when all were [default:
    /// made-up ones of 60 bytes].
    #[arg(long, value_name = "FILE")]
    urls: Option<PathBuf>,
    /// How long to create, in seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Connections that create links, one request in flight on each.
    #[arg(long, default_value_t = 32, value_parser = crate::at_least_one)]
    connections: usize,
}

#[derive(Debug, Serialize)]
pub(crate) struct CreatesReport {
    connections: usize,
    seconds: f64,
    created: u64,
    refused: Refused,
    creates_per_second: f64,
    latency: Quantiles,
    cost: Option<Cost>,
}

impl CreatesReport {
    pub(crate) const fn passed(&self) -> bool {
        self.created > 0
    }
}

pub(crate) async fn run(args: &CreatesArgs) -> Result<CreatesReport, Failure> {
    let installation = args.subject.installation("creates")?;
    let subject = args.subject.subject(installation.as_ref()).await?;
    let report = measure(args, &subject).await?;
    subject.stop().await?;
    if report.passed() {
        args.subject.finish(installation.as_ref())?;
    }
    Ok(report)
}

async fn measure(args: &CreatesArgs, subject: &Subject<'_>) -> Result<CreatesReport, Failure> {
    let urls: Arc<[String]> = match &args.urls {
        Some(file) => read_lines(file)?.into(),
        None => made_up_urls(MADE_UP_URLS).into(),
    };
    progress(&format!("creating links for {} s", args.seconds));
    let sample = subject.sample()?;
    let enough = Enough::Elapsed(Duration::from_secs(args.seconds));
    let created = links::create(subject.api()?, &urls, args.connections, enough).await?;
    let count = created.links.len() as u64;
    Ok(CreatesReport {
        connections: args.connections,
        seconds: created.elapsed.as_secs_f64(),
        created: count,
        refused: created.refused,
        creates_per_second: per_second(count, created.elapsed),
        latency: created.latencies.quantiles(),
        cost: subject.cost(sample.as_ref(), count)?,
    })
}

impl fmt::Display for CreatesReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "creates: {:.0} a second", self.creates_per_second)?;
        writeln!(
            f,
            "  links                 {} in {:.1} s over {} connections",
            self.created, self.seconds, self.connections
        )?;
        writeln!(f, "  refused URLs          {}", self.refused.count)?;
        write!(f, "{}", self.refused)?;
        writeln!(f, "  latency               {}", self.latency)?;
        self.cost.as_ref().map_or(Ok(()), |cost| write!(f, "{cost}"))
    }
}
