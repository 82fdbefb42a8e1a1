//! `fleet`: a fleet on this machine, brought up by one command, and whether it keeps its promises.
//!
//! ```text
//! PostgreSQL, Redis   own processes in a new folder, or those that DATABASE_URL and REDIS_URL name
//! carom-control x 2   each with its own folder; the first keeps the clicks, unless ClickHouse does
//! balancer            the one name under which edges know all control planes, as a service would be
//! carom-edge x 3      each with its own folder, following the balancer's address
//! ```
//!
//! `fleet up` stays in the foreground and prints the addresses. `fleet check` makes links through
//! either control plane and follows each at once on a random edge; then it changes, disables, deletes
//! and makes again, under load, and measures how long it takes until every edge answers right.
//!
//! `fleet faults` lets things happen to parts of it under load, and `fleet races` deletes links while
//! they are looked up and makes them again.
//!
//! [`Fleet`] is what experiments with faults build on: each [`Member`] can be killed, stopped, paused
//! and started again on its folder, and has an address.

mod balancer;
mod check;
mod faults;
mod member;
mod proxy;
mod races;
mod settle;
mod stores;
mod visitor;

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Deserialize;
use tokio::signal::unix::{SignalKind, signal};

use crate::api::Api;
use crate::at_least_one;
use crate::failure::Failure;
use crate::installation::UNLIMITED;
use crate::report::progress;
use balancer::Balancer;
pub(crate) use check::{CheckArgs, run as check};
pub(crate) use faults::{FaultsArgs, run as faults};
use member::{Member, Plan};
pub(crate) use races::{RacesArgs, run as races};
use stores::Stores;

/// What edges show the control planes here. It opens nothing that is not on this machine's loopback.
const TOKEN: &str = "of-a-fleet-for-an-experiment-on-loopback";
/// Places of a port from the first one on; each kind has [`PER_KIND`].
const PER_KIND: u16 = 100;

/// A fleet on this machine.
#[derive(Debug, Args)]
pub(crate) struct FleetArgs {
    #[command(subcommand)]
    pub(crate) command: FleetCommand,
    #[command(flatten)]
    pub(crate) place: FleetPlace,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FleetCommand {
    /// Bring it up, print its addresses and a key, and keep it until Ctrl-C.
    Up,
    /// Create and follow at once, change under load; every edge must answer right.
    Check(CheckArgs),
    /// Kill, stop, slow, empty and cut off its parts under load; every answer must be right.
    Faults(FaultsArgs),
    /// Delete links while they are asked for and make them again; no edge may keep the old target.
    Races(RacesArgs),
}

/// What a fleet is made of, and where.
#[derive(Clone, Debug, Args)]
pub(crate) struct FleetPlace {
    /// Folder with the programs carom-control and carom-edge.
    #[arg(long, global = true, value_name = "FOLDER", default_value = "target/debug")]
    programs: PathBuf,
    /// Folder below which the fleet gets its own; it is removed at the end.
    #[arg(long, global = true, value_name = "FOLDER", default_value = "target/fleet")]
    folder: PathBuf,
    /// Folder below which PostgreSQL gets its own. As root it runs as the user postgres, who must be
    /// able to enter it.
    #[arg(long, global = true, value_name = "FOLDER", default_value = "/tmp")]
    postgres_folder: PathBuf,
    /// Keep the folder with logs and data.
    #[arg(long, global = true)]
    keep: bool,
    /// First of the ports; 600 from there on are used, of which none may be in use.
    #[arg(long, global = true, default_value_t = 21000, value_parser = clap::value_parser!(u16).range(1024..32000))]
    first_port: u16,
    /// Control planes.
    #[arg(long, global = true, default_value_t = 2, value_parser = at_least_one)]
    controls: usize,
    /// Edges.
    #[arg(long, global = true, default_value_t = 3, value_parser = at_least_one)]
    edges: usize,
    /// An empty database on a PostgreSQL that runs already [default: one of the fleet's own].
    #[arg(long, global = true, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// An empty database of a Redis that runs already [default: one of the fleet's own].
    #[arg(long, global = true, env = "REDIS_URL", hide_env_values = true)]
    redis_url: Option<String>,
    /// Where all control planes keep clicks [default: a file of the first one].
    #[arg(long, global = true, env = "CLICKHOUSE_URL", hide_env_values = true)]
    clickhouse_url: Option<String>,
    /// No Redis: edges hear of changes over the internal plane alone.
    #[arg(long, global = true)]
    no_redis: bool,
    /// Where everybody reaches the fleet's own Redis, if not directly.
    #[arg(skip)]
    redis_wire: Option<SocketAddr>,
}

/// A fleet that runs. Dropping it kills all of it.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) stores: Stores,
    pub(crate) controls: Vec<Member>,
    pub(crate) edges: Vec<Member>,
    pub(crate) balancer: Balancer,
    /// Opens the API of each control plane.
    pub(crate) key: String,
    folder: PathBuf,
    keeps_folder: bool,
}

impl Fleet {
    /// Brings it up; every member is ready.
    pub(crate) async fn start(place: &FleetPlace) -> Result<Self, Failure> {
        let folder = place.folder.join(std::process::id().to_string());
        let failed = |error| Failure::new(format!("{}: {error}", folder.display()));
        fs::create_dir_all(&folder).map_err(failed)?;
        let folder = fs::canonicalize(&folder).map_err(failed)?;
        let stores = Stores::start(place, &folder).await?;
        let ports = Ports(place.first_port);
        let internal: Vec<_> = (0..place.controls).map(|n| ports.at(Kind::Internal, n)).collect();
        let balancer = Balancer::start(ports.at(Kind::Balancer, 0), internal).await?;

        let program = |name| program(&place.programs, name);
        let mut controls = Vec::new();
        for n in 0..place.controls {
            let plan = control_plan(place, &stores, &folder, program("carom-control")?, ports, n);
            let mut control = Member::start(plan)?;
            // The first one makes the schema; the others would only wait for it.
            control.ready().await?;
            controls.push(control);
        }
        let key = key(&controls[0]).await?;
        let mut edges = Vec::new();
        for n in 0..place.edges {
            let plan = edge_plan(&stores, &folder, program("carom-edge")?, ports, n);
            edges.push(Member::start(plan)?);
        }
        for edge in &mut edges {
            edge.ready().await?;
        }
        let keeps_folder = place.keep;
        Ok(Self { stores, controls, edges, balancer, key, folder, keeps_folder })
    }

    /// The API of the control plane with this number.
    pub(crate) fn api(&self, control: usize) -> Api {
        Api { control: self.controls[control].address(), key: self.key.clone() }
    }

    /// Where visitors reach each edge.
    pub(crate) fn edge_addresses(&self) -> Vec<SocketAddr> {
        self.edges.iter().map(Member::address).collect()
    }

    /// Stops edges, then control planes, then stores, and removes the folder.
    pub(crate) async fn stop(mut self) -> Result<(), Failure> {
        for member in self.edges.iter_mut().chain(&mut self.controls) {
            member.stop().await?;
        }
        self.stores.stop().await?;
        if self.keeps_folder {
            progress(&format!("kept: {}", self.folder.display()));
            return Ok(());
        }
        fs::remove_dir_all(&self.folder)
            .map_err(|error| Failure::new(format!("{}: {error}", self.folder.display())))
    }

    /// What a person needs to use it.
    fn description(&self) -> String {
        let mut text = String::new();
        for member in self.stores.members().chain(&self.controls).chain(&self.edges) {
            writeln!(text, "{:<10} {}  process {}", member.name(), member.address(), member.pid())
                .expect("a string takes what it is given");
        }
        let Self { balancer, key, folder, .. } = self;
        let (address, folder) = (balancer.address(), folder.display());
        write!(text, "balancer   {address}\nlogs       {folder}\nkey        {key}")
            .expect("a string takes what it is given");
        text
    }
}

/// Brings a fleet up and keeps it until Ctrl-C.
pub(crate) async fn up(place: &FleetPlace) -> Result<(), Failure> {
    let failed = |error| Failure::new(format!("signals cannot be heard: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let fleet = Fleet::start(place).await?;
    progress(&format!("{}\nCtrl-C ends all of it.", fleet.description()));
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    fleet.stop().await
}

#[derive(Clone, Copy)]
enum Kind {
    Api,
    Internal,
    ControlAdmin,
    Edge,
    EdgeAdmin,
    /// The balancer and, after it, the stores.
    Balancer,
}

/// Ports below those that the kernel gives to outgoing connections: a client that tries again while a
/// member is away could else be connected to itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports(u16);

impl Ports {
    fn at(self, kind: Kind, n: usize) -> SocketAddr {
        let n = u16::try_from(n).unwrap_or(PER_KIND - 1).min(PER_KIND - 1);
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.0 + kind as u16 * PER_KIND + n))
    }

    /// Of the store with this number.
    fn store(self, n: usize) -> SocketAddr {
        self.at(Kind::Balancer, n + 1)
    }
}

/// What all programs of the fleet are told.
fn common(stores: &Stores, data_dir: &Path) -> Vec<(&'static str, String)> {
    let mut environment = vec![
        ("CAROM_DATA_DIR", data_dir.display().to_string()),
        ("CAROM_INTERNAL__TOKEN", TOKEN.to_owned()),
    ];
    environment.extend(stores.redis_url().map(|url| ("CAROM_REDIS__URL", url.to_owned())));
    environment
}

fn control_plan(
    place: &FleetPlace,
    stores: &Stores,
    folder: &Path,
    program: PathBuf,
    ports: Ports,
    n: usize,
) -> Plan {
    let name = format!("control-{}", n + 1);
    let mut environment = common(stores, &folder.join(&name));
    let (api, admin) = (ports.at(Kind::Api, n), ports.at(Kind::ControlAdmin, n));
    environment.extend([
        // Hosts are compared without their ports: the name of each edge.
        ("CAROM_PUBLIC_URL", format!("http://{}", ports.at(Kind::Edge, 0))),
        ("CAROM_DATABASE__URL", stores.database_url().to_owned()),
        ("CAROM_CONTROL__LISTEN", api.to_string()),
        ("CAROM_CONTROL__PUBLIC_URL", format!("http://{api}")),
        ("CAROM_CONTROL__INTERNAL_LISTEN", ports.at(Kind::Internal, n).to_string()),
        ("CAROM_CONTROL__ADMIN_LISTEN", admin.to_string()),
    ]);
    environment.extend(UNLIMITED.map(|(name, value)| (name, value.to_owned())));
    match &place.clickhouse_url {
        Some(url) => environment.push(("CAROM_CLICKS__URL", url.clone())),
        None if n > 0 => environment.push(("CAROM_CLICKS__URL", "none".to_owned())),
        None => {}
    }
    Plan::carom(name, program, folder, environment, api, admin)
}

fn edge_plan(stores: &Stores, folder: &Path, program: PathBuf, ports: Ports, n: usize) -> Plan {
    let name = format!("edge-{}", n + 1);
    let mut environment = common(stores, &folder.join(&name));
    let (edge, admin) = (ports.at(Kind::Edge, n), ports.at(Kind::EdgeAdmin, n));
    environment.extend([
        ("CAROM_EDGE__LISTEN", edge.to_string()),
        ("CAROM_EDGE__ADMIN_LISTEN", admin.to_string()),
        ("CAROM_EDGE__CONTROL_URL", format!("http://{}", ports.at(Kind::Balancer, 0))),
    ]);
    Plan::carom(name, program, folder, environment, edge, admin)
}

fn program(folder: &Path, name: &str) -> Result<PathBuf, Failure> {
    let path = folder.join(name);
    fs::canonicalize(&path).map_err(|error| {
        let path = path.display();
        Failure::new(format!("{path}: {error}; build it, or name its folder with --programs"))
    })
}

/// A key, made as a person makes one, by the process that serves.
async fn key(control: &Member) -> Result<String, Failure> {
    #[derive(Deserialize)]
    struct Created {
        key: String,
    }
    let made = control.run(&["key", "create", "--name", "fleet", "--json"]).await?;
    let made: Result<Created, _> = serde_json::from_str(&made);
    made.map(|Created { key }| key)
        .map_err(|_| Failure::new("carom-control key create --json gave no key"))
}
