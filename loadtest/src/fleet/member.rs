//! [`Member`]: one process of a fleet, that can be killed, stopped, paused and started again.
//!
//! It gets an empty environment but for its plan's, and runs in its own folder, so nothing of the
//! caller leaks into an experiment.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::failure::Failure;
use crate::http::Connection;

/// How long a member may take until it is ready, and to end after SIGTERM.
const READY_MAX: Duration = Duration::from_secs(60);
const STOP_MAX: Duration = Duration::from_secs(60);
const READY_POLL: Duration = Duration::from_millis(5);
/// How long a command of its program may take.
const COMMAND_MAX: Duration = Duration::from_secs(30);
/// Bytes from the end of its log that a failure shows.
const LOG_TAIL_BYTES: usize = 2000;

/// When a member is ready.
#[derive(Clone, Debug)]
pub(crate) enum Probe {
    /// `/readyz` of this admin listener answers 200.
    Readyz(SocketAddr),
    /// It accepts connections.
    Accepts,
    /// A program with these arguments ends with success.
    Command(PathBuf, Vec<String>),
}

/// How a member is started, each time.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(super) name: String,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) environment: Vec<(&'static str, String)>,
    /// Where it runs; its log is beside it.
    pub(super) folder: PathBuf,
    pub(super) log: PathBuf,
    /// Where its clients reach it.
    pub(super) address: SocketAddr,
    pub(super) probe: Probe,
    /// What ends it well: SIGTERM, but for PostgreSQL.
    pub(super) end: Signal,
}

impl Plan {
    /// A program of Carom's.
    pub(super) fn carom(
        name: String,
        program: PathBuf,
        folder: &Path,
        environment: Vec<(&'static str, String)>,
        address: SocketAddr,
        admin: SocketAddr,
    ) -> Self {
        Self {
            log: folder.join(format!("{name}.log")),
            folder: folder.to_owned(),
            program,
            arguments: vec!["serve".to_owned()],
            environment,
            address,
            probe: Probe::Readyz(admin),
            end: Signal::TERM,
            name,
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().current_dir(&self.folder).stdin(Stdio::null()).kill_on_drop(true);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// A process of the fleet, running or not. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Member {
    plan: Plan,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    pid: u32,
    started: Instant,
}

impl Member {
    /// Starts it; it is not ready yet.
    pub(crate) fn start(plan: Plan) -> Result<Self, Failure> {
        let mut member = Self { plan, running: None };
        member.start_again()?;
        Ok(member)
    }

    /// Starts it on what it left behind; it is not ready yet.
    pub(crate) fn start_again(&mut self) -> Result<(), Failure> {
        let Plan { log, program, .. } = &self.plan;
        let file = File::options().create(true).append(true).open(log);
        let file = file.and_then(|log| Ok((log.try_clone()?, log)));
        let (out, err) =
            file.map_err(|error| Failure::new(format!("{}: {error}", log.display())))?;
        let mut command = self.plan.command();
        let child = command.args(&self.plan.arguments).stdout(out).stderr(err).spawn();
        let child = child
            .map_err(|error| Failure::new(format!("cannot run {}: {error}", program.display())))?;
        let pid = child.id().ok_or_else(|| self.failure("it ended at once"))?;
        self.running = Some(Running { child, pid, started: Instant::now() });
        Ok(())
    }

    /// Waits until it says that it is ready.
    pub(crate) async fn ready(&mut self) -> Result<(), Failure> {
        loop {
            if is_ready(&self.plan).await {
                return Ok(());
            }
            let Some(running) = &mut self.running else {
                return Err(self.failure("it does not run"));
            };
            let waited = running.started.elapsed();
            if let Some(status) = running.child.try_wait().ok().flatten() {
                return Err(self.failure(&format!("it ended ({status})")));
            }
            if waited > READY_MAX {
                return Err(self.failure("it did not become ready within 60 s"));
            }
            sleep(READY_POLL).await;
        }
    }

    /// SIGKILL. Returns when it is gone and its sockets are closed.
    pub(crate) async fn kill(&mut self) -> Result<(), Failure> {
        let Some(mut running) = self.running.take() else { return Ok(()) };
        let killed = running.child.kill().await;
        killed.map_err(|error| self.failure(&format!("it cannot be killed: {error}")))
    }

    /// Ends it well.
    pub(crate) async fn stop(&mut self) -> Result<(), Failure> {
        self.signal(self.plan.end)?;
        let Some(mut running) = self.running.take() else { return Ok(()) };
        match timeout(STOP_MAX, running.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(status) => Err(self.failure(&format!("it did not end well ({status:?})"))),
            Err(_elapsed) => Err(self.failure("it did not end within 60 s")),
        }
    }

    /// SIGSTOP: its sockets stay open and nobody answers.
    pub(crate) fn pause(&self) -> Result<(), Failure> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT.
    pub(crate) fn resume(&self) -> Result<(), Failure> {
        self.signal(Signal::CONT)
    }

    /// Runs a command of its program with its settings; gives what it prints.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Result<String, Failure> {
        let what = || format!("{} {}", self.plan.program.display(), arguments.join(" "));
        let mut command = self.plan.command();
        let output = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).output();
        let output = timeout(COMMAND_MAX, output).await;
        let output = output
            .map_err(|_| Failure::new(format!("{} did not end within 30 s", what())))?
            .map_err(|error| Failure::new(format!("{}: {error}", what())))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Failure::new(format!("{}: {said}", what())))
    }

    pub(crate) fn name(&self) -> &str {
        &self.plan.name
    }

    /// Where its clients reach it.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.plan.address
    }

    /// 0 while it does not run.
    pub(crate) fn pid(&self) -> u32 {
        self.running.as_ref().map_or(0, |running| running.pid)
    }

    fn signal(&self, signal: Signal) -> Result<(), Failure> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        let Some(pid) = pid else { return Err(self.failure("it does not run")) };
        kill_process(pid, signal)
            .map_err(|error| self.failure(&format!("it cannot be signalled: {error}")))
    }

    /// A failure with the last lines that it wrote.
    fn failure(&self, what: &str) -> Failure {
        let Plan { name, log, .. } = &self.plan;
        let written = std::fs::read(log).unwrap_or_default();
        let tail = &written[written.len().saturating_sub(LOG_TAIL_BYTES)..];
        let tail = String::from_utf8_lossy(tail);
        Failure::new(format!("{name}: {what}; the end of {}:\n{tail}", log.display()))
    }
}

async fn is_ready(plan: &Plan) -> bool {
    let admin = match &plan.probe {
        Probe::Readyz(admin) => admin,
        Probe::Accepts => return TcpStream::connect(plan.address).await.is_ok(),
        Probe::Command(program, arguments) => {
            let mut command = Command::new(program);
            command.env_clear().args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
            return command.status().await.is_ok_and(|status| status.success());
        }
    };
    let ask = async {
        let mut connection = Connection::open(*admin).await?;
        let request = format!("GET /readyz HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
        connection.send(request.as_bytes()).await?;
        connection.read_head().await
    };
    matches!(ask.await, Ok(head) if head.status == 200)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_member_is_paused_killed_and_started_again() {
        let folder = std::path::absolute("../target/tmp").unwrap();
        std::fs::create_dir_all(&folder).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let sleeper =
            Plan::carom("sleeper".into(), "sleep".into(), &folder, vec![], address, address);
        let plan = Plan { arguments: vec!["60".into()], ..sleeper };
        let mut member = Member::start(plan).unwrap();
        let state = |pid: u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit(") ").next().and_then(|rest| rest.chars().next())
        };
        let first = member.pid();
        member.pause().unwrap();
        while state(first) != Some('T') {
            sleep(READY_POLL).await;
        }
        member.resume().unwrap();
        member.kill().await.unwrap();
        assert_eq!((member.pid(), state(first)), (0, None));
        member.start_again().unwrap();
        assert_ne!(member.pid(), first);
        member.kill().await.unwrap();
    }
}
