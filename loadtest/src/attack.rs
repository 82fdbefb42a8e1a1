//! `attack`: whether good visitors feel it when an edge is attacked.
//!
//! A good client asks at a constant rate, on kept and on new connections, in windows: quiet, attacked,
//! quiet. Latency counts from when a request was due, so whatever queues is seen. The server has one
//! processor, and the clients another, of which the attackers get what the good client leaves.
//!
//! ```text
//! plan      the attacks: by whom, how strong          script, h2: what they say
//! attacker  a process that carries one out
//! good      the client that is measured               compare::generator
//! look      memory, descriptors, counters of the edge
//! report    the verdict
//! ```

pub(crate) mod attacker;
mod good;
mod h2;
mod look;
mod plan;
mod report;
mod script;

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::compare::generator::{Arrival, Expect, Load};
use crate::compare::pin::{Cpus, on_server, pin};
use crate::compare::requests::{Draw, Links};
use crate::compare::servers::import;
use crate::compare::{processor, read_word};
use crate::failure::Failure;
use crate::installation::Installation;
use crate::population::Rng;
use crate::report::progress;
use crate::traffic::{ONE_USER_AGENT, Until};
use attacker::Did;
use good::Good;
use look::{Counters, Look, Sampler, Share, settle};
use plan::{ATTACKS, Aim, Attack, By};
use report::{AttackReport, LEFT_DESCRIPTORS, LEFT_MIB, Machine, Outcome};

/// Place of the port for TLS, after those of an installation.
const TLS_PORT: u16 = 4;
/// Connections that ask for each link once at the begin.
const VISIT_CONNECTIONS: usize = 64;
/// How long an attacker may take to end.
const END_MAX: Duration = Duration::from_secs(10);
/// Seconds that another program goes on for, beyond the window; it is killed before.
const TOOL_SPARE: u64 = 5;
/// Links at most, as in `compare`.
const LINKS_MAX: usize = 10_000_000;

#[derive(Debug, Args)]
pub(crate) struct AttackArgs {
    /// The `carom` to start, with an empty data folder and ports of its own.
    #[arg(long, value_name = "PROGRAM")]
    carom: PathBuf,
    /// A setting for it, as `carom --set` takes it; may be given more than once.
    #[arg(long = "set", value_name = "SETTING=VALUE")]
    settings: Vec<String>,
    /// Folder below which the server gets its own.
    #[arg(long, value_name = "FOLDER", default_value = "target/loadtest")]
    folder: PathBuf,
    /// First of the five ports of the server.
    #[arg(long, default_value_t = 18080, value_parser = clap::value_parser!(u16).range(1024..32763))]
    first_port: u16,
    /// Keep the folder; it is kept too when the experiment fails.
    #[arg(long)]
    keep: bool,
    /// Links that the server knows.
    #[arg(long, default_value_t = 100_000, value_parser = crate::at_least_one)]
    links: usize,
    /// How long each window is, in seconds.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Requests a second of the good client.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(20..=100_000))]
    rate: u32,
    /// Only this attack; may be given more than once.
    #[arg(long, value_name = "NAME", value_parser = attack_names())]
    only: Vec<String>,
    /// Connections of an attack, at most: for a short run.
    #[arg(long, value_parser = crate::at_least_one)]
    connections_max: Option<usize>,
    /// Judge answers, memory and descriptors, and not latencies: for a machine with other work.
    #[arg(long)]
    no_times: bool,
    /// Processor of the server [default: the last].
    #[arg(long)]
    server_cpu: Option<usize>,
    /// Processor of the clients [default: the first].
    #[arg(long)]
    client_cpu: Option<usize>,
}

fn attack_names() -> clap::builder::PossibleValuesParser {
    ATTACKS.iter().map(|attack| attack.name).into()
}

pub(crate) async fn run(args: &AttackArgs, seed: u64) -> Result<AttackReport, Failure> {
    if args.links > LINKS_MAX || !args.seconds.is_finite() || args.seconds <= 0.0 {
        return Err(Failure::new("--links is at most 10000000, and --seconds more than 0"));
    }
    raise_descriptors()?;
    let cpus = Cpus::choose(args.server_cpu, args.client_cpu)?;
    pin(cpus.client)?;
    let folder = args.folder.join(format!("attack-{}", std::process::id()));
    let fail = |error| Failure::new(format!("{}: {error}", folder.display()));
    fs::create_dir_all(&folder).map_err(fail)?;
    let folder = fs::canonicalize(&folder).map_err(fail)?;
    let report = attack(args, seed, &folder, cpus).await?;
    if report.passed() && !args.keep {
        fs::remove_dir_all(&folder).map_err(fail)?;
    }
    Ok(report)
}

/// As many descriptors as this process and those that it starts may have.
fn raise_descriptors() -> Result<(), Failure> {
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most })
        .map_err(|error| Failure::new(format!("cannot have more descriptors: {error}")))
}

async fn attack(
    args: &AttackArgs,
    seed: u64,
    folder: &Path,
    cpus: Cpus,
) -> Result<AttackReport, Failure> {
    let load_before = read_word("/proc/loadavg");
    let mut rng = Rng::new(seed);
    let links = Links::draw(args.links, 1.0, &mut rng);
    let files = links.write(folder, &mut rng)?;
    let tls = SocketAddr::from(([127, 0, 0, 1], args.first_port + TLS_PORT));
    let certificate = make_certificate(folder)?;
    let settings = args.settings(tls, &certificate, folder);
    let settings: Vec<_> = settings.iter().map(String::as_str).collect();
    let installation = Installation::create(&args.carom, folder, "carom", args.first_port, None)?
        .with_settings(&settings);
    progress("importing the links");
    import(&installation, &files.csv).await?;
    let mut server = on_server(cpus, || installation.start())?;
    server.ready().await?;

    let draws = links.round(&mut rng).hits;
    progress("asking for each link");
    visit_each_link(installation.edge(), &links.each_once(&mut rng))?;
    let idles = Command::new("chrt").args(["--idle", "0", "true"]).status().await;
    let trial = Trial {
        pid: server.pid(),
        admin: installation.edge_admin(),
        good: Good { address: installation.edge(), draws: &draws, rate: args.rate },
        aim: Aim {
            plain: installation.edge(),
            tls,
            code: String::from_utf8_lossy(&draws[0].code).into_owned(),
            certificate,
            seed,
        },
        time: Duration::from_secs_f64(args.seconds),
        folder,
        idles: idles.is_ok_and(|status| status.success()),
    };
    // Until its memory is that of a server that works.
    drop(trial.good.visit(trial.time)?);
    let (mut outcomes, mut missing) = (Vec::new(), Vec::new());
    for attack in args.attacks() {
        match attack.find().await {
            Ok(()) => {
                progress(attack.name);
                let mut outcome = trial.carry_out(&attack).await?;
                outcome.judge(!args.no_times);
                outcomes.push(outcome);
            }
            Err(what) => missing.push(what),
        }
    }
    let version = installation.command(["--version"]).output().await;
    let version = version.map(|output| output.stdout).unwrap_or_default();
    server.stop().await?;
    Ok(AttackReport {
        seed,
        links: args.links,
        rate: args.rate,
        seconds: args.seconds,
        version: String::from_utf8_lossy(&version).trim().to_owned(),
        machine: Machine {
            processor: processor(),
            kernel: read_word("/proc/sys/kernel/osrelease"),
            cpus,
            load_before,
            load_after: read_word("/proc/loadavg"),
            attackers: if trial.idles { "SCHED_IDLE" } else { "niceness 19" },
        },
        missing,
        judges_times: !args.no_times,
        outcomes,
    })
}

impl AttackArgs {
    /// One thread that answers, and limits that count all but the programs of others, which have one
    /// address only.
    fn settings(&self, tls: SocketAddr, certificate: &Path, folder: &Path) -> Vec<String> {
        let key = folder.join("key.pem");
        let mut settings = vec![
            "edge.threads=1".to_owned(),
            "edge.exempt=[\"127.0.0.1\"]".to_owned(),
            format!("edge.tls.listen={tls}"),
            format!("edge.tls.cert_path={}", certificate.display()),
            format!("edge.tls.key_path={}", key.display()),
        ];
        settings.extend(self.settings.iter().cloned());
        settings
    }

    fn attacks(&self) -> Vec<Attack> {
        let wanted = |attack: &Attack| {
            self.only.is_empty() || self.only.iter().any(|name| name == attack.name)
        };
        let bounded = |attack: Attack| {
            let connections = attack.connections.min(self.connections_max.unwrap_or(usize::MAX));
            Attack { connections, ..attack }
        };
        ATTACKS.into_iter().filter(wanted).map(bounded).collect()
    }
}

/// A certificate that vouches for itself, and its key; the path of the first.
fn make_certificate(folder: &Path) -> Result<PathBuf, Failure> {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])
        .map_err(|error| Failure::new(format!("cannot make a certificate: {error}")))?;
    let path = folder.join("certificate.pem");
    let key = folder.join("key.pem");
    for (path, text) in [(&path, made.cert.pem()), (&key, made.signing_key.serialize_pem())] {
        fs::write(path, text)
            .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
    }
    Ok(path)
}

/// Asks for each link once: the server has them right, and has touched what it keeps of each.
fn visit_each_link(address: SocketAddr, draws: &[Draw]) -> Result<(), Failure> {
    let load = Load {
        address,
        source: None,
        user_agents: &[ONE_USER_AGENT.to_owned()],
        draws,
        expect: Expect::TheLink,
        arrival: Arrival::Closed,
        connections: VISIT_CONNECTIONS,
        reconnects: false,
        until: Until::Requests(draws.len() as u64),
        spins: false,
    };
    let faults = load.run()?.faults;
    match faults.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(format!("the links are not answered as they should:\n{faults}"))),
    }
}

/// What all attacks have in common.
struct Trial<'a> {
    pid: u32,
    admin: SocketAddr,
    good: Good<'a>,
    aim: Aim,
    time: Duration,
    folder: &'a Path,
    /// Whether attackers can have what is left of the processor, and nothing else.
    idles: bool,
}

impl Trial<'_> {
    async fn carry_out(&self, attack: &Attack) -> Result<Outcome, Failure> {
        let before = Look::take(self.pid)?;
        let mut quiet = self.good.visit(self.time)?;
        let counters = Counters::read(self.admin).await?;
        let sampler = Sampler::start(self.pid);
        let attacker = self.start(attack)?;
        let share = Share::of(self.pid);
        let attacked = self.good.visit(self.time)?;
        let share = Share::of(self.pid).since(share);
        let counters = Counters::read(self.admin).await?.since(&counters);
        let did = end(attack, attacker).await?;
        let most = Look {
            anonymous_mib: before.anonymous_mib + LEFT_MIB,
            descriptors: before.descriptors + LEFT_DESCRIPTORS,
        };
        let after = settle(self.pid, most)?;
        let peak = sampler.stop()?;
        quiet.add(&self.good.visit(self.time)?);
        let looks = [before, peak, after];
        Ok(Outcome::of(attack, did, [&quiet, &attacked], looks, counters, share))
    }

    fn start(&self, attack: &Attack) -> Result<Child, Failure> {
        let seconds = self.time.as_secs() + 1 + TOOL_SPARE;
        let mut command = attack.command(&self.aim, seconds, self.idles);
        let path = self.folder.join(format!("{}.log", attack.name));
        let log = File::create(&path).and_then(|log| Ok((log.try_clone()?, log)));
        let (out, err) =
            log.map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
        command.stdin(Stdio::piped()).stderr(err);
        match attack.by {
            By::Own(..) => command.stdout(Stdio::piped()),
            By::Tool(_) => command.stdout(out),
        };
        command
            .spawn()
            .map_err(|error| Failure::new(format!("cannot start {}: {error}", attack.name)))
    }
}

/// Ends an attack; what it did, if it says so.
async fn end(attack: &Attack, mut attacker: Child) -> Result<Option<Did>, Failure> {
    let fail = |what: &dyn std::fmt::Display| Failure::new(format!("{}: {what}", attack.name));
    if let By::Tool(_) = attack.by {
        attacker.kill().await.map_err(|error| fail(&error))?;
        return Ok(None);
    }
    drop(attacker.stdin.take());
    let output = timeout(END_MAX, attacker.wait_with_output())
        .await
        .map_err(|_| fail(&"the attacker did not end within 10 s"))?
        .map_err(|error| fail(&error))?;
    serde_json::from_slice(&output.stdout)
        .map(Some)
        .map_err(|error| fail(&format_args!("the attacker did not say what it did: {error}")))
}
