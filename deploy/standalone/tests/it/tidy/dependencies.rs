//! Rules over `cargo metadata`: boundaries between crates, licences, sources, how lean the edge is.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Complaints;

/// What a crate's normal dependencies never hold, however far down: docs/ARCHITECTURE.md.
const NEVER: &[(&str, &[&str])] = &[
    ("carom-shared", &["tokio", "hyper", "axum", "sqlx", "sqlx-core", "redis"]),
    ("carom-edge", &["axum", "sqlx", "sqlx-core", "askama", "carom-control"]),
    ("carom-control", &["carom-edge"]),
];

/// Each is enough by itself; .deny.toml has the same list.
const LICENCES: &[&str] = &[
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "ISC", "MIT", "Unicode-3.0",
    "Zlib",
];

/// Crates of the edge, itself counted: each is code that a redirect's program carries.
const EDGE_CRATES: usize = 160;

pub(super) fn check(metadata: &Value) -> Complaints {
    let graph = Graph::read(metadata);
    let mut complaints = graph.boundaries();
    complaints.extend(graph.licences());
    complaints.extend(graph.sources());
    complaints
}

struct Package<'a> {
    name: &'a str,
    licence: &'a str,
    /// Where it comes from; `None` for a path.
    source: Option<&'a str>,
    is_ours: bool,
    /// Ids of its normal dependencies: those of the built program, not of its build or its tests.
    needs: Vec<&'a str>,
}

struct Graph<'a>(BTreeMap<&'a str, Package<'a>>);

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

impl<'a> Graph<'a> {
    fn read(metadata: &'a Value) -> Self {
        let ours: BTreeSet<_> =
            list(metadata, "workspace_members").filter_map(Value::as_str).collect();
        let package = |package: &'a Value| {
            let id = text(package, "id");
            let (name, licence) = (text(package, "name"), text(package, "license"));
            let (source, is_ours) = (package["source"].as_str(), ours.contains(id));
            (id, Package { name, licence, source, is_ours, needs: Vec::new() })
        };
        let mut packages: BTreeMap<_, _> = list(metadata, "packages").map(package).collect();
        for node in list(&metadata["resolve"], "nodes") {
            let is_normal = |of: &&Value| list(of, "dep_kinds").any(|kind| kind["kind"].is_null());
            let needs = list(node, "deps").filter(is_normal).map(|of| text(of, "pkg")).collect();
            if let Some(package) = packages.get_mut(text(node, "id")) {
                package.needs = needs;
            }
        }
        Self(packages)
    }

    /// What a crate of ours is built from, itself included; `None` if there is no such crate.
    fn closure(&self, name: &str) -> Option<BTreeSet<&'a str>> {
        let (root, _) = self.0.iter().find(|(_, of)| of.is_ours && of.name == name)?;
        let (mut seen, mut open) = (BTreeSet::new(), vec![*root]);
        while let Some(id) = open.pop() {
            if seen.insert(id) {
                open.extend(&self.0[id].needs);
            }
        }
        Some(seen)
    }

    fn boundaries(&self) -> Complaints {
        let mut complaints = Vec::new();
        for (name, never) in NEVER {
            let Some(closure) = self.closure(name) else {
                complaints.push(format!("{name}: a crate with boundaries is missing"));
                continue;
            };
            for package in closure.into_iter().map(|id| &self.0[id]) {
                if never.contains(&package.name) {
                    complaints.push(format!("{name}: must never depend on {}", package.name));
                }
            }
        }
        complaints
    }

    fn licences(&self) -> Complaints {
        let refused = self.0.values().filter(|of| !is_allowed(of.licence));
        refused
            .map(|of| format!("{}: its licence, {:?}, is not on the list", of.name, of.licence))
            .collect()
    }

    fn sources(&self) -> Complaints {
        let is_known = |of: &&Package<'_>| match of.source {
            None => of.is_ours,
            Some(source) => source.starts_with("registry+"),
        };
        let unknown = self.0.values().filter(|of| !is_known(of));
        unknown
            .map(|of| format!("{}: comes from {:?}, not from a registry", of.name, of.source))
            .collect()
    }
}

/// Counts the crates of the edge's tree: a line each, once or more often. (The metadata have the
/// features of the whole workspace in one, and with them crates that are in no edge.)
pub(super) fn edge_is_lean(tree: &str) -> Complaints {
    within(tree, EDGE_CRATES)
}

fn within(tree: &str, limit: usize) -> Complaints {
    let crates: BTreeSet<_> = tree.lines().collect();
    let count = crates.len();
    let complaint = || format!("carom-edge: is built from {count} crates; the limit is {limit}");
    (count > limit).then(complaint).into_iter().collect()
}

/// Whether an SPDX expression can be met with the licences on the list. `/` is how old crates
/// write OR; an exception (WITH) only adds permissions.
fn is_allowed(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut tokens = spaced.split_whitespace().peekable();
    let allowed = any_of(&mut tokens);
    allowed && tokens.next().is_none()
}

type Tokens<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(tokens: &mut Tokens<'_>) -> bool {
    let mut allowed = all_of(tokens);
    while tokens.next_if_eq(&"OR").is_some() {
        allowed |= all_of(tokens);
    }
    allowed
}

fn all_of(tokens: &mut Tokens<'_>) -> bool {
    let mut allowed = one(tokens);
    while tokens.next_if_eq(&"AND").is_some() {
        allowed &= one(tokens);
    }
    allowed
}

fn one(tokens: &mut Tokens<'_>) -> bool {
    match tokens.next() {
        Some("(") => any_of(tokens) & tokens.next_if_eq(&")").is_some(),
        Some(licence) => {
            if tokens.next_if_eq(&"WITH").is_some() {
                tokens.next();
            }
            LICENCES.contains(&licence)
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Our three crates, each of `normal` a dependency of `of`, each of `dev` one of its tests.
    fn metadata(of: &str, normal: &[&str], dev: &[&str]) -> Value {
        let ours = ["carom-shared", "carom-edge", "carom-control"];
        let kind = |names: &[&str], kind: Value| -> Vec<Value> {
            let dep = |name: &&str| json!({ "pkg": name, "dep_kinds": [{ "kind": kind }] });
            names.iter().map(dep).collect()
        };
        let deps = [kind(normal, Value::Null), kind(dev, json!("dev"))].concat();
        let mut packages: Vec<_> =
            ours.iter().map(|name| json!({ "id": name, "name": name, "license": "MIT" })).collect();
        for name in normal.iter().chain(dev).filter(|name| !ours.contains(name)) {
            let source = "registry+https://registry.example";
            packages.push(json!({ "id": name, "name": name, "license": "MIT", "source": source }));
        }
        json!({
            "packages": packages,
            "workspace_members": ours,
            "resolve": { "nodes": [{ "id": of, "deps": deps }] },
        })
    }

    #[test]
    fn boundaries_are_those_of_normal_dependencies() {
        assert!(check(&metadata("carom-edge", &["carom-shared", "tokio"], &["axum"])).is_empty());
        for (of, on) in NEVER.iter().flat_map(|(of, never)| never.iter().map(move |on| (of, on))) {
            let expected = [format!("{of}: must never depend on {on}")];
            assert_eq!(check(&metadata(of, &["libc", on], &[])), expected);
        }
    }

    #[test]
    fn boundaries_reach_all_the_way_down() {
        let mut metadata = metadata("carom-edge", &["middle"], &["axum"]);
        let kinds = json!([{ "kind": "build" }, { "kind": null }]);
        let node = json!({ "id": "middle", "deps": [{ "pkg": "axum", "dep_kinds": kinds }] });
        metadata["resolve"]["nodes"].as_array_mut().unwrap().push(node);
        assert_eq!(check(&metadata), ["carom-edge: must never depend on axum"]);
    }

    #[test]
    fn a_missing_crate_is_no_kept_boundary() {
        let complaints = check(&json!({ "packages": [], "workspace_members": [] }));
        assert_eq!(complaints.len(), NEVER.len());
    }

    #[test]
    fn licences_are_judged_as_expressions() {
        for (expression, expected) in [
            ("MIT", true),
            ("GPL-3.0-only", false),
            ("GPL-3.0-only OR MIT", true),
            ("MIT/Apache-2.0", true),
            ("MIT AND GPL-3.0-only", false),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
            ("(MIT OR Apache-2.0) AND OpenSSL", false),
            ("MIT OR Apache-2.0 AND OpenSSL", true),
            ("GPL-2.0-only WITH Classpath-exception-2.0", false),
            ("Apache-2.0 WITH LLVM-exception OR OpenSSL", true),
            ("", false),
            ("MIT MIT", false),
            ("(MIT", false),
        ] {
            assert_eq!(is_allowed(expression), expected, "{expression}");
        }
        let mut metadata = metadata("carom-edge", &["libc"], &[]);
        metadata["packages"][3]["license"] = Value::Null;
        assert_eq!(check(&metadata), ["libc: its licence, \"\", is not on the list"]);
    }

    #[test]
    fn git_and_foreign_paths_are_refused() {
        for (source, shown) in [
            (Value::Null, "None"),
            (json!("git+https://git.example/libc"), "Some(\"git+https://git.example/libc\")"),
        ] {
            let mut metadata = metadata("carom-edge", &["libc"], &[]);
            metadata["packages"][3]["source"] = source;
            let expected = [format!("libc: comes from {shown}, not from a registry")];
            assert_eq!(check(&metadata), expected);
        }
    }

    #[test]
    fn the_edge_has_a_limit() {
        let tree = "carom-edge v1.0.0\na v1.0.0\nb v1.0.0\na v1.0.0\n";
        assert!(within(tree, 3).is_empty());
        let expected = ["carom-edge: is built from 3 crates; the limit is 2"];
        assert_eq!(within(tree, 2), expected);
    }
}
