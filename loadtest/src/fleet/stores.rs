//! The stores of a fleet: PostgreSQL and Redis, as members that can be killed too, or servers that
//! run already and are nobody's to kill.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Signal, geteuid};
use tokio::process::Command;

use super::member::{Member, Plan, Probe};
use super::{FleetPlace, Ports};
use crate::failure::Failure;

/// The user that PostgreSQL runs as where this program is root's: it refuses to be root.
const POSTGRES_USER: &str = "postgres";

/// Stores that are ready.
#[derive(Debug)]
pub(crate) struct Stores {
    database_url: String,
    redis_url: Option<String>,
    /// `None`: it is somebody else's.
    pub(crate) postgres: Option<Member>,
    pub(crate) redis: Option<Member>,
    /// PostgreSQL's own folder, removed at the end.
    postgres_folder: Option<PathBuf>,
}

impl Stores {
    pub(super) async fn start(place: &FleetPlace, folder: &Path) -> Result<Self, Failure> {
        let ports = Ports(place.first_port);
        let mut stores = Self {
            database_url: place.database_url.clone().unwrap_or_default(),
            redis_url: place.redis_url.clone().filter(|_| !place.no_redis),
            postgres: None,
            redis: None,
            postgres_folder: None,
        };
        if place.database_url.is_none() {
            let data = place.postgres_folder.join(format!("carom-fleet-{}", std::process::id()));
            let address = ports.store(0);
            let mut postgres = Member::start(postgres_plan(&data, folder, address).await?)?;
            postgres.ready().await?;
            stores.database_url = format!("postgres://carom@{address}/postgres");
            (stores.postgres, stores.postgres_folder) = (Some(postgres), Some(data));
        }
        if place.redis_url.is_none() && !place.no_redis {
            let address = ports.store(1);
            let mut redis = Member::start(redis_plan(folder, address))?;
            redis.ready().await?;
            stores.redis_url = Some(format!("redis://{}", place.redis_wire.unwrap_or(address)));
            stores.redis = Some(redis);
        }
        Ok(stores)
    }

    pub(crate) fn database_url(&self) -> &str {
        &self.database_url
    }

    /// `None`: the fleet has no Redis.
    pub(crate) fn redis_url(&self) -> Option<&str> {
        self.redis_url.as_deref()
    }

    /// Those of the fleet's own.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        self.postgres.iter().chain(&self.redis)
    }

    pub(super) async fn stop(&mut self) -> Result<(), Failure> {
        for member in self.redis.iter_mut().chain(&mut self.postgres) {
            member.stop().await?;
        }
        Ok(())
    }
}

/// What is stored is of no use without the fleet.
impl Drop for Stores {
    fn drop(&mut self) {
        // Killed first: it must not write to a folder that is going.
        self.postgres = None;
        if let Some(folder) = &self.postgres_folder {
            fs::remove_dir_all(folder).ok();
        }
    }
}

/// A new database, durable as in production: `fsync` stays on.
async fn postgres_plan(data: &Path, folder: &Path, address: SocketAddr) -> Result<Plan, Failure> {
    let programs = postgres_programs()?;
    let failed = |error| Failure::new(format!("{}: {error}", data.display()));
    fs::create_dir(data).map_err(failed)?;
    if geteuid().is_root() {
        run(Command::new("chown").arg(format!("{POSTGRES_USER}:")).arg(data)).await?;
    }
    let (program, prefix) = as_owner(&programs.join("initdb"));
    let mut initdb = Command::new(program);
    initdb.args(prefix).current_dir(data).arg("-D").arg(data);
    run(initdb.args(["-U", "carom", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]))
        .await?;
    let (program, mut arguments) = as_owner(&programs.join("postgres"));
    let (at, port) = (data.display().to_string(), address.port().to_string());
    let listen = address.ip().to_string();
    arguments.extend(["-D", &at, "-k", &at, "-p", &port, "-h", &listen].map(str::to_owned));
    arguments.extend(["-c", "max_connections=200"].map(str::to_owned));
    Ok(Plan {
        name: "postgres".to_owned(),
        program,
        arguments,
        environment: vec![("LC_ALL", "C".to_owned())],
        folder: data.to_owned(),
        log: folder.join("postgres.log"),
        address,
        // It accepts connections long before it answers.
        probe: Probe::Command(
            programs.join("pg_isready"),
            ["-q", "-h", &listen, "-p", &port].map(str::to_owned).to_vec(),
        ),
        // Fast shutdown: sessions are ended, and what is committed is written back.
        end: Signal::INT,
    })
}

fn redis_plan(folder: &Path, address: SocketAddr) -> Plan {
    let (ip, port) = (address.ip().to_string(), address.port().to_string());
    // What Redis has can be made again from the database: nothing of it is on disk.
    let arguments = ["--bind", &ip, "--port", &port, "--save", "", "--appendonly", "no"];
    Plan {
        name: "redis".to_owned(),
        program: "redis-server".into(),
        arguments: arguments.map(str::to_owned).to_vec(),
        environment: vec![("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned())],
        folder: folder.to_owned(),
        log: folder.join("redis.log"),
        address,
        probe: Probe::Accepts,
        end: Signal::TERM,
    }
}

/// The folder with initdb and postgres: the newest of Debian's packages, or one that is in the usual
/// places.
fn postgres_programs() -> Result<PathBuf, Failure> {
    let packages = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = packages
        .filter_map(|of| Some((of.file_name().to_str()?.parse().ok()?, of.path().join("bin"))))
        .collect();
    versions.sort();
    let newest_first = versions.into_iter().rev().map(|(_, programs)| programs);
    let usual = ["/usr/local/pgsql/bin", "/usr/local/bin", "/usr/bin"].map(PathBuf::from);
    newest_first.chain(usual).find(|programs| programs.join("initdb").exists()).ok_or_else(|| {
        Failure::new(
            "PostgreSQL is missing: install it, or name an empty database with --database-url",
        )
    })
}

/// A program and what is put before its arguments, to run it as the user whom the data belongs to.
fn as_owner(program: &Path) -> (PathBuf, Vec<String>) {
    if !geteuid().is_root() {
        return (program.to_owned(), Vec::new());
    }
    let user = POSTGRES_USER;
    let mut prefix = vec![format!("--reuid={user}"), format!("--regid={user}")];
    prefix.extend(["--init-groups".to_owned(), program.display().to_string()]);
    ("/usr/bin/setpriv".into(), prefix)
}

async fn run(command: &mut Command) -> Result<(), Failure> {
    let what = || format!("{:?}", command.as_std().get_program());
    let what = what();
    let output = command.stdin(Stdio::null()).output().await;
    let output = output.map_err(|error| Failure::new(format!("cannot run {what}: {error}")))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(Failure::new(format!("{what}: {}", String::from_utf8_lossy(&output.stderr)))),
    }
}
