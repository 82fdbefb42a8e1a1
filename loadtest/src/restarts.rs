//! `restarts`: visitors do not notice that the server is restarted or replaced.
//!
//! They come at a constant rate, whatever the server does: most on connections that they keep, the
//! others on new ones. This program holds the socket and hands it to each server (`LISTEN_FDS`), as
//! systemd does. A **restart** ends the old process and then starts the new one; visitors wait in the
//! socket's queue. An **upgrade** of `carom` is the same with another program, because one folder has
//! one process. An upgrade of `carom-edge` hands over: the new one serves before the old one is told
//! to stop, each with a spool of its own.
//!
//! Nobody may be refused, reset or answered wrongly, and each link must have as many clicks as it was
//! answered.

mod lives;
mod load;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::time::sleep;

use self::lives::{Lives, Stage};
use self::load::{Load, Plan};
pub(crate) use self::report::RestartsReport;
use self::report::{Change, SubjectReport, Switch};
use crate::api::{Api, ApiClient, Link, Totals};
use crate::count::{read_link_totals, wait_for_totals};
use crate::failure::Failure;
use crate::installation::Installation;
use crate::population::Rng;
use crate::report::progress;
use crate::subject::PlaceArgs;

/// How long the visitors come before the first switch.
const CALM: Duration = Duration::from_secs(2);
/// Longest wait for the totals.
const DRAIN_MAX: Duration = Duration::from_secs(120);

#[derive(Debug, Args)]
pub(crate) struct RestartsArgs {
    /// The `carom` to restart, and the control plane of `--carom-edge`.
    #[arg(long, value_name = "PROGRAM")]
    carom: PathBuf,
    /// What upgrades of `carom` start [default: the same].
    #[arg(long, value_name = "PROGRAM")]
    carom_to: Option<PathBuf>,
    /// The `carom-edge` to restart and upgrade as well.
    #[arg(long, value_name = "PROGRAM")]
    carom_edge: Option<PathBuf>,
    /// What every second upgrade of `carom-edge` starts, from the first on [default: the same].
    #[arg(long, value_name = "PROGRAM", requires = "carom_edge")]
    carom_edge_to: Option<PathBuf>,
    #[command(flatten)]
    place: PlaceArgs,
    /// Restarts of each program.
    #[arg(long, default_value_t = 10)]
    restarts: usize,
    /// Upgrades of each program.
    #[arg(long, default_value_t = 10)]
    upgrades: usize,
    /// Requests a second.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..1_000_000))]
    rate: u32,
    /// Visitors, one request in flight of each; each has a link to itself.
    #[arg(long, default_value_t = 200, value_parser = crate::at_least_one)]
    visitors: usize,
    /// Of 100 requests, so many come on a connection of their own.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(0..=100))]
    new_percent: u8,
    /// After each switch, in milliseconds.
    #[arg(long, default_value_t = 2000)]
    life_ms: u64,
    /// Setting of the servers, as `serve` takes it; may be repeated.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    settings: Vec<String>,
}

pub(crate) async fn run(args: &RestartsArgs, seed: u64) -> Result<RestartsReport, Failure> {
    let mut subjects = vec![subject(args, seed, Stage::Carom).await?];
    if args.carom_edge.is_some() {
        subjects.push(subject(args, seed, Stage::Edge).await?);
    }
    Ok(RestartsReport { seed, rate: args.rate, visitors: args.visitors, subjects })
}

async fn subject(args: &RestartsArgs, seed: u64, stage: Stage) -> Result<SubjectReport, Failure> {
    let name = format!("restarts-{}", stage.name());
    let installation = args.place.installation(&args.carom, &name)?;
    let settings: Vec<&str> = args.settings.iter().map(String::as_str).collect();
    let installation = match stage {
        Stage::Carom => installation.with_settings(&settings),
        Stage::Edge => installation,
    };
    let report = measure(args, seed, stage, &installation).await?;
    if report.passed() && !args.place.keep {
        installation.remove()?;
    }
    Ok(report)
}

async fn measure(
    args: &RestartsArgs,
    seed: u64,
    stage: Stage,
    installation: &Installation,
) -> Result<SubjectReport, Failure> {
    let programs = match stage {
        Stage::Carom => [Some(&args.carom), args.carom_to.as_ref()],
        Stage::Edge => [args.carom_edge.as_ref(), args.carom_edge_to.as_ref()],
    };
    let mut lives = Lives::begin(stage, installation, programs, &args.settings).await?;
    let api = Api { control: installation.control(), key: installation.create_key().await? };
    let links = create_links(&api, args.visitors).await?;

    progress(&format!("{}: {} requests a second", stage.name(), args.rate));
    let plan = Plan {
        edge: lives.visitors(),
        host: installation.edge().to_string(),
        pause: Duration::from_secs(1) * u32::try_from(args.visitors).unwrap_or(1) / args.rate,
        new_percent: args.new_percent,
    };
    let load = Load::begin(plan, &links, &mut Rng::new(seed));
    sleep(CALM).await;
    let mut switches = Vec::with_capacity(args.restarts + args.upgrades);
    let changes = std::iter::repeat_n(Change::Restart, args.restarts)
        .chain(std::iter::repeat_n(Change::Upgrade, args.upgrades));
    for change in changes {
        load.switch_begins();
        let switched = lives.switch(change).await;
        load.switch_ends();
        let (old_ends, new_serves) = switched?;
        // Who waited is answered meanwhile.
        sleep(Duration::from_millis(args.life_ms)).await;
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let switch = Switch {
            change,
            old_ends_ms: ms(old_ends),
            new_serves_ms: ms(new_serves),
            longest_wait_ms: ms(load.longest_wait()),
        };
        progress(&format!("{}: {switch}", stage.name()));
        switches.push(switch);
    }
    let seen = load.end().await?;

    progress("waiting until all clicks are stored");
    let answered: u64 = seen.by_link.iter().sum();
    let mut client = ApiClient::new(api.clone());
    let drained = wait_for_totals(&mut client, &Totals::default(), answered, DRAIN_MAX).await?;
    let totals = read_link_totals(&api, &links).await?;
    lives.end().await?;
    let stored: Vec<u64> = totals.iter().map(Totals::sum).collect();
    let in_all = drained.grown.map_or(0, |grown| grown.sum());
    Ok(SubjectReport::new(stage.name(), switches, seen, &stored, in_all))
}

async fn create_links(api: &Api, count: usize) -> Result<Vec<Link>, Failure> {
    let mut client = ApiClient::new(api.clone());
    let mut links = Vec::with_capacity(count);
    for n in 0..count {
        let code = format!("visitor-{n}");
        let created = client.create(&format!("https://www.example.com/{code}"), Some(&code)).await;
        links
            .push(created.map_err(|error| Failure::new(format!("cannot create a link: {error}")))?);
    }
    Ok(links)
}
