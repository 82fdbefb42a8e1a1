//! `carom doctor` over real folders: nothing is found in one that is well, and each thing that can
//! go wrong is found where it is done.

use std::fs::{File, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use carom_shared::UnixMillis;
use carom_shared::batch::{BatchBuilder, Range, Token};
use serde_json::{Value, json};

use crate::support::{Ports, Server, carom, stdout};
use crate::upgrade::{execute, files};

/// What the machine that tests run on may be told of.
const OF_THE_MACHINE: [&str; 6] = ["disk", "room", "inodes", "memory", "open_files", "core_dumps"];

fn run(dir: &Path, ports: Ports, args: &[&str]) -> Output {
    let mut command = carom(dir, &["doctor", "--json"]);
    command.args(args).envs(ports.settings()).output().unwrap()
}

fn report(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(&text).unwrap_or_else(|error| {
        panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr))
    });
    let errors = report["errors"].as_u64().unwrap();
    assert_eq!(output.status.code(), Some(i32::from(errors > 0)), "{report:#}");
    report
}

/// What was found, as `check=level`; without what is well, and what is the machine's.
fn found(report: &Value) -> Vec<String> {
    let findings = report["findings"].as_array().unwrap().iter();
    let text = |finding: &Value, field: &str| finding[field].as_str().unwrap().to_owned();
    let told = findings.filter(|finding| {
        let is_well = finding["level"] == "ok";
        let is_said = !text(finding, "meaning").is_empty() && !text(finding, "action").is_empty();
        assert!(is_well != is_said, "it says what it means and what to do: {finding:#}");
        !is_well && !OF_THE_MACHINE.contains(&&*text(finding, "check"))
    });
    told.map(|finding| format!("{}={}", text(finding, "check"), text(finding, "level"))).collect()
}

/// A folder with a link and a click, that nobody serves.
fn stopped() -> tempfile::TempDir {
    let server = Server::start();
    let key = server.key();
    let code = server.shorten(&key, "https://www.rust-lang.org/")["code"].clone();
    server.follow(code.as_str().unwrap());
    server.wait_for_clicks(1);
    // Lists show it, so that both stores agree.
    let is_carried = || {
        let report = report(&run(server.dir.path(), server.ports, &[]));
        report.to_string().contains("lists of links show every click")
    };
    let give_up = Instant::now() + Duration::from_secs(60);
    while !is_carried() {
        assert!(Instant::now() < give_up, "the click is not carried over");
        std::thread::park_timeout(Duration::from_millis(50));
    }
    server.stop_and_keep()
}

#[test]
fn nothing_is_found_in_a_healthy_folder_running_or_not() {
    let server = Server::start();
    let key = server.key();
    let code = server.shorten(&key, "https://www.rust-lang.org/")["code"].clone();
    for _ in 0..5 {
        server.follow(code.as_str().unwrap());
    }
    server.wait_for_clicks(5);
    for args in [&[][..], &["--deep"]] {
        let report = report(&run(server.dir.path(), server.ports, args));
        assert_eq!(found(&report), ["backup=notice"], "{report:#}");
        assert_eq!(report["is_serving"], true);
    }
    let dir = stopped();
    let before = files(&dir.path().join("carom-data"));
    for args in [&[][..], &["--deep"]] {
        let report = report(&run(dir.path(), Ports::free(), args));
        assert_eq!(found(&report), ["backup=notice"], "{report:#}");
        assert_eq!(report["is_serving"], false);
    }
    assert_eq!(files(&dir.path().join("carom-data")), before, "it changed nothing");

    // A killed one: clicks are in the ring, and the log beside the databases.
    for _ in 0..5 {
        server.follow(code.as_str().unwrap());
    }
    let dir = server.kill();
    let report = report(&run(dir.path(), Ports::free(), &["--deep"]));
    assert_eq!(found(&report), ["backup=notice"], "{report:#}");
    // Whoever looked has not kept the next start from anything.
    Server::start_in(dir).wait_for_clicks(10);
}

#[test]
fn the_shape_of_the_json_stays() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(dir.path(), Ports::free(), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!dir.path().join("carom-data").exists(), "it makes nothing");
    let mut report = report(&output);
    let all = report["findings"].as_array().unwrap().len();
    assert!(all > 5);
    let findings = report["findings"].as_array_mut().unwrap();
    findings.retain(|finding| finding["area"] == "folder" || finding["area"] == "process");
    let object = report.as_object_mut().unwrap();
    for machine in ["warnings", "notices", "version"] {
        object.remove(machine).unwrap();
    }
    assert_eq!(
        report,
        json!({
            "verdict": "error", "data_dir": "./carom-data", "is_serving": false, "is_deep": false,
            "errors": 1,
            "findings": [
                {
                    "area": "process", "check": "serving", "level": "ok",
                    "finding": "nobody serves this folder now: only its files were looked at",
                    "meaning": "", "action": "",
                },
                {
                    "area": "folder", "check": "folder", "level": "error",
                    "finding": "./carom-data: No such file or directory (os error 2)",
                    "meaning": "there is nothing to be looked at",
                    "action": "name the folder with --data-dir; carom serve makes one that is not \
                               there",
                },
            ],
        })
    );
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    File::options().write(true).open(path).unwrap().write_all_at(bytes, at).unwrap();
}

fn put_batch(data: &Path, made_at: UnixMillis, damage: impl FnOnce(&mut Vec<u8>)) {
    let mut batch = BatchBuilder::new().finish(made_at, &[Range { epoch: 1, from: 2, to: 3 }]);
    let token = Token::new(1, 1, 1, batch.rows, batch.crc);
    damage(&mut batch.bytes);
    std::fs::write(data.join(format!("spool/outbox/{token}.clk")), batch.bytes).unwrap();
}

const NOW: UnixMillis = UnixMillis::new(1_795_374_000_000);

/// Breakdowns of the one quarter hour and the one day that have clicks, with so many clicks too many.
fn put_blocks(data: &Path, too_many: i64) {
    let of = |table: &str, columns: &str, level: i64, from: &str| {
        format!(
            "insert into {table} (workspace, level, block, {columns}dimension, clicks, body, rest) \
             select workspace, {level}, quarter / {level}, {columns}0, \
               (kind = 0) * n + {too_many}, x'01', x'01' from {from};"
        )
    };
    let sql = of("workspace_block", "", 1, "workspace_quarter")
        + &of("link_block", "link, ", 96, "click_quarter");
    execute(&data.join("clicks.db"), &sql);
}

/// What is done to a folder that is well, and what is to be found then.
type Case = (&'static str, fn(&Path), &'static [&'static str], &'static [&'static str]);

const CASES: &[Case] = &[
    ("open folder", |data| mode(data, 0o755), &[], &["mode=warning"]),
    ("open socket", |data| mode(&data.join("control.sock"), 0o666), &[], &["file_mode=warning"]),
    (
        "restore",
        |data| std::fs::create_dir(data.join("restore.tmp")).unwrap(),
        &[],
        &["half_restored=error"],
    ),
    (
        "future",
        |data| {
            let file = File::options().write(true).open(data.join("lock")).unwrap();
            let at = file.metadata().unwrap().modified().unwrap() + Duration::from_hours(50_000);
            file.set_modified(at).unwrap();
        },
        &[],
        &["future_files=warning"],
    ),
    (
        "page",
        |data| overwrite(&data.join("carom.db"), 4096, &[0xff; 9000]),
        &[],
        &["integrity=error"],
    ),
    (
        "garbage",
        |data| std::fs::write(data.join("clicks.db"), [b'x'; 5000]).unwrap(),
        &[],
        &["integrity=error"],
    ),
    (
        "no clicks",
        |data| std::fs::remove_file(data.join("clicks.db")).unwrap(),
        &[],
        &["schema=notice"],
    ),
    (
        "sums",
        |data| execute(&data.join("clicks.db"), "update click_quarter set n = n + 1"),
        &["--deep"],
        &["rollup=error"],
    ),
    ("blocks", |data| put_blocks(data, 0), &["--deep"], &[]),
    ("other blocks", |data| put_blocks(data, 7), &["--deep"], &["blocks=error"]),
    (
        "links",
        |data| execute(&data.join("carom.db"), "update link set clicks = 9"),
        &["--deep"],
        &["link_clicks=warning"],
    ),
    (
        "key",
        |data| {
            execute(
                &data.join("carom.db"),
                "pragma foreign_keys = off; update link set workspace_id = 5",
            );
        },
        &["--deep"],
        &["integrity=error"],
    ),
    (
        "ahead",
        |data| {
            let sql = "update batch set stored_at_ms = stored_at_ms + 100000000000";
            execute(&data.join("clicks.db"), sql);
        },
        &[],
        &["future_clicks=warning"],
    ),
    (
        "identity",
        |data| std::fs::write(data.join("spool/identity"), "x").unwrap(),
        &[],
        &["identity=error"],
    ),
    (
        "no name",
        |data| {
            std::fs::remove_file(data.join("spool/identity")).unwrap();
        },
        &[],
        &["identity=warning"],
    ),
    ("old batch", |data| put_batch(data, UnixMillis::new(1), |_| {}), &[], &["ledger=warning"]),
    ("header", |data| put_batch(data, NOW, |bytes| bytes[70] ^= 1), &[], &["spool_damage=error"]),
    (
        "body",
        |data| put_batch(data, NOW, |bytes| *bytes.last_mut().unwrap() ^= 1),
        &["--deep"],
        &["spool_damage=error"],
    ),
    ("body, quick", |data| put_batch(data, NOW, |bytes| *bytes.last_mut().unwrap() ^= 1), &[], &[]),
    (
        "segment",
        |data| {
            let ring = data.join("spool/ring");
            let name = files(&ring).into_iter().find(|name| name.ends_with(".seg")).unwrap();
            overwrite(&ring.join(&name), 1_000_000, b"junk");
        },
        &[],
        &["spool_damage=error"],
    ),
    (
        "aside",
        |data| std::fs::write(data.join("spool/quarantine/x.clk"), "x").unwrap(),
        &[],
        &["quarantine=warning"],
    ),
    ("totals", |data| overwrite(&data.join("spool/losses"), 64, &[1]), &[], &["losses=warning"]),
    (
        "foreign",
        |data| std::fs::write(data.join("spool/outbox/notes"), "x").unwrap(),
        &[],
        &["foreign_files=notice"],
    ),
];

fn mode(path: &Path, mode: u32) {
    if !path.exists() {
        File::create(path).unwrap();
    }
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn each_damage_is_found_where_it_is_done() {
    let healthy = stopped();
    for (name, damage, args, expected) in CASES {
        let dir = tempfile::tempdir().unwrap();
        let from = healthy.path().join("carom-data");
        let args_of_cp = [std::ffi::OsStr::new("-a"), from.as_os_str(), dir.path().as_os_str()];
        assert!(std::process::Command::new("cp").args(args_of_cp).status().unwrap().success());
        damage(&dir.path().join("carom-data"));
        let report = report(&run(dir.path(), Ports::free(), args));
        let mut found = found(&report);
        found.retain(|found| found != "backup=notice");
        assert_eq!(found, *expected, "{name}: {report:#}");
    }
}

#[test]
fn settings_that_fight_are_found() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("carom-data")).unwrap();
    let old = dir.path().join("old");
    std::fs::create_dir(&old).unwrap();
    std::fs::write(old.join("carom-backup-20200101T000000.000Z.tar.zst"), "").unwrap();
    let cases: [(&[&str], &[&str]); 16] = [
        (&["edge.max_connections=0"], &["valid=error"]),
        (
            &["control.listen=127.0.0.1:9081", "control.admin_listen=0.0.0.0:9081"],
            &["same_port=error", "open_admin=notice"],
        ),
        (&["edge.admin_listen=0.0.0.0:0"], &["open_admin=notice"]),
        (&["control.listen=0.0.0.0:0"], &["open_control=warning"]),
        (&["public_url=http://go.example.com"], &["no_https=warning"]),
        (&["control.public_url=http://go.example.com"], &["no_https=warning"]),
        (&["public_url=http://localhost:1"], &["public_port=warning"]),
        (&["edge.listen=0.0.0.0:0"], &["local_url=notice", "no_tls=notice"]),
        (&["public_url=https://go.example.com"], &["no_trusted_proxy=warning"]),
        (
            &["public_url=https://go.example.com", "edge.trusted_proxies=[\"0.0.0.0/0\"]"],
            &["trusted_everybody=warning"],
        ),
        (&["public_url=https://go.example.com", "edge.trusted_proxies=[\"127.0.0.1\"]"], &[]),
        (&["spool.max_bytes=1000000"], &["small_outbox=warning"]),
        (&["spool.durability=process"], &["durability=notice"]),
        (&["backup.dir=carom-data/backups"], &["backup_disk=notice", "backup_age=notice"]),
        (&["backup.dir=old"], &["backup_disk=notice", "backup_age=warning"]),
        (&["database.url=postgres://carom@127.0.0.1:1/carom"], &["postgres=error"]),
    ];
    for (settings, expected) in cases {
        let args: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        let report = report(&run(dir.path(), Ports::free(), &args));
        let mut found = found(&report);
        let is_of_settings = |name: &str| {
            // An empty folder, open to all, with both databases to come.
            !["schema=notice", "mode=warning", "backup=notice"].contains(&name)
        };
        found.retain(|found| is_of_settings(found));
        assert_eq!(found, expected, "{settings:?}: {report:#}");
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("control.listen={}", listener.local_addr().unwrap());
    let taken = report(&run(dir.path(), Ports::free(), &["--set", &taken]));
    assert!(found(&taken).contains(&"ports=error".to_owned()), "{taken:#}");
    for (setting, check) in [
        ("edge.max_connections=16000000", "open_files"),
        ("edge.resolve.max_cache_bytes=1000000000000000", "memory"),
    ] {
        let report = report(&run(dir.path(), Ports::free(), &["--set", setting]));
        let all = report["findings"].as_array().unwrap();
        let told = all.iter().any(|told| told["check"] == check && told["level"] == "warning");
        assert!(told, "{setting}: {report:#}");
    }
}

#[test]
fn a_silent_process_and_a_strangers_file_are_told() {
    let dir = stopped();
    let data = dir.path().join("carom-data");
    let lock = File::open(data.join("lock")).unwrap();
    lock.lock().unwrap();
    let silent = report(&run(dir.path(), Ports::free(), &[]));
    assert!(found(&silent).contains(&"serving=warning".to_owned()), "{silent:#}");
    drop(lock);
    // Only root can give files away.
    if std::os::unix::fs::chown(data.join("carom.db"), Some(12_345), None).is_ok() {
        let strange = report(&run(dir.path(), Ports::free(), &[]));
        assert!(found(&strange).contains(&"file_owner=error".to_owned()), "{strange:#}");
    }
}

#[test]
fn people_read_the_verdict_first_and_no_colours_in_a_file() {
    let dir = stopped();
    let ports = Ports::free();
    let doctor = || {
        let mut command = carom(dir.path(), &["doctor"]);
        command.envs(ports.settings()).env("COLUMNS", "80").output().unwrap()
    };
    let well = stdout(&doctor());
    let (first, rest) = well.split_once('\n').unwrap();
    assert!(first.contains("./carom-data") && first.ends_with(" checks."), "{first}");
    for title in ["Process", "Data folder", "Stores", "Click spool", "System", "Settings"] {
        assert!(rest.contains(&format!("\n{title}\n")), "{well}");
    }
    assert!(
        !well.contains('\x1b') && well.lines().all(|line| line.chars().count() <= 80),
        "{well}"
    );
    overwrite(&dir.path().join("carom-data/carom.db"), 4096, &[0xff; 9000]);
    let ill = doctor();
    assert_eq!(ill.status.code(), Some(1));
    let text = String::from_utf8(ill.stdout).unwrap();
    assert!(text.starts_with("Something is wrong with ./carom-data: 1 error"), "{text}");
    assert!(ill.stderr.is_empty());
}
