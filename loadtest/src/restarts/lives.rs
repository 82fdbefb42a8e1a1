//! The processes that serve one after the other, on a socket that this program holds.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::report::Change;
use crate::failure::Failure;
use crate::http::Connection;
use crate::installation::{Installation, Server};

/// How long a process may take until it is ready, or until it has ended.
const CHANGE_MAX: Duration = Duration::from_secs(60);
const READY_POLL: Duration = Duration::from_millis(2);
/// As in `carom.socket`; `net.core.somaxconn` may allow less.
const BACKLOG: i32 = 4096;
/// What control plane and edge prove to each other, in an experiment that ends in minutes.
const TOKEN: &str = "restarts-restarts-restarts-restarts";
/// Gives what is standard input to the program as socket 3, as systemd does; only the process itself
/// knows its number, which it has to be told (`sd_listen_fds(3)`).
const HAND_OVER: &str = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"";

/// What is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Carom,
    /// `carom-edge`, with a `carom` that stays.
    Edge,
}

impl Stage {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Carom => "carom",
            Self::Edge => "carom-edge",
        }
    }
}

/// A listening socket that no process of the server's has made.
pub(crate) fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    let fail = |error| Failure::new(format!("cannot listen on {address}: {error}"));
    let socket = TcpListener::bind(address).map_err(fail)?;
    // Again, with a queue as long as a socket unit has it.
    rustix::net::listen(&socket, BACKLOG).map_err(|error| fail(error.into()))?;
    Ok(socket)
}

/// One process after the other, or for a moment two.
pub(super) struct Lives<'a> {
    stage: Stage,
    installation: &'a Installation,
    programs: [PathBuf; 2],
    settings: Vec<String>,
    socket: TcpListener,
    control: Option<Server<'a>>,
    now: Life,
    begun: usize,
}

struct Life {
    child: Child,
    admin: SocketAddr,
}

impl<'a> Lives<'a> {
    /// Starts the first process, and waits until it serves.
    pub(super) async fn begin(
        stage: Stage,
        installation: &'a Installation,
        [program, other]: [Option<&PathBuf>; 2],
        settings: &[String],
    ) -> Result<Self, Failure> {
        let absolute = |path: &PathBuf| {
            std::fs::canonicalize(path)
                .map_err(|error| Failure::new(format!("{}: {error}", path.display())))
        };
        let program = program.ok_or_else(|| Failure::new("no program to restart"))?;
        let programs = [absolute(program)?, absolute(other.unwrap_or(program))?];
        let (control, address) = match stage {
            Stage::Carom => (None, installation.edge()),
            Stage::Edge => {
                let mut server = installation.start_as_control(internal(installation), TOKEN)?;
                server.ready().await?;
                (Some(server), port(installation, 5))
            }
        };
        let socket = listen(address)?;
        let settings = settings.to_vec();
        let start = Start { stage, installation, settings: &settings, socket: &socket };
        let now = start.life(&programs[0], 0)?;
        let mut lives =
            Self { stage, installation, programs, settings, socket, control, now, begun: 1 };
        ready(&mut lives.now, installation).await?;
        Ok(lives)
    }

    /// Where visitors come.
    pub(super) fn visitors(&self) -> SocketAddr {
        match self.stage {
            Stage::Carom => self.installation.edge(),
            Stage::Edge => port(self.installation, 5),
        }
    }

    /// Replaces the process by the next one: how long the old one took to end, and the new one until
    /// it was ready.
    pub(super) async fn switch(&mut self, change: Change) -> Result<(Duration, Duration), Failure> {
        if change == Change::Upgrade {
            match self.stage {
                // Back is not possible where a database was brought up to date.
                Stage::Carom => self.programs[0] = self.programs[1].clone(),
                Stage::Edge => self.programs.swap(0, 1),
            }
        }
        let hands_over = change == Change::Upgrade && self.stage == Stage::Edge;
        let mut times = (Duration::ZERO, Duration::ZERO);
        if !hands_over {
            times.0 = stop(&mut self.now.child, self.installation).await?;
        }
        let begun = Instant::now();
        let start = Start {
            stage: self.stage,
            installation: self.installation,
            settings: &self.settings,
            socket: &self.socket,
        };
        let mut next = start.life(&self.programs[0], self.begun)?;
        self.begun += 1;
        ready(&mut next, self.installation).await?;
        times.1 = begun.elapsed();
        let mut old = std::mem::replace(&mut self.now, next);
        if hands_over {
            times.0 = stop(&mut old.child, self.installation).await?;
        }
        Ok(times)
    }

    pub(super) async fn end(mut self) -> Result<(), Failure> {
        stop(&mut self.now.child, self.installation).await?;
        match self.control {
            Some(control) => control.stop().await,
            None => Ok(()),
        }
    }
}

struct Start<'a> {
    stage: Stage,
    installation: &'a Installation,
    settings: &'a [String],
    socket: &'a TcpListener,
}

impl Start<'_> {
    fn life(&self, program: &Path, number: usize) -> Result<Life, Failure> {
        let Self { stage, installation, settings, socket } = self;
        let (command, admin) = match stage {
            Stage::Carom => (installation.command(["serve"]), installation.edge_admin()),
            Stage::Edge => {
                // Two may run at once, and each has to be asked by itself.
                let admin = port(installation, if number.is_multiple_of(2) { 6 } else { 7 });
                (edge_command(installation, settings, admin), admin)
            }
        };
        let fail = |error| Failure::new(format!("cannot start {}: {error}", program.display()));
        let log = installation.data_dir().with_file_name("lives.log");
        let log = File::options().create(true).append(true).open(log).map_err(fail)?;
        let socket: OwnedFd = socket.try_clone().map_err(fail)?.into();
        let given = command.as_std();
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", HAND_OVER, "sh"]).arg(program).args(given.get_args()).env_clear();
        shell.envs(given.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(folder) = given.get_current_dir() {
            shell.current_dir(folder);
        }
        shell.stdin(Stdio::from(socket)).stdout(log.try_clone().map_err(fail)?).stderr(log);
        let child = shell.kill_on_drop(true).spawn().map_err(fail)?;
        Ok(Life { child, admin })
    }
}

fn edge_command(installation: &Installation, settings: &[String], admin: SocketAddr) -> Command {
    // The program's name is given later.
    let mut command = Command::new("carom-edge");
    for setting in settings {
        command.args(["--set", setting]);
    }
    let data = installation.data_dir();
    command
        .current_dir(data.parent().unwrap_or(&data))
        .env("CAROM_DATA_DIR", data.with_file_name("edge"))
        .env("CAROM_EDGE__ADMIN_LISTEN", admin.to_string())
        .env("CAROM_EDGE__CONTROL_URL", format!("http://{}", internal(installation)))
        .env("CAROM_INTERNAL__TOKEN", TOKEN);
    command
}

/// Beside those that an installation has itself.
fn port(installation: &Installation, place: u16) -> SocketAddr {
    let mut address = installation.edge();
    address.set_port(address.port() + place);
    address
}

fn internal(installation: &Installation) -> SocketAddr {
    port(installation, 4)
}

async fn ready(life: &mut Life, installation: &Installation) -> Result<(), Failure> {
    let begun = Instant::now();
    while !is_ready(life.admin).await {
        if let Some(status) = life.child.try_wait().ok().flatten() {
            return Err(failure(installation, &format!("the server ended ({status})")));
        }
        if begun.elapsed() > CHANGE_MAX {
            return Err(failure(installation, "the server is not ready after 60 s"));
        }
        sleep(READY_POLL).await;
    }
    Ok(())
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

/// SIGTERM; how long it took.
async fn stop(child: &mut Child, installation: &Installation) -> Result<Duration, Failure> {
    let begun = Instant::now();
    let pid = child.id().ok_or_else(|| failure(installation, "the server ended by itself"))?;
    let pid = pid.to_string();
    let sent = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &pid]).status().await;
    if !sent.is_ok_and(|status| status.success()) {
        return Err(failure(installation, "SIGTERM did not reach the server"));
    }
    match timeout(CHANGE_MAX, child.wait()).await {
        Ok(Ok(status)) if status.success() => Ok(begun.elapsed()),
        ended => Err(failure(installation, &format!("the server did not end well ({ended:?})"))),
    }
}

fn failure(installation: &Installation, what: &str) -> Failure {
    let log = installation.data_dir().with_file_name("lives.log");
    let text = std::fs::read_to_string(&log).unwrap_or_default();
    let tail: Vec<_> = text.lines().rev().take(10).collect();
    let tail: Vec<_> = tail.into_iter().rev().collect();
    Failure::new(format!("{what}; the end of {}:\n{}", log.display(), tail.join("\n")))
}
