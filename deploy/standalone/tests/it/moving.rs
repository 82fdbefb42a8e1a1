//! `carom move` as the real program: its plan, its way back, and a `kill -9` at random points.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::support::{Server, carom, stdout};
use crate::upgrade::execute;

const FIRST: &str = "sqlite://{data_dir}/carom.db";
const SECOND: &str = "sqlite://{data_dir}/second.db";
/// Some pages of each table, so that there is something to be killed in.
const LINKS: u32 = 12_000;

fn run(dir: &Path, args: &[&str]) -> Output {
    carom(dir, args).output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&stdout(output)).unwrap()
}

fn refusal(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What was found of the check `moved`.
fn doctor(dir: &Path) -> Option<String> {
    let output = run(dir, &["doctor", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut findings = report["findings"].as_array().unwrap().iter();
    let found = findings.find(|finding| finding["check"] == "moved")?;
    assert_eq!(found["level"], "error", "{found}");
    Some(found.to_string())
}

/// The settings of the folder from now on.
fn serve_from(dir: &Path, url: &str) {
    std::fs::write(dir.join("carom.toml"), format!("[database]\nurl = \"{url}\"\n")).unwrap();
}

#[test]
fn a_move_is_planned_made_and_taken_back() {
    let server = Server::start();
    let key = server.key();
    let code = server.shorten(&key, "https://example.com/moved")["code"].clone();
    let code = code.as_str().unwrap();
    server.follow(code);
    server.wait_for_clicks(1);
    let busy = refusal(&server.carom(&["move", "--to", SECOND]));
    assert!(busy.contains("serve") || busy.contains("process"), "{busy}");
    let dir = server.stop_and_keep();
    let path = dir.path();
    let links = stdout(&run(path, &["export"]));
    let data = path.join("carom-data");
    assert_eq!(doctor(path), None);

    let plan = json(&run(path, &["move", "--to", SECOND, "--dry-run", "--json"]));
    assert_eq!(plan["state"], "new");
    assert!(!data.join("second.db").exists());
    let told = stdout(&run(path, &["move", "--to", SECOND, "--dry-run"]));
    assert!(told.contains("1 rows of link\n") && told.contains("second.db"), "{told}");

    let moved = json(&run(path, &["move", "--to", SECOND, "--json"]));
    assert_eq!(moved["rows"], plan["rows"]);
    assert!(refusal(&run(path, &["serve"])).contains("were moved to"));
    assert!(doctor(path).unwrap().contains("second.db"));
    let again = stdout(&run(path, &["move", "--to", SECOND]));
    assert!(again.contains("moved already"), "{again}");

    serve_from(path, SECOND);
    assert_eq!(doctor(path), None);
    let server = Server::start_in(dir);
    assert!(server.follow(code).contains("https://example.com/moved"));
    server.wait_for_clicks(2);
    server.shorten(&key, "https://example.com/only-there");
    let dir = server.stop_and_keep();
    let path = dir.path();
    assert!(refusal(&run(path, &["move", "--undo"])).contains("nothing to undo"));

    serve_from(path, FIRST);
    let undone = json(&run(path, &["move", "--undo", "--json"]));
    assert!(undone["undone"].as_str().unwrap().ends_with("second.db"), "{undone}");
    assert_eq!(doctor(path), None);
    let lines = |text: &str| text.lines().count();
    assert_eq!(lines(&stdout(&run(path, &["export"]))), lines(&links));
    assert!(Server::start_in(dir).follow(code).contains("https://example.com/moved"));
}

/// A stopped installation with many links.
fn large() -> tempfile::TempDir {
    let server = Server::start();
    let dir = server.stop_and_keep();
    let sql = format!(
        "with recursive n (i) as (select 1 union all select i + 1 from n where i < {LINKS})
         insert into link (id, workspace_id, domain_id, code, target, target_revision, title, notes,
           tags, redirect_status, max_age_s, state, archived, query_forward, query_visitor_wins,
           search, version, created_at_ms, updated_at_ms)
         select i, w.id, d.id, 'code' || i, 'https://example.com/' || i, 1, '', '', 'odd', 302, 0, 1,
           0, '', 0, 'code' || i || ' https://example.com/' || i, 1, i, i
           from n, (select id from workspace) w, (select id from domain) d;
         insert into link_tag select workspace_id, 'odd', id from link where id % 2 = 1;
         insert into route select domain_id, code, id, workspace_id, state, version from link;"
    );
    execute(&dir.path().join("carom-data/carom.db"), &sql);
    dir
}

/// The state of the files that a move writes: their length, and when they were written last.
fn written(dir: &Path) -> [Option<(u64, SystemTime)>; 2] {
    ["second.db", "second.db-wal"].map(|name| {
        let file = dir.join("carom-data").join(name).metadata().ok()?;
        Some((file.len(), file.modified().ok()?))
    })
}

/// Killed again and again, each time a little later; the last one goes to its end.
#[test]
fn a_move_that_is_killed_goes_on() {
    let dir = large();
    let path = dir.path();
    let links = stdout(&run(path, &["export"]));
    assert_eq!(links.lines().count(), LINKS as usize + 1);
    let to = ["move", "--to", SECOND, "--json"];
    let (mut killed, mut moved_in_part, mut seed) = (0_u64, 0, 7_u64);
    let moved = loop {
        let before = written(path);
        let mut command = carom(path, &to);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // From its first write on: until then it takes as long as the machine has much to do.
        while written(path) == before && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let pause = killed * 40 + (seed >> 33) % 60;
        std::thread::sleep(Duration::from_millis(pause));
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        if output.status.success() {
            break json(&output);
        }
        assert_eq!(output.status.code(), None, "{}", String::from_utf8_lossy(&output.stderr));
        killed += 1;
        let plan = json(&run(path, &["move", "--to", SECOND, "--dry-run", "--json"]));
        if plan["state"] == "interrupted" {
            moved_in_part += 1;
            if moved_in_part == 1 {
                assert!(refusal(&run(path, &["serve"])).contains("being moved"));
                assert!(doctor(path).unwrap().contains("being moved"));
            }
        }
    };
    assert!(moved_in_part >= 2, "{moved_in_part} of {killed}");
    // The last kill may have come after the last step.
    if moved["was_done"] == false {
        assert!(moved["rows_before"].as_u64().unwrap() > 0, "{moved}");
    }
    serve_from(path, SECOND);
    assert_eq!(stdout(&run(path, &["export"])), links);
}
