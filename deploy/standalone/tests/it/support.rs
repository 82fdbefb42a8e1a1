//! A `carom serve` of its own for a test: an empty folder, free ports, and no way to forget it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) const CAROM: &str = env!("CARGO_BIN_EXE_carom");
/// Far longer than anything takes, also where tests share their processors and their disk with much else.
const PATIENCE: Duration = Duration::from_secs(60);
/// Ports that the kernel gives to nobody who does not name them (`ip_local_port_range` begins at 32,768), in
/// blocks of which each process of tests has one.
const PORTS: std::ops::Range<u16> = 10_000..32_400;
const BLOCK: u16 = 64;

/// `carom` with these arguments in this folder, untouched by the settings of whoever runs the test.
pub(crate) fn carom(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(CAROM);
    command.args(args).current_dir(dir).env_clear().stdin(Stdio::null());
    command
}

/// What a finished command printed.
pub(crate) fn stdout(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Ports that are free, and that no other test takes before who they are for listens there.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    static OWN: LazyLock<(u16, File)> = LazyLock::new(own_block);
    static NEXT: AtomicU16 = AtomicU16::new(0);
    [(); N].map(|()| {
        let mut ports = (0..BLOCK).map(|_| OWN.0 + NEXT.fetch_add(1, Ordering::Relaxed) % BLOCK);
        ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
    })
}

/// The first port of a block, and what keeps it for this process.
fn own_block() -> (u16, File) {
    let blocks = (PORTS.end - PORTS.start) / BLOCK;
    let first = std::process::id() % u32::from(blocks);
    let nearest = (0..blocks).map(|n| (u16::try_from(first).unwrap() + n) % blocks);
    let mut taken = nearest.map(|block| {
        let path = format!("{}/ports-{block}", env!("CARGO_TARGET_TMPDIR"));
        let lock = File::create(path).unwrap();
        lock.try_lock().is_ok().then_some((PORTS.start + block * BLOCK, lock))
    });
    taken.find_map(|own| own).unwrap()
}

pub(crate) struct Server {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) ports: Ports,
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

#[derive(Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) edge: u16,
    pub(crate) control: u16,
    pub(crate) edge_admin: u16,
    pub(crate) control_admin: u16,
}

impl Ports {
    pub(crate) fn free() -> Self {
        let [edge, control, edge_admin, control_admin] = free_ports();
        Self { edge, control, edge_admin, control_admin }
    }

    pub(crate) fn settings(self) -> [(&'static str, String); 9] {
        let address = |port| format!("127.0.0.1:{port}");
        [
            ("CAROM_EDGE__LISTEN", address(self.edge)),
            ("CAROM_CONTROL__LISTEN", address(self.control)),
            ("CAROM_EDGE__ADMIN_LISTEN", address(self.edge_admin)),
            ("CAROM_CONTROL__ADMIN_LISTEN", address(self.control_admin)),
            ("CAROM_PUBLIC_URL", format!("http://localhost:{}", self.edge)),
            ("CAROM_CONTROL__PUBLIC_URL", format!("http://localhost:{}", self.control)),
            // Tests make links faster than people, and those of limits set their own.
            ("CAROM_LIMITS__KEY_PER_MINUTE", "0".into()),
            ("CAROM_LIMITS__WORKSPACE_PER_MINUTE", "0".into()),
            ("CAROM_LIMITS__ADDRESS_PER_MINUTE", "0".into()),
        ]
    }
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap())
    }

    pub(crate) fn start_in(dir: tempfile::TempDir) -> Self {
        Self::start_logging(dir, Stdio::inherit())
    }

    /// As [`Self::start_in`], with its log there.
    pub(crate) fn start_logging(dir: tempfile::TempDir, log: Stdio) -> Self {
        let ports = Ports::free();
        let mut command = carom(dir.path(), &[]);
        command.envs(ports.settings()).stdout(Stdio::piped()).stderr(log);
        // A machine with much to do is no reason to refuse anybody.
        command.env("CAROM_EDGE__MAX_LAG_MS", "60000");
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut server = Self { dir, ports, child, output };
        server.lines_until("Stop with Ctrl-C.");
        server
    }

    /// What it prints, up to and with the line that is `last`.
    pub(crate) fn lines_until(&mut self, last: &str) -> Vec<String> {
        let mut lines = Vec::new();
        while lines.last().is_none_or(|line| line != last) {
            let mut line = String::new();
            let read = self.output.read_line(&mut line).unwrap();
            assert!(read > 0, "it ended after {lines:?}");
            lines.push(line.trim_end().to_owned());
        }
        lines
    }

    pub(crate) fn carom(&self, args: &[&str]) -> Output {
        carom(self.dir.path(), args).output().unwrap()
    }

    pub(crate) fn key(&self) -> String {
        let made = self.carom(&["key", "create", "--name", "test", "--json"]);
        let made: Value = serde_json::from_str(&stdout(&made)).unwrap();
        made["key"].as_str().unwrap().to_owned()
    }

    pub(crate) fn shorten(&self, key: &str, url: &str) -> Value {
        let body = serde_json::json!({ "url": url }).to_string();
        let head = format!(
            "POST /shorten HTTP/1.1\r\nAuthorization: Bearer {key}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n",
            body.len()
        );
        let answer = exchange(self.ports.control, &head, &body);
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    /// The raw answer of the edge for a code.
    pub(crate) fn follow(&self, code: &str) -> String {
        exchange(self.ports.edge, &format!("GET /{code} HTTP/1.1\r\n"), "")
    }

    /// The installation's totals.
    pub(crate) fn stats(&self) -> Value {
        serde_json::from_str(&stdout(&self.carom(&["stats", "--json"]))).unwrap()
    }

    /// Waits until so many clicks are stored; more of them fail.
    pub(crate) fn wait_for_clicks(&self, clicks: u64) {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let stored = self.stats()["totals"]["clicks"].as_u64().unwrap();
            assert!(stored <= clicks, "{stored} clicks are stored, {clicks} were made");
            if stored == clicks {
                return;
            }
            assert!(Instant::now() < give_up, "{stored} of {clicks} clicks after {PATIENCE:?}");
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// `kill -9`, and the folder it leaves.
    pub(crate) fn kill(mut self) -> tempfile::TempDir {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap())
    }

    /// SIGTERM; what it printed after that, and how it ended.
    pub(crate) fn stop(mut self) -> (String, ExitStatus) {
        self.end()
    }

    /// SIGTERM, and the folder it leaves.
    pub(crate) fn stop_and_keep(mut self) -> tempfile::TempDir {
        let (text, status) = self.end();
        assert!(status.success(), "{text}");
        std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap())
    }

    fn end(&mut self) -> (String, ExitStatus) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        (rest, self.child.wait().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// One request on a connection of its own; `head` has no `Host` and no blank line.
pub(crate) fn exchange(port: u16, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "{head}Host: localhost\r\nConnection: close\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
