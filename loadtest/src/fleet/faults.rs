//! `fleet faults`: what becomes of a fleet under steady load while parts of it are slow, down, emptied,
//! killed or cut off. Every answer is judged against a model of what may be answered
//! ([`model`]).
//!
//! ```text
//! quiet    the load alone
//! fault    carried out, and shown to have happened      act.rs
//! recovery until links can be made through every control plane and followed at once on every edge,
//!          and every feed is younger than a second
//! quiet    the load alone
//! clicks   nobody asks; what was answered is stored, each once, by link
//! ```
//!
//! Redis is reached through a wire of our own, so that it can be slow. One edge more than was asked
//! for is on another host ([`far`]).

mod act;
mod clicks;
mod counts;
mod crowd;
mod edges;
mod far;
mod model;
mod redis;
mod report;

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::member::{Member, Probe};
use super::proxy::Proxy;
use super::{Fleet, FleetPlace, Kind, Ports, edge_plan, program};
use crate::at_least_one;
use crate::failure::Failure;
use crate::population::Rng;
use crate::report::progress;
use act::Fault;
pub(super) use counts::{Judged, Purpose};
use crowd::Rates;
pub(super) use crowd::{World, made_up};
pub(super) use edges::Asker;
use far::{Far, Wanted};
pub(super) use model::Verdict;
pub(crate) use report::FaultsReport;
use report::Row;

/// How long the fleet may take to be itself again.
const RECOVERY_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// A feed that is younger than this is fresh.
const FRESH: Duration = Duration::from_secs(1);
/// Places of ports, after those of the stores.
const REDIS_WIRE: usize = 20;
const FAR_WIRES: usize = 30;

#[derive(Debug, Args)]
pub(crate) struct FaultsArgs {
    /// Only these faults [default: all, one after the other].
    #[arg(long, value_enum, value_name = "FAULT")]
    only: Vec<Fault>,
    /// Short faults and windows, and 3 kills of edges: for machines with other work.
    #[arg(long)]
    short: bool,
    /// Times that an edge is killed [default: 100; with --short 3].
    #[arg(long)]
    kills: Option<usize>,
    /// Links that all edges know from the beginning.
    #[arg(long, default_value_t = 500, value_parser = at_least_one)]
    links: usize,
    /// Redirects a second, over all edges.
    #[arg(long, default_value_t = 400, value_parser = at_least_one)]
    rate: usize,
}

/// How long things last.
#[derive(Clone, Copy, Debug)]
struct Times {
    quiet: Duration,
    hold: Duration,
    pause: Duration,
    redis_killed: Duration,
    cut: Duration,
    edge_kills: usize,
}

impl Times {
    fn of(args: &FaultsArgs) -> Self {
        let seconds = |long, short| Duration::from_secs(if args.short { short } else { long });
        Self {
            quiet: seconds(5, 1),
            hold: seconds(10, 2),
            pause: seconds(10, 2),
            redis_killed: seconds(60, 3),
            cut: seconds(20, 3),
            edge_kills: args.kills.unwrap_or(if args.short { 3 } else { 100 }),
        }
    }
}

/// A fleet with its load, to which things happen.
struct Stage {
    fleet: Fleet,
    world: Arc<World>,
    redis_wire: Proxy,
    far: Option<Far>,
    /// Edges on this host; the far one comes after them.
    near: usize,
    times: Times,
}

/// Brings a fleet up, carries out the faults, and takes it down.
pub(crate) async fn run(
    place: &FleetPlace,
    args: &FaultsArgs,
    seed: u64,
) -> Result<FaultsReport, Failure> {
    if place.database_url.is_some() || place.redis_url.is_some() || place.clickhouse_url.is_some() {
        let text = "faults are done to the fleet's own PostgreSQL and Redis, and clicks are read from \
                    the file of the first control plane: unset DATABASE_URL, REDIS_URL, CLICKHOUSE_URL";
        return Err(Failure::new(text));
    }
    if place.no_redis {
        return Err(Failure::new("faults need Redis: leave --no-redis out"));
    }
    progress("bringing the fleet up ...");
    let mut rng = Rng::new(seed);
    let mut stage = Stage::set(place, args).await?;
    let rates = Rates { redirects: args.rate, missing: 20, creates: 12, edits: 8 };
    let mut load = crowd::begin(&stage.world, rates, &mut rng);
    let (controls, edges) = (stage.fleet.controls.len(), stage.fleet.edges.len());
    let network = stage.far.as_ref().map_or("nothing", Far::means);
    let mut report =
        FaultsReport { seed, controls, edges, network, rows: Vec::new(), broken_off: None };
    for &fault in Fault::value_variants() {
        if !args.only.is_empty() && !args.only.contains(&fault) {
            continue;
        }
        let answered = stage.world.model().answered();
        match stage.row(fault, answered).await {
            Ok(row) => {
                progress(&row.to_string());
                row.problems().iter().for_each(|problem| progress(problem));
                report.rows.push(row);
            }
            Err(failure) => {
                report.broken_off = Some(format!("{}: {failure}", name(fault)));
                break;
            }
        }
    }
    stage.world.end();
    if report.broken_off.is_none() {
        ends(&mut load).await;
        stage.fleet.stop().await?;
    }
    Ok(report)
}

async fn ends(load: &mut JoinSet<()>) {
    while load.join_next().await.is_some() {}
}

/// As the command line has it.
fn name(fault: Fault) -> String {
    fault.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

impl Stage {
    /// The fleet, the far edge, and links that all edges know.
    async fn set(place: &FleetPlace, args: &FaultsArgs) -> Result<Self, Failure> {
        let ports = Ports(place.first_port);
        let wire = ports.at(Kind::Balancer, REDIS_WIRE);
        let redis_wire = Proxy::start(wire, ports.store(1)).await?;
        let place = FleetPlace { redis_wire: Some(wire), ..place.clone() };
        let mut fleet = Fleet::start(&place).await?;
        let near = fleet.edges.len();
        let far = far_edge(&place, &mut fleet, near).await?;
        let at = |(n, member): (usize, &Member)| {
            let address = member.address();
            (address, (address.ip(), ports.at(Kind::EdgeAdmin, n).port()).into())
        };
        let edges = fleet.edges.iter().enumerate().map(at);
        let apis = (0..fleet.controls.len()).map(|n| fleet.api(n)).collect();
        let mut world = World::of(edges, apis);
        world.make_known(args.links).await?;
        let (world, times) = (Arc::new(world), Times::of(args));
        Ok(Self { fleet, world, redis_wire, far: Some(far), near, times })
    }

    fn redis(&mut self) -> Result<&mut Member, Failure> {
        self.fleet.stores.redis.as_mut().ok_or_else(|| Failure::new("the fleet has no Redis"))
    }

    fn postgres(&mut self) -> Result<&mut Member, Failure> {
        let postgres = self.fleet.stores.postgres.as_mut();
        postgres.ok_or_else(|| Failure::new("the fleet has no PostgreSQL of its own"))
    }

    fn far(&self) -> Result<&Far, Failure> {
        self.far.as_ref().ok_or_else(|| Failure::new("there is no far edge"))
    }

    /// One fault between two quiet windows, and what came of it.
    async fn row(&mut self, fault: Fault, answered: u64) -> Result<Row, Failure> {
        let name = name(fault);
        progress(&format!("fault {name}"));
        sleep(self.times.quiet).await;
        let world = Arc::clone(&self.world);
        let (mut quiet, pass) = world.settle().await;
        drop(pass);
        let proof = self.carry_out(fault).await?;
        let recovered = self.recovery(proof.over).await;
        let (during, pass) = world.settle().await;
        drop(pass);
        sleep(self.times.quiet).await;
        let (after, pass) = world.settle().await;
        quiet.add(after);
        let (links, targets) = world.model().expected();
        let database = self.fleet.folder.join("control-1").join("clicks.db");
        let compared = clicks::compare(&database, &self.fleet.api(0), links, targets).await;
        drop(pass);
        Ok(Row::new(name, proof, quiet, during, recovered, compared?, answered))
    }

    /// How long after the end of a fault everything is as before.
    async fn recovery(&self, over: Instant) -> Option<Duration> {
        while over.elapsed() < RECOVERY_MAX {
            if self.is_well().await {
                return Some(over.elapsed());
            }
            sleep(POLL).await;
        }
        None
    }

    async fn is_well(&self) -> bool {
        for control in 0..self.world.controls() {
            let Some(link) = self.world.create(control, None).await else { return false };
            for (n, edge) in self.world.edges.iter().enumerate() {
                let mut asker = Asker::of(edge.address);
                let judged = self.world.ask(&mut asker, n, &link.code, Purpose::Followed).await;
                if judged != Some(Judged::Answer(Verdict::Right)) {
                    return false;
                }
            }
        }
        for edge in &self.world.edges {
            if edge.look().await.is_none_or(|age| age >= FRESH) {
                return false;
            }
        }
        true
    }
}

impl World {
    /// Makes links and follows each on every edge.
    async fn make_known(&mut self, count: usize) -> Result<(), Failure> {
        let mut askers: Vec<_> = self.edges.iter().map(|edge| Asker::of(edge.address)).collect();
        let mut known = Vec::new();
        for n in 0..count {
            let link = self.create(n % self.controls(), None).await;
            let link =
                link.ok_or_else(|| Failure::new("a link cannot be made before any fault"))?;
            for (n, asker) in askers.iter_mut().enumerate() {
                let judged = self.ask(asker, n, &link.code, Purpose::Followed).await;
                if judged != Some(Judged::Answer(Verdict::Right)) {
                    let text =
                        format!("edge-{}: /{} before any fault: {judged:?}", n + 1, link.code);
                    return Err(Failure::new(text));
                }
            }
            known.push(link.code);
        }
        self.set_known(known);
        Ok(())
    }
}

/// Adds an edge on another host.
async fn far_edge(place: &FleetPlace, fleet: &mut Fleet, n: usize) -> Result<Far, Failure> {
    let ports = Ports(place.first_port);
    let to = vec![fleet.balancer.address(), ports.store(1)];
    let wires = (0..to.len()).map(|wire| ports.at(Kind::Balancer, FAR_WIRES + wire).port());
    let (far, addresses) = Far::lay(Wanted { ports: wires.collect(), to }).await?;
    let carom_edge = program(&place.programs, "carom-edge")?;
    let mut plan = edge_plan(&fleet.stores, &fleet.folder, carom_edge, ports, n);
    let admin = far.listen(ports.at(Kind::EdgeAdmin, n));
    (plan.address, plan.probe) = (far.listen(plan.address), Probe::Readyz(admin));
    for (name, value) in &mut plan.environment {
        match *name {
            "CAROM_EDGE__LISTEN" => *value = plan.address.to_string(),
            "CAROM_EDGE__ADMIN_LISTEN" => *value = admin.to_string(),
            "CAROM_EDGE__CONTROL_URL" => *value = format!("http://{}", addresses[0]),
            "CAROM_REDIS__URL" => *value = format!("redis://{}", addresses[1]),
            _ => {}
        }
    }
    // Its visitors are all at one address, which is not this host's own there.
    plan.environment.push(("CAROM_EDGE__EXEMPT", r#"["127.0.0.0/8", "10.213.0.0/16"]"#.to_owned()));
    let mut member = far.start(plan)?;
    member.ready().await?;
    fleet.edges.push(member);
    Ok(far)
}
