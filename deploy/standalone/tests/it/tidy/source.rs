//! Rules over the text of files: what may stand where.
//!
//! Rust is looked at in two halves, without its comments: the code and the string literals. That
//! takes a lexer of a few lines, not a parser. What stands behind `#[cfg(test)]`, and whole files
//! of tests, may do what tests need.

use super::{Complaints, File};

/// Stages that decide and do not wait.
const PURE: &[&str] =
    &["command.rs", "enrich.rs", "query.rs", "record.rs", "request.rs", "respond.rs"];
/// The only files and folders with SQL; a folder stands for what is under it.
const SQL_FILES: &[&str] = &["store.rs", "db.rs", "clickhouse.rs"];
const SQL_FOLDERS: &[&str] = &["store", "db", "click", "clickhouse"];
/// Where control answers HTTP, and so where it may know status codes.
const HTTP_FILES: &[&str] = &[
    "http.rs", "api.rs", "page.rs", "operator.rs", "admin.rs", "server.rs", "client.rs",
    "email.rs", "factor.rs", "recover.rs", "sign_in.rs",
];
const HTTP_FOLDERS: &[&str] = &["api", "http", "page"];
const ENV_FILES: &[&str] = &["main.rs"];

// In two parts: this file is checked too.
const UNFINISHED: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];
const SKIPPED_TEST: &str = concat!("#[", "ignore");
const MACHINE_PATHS: &[&str] =
    &[concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/wo", "rk/")];

pub(super) fn check(files: &[File]) -> Complaints {
    files.iter().flat_map(check_file).collect()
}

fn check_file(file: &File) -> Complaints {
    let File { path, text } = file;
    let mut complaints = Vec::new();
    let mut complain = |line: usize, rule: &str| complaints.push(format!("{path}:{line}: {rule}"));
    if path.ends_with(".rs") && !is_test(path) {
        let Halves { code, literals } = Halves::of(before_tests(text));
        for (line, code) in (1..).zip(code.lines()) {
            code_rules(path, code, |rule| complain(line, rule));
        }
        let may_hold_sql = is_in(path, SQL_FILES, SQL_FOLDERS);
        for (line, _) in literals.iter().filter(|(_, text)| !may_hold_sql && is_sql(text)) {
            complain(*line, "SQL stands only in store.rs, db.rs, clickhouse.rs and under click/");
        }
        for (line, _) in literals.iter().filter(|(_, text)| is_sql(text) && asks_time(text)) {
            complain(*line, "time is passed in: SQL does not ask for it");
        }
    }
    if path.ends_with(".sql") {
        for (line, sql) in (1..).zip(text.lines()).filter(|(_, sql)| asks_time(sql)) {
            complain(line, &format!("time is passed in: {}", sql.trim()));
        }
    }
    let is_prose = [".rs", ".sh", ".md"].iter().any(|end| path.ends_with(end));
    if is_prose || text.starts_with("#!/") {
        for (line, text) in (1..).zip(text.lines()) {
            text_rules(text, |rule| complain(line, rule));
        }
    }
    complaints
}

fn code_rules(path: &str, code: &str, mut complain: impl FnMut(&str)) {
    if is_in(path, PURE, &[]) && has_word(code, "async") {
        complain("this stage decides and does not wait: no async");
    }
    let may_answer = !path.starts_with("control/") || is_in(path, HTTP_FILES, HTTP_FOLDERS);
    if !may_answer && has_word(code, "StatusCode") {
        complain("StatusCode stands only where control answers HTTP");
    }
    if !is_in(path, ENV_FILES, &[]) && (code.contains("std::env") || has_word(code, "env::")) {
        complain("the environment is read only in main.rs");
    }
}

fn text_rules(text: &str, mut complain: impl FnMut(&str)) {
    if UNFINISHED.iter().any(|word| has_word(text, word)) {
        complain("unfinished work is an issue, not a comment");
    }
    if text.contains(SKIPPED_TEST) {
        complain("a test runs or is deleted");
    }
    let starts_here = |at: usize| {
        let before = text.get(..at).and_then(|text| text.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || "_-.~}$*".contains(c))
    };
    if MACHINE_PATHS.iter().any(|path| text.match_indices(path).any(|(at, _)| starts_here(at))) {
        complain("names a path of somebody's machine");
    }
}

fn is_in(path: &str, files: &[&str], folders: &[&str]) -> bool {
    let mut parts = path.split('/').rev();
    parts.next().is_some_and(|name| files.contains(&name)) || parts.any(|of| folders.contains(&of))
}

fn is_test(path: &str) -> bool {
    is_in(path, &["tests.rs"], &["tests"])
}

/// The part of a file before its test module, which is its last item.
fn before_tests(text: &str) -> &str {
    text.split_once("\n#[cfg(test)]\nmod ").map_or(text, |(before, _)| before)
}

/// Whether `word` stands in the text with no letter, digit or `_` on either side; a word that ends
/// in another character may go on.
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(word).any(|(at, _)| {
        let before = text.get(..at).and_then(|text| text.chars().next_back());
        let after = text.get(at + word.len()..).and_then(|text| text.chars().next());
        let touches = is_part(before) || (is_part(word.chars().next_back()) && is_part(after));
        !touches
    })
}

fn is_sql(literal: &str) -> bool {
    let text = literal.to_ascii_lowercase();
    let words: Vec<_> = text.split_whitespace().collect();
    match words.as_slice() {
        ["select", rest @ ..] => rest.contains(&"from"),
        ["update", rest @ ..] => rest.contains(&"set"),
        ["with", rest @ ..] => rest.contains(&"as"),
        ["insert", "into" | "or", ..] | ["delete" | "replace", "from" | "into", ..] => true,
        ["create" | "alter" | "drop", what, ..] => {
            ["table", "index", "unique", "view", "trigger", "materialized"].contains(what)
        }
        ["pragma", ..] | ["begin", "immediate", ..] => true,
        _ => false,
    }
}

/// Whether SQL asks the database what time it is.
fn asks_time(sql: &str) -> bool {
    let sql = sql.to_ascii_lowercase();
    ["now(", "current_timestamp", "current_time", "current_date", "unixepoch(", "julianday("]
        .iter()
        .any(|asks| has_word(&sql, asks))
}

/// Rust without its comments: the code with empty literals, and each string literal with the line
/// on which it begins.
struct Halves {
    code: String,
    literals: Vec<(usize, String)>,
}

impl Halves {
    fn of(text: &str) -> Self {
        let (mut halves, mut rest, mut line) =
            (Self { code: String::new(), literals: Vec::new() }, text, 1);
        while let Some(c) = rest.chars().next() {
            let token = Token::first(rest);
            let (taken, after) = rest.split_at(token.len);
            match token.literal {
                Some(literal) => halves.literals.push((line, literal.to_owned())),
                None if !token.is_comment => halves.code.push(c),
                None => {}
            }
            let lines = taken.matches('\n').count();
            if token.len > c.len_utf8() {
                halves.code.extend(std::iter::repeat_n('\n', lines));
            }
            line += lines;
            rest = after;
        }
        halves
    }
}

/// The beginning of a text: a comment, a literal, or else one character.
struct Token<'a> {
    len: usize,
    is_comment: bool,
    literal: Option<&'a str>,
}

impl<'a> Token<'a> {
    fn first(text: &'a str) -> Self {
        let comment = |len| Self { len, is_comment: true, literal: None };
        if text.starts_with("//") {
            return comment(text.find('\n').unwrap_or(text.len()));
        }
        if text.starts_with("/*") {
            return comment(block_comment(text));
        }
        let hashes = text
            .strip_prefix('r')
            .map_or(0, |rest| rest.len() - rest.trim_start_matches('#').len());
        let open = 1 + hashes;
        if text.starts_with('r') && text.get(open..).is_some_and(|rest| rest.starts_with('"')) {
            let close = format!("\"{}", "#".repeat(hashes));
            let body = text.get(open + 1..).unwrap_or_default();
            let end = body.find(&close).unwrap_or(body.len());
            let len = (open + 1 + end + close.len()).min(text.len());
            return Self { len, is_comment: false, literal: body.get(..end) };
        }
        if let Some(body) = text.strip_prefix('"') {
            let end = closing(body, '"');
            return Self {
                len: (end + 2).min(text.len()),
                is_comment: false,
                literal: body.get(..end),
            };
        }
        // A character, and not a lifetime: 'x' or '\...'.
        let mut characters = text.chars();
        if characters.next() == Some('\'') {
            let (second, third) = (characters.next(), characters.next());
            if second == Some('\\') || third == Some('\'') {
                let body = text.get(1..).unwrap_or_default();
                let len = (closing(body, '\'') + 2).min(text.len());
                return Self { len, is_comment: true, literal: None };
            }
        }
        let len = text.chars().next().map_or(0, char::len_utf8);
        Self { len, is_comment: false, literal: None }
    }
}

/// Where a quoted text ends: at the first quote that no backslash precedes.
fn closing(body: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in body.char_indices() {
        if c == quote && !is_escaped {
            return at;
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    body.len()
}

/// The length of a block comment; they nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        match text.as_bytes().get(at..at + 2) {
            Some(b"/*") => depth += 1,
            Some(b"*/") if depth == 1 => return at + 2,
            Some(b"*/") => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Complaints {
        check(&[File { path: path.into(), text: text.into() }])
    }

    #[test]
    fn each_rule_can_fail_and_names_file_line_and_rule() {
        let todo = format!("\n// {}: more", UNFINISHED[0]);
        let skipped = format!("{SKIPPED_TEST}]");
        let path = format!("see `{}me/x`", MACHINE_PATHS[0]);
        let script = format!("#!/bin/sh\ncd {}x", MACHINE_PATHS[1]);
        for (file, text, expected) in [
            ("control/src/link/command.rs", "\nasync fn f() {}", ":2: this stage decides"),
            ("edge/src/request.rs", "async move {}", ":1: this stage decides"),
            ("control/src/link/api2.rs", "\n\n\"select a\n from b\";", ":3: SQL stands only"),
            (
                "control/src/link/store.rs", "\"delete from a where b < now()\"",
                ":1: time is passed",
            ),
            ("control/migrations/sqlite/1.sql", "a int default current_timestamp", ":1: time is"),
            ("edge/src/ship.rs", "r#\"INSERT INTO a\"#", ":1: SQL stands only"),
            ("control/src/link.rs", "use axum::http::StatusCode;", ":1: StatusCode stands only"),
            ("edge/src/lib.rs", "let a = std::env::var(\"A\");", ":1: the environment is read"),
            ("edge/src/lib.rs", "use std::{env, fs};\nenv::args();", ":2: the environment is read"),
            ("edge/src/lib.rs", &todo, ":2: unfinished work"),
            ("edge/src/tests.rs", &skipped, ":1: a test runs"),
            ("docs/a.md", &path, ":1: names a path"),
            ("deploy/run", &script, ":2: names a path"),
        ] {
            let complaints = found(file, text);
            assert_eq!(complaints.len(), 1, "{file} {text} {complaints:?}");
            assert!(complaints[0].starts_with(&format!("{file}{expected}")), "{complaints:?}");
        }
    }

    #[test]
    fn what_is_allowed_is_left_alone() {
        let path = format!("https://e.com{} $A{0} ~{0}", MACHINE_PATHS[1]);
        for (file, text) in [
            (
                "control/src/link/command.rs",
                "// async\n/* async /* */ async */ asynchronous(\"async\")",
            ),
            ("control/src/link/store.rs", "\"select a from b\""),
            ("control/src/link/store/search.rs", "\"select a from b\""),
            ("control/src/click/sqlite.rs", "\"select a from b\""),
            (
                "control/src/link.rs",
                "// \"select a from b\"\nf(\"select a domain\", '\"', \"\\\"\")",
            ),
            ("control/src/link.rs", "fn f() {}\n#[cfg(test)]\nmod tests { std::env::args(); }"),
            ("control/tests/it/main.rs", "std::env::var(\"A\"); \"delete from a\""),
            ("control/src/http/problem.rs", "StatusCode::OK"),
            ("control/src/link/api.rs", "StatusCode::OK"),
            ("edge/src/respond.rs", "StatusCode::OK"),
            ("edge/src/main.rs", "std::env::args()"),
            ("edge/src/lib.rs", "env!(\"CARGO\"); my_env::f()"),
            ("docs/a.md", &path),
            ("deploy/a.yaml", "TO\u{44}O"),
        ] {
            assert_eq!(found(file, text), [""; 0], "{file} {text}");
        }
    }

    #[test]
    fn rust_falls_into_code_and_literals() {
        let text =
            "a(\"x\\\"y\", 'b', '\\'', b\"z\"); // \"no\"\nr##\"p\"#q\"##\n'life: /* \"\n*/ \"e\"";
        let Halves { code, literals } = Halves::of(text);
        assert_eq!(code, "a(, , , b); \n\n'life: \n ");
        let literals: Vec<_> = literals.iter().map(|(line, text)| (*line, text.as_str())).collect();
        assert_eq!(literals, [(1, "x\\\"y"), (1, "z"), (2, "p\"#q"), (4, "e")]);
    }
}
