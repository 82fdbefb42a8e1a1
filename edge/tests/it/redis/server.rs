//! A `redis-server` that a test may kill.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::world::eventually;

pub(super) struct Server {
    process: Child,
    dir: TempDir,
    port: u16,
    more: Vec<String>,
}

impl Server {
    pub(super) fn start() -> Self {
        Self::start_with(Vec::new())
    }

    /// With more of its settings.
    pub(super) fn start_with(more: Vec<String>) -> Self {
        let port = free_port();
        let dir = tempfile::tempdir().unwrap();
        let server = Self { process: spawn(&dir, port, &more), dir, port, more };
        server.is_up();
        server
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/1", self.port)
    }

    fn is_up(&self) {
        let client = redis::Client::open(self.url()).unwrap();
        eventually("Redis answers", || {
            let ping = |mut to| redis::cmd("PING").query::<String>(&mut to);
            client.get_connection().and_then(ping).is_ok()
        });
    }

    /// What is in it, so that the next life begins with that.
    pub(super) fn save(&self) {
        let client = redis::Client::open(self.url()).unwrap();
        redis::cmd("SAVE").exec(&mut client.get_connection().unwrap()).unwrap();
    }

    pub(super) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Another life on the same port, with what was saved last.
    pub(super) fn start_again(&mut self) {
        self.process = spawn(&self.dir, self.port, &self.more);
        self.is_up();
    }

    pub(super) fn pause(&self) {
        self.signal("-STOP");
    }

    pub(super) fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let kill = Command::new("kill").args([signal, &self.process.id().to_string()]).status();
        assert!(kill.unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A process that was ended already cannot be ended again.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

pub(super) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn spawn(dir: &TempDir, port: u16, more: &[String]) -> Child {
    let program = std::env::var_os("TEST_REDIS_SERVER_BIN").unwrap_or("redis-server".into());
    let mut command = Command::new(&program);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
    command.args(["--save", "", "--appendonly", "no", "--dir"]).arg(dir.path());
    command.args(more);
    let spawned = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    spawned.unwrap_or_else(|error| {
        panic!(
            "cannot start {}: {error}; install Redis, or name its server in TEST_REDIS_SERVER_BIN",
            program.display()
        )
    })
}
