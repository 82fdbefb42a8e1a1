//! Documents whose commands are run: the `console` blocks of a text, and a place to run them in.
//!
//! A block has commands and, under each, what it prints on standard output:
//!
//! - a command begins with `$ ` and goes on in the next line where a line ends with a backslash or
//!   a single quote is still open;
//! - `export NAME=VALUE` prints nothing, and holds for all that follows;
//! - a line that is nothing but `...` stands for one or more lines;
//! - every other line is compared whole, up to what differs from run to run: times of the year in
//!   which the document was written, ids, codes, keys, cursors, request ids, ports. Each name that
//!   was shown means one thing in a run: where it is shown again, that thing has to be printed.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{CAROM, Ports};

/// Times of this year are those of whoever wrote the document; others are part of it.
const WRITTEN_IN: &str = "2026";

/// A command of a document and the lines under it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) command: String,
    pub(crate) output: Vec<String>,
}

/// The steps of all `console` blocks of a text.
pub(crate) fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for block in text.split("```console\n").skip(1) {
        let mut goes_on = false;
        for line in block.split("```").next().unwrap().lines() {
            match (line.strip_prefix("$ "), steps.last_mut()) {
                (_, Some(step)) if goes_on => {
                    step.command.push('\n');
                    step.command.push_str(line);
                }
                (Some(command), _) => {
                    steps.push(Step { command: command.to_owned(), output: Vec::new() });
                }
                (None, Some(step)) => step.output.push(line.trim_end().to_owned()),
                (None, None) => panic!("output before the first command: {line}"),
            }
            let Step { command, output } = steps.last().unwrap();
            let is_open = command.ends_with('\\') || command.matches('\'').count() % 2 == 1;
            goes_on = output.is_empty() && is_open;
        }
    }
    steps
}

/// What a piece of a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The same in every run.
    Fixed,
    /// In one of [`TIMES`].
    Time(usize),
    RequestId,
    Id,
    Code,
    Key,
    Token,
    /// Hexadecimal: a cursor, a visitor.
    Hex,
}

/// Characters of 32 bytes in base64url.
const TOKEN_LEN: usize = 43;

/// Times as they are written: RFC 3339, HTTP's, and the table's of `carom stats`.
const TIMES: [&str; 4] = [
    "dddd-dd-ddTdd:dd:dd", "dddd-dd-dd dd:dd:dd UTC", "aaa, dd aaa dddd dd:dd:dd GMT", "dddd-dd-dd",
];

/// Whether the text begins with a template: `d` a digit, `x` a hexadecimal digit, `a` a letter,
/// and anything else itself; the template's length.
fn fits(template: &str, text: &str) -> Option<usize> {
    let (template, text) = (template.as_bytes(), text.as_bytes().get(..template.len())?);
    let fits = template.iter().zip(text).all(|(class, byte)| match class {
        b'd' => byte.is_ascii_digit(),
        b'x' => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        b'a' => byte.is_ascii_alphabetic(),
        _ => class == byte,
    });
    fits.then_some(template.len())
}

/// The time that the text begins with: which of [`TIMES`] it is, and its length.
fn time(text: &str) -> Option<(usize, usize)> {
    let (place, mut end) = TIMES.iter().enumerate().find_map(|(i, t)| Some((i, fits(t, text)?)))?;
    if place == 0 {
        if let Some(fraction) = text.get(end..)?.strip_prefix('.') {
            end += 1 + fraction.len()
                - fraction.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        }
        end += ["Z", "+dd:dd", "-dd:dd"].iter().find_map(|zone| fits(zone, text.get(end..)?))?;
    }
    Some((place, end))
}

/// The first piece of a text that is not empty: its kind and its length.
fn piece(text: &str) -> (Kind, usize) {
    if let Some((place, len)) = time(text) {
        return (Kind::Time(place), len);
    }
    if let Some(len) = fits("xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", text) {
        return (Kind::RequestId, len);
    }
    // What opens a door stands behind a `#` if it does so once, or is a part of a path; in base64url.
    if let Some(token) = text.strip_prefix(['#', '/']) {
        let is_token = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if token.bytes().take_while(is_token).count() == TOKEN_LEN {
            return (Kind::Token, 1 + TOKEN_LEN);
        }
    }
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let first = text.chars().next().unwrap();
    if !is_word(first) {
        return (Kind::Fixed, first.len_utf8());
    }
    let word = text.split(|c| !is_word(c)).next().unwrap_or_default();
    let is_code = |b: u8| b.is_ascii_alphanumeric() && !b"aeiouAEIOU01lI".contains(&b);
    let kind = match word.len() {
        7 if word.bytes().all(is_code) => Kind::Code,
        16 | 64 if word.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) => Kind::Hex,
        19 if word.bytes().all(|b| b.is_ascii_digit()) => Kind::Id,
        40 if word.starts_with("crm_") => Kind::Key,
        _ => Kind::Fixed,
    };
    (kind, word.len())
}

fn pieces(mut line: &str) -> Vec<(Kind, &str)> {
    let mut pieces = Vec::new();
    while !line.is_empty() {
        let (kind, len) = piece(line);
        let (text, rest) = line.split_at(len);
        pieces.push((kind, text));
        line = rest;
    }
    pieces
}

/// Which name of the document stands for which of this run.
type Meanings = BTreeMap<String, String>;

/// Whether a line that was printed is the one that is shown; notes what the names in it mean.
fn same(shown: &str, printed: &str, meanings: &mut Meanings) -> bool {
    let (shown, printed) = (pieces(shown), pieces(printed));
    let mut found = Meanings::new();
    let is_same = shown.len() == printed.len()
        && shown.into_iter().zip(printed).all(|((kind, shown), (other, printed))| {
            if shown == printed {
                return true;
            }
            match kind {
                Kind::Fixed => false,
                Kind::Time(_) => other == kind && shown.contains(WRITTEN_IN),
                _ => {
                    // What a name already means is in `shown` by now.
                    let is_new = !meanings.values().any(|meant| meant == shown);
                    found.insert(shown.to_owned(), printed.to_owned());
                    other == kind && shown.len() == printed.len() && is_new
                }
            }
        });
    if is_same {
        meanings.append(&mut found);
    }
    is_same
}

/// A place in which a document is carried out: its folder, its ports, and what it has said so far.
pub(crate) struct Console<'a> {
    dir: &'a Path,
    ports: Ports,
    meanings: Meanings,
    exported: BTreeMap<String, String>,
}

impl<'a> Console<'a> {
    pub(crate) fn new(dir: &'a Path, ports: Ports) -> Self {
        Self { dir, ports, meanings: Meanings::new(), exported: BTreeMap::new() }
    }

    /// A text of the document as it is in this run.
    fn here(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (port, other) in [
            ("8080", self.ports.edge),
            ("8081", self.ports.control),
            ("9080", self.ports.edge_admin),
            ("9081", self.ports.control_admin),
        ] {
            text = text.replace(port, &other.to_string());
        }
        for (shown, meant) in &self.meanings {
            text = text.replace(shown.as_str(), meant);
        }
        text
    }

    /// A command of the document, ready to run; `carom` is found, and has this run's settings.
    pub(crate) fn bash(&self, command: &str) -> Command {
        let programs = Path::new(CAROM).parent().unwrap().display();
        let path = std::env::var_os("PATH").unwrap();
        let path = format!("{programs}:{}", path.to_str().unwrap());
        let mut bash = Command::new("bash");
        bash.args(["-o", "pipefail", "-c", command]).current_dir(self.dir).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CAROM_") {
                bash.env_remove(name);
            }
        }
        bash.env("PATH", path).envs(self.ports.settings()).envs(&self.exported);
        bash
    }

    /// Runs a step; panics if it prints something else than what is shown.
    pub(crate) fn run(&mut self, step: &Step) {
        let command = self.here(&step.command);
        let exported = command.strip_prefix("export ").and_then(|rest| rest.split_once('='));
        let name = exported.map(|(name, _)| name.to_owned());
        let output = match &name {
            Some(name) => self.bash(&format!("set -e; {command}\nprintf %s \"${name}\"")),
            None => self.bash(&command),
        };
        let output = { output }.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        if let Some(name) = name {
            assert!(output.status.success(), "$ {command}\n{text}{errors}");
            assert_eq!(step.output, [""; 0], "$ {command}\nan export prints nothing");
            self.exported.insert(name, text);
            return;
        }
        let printed: Vec<&str> = text.lines().map(str::trim_end).collect();
        if let Err(shown) = self.compare(&step.output, &printed) {
            panic!(
                "$ {command}\nis not shown as printed: {shown:?}; this was printed:\n{text}{errors}"
            );
        }
    }

    /// Compares all that was printed with what is shown.
    ///
    /// # Errors
    /// The first line shown that was not printed in its place, as it would have been in this run.
    pub(crate) fn compare(&mut self, shown: &[String], printed: &[&str]) -> Result<(), String> {
        let mut printed = printed.iter();
        let mut is_abridged = false;
        for shown in shown {
            if shown.trim() == "..." {
                printed.next().ok_or_else(|| shown.clone())?;
                is_abridged = true;
                continue;
            }
            let shown = self.here(shown);
            let mut is_same = |line: &&str| same(&shown, line, &mut self.meanings);
            let found = if is_abridged {
                printed.any(&mut is_same)
            } else {
                printed.next().is_some_and(is_same)
            };
            if !found {
                return Err(shown);
            }
            is_abridged = false;
        }
        match printed.next() {
            Some(line) if !is_abridged => Err(format!("nothing, where this was printed: {line}")),
            _ => Ok(()),
        }
    }
}

#[test]
fn a_document_that_lies_is_noticed() {
    let mut meanings = Meanings::new();
    let mut same = |shown, printed| same(shown, printed, &mut meanings);
    assert!(same("HTTP/1.1 302 Found", "HTTP/1.1 302 Found"));
    assert!(!same("HTTP/1.1 302 Found", "HTTP/1.1 301 Found"));
    assert!(!same("12 clicks", "13 clicks"));
    assert!(same("date: Sun, 22 Nov 2026 15:36:44 GMT", "date: Mon, 05 Jan 2027 01:02:03 GMT"));
    assert!(same("at 2026-11-22T15:36:44.12Z", "at 2027-01-05T01:02:03+01:00"));
    assert!(!same("at 2026-11-22T15:36:44.12Z", "at 2027-01-05"));
    assert!(!same("until 2030-11-22T15:36:44Z", "until 2030-11-22T15:36:45Z"));
    assert!(!same("location: https://a.example/", "location: https://b.example/"));
    assert!(!same("http://localhost:8080/fVfPpyt", "http://localhost:8080/0oO1lIa"));
    assert!(same("http://localhost:8080/fVfPpyt", "http://localhost:8080/2bcdfgh"));
    // It means 2bcdfgh now, and is replaced by that before the next comparison.
    assert!(!same("2bcdfgh", "3bcdfgh"));
}

#[test]
fn commands_and_what_they_print() {
    let text =
        "```console\n$ a \\\n  b\n1\n$ f '\n  '\n$ export C=d\n```\ntext\n```console\n$ e\n```\n";
    let step = |command: &str, output: &[&str]| Step {
        command: command.to_owned(),
        output: output.iter().map(|line| (*line).to_owned()).collect(),
    };
    assert_eq!(
        steps(text),
        [step("a \\\n  b", &["1"]), step("f '\n  '", &[]), step("export C=d", &[]), step("e", &[])]
    );

    let dir = tempfile::tempdir().unwrap();
    let compare = |shown: &[&str], printed: &[&str]| {
        let shown: Vec<_> = shown.iter().map(|line| (*line).to_owned()).collect();
        Console::new(dir.path(), Ports::free()).compare(&shown, printed).is_ok()
    };
    assert!(compare(&["a", "b"], &["a", "b"]));
    assert!(!compare(&["a"], &["a", "b"]));
    assert!(!compare(&["a", "b"], &["a"]));
    assert!(compare(&["a", "...", "c"], &["a", "b", "b", "c"]));
    assert!(compare(&["a", "    ..."], &["a", "b", "c"]));
    assert!(!compare(&["a", "...", "b"], &["a", "b"]), "it stands for one line at least");
    assert!(!compare(&["a", "...", "c"], &["a", "b", "d"]));
    assert!(!compare(&["a", "...", "c"], &["a", "b", "c", "d"]));

    let mut console = Console::new(dir.path(), Ports::free());
    for step in
        steps("```console\n$ export A=$(echo 1)\n$ echo $A; carom --version >/dev/null\n1\n```")
    {
        console.run(&step);
    }
}
