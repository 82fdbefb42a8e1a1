//! `fleet check`: what the fleet promises to those who make links and those who follow them.
//!
//! 1. A link that was acknowledged by either control plane is followed at once on a random edge: any
//!    answer but its target is wrong.
//! 2. While visitors follow those links on all edges, and each of their answers is looked at, other
//!    links are changed, disabled, deleted and made again: how long until every edge answers right,
//!    and whether one ever answers as before after that.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::settle::{Settled, settle};
use super::visitor::{Shown, Visitor};
use super::{Fleet, FleetPlace};
use crate::api::{ApiClient, Link};
use crate::at_least_one;
use crate::failure::Failure;
use crate::latency::{Latencies, Quantiles};
use crate::population::Rng;
use crate::report::{per_second, progress};

/// Wrong answers that are shown; the others are counted.
const EXAMPLES_MAX: usize = 10;

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Links that are made and followed.
    #[arg(long, default_value_t = 10_000, value_parser = at_least_one)]
    creates: usize,
    /// Links that are changed, disabled, deleted and made again.
    #[arg(long, default_value_t = 200, value_parser = at_least_one)]
    changes: usize,
    /// Callers that make links at the same time, and then visitors of each edge.
    #[arg(long, default_value_t = 8, value_parser = at_least_one)]
    callers: usize,
    /// Requests a second to each edge while links are changed.
    #[arg(long, default_value_t = 500, value_parser = at_least_one)]
    rate: usize,
    /// Judge answers, and not how soon a change is seen: for a machine with other work.
    #[arg(long)]
    no_times: bool,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub(crate) struct FleetReport {
    seed: u64,
    controls: usize,
    edges: usize,
    redis: bool,
    create: Quantiles,
    /// From the acknowledgement to the answer of the edge.
    follow: Quantiles,
    creates_per_second: f64,
    created: u64,
    wrong_after_create: Wrong,
    changes: Vec<Settled>,
    /// Requests of the load while links were changed.
    load_requests: u64,
    load_per_second: f64,
    wrong_under_load: Wrong,
    judges_times: bool,
}

/// Answers that were not right, or none.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Wrong {
    pub(super) count: u64,
    pub(super) examples: Vec<String>,
}

impl Wrong {
    pub(super) fn note(&mut self, example: impl FnOnce() -> String) {
        self.count += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(example());
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.count += other.count;
        let room = EXAMPLES_MAX.saturating_sub(self.examples.len());
        self.examples.extend(other.examples.into_iter().take(room));
    }
}

impl FleetReport {
    pub(crate) fn passed(&self) -> bool {
        let settled = self.changes.iter().all(|of| of.passed(self.judges_times));
        self.wrong_after_create.count == 0 && self.wrong_under_load.count == 0 && settled
    }
}

/// Brings a fleet up, checks it, and takes it down.
pub(crate) async fn run(
    place: &FleetPlace,
    args: &CheckArgs,
    seed: u64,
) -> Result<FleetReport, Failure> {
    progress("bringing the fleet up ...");
    let fleet = Fleet::start(place).await?;
    let report = check(&fleet, args, seed).await?;
    fleet.stop().await?;
    Ok(report)
}

async fn check(fleet: &Fleet, args: &CheckArgs, seed: u64) -> Result<FleetReport, Failure> {
    let mut rng = Rng::new(seed);
    progress(&format!("{} links, each followed at once on a random edge ...", args.creates));
    let begun = Instant::now();
    let mut callers = JoinSet::new();
    for caller in 0..args.callers {
        let count = (args.creates + caller) / args.callers;
        callers.spawn(Caller::of(fleet, caller, rng.fork()).create(count));
    }
    let mut made = Made::new();
    for caller in callers.join_all().await {
        made.add(caller?);
    }
    let creates_per_second = per_second(made.links.len() as u64, begun.elapsed());
    let created = made.links.len() as u64;

    progress(&format!("{} links changed under load ...", args.changes));
    let (stop, links) = (Arc::new(AtomicBool::new(false)), Arc::<[Link]>::from(made.links));
    let begun = Instant::now();
    let mut load = JoinSet::new();
    let every = Duration::from_secs(1) * u32::try_from(args.callers).unwrap_or(u32::MAX)
        / u32::try_from(args.rate).unwrap_or(u32::MAX);
    for edge in fleet.edge_addresses() {
        for _ in 0..args.callers {
            let (links, stop) = (Arc::clone(&links), Arc::clone(&stop));
            load.spawn(visit(Visitor::of(edge), links, every, rng.fork(), stop));
        }
    }
    let changes = settle(fleet, args.changes, &mut rng).await;
    stop.store(true, Ordering::Relaxed);
    let (mut load_requests, mut wrong_under_load) = (0, Wrong::default());
    for (requests, wrong) in load.join_all().await {
        load_requests += requests;
        wrong_under_load.add(wrong);
    }
    Ok(FleetReport {
        seed,
        controls: fleet.controls.len(),
        edges: fleet.edges.len(),
        redis: fleet.stores.redis_url().is_some(),
        create: made.create.quantiles(),
        follow: made.follow.quantiles(),
        creates_per_second,
        created,
        wrong_after_create: made.wrong,
        changes: changes?,
        load_requests,
        load_per_second: per_second(load_requests, begun.elapsed()),
        wrong_under_load,
        judges_times: !args.no_times,
    })
}

/// What a caller made.
struct Made {
    links: Vec<Link>,
    create: Latencies,
    follow: Latencies,
    wrong: Wrong,
}

impl Made {
    fn new() -> Self {
        Self {
            links: Vec::new(),
            create: Latencies::new(),
            follow: Latencies::new(),
            wrong: Wrong::default(),
        }
    }

    fn add(&mut self, other: Self) {
        self.links.extend(other.links);
        self.create.add(&other.create);
        self.follow.add(&other.follow);
        self.wrong.add(other.wrong);
    }
}

/// Makes links and follows them.
struct Caller {
    number: usize,
    controls: Vec<ApiClient>,
    edges: Vec<Visitor>,
    rng: Rng,
}

impl Caller {
    fn of(fleet: &Fleet, number: usize, rng: Rng) -> Self {
        Self {
            number,
            controls: (0..fleet.controls.len()).map(|n| ApiClient::new(fleet.api(n))).collect(),
            edges: fleet.edge_addresses().into_iter().map(Visitor::of).collect(),
            rng,
        }
    }

    async fn create(mut self, count: usize) -> Result<Made, Failure> {
        let mut made = Made::new();
        for n in 0..count {
            let url = format!("https://example.com/{}/{n}", self.number);
            let control = self.rng.below(self.controls.len());
            let asked = Instant::now();
            let link = self.controls[control].create(&url, None).await;
            let acknowledged = Instant::now();
            made.create.record(acknowledged - asked);
            let link = link.map_err(|error| Failure::new(format!("a create: {error}")))?;
            let edge = self.rng.below(self.edges.len());
            let shown = self.edges[edge].follow(&link.code).await;
            made.follow.record(acknowledged.elapsed());
            match shown {
                Ok(Shown::To(to)) if to == link.url => {}
                shown => {
                    let (code, control, edge) = (&link.code, control + 1, edge + 1);
                    made.wrong.note(|| {
                        format!("/{code} made by control-{control}: edge-{edge} says {shown:?}")
                    });
                }
            }
            made.links.push(link);
        }
        Ok(made)
    }
}

/// Follows known links in turn with pauses, until told to stop: how many, and what was wrong.
async fn visit(
    mut edge: Visitor,
    links: Arc<[Link]>,
    every: Duration,
    mut rng: Rng,
    stop: Arc<AtomicBool>,
) -> (u64, Wrong) {
    let mut ticks = interval(every.max(Duration::from_micros(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut requests, mut wrong) = (0, Wrong::default());
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let link = &links[rng.below(links.len())];
        requests += 1;
        match edge.follow(&link.code).await {
            Ok(Shown::To(to)) if to == link.url => {}
            shown => wrong.note(|| format!("/{}: {shown:?}, not to {}", link.code, link.url)),
        }
    }
    (requests, wrong)
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} wrong", self.count)?;
        self.examples.iter().try_for_each(|example| write!(f, "\n    {example}"))
    }
}

impl fmt::Display for FleetReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, controls, edges, created, creates_per_second, .. } = self;
        let redis = if self.redis { "Redis" } else { "no Redis" };
        writeln!(f, "fleet: {controls} control planes, {edges} edges, {redis}; seed {seed}")?;
        writeln!(f, "  created               {created}, {creates_per_second:.0} a second")?;
        writeln!(f, "  a create              {}", self.create)?;
        writeln!(f, "  followed at once      {}", self.follow)?;
        writeln!(f, "    answers             {}", self.wrong_after_create)?;
        writeln!(f, "  until every edge answers right, after")?;
        for settled in &self.changes {
            writeln!(f, "    {settled}")?;
        }
        let (requests, per_second) = (self.load_requests, self.load_per_second);
        writeln!(f, "  load meanwhile        {requests} requests, {per_second:.0} a second")?;
        writeln!(f, "    answers             {}", self.wrong_under_load)?;
        write!(f, "{}", if self.passed() { "PASSED" } else { "FAILED" })
    }
}
