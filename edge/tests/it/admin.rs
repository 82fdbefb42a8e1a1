//! The operator's listener.

use std::collections::{BTreeMap, BTreeSet};

use crate::client::Client;
use crate::world::{World, route};

#[test]
fn health_and_what_is_not_there() {
    let world = World::new();
    let edge = world.start();
    let mut client = Client::connect(edge.admin_address());
    // No store and no origin is asked: a fleet must not go away with one of them.
    world.links.set_down(true);
    for (path, status, body) in [
        ("/livez", 200, "alive\n"),
        ("/readyz", 200, "ready\n"),
        ("/", 404, "here are /livez, /readyz and /metrics\n"),
        ("/abc", 404, "here are /livez, /readyz and /metrics\n"),
    ] {
        let reply = client.get(path);
        assert_eq!((reply.status, reply.body.as_str()), (status, body), "{path}");
    }
    client.ask(&["POST /livez HTTP/1.1", "Host: localhost"]);
    let reply = client.reply();
    assert_eq!((reply.status, reply.header("allow")), (405, Some("GET, HEAD")));

    let mut visitor = Client::connect(edge.address());
    for path in ["/livez", "/readyz", "/metrics"] {
        visitor.ask(&[&format!("GET {path} HTTP/1.1"), "Host: localhost"]);
        assert_eq!(visitor.reply().status, 503, "visitors have codes, whatever their name: {path}");
    }
}

#[test]
fn metrics_are_prometheus_text_and_name_nobody() {
    let world = World::new();
    world.links.put("Secret-Code", route(4_242_424_242, "https://target.test/secret"));
    let edge = world.start();
    let mut visitor = Client::connect(edge.address());
    visitor.ask(&[
        "GET /Secret-Code HTTP/1.1", "Host: go.example.com", "Referer: https://referrer.test/",
        "User-Agent: secret-agent",
    ]);
    assert_eq!(visitor.reply().status, 302);
    assert_eq!(visitor.get("/Unknown-Code").status, 404);
    world.store.wait_for(1);

    let page = Client::connect(edge.admin_address()).get("/metrics");
    assert_eq!(page.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let lower = page.body.to_ascii_lowercase();
    for private in [
        "secret", "unknown-code", "4242424242", "target.test", "referrer.test", "agent",
        "example.com", "127.0.0.1", "https:", "::1",
    ] {
        assert!(!lower.contains(private), "{private} is on the page");
    }
    let samples = parse(&page.body);
    for name in [
        "carom_edge_answers_total{status=\"redirect\"}", "carom_edge_clicks_recorded_total",
        "carom_edge_clicks_drained_total", "carom_edge_routes",
    ] {
        assert_eq!(samples.get(name), Some(&1.0), "{name}");
    }
}

/// Reads the text format, version 0.0.4, and fails on what is not. Samples by name and labels.
fn parse(page: &str) -> BTreeMap<&str, f64> {
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':'))
    };
    assert!(page.ends_with('\n'));
    let mut samples = BTreeMap::new();
    let mut families = BTreeSet::new();
    let mut family = "";
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').unwrap();
            assert!(is_name(name) && !text.is_empty(), "{line}");
            assert!(families.insert(name), "{name} is there twice");
            family = name;
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, family, "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(matches!(kind, "counter" | "gauge"), "{line}");
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = sample.split_once('{').unwrap_or((sample, "}"));
            assert_eq!(name, family, "{line}");
            let labels = labels.strip_suffix('}').unwrap();
            for label in labels.split(',').filter(|label| !label.is_empty()) {
                let (label, value) = label.split_once('=').unwrap();
                assert!(is_name(label) && value.len() > 2, "{line}");
                assert!(value.starts_with('"') && value.ends_with('"'), "{line}");
            }
            assert!(
                samples.insert(sample, value.parse().unwrap()).is_none(),
                "{line} is there twice"
            );
        }
    }
    samples
}
