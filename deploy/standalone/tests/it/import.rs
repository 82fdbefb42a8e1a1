//! `carom import` and `carom export`, as people use them.

mod clicks;
mod foreign;
mod round_trip;

use std::io::Write as _;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Server, carom, stdout};

const PATIENCE: Duration = Duration::from_secs(30);

/// Imports a text; the report, and the exit code.
fn import(dir: &Path, text: &[u8], args: &[&str]) -> (Value, Option<i32>) {
    std::fs::write(dir.join("links"), text).unwrap();
    let output = carom(dir, &["import", "links", "--json"]).args(args).output().unwrap();
    let report = serde_json::from_slice(&output.stdout);
    let report = report.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (report, output.status.code())
}

fn export(dir: &Path, args: &[&str]) -> String {
    stdout(&carom(dir, &["export"]).args(args).output().unwrap())
}

fn counts(report: &Value) -> [u64; 5] {
    ["rows", "made", "already_there", "replaced", "refused"]
        .map(|name| report[name].as_u64().unwrap())
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn hostile_rows_are_refused_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut text = b"code,url,title\r\n".to_vec();
    let rows: &[&[u8]] = &[
        b"ok1,https://example.com,\"a \"\"b\"\", c\"", b"nul,https://example.com,a\0b",
        b"utf,https://example.com,\xff\xfe", b"few,https://example.com",
        b"ok2,https://example.com,'=HYPERLINK(1)", b"own,https://localhost,",
        b"bad code,https://example.com,",
    ];
    for row in rows {
        text.extend_from_slice(row);
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"big,https://example.com,\"");
    text.extend(std::iter::repeat_n(b'x', 1 << 20));
    text.extend_from_slice(b"\"\r\n\r\nok3,https://example.com,end\r\nopen,https://e.com,\"never");
    let (report, code) = import(dir.path(), &text, &["--refused", "refused.csv"]);
    assert_eq!((counts(&report), code), ([10, 4, 0, 0, 6], Some(1)), "{report}");
    let refused: Vec<_> = report["refusals"].as_array().unwrap().iter().collect();
    let refused =
        refused.iter().map(|of| (of["row"].as_u64().unwrap(), of["field"].as_str().unwrap()));
    let refused: Vec<_> = refused.collect();
    let expected = [(3, "title"), (4, "row"), (5, "row"), (7, "url"), (8, "code"), (9, "row")];
    assert_eq!(refused, expected);
    let written = export(dir.path(), &[]);
    assert!(written.contains("ok1,https://example.com/,,\"a \"\"b\"\", c\","), "{written}");
    // It was a text, and is one again: the guard is no part of it.
    assert!(written.contains("ok2,https://example.com/,,'=HYPERLINK(1),"), "{written}");
    let json = export(dir.path(), &["--format", "jsonl"]);
    assert!(json.contains("\"title\":\"=HYPERLINK(1)\""), "{json}");

    // What was refused is in a file that can be mended and imported.
    let file = std::fs::read_to_string(dir.path().join("refused.csv")).unwrap();
    assert!(file.starts_with("refused_row,refused_field,refused_reason,code,url,"), "{file}");
    let mended = file.replace("https://localhost", "https://example.org");
    let (report, _) = import(dir.path(), mended.as_bytes(), &[]);
    assert_eq!(report["made"], 1, "{report}");
    let report = carom(dir.path(), &["import", "links"]).output().unwrap();
    let text = String::from_utf8(report.stdout.clone()).unwrap();
    assert!(text.starts_with("6 rows of CSV: 0 made, 1 already there, 5 refused.\n"), "{text}");
    assert!(stderr(&report).contains("rows were refused: 5"));
}

#[test]
fn columns_are_known_or_named() {
    let dir = tempfile::tempdir().unwrap();
    let run = |text: &str, args: &[&str]| {
        std::fs::write(dir.path().join("links"), text).unwrap();
        carom(dir.path(), &["import", "links"]).args(args).output().unwrap()
    };
    let text = "code,url,colour,size\na,https://example.com,red,1\n";
    let unknown = run(text, &[]);
    assert!(stderr(&unknown).contains("unknown columns: colour, size"), "{unknown:?}");
    assert!(!dir.path().join("carom-data").exists());
    let left_out = stdout(&run(text, &["--ignore-unknown"]));
    assert!(left_out.contains("1 made") && left_out.contains("colour, size"), "{left_out}");
    let lines = run("{\"code\":\"b\",\"url\":\"https://example.com\",\"size\":1}\n", &[]);
    assert!(String::from_utf8_lossy(&lines.stdout).contains("row 1, size: is an unknown column"));
    let nothing = run("name,address\na,b\n", &[]);
    assert!(stderr(&nothing).contains("no known format (name, address)"), "{nothing:?}");
    let same = run(text, &["--refused", "links", "--ignore-unknown"]);
    assert!(stderr(&same).contains("name another"));
    assert_eq!(std::fs::read_to_string(dir.path().join("links")).unwrap(), text);
}

/// Rows that meet links that are there, and each other.
#[test]
fn a_dry_run_reports_what_the_run_does_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let there = b"code,url\nthere,https://example.com/1\nother,https://example.com/1\n";
    assert_eq!(counts(&import(dir.path(), there, &[]).0), [2, 2, 0, 0, 0]);
    // The second half is in another batch.
    let mut text = String::from("code,url\nthere,https://example.com/1\nother,https://e.com/2\n");
    for n in 0..1100 {
        text.push_str(&format!("n{n},https://example.com/{n}\n"));
    }
    text.push_str("n3,https://example.com/3\nn4,https://example.com/x\nn5,ftp://x\n");
    let before = export(dir.path(), &["--deleted"]);
    for policy in ["skip", "refuse"] {
        let args = ["--on-conflict", policy, "--dry-run"];
        let (mut dry, code) = import(dir.path(), text.as_bytes(), &args);
        assert_eq!(export(dir.path(), &["--deleted"]), before);
        if policy == "refuse" {
            assert_eq!((counts(&dry), code), ([1105, 1100, 2, 0, 3], Some(1)));
            let (mut run, _) = import(dir.path(), text.as_bytes(), &args[..2]);
            for report in [&mut dry, &mut run] {
                let report = report.as_object_mut().unwrap();
                report.remove("seconds");
                report.remove("dry_run");
            }
            // The one reason that differs says where the other row is.
            let shown = |report: &Value| {
                let refusals = report["refusals"].as_array().unwrap().clone();
                refusals.into_iter().map(|of| (of["row"].clone(), of["field"].clone())).collect()
            };
            let (a, b): (Vec<_>, Vec<_>) = (shown(&dry), shown(&run));
            assert_eq!((counts(&dry), a), (counts(&run), b));
        } else {
            assert_eq!((dry["skipped"].as_u64(), dry["refused"].as_u64()), (Some(2), Some(1)));
        }
    }
}

/// A server that is killed while links come in, and then the importer.
#[test]
fn a_killed_import_goes_on_where_it_was_and_makes_nothing_twice() {
    const LINKS: usize = 6000;
    let rows: Vec<String> =
        (0..LINKS).map(|n| format!("Code-{n},https://example.com/{n}\n")).collect();
    let mut server = Server::start();
    for is_server in [true, false] {
        let mut child = carom(server.dir.path(), &["import", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(b"code,url\n").unwrap();
        let part = if is_server { 2500 } else { 4500 };
        input.write_all(rows[..part].concat().as_bytes()).unwrap();
        input.flush().unwrap();
        // What is killed itself still waits for the rest of its file.
        let input = (!is_server).then_some(input);
        let give_up = Instant::now() + PATIENCE;
        let enough = if is_server { 1000 } else { 3000 };
        while export(server.dir.path(), &[]).lines().count() < enough {
            assert!(Instant::now() < give_up);
            std::thread::park_timeout(Duration::from_millis(20));
        }
        if is_server {
            server = Server::start_in(server.kill());
            // It found the next server, or gave up.
            child.wait().unwrap();
        } else {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        drop(input);
    }
    // What was there is there, asked for before it was imported or not.
    assert!(server.follow("Code-0").starts_with("HTTP/1.1 302 "));
    assert!(server.follow("Code-5999").starts_with("HTTP/1.1 404 "));
    let text = format!("code,url\n{}", rows.concat());
    let (report, code) = import(server.dir.path(), text.as_bytes(), &[]);
    let [rows, made, there, ..] = counts(&report);
    assert_eq!((rows, made + there, code), (6000, 6000, Some(0)), "{report}");
    assert!(made > 0 && there >= 3000, "{report}");
    assert_eq!(export(server.dir.path(), &[]).lines().count(), LINKS + 1);
    assert!(server.follow("Code-5999").starts_with("HTTP/1.1 302 "));
}

#[test]
fn clicks_are_exported_and_links_that_were_clicked_bring_their_count() {
    let server = Server::start();
    let key = server.key();
    let code = server.shorten(&key, "https://example.com/a")["code"].as_str().unwrap().to_owned();
    server.follow(&code);
    server.follow(&code);
    server.wait_for_clicks(2);
    let csv = export(server.dir.path(), &["--clicks"]);
    let lines: Vec<_> = csv.lines().collect();
    assert!(lines.len() == 3 && lines[0].starts_with("link_id,code,at,n,kind,via,"), "{csv}");
    let json = export(server.dir.path(), &["--clicks", "--format", "jsonl"]);
    let clicks: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(clicks.iter().map(|click| click["n"].as_u64().unwrap()).sum::<u64>(), 2);
    assert!(lines[1].starts_with(clicks[0]["link_id"].as_str().unwrap()));

    let give_up = Instant::now() + PATIENCE;
    let links = loop {
        let links = export(server.dir.path(), &["--format", "jsonl"]);
        if links.contains("\"clicks\":2") {
            break links;
        }
        assert!(Instant::now() < give_up, "{links}");
        std::thread::park_timeout(Duration::from_millis(50));
    };
    let other = tempfile::tempdir().unwrap();
    assert_eq!(counts(&import(other.path(), links.as_bytes(), &[]).0), [1, 1, 0, 0, 0]);
    assert_eq!(export(other.path(), &["--format", "jsonl"]), links);
    let out = ["--format", "jsonl", "--out", "links.jsonl"];
    assert_eq!(export(other.path(), &out), "");
    assert_eq!(std::fs::read_to_string(other.path().join("links.jsonl")).unwrap(), links);
}
