//! `kill`: what was answered is stored once, and what was acknowledged is there, through `kill -9`.
//!
//! Every request carries an id that Carom stores anyway, as the host of its `Referer`, so no build
//! for tests is needed and a sum cannot hide one click too many and one too few. Creators make
//! links, and editors change, delete and restore some. Clients keep their journal in memory: they
//! are not killed. After the last restart the server drains and stops, and the stored ids are read
//! from its database and compared ([`verdict`]).
//!
//! At full speed requests carry nothing, and there are no creators and editors: each visitor has a
//! link to itself, whose sum is compared ([`sums`]).

mod crew;
mod edits;
mod load;
mod met;
mod possible;
mod report;
mod stored;
mod sums;
mod verdict;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::time::sleep;

use self::crew::{Crew, Seen};
use self::load::{Load, Visited};
use self::met::{Met, Metrics};
pub(crate) use self::report::KillReport;
use self::report::Outcome;
use self::stored::{By, Hours, read_stored};
use self::sums::{LinkSeen, Sums};
use self::verdict::{ById, Creates, Edits, Journal, Proof, Round, StoredCount};
use self::verify::verify;
use crate::api::{Api, ApiClient, Link, Totals};
use crate::count::{read_link_totals, wait_for_totals};
use crate::failure::Failure;
use crate::installation::{Installation, Server};
use crate::population::{Rng, read_lines};
use crate::report::progress;
use crate::subject::PlaceArgs;
use crate::traffic::ONE_USER_AGENT;

/// How long the load goes on after the last restart.
const LAST_LIFE: Duration = Duration::from_secs(1);
/// Between reading a server's metrics and killing it, at most: so that kills come at any moment of
/// what it does, and not right after it has answered.
const METRICS_TO_KILL_MAX_MS: usize = 20;

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
    /// Send requests without ids, over links that have a connection each, and compare sums.
    #[arg(long)]
    full_speed: bool,
    /// Connections of visitors, one request in flight on each.
    #[arg(long, default_value_t = 64, value_parser = crate::at_least_one)]
    connections: usize,
    /// Connections that create links at the same time; none at full speed.
    #[arg(long, default_value_t = 4, value_parser = crate::at_least_one)]
    creators: usize,
    /// Connections that change, delete and restore links at the same time; none at full speed.
    #[arg(long, default_value_t = 4, value_parser = crate::at_least_one)]
    editors: usize,
    /// Setting of the server, as `carom serve` takes it; may be repeated.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    settings: Vec<String>,
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
    let mut settings = vec!["edge.enrich.bound_names=false"];
    settings.extend(args.settings.iter().map(String::as_str));
    let installation = args.place.installation(&args.carom, "kill")?.with_settings(&settings);
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

    let has_ids = !args.full_speed;
    let load = Arc::new(Load::new(installation.edge(), user_agents, has_ids, args.kills));
    load.server_started(server.started);
    let crew = Crew::start(args, &load, &api, &mut rng).await?;
    let begun = Instant::now();
    let mut met = Met::default();
    let killing = kill_rounds(args, &mut rng, installation, &load, &mut met, server);
    let (server, mut rounds) = killing.await?;
    sleep(LAST_LIFE).await;
    load.stop();
    let seen = crew.finish().await?;
    let seconds = begun.elapsed().as_secs_f64();
    let (mut claims, visited) = Claims::of(args, seen, &load, &api, &mut rng).await?;

    progress("waiting until all clicks are stored");
    let wait = Duration::from_secs(args.drain_max);
    let mut client = ApiClient::new(api.clone());
    let drained = wait_for_totals(&mut client, &Totals::default(), visited.answered, wait).await?;
    claims.read_totals(&api).await?;
    let hours = client.hours().await?;
    met.count_life(&Metrics::read(installation.edge_admin()).await?);
    server.stop().await?;

    progress("reading the stored clicks");
    let database = installation.data_dir().join("clicks.db");
    let stored = read_stored(&database, claims.counted_by()).await?;
    for (index, round) in rounds.iter_mut().enumerate() {
        round.cut = load.cut(index);
        let restart = load.start_to_redirect(index + 1);
        round.restart_to_redirect_ms = restart.map(|time| time.as_secs_f64() * 1e3);
    }
    let outcome = Outcome {
        seed,
        seconds,
        sent: load.sent(),
        proof: claims.compare(args, load.sent(), &visited, &stored.counts),
        visited,
        rollup_differences: stored.rollup_differences,
        hour_differences: differences(&hours, &stored.hours),
        met,
        drained_after_s: drained.after.map(|after| after.as_secs_f64()),
        rounds,
    };
    Ok(KillReport::new(args, outcome))
}

/// What must be true, from what clients saw.
enum Claims {
    ById { creates: Creates, edits: Box<Edits> },
    ByLink(Vec<(Link, LinkSeen)>),
}

impl Claims {
    /// Looks for what was acknowledged; gives what visitors saw in all, this look included.
    async fn of(
        args: &KillArgs,
        seen: Seen,
        load: &Arc<Load>,
        api: &Api,
        rng: &mut Rng,
    ) -> Result<(Self, Visited), Failure> {
        let Seen { by_link, acknowledged, edits, by_editors } = seen;
        let mut visited = by_editors;
        if args.full_speed {
            let mut links = Vec::with_capacity(by_link.len());
            for (link, its) in by_link {
                let Visited { answered, cut, .. } = its;
                let seen = LinkSeen { link: link.id.clone(), answered, cut, shown: 0 };
                links.push((link, seen));
                visited.add(its);
            }
            return Ok((Self::ByLink(links), visited));
        }
        by_link.into_iter().for_each(|(_, its)| visited.add(its));
        progress(&format!("looking for {} acknowledged links", acknowledged.links.len()));
        let others = args.connections as u64 + edits.links_there;
        let (creates, its) = verify(load, api, acknowledged, others, rng).await?;
        visited.add(its);
        Ok((Self::ById { creates, edits: Box::new(edits) }, visited))
    }

    /// Reads what the API shows for each link that has a sum.
    async fn read_totals(&mut self, api: &Api) -> Result<(), Failure> {
        if let Self::ByLink(seen) = self {
            let links: Vec<_> = seen.iter().map(|(link, _)| link.clone()).collect();
            let totals = read_link_totals(api, &links).await?;
            let pairs = seen.iter_mut().zip(totals);
            pairs.for_each(|((_, seen), totals)| seen.shown = totals.sum());
        }
        Ok(())
    }

    const fn counted_by(&self) -> By {
        match self {
            Self::ById { .. } => By::Referrer,
            Self::ByLink(_) => By::Link,
        }
    }

    fn compare(
        self,
        args: &KillArgs,
        sent: u64,
        visited: &Visited,
        stored: &[StoredCount],
    ) -> Proof {
        match self {
            Self::ById { creates, edits } => {
                let journal = Journal { sent, answered: &visited.ids };
                // Editors visit links too.
                let extras_max = (args.connections + args.editors) * args.kills;
                let clicks = journal.judge(stored, extras_max as u64);
                Proof::ById(Box::new(ById { clicks, creates, edits: *edits }))
            }
            Self::ByLink(seen) => {
                let seen: Vec<_> = seen.into_iter().map(|(_, seen)| seen).collect();
                Proof::ByLink { sums: Sums::judge(&seen, stored) }
            }
        }
    }
}

/// In how many hours two accounts differ.
fn differences(some: &Hours, others: &Hours) -> u64 {
    let differs = |hour: &&i64| some.get(*hour) != others.get(*hour);
    let of_some = some.keys().filter(differs).count();
    (of_some + others.keys().filter(|hour| !some.contains_key(hour)).count()) as u64
}

/// Kills and restarts; returns the server of the last restart, ready.
async fn kill_rounds<'a>(
    args: &KillArgs,
    rng: &mut Rng,
    installation: &'a Installation,
    load: &Load,
    met: &mut Met,
    mut server: Server<'a>,
) -> Result<(Server<'a>, Vec<Round>), Failure> {
    let mut rounds = Vec::with_capacity(args.kills);
    let spread = usize::try_from(args.life_ms_max - args.life_ms_min).unwrap_or(usize::MAX - 1);
    for kill in 1..=args.kills {
        let life_ms = args.life_ms_min + rng.below(spread + 1) as u64;
        sleep(Duration::from_millis(life_ms)).await;
        met.count_life(&Metrics::read(installation.edge_admin()).await?);
        sleep(Duration::from_millis(rng.below(METRICS_TO_KILL_MAX_MS + 1) as u64)).await;
        let in_flight = load.in_flight();
        server.kill().await?;
        load.server_gone();
        met.count_left(&installation.data_dir())?;
        rounds.push(Round { life_ms, in_flight, ..Round::default() });

        server = installation.start()?;
        load.server_started(server.started);
        server.ready().await?;
        met.count_found(&Metrics::read(installation.edge_admin()).await?);
        progress(&format!(
            "kill {kill} of {} after {life_ms} ms with {in_flight} in flight; ready again in {} ms",
            args.kills,
            server.started.elapsed().as_millis()
        ));
    }
    Ok((server, rounds))
}

impl ApiClient {
    /// Clicks of people and of bots by hour, without the hours that have none.
    async fn hours(&mut self) -> Result<Hours, Failure> {
        #[derive(Deserialize)]
        struct Stats {
            series: Vec<Point>,
        }
        #[derive(Deserialize)]
        struct Point {
            at: String,
            clicks: u64,
            bots: u64,
        }
        const PATH: &str = "/api/v1/stats?interval=hour";
        let stats: Result<Stats, _> = self.get(PATH).await;
        let stats = stats.map_err(|error| Failure::new(format!("GET {PATH}: {error}")))?;
        let points = stats.series.into_iter().filter(|point| point.clicks + point.bots > 0);
        let hour = |Point { at, clicks, bots }| {
            let at: Timestamp = at.parse().map_err(|_| Failure::new(format!("{at} is no time")))?;
            Ok((at.as_second(), [clicks, bots]))
        };
        points.map(hour).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_differ_where_either_side_has_something_else() {
        let hours = |hours: &[(i64, [u64; 2])]| hours.iter().copied().collect::<Hours>();
        let stored = hours(&[(0, [1, 0]), (3600, [2, 1])]);
        for (shown, expected) in [
            (&[(0, [1, 0]), (3600, [2, 1])][..], 0),
            (&[(0, [1, 0])], 1),
            (&[(0, [1, 0]), (3600, [2, 1]), (7200, [1, 0])], 1),
            (&[(0, [1, 1]), (3600, [1, 2])], 2),
            (&[], 2),
        ] {
            assert_eq!(differences(&hours(shown), &stored), expected, "{shown:?}");
        }
    }
}
