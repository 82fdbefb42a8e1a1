//! An installation whose clicks are in ClickHouse, as the real program: backed up under load, restored, looked at
//! by the doctor, and moved with a `kill -9` at random points. On the engine that `TEST_CLICKHOUSE_URL` names.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Server, carom, stdout};

/// A database of its own.
struct Database {
    url: String,
    server: String,
    name: String,
}

impl Database {
    fn new(name: &str) -> Self {
        #[expect(clippy::disallowed_methods, reason = "a test's environment")]
        let server = std::env::var("TEST_CLICKHOUSE_URL").unwrap_or_else(|_| {
            panic!("TEST_CLICKHOUSE_URL is not set: eval \"$(deploy/services up clickhouse)\"")
        });
        let server = server.trim_end_matches('/').trim_end_matches("/default").to_owned();
        let name = format!("carom_test_{}_{name}", std::process::id());
        let made = Self { url: format!("{server}/{name}"), server, name };
        made.ask("default", &format!("CREATE DATABASE {}", made.name));
        made
    }

    fn ask(&self, database: &str, sql: &str) -> String {
        let host = self.server.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(host).unwrap();
        let len = sql.len();
        write!(
            stream,
            "POST /?database={database} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
             Content-Length: {len}\r\n\r\n{sql}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        answer.split_once("\r\n\r\n").unwrap().1.trim_end().to_owned()
    }

    fn rows(&self) -> u64 {
        self.ask(&self.name, "SELECT sum(n) FROM click").parse().unwrap()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.ask("default", &format!("DROP DATABASE {} SYNC", self.name));
    }
}

/// A folder whose clicks are in a store.
fn folder(clicks: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    clicks_in(dir.path(), clicks);
    dir
}

fn clicks_in(dir: &Path, url: &str) {
    std::fs::write(dir.join("carom.toml"), format!("[clicks]\nurl = \"{url}\"\n")).unwrap();
}

fn json(dir: &Path, args: &[&str]) -> Value {
    serde_json::from_str(&stdout(&carom(dir, args).output().unwrap())).unwrap()
}

/// Ends a thread that goes on until it is told, also where a test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Findings that are not well: check and level.
fn doctor(dir: &Path) -> Vec<(String, String)> {
    let output = carom(dir, &["doctor", "--json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap().iter();
    let stores = findings.filter(|finding| finding["area"] == "stores");
    let text = |finding: &Value, field: &str| finding[field].as_str().unwrap().to_owned();
    // How full the disk of this machine is is no matter of the installation.
    let bad =
        stores.filter(|finding| finding["level"] != "ok" && finding["check"] != "clickhouse_disk");
    bad.map(|finding| (text(finding, "check"), text(finding, "level"))).collect()
}

#[test]
fn a_backup_without_the_clicks_and_one_with_them_lose_none_and_double_none() {
    let database = Database::new("backup");
    let server = Server::start_in(folder(&database.url));
    let key = server.key();
    let code = server.shorten(&key, "https://example.com/")["code"].as_str().unwrap().to_owned();
    let (sent, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let backups = tempfile::tempdir().unwrap();
    let to = backups.path().to_str().unwrap();
    let back_up = |more: &[&str]| -> Value {
        let args = [&["backup", "--json", "--to", to], more].concat();
        serde_json::from_str(&stdout(&server.carom(&args))).unwrap()
    };
    let (without, before, with, after) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                sent.fetch_add(1, Ordering::SeqCst);
                assert!(server.follow(&code).starts_with("HTTP/1.1 302 "));
            }
        });
        let _stop = Stop(&stop);
        // Some are stored, and more come.
        while database.ask(&database.name, "SELECT count() FROM batch") == "0" {
            std::thread::sleep(Duration::from_millis(50));
        }
        std::thread::sleep(Duration::from_millis(500));
        let without = back_up(&[]);
        // The one that is being answered may not be.
        let before = sent.load(Ordering::SeqCst) - 1;
        let with = back_up(&["--clicks"]);
        let after = sent.load(Ordering::SeqCst);
        (without, before, with, after)
    });
    assert!(without["clicks"].is_null());
    assert!(without["elsewhere"]["at"].as_str().unwrap().ends_with(&database.name), "{without}");
    assert_eq!(doctor(server.dir.path()), []);
    drop(server.stop_and_keep());
    assert_eq!(database.rows(), sent.load(Ordering::SeqCst), "all are stored once");
    let file = |made: &Value| made["file"].as_str().unwrap().to_owned();
    for made in [&without, &with] {
        let verified = json(backups.path(), &["backup", "verify", "--json", &file(made)]);
        assert_eq!(verified["links"]["links"], 1);
    }

    // Joined with the clicks: what waited at the cut was stored since, and is known.
    let restored = folder(&database.url);
    let told = json(restored.path(), &["restore", "--json", &file(&without)]);
    assert!(told["clicks_at"].as_str().unwrap().ends_with(&database.name), "{told}");
    assert_eq!(told["batches_stored"], 0);
    assert_eq!(database.rows(), sent.load(Ordering::SeqCst));
    let totals = json(restored.path(), &["stats", "--json"]);
    assert_eq!(totals["totals"]["clicks"].as_u64().unwrap(), sent.load(Ordering::SeqCst));

    // Not with nothing.
    let nowhere = tempfile::tempdir().unwrap();
    let refused = carom(nowhere.path(), &["restore", &file(&without)]).output().unwrap();
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && text.contains("not in this backup"), "{text}");
    let empty = Database::new("empty");
    clicks_in(nowhere.path(), &empty.url);
    let refused = carom(nowhere.path(), &["restore", &file(&without)]).output().unwrap();
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && text.contains("restore its own"), "{text}");

    // With the clicks in it, it is an installation by itself.
    let whole = tempfile::tempdir().unwrap();
    let told = json(whole.path(), &["restore", "--json", &file(&with)]);
    let found = told["totals"]["clicks"].as_u64().unwrap();
    assert!((before..=after).contains(&found), "{before} <= {found} <= {after}");
    assert_eq!(doctor(whole.path()), []);
    let left = database.ask(
        &database.name,
        "SELECT count() FROM system.tables WHERE database = \
                             currentDatabase() AND name LIKE '%_cut'",
    );
    assert_eq!(left, "0");
}

/// Killed again and again, each time a little later; the last one goes to its end.
#[test]
fn a_move_of_clicks_that_is_killed_goes_on() {
    const CLICKS: u64 = 3000;
    let server = Server::start();
    let key = server.key();
    let code = server.shorten(&key, "https://example.com/")["code"].as_str().unwrap().to_owned();
    let dir = server.stop_and_keep();
    let path = dir.path();
    let lines: String = (0..CLICKS)
        .map(|n| {
            format!("{code},2026-0{}-1{}T00:{:02}:{:02}Z\n", n % 3 + 1, n % 7, n / 60 % 60, n % 60)
        })
        .collect();
    std::fs::write(path.join("clicks.csv"), format!("code,at\n{lines}")).unwrap();
    let import = carom(path, &["import", "--clicks", "clicks.csv"]).output().unwrap();
    assert!(import.status.success(), "{import:?}");
    let clicks = |path: &Path| json(path, &["stats", "--json"])["totals"]["clicks"].as_u64();
    let all = clicks(path);
    assert!(all > Some(CLICKS / 2));

    let database = Database::new("moving");
    let to = ["move", "--clicks-to", &database.url, "--json"];
    let mut killed = 0;
    let moved: Value = loop {
        let mut command = carom(path, &to);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(60 + killed * 70));
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        if output.status.success() {
            break serde_json::from_slice(&output.stdout).unwrap();
        }
        assert_eq!(output.status.code(), None, "{}", String::from_utf8_lossy(&output.stderr));
        killed += 1;
    };
    assert!(killed > 2, "{killed}: {moved}");
    assert_eq!(Some(database.rows()), all);
    let refused = carom(path, &["serve"]).output().unwrap();
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && text.contains("these clicks were moved to"), "{text}");
    clicks_in(path, &database.url);
    assert_eq!(doctor(path), []);
    assert_eq!(clicks(path), all);
    let server = Server::start_in(dir);
    server.follow(&code);
    server.wait_for_clicks(all.unwrap() + 1);
}

#[test]
fn the_doctor_says_what_is_wrong_with_clickhouse() {
    let server = Server::start();
    let dir = server.stop_and_keep();
    clicks_in(dir.path(), "http://127.0.0.1:1/nothing");
    let away = [("clickhouse".to_owned(), "error".to_owned())];
    assert_eq!(doctor(dir.path()), away);
    let database = Database::new("doctor");
    clicks_in(dir.path(), &database.url);
    assert_eq!(doctor(dir.path()), [("schema".to_owned(), "notice".to_owned())]);
    stdout(&carom(dir.path(), &["stats"]).output().unwrap());
    assert_eq!(doctor(dir.path()), []);
    // A rollup that is off, and a batch that nobody wrote down, both long ago.
    database.ask(
        &database.name,
        "INSERT INTO click (workspace, link, at, n, batch) VALUES (1, 1, '2026-01-01 00:00:00', 1, 7)",
    );
    database.ask(
        &database.name,
        "ALTER TABLE click_quarter DELETE WHERE 1 SETTINGS mutations_sync = 2",
    );
    let bad =
        [("rollup".to_owned(), "warning".to_owned()), ("ledger".to_owned(), "warning".to_owned())];
    assert_eq!(doctor(dir.path()), bad);
}
