//! `kill`: what was answered is stored once, and what was acknowledged is there, through `kill -9`.
//!
//! Every request carries an id that Carom stores anyway, as the host of its `Referer`, so no build
//! for tests is needed and a sum cannot hide one click too many and one too few. Clients keep their
//! journal in memory: they are not killed. After the last restart the server drains and stops, and
//! the stored ids are read from its database and compared ([`verdict`]).

mod load;
mod report;
mod verdict;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Deserialize;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::load::{Acknowledged, Load, Visited, Visitor};
pub(crate) use self::report::KillReport;
use self::report::Outcome;
use self::verdict::{Creates, Round, StoredReferrer};
use crate::api::{Api, ApiClient, Link, Totals};
use crate::count::wait_for_totals;
use crate::failure::Failure;
use crate::installation::{Installation, Server};
use crate::population::{Rng, read_lines};
use crate::report::progress;
use crate::subject::PlaceArgs;
use crate::traffic::ONE_USER_AGENT;

/// How long the load goes on after the last restart.
const LAST_LIFE: Duration = Duration::from_secs(1);
/// Connections that look for the acknowledged links at the end.
const VERIFIERS: usize = 16;
/// Missing links that are described; the others are counted.
const EXAMPLES_MAX: usize = 10;

#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    /// The `carom` to start, kill and start again, with a data folder and ports of its own.
    #[arg(long, value_name = "PROGRAM")]
    carom: PathBuf,
    #[command(flatten)]
    place: PlaceArgs,
    /// How often to kill.
    #[arg(long, default_value_t = 20, value_parser = crate::at_least_one)]
    kills: usize,
    /// Connections of visitors, one request in flight on each.
    #[arg(long, default_value_t = 64, value_parser = crate::at_least_one)]
    connections: usize,
    /// Connections that create links at the same time.
    #[arg(long, default_value_t = 4, value_parser = crate::at_least_one)]
    creators: usize,
    /// Shortest time from ready to SIGKILL, in milliseconds.
    #[arg(long, default_value_t = 50)]
    life_ms_min: u64,
    /// Longest time from ready to SIGKILL, in milliseconds.
    #[arg(long, default_value_t = 5000)]
    life_ms_max: u64,
    /// Longest wait for the totals after the last restart, in seconds.
    #[arg(long, default_value_t = 300)]
    drain_max: u64,
    /// File of user agents, one a line [default: one common browser].
    #[arg(long, value_name = "FILE")]
    user_agents: Option<PathBuf>,
}

pub(crate) async fn run(args: &KillArgs, seed: u64) -> Result<KillReport, Failure> {
    if args.life_ms_min > args.life_ms_max {
        return Err(Failure::new("--life-ms-min is above --life-ms-max"));
    }
    // Each request has a referrer of its own: that is its id.
    let installation = args
        .place
        .installation(&args.carom, "kill")?
        .with_settings(&["edge.enrich.bound_names=false"]);
    let report = torture(args, seed, &installation).await?;
    if report.passed() && !args.place.keep {
        installation.remove()?;
    }
    Ok(report)
}

async fn torture(
    args: &KillArgs,
    seed: u64,
    installation: &Installation,
) -> Result<KillReport, Failure> {
    let mut rng = Rng::new(seed);
    let user_agents = match &args.user_agents {
        Some(file) => read_lines(file)?,
        None => vec![ONE_USER_AGENT.to_owned()],
    };
    let mut server = installation.start()?;
    server.ready().await?;
    let api = Api { control: installation.control(), key: installation.create_key().await? };

    let load = Arc::new(Load::new(installation.edge(), user_agents, args.kills));
    load.server_started(server.started);
    let mut visitors = JoinSet::new();
    for link in create_links(&api, args.connections).await? {
        let (load, rng) = (Arc::clone(&load), rng.fork());
        visitors.spawn(async move { Visitor::new(&load, rng).follow(&link).await });
    }
    let mut creators = JoinSet::new();
    for _ in 0..args.creators {
        let (load, api) = (Arc::clone(&load), api.clone());
        creators.spawn(async move { load.create(api).await });
    }
    let (server, mut rounds) = kill_rounds(args, &mut rng, installation, &load, server).await?;
    sleep(LAST_LIFE).await;
    load.stop();
    let mut visited = Visited::default();
    while let Some(its) = visitors.join_next().await {
        visited.add(its.map_err(|error| Failure::new(format!("a visitor died: {error}")))?);
    }
    let mut acknowledged = Acknowledged::default();
    while let Some(its) = creators.join_next().await {
        acknowledged.add(its.map_err(|error| Failure::new(format!("a creator died: {error}")))?);
    }

    progress(&format!("looking for {} acknowledged links", acknowledged.links.len()));
    let (creates, verified) = verify(&load, &api, acknowledged, &mut rng).await?;
    visited.add(verified);

    progress("waiting until all clicks are stored");
    let answered = visited.answered.len() as u64;
    let wait = Duration::from_secs(args.drain_max);
    let mut client = ApiClient::new(api);
    let drained = wait_for_totals(&mut client, &Totals::default(), answered, wait).await?;
    server.stop().await?;

    progress("reading the stored clicks");
    let stored = read_stored(&installation.data_dir().join("clicks.db")).await?;
    for (index, round) in rounds.iter_mut().enumerate() {
        round.cut = load.cut(index);
        let restart = load.start_to_redirect(index + 1);
        round.restart_to_redirect_ms = restart.map(|time| time.as_secs_f64() * 1e3);
    }
    let drained_after_s = drained.after.map(|after| after.as_secs_f64());
    let sent = load.sent();
    let outcome = Outcome { seed, sent, visited, stored, creates, drained_after_s, rounds };
    Ok(KillReport::new(args, outcome))
}

/// One link for each visitor.
async fn create_links(api: &Api, count: usize) -> Result<Vec<Link>, Failure> {
    let mut client = ApiClient::new(api.clone());
    let mut links = Vec::with_capacity(count);
    for n in 0..count {
        let code = format!("visitor-{n}");
        let created = client.create(&format!("https://www.example.com/{code}"), Some(&code)).await;
        links.push(created.map_err(|error| {
            Failure::new(format!("cannot create the visitors' links: {error}"))
        })?);
    }
    Ok(links)
}

/// Kills and restarts; returns the server of the last restart, ready.
async fn kill_rounds<'a>(
    args: &KillArgs,
    rng: &mut Rng,
    installation: &'a Installation,
    load: &Load,
    mut server: Server<'a>,
) -> Result<(Server<'a>, Vec<Round>), Failure> {
    let mut rounds = Vec::with_capacity(args.kills);
    let spread = usize::try_from(args.life_ms_max - args.life_ms_min).unwrap_or(usize::MAX - 1);
    for kill in 1..=args.kills {
        let life_ms = args.life_ms_min + rng.below(spread + 1) as u64;
        sleep(Duration::from_millis(life_ms)).await;
        let in_flight = load.in_flight();
        server.kill().await?;
        load.server_gone();
        rounds.push(Round { life_ms, in_flight, ..Round::default() });

        server = installation.start()?;
        load.server_started(server.started);
        server.ready().await?;
        progress(&format!(
            "kill {kill} of {} after {life_ms} ms with {in_flight} in flight; ready again in {} ms",
            args.kills,
            server.started.elapsed().as_millis()
        ));
    }
    Ok((server, rounds))
}

/// Looks for each acknowledged link on the edge and in the API. The visits carry ids too: their
/// clicks are compared like all others.
async fn verify(
    load: &Arc<Load>,
    api: &Api,
    acknowledged: Acknowledged,
    rng: &mut Rng,
) -> Result<(Creates, Visited), Failure> {
    let Acknowledged { links, cut, refused, refused_examples } = acknowledged;
    let mut creates = Creates {
        acknowledged: links.len() as u64,
        cut,
        refused,
        refused_examples,
        ..Creates::default()
    };
    let mut verifiers = JoinSet::new();
    for part in links.chunks(links.len().div_ceil(VERIFIERS).max(1)) {
        let (load, rng, part) = (Arc::clone(load), rng.fork(), part.to_vec());
        let mut client = ApiClient::new(api.clone());
        verifiers.spawn(async move {
            let mut visitor = Visitor::new(&load, rng);
            let mut missing = Vec::new();
            for link in part {
                missing.extend(look_for(&link, &mut visitor, &mut client).await);
            }
            (missing, visitor.finish())
        });
    }
    let mut visited = Visited::default();
    while let Some(result) = verifiers.join_next().await {
        let (missing, its) =
            result.map_err(|error| Failure::new(format!("a verifier died: {error}")))?;
        visited.add(its);
        creates.missing += missing.len() as u64;
        creates.missing_examples.extend(missing);
    }
    creates.missing_examples.truncate(EXAMPLES_MAX);
    Ok((creates, visited))
}

/// Why `link` counts as missing; `None` if it is there.
async fn look_for(
    link: &Link,
    visitor: &mut Visitor<'_>,
    client: &mut ApiClient,
) -> Option<String> {
    let code = &link.code;
    match visitor.visit(link).await {
        Ok(true) => {}
        Ok(false) => return Some(format!("/{code} does not lead to {}", link.url)),
        Err(error) => return Some(format!("/{code}: {error}")),
    }
    match client.link(&link.id).await {
        Ok(found) if found.code == *code && found.url == link.url => None,
        Ok(found) => Some(format!("link {} is {} to {}", link.id, found.code, found.url)),
        Err(error) => Some(format!("link {} ({code}): {error}", link.id)),
    }
}

/// What is stored: how far the rollup is from the clicks, and the clicks by referrer.
struct Stored {
    rollup_differences: u64,
    referrers: Vec<StoredReferrer>,
}

async fn read_stored(database: &Path) -> Result<Stored, Failure> {
    #[derive(Deserialize)]
    struct Rollup {
        rollup_differences: u64,
    }
    let begun = Instant::now();
    let mut command = Command::new("python3");
    command.arg("-c").arg(include_str!("kill/stored_clicks.py")).arg(database);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.map_err(|error| {
        Failure::new(format!("cannot run python3, which reads the click database: {error}"))
    })?;
    let fail = |what: &str| {
        let text = String::from_utf8_lossy(&output.stderr);
        Failure::new(format!("{what} from {}: {text}", database.display()))
    };
    if !output.status.success() {
        return Err(fail("cannot read the stored clicks"));
    }
    let mut lines = output.stdout.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    let rollup = lines.next().and_then(|line| serde_json::from_slice(line).ok());
    let Rollup { rollup_differences } = rollup.ok_or_else(|| fail("no answer"))?;
    let referrers = lines.map(serde_json::from_slice).collect::<Result<_, _>>();
    let referrers: Vec<_> = referrers.map_err(|error| fail(&error.to_string()))?;
    progress(&format!("read {} referrers in {:.1?}", referrers.len(), begun.elapsed()));
    Ok(Stored { rollup_differences, referrers })
}

impl Visited {
    fn add(&mut self, other: Self) {
        self.answered.extend(other.answered);
        self.wrong += other.wrong;
        self.wrong_examples.extend(other.wrong_examples);
        self.wrong_examples.truncate(EXAMPLES_MAX);
        self.cut += other.cut;
    }
}

impl Acknowledged {
    fn add(&mut self, other: Self) {
        self.links.extend(other.links);
        self.cut += other.cut;
        self.refused += other.refused;
        self.refused_examples.extend(other.refused_examples);
        self.refused_examples.truncate(EXAMPLES_MAX);
    }
}
