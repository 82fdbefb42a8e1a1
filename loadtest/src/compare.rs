//! `compare`: what a redirect costs Carom, its edge alone, nginx, `HAProxy` and a bare epoll loop.
//!
//! All of them run beside each other on one processor, each with one thread that answers, and know
//! the same links; this program has another processor. One at a time they get the same requests, in
//! a new order each round, so what the machine does meanwhile meets all alike. Figures are compared
//! within a round and summed up over the rounds: times of one machine and hour are worth little,
//! ratios of pairs are.
//!
//! ```text
//! requests   links, codes that do not exist, who asks for what     the same for all, by the seed
//! servers    start, listen, what they used                         apart, peers, floor; pin, usage
//! generator  connections, closed loop or constant rate             answer
//! figures    samples -> medians, ratios of pairs                   report
//! lean       memory of an edge of its own
//! ```

mod answer;
mod apart;
mod figures;
pub(crate) mod floor;
pub(crate) mod generator;
mod lean;
mod peers;
pub(crate) mod pin;
mod report;
pub(crate) mod requests;
pub(crate) mod servers;
mod usage;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::failure::Failure;
use crate::installation::Installation;
use crate::population::{Rng, read_lines};
use crate::report::progress;
use crate::traffic::{Faults, ONE_USER_AGENT, Until};
use apart::{Apart, Program};
use figures::{Figures, Ratio, Sample, Summary};
use generator::{Arrival, Expect, Load, Seen};
use lean::Lean;
use peers::Peer;
use pin::{Cpus, pin};
use requests::{Draw, Draws, Links};
use servers::Running;
use usage::Memory;

/// Links at most: their targets have room for nine digits, and two codes are drawn for each.
const LINKS_MAX: usize = 10_000_000;
/// Where the ports of the servers begin, from `--first-port` on: Carom, and its earlier build, take
/// four each, the floor two, an edge of its own seven with its control plane.
const BASELINE_PORT: u16 = 4;
const NGINX_PORT: u16 = 8;
const HAPROXY_PORT: u16 = 9;
const FLOOR_PORT: u16 = 10;
const APART_PORT: u16 = 12;

#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// The `carom` to start, with an empty data folder and ports of its own.
    #[arg(long, value_name = "PROGRAM")]
    carom: PathBuf,
    /// Another build of it, to compare with as well.
    #[arg(long, value_name = "PROGRAM")]
    baseline: Option<PathBuf>,
    /// The `carom-edge` to start as well, with a control plane of its own.
    #[arg(long, value_name = "PROGRAM")]
    carom_edge: Option<PathBuf>,
    /// A setting for all of them, as `carom --set` takes it; may be given more than once.
    #[arg(long = "set", value_name = "SETTING=VALUE")]
    settings: Vec<String>,
    /// Folder below which all servers get theirs.
    #[arg(long, value_name = "FOLDER", default_value = "target/loadtest")]
    folder: PathBuf,
    /// First of the nineteen ports of the servers.
    #[arg(long, default_value_t = 18080, value_parser = clap::value_parser!(u16).range(1024..32749))]
    first_port: u16,
    /// Keep the folder; it is kept too when the experiment fails.
    #[arg(long)]
    keep: bool,
    /// Links that each server knows.
    #[arg(long, default_value_t = 1_000_000, value_parser = crate::at_least_one)]
    links: usize,
    /// How often each server gets each load.
    #[arg(long, default_value_t = 15, value_parser = crate::at_least_one)]
    rounds: usize,
    /// How long each time, in seconds.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Connections, one request in flight on each.
    #[arg(long, default_value_t = 64, value_parser = crate::at_least_one)]
    connections: usize,
    /// Requests a second at which latency is measured.
    #[arg(long, value_delimiter = ',', default_value = "10000,40000")]
    rates: Vec<u32>,
    /// Exponent of Zipf's law over the links; 0 hits all alike.
    #[arg(long, default_value_t = 1.0)]
    zipf: f64,
    /// File of user agents, one a line [default: one common browser].
    #[arg(long, value_name = "FILE")]
    user_agents: Option<PathBuf>,
    /// Processor of the servers [default: the last].
    #[arg(long)]
    server_cpu: Option<usize>,
    /// Processor of this program [default: the first].
    #[arg(long)]
    client_cpu: Option<usize>,
}

#[derive(Debug, Serialize)]
pub(crate) struct CompareReport {
    seed: u64,
    links: usize,
    rounds: usize,
    seconds: f64,
    connections: usize,
    machine: Machine,
    servers: BTreeMap<&'static str, About>,
    /// Memory of an edge of its own.
    lean: Option<Lean>,
    /// What would have been compared with too.
    missing: Vec<String>,
    faults: Faults,
    summaries: Vec<Summary>,
    ratios: Vec<Ratio>,
    samples: Vec<Sample>,
}

/// Where it was measured.
#[derive(Debug, Serialize)]
struct Machine {
    processor: String,
    kernel: String,
    cpus: Cpus,
    /// Processes that wanted to run, over the last minute.
    load_before: String,
    load_after: String,
}

/// One server.
#[derive(Debug, Serialize)]
struct About {
    version: String,
    /// When it had been asked for each link once.
    memory: Memory,
    memory_at_the_end: Memory,
}

/// One way to ask.
struct Kind {
    name: String,
    /// Whether codes that do not exist are among what is asked for.
    misses: bool,
    draws: fn(&Draws) -> &[Draw],
    arrival: Arrival,
    reconnects: bool,
}

impl CompareReport {
    pub(crate) fn passed(&self) -> bool {
        self.faults.is_empty() && self.samples.iter().all(|sample| sample.answered > 0)
    }
}

pub(crate) async fn run(args: &CompareArgs, seed: u64) -> Result<CompareReport, Failure> {
    if args.links > LINKS_MAX || !args.seconds.is_finite() || args.seconds <= 0.0 {
        return Err(Failure::new("--links is at most 10000000, and --seconds more than 0"));
    }
    let folder = args.folder.join(format!("compare-{}", std::process::id()));
    let fail = |error| Failure::new(format!("{}: {error}", folder.display()));
    fs::create_dir_all(&folder).map_err(fail)?;
    let folder = fs::canonicalize(&folder).map_err(fail)?;
    let report = compare(args, seed, &folder).await?;
    if report.passed() && !args.keep {
        fs::remove_dir_all(&folder).map_err(fail)?;
    }
    Ok(report)
}

async fn compare(args: &CompareArgs, seed: u64, folder: &Path) -> Result<CompareReport, Failure> {
    let cpus = Cpus::choose(args.server_cpu, args.client_cpu)?;
    pin(cpus.client)?;
    let mut rng = Rng::new(seed);
    let load_before = read_word("/proc/loadavg");
    progress(&format!("making {} links", args.links));
    let links = Links::draw(args.links, args.zipf, &mut rng);
    let installations = args.installations(folder)?;
    let mut lean = args.lean(folder, cpus, &mut rng).await?;
    let control = args.control(folder, cpus)?;
    let (mut servers, missing) =
        start_all(args, &installations, folder, &links, cpus, &mut rng).await?;
    if let Some((program, installation)) = &control {
        servers.insert(1, start_apart(program, installation, &folder.join("links.csv")).await?);
    }

    let mut bench = Bench::new(args, cpus, servers)?;
    bench.visit_each_link(&links, &mut rng).await?;
    if let (Some(lean), Some(full)) = (&mut lean, bench.memory.get("carom-edge")) {
        (lean.full, lean.links) = (*full, links.len());
    }
    for round in 0..args.rounds {
        progress(&format!("round {} of {}", round + 1, args.rounds));
        bench.round(round, &links.round(&mut rng), &mut rng)?;
    }
    let machine = Machine {
        processor: processor(),
        kernel: read_word("/proc/sys/kernel/osrelease"),
        cpus,
        load_before,
        load_after: read_word("/proc/loadavg"),
    };
    let servers = bench.about()?;
    let Bench { running, samples, faults, kinds, .. } = bench;
    let names: Vec<_> = running.iter().map(|server| server.name).collect();
    for server in running {
        server.stop().await?;
    }
    let loads: Vec<_> = kinds.into_iter().map(|kind| kind.name).collect();
    let each = |load: &String| names.iter().map(|name| Summary::of(&samples, load, name)).collect();
    let summaries = loads.iter().flat_map(|load| -> Vec<_> { each(load) }).collect();
    let ours = 1 + usize::from(control.is_some());
    let pairs = |load: &String| {
        let names = names.as_slice();
        let pairs = (0..ours).flat_map(|of| names[of + 1..].iter().map(move |to| (names[of], *to)));
        pairs.filter_map(|(of, to)| Ratio::of(&samples, load, of, to)).collect()
    };
    let ratios = loads.iter().flat_map(|load| -> Vec<_> { pairs(load) }).collect();
    Ok(CompareReport {
        seed,
        links: args.links,
        rounds: args.rounds,
        seconds: args.seconds,
        connections: args.connections,
        machine,
        servers,
        lean,
        missing,
        faults,
        summaries,
        ratios,
        samples,
    })
}

impl CompareArgs {
    /// The installations of Carom that are compared, the one in question first.
    fn installations(&self, folder: &Path) -> Result<Vec<(&'static str, Installation)>, Failure> {
        // As the others: one thread that answers.
        let mut settings = vec!["edge.threads=1"];
        settings.extend(self.settings.iter().map(String::as_str));
        let baseline = self.baseline.as_ref().map(|program| ("baseline", program, BASELINE_PORT));
        [Some(("carom", &self.carom, 0)), baseline]
            .into_iter()
            .flatten()
            .map(|(name, program, port)| {
                let port = self.first_port + port;
                let installation = Installation::create(program, folder, name, port, None)?;
                Ok((name, installation.with_settings(&settings)))
            })
            .collect()
    }

    /// An edge of its own, if one is compared.
    fn apart(&self, folder: &Path, name: &str, cpus: Cpus) -> Result<Option<Program>, Failure> {
        let Some(path) = &self.carom_edge else { return Ok(None) };
        // The other settings are the control plane's.
        let is_edges =
            |setting: &&String| ["edge.", "spool."].iter().any(|start| setting.starts_with(start));
        let own = self.settings.iter().filter(is_edges).cloned();
        Ok(Some(Program {
            path: fs::canonicalize(path)
                .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?,
            folder: apart::folder(folder, name)?,
            first_port: self.first_port + APART_PORT,
            settings: std::iter::once("edge.threads=1".to_owned()).chain(own).collect(),
            cpus,
        }))
    }

    async fn lean(
        &self,
        folder: &Path,
        cpus: Cpus,
        rng: &mut Rng,
    ) -> Result<Option<Lean>, Failure> {
        let Some(program) = self.apart(folder, "lean", cpus)? else { return Ok(None) };
        progress("an edge of its own with nothing to do");
        Lean::measure(program, &self.carom, rng).await.map(Some)
    }

    /// An edge of its own, and the installation of its control plane.
    fn control(
        &self,
        folder: &Path,
        cpus: Cpus,
    ) -> Result<Option<(Program, Installation)>, Failure> {
        let Some(program) = self.apart(folder, "apart", cpus)? else { return Ok(None) };
        let settings = program.control_settings();
        let settings: Vec<_> = settings.iter().map(String::as_str).collect();
        let (parent, port) = (program.folder.clone(), program.first_port);
        let control = Installation::create(&self.carom, &parent, "control", port, None)?;
        Ok(Some((program, control.with_settings(&settings))))
    }

    fn kinds(&self) -> Vec<Kind> {
        let closed = |name: &str, draws, misses, reconnects| Kind {
            name: name.to_owned(),
            misses,
            draws,
            arrival: Arrival::Closed,
            reconnects,
        };
        let mut kinds = vec![
            closed("hits", |draws| &draws.hits, false, false),
            closed("misses", |draws| &draws.misses, true, false),
            closed("nine hits to a miss", |draws| &draws.mixed, true, false),
            closed("hits, each on a new connection", |draws| &draws.hits, false, true),
        ];
        kinds.extend(self.rates.iter().map(|&rate| Kind {
            name: format!("hits, {rate} a second"),
            misses: false,
            draws: |draws| &draws.hits,
            arrival: Arrival::PerSecond(rate),
            reconnects: false,
        }));
        kinds
    }
}

/// Starts all that can be compared; also says what cannot.
async fn start_all<'a>(
    args: &CompareArgs,
    installations: &'a [(&'static str, Installation)],
    folder: &Path,
    links: &Links,
    cpus: Cpus,
    rng: &mut Rng,
) -> Result<(Vec<Running<'a>>, Vec<String>), Failure> {
    let files = links.write(folder, rng)?;
    let mut servers = Vec::new();
    for (name, installation) in installations {
        progress(&format!("importing the links into {name}"));
        servers::import(installation, &files.csv).await?;
        servers.push(Running::carom(name, installation, cpus).await?);
    }
    let mut missing = Vec::new();
    for (peer, port) in [(Peer::Nginx, NGINX_PORT), (Peer::Haproxy, HAPROXY_PORT)] {
        match peer.find().await {
            Ok(installed) => {
                progress(&format!("starting {}", peer.name()));
                let port = args.first_port + port;
                let known = (&files, links.len());
                servers.push(Running::peer(installed, folder, port, known, cpus).await?);
            }
            Err(what) => {
                progress(&what);
                missing.push(what);
            }
        }
    }
    servers.push(Running::floor(folder, args.first_port + FLOOR_PORT, cpus).await?);
    Ok((servers, missing))
}

async fn start_apart<'a>(
    program: &Program,
    installation: &'a Installation,
    links: &Path,
) -> Result<Running<'a>, Failure> {
    progress("importing the links into the control plane of carom-edge");
    servers::import(installation, links).await?;
    let apart = Apart::start(program.clone(), installation).await?;
    Ok(Running::apart(apart).await)
}

/// The servers, and what was measured of them until now.
struct Bench<'a> {
    running: Vec<Running<'a>>,
    memory: BTreeMap<&'static str, Memory>,
    kinds: Vec<Kind>,
    user_agents: Vec<String>,
    connections: usize,
    time: Duration,
    spins: bool,
    samples: Vec<Sample>,
    faults: Faults,
}

impl<'a> Bench<'a> {
    fn new(args: &CompareArgs, cpus: Cpus, running: Vec<Running<'a>>) -> Result<Self, Failure> {
        let user_agents = match &args.user_agents {
            Some(file) => read_lines(file)?,
            None => vec![ONE_USER_AGENT.to_owned()],
        };
        Ok(Self {
            running,
            memory: BTreeMap::new(),
            kinds: args.kinds(),
            user_agents,
            connections: args.connections,
            time: Duration::from_secs_f64(args.seconds),
            spins: !cpus.are_shared(),
            samples: Vec::new(),
            faults: Faults::default(),
        })
    }

    /// Asks each server for each link once: then it is known to have them right, and has touched
    /// what it keeps of each.
    async fn visit_each_link(&mut self, links: &Links, rng: &mut Rng) -> Result<(), Failure> {
        let draws = links.each_once(rng);
        for place in 0..self.running.len() {
            if self.running[place].expect == Expect::TheLink {
                self.visit(place, &draws)?;
                if self.running[place].keep_what_is_known().await? {
                    self.visit(place, &draws)?;
                }
            }
            let server = &self.running[place];
            self.memory.insert(server.name, server.memory()?);
        }
        Ok(())
    }

    fn visit(&mut self, place: usize, draws: &[Draw]) -> Result<(), Failure> {
        let server = &self.running[place];
        progress(&format!("asking {} for each link", server.name));
        let until = Until::Requests(draws.len() as u64);
        let seen = self.load(server, draws, Arrival::Closed, false, until).run()?;
        server.tidy()?;
        drop(server.sample()?);
        self.faults.add(seen.faults);
        Ok(())
    }

    fn load<'b>(
        &'b self,
        server: &Running<'_>,
        draws: &'b [Draw],
        arrival: Arrival,
        reconnects: bool,
        until: Until,
    ) -> Load<'b> {
        Load {
            address: if reconnects { server.address_for_one } else { server.address },
            source: None,
            user_agents: &self.user_agents,
            draws,
            expect: server.expect,
            arrival,
            connections: self.connections,
            reconnects,
            until,
            spins: self.spins,
        }
    }

    /// Each load for each server, one right after another.
    fn round(&mut self, round: usize, draws: &Draws, rng: &mut Rng) -> Result<(), Failure> {
        for kind in 0..self.kinds.len() {
            let mut order: Vec<_> = (0..self.running.len()).collect();
            rng.shuffle(&mut order);
            for server in order {
                if self.kinds[kind].misses && !self.running[server].knows_absences() {
                    continue;
                }
                self.measure(round, kind, server, draws)?;
            }
        }
        Ok(())
    }

    fn measure(
        &mut self,
        round: usize,
        kind: usize,
        server: usize,
        draws: &Draws,
    ) -> Result<(), Failure> {
        let (kind, server) = (&self.kinds[kind], &self.running[server]);
        let until = Until::Elapsed(self.time);
        let draws = (kind.draws)(draws);
        let load = self.load(server, draws, kind.arrival, kind.reconnects, until);
        server.hold_others()?;
        let before = server.sample_now()?;
        let Seen { answered, faults, latencies, elapsed, .. } = load.run()?;
        let cpu = server.sample()?.since(&before);
        server.tidy()?;
        let quantiles = [500, 990, 999].map(|per_mille| latencies.per_mille_ms(per_mille));
        self.samples.push(Sample {
            load: kind.name.clone(),
            server: server.name,
            round,
            answered,
            seconds: elapsed.as_secs_f64(),
            figures: Figures::new(cpu, answered, elapsed, quantiles),
        });
        self.faults.add(faults);
        Ok(())
    }

    fn about(&self) -> Result<BTreeMap<&'static str, About>, Failure> {
        let about = |server: &Running<'_>| {
            let memory = self.memory.get(server.name).copied().unwrap_or_default();
            let memory_at_the_end = server.memory()?;
            let version = server.version.clone();
            Ok((server.name, About { version, memory, memory_at_the_end }))
        };
        self.running.iter().map(about).collect()
    }
}

/// What the processors are called.
pub(crate) fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name"));
    name.map_or_else(
        || "unknown".to_owned(),
        |name| name.trim_start_matches([' ', '\t', ':']).into(),
    )
}

pub(crate) fn read_word(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().next().unwrap_or("unknown").to_owned()
}
