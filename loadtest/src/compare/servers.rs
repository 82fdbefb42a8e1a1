//! The servers of a comparison, each running and ready.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::sleep;

use super::apart::Apart;
use super::generator::Expect;
use super::peers::Installed;
use super::pin::{Cpus, on_server};
use super::requests::LinkFiles;
use super::usage::{CpuSample, Memory};
use crate::failure::Failure;
use crate::installation::{Installation, Server};

/// How the names of Carom's threads begin that answer requests.
const EDGE_THREADS: &str = "edge-";
/// How long Carom has at least until its clicks are stored: a little more than it waits for a batch
/// to fill.
const CAROM_REST: Duration = Duration::from_millis(1100);
/// How long a server may take to read its links and listen.
const LISTEN_MAX: Duration = Duration::from_secs(120);
const LISTEN_POLL: Duration = Duration::from_millis(20);

/// A server that answers.
pub(crate) struct Running<'a> {
    pub(crate) name: &'static str,
    pub(crate) version: String,
    /// Where connections are kept.
    pub(crate) address: SocketAddr,
    /// Where each request brings a connection of its own.
    pub(crate) address_for_one: SocketAddr,
    pub(crate) expect: Expect,
    pid: u32,
    holder: Holder<'a>,
}

/// What keeps a server running.
enum Holder<'a> {
    Carom { server: Server<'a>, spool: PathBuf },
    Apart(Box<Apart<'a>>),
    Peer { installed: Installed, folder: PathBuf, child: Child },
    Floor(Child),
}

/// An address on the loopback.
pub(crate) const fn local(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// Puts the links into an installation that nothing runs on.
pub(crate) async fn import(installation: &Installation, csv: &Path) -> Result<(), Failure> {
    let mut command = installation.command(["import"]);
    let output = command.arg(csv).output().await;
    let output =
        output.map_err(|error| Failure::new(format!("cannot run `carom import`: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!("`carom import {}` failed: {text}", csv.display())))
}

impl<'a> Running<'a> {
    pub(crate) async fn carom(
        name: &'static str,
        installation: &'a Installation,
        cpus: Cpus,
    ) -> Result<Self, Failure> {
        let mut server = on_server(cpus, || installation.start())?;
        server.ready().await?;
        let version = installation.command(["--version"]).output().await;
        let version = version.map(|output| output.stdout).unwrap_or_default();
        Ok(Self {
            name,
            version: String::from_utf8_lossy(&version).trim().to_owned(),
            address: installation.edge(),
            address_for_one: installation.edge(),
            expect: Expect::TheLink,
            pid: server.pid(),
            holder: Holder::Carom { server, spool: installation.data_dir().join("spool") },
        })
    }

    /// An edge of its own.
    pub(crate) async fn apart(apart: Apart<'a>) -> Self {
        Self {
            name: "carom-edge",
            version: apart.version().await,
            address: apart.address(),
            address_for_one: apart.address(),
            expect: Expect::TheLink,
            pid: apart.pid(),
            holder: Holder::Apart(Box::new(apart)),
        }
    }

    /// Whether it can say by itself that a code does not exist.
    pub(crate) const fn knows_absences(&self) -> bool {
        !matches!(self.holder, Holder::Apart(_))
    }

    /// What it learned since it began stands in its snapshot from now on, if it keeps one.
    pub(crate) async fn keep_what_is_known(&mut self) -> Result<bool, Failure> {
        let Holder::Apart(apart) = &mut self.holder else { return Ok(false) };
        apart.restart().await?;
        self.pid = apart.pid();
        self.version =
            format!("{}, {} links in its snapshot", self.version, apart.snapshot_routes()?);
        Ok(true)
    }

    pub(crate) async fn peer(
        installed: Installed,
        folder: &Path,
        port: u16,
        links: (&LinkFiles, usize),
        cpus: Cpus,
    ) -> Result<Self, Failure> {
        let (name, version) = (installed.name(), installed.version.clone());
        let address = local(port);
        let (files, count) = links;
        let mut child = on_server(cpus, || installed.start(folder, address, files, count))?;
        let pid = listens(name, address, &mut child, folder).await?;
        let folder = folder.to_owned();
        let holder = Holder::Peer { installed, folder, child };
        let (address_for_one, expect) = (address, Expect::TheLink);
        Ok(Self { name, version, address, address_for_one, expect, pid, holder })
    }

    /// Starts this program once more, as the floor.
    pub(crate) async fn floor(folder: &Path, port: u16, cpus: Cpus) -> Result<Self, Failure> {
        let (address, address_for_one) = (local(port), local(port + 1));
        let mut command = Command::new("/proc/self/exe");
        command.arg("floor").args(["--listen", &address.to_string()]);
        command.args(["--listen-closing", &address_for_one.to_string()]);
        // It serves until its standard input ends.
        command.stdin(Stdio::piped()).kill_on_drop(true);
        let mut child = on_server(cpus, || {
            command
                .spawn()
                .map_err(|error| Failure::new(format!("cannot start the floor: {error}")))
        })?;
        let pid = listens("floor", address_for_one, &mut child, folder).await?;
        Ok(Self {
            name: "floor",
            version: "epoll, a fixed answer".to_owned(),
            address,
            address_for_one,
            expect: Expect::AnyRedirect,
            pid,
            holder: Holder::Floor(child),
        })
    }

    fn serving(&self) -> Option<&'static str> {
        match self.holder {
            Holder::Carom { .. } | Holder::Apart(_) => Some(EDGE_THREADS),
            Holder::Peer { .. } | Holder::Floor(_) => None,
        }
    }

    /// What the server has used when it is done with what it was asked.
    pub(crate) fn sample(&self) -> Result<CpuSample, Failure> {
        let rest = match &self.holder {
            Holder::Carom { .. } | Holder::Apart(_) => CAROM_REST,
            Holder::Peer { .. } | Holder::Floor(_) => Duration::ZERO,
        };
        let sample = CpuSample::when_quiet(self.pid, self.serving(), rest)?;
        let Holder::Apart(apart) = &self.holder else { return Ok(sample) };
        apart.release_control()?;
        apart.ship()?;
        CpuSample::when_quiet(self.pid, self.serving(), Duration::ZERO)
    }

    /// What it has used until now; it is at rest.
    pub(crate) fn sample_now(&self) -> Result<CpuSample, Failure> {
        CpuSample::take(self.pid, self.serving())
    }

    /// Whoever serves it on another machine takes no time of this one, until the next sample.
    pub(crate) fn hold_others(&self) -> Result<(), Failure> {
        match &self.holder {
            Holder::Apart(apart) => apart.hold_control(),
            Holder::Carom { .. } | Holder::Peer { .. } | Holder::Floor(_) => Ok(()),
        }
    }

    pub(crate) fn memory(&self) -> Result<Memory, Failure> {
        let rings = match &self.holder {
            Holder::Carom { spool, .. } => Some(spool.clone()),
            Holder::Apart(apart) => Some(apart.spool()),
            Holder::Peer { .. } | Holder::Floor(_) => None,
        };
        Memory::of(self.pid, rings.as_deref())
    }

    /// Bounds what is kept on disk of a measurement.
    pub(crate) fn tidy(&self) -> Result<(), Failure> {
        match &self.holder {
            Holder::Peer { installed, folder, .. } => installed.forget_requests(folder),
            Holder::Carom { .. } | Holder::Apart(_) | Holder::Floor(_) => Ok(()),
        }
    }

    pub(crate) async fn stop(self) -> Result<(), Failure> {
        let mut child = match self.holder {
            Holder::Carom { server, .. } => return server.stop().await,
            Holder::Apart(apart) => return apart.stop().await,
            Holder::Peer { child, .. } | Holder::Floor(child) => child,
        };
        let killed = child.kill().await;
        killed.map_err(|error| Failure::new(format!("cannot stop {}: {error}", self.name)))
    }
}

/// Waits until a server takes connections; its process.
async fn listens(
    name: &str,
    address: SocketAddr,
    child: &mut Child,
    folder: &Path,
) -> Result<u32, Failure> {
    let begun = Instant::now();
    while TcpStream::connect(address).await.is_err() {
        if let Some(status) = child.try_wait().ok().flatten() {
            let log = folder.join(format!("{name}.log"));
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            return Err(Failure::new(format!("{name} ended ({status}): {text}")));
        }
        if begun.elapsed() > LISTEN_MAX {
            return Err(Failure::new(format!("{name} does not listen on {address} after 120 s")));
        }
        sleep(LISTEN_POLL).await;
    }
    child.id().ok_or_else(|| Failure::new(format!("{name} ended at once")))
}
