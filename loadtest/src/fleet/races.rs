//! `fleet races`: a code that is deleted while it is looked up, and made again, on racing edges.
//!
//! In each race somebody asks every edge for one code all the time, from before it exists until after
//! it was made a second time: so questions to Redis and to the control planes are under way whenever
//! the link is made, deleted and made again, and changes arrive in between. Each answer is judged as in
//! `fleet faults`; after the last acknowledgement every edge must lead to the second target within
//! [`SETTLE_MAX`], and must still do so when all races are over. Meanwhile Redis is now quick, now
//! slower than edges wait for it, so that answers and changes overtake each other.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::check::Wrong;
use super::faults::{Asker, Judged, Purpose, Verdict, World};
use super::member::Member;
use super::proxy::Proxy;
use super::{Fleet, FleetPlace, Kind, Ports};
use crate::at_least_one;
use crate::failure::Failure;
use crate::latency::{Latencies, Quantiles};
use crate::population::Rng;
use crate::report::progress;

/// A takedown is visible within 5 s.
const SETTLE_MAX: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(2);
/// Between two questions to an edge while a code changes.
const ASK_EVERY: Duration = Duration::from_micros(500);
/// Before everybody is asked once more.
const REST: Duration = Duration::from_secs(2);
/// Milliseconds that answers of Redis come later; each for so many races.
const DELAYS_MS: [u64; 4] = [0, 4, 20, 70];
const RACES_PER_DELAY: usize = 100;
const PLACE_OF_WIRE: usize = 20;

#[derive(Debug, Args)]
pub(crate) struct RacesArgs {
    /// Codes that are made, deleted and made again.
    #[arg(long, default_value_t = 10_000, value_parser = at_least_one)]
    races: usize,
    /// Races at the same time.
    #[arg(long, default_value_t = 8, value_parser = at_least_one)]
    parallel: usize,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub(crate) struct RacesReport {
    seed: u64,
    races: usize,
    edges: usize,
    /// Answers while codes changed.
    asked: u64,
    /// Of these: 503, because nobody could say.
    unsure: u64,
    /// Answers that the model does not allow, and none at all.
    wrong: Wrong,
    failed: Wrong,
    /// Calls of control planes that were not acknowledged: void.
    unacknowledged: u64,
    /// From the last acknowledgement until the last edge was right.
    until_right: Quantiles,
    /// Edges that were not right in time.
    late: Wrong,
    /// Edges that had the old target, or another wrong answer, when all was over.
    left_wrong: Wrong,
}

impl RacesReport {
    pub(crate) fn passed(&self) -> bool {
        let wrong = [&self.wrong, &self.failed, &self.late, &self.left_wrong];
        self.unacknowledged == 0 && wrong.iter().all(|of| of.count == 0)
    }
}

/// What one racer saw.
struct Seen {
    until_right: Latencies,
    late: Wrong,
    unacknowledged: u64,
    codes: Vec<(String, String)>,
}

/// Brings a fleet up, runs the races, and takes it down.
pub(crate) async fn run(
    place: &FleetPlace,
    args: &RacesArgs,
    seed: u64,
) -> Result<RacesReport, Failure> {
    progress("bringing the fleet up ...");
    let ports = Ports(place.first_port);
    let own_redis = place.redis_url.is_none() && !place.no_redis;
    let wire = ports.at(Kind::Balancer, PLACE_OF_WIRE);
    let wire = match own_redis {
        true => Some(Arc::new(Proxy::start(wire, ports.store(1)).await?)),
        false => None,
    };
    let place =
        FleetPlace { redis_wire: wire.as_ref().map(|wire| wire.address()), ..place.clone() };
    let fleet = Fleet::start(&place).await?;
    let admins = (0..fleet.edges.len()).map(|n| ports.at(Kind::EdgeAdmin, n));
    let edges = fleet.edges.iter().map(Member::address).zip(admins);
    let apis = (0..fleet.controls.len()).map(|n| fleet.api(n)).collect();
    let world = Arc::new(World::of(edges, apis));

    progress(&format!("{} races, {} at a time ...", args.races, args.parallel));
    let next = Arc::new(AtomicUsize::new(0));
    let mut rng = Rng::new(seed);
    let mut racers = JoinSet::new();
    for _ in 0..args.parallel {
        let racer = Racer {
            world: Arc::clone(&world),
            wire: wire.clone(),
            next: Arc::clone(&next),
            races: args.races,
            rng: rng.fork(),
        };
        racers.spawn(racer.run());
    }
    let mut all = Seen::nothing();
    for seen in racers.join_all().await {
        all.add(seen);
    }
    if let Some(wire) = &wire {
        wire.set_delay(Duration::ZERO);
    }
    sleep(REST).await;
    progress("every edge is asked for every code once more ...");
    let left_wrong = once_more(&world, &all.codes).await;
    let (counts, _pass) = world.settle().await;
    fleet.stop().await?;
    Ok(RacesReport {
        seed,
        races: args.races,
        edges: place.edges,
        asked: counts.changing,
        unsure: counts.changing_unsure,
        wrong: counts.wrong,
        failed: counts.failed,
        unacknowledged: all.unacknowledged,
        until_right: all.until_right.quantiles(),
        late: all.late,
        left_wrong,
    })
}

/// Codes and their targets, on every edge.
async fn once_more(world: &World, codes: &[(String, String)]) -> Wrong {
    let mut wrong = Wrong::default();
    for (n, edge) in world.edges.iter().enumerate() {
        let mut asker = Asker::of(edge.address);
        for (code, target) in codes {
            if !world.leads_to(&mut asker, n, code, target).await {
                wrong.note(|| format!("edge-{}: /{code} does not lead to {target}", n + 1));
            }
        }
    }
    wrong
}

impl Seen {
    fn nothing() -> Self {
        let late = Wrong::default();
        Self { until_right: Latencies::new(), late, unacknowledged: 0, codes: Vec::new() }
    }

    fn add(&mut self, other: Self) {
        self.until_right.add(&other.until_right);
        self.late.add(other.late);
        self.unacknowledged += other.unacknowledged;
        self.codes.extend(other.codes);
    }
}

/// Runs one race after the other.
struct Racer {
    world: Arc<World>,
    wire: Option<Arc<Proxy>>,
    /// Races that have begun, of all racers.
    next: Arc<AtomicUsize>,
    races: usize,
    rng: Rng,
}

impl Racer {
    async fn run(mut self) -> Seen {
        let mut seen = Seen::nothing();
        loop {
            let race = self.next.fetch_add(1, Ordering::Relaxed);
            if race >= self.races {
                return seen;
            }
            if race.is_multiple_of(RACES_PER_DELAY)
                && let Some(wire) = &self.wire
            {
                let ms = DELAYS_MS[race / RACES_PER_DELAY % DELAYS_MS.len()];
                wire.set_delay(Duration::from_millis(ms));
            }
            if self.race(&mut seen).await.is_none() {
                seen.unacknowledged += 1;
            }
        }
    }

    /// `None`: a call was not acknowledged.
    async fn race(&mut self, seen: &mut Seen) -> Option<()> {
        let code = super::faults::made_up(&mut self.rng);
        let over = Arc::new(AtomicBool::new(false));
        let mut askers = JoinSet::new();
        for edge in 0..self.world.edges.len() {
            askers.spawn(ask(Arc::clone(&self.world), edge, code.clone(), Arc::clone(&over)));
        }
        let made = self.make(&code).await;
        let acknowledged = Instant::now();
        let last = match &made {
            Some(target) => self.settle(&code, target, acknowledged).await,
            None => Vec::new(),
        };
        over.store(true, Ordering::Relaxed);
        askers.join_all().await;
        let target = made?;
        seen.until_right.record(acknowledged.elapsed());
        for edge in last {
            seen.late.note(|| format!("edge-{}: /{code} did not lead to {target}", edge + 1));
        }
        seen.codes.push((code, target));
        Some(())
    }

    /// The target that the code has at last.
    async fn make(&mut self, code: &str) -> Option<String> {
        let count = self.world.controls();
        // Now and then the first answers are here before it exists.
        if self.rng.below(2) == 0 {
            sleep(POLL).await;
        }
        let link = self.world.create(self.rng.below(count), Some(code)).await?;
        self.world.delete(self.rng.below(count), &link).await?;
        let link = self.world.create(self.rng.below(count), Some(code)).await?;
        Some(link.url)
    }

    /// Edges that do not lead there in time.
    async fn settle(&self, code: &str, target: &str, acknowledged: Instant) -> Vec<usize> {
        let mut late = Vec::new();
        for (n, edge) in self.world.edges.iter().enumerate() {
            let mut asker = Asker::of(edge.address);
            while !self.world.leads_to(&mut asker, n, code, target).await {
                if acknowledged.elapsed() > SETTLE_MAX {
                    late.push(n);
                    break;
                }
                sleep(POLL).await;
            }
        }
        late
    }
}

/// Asks one edge for a code until it is over.
async fn ask(world: Arc<World>, edge: usize, code: String, over: Arc<AtomicBool>) {
    let mut asker = Asker::of(world.edges[edge].address);
    while !over.load(Ordering::Relaxed) {
        world.ask(&mut asker, edge, &code, Purpose::Changing).await;
        sleep(ASK_EVERY).await;
    }
}

impl World {
    /// Whether an edge leads to this target.
    async fn leads_to(&self, asker: &mut Asker, edge: usize, code: &str, target: &str) -> bool {
        let judged = self.ask_for(asker, edge, code, Purpose::Changing).await;
        matches!(judged, Some((Judged::Answer(Verdict::Right), Some(to))) if to == target)
    }
}

impl fmt::Display for RacesReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, races, edges, asked, unsure, wrong, failed, .. } = self;
        let Self { unacknowledged, until_right, late, left_wrong, .. } = self;
        writeln!(f, "races: {races} codes on {edges} edges; seed {seed}")?;
        writeln!(f, "  answers meanwhile     {asked}, of them 503 {unsure}")?;
        writeln!(f, "    not allowed         {wrong}")?;
        writeln!(f, "    failed              {failed}")?;
        writeln!(f, "  not acknowledged      {unacknowledged}")?;
        writeln!(f, "  until all are right   {until_right}")?;
        writeln!(f, "    not within 5 s      {late}")?;
        writeln!(f, "  when all was over     {left_wrong}")?;
        write!(f, "{}", if self.passed() { "PASSED" } else { "FAILED" })
    }
}
