//! `carom export --clicks`, and `carom import --clicks` elsewhere.

use std::path::Path;

use super::{PATIENCE, Server, Value, counts, export, import, stderr};
use crate::support::{carom, exchange, stdout};

const AGENTS: [&str; 4] = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
     Version/17.4 Mobile/15E148 Safari/604.1",
    "Googlebot/2.1 (+http://www.google.com/bot.html)",
    "WhatsApp/2.23.20",
];
const EACH: u64 = 6;

/// An installation that was clicked in many ways, its links' and its clicks' files: CSV and lines.
fn clicked() -> (Server, String, [String; 2]) {
    let server = Server::start();
    let key = server.key();
    let mut people = 0;
    for n in 0..3 {
        let link = server.shorten(&key, &format!("https://example.com/{n}"));
        let code = link["code"].as_str().unwrap();
        for (at, agent) in AGENTS.iter().enumerate() {
            // Alike in all that is kept, and many within a second.
            for round in 0..EACH {
                let campaign = ["", "?utm_source==cmd&utm_campaign='-a", "?via=qr"];
                let query = campaign[usize::try_from(round).unwrap() % campaign.len()];
                let privacy = if round % 2 == 0 { "DNT: 1\r\n" } else { "" };
                let head = format!(
                    "GET /{code}{query} HTTP/1.1\r\nUser-Agent: {agent}\r\n{privacy}\
                     Referer: https://news.example/{round},\"x\"\r\nAccept-Language: de-DE\r\n"
                );
                let answer = exchange(server.ports.edge, &head, "");
                assert!(answer.starts_with("HTTP/1.1 302 "), "{answer}");
                people += u64::from(at < 2);
            }
        }
    }
    server.wait_for_clicks(people);
    let dir = server.dir.path();
    let links = links_with(dir, people);
    // Those that are not people's may come with the next batch.
    let give_up = std::time::Instant::now() + PATIENCE;
    let files = loop {
        let files = ["csv", "jsonl"].map(|format| export(dir, &["--clicks", "--format", format]));
        if files[0].lines().count() as u64 == 3 * 4 * EACH + 1 {
            break files;
        }
        assert!(std::time::Instant::now() < give_up, "{}", files[1]);
        std::thread::park_timeout(std::time::Duration::from_millis(50));
    };
    (server, links, files)
}

/// The file of links, once all clicks of people are carried over to them.
fn links_with(dir: &Path, clicks: u64) -> String {
    let give_up = std::time::Instant::now() + PATIENCE;
    loop {
        let links = export(dir, &["--format", "jsonl"]);
        let sum = links
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["clicks"].as_u64().unwrap());
        if sum.sum::<u64>() == clicks {
            return links;
        }
        assert!(std::time::Instant::now() < give_up, "{links}");
        std::thread::park_timeout(std::time::Duration::from_millis(50));
    }
}

/// Everything that is asked of clicks.
fn reports(dir: &Path, day: &str) -> Vec<Value> {
    let first = "link,referrer,referrer_path,country,channel,device,browser";
    let second = "os,language,utm_source,utm_campaign,via,kind";
    let [first, second] = [first, second].map(|by| {
        ["stats", "--from", day, "--to", day, "--interval", "hour", "--by", by, "--json"]
    });
    let mut reports: Vec<Value> = Vec::new();
    for args in [&["stats", "--json"][..], &first, &second] {
        reports.push(serde_json::from_str(&stdout(&carom(dir, args).output().unwrap())).unwrap());
    }
    reports
}

#[test]
fn clicks_that_are_imported_elsewhere_give_the_same_reports() {
    let (server, links, [csv, jsonl]) = clicked();
    let rows = jsonl.lines().count() as u64;
    let at = serde_json::from_str::<Value>(jsonl.lines().next().unwrap()).unwrap();
    let day = at["at"].as_str().unwrap().split_once('T').unwrap().0.to_owned();
    let here = reports(server.dir.path(), &day);
    assert_eq!(here[0]["totals"]["clicks"], 3 * 2 * EACH);

    // Into where they come from: all of them are there.
    let (report, code) = import(server.dir.path(), csv.as_bytes(), &["--clicks"]);
    assert_eq!((counts(&report), code), ([rows, 0, rows, 0, 0], Some(0)), "{report}");

    let host = format!("http://localhost:{}", server.ports.edge);
    for (first, second) in [(&csv, &jsonl), (&jsonl, &csv)] {
        let other = tempfile::tempdir().unwrap();
        let dir = other.path();
        std::fs::write(dir.join("carom.toml"), format!("public_url = \"{host}\"\n")).unwrap();
        assert_eq!(import(dir, links.as_bytes(), &[]).0["made"], 3);
        let (dry, _) = import(dir, first.as_bytes(), &["--clicks", "--dry-run"]);
        assert_eq!(counts(&dry), [rows, rows, 0, 0, 0], "{dry}");
        assert_eq!(export(dir, &["--clicks", "--format", "jsonl"]), "");

        // An import that was interrupted, and taken up.
        let part: String = first.split_inclusive('\n').take(31).collect();
        let (report, _) = import(dir, part.as_bytes(), &["--clicks"]);
        let made = counts(&report)[1];
        assert!((30..=31).contains(&made), "{report}");
        let (report, _) = import(dir, first.as_bytes(), &["--clicks"]);
        assert_eq!(counts(&report), [rows, rows - made, made, 0, 0], "{report}");
        for again in [first, second] {
            let (report, _) = import(dir, again.as_bytes(), &["--clicks"]);
            assert_eq!(counts(&report), [rows, 0, rows, 0, 0], "{report}");
        }
        assert_eq!(reports(dir, &day), here);
        let files = ["csv", "jsonl"].map(|format| export(dir, &["--clicks", "--format", format]));
        assert_eq!(files, [csv.clone(), jsonl.clone()]);
        // What a link was ever clicked is counted once, as rows now.
        let server = Server::start_in(other);
        assert_eq!(links_with(server.dir.path(), 3 * 2 * EACH), links);
        let doctor = carom(server.dir.path(), &["doctor", "--deep", "--json"]).output().unwrap();
        let found = String::from_utf8(doctor.stdout).unwrap();
        assert!(doctor.status.success(), "{found}");
    }
}

#[test]
fn links_are_found_by_code_where_their_ids_are_others_and_refused_rows_say_why() {
    let (_server, links, [csv, _]) = clicked();
    let rows = csv.lines().count() as u64 - 1;
    let other = tempfile::tempdir().unwrap();
    let dir = other.path();
    // Two of three links, which get other ids here.
    let mut codes = Vec::new();
    let two: String = links
        .lines()
        .take(2)
        .map(|line| {
            let mut link: Value = serde_json::from_str(line).unwrap();
            let members = link.as_object_mut().unwrap();
            members.remove("id");
            codes.push(members["code"].as_str().unwrap().to_owned());
            format!("{link}\n")
        })
        .collect();
    assert_eq!(import(dir, two.as_bytes(), &[]).0["made"], 2);
    let third = rows / 3;
    let args = ["--clicks", "--refused", "refused.csv"];
    let (report, code) = import(dir, csv.as_bytes(), &args);
    assert_eq!((counts(&report), code), ([rows, 2 * third, 0, 0, third], Some(1)), "{report}");
    assert_eq!(report["refusals"][0]["field"], "code");
    let reason = report["refusals"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("import the links first"), "{reason}");
    let written = export(dir, &["--clicks"]);
    for code in &codes {
        let rows = written.lines().filter(|line| line.split(',').nth(1) == Some(code)).count();
        assert_eq!(rows as u64, third);
    }
    // What was refused can be imported once its reason is gone.
    let refused = std::fs::read_to_string(dir.join("refused.csv")).unwrap();
    let head = "refused_row,refused_field,refused_reason,link_id,code,at,";
    assert!(refused.starts_with(head), "{refused}");
    assert_eq!(import(dir, links.as_bytes(), &[]).0["made"], 1);
    let (report, _) = import(dir, refused.as_bytes(), &["--clicks"]);
    assert_eq!(counts(&report), [third, third, 0, 0, 0], "{report}");
}

#[test]
fn rows_and_columns_that_are_no_clicks_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let link = b"code,url\nhere,https://example.com\n";
    assert_eq!(import(dir.path(), link, &[]).0["made"], 1);
    let text = "code,at,n,kind\nhere,2026-11-01T00:00:00Z,2,human\nhere,yesterday,1,human\n\
                gone,2026-11-01T00:00:00Z,1,human\nhere,2026-11-01T00:00:00Z,0,robot\n\
                here,2020-01-01T00:00:00Z,1,human\nhere,2026-11-01T00:00:00Z\n";
    let (report, code) = import(dir.path(), text.as_bytes(), &["--clicks"]);
    assert_eq!((counts(&report), code), ([6, 1, 0, 0, 5], Some(1)), "{report}");
    let refusals = report["refusals"].as_array().unwrap();
    let refusals: Vec<_> = refusals
        .iter()
        .map(|of| (of["row"].as_u64().unwrap(), of["field"].as_str().unwrap()))
        .collect();
    let expected = [(3, "at"), (4, "code"), (5, "kind"), (5, "n"), (6, "at"), (7, "row")];
    for refusal in expected {
        assert!(refusals.contains(&refusal), "{refusal:?} {report}");
    }
    assert_eq!(refusals.len(), expected.len(), "{report}");

    let run = |text: &str, args: &[&str]| {
        std::fs::write(dir.path().join("clicks"), text).unwrap();
        carom(dir.path(), &["import", "--clicks", "clicks"]).args(args).output().unwrap()
    };
    assert!(stderr(&run("code,url\na,b\n", &[])).contains("not those of an export of clicks"));
    let unknown = "code,at,colour\nhere,2026-11-01T00:00:01Z,red\n";
    assert!(stderr(&run(unknown, &[])).contains("unknown columns: colour"));
    let report = stdout(&run(unknown, &["--ignore-unknown"]));
    assert!(report.starts_with("1 row of CSV: 1 made, 0 already there, 0 refused."), "{report}");
}
