//! Backups of a real installation: made under load, damaged in every way, restored elsewhere.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use carom_shared::{Random, SeededRandom};
use serde_json::Value;

use crate::support::{CAROM, Server, carom, exchange, stdout};

const URL: &str = "https://www.rust-lang.org/learn?from=backup";

fn back_up(server: &Server, to: &Path) -> Value {
    let made = server.carom(&["backup", "--json", "--to", to.to_str().unwrap()]);
    serde_json::from_str(&stdout(&made)).unwrap()
}

/// A backup restored into a folder of its own, where a server can start.
fn restore(backup: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    stdout(&carom(dir.path(), &["restore", backup.to_str().unwrap()]).output().unwrap());
    dir
}

fn file_of(made: &Value) -> PathBuf {
    made["file"].as_str().unwrap().into()
}

fn files(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn code(link: &Value) -> String {
    link["code"].as_str().unwrap().to_owned()
}

/// Clicks of each code, as the totals say.
fn clicks(server: &Server) -> BTreeMap<String, u64> {
    let stats = server.carom(&["stats", "--top", "100", "--json"]);
    let stats: Value = serde_json::from_str(&stdout(&stats)).unwrap();
    let top = stats["top"].as_array().unwrap().iter().map(|link| {
        let url = link["short_url"].as_str().unwrap();
        (url.rsplit('/').next().unwrap().to_owned(), link["clicks"].as_u64().unwrap())
    });
    top.collect()
}

#[derive(Default)]
struct Counted {
    sent: AtomicU64,
    answered: AtomicU64,
}

#[test]
fn a_backup_under_load_is_the_installation_at_the_cut() {
    let server = Server::start();
    let key = server.key();
    let make = |n: usize| (0..n).map(|_| code(&server.shorten(&key, URL))).collect::<Vec<_>>();
    let (busy, quiet) = (make(8), make(5));
    let counted: Vec<Counted> = busy.iter().map(|_| Counted::default()).collect();
    let acknowledged = Mutex::new(Vec::new());
    let stop = AtomicBool::new(false);
    let backups = tempfile::tempdir().unwrap();

    let (made, before, created) = std::thread::scope(|scope| {
        for first in 0..2 {
            let (server, busy, counted, stop) = (&server, &busy, &counted, &stop);
            scope.spawn(move || {
                for at in (first..).step_by(2) {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let (code, counted) = (&busy[at % busy.len()], &counted[at % busy.len()]);
                    counted.sent.fetch_add(1, Ordering::SeqCst);
                    assert!(server.follow(code).starts_with("HTTP/1.1 302 "));
                    counted.answered.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                let code = code(&server.shorten(&key, URL));
                acknowledged.lock().unwrap().push(code);
            }
        });
        let begin = Instant::now();
        let has_come = |counted: &Counted| counted.answered.load(Ordering::SeqCst) > 0;
        let is_due = || counted.iter().all(has_come) && !acknowledged.lock().unwrap().is_empty();
        while begin.elapsed() < Duration::from_millis(1200)
            || begin.elapsed() < Duration::from_secs(60) && !is_due()
        {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        // At once before the cut: these are in the ring, the batch, or the store.
        for (n, code) in (1..).zip(&quiet) {
            for _ in 0..n {
                server.follow(code);
            }
        }
        let before: Vec<u64> =
            counted.iter().map(|counted| counted.answered.load(Ordering::SeqCst)).collect();
        let created = acknowledged.lock().unwrap().clone();
        let made = back_up(&server, backups.path());
        stop.store(true, Ordering::SeqCst);
        (made, before, created)
    });
    assert!(before.iter().all(|&n| n > 0) && !created.is_empty(), "{before:?} {created:?}");
    assert_eq!(files(backups.path()).len(), 1, "{:?}", files(backups.path()));

    let restored = Server::start_in(restore(&file_of(&made)));
    let found = clicks(&restored);
    for (n, code) in (1..).zip(&quiet) {
        assert_eq!(found.get(code), Some(&n), "clicks of {code}");
    }
    for ((code, counted), before) in busy.iter().zip(&counted).zip(before) {
        let (found, sent) = (found[code], counted.sent.load(Ordering::SeqCst));
        assert!((before..=sent).contains(&found), "{code}: {before} <= {found} <= {sent}");
    }
    for code in &created {
        assert!(restored.follow(code).starts_with("HTTP/1.1 302 "), "{code}");
    }
    // The installation that was copied goes on as if nothing had been.
    let all: u64 = counted.iter().map(|counted| counted.answered.load(Ordering::SeqCst)).sum();
    server.wait_for_clicks(all + 15);
    let spool = server.dir.path().join("carom-data/spool");
    assert_eq!(files(&spool.join("snapshot")), [""; 0]);
}

#[test]
fn a_backup_of_what_a_kill_left_holds_the_ring_as_clicks() {
    let server = Server::start();
    let key = server.key();
    let code = code(&server.shorten(&key, URL));
    server.follow(&code);
    server.wait_for_clicks(1);
    for _ in 0..6 {
        server.follow(&code);
    }
    let dir = server.kill();
    let backups = tempfile::tempdir().unwrap();
    let to = backups.path().to_str().unwrap();
    let made = stdout(&carom(dir.path(), &["backup", "--to", to, "--json"]).output().unwrap());
    let made: Value = serde_json::from_str(&made).unwrap();
    // A batch for each thread; they may be in the store as well, if this machine was slow.
    let (stored, waiting) = (&made["clicks"]["totals"]["clicks"], &made["outbox"]["clicks"]);
    let (stored, waiting) = (stored.as_u64().unwrap(), waiting.as_u64().unwrap());
    assert!(stored >= 1 && waiting >= 1 && stored + waiting >= 7, "{made}");

    let restored = restore(&file_of(&made));
    assert_eq!(
        files(&restored.path().join("carom-data")),
        ["carom.db", "clicks.db", "lock", "spool"]
    );
    let restored = Server::start_in(restored);
    assert_eq!(clicks(&restored)[&code], 7);
    // Both live on, and neither's clicks are taken for the other's.
    let original = Server::start_in(dir);
    for server in [&restored, &original] {
        server.wait_for_clicks(7);
        server.follow(&code);
        server.wait_for_clicks(8);
    }
    let identity = |server: &Server| {
        let path = server.dir.path().join("carom-data/spool/identity");
        std::fs::read_to_string(path).unwrap().lines().nth(1).unwrap().to_owned()
    };
    assert_ne!(identity(&restored), identity(&original));
}

#[test]
fn a_backup_is_opened_and_checked_without_carom() {
    let server = Server::start();
    let key = server.key();
    server.follow(&code(&server.shorten(&key, URL)));
    let backups = tempfile::tempdir().unwrap();
    let file = file_of(&back_up(&server, backups.path()));
    let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    let dir = tempfile::tempdir().unwrap();
    let tar = zstd::stream::decode_all(std::fs::File::open(&file).unwrap()).unwrap();
    std::fs::write(dir.path().join("backup.tar"), tar).unwrap();
    let run = |program: &str, args: &[&str]| {
        stdout(&Command::new(program).args(args).current_dir(dir.path()).output().unwrap())
    };
    let list = run("tar", &["-tf", "backup.tar"]);
    let names: Vec<&str> = list.lines().collect();
    assert_eq!(names[..3], ["manifest.json", "carom.db", "clicks.db"]);
    assert_eq!(names.last(), Some(&"SHA256SUMS"));
    assert!(!list.contains("ring"), "{list}");
    run("tar", &["-xf", "backup.tar"]);
    run("sha256sum", &["--check", "--strict", "SHA256SUMS"]);
}

/// What `carom` says that refuses; it prints nothing else.
fn refused(dir: &Path, args: &[&str]) -> String {
    let output = carom(dir, args).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{args:?}: {text}");
    assert_eq!(output.stdout, b"", "{args:?}");
    text
}

/// A small backup, and its totals.
fn small() -> (Vec<u8>, u64) {
    let server = Server::start();
    let key = server.key();
    for n in 0..5 {
        let code = code(&server.shorten(&key, URL));
        for _ in 0..n {
            server.follow(&code);
        }
    }
    let backups = tempfile::tempdir().unwrap();
    (std::fs::read(file_of(&back_up(&server, backups.path()))).unwrap(), 10)
}

const FLIPS: usize = 1000;

#[test]
fn a_flipped_byte_is_refused_or_restores_right() {
    let (whole, clicks) = small();
    let random = SeededRandom::new(5);
    let number = || {
        let mut bytes = [0; 8];
        random.fill(&mut bytes);
        usize::try_from(u64::from_le_bytes(bytes) >> 1).unwrap()
    };
    let flips: Vec<_> = (0..FLIPS)
        .map(|_| (number() % whole.len(), u8::try_from(1 + number() % 255).unwrap()))
        .collect();
    let refused = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for flips in flips.chunks(FLIPS.div_ceil(2)) {
            let (whole, refused) = (&whole, &refused);
            scope.spawn(move || {
                let dir = tempfile::tempdir().unwrap();
                let file = dir.path().join("flipped.tar.zst");
                for &(at, by) in flips {
                    let mut flipped = whole.clone();
                    flipped[at] ^= by;
                    std::fs::write(&file, &flipped).unwrap();
                    let args = ["restore", "flipped.tar.zst", "--json"];
                    let output = carom(dir.path(), &args).output().unwrap();
                    let data = dir.path().join("carom-data");
                    if output.status.success() {
                        let restored: Value = serde_json::from_slice(&output.stdout).unwrap();
                        assert_eq!(restored["links"], 5, "byte {at}");
                        assert_eq!(restored["totals"]["clicks"], clicks, "byte {at}");
                        std::fs::remove_dir_all(&data).unwrap();
                    } else {
                        assert_eq!(output.status.code(), Some(1), "byte {at}");
                        assert!(!data.exists(), "byte {at}: something is left");
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    // A few bits of zstd's own headers mean nothing.
    let refused = refused.load(Ordering::Relaxed);
    assert!(refused > FLIPS as u64 * 9 / 10, "{refused} of {FLIPS} were refused");
}

#[test]
fn what_is_no_whole_backup_is_refused_by_name() {
    let (whole, _) = small();
    let dir = tempfile::tempdir().unwrap();
    let verify = |bytes: &[u8]| {
        std::fs::write(dir.path().join("b"), bytes).unwrap();
        refused(dir.path(), &["backup", "verify", "b"])
    };
    for cut in [whole.len() - 1, whole.len() - 5, whole.len() / 2, 100, 5] {
        let text = verify(&whole[..cut]);
        assert!(text.contains("/b is damaged: it ends too early"), "{cut}: {text}");
    }
    assert!(verify(&[&whole[..], b"x"].concat()).contains("there is more after its end"));
    assert!(verify(&[&whole[..], &whole].concat()).contains("there is more after its end"));
    for other in [&b""[..], b"PK\x03\x04 is not one"] {
        assert!(verify(other).contains("/b is not a backup of Carom"));
    }
    let text = zstd::stream::encode_all(&[b'x'; 5000][..], 1).unwrap();
    assert!(verify(&text).contains("manifest.json is not as it was written"));
    assert!(refused(dir.path(), &["backup", "verify", "none"]).contains("No such file"));

    std::fs::write(dir.path().join("b"), &whole).unwrap();
    let good = stdout(&carom(dir.path(), &["backup", "verify", "b"]).output().unwrap());
    assert!(good.contains(" is good: Carom ") && good.contains("5 links, "), "{good}");
    assert_eq!(files(dir.path()), ["b"], "nothing is left");
}

#[test]
fn a_backup_is_restored_into_an_empty_folder_only() {
    let (whole, _) = small();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("b"), whole).unwrap();
    std::fs::create_dir(dir.path().join("carom-data")).unwrap();
    std::fs::write(dir.path().join("carom-data/mine"), "precious").unwrap();
    let text = refused(dir.path(), &["restore", "b"]);
    assert!(text.contains("carom-data is not empty"), "{text}");
    assert_eq!(files(&dir.path().join("carom-data")), ["mine"]);
    std::fs::remove_file(dir.path().join("carom-data/mine")).unwrap();
    stdout(&carom(dir.path(), &["restore", "b"]).output().unwrap());
    assert!(refused(dir.path(), &["restore", "b"]).contains("is not empty"));

    // As a kill in the middle would leave it.
    std::fs::create_dir(dir.path().join("carom-data/restore.tmp")).unwrap();
    for args in [&["serve"][..], &["key", "list"], &["stats"]] {
        assert!(refused(dir.path(), args).contains("was interrupted"), "{args:?}");
    }
}

/// A folder whose quarantine makes backups as large as this.
fn with_ballast(server: Server, bytes: usize) -> tempfile::TempDir {
    let dir = server.kill();
    let mut ballast = vec![0; bytes];
    SeededRandom::new(1).fill(&mut ballast);
    let name = "0000000000000001-00000001-00000001-1-00000001.clk";
    std::fs::write(dir.path().join("carom-data/spool/quarantine").join(name), ballast).unwrap();
    dir
}

/// A backup into the folder `full`, where a file may have 2 MiB.
fn refused_by_the_disk(dir: &Path) {
    let limited = format!("trap '' XFSZ; ulimit -f 4096; exec {CAROM} backup --to full");
    let output = Command::new("sh").args(["-c", &limited]).current_dir(dir).env_clear().output();
    let output = output.unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("no backup was made"), "{text}");
    assert_eq!(files(&dir.join("full")), [""; 0]);
}

#[test]
fn a_full_disk_leaves_nothing() {
    // Each database is smaller, all of it is larger.
    let server = Server::start();
    let key = server.key();
    server.shorten(&key, URL);
    let dir = with_ballast(server, 6 << 20);
    refused_by_the_disk(dir.path());
    stdout(&carom(dir.path(), &["backup", "--to", "full"]).output().unwrap());
    assert_eq!(files(&dir.path().join("full")).len(), 1);

    // A database is larger.
    let server = Server::start();
    let key = server.key();
    for n in 0..1000 {
        server.shorten(&key, &format!("{URL}&n={n}&{}", "x".repeat(1900)));
    }
    let dir = server.kill();
    // Writes the log back into the database, so that nothing but the copy needs room.
    stdout(&carom(dir.path(), &["key", "list"]).output().unwrap());
    assert!(dir.path().join("carom-data/carom.db").metadata().unwrap().len() > 2 << 20);
    refused_by_the_disk(dir.path());
}

#[test]
fn one_backup_is_made_at_a_time() {
    let server = Server::start();
    server.key();
    let server = Server::start_in(with_ballast(server, 64 << 20));
    let to = server.dir.path().join("backups");
    let to = to.to_str().unwrap();
    let back_up = || carom(server.dir.path(), &["backup", "--to", to]);
    let in_folder = || std::fs::read_dir(to).map_or(0, Iterator::count);
    let mut made = 0;
    let refused = loop {
        let first = back_up().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let give_up = Instant::now() + Duration::from_secs(60);
        while in_folder() <= made {
            assert!(Instant::now() < give_up, "it does not begin");
            std::thread::park_timeout(Duration::from_millis(5));
        }
        let second = back_up().output().unwrap();
        stdout(&first.wait_with_output().unwrap());
        made += 1;
        if !second.status.success() {
            break second;
        }
        // The first one was done before the second had begun.
        made += 1;
        assert!(made < 6, "each is made beside another");
    };
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(text.contains("a backup is being made already"), "{text}");
    assert_eq!(files(Path::new(to)).len(), made);
}

#[test]
fn backups_are_made_by_themselves_and_failures_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let set = |dir: &Path, to: &str| {
        std::fs::write(dir.join("carom.toml"), format!("[backup]\ndir = \"{to}\"\n")).unwrap();
    };
    set(dir.path(), "kept");
    let server = Server::start_in(dir);
    let admin = |server: &Server, path: &str| {
        exchange(server.ports.control_admin, &format!("GET {path} HTTP/1.1\r\n"), "")
    };
    let wait = |server: &Server, path: &str, text: &str| {
        let give_up = Instant::now() + Duration::from_secs(60);
        loop {
            let answer = admin(server, path);
            if answer.contains(text) {
                return answer;
            }
            assert!(Instant::now() < give_up, "{text}: {answer}");
            std::thread::park_timeout(Duration::from_millis(50));
        }
    };
    let metrics = wait(&server, "/metrics", "carom_backups_total 1\n");
    assert!(metrics.contains("carom_backup_last_success_timestamp_seconds 1"), "{metrics}");
    assert!(metrics.contains("carom_backup_failures_total 0\n"), "{metrics}");
    let kept = files(&server.dir.path().join("kept"));
    assert_eq!(kept.len(), 1, "{kept:?}");

    // The next start knows of it; and one whose folder is in the way of a file serves all the same.
    let dir = server.kill();
    let server = Server::start_in(dir);
    let metrics = wait(&server, "/metrics", "carom_backup_age_seconds ");
    assert!(metrics.contains("carom_backups_total 0\n"), "{metrics}");
    let dir = server.kill();
    std::fs::write(dir.path().join("taken"), "").unwrap();
    set(dir.path(), "taken");
    let server = Server::start_in(dir);
    let ready = wait(&server, "/readyz", "ok; the backup of ");
    assert!(ready.starts_with("HTTP/1.1 200 ") && ready.contains("failed: "), "{ready}");
    assert!(admin(&server, "/metrics").contains("carom_backup_failures_total 1\n"));
}
