//! The guide to the API is true: each of its commands is run, and prints what it says; and it
//! leaves nothing out that a table of it promises.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::console::{Console, steps};
use crate::support::{Server, exchange};

fn repository(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn the_guide_to_the_api_is_true() {
    let steps = steps(&repository("docs/api.md"));
    assert!(steps.len() >= 30, "the guide shows too little: {} steps", steps.len());
    let server = Server::start();
    let mut console = Console::new(server.dir.path(), server.ports);
    for step in &steps {
        console.run(step);
    }
}

/// Every problem document names one of these; a client's author looks them up here.
#[test]
fn the_guide_has_every_kind_of_problem_with_its_status() {
    let source = repository("control/src/http/problem.rs");
    let (_, kinds) = source.split_once("\nkinds! {\n").unwrap();
    let (kinds, _) = kinds.split_once("\n}\n").unwrap();
    let kinds = kinds.lines().filter_map(|line| line.split_once(" = \"")?.1.split_once('"'));
    let kinds: BTreeSet<&str> = kinds.map(|(code, _)| code).collect();
    assert!(kinds.len() > 10 && kinds.contains("validation"), "{kinds:?}");

    let guide = repository("docs/api.md");
    let errors = guide.split("\n## ").find(|section| section.starts_with("Errors")).unwrap();
    let rows = errors.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let rows: BTreeMap<&str, &str> = rows.collect();
    assert_eq!(rows.keys().copied().collect::<BTreeSet<_>>(), kinds);
    let server = Server::start();
    for (code, rest) in rows {
        let head = format!("GET /problems/{code} HTTP/1.1\r\n");
        let answer = exchange(server.ports.control, &head, "");
        let (status, _) = rest.split_once(" | ").unwrap();
        assert!(answer.contains(&format!(" ({status} ")), "{code} {rest}\n{answer}");
    }
}

/// Who reads the guide meets every call.
#[test]
fn the_guide_names_every_call() {
    let document: Value = serde_json::from_str(&repository("docs/openapi.json")).unwrap();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let call = format!("`{} {path}`", method.to_uppercase());
            assert!(repository("docs/api.md").contains(&call), "docs/api.md: {call}");
        }
    }
}
