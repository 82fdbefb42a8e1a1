//! A fleet whose edges store clicks themselves: `carom-control`, two `carom-edge` and a real engine, which is
//! killed, as is an edge.

mod tls;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{TOKEN, built};
use crate::support::{exchange, free_ports};

const PATIENCE: Duration = Duration::from_secs(40);
const LINKS: usize = 5;

/// A program of the fleet, killed with the test.
struct Program {
    name: &'static str,
    dir: tempfile::TempDir,
    settings: Vec<(&'static str, String)>,
    admin: u16,
    child: Child,
}

impl Program {
    fn start(
        name: &'static str,
        dir: tempfile::TempDir,
        admin: u16,
        settings: Vec<(&'static str, String)>,
    ) -> Self {
        let child = Self::spawn(name, dir.path(), &settings);
        let program = Self { name, dir, settings, admin, child };
        program.is_ready();
        program
    }

    fn spawn(name: &str, dir: &Path, settings: &[(&'static str, String)]) -> Child {
        let log = std::fs::File::options().create(true).append(true).open(dir.join("log"));
        Command::new(built(name))
            .current_dir(dir)
            .env_clear()
            .envs(settings.iter().cloned())
            .env("CAROM_INTERNAL__TOKEN", TOKEN)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.unwrap())
            .spawn()
            .unwrap()
    }

    fn is_ready(&self) {
        eventually(self.name, || {
            ask(self.admin, "GET /readyz HTTP/1.1\r\n", "").is_some_and(|a| a.contains(" 200 "))
        });
    }

    /// Another value of a setting, from the next start on.
    fn set(&mut self, name: &str, value: &str) {
        let setting = self.settings.iter_mut().find(|(known, _)| *known == name);
        setting.unwrap().1 = value.to_owned();
    }

    /// `kill -9`, and the same again on what is left.
    fn kill_and_restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = Self::spawn(self.name, self.dir.path(), &self.settings);
        self.is_ready();
    }

    fn metric(&self, name: &str) -> u64 {
        let page = exchange(self.admin, "GET /metrics HTTP/1.1\r\n", "");
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            let log = self.log();
            #[expect(clippy::print_stderr, reason = "what a failed test has to show")]
            {
                eprintln!("{}:\n{log}", self.name);
            }
        }
    }
}

/// The engine that `deploy/services` has installed.
struct Engine {
    data: tempfile::TempDir,
    port: u16,
    /// What it is told beside where it listens.
    more: Vec<String>,
    child: Child,
}

impl Engine {
    fn start() -> Self {
        Self::start_with(Vec::new())
    }

    fn start_with(more: Vec<String>) -> Self {
        let (data, [port]) = (tempfile::tempdir().unwrap(), free_ports());
        let child = Self::spawn(data.path(), port, &more);
        let engine = Self { data, port, more, child };
        engine.is_back();
        engine
    }

    fn spawn(data: &Path, port: u16, more: &[String]) -> Child {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
        Command::new("python3")
            .arg(root.join("deploy/clickhouse/front.py"))
            .args(["--listen", &format!("127.0.0.1:{port}"), "--data"])
            .arg(data)
            .args(more)
            .env("PYTHONPATH", root.join("target/services/wheel/chdb"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn restart(&mut self) {
        self.child = Self::spawn(self.data.path(), self.port, &self.more);
        self.is_back();
    }

    fn is_back(&self) {
        eventually("the engine", || self.ask("SELECT 1").is_some_and(|answer| answer == "1"));
    }

    fn ask(&self, sql: &str) -> Option<String> {
        let head = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n", sql.len());
        let answer = ask(self.port, &head, sql)?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.contains(" 200 ").then(|| body.trim().to_owned())
    }

    fn number(&self, sql: &str) -> u64 {
        self.ask(sql).unwrap_or_else(|| panic!("{sql}")).parse().unwrap()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.kill();
    }
}

/// As [`exchange`], of who may be away.
fn ask(port: u16, head: &str, body: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "{head}Host: localhost\r\nConnection: close\r\n\r\n{body}").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < give_up, "it never came: {what}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// Everything, and what was answered.
struct Fleet {
    engine: Engine,
    control: Program,
    port: u16,
    key: String,
    edges: Vec<(Program, u16)>,
    redirects: [u64; LINKS],
}

impl Fleet {
    fn start() -> Self {
        let engine = Engine::start();
        let url = format!("http://127.0.0.1:{}/default", engine.port);
        Self::on(engine, &url, "")
    }

    /// With what reaches the engine, and a file of authorities.
    fn on(engine: Engine, clicks_url: &str, ca_path: &str) -> Self {
        let [port, internal, admin] = free_ports();
        let local = |port: u16| format!("127.0.0.1:{port}");
        let settings = vec![
            ("CAROM_CLICKS__URL", clicks_url.to_owned()),
            ("CAROM_CLICKS__CA_PATH", ca_path.to_owned()),
            ("CAROM_DATABASE__URL", "sqlite://carom.db".to_owned()),
            ("CAROM_CONTROL__LISTEN", local(port)),
            ("CAROM_CONTROL__INTERNAL_LISTEN", local(internal)),
            ("CAROM_CONTROL__ADMIN_LISTEN", local(admin)),
        ];
        let control =
            Program::start("carom-control", tempfile::tempdir().unwrap(), admin, settings);
        let made = Command::new(built("carom-control"))
            .args(["key", "create", "--name", "test", "--json"])
            .current_dir(control.dir.path())
            .env_clear()
            .envs(control.settings.iter().cloned())
            .env("CAROM_INTERNAL__TOKEN", TOKEN)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let made: Value = serde_json::from_slice(&made.stdout).unwrap();
        let key = made["key"].as_str().unwrap().to_owned();
        let mut fleet =
            Self { engine, control, port, key, edges: Vec::new(), redirects: [0; LINKS] };
        for number in 0..LINKS {
            let url = format!("https://example.com/{number}");
            let link = json!({ "url": url, "code": format!("link-{number}") });
            fleet.call("POST /api/v1/links", &link);
        }
        for _ in 0..2 {
            fleet.add_edge(internal, clicks_url, ca_path, "60000");
        }
        fleet
    }

    fn add_edge(&mut self, internal: u16, clicks_url: &str, ca_path: &str, patience_ms: &str) {
        let [port, admin] = free_ports();
        let settings = vec![
            ("CAROM_EDGE__LISTEN", format!("127.0.0.1:{port}")),
            ("CAROM_EDGE__ADMIN_LISTEN", format!("127.0.0.1:{admin}")),
            ("CAROM_EDGE__CONTROL_URL", format!("http://127.0.0.1:{internal}")),
            ("CAROM_EDGE__CLICKS_URL", clicks_url.to_owned()),
            ("CAROM_EDGE__CLICKS_CA_PATH", ca_path.to_owned()),
            ("CAROM_EDGE__CLICKS_PATIENCE_MS", patience_ms.to_owned()),
            ("CAROM_SPOOL__FLUSH_MS", "100".to_owned()),
        ];
        let edge = Program::start("carom-edge", tempfile::tempdir().unwrap(), admin, settings);
        self.edges.push((edge, port));
    }

    fn call(&self, request: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let head = format!(
            "{request} HTTP/1.1\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n",
            self.key,
            body.len()
        );
        let answer = exchange(self.port, &head, &body);
        assert!(answer.starts_with("HTTP/1.1 2"), "{answer}");
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap_or_default()
    }

    /// Each edge sends visitors on, so often for each link: more for the first ones.
    fn follow(&mut self, times: usize) {
        for (_, port) in &self.edges {
            for number in 0..LINKS {
                for _ in 0..times * (LINKS - number) {
                    let answer = exchange(*port, &format!("GET /link-{number} HTTP/1.1\r\n"), "");
                    assert!(answer.starts_with("HTTP/1.1 302 "), "{answer}");
                    self.redirects[number] += 1;
                }
            }
        }
    }

    fn answered(&self) -> u64 {
        self.redirects.iter().sum()
    }

    /// Waits until every click that was answered is a row, and fails if there are more, or one twice.
    fn is_exact(&self) {
        let rows = "SELECT toUInt64(sum(n)) FROM click";
        eventually("all clicks are stored", || {
            let there = self.engine.ask(rows).and_then(|rows| rows.parse::<u64>().ok());
            assert!(there.unwrap_or(0) <= self.answered(), "{there:?} of {}", self.answered());
            there == Some(self.answered())
        });
        let by_link = "SELECT groupArray(c) FROM (SELECT sum(n) AS c FROM click GROUP BY link ORDER BY c DESC)";
        let by_link: Vec<u64> = serde_json::from_str(&self.engine.ask(by_link).unwrap()).unwrap();
        assert_eq!(by_link, self.redirects);
        let twice = "SELECT count() FROM (SELECT batch, row FROM click GROUP BY batch, row HAVING count() > 1)";
        assert_eq!(self.engine.number(twice), 0);
        eventually("each batch is in the ledger", || {
            let unknown =
                "SELECT uniqExact(batch) FROM click WHERE batch NOT IN (SELECT batch FROM batch)";
            self.engine.number(unknown) == 0
        });
    }

    fn by_way(&self, way: &str) -> Vec<u64> {
        let name = format!("carom_edge_batches_stored_total{{way=\"{way}\"}}");
        self.edges.iter().map(|(edge, _)| edge.metric(&name)).collect()
    }
}

/// `CAROM_KILLS` says how often the engine, and an edge, are killed.
#[test]
fn edges_store_clicks_themselves_and_none_is_lost_or_doubled() {
    let mut fleet = Fleet::start();
    fleet.follow(4);
    fleet.is_exact();
    assert!(fleet.by_way("straight").iter().all(|batches| *batches > 0));
    assert_eq!(fleet.by_way("control"), [0, 0]);
    // What control does around a stored batch: totals, and what lists show and sort by.
    let totals = fleet.call("GET /api/v1/stats", &Value::Null);
    assert_eq!(totals["totals"]["clicks"], fleet.answered());
    eventually("lists show the clicks", || {
        let list = fleet.call("GET /api/v1/links?sort=clicks", &Value::Null);
        let shown: Vec<u64> = list["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|link| link["clicks"].as_u64().unwrap())
            .collect();
        shown == fleet.redirects
    });

    // The engine dies while clicks come; so does an edge.
    #[expect(clippy::disallowed_methods, reason = "a test's environment")]
    let kills = std::env::var("CAROM_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(2);
    for kill in 0..kills {
        fleet.engine.kill();
        fleet.follow(2);
        fleet.engine.restart();
        fleet.follow(2);
        fleet.edges[kill % 2].0.kill_and_restart();
        fleet.follow(2);
    }
    fleet.is_exact();

    // An edge that cannot reach the store, but control.
    let internal =
        fleet.control.settings.iter().find(|(name, _)| name.contains("INTERNAL")).unwrap();
    let internal = internal.1.rsplit(':').next().unwrap().parse().unwrap();
    fleet.add_edge(internal, "http://127.0.0.1:1/default", "", "200");
    fleet.follow(1);
    fleet.is_exact();
    let ways = (fleet.by_way("straight")[2], fleet.by_way("control")[2]);
    assert!(ways.0 == 0 && ways.1 > 0, "{ways:?}");
}
