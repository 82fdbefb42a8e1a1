//! `carom` as the control plane of edges that are programs of their own.

#[cfg(feature = "clickhouse-tests")]
mod clickhouse;

use std::cell::Cell;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::support::{CAROM, Server, exchange, free_ports};

pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// Thrice the promise for a change: tests share their processors and their disk with much else.
const CHANGE_MAX: Duration = Duration::from_secs(6);
/// How long a control plane that is back may go unnoticed.
const RECOVERY_MAX: Duration = Duration::from_secs(15);

/// What cargo tells a test of its package; build scripts would take it for theirs, and run again.
const OF_THIS_TEST: [&str; 8] = [
    "CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_PKG_NAME", "CARGO_PKG_VERSION",
    "CARGO_PKG_VERSION_MAJOR", "CARGO_PKG_VERSION_MINOR", "CARGO_PKG_VERSION_PATCH",
    "CARGO_PKG_VERSION_PRE",
];

fn program() -> PathBuf {
    built("carom-edge")
}

/// A program, which is another package's: beside `carom`. `cargo test --workspace` has built it;
/// where it is missing or older than its sources, it is built now.
fn built(name: &str) -> PathBuf {
    let program = Path::new(CAROM).with_file_name(name);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let own = name.strip_prefix("carom-").unwrap();
    let sources = [&*format!("{own}/src"), "shared/src"].map(|path| newest(&root.join(path)));
    let built = program.metadata().and_then(|of| of.modified()).ok();
    // One of other features may be there; cargo knows.
    if cfg!(feature = "otel")
        || built.is_none_or(|built| sources.into_iter().any(|source| source > built))
    {
        let profile = program.parent().unwrap();
        let profile_name = match profile.file_name().and_then(|name| name.to_str()).unwrap() {
            "debug" => "dev",
            name => name,
        };
        let mut build = Command::new(env!("CARGO"));
        // `carom` is named for its features: so both share what they are made of.
        build
            .args(["build", "--locked", "--package", "carom", "--package", name])
            .args(["--bin", name, "--profile", profile_name, "--target-dir"])
            .arg(profile.parent().unwrap())
            .current_dir(&root);
        if cfg!(feature = "otel") {
            build.args(["--features", "carom/otel"]);
        }
        for variable in OF_THIS_TEST {
            build.env_remove(variable);
        }
        assert!(build.status().unwrap().success(), "{name} cannot be built");
    }
    program
}

/// When the last file of a folder was changed.
fn newest(folder: &Path) -> SystemTime {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let times = entries.map(|entry| match entry.file_type().unwrap().is_dir() {
        true => newest(&entry.path()),
        false => entry.metadata().unwrap().modified().unwrap(),
    });
    times.max().unwrap_or(SystemTime::UNIX_EPOCH)
}

pub(crate) struct EdgeProgram {
    dir: tempfile::TempDir,
    control: u16,
    port: u16,
    admin: u16,
    child: Child,
    output: BufReader<ChildStdout>,
    /// Visitors that were sent on: clicks.
    redirects: Cell<u64>,
}

impl EdgeProgram {
    fn start(control: u16) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), control)
    }

    pub(crate) fn start_in(dir: tempfile::TempDir, control: u16) -> Self {
        let [port, admin] = free_ports();
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let mut child = Command::new(program())
            .current_dir(dir.path())
            .env_clear()
            .env("CAROM_EDGE__LISTEN", format!("127.0.0.1:{port}"))
            .env("CAROM_EDGE__ADMIN_LISTEN", format!("127.0.0.1:{admin}"))
            .env("CAROM_EDGE__CONTROL_URL", format!("http://localhost:{control}"))
            .env("CAROM_INTERNAL__TOKEN", TOKEN)
            // A machine with much to do is no reason to refuse anybody.
            .env("CAROM_EDGE__MAX_LAG_MS", "60000")
            // A stop does not wait long for a store that is away.
            .env("CAROM_EDGE__DRAIN_TIMEOUT_MS", "400")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut edge = Self { dir, control, port, admin, child, output, redirects: Cell::new(0) };
        let mut line = String::new();
        edge.output.read_line(&mut line).unwrap();
        assert!(line.contains("is serving"), "{line}{}", edge.log());
        edge
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    fn follow(&self, code: &str) -> String {
        exchange(self.port, &format!("GET /{code} HTTP/1.1\r\n"), "")
    }

    /// The status of an answer, and where it leads.
    pub(crate) fn leads(&self, code: &str) -> (u16, String) {
        let answer = self.follow(code);
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        self.redirects.set(self.redirects.get() + u64::from(status == 302));
        let location = answer.lines().find_map(|line| line.strip_prefix("location: "));
        (status, location.unwrap_or_default().to_owned())
    }

    /// Waits until a code is answered so, and fails if that takes longer than it may.
    pub(crate) fn wait_for(&self, code: &str, status: u16, location: &str, patience: Duration) {
        let begin = Instant::now();
        while self.leads(code) != (status, location.to_owned()) {
            assert!(begin.elapsed() < patience, "{:?}\n{}", self.leads(code), self.log());
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    fn metric(&self, name: &str) -> f64 {
        let page = exchange(self.admin, "GET /metrics HTTP/1.1\r\n", "");
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in {page}")).parse().unwrap()
    }

    /// SIGTERM, and the same edge again.
    fn restart(mut self) -> Self {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        assert!(self.child.wait().unwrap().success(), "{rest}{}", self.log());
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap());
        let again = Self::start_in(dir, self.control);
        again.redirects.set(self.redirects.get());
        again
    }
}

impl Drop for EdgeProgram {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A `carom` whose internal plane is open, and its port.
fn control() -> (Server, u16) {
    let dir = tempfile::tempdir().unwrap();
    let [port] = free_ports();
    let settings = format!(
        "[internal]\ntoken = \"{TOKEN}\"\n[control]\ninternal_listen = \"127.0.0.1:{port}\"\n"
    );
    std::fs::write(dir.path().join("carom.toml"), settings).unwrap();
    (Server::start_in(dir), port)
}

pub(crate) fn call(server: &Server, key: &str, request: &str, body: &Value) -> Value {
    let body = body.to_string();
    let head = format!(
        "{request} HTTP/1.1\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n",
        body.len()
    );
    let answer = exchange(server.ports.control, &head, &body);
    assert!(answer.starts_with("HTTP/1.1 2"), "{answer}");
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap_or_default()
}

#[test]
fn edges_follow_their_control_plane_and_do_without_it() {
    let (server, port) = control();
    let key = server.key();
    let mut edges = [EdgeProgram::start(port), EdgeProgram::start(port)];
    let follow = |edge: &EdgeProgram, code: &str, location: &str| {
        assert_eq!(edge.leads(code), (302, location.to_owned()), "{code}: {}", edge.log());
    };
    let clicks = |edges: &[EdgeProgram]| edges.iter().map(|edge| edge.redirects.get()).sum();

    // A code that was just asked for in vain, then made: there at once, on every edge.
    let link = |number: usize| (format!("link-{number}"), format!("https://example.com/{number}"));
    let mut links = Vec::new();
    for number in 0..40 {
        let (code, url) = link(number);
        assert_eq!(edges[number % 2].leads(&code).0, 404);
        let made = call(&server, &key, "POST /api/v1/links", &json!({ "url": url, "code": code }));
        links.push(format!("/api/v1/links/{}", made["id"].as_str().unwrap()));
        for edge in &edges {
            follow(edge, &code, &url);
        }
    }

    let moved = "https://example.com/moved";
    call(&server, &key, &format!("PATCH {}", links[0]), &json!({ "url": moved }));
    call(&server, &key, &format!("PATCH {}", links[1]), &json!({ "state": "disabled" }));
    call(&server, &key, &format!("DELETE {}", links[2]), &Value::Null);
    for edge in &edges {
        edge.wait_for("link-2", 410, "", CHANGE_MAX);
        // Changes come in their order: these two came before it.
        assert_eq!(edge.leads("link-1").0, 410);
        follow(edge, "link-0", moved);
        assert!(edge.metric("carom_edge_feed_age_seconds") < CHANGE_MAX.as_secs_f64());
        assert_eq!(edge.metric("carom_edge_feed_gaps_total"), 0.0);
    }
    server.wait_for_clicks(clicks(&edges));

    // Without it: what is known, also by an edge that begins anew; the rest is not denied.
    let (unseen, url) = link(100);
    call(&server, &key, "POST /api/v1/links", &json!({ "url": url, "code": unseen }));
    let dir = server.kill();
    let [first, second] = edges;
    edges = [first, second.restart()];
    for edge in &edges {
        for number in 3..40 {
            let (code, url) = link(number);
            follow(edge, &code, &url);
        }
        assert_eq!(edge.leads("link-1").0, 410);
        follow(edge, "link-0", moved);
        for _ in 0..5 {
            let answer = edge.follow("never");
            assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
            assert!(answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
        }
    }

    // It is back: what it has is found, what is gone is known, and no click was lost or doubled.
    let server = Server::start_in(dir);
    for edge in &edges {
        edge.wait_for(&unseen, 302, &url, RECOVERY_MAX);
        assert_eq!(edge.leads("never").0, 404);
    }
    call(&server, &key, &format!("DELETE {}", links[3]), &Value::Null);
    for edge in &edges {
        edge.wait_for("link-3", 410, "", CHANGE_MAX);
    }
    server.wait_for_clicks(clicks(&edges));
}

#[test]
fn an_edge_says_what_it_needs() {
    let run = |settings: &[(&str, &str)], args: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(program());
        command.current_dir(dir.path()).env_clear().envs(settings.iter().copied()).args(args);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let token = ("CAROM_INTERNAL__TOKEN", TOKEN);
    assert_eq!(run(&[token], &["config", "check"]), (Some(0), String::new()));
    for (settings, args, named) in [
        (&[][..], &["config", "check"][..], "internal.token"),
        (&[("CAROM_INTERNAL__TOKEN", "short")], &[], "internal.token"),
        (&[token, ("CAROM_EDGE__CONTROL_URL", "https://control")], &[], "edge.control_url"),
        (&[token, ("CAROM_PUBLIC_URL", "http://localhost")], &[], "public_url"),
        (&[token], &["--set", "edge.listen=nowhere"], "edge.listen"),
        (&[token], &["srve"], "srve"),
    ] {
        let (code, error) = run(settings, args);
        assert_eq!(code, Some(64), "{error}");
        assert!(error.contains(named), "{error}");
        assert!(!error.contains("short"), "{error}");
    }
}

/// An operator takes a workspace out of service: each of its links is gone on every edge within five
/// seconds, those that an edge knew and those that it asks for; and comes back.
#[test]
fn a_disabled_workspace_is_out_of_service_on_every_edge() {
    const TAKEDOWN_MAX: Duration = Duration::from_secs(5);
    let (server, port) = control();
    let key = server.key();
    let edges = [EdgeProgram::start(port), EdgeProgram::start(port)];
    let url = "https://example.com/";
    for code in ["known", "unseen"] {
        call(&server, &key, "POST /api/v1/links", &json!({ "url": url, "code": code }));
    }
    for edge in &edges {
        edge.wait_for("known", 302, url, CHANGE_MAX);
    }
    let list = server.carom(&["workspace", "list", "--json"]);
    let list: Value = serde_json::from_slice(&list.stdout).unwrap();
    let id = list["data"][0]["id"].as_str().unwrap().to_owned();
    for (what, status, location) in [("disable", 410, ""), ("enable", 302, url)] {
        let done = server.carom(&["workspace", what, &id]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let begin = Instant::now();
        for edge in &edges {
            for code in ["known", "unseen"] {
                edge.wait_for(code, status, location, TAKEDOWN_MAX.saturating_sub(begin.elapsed()));
            }
        }
        // In the control plane's own process too.
        let expected = format!("HTTP/1.1 {status} ");
        while !server.follow("known").starts_with(&expected) {
            assert!(begin.elapsed() < TAKEDOWN_MAX, "{what}");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}
