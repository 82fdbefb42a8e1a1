//! An installation of one's own: a `carom serve` with its own data folder and ports, that an
//! experiment may kill and start again on the same data.
//!
//! The server gets an empty environment but for what stands here, and runs in the experiment's
//! folder, so neither a `carom.toml` nor a `DATABASE_URL` of the caller leaks into a measurement.
//! Ports are fixed and below the range from which the kernel takes the ports of outgoing
//! connections (32768): while a killed server is away, a client that retries could else be given
//! its port, and be connected to itself.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::failure::Failure;
use crate::http::Connection;

/// How long a server may take from its start until `/readyz` says yes on both admin listeners.
const READY_MAX: Duration = Duration::from_secs(60);
/// Pause between two questions whether it is ready.
const READY_POLL: Duration = Duration::from_millis(2);
/// How long a server may take to drain, flush and end after SIGTERM.
const STOP_MAX: Duration = Duration::from_secs(60);
/// How long `carom key create` may take.
const COMMAND_MAX: Duration = Duration::from_secs(30);
/// Bytes from the end of the server's log that a failure shows.
const LOG_TAIL_BYTES: usize = 2000;

/// Experiments send thousands of requests a second with one key.
pub(crate) const UNLIMITED: [(&str, &str); 3] = [
    ("CAROM_LIMITS__KEY_PER_MINUTE", "0"),
    ("CAROM_LIMITS__WORKSPACE_PER_MINUTE", "0"),
    ("CAROM_LIMITS__ADDRESS_PER_MINUTE", "0"),
];

/// An installation: program, folder and ports. It outlives the servers that run on it.
#[derive(Debug)]
pub(crate) struct Installation {
    carom: PathBuf,
    folder: PathBuf,
    first_port: u16,
    database_url: Option<String>,
    settings: Vec<String>,
    /// The program knows no limits of the API's requests, nor their settings.
    is_older: bool,
}

/// A server that runs on an installation. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Server<'a> {
    installation: &'a Installation,
    child: Child,
    pid: u32,
    pub(crate) started: Instant,
}

impl Installation {
    /// Makes the folder `NAME-PID` below `parent`, for an installation with nothing in it but what
    /// is in the database of `database_url`; without one it has a database of its own.
    pub(crate) fn create(
        carom: &Path,
        parent: &Path,
        name: &str,
        first_port: u16,
        database_url: Option<&str>,
    ) -> Result<Self, Failure> {
        let folder = parent.join(format!("{name}-{}", std::process::id()));
        let fail = |path: &Path, error| Failure::new(format!("{}: {error}", path.display()));
        fs::create_dir_all(parent).map_err(|error| fail(parent, error))?;
        // Not `create_dir_all`: a folder that is there already holds other clicks.
        fs::create_dir(&folder).map_err(|error| fail(&folder, error))?;
        Ok(Self {
            // The server runs in another folder than this program.
            carom: fs::canonicalize(carom).map_err(|error| fail(carom, error))?,
            folder: fs::canonicalize(&folder).map_err(|error| fail(&folder, error))?,
            first_port,
            database_url: database_url.map(str::to_owned),
            settings: Vec::new(),
            is_older: false,
        })
    }

    /// One that an earlier experiment left behind.
    pub(crate) fn existing(carom: &Path, folder: &Path, first_port: u16) -> Result<Self, Failure> {
        let fail = |path: &Path, error| Failure::new(format!("{}: {error}", path.display()));
        Ok(Self {
            carom: fs::canonicalize(carom).map_err(|error| fail(carom, error))?,
            folder: fs::canonicalize(folder).map_err(|error| fail(folder, error))?,
            first_port,
            database_url: None,
            settings: Vec::new(),
            is_older: false,
        })
    }

    /// The same with a program of before there were limits.
    pub(crate) fn older(self) -> Self {
        Self { is_older: true, ..self }
    }

    /// The same with settings of its own, as `--set` takes them.
    pub(crate) fn with_settings(self, settings: &[&str]) -> Self {
        Self { settings: settings.iter().map(|&setting| setting.to_owned()).collect(), ..self }
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The public listener of redirects.
    pub(crate) const fn edge(&self) -> SocketAddr {
        self.address(0)
    }

    /// The listener of the API.
    pub(crate) const fn control(&self) -> SocketAddr {
        self.address(1)
    }

    /// The listener of the edge's health and metrics.
    pub(crate) const fn edge_admin(&self) -> SocketAddr {
        self.address(2)
    }

    const fn control_admin(&self) -> SocketAddr {
        self.address(3)
    }

    const fn address(&self, place: u16) -> SocketAddr {
        SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), self.first_port + place)
    }

    /// Starts a server; it is not ready yet.
    pub(crate) fn start(&self) -> Result<Server<'_>, Failure> {
        self.start_with(self.command(["serve"]))
    }

    /// The same as the control plane of edges, which ask it on `internal`.
    pub(crate) fn start_as_control(
        &self,
        internal: SocketAddr,
        token: &str,
    ) -> Result<Server<'_>, Failure> {
        let mut command = self.command(["serve"]);
        command.env("CAROM_CONTROL__INTERNAL_LISTEN", internal.to_string());
        command.env("CAROM_INTERNAL__TOKEN", token);
        self.start_with(command)
    }

    fn start_with(&self, mut command: Command) -> Result<Server<'_>, Failure> {
        let log = File::options().create(true).append(true).open(self.log_path());
        let log = log.and_then(|log| Ok((log.try_clone()?, log)));
        let (out, err) =
            log.map_err(|error| Failure::new(format!("{}: {error}", self.log_path().display())))?;
        let started = Instant::now();
        let child = command.stdout(out).stderr(err).spawn();
        let child = child.map_err(|error| self.cannot_run(&error))?;
        let pid = child.id().ok_or_else(|| Failure::new("the server ended at once"))?;
        Ok(Server { installation: self, child, pid, started })
    }

    /// Makes an API key with the command line, as a person does.
    pub(crate) async fn create_key(&self) -> Result<String, Failure> {
        #[derive(Deserialize)]
        struct Created {
            key: String,
        }
        let mut command = self.command(["key", "create", "--name", "loadtest", "--json"]);
        let output = timeout(COMMAND_MAX, command.stdout(Stdio::piped()).output()).await;
        let output = output
            .map_err(|_| Failure::new("`carom key create` did not end within 30 s"))?
            .map_err(|error| self.cannot_run(&error))?;
        match serde_json::from_slice(&output.stdout) {
            Ok(Created { key }) if output.status.success() => Ok(key),
            _ => Err(Failure::new(format!(
                "`carom key create --json` gave no key ({}): {}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            ))),
        }
    }

    /// The token of the link that makes the first account, as the last start without one logged it.
    pub(crate) fn setup_token(&self) -> Option<String> {
        let log = fs::read(self.log_path()).ok()?;
        let log = String::from_utf8_lossy(&log);
        let (_, rest) = log.rsplit_once("/setup#")?;
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "-_".contains(c)));
        Some(rest.get(..end.unwrap_or(rest.len()))?.to_owned())
    }

    /// Removes the folder with all that was stored.
    pub(crate) fn remove(&self) -> Result<(), Failure> {
        fs::remove_dir_all(&self.folder)
            .map_err(|error| Failure::new(format!("{}: {error}", self.folder.display())))
    }

    /// A command line of the program, for this installation.
    pub(crate) fn command(
        &self,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Command {
        let mut command = Command::new(&self.carom);
        command
            .args(arguments)
            .current_dir(&self.folder)
            .env_clear()
            .env("CAROM_DATA_DIR", self.data_dir())
            .env("CAROM_EDGE__LISTEN", self.edge().to_string())
            .env("CAROM_EDGE__ADMIN_LISTEN", self.edge_admin().to_string())
            .env("CAROM_CONTROL__LISTEN", self.control().to_string())
            .env("CAROM_CONTROL__ADMIN_LISTEN", self.control_admin().to_string())
            .env("CAROM_PUBLIC_URL", format!("http://{}", self.edge()))
            .envs(UNLIMITED.iter().filter(|_| !self.is_older).copied())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        if let Some(url) = &self.database_url {
            command.env("CAROM_DATABASE__URL", url);
        }
        command
    }

    fn cannot_run(&self, error: &std::io::Error) -> Failure {
        Failure::new(format!("cannot run {}: {error}", self.carom.display()))
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    /// A failure of the server, with the last lines that it wrote.
    fn failure(&self, what: &str) -> Failure {
        let log = fs::read(self.log_path()).unwrap_or_default();
        let tail = &log[log.len().saturating_sub(LOG_TAIL_BYTES)..];
        let path = self.log_path();
        let text = String::from_utf8_lossy(tail);
        Failure::new(format!("{what}; the end of {}:\n{text}", path.display()))
    }
}

impl Server<'_> {
    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until edge and control say that they are ready.
    pub(crate) async fn ready(&mut self) -> Result<(), Failure> {
        for admin in [self.installation.edge_admin(), self.installation.control_admin()] {
            while !is_ready(admin).await {
                if let Some(status) = self.child.try_wait().ok().flatten() {
                    return Err(self.installation.failure(&format!("the server ended ({status})")));
                }
                if self.started.elapsed() > READY_MAX {
                    let what = format!("http://{admin}/readyz did not become ready within 60 s");
                    return Err(self.installation.failure(&what));
                }
                sleep(READY_POLL).await;
            }
        }
        Ok(())
    }

    /// SIGKILL: the process has no say in it. Returns when it is gone and its sockets are closed.
    pub(crate) async fn kill(mut self) -> Result<(), Failure> {
        if let Some(status) = self.child.try_wait().ok().flatten() {
            let what = format!("the server ended by itself ({status}) before it was killed");
            return Err(self.installation.failure(&what));
        }
        let killed = self.child.kill().await;
        killed.map_err(|error| Failure::new(format!("cannot kill the server: {error}")))
    }

    /// SIGTERM: the server drains, flushes and ends, with success.
    pub(crate) async fn stop(mut self) -> Result<(), Failure> {
        // The standard library can only send SIGKILL, and the shell's own `kill` is everywhere.
        let pid = self.pid.to_string();
        let sent = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &pid]).status().await;
        if !sent.as_ref().is_ok_and(ExitStatus::success) {
            return Err(self.installation.failure("SIGTERM did not reach the server"));
        }
        match timeout(STOP_MAX, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(status) => {
                let what = format!("the server did not end well after SIGTERM ({status:?})");
                Err(self.installation.failure(&what))
            }
            Err(_elapsed) => {
                Err(self.installation.failure("the server did not end within 60 s after SIGTERM"))
            }
        }
    }
}

async fn is_ready(admin: SocketAddr) -> bool {
    let ask = async {
        let mut connection = Connection::open(admin).await?;
        let request = format!("GET /readyz HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
        connection.send(request.as_bytes()).await?;
        connection.read_head().await
    };
    matches!(ask.await, Ok(head) if head.status == 200)
}
