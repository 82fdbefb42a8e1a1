//! A real engine, and databases on it with control's schema.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::world::eventually;

const SCHEMA: [&str; 3] = [
    include_str!("../../../../control/migrations/clicks_clickhouse/0001_click.sql"),
    include_str!("../../../../control/migrations/clicks_clickhouse/0002_ledger.sql"),
    include_str!("../../../../control/migrations/clicks_clickhouse/0003_view_definer.sql"),
];

/// The server that all tests share, without a database.
#[expect(clippy::disallowed_methods, reason = "tests are told in the environment where to go")]
pub(super) fn shared_url() -> String {
    let url = std::env::var("TEST_CLICKHOUSE_URL").unwrap_or_else(|_| {
        panic!(
            "the feature clickhouse-tests is on and TEST_CLICKHOUSE_URL is not set: run deploy/test, \
             or eval \"$(deploy/services up clickhouse)\" and export TEST_CLICKHOUSE_URL=$CLICKHOUSE_URL"
        )
    });
    url.trim_end_matches('/').trim_end_matches("/default").to_owned()
}

/// A database, gone with the test.
pub(super) struct Database {
    server: String,
    name: String,
}

impl Database {
    pub(super) fn new(server: &str) -> Self {
        let database = Self::empty(server);
        for file in SCHEMA {
            let code: Vec<&str> =
                file.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
            let code = code.join("\n").replace("{on_cluster}", "");
            let code = code.replace("{window}", "non_replicated_deduplication_window = 10000");
            let code = code.replace("{engine:AggregatingMergeTree}", "AggregatingMergeTree");
            let code = code.replace("{engine:MergeTree}", "MergeTree");
            for statement in code.split(";\n").filter(|statement| !statement.trim().is_empty()) {
                database.run(statement.trim_end_matches(';'));
            }
        }
        database
    }

    /// Without tables.
    pub(super) fn empty(server: &str) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("carom_edge_test_{}_{number}", std::process::id());
        let database = Self { server: server.to_owned(), name };
        let create = format!("CREATE DATABASE {}", database.name);
        eventually("the engine answers", || exchange(server, "/", create.as_bytes()).is_ok());
        database
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn url(&self) -> String {
        format!("{}/{}", self.server, self.name)
    }

    pub(super) fn run(&self, sql: &str) -> String {
        let target = format!("/?database={}&async_insert=0", self.name);
        exchange(&self.server, &target, sql.as_bytes())
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The one number that a question is answered with.
    pub(super) fn number(&self, sql: &str) -> u64 {
        self.run(sql).trim().parse().unwrap()
    }

    pub(super) fn try_number(&self, sql: &str) -> Option<u64> {
        let answer = exchange(&self.server, &format!("/?database={}", self.name), sql.as_bytes());
        answer.ok()?.trim().parse().ok()
    }

    /// Sends a batch's body behind everybody's back.
    pub(super) fn insert(&self, body: &[u8], token: &str) {
        let target = format!(
            "/?database={}&async_insert=0&insert_deduplicate=1&insert_deduplication_token={token}\
             &query=INSERT+INTO+click+FORMAT+Native",
            self.name
        );
        exchange_coded(&self.server, &target, body, "Content-Encoding: zstd\r\n").unwrap();
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        drop(exchange(&self.server, "/", format!("DROP DATABASE {} SYNC", self.name).as_bytes()));
    }
}

fn exchange(server: &str, target: &str, body: &[u8]) -> Result<String, String> {
    exchange_coded(server, target, body, "")
}

fn exchange_coded(server: &str, target: &str, body: &[u8], more: &str) -> Result<String, String> {
    let address = server.strip_prefix("http://").unwrap();
    let (user, address) = address.split_once('@').unwrap_or(("default:", address));
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    let failed = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(address).map_err(failed)?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).map_err(failed)?;
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         X-ClickHouse-User: {user}\r\nX-ClickHouse-Key: {password}\r\n{more}Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).map_err(failed)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(failed)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    if head.starts_with("HTTP/1.1 200") { Ok(body.to_owned()) } else { Err(body.to_owned()) }
}

/// An engine of a test's own, which `deploy/services` has installed.
pub(super) struct Engine {
    data: tempfile::TempDir,
    port: u16,
    child: Child,
}

impl Engine {
    pub(super) fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        drop(socket);
        let child = spawn(data.path(), port);
        Self { data, port, child }
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(super) fn restart(&mut self) {
        self.child = spawn(self.data.path(), self.port);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(data: &Path, port: u16) -> Child {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    Command::new("python3")
        .arg(root.join("deploy/clickhouse/front.py"))
        .args(["--listen", &format!("127.0.0.1:{port}"), "--data"])
        .arg(data)
        .env("PYTHONPATH", root.join("target/services/wheel/chdb"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}
