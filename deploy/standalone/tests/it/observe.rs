//! Alerts, dashboard and runbooks: what they name exists. A metric that is renamed would leave an
//! alert that never fires, and nobody would notice.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Server, exchange, stdout};

const RULES: &str = "deploy/prometheus/rules.yaml";
const DASHBOARD: &str = "deploy/grafana/carom.json";
const RUNBOOKS: &str = "docs/runbooks";
/// The parts of a runbook, in their order.
const PARTS: [&str; 5] = [
    "## What it means", "## What visitors notice", "## How to look", "## What to do",
    "## When it is over",
];

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Names of samples, and of each the labels with their values.
type Scrape = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// Both listeners of an installation that has made a link, answered a visitor and made a backup.
fn scrape() -> Scrape {
    let server = Server::start();
    let key = server.key();
    let link = server.shorten(&key, "https://www.example.com/");
    server.follow(link["code"].as_str().unwrap());
    let backups = server.dir.path().join("backups");
    fs::create_dir(&backups).unwrap();
    stdout(&server.carom(&["backup", "--to", backups.to_str().unwrap()]));
    let mut scrape = Scrape::new();
    for port in [server.ports.edge_admin, server.ports.control_admin] {
        let answer = exchange(port, "GET /metrics HTTP/1.1\r\n", "");
        let (_, text) = answer.split_once("\r\n\r\n").unwrap();
        for line in text.lines().filter(|line| line.starts_with("carom_")) {
            let (name, labels) = selector(line);
            let known = scrape.entry(name.to_owned()).or_default();
            for Matcher { label, value, .. } in labels {
                known.entry(label).or_default().insert(value);
            }
        }
    }
    scrape
}

/// One condition of a selector, such as `status="503"`.
#[derive(Debug, PartialEq, Eq)]
struct Matcher {
    label: String,
    operator: &'static str,
    value: String,
}

/// The name and the labels that a text begins with: of a sample, or of a selector in a query.
fn selector(text: &str) -> (&str, Vec<Matcher>) {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let Some(labels) = rest.strip_prefix('{') else { return (name, Vec::new()) };
    // A route in a label's value has braces too.
    let is_end = |&(at, _): &(usize, &str)| labels.split_at(at).0.trim_end().ends_with('"');
    let end = labels.match_indices('}').find(is_end).map(|(at, _)| at);
    let (labels, _) = labels.split_at(end.expect("a list of labels has an end"));
    // A quote in JSON has a backslash before it.
    let labels = labels.replace('\\', "");
    let matchers = labels.split("\",").filter(|label| !label.trim().is_empty());
    let matchers = matchers.map(|matcher| {
        let (left, value) = matcher.split_once('"').expect("a label has a value in quotes");
        let operators = ["=~", "!~", "!=", "="];
        let operator = operators.into_iter().find(|operator| left.ends_with(operator));
        let operator = operator.expect("a label and its value have an operator between them");
        Matcher {
            label: left.trim_end_matches(operator).trim().to_owned(),
            operator,
            value: value.trim_end_matches('"').to_owned(),
        }
    });
    (name, matchers.collect())
}

/// Where a text begins to name a metric of Carom.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices("carom_")
        .map(|(at, _)| text.split_at(at))
        .filter(move |(before, _)| !before.chars().next_back().is_some_and(is_part))
        .map(|(_, name)| name)
}

/// Every metric of Carom that a text names, with the conditions behind it.
fn named(text: &str) -> Vec<(&str, Vec<Matcher>)> {
    names(text).map(selector).collect()
}

/// What a guide for people searches for: `carom_a_(b|c)_total` is two.
fn searched(text: &str) -> Vec<String> {
    let expand = |text: &str| {
        let (head, _) = selector(text);
        let (_, rest) = text.split_at(head.len());
        let choices = rest.strip_prefix('(').and_then(|rest| rest.split_once(')'));
        let (choices, rest) = choices.unwrap_or_default();
        let (tail, _) = selector(rest);
        choices.split('|').map(|choice| format!("{head}{choice}{tail}")).collect::<Vec<_>>()
    };
    names(text).flat_map(expand).collect()
}

/// What queries ask for that is not in the scrape.
fn strangers(text: &str, scrape: &Scrape) -> Vec<String> {
    let unknown = named(text).into_iter().filter(|(name, _)| !scrape.contains_key(*name));
    let unknown = unknown.map(|(name, _)| format!("there is no metric {name}"));
    unknown.chain(strange_labels(text, scrape)).collect()
}

/// The same of a guide, in which the beginning of a name stands for all that begin so.
fn strangers_of_guide(text: &str, scrape: &Scrape) -> Vec<String> {
    let is_known = |name: &String| scrape.keys().any(|known| known.starts_with(name));
    let unknown = searched(text).into_iter().filter(|name| !is_known(name));
    let unknown = unknown.map(|name| format!("no metric begins with {name}"));
    unknown.chain(strange_labels(text, scrape)).collect()
}

/// Conditions on labels that no sample has. A pattern may match nothing yet; its label exists.
fn strange_labels(text: &str, scrape: &Scrape) -> Vec<String> {
    let mut found = Vec::new();
    for (name, matchers) in named(text) {
        let Some(labels) = scrape.get(name) else { continue };
        for Matcher { label, operator, value } in matchers {
            // Prometheus adds this one, and a dashboard's variable stands for many values.
            if label == "instance" || value.starts_with('$') {
                continue;
            }
            match labels.get(&label) {
                None => found.push(format!("{name} has no label {label}")),
                Some(values) if operator == "=" && !values.contains(&value) => {
                    found.push(format!("{name} has no {label}=\"{value}\", only {values:?}"));
                }
                Some(_) => {}
            }
        }
    }
    found
}

#[test]
fn each_metric_of_rules_dashboard_and_guides_is_in_a_scrape() {
    let scrape = scrape();
    for file in [RULES, DASHBOARD] {
        assert_eq!(strangers(&read(file), &scrape), [""; 0], "{file}");
    }
    let mut guides = vec!["docs/SCALING.md".to_owned()];
    guides.extend(runbooks().into_iter().map(|name| format!("{RUNBOOKS}/{name}.md")));
    for file in guides {
        assert_eq!(strangers_of_guide(&read(&file), &scrape), [""; 0], "{file}");
    }
    // An alert on a family is on its samples: a histogram's own name is in no sample.
    assert!(scrape.contains_key("carom_control_request_duration_seconds_bucket"));
    assert!(named(&read(RULES)).len() > 20 && named(&read(DASHBOARD)).len() > 20);
}

/// The alerts with the text of each, from its name to the next.
fn alerts(rules: &str) -> BTreeMap<String, String> {
    let mut alerts = BTreeMap::new();
    for alert in rules.split("- alert: ").skip(1) {
        let (name, text) = alert.split_once('\n').expect("a rule has more than a name");
        let before = alerts.insert(name.to_owned(), text.to_owned());
        assert!(before.is_none(), "two alerts are named {name}");
    }
    alerts
}

/// Names of the runbooks; the one that explains the others is none.
fn runbooks() -> BTreeSet<String> {
    let files = fs::read_dir(repository(RUNBOOKS)).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let names = names.filter(|name| name != "README.md");
    names.map(|name| name.strip_suffix(".md").expect("a runbook ends in .md").to_owned()).collect()
}

#[test]
fn each_alert_has_a_runbook_and_each_runbook_an_alert() {
    let alerts = alerts(&read(RULES));
    assert!(alerts.len() > 20, "{alerts:?}");
    assert_eq!(alerts.keys().cloned().collect::<BTreeSet<_>>(), runbooks());
    let index = read(&format!("{RUNBOOKS}/README.md"));
    for (name, alert) in &alerts {
        let path = format!("runbook: {RUNBOOKS}/{name}.md\n");
        assert!(alert.contains(&path), "{name} has to say {path}");
        for annotation in ["summary: ", "impact: ", "severity: "] {
            assert!(alert.contains(annotation), "{name} has no {annotation}");
        }
        assert!(index.contains(&format!("[{name}]({name}.md)")), "{name} is not in the index");
        check_runbook(name, &read(&format!("{RUNBOOKS}/{name}.md")));
    }
}

/// A runbook has its title and all parts, in order, and each says something.
fn check_runbook(name: &str, text: &str) {
    let mut rest = text.strip_prefix(&format!("# {name}\n")).unwrap_or_else(|| panic!("{name}"));
    for part in PARTS {
        let found = rest.split_once(&format!("\n{part}\n"));
        let (before, after) = found.unwrap_or_else(|| panic!("{name} lacks {part}, in this order"));
        assert!(!before.trim().is_empty() || part == PARTS[0], "{name}: nothing before {part}");
        rest = after;
    }
    assert!(!rest.trim().is_empty(), "{name}: its last part is empty");
}

#[test]
fn the_dashboard_can_be_read_and_each_panel_asks_something() {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "an id stands twice: {panel}");
        if panel["type"] == "row" {
            continue;
        }
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{}", panel["title"]);
        for target in targets {
            let query = target["expr"].as_str().unwrap();
            assert!(!named(query).is_empty(), "{}: {query}", panel["title"]);
        }
        assert!(!panel["description"].as_str().unwrap().is_empty(), "{}", panel["title"]);
    }
}

#[test]
fn what_does_not_exist_is_found() {
    let mut scrape = Scrape::new();
    let labels = [("status".to_owned(), ["503".to_owned()].into())];
    scrape.insert("carom_a_total".to_owned(), labels.into());
    let known = r#"sum by (instance) (rate(carom_a_total{status="503",instance="a"}[5m])) > 0"#;
    assert_eq!(strangers(known, &scrape), [""; 0]);
    assert_eq!(strangers(r#"carom_a_total{status=~"5.."} my_carom_b"#, &scrape), [""; 0]);
    for (text, expected) in [
        ("rate(carom_b_total[5m])", "there is no metric carom_b_total"),
        (r#"carom_a_total{state="503"}"#, "carom_a_total has no label state"),
        (r#"carom_a_total{ status="504" }"#, "carom_a_total has no status=\"504\""),
        (r#"carom_a_total{status=\"504\"}"#, "carom_a_total has no status=\"504\""),
    ] {
        let found = strangers(text, &scrape);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{text}: {found:?}");
    }
    let guide = "grep -E 'carom_(a|b)_total' carom_a carom_c";
    let expected = ["no metric begins with carom_b_total", "no metric begins with carom_c"];
    assert_eq!(strangers_of_guide(guide, &scrape), expected);
}
