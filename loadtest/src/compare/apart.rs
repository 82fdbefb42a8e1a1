//! `carom-edge`: an edge that is a program of its own, and follows a control plane elsewhere.
//!
//! Elsewhere is another machine, and here are two processors. So the control plane runs where the
//! client does, and stands still (SIGSTOP) while the edge is asked: it takes nobody's time. What the
//! edge does with a click meanwhile is all but shipping: it writes the ring, drains it, encodes
//! batches and puts them into its outbox. After each measurement the control plane goes on until it
//! has them all, and what that costs the edge counts with its other threads; what it costs the
//! control plane does not. (nginx writes its log to a file and nothing else.)
//!
//! Codes that do not exist are questions to the control plane, so they are not measured here.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::pin::{Cpus, on_server};
use super::servers::local;
use crate::failure::Failure;
use crate::installation::{Installation, Server};

/// What the two show each other. They listen on the loopback, and for this run only.
const TOKEN: &str = "compare-on-loopback-compare-on-loopback";
/// Of the ports from `first` on: the control plane's four, its internal plane, the edge's two.
const INTERNAL: u16 = 4;
const EDGE: u16 = 5;
const ADMIN: u16 = 6;
/// How long the edge may take until it is ready, and to end.
const READY_MAX: Duration = Duration::from_secs(60);
const STOP_MAX: Duration = Duration::from_secs(60);
/// How long its clicks may take to their store.
const SHIP_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
/// How long one question to its admin listener may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// The longest answer that is read, in bytes.
const ANSWER_BYTES: u64 = 256 << 10;

/// What such an edge is started from.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) folder: PathBuf,
    pub(crate) first_port: u16,
    /// As `--set` takes them.
    pub(crate) settings: Vec<String>,
    pub(crate) cpus: Cpus,
}

/// An edge that runs, and its control plane.
pub(crate) struct Apart<'a> {
    program: Program,
    control: Server<'a>,
    edge: Child,
    pid: u32,
}

impl Program {
    /// What the control plane is told.
    pub(crate) fn control_settings(&self) -> [String; 2] {
        let address = local(self.first_port + INTERNAL);
        [format!("internal.token={TOKEN}"), format!("control.internal_listen={address}")]
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        local(self.first_port + EDGE)
    }

    const fn admin(&self) -> SocketAddr {
        local(self.first_port + ADMIN)
    }

    fn data_dir(&self) -> PathBuf {
        self.folder.join("edge")
    }

    /// The folder of its rings.
    pub(crate) fn spool(&self) -> PathBuf {
        self.data_dir().join("spool")
    }

    /// Starts the edge on the server's processor, and waits until it is ready.
    async fn start(&self) -> Result<(Child, u32), Failure> {
        let fail = |error: io::Error| {
            Failure::new(format!("cannot start {}: {error}", self.path.display()))
        };
        fs::create_dir_all(self.data_dir()).map_err(fail)?;
        let path = self.folder.join("edge.log");
        let log = File::options().create(true).append(true).open(&path).map_err(fail)?;
        let mut command = Command::new(fs::canonicalize(&self.path).map_err(fail)?);
        command.arg("serve").arg("--data-dir").arg(self.data_dir());
        let settings = [
            format!("edge.listen={}", self.address()),
            format!("edge.admin_listen={}", self.admin()),
            format!("edge.control_url=http://{}", local(self.first_port + INTERNAL)),
            format!("internal.token={TOKEN}"),
        ];
        for setting in settings.iter().chain(&self.settings) {
            command.args(["--set", setting]);
        }
        command.current_dir(&self.folder).env_clear().stdin(Stdio::null()).kill_on_drop(true);
        command.stdout(log.try_clone().map_err(fail)?).stderr(log);
        let mut edge = on_server(self.cpus, || command.spawn().map_err(fail))?;
        let begun = Instant::now();
        while !self.ask("/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 ")) {
            let ended = edge.try_wait().ok().flatten();
            if ended.is_some() || begun.elapsed() > READY_MAX {
                let text = fs::read_to_string(&path).unwrap_or_default();
                let what = format!("carom-edge is not ready ({ended:?}); {}:", path.display());
                return Err(Failure::new(format!("{what}\n{text}")));
            }
            sleep(POLL).await;
        }
        let pid = edge.id().ok_or_else(|| Failure::new("carom-edge ended at once"))?;
        Ok((edge, pid))
    }

    /// The answer of its admin listener, head and body.
    fn ask(&self, path: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&self.admin(), ANSWER_MAX)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        let host = self.admin();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(ANSWER_BYTES).read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// A metric without labels.
    fn metric(&self, name: &str) -> Result<u64, Failure> {
        let page = self.ask("/metrics");
        let page = page.map_err(|error| Failure::new(format!("{}: {error}", self.admin())))?;
        let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
        page.lines()
            .find_map(value)
            .ok_or_else(|| Failure::new(format!("carom-edge has no metric {name}")))
    }
}

impl<'a> Apart<'a> {
    /// Starts both; the links are in `installation`. Its settings are [`Program::control_settings`].
    pub(crate) async fn start(
        program: Program,
        installation: &'a Installation,
    ) -> Result<Self, Failure> {
        let mut control = installation.start()?;
        control.ready().await?;
        let (edge, pid) = program.start().await?;
        Ok(Self { program, control, edge, pid })
    }

    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.program.address()
    }

    pub(crate) fn spool(&self) -> PathBuf {
        self.program.spool()
    }

    pub(crate) async fn version(&self) -> String {
        let asked = Command::new(&self.program.path).arg("--version").output().await;
        String::from_utf8_lossy(&asked.map(|output| output.stdout).unwrap_or_default())
            .trim()
            .into()
    }

    /// Stops the edge, which then writes what it knows into its snapshot, and starts it with that.
    pub(crate) async fn restart(&mut self) -> Result<(), Failure> {
        end(&mut self.edge, self.pid).await?;
        (self.edge, self.pid) = self.program.start().await?;
        Ok(())
    }

    /// Links that are answered from the snapshot.
    pub(crate) fn snapshot_routes(&self) -> Result<u64, Failure> {
        self.program.metric("carom_edge_snapshot_routes")
    }

    /// The control plane stands still.
    pub(crate) fn hold_control(&self) -> Result<(), Failure> {
        signal(self.control.pid(), Signal::STOP)
    }

    /// The control plane goes on.
    pub(crate) fn release_control(&self) -> Result<(), Failure> {
        signal(self.control.pid(), Signal::CONT)
    }

    /// Waits until all clicks are with the control plane.
    pub(crate) fn ship(&self) -> Result<(), Failure> {
        let begun = Instant::now();
        while self.program.metric("carom_edge_batches_waiting")? > 0 {
            if begun.elapsed() > SHIP_MAX {
                return Err(Failure::new("the clicks of carom-edge were not shipped within 60 s"));
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    pub(crate) async fn stop(mut self) -> Result<(), Failure> {
        self.release_control()?;
        end(&mut self.edge, self.pid).await?;
        self.control.stop().await
    }
}

async fn end(edge: &mut Child, pid: u32) -> Result<(), Failure> {
    signal(pid, Signal::TERM)?;
    match timeout(STOP_MAX, edge.wait()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        ended => {
            Err(Failure::new(format!("carom-edge did not end well after SIGTERM ({ended:?})")))
        }
    }
}

fn signal(pid: u32, signal: Signal) -> Result<(), Failure> {
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let process = process.ok_or_else(|| Failure::new(format!("{pid} is no process")))?;
    kill_process(process, signal)
        .map_err(|error| Failure::new(format!("cannot signal process {pid}: {error}")))
}

/// Makes the folder of an edge and of its control plane.
pub(crate) fn folder(parent: &Path, name: &str) -> Result<PathBuf, Failure> {
    let folder = parent.join(name);
    fs::create_dir_all(&folder)
        .map_err(|error| Failure::new(format!("{}: {error}", folder.display())))?;
    Ok(folder)
}
