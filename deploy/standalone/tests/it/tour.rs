//! The README's tour is true: each of its commands is run, and prints what it says.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{CAROM, Ports};

/// One `$ command` of the tour and the lines under it.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    command: String,
    output: Vec<String>,
}

/// The steps of the `console` blocks between the README's headings "Tour" and the next one.
fn steps(readme: &str) -> Vec<Step> {
    let tour = readme.split("\n## ").find(|section| section.starts_with("Tour")).unwrap();
    let mut steps: Vec<Step> = Vec::new();
    for block in tour.split("```console\n").skip(1) {
        for line in block.split("```").next().unwrap().lines() {
            match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => {
                    steps.push(Step { command: command.to_owned(), output: Vec::new() });
                }
                (None, Some(step)) => step.output.push(line.trim_end().to_owned()),
                (None, None) => panic!("output before the first command: {line}"),
            }
        }
    }
    steps
}

/// Pieces of a line: words, and everything else character by character.
fn tokens(line: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let (token, after) = rest.split_at(end);
        tokens.push(token);
        rest = after;
    }
    tokens
}

/// What differs from run to run: keys, ids, codes, parts of times and of request ids.
fn varies(token: &str) -> bool {
    let digits = token.bytes().all(|b| b.is_ascii_digit());
    let hex = token.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    match token.len() {
        2 => digits,
        3 => ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"].contains(&token) || is_month(token),
        4 => digits || hex,
        7 => token.bytes().all(|b| b.is_ascii_alphanumeric() && !b"aeiouAEIOU01lI".contains(&b)),
        8 | 12 => hex,
        19 => digits,
        40 => token.starts_with("crm_"),
        _ => false,
    }
}

fn is_month(token: &str) -> bool {
    "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(' ').any(|month| month == token)
}

/// Whether a line that was printed is the line that the README shows, up to what varies; notes
/// which words stand for which.
fn same(shown: &str, printed: &str, meanings: &mut BTreeMap<String, String>) -> bool {
    let (shown, printed) = (tokens(shown), tokens(printed));
    shown.len() == printed.len()
        && shown.into_iter().zip(printed).all(|(shown, printed)| {
            if shown == printed {
                return true;
            }
            if varies(shown) && varies(printed) && shown.len() == printed.len() {
                if shown.len() >= 7 {
                    meanings.insert(shown.to_owned(), printed.to_owned());
                }
                return true;
            }
            false
        })
}

/// A text of the README as it is in this run: other ports, another key, another code.
fn here(text: &str, ports: Ports, meanings: &BTreeMap<String, String>) -> String {
    let mut text = text.to_owned();
    for (port, other) in [
        ("8080", ports.edge),
        ("8081", ports.control),
        ("9080", ports.edge_admin),
        ("9081", ports.control_admin),
    ] {
        text = text.replace(port, &other.to_string());
    }
    for (shown, meant) in meanings {
        text = text.replace(shown.as_str(), meant);
    }
    text
}

fn bash(command: &str, dir: &Path) -> Command {
    let mut bash = Command::new("bash");
    bash.args(["-c", command]).current_dir(dir).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CAROM_") {
            bash.env_remove(name);
        }
    }
    bash
}

#[test]
fn the_tour_of_the_readme_is_true() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let steps = steps(&std::fs::read_to_string(readme).unwrap());
    let [start, steps @ ..] = &steps[..] else { panic!("the tour has no steps") };
    assert_eq!(start.command, "cargo run --release");
    assert!(steps.len() >= 4, "the tour shows too little: {steps:?}");

    let dir = tempfile::tempdir().unwrap();
    // What `cargo run --release` leaves, where the tour's later commands look for it.
    std::fs::create_dir_all(dir.path().join("target/release")).unwrap();
    std::os::unix::fs::symlink(CAROM, dir.path().join("target/release/carom")).unwrap();
    let ports = Ports::free();
    let mut meanings = BTreeMap::new();
    let server = bash("exec target/release/carom", dir.path())
        .envs(ports.settings())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut server = Ends(server);
    let mut printed = std::io::BufReader::new(server.0.stdout.take().unwrap());
    for shown in &start.output {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut printed, &mut line).unwrap();
        let shown = here(shown, ports, &meanings);
        assert!(same(&shown, line.trim_end(), &mut meanings), "shown {shown:?}, printed {line:?}");
    }

    for step in steps {
        let command = here(&step.command, ports, &meanings);
        let output = bash(&command, dir.path()).envs(ports.settings()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        let printed: Vec<&str> = text.lines().map(str::trim_end).collect();
        assert_eq!(printed.len(), step.output.len(), "$ {command}\n{text}{errors}");
        for (shown, printed) in step.output.iter().zip(printed) {
            let shown = here(shown, ports, &meanings);
            let alike = same(&shown, printed, &mut meanings);
            assert!(alike, "$ {command}\nshown   {shown:?}\nprinted {printed:?}");
        }
    }
}

struct Ends(std::process::Child);

impl Drop for Ends {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_tour_that_lies_is_noticed() {
    let mut meanings = BTreeMap::new();
    let mut same = |shown, printed| same(shown, printed, &mut meanings);
    assert!(same("HTTP/1.1 302 Found", "HTTP/1.1 302 Found"));
    assert!(!same("HTTP/1.1 302 Found", "HTTP/1.1 301 Found"));
    assert!(!same("1 link, 1 click", "1 link, 2 clicks"));
    assert!(same("date: Sun, 22 Nov 2026 15:36:44 GMT", "date: Mon, 05 Jan 2027 01:02:03 GMT"));
    assert!(!same("location: https://a.example/", "location: https://b.example/"));
    assert!(same("http://localhost:8080/fVfPpyt", "http://localhost:8080/2bcdfgh"));
    assert_eq!(meanings["fVfPpyt"], "2bcdfgh");
}
