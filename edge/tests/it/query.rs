//! What of a visitor's query reaches the target, and that nothing of it reaches anything else.

use carom_shared::{Forward, ParameterNames, QueryPolicy, RedirectStatus, RouteRecord};

use crate::client::Client;
use crate::world::{NOW, World, route};

fn forwarding(forward: Forward, target: &str) -> RouteRecord {
    RouteRecord { query: QueryPolicy { forward, visitor_wins: false }, ..route(1, target) }
}

#[test]
fn a_link_passes_on_what_its_policy_names_and_records_what_is_its_own() {
    let world = World::new();
    let target = "https://e.test/p?id=1#top";
    let only = ParameterNames::new(["utm_source", "ref"]).unwrap();
    world.links.put("none", route(1, target));
    world.links.put("all", forwarding(Forward::All, target));
    world.links.put("some", forwarding(Forward::Only(only), target));
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    for (path, location) in [
        ("/none?utm_source=mail&id=2", target),
        ("/all", target),
        ("/all?via=qr", target),
        ("/all?utm_source=mail&via=qr&id=2&x", "https://e.test/p?id=1&utm_source=mail&x#top"),
        ("/some?utm_source=mail&via=qr&id=2&x", "https://e.test/p?id=1&utm_source=mail#top"),
    ] {
        let reply = client.get(path);
        assert_eq!((reply.status, reply.header("location")), (302, Some(location)), "{path}");
    }
    let vias = world.store.wait_for(5).iter().filter(|row| row.via.as_str() == "qr").count();
    assert_eq!(vias, 3);
}

/// A header ends at a line's end; a URL's host ends at its path. No query gets past either.
#[test]
fn no_query_breaks_out_of_its_line_or_changes_where_it_leads() {
    let world = World::new();
    let target = "https://e.test/p?id=1#top";
    world.links.put("abc", forwarding(Forward::All, target));
    let edge = world.start();
    for query in [
        "x=%0d%0aSet-Cookie:%20a=b", "%0D%0A%0D%0A<html>", "x=\r\nSet-Cookie: a=b",
        "x=\nSet-Cookie: a=b", "x=\rSet-Cookie: a=b", "x=\u{85}Set-Cookie: a=b", "x=\0", "x=\t",
        "x=\u{b}\u{c}\u{7f}", "x=\u{560d}\u{560a}Set-Cookie:a=b", "x=\u{2028}", "x=\"'<>`{|}\\^",
        "@evil.test/", "//evil.test", "x#@evil.test", "?#&=", "\\\\evil.test", "x=%", "%%%0", "é",
        "x= y", "x=\"><script>alert(1)</script>",
    ] {
        let mut client = Client::connect(edge.address());
        client.send(format!("GET /abc?{query} HTTP/1.1\r\nHost: go.example.com\r\n\r\n"));
        let reply = client.reply();
        let names: Vec<_> = reply.lines().map(|(name, _)| name.to_ascii_lowercase()).collect();
        assert!(!names.iter().any(|name| name == "set-cookie"), "{query:?}: {}", reply.head);
        match reply.status {
            302 => {
                let location = reply.header("location").unwrap();
                assert!(location.bytes().all(|b| b.is_ascii_graphic()), "{query:?}: {location}");
                assert!(!location.contains(['"', '\'', '<', '>']), "{query:?}: {location}");
                let passed = location.strip_prefix("https://e.test/p?id=1").unwrap();
                let passed = passed.strip_suffix("#top").unwrap();
                assert!(!passed.contains('#'), "{query:?}: {location}");
                assert!(names.iter().all(|name| HEADERS.contains(&&**name)), "{}", reply.head);
            }
            // hyper refuses it as no request.
            status => assert_eq!(status, 400, "{query:?}"),
        }
    }

    const HEADERS: [&str; 6] =
        ["location", "cache-control", "referrer-policy", "x-robots-tag", "content-length", "date"];
}

#[test]
fn too_long_a_query_is_left_behind() {
    let world = World::new();
    world.links.put("abc", forwarding(Forward::All, "https://e.test/"));
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    for (len, is_passed_on) in [(8192 - 16, true), (8192 - 15, false), (12_000, false)] {
        let query = "x".repeat(len);
        let reply = client.get(&format!("/abc?{query}"));
        let expected = format!("https://e.test/?{query}");
        let expected = if is_passed_on { &*expected } else { "https://e.test/" };
        assert_eq!(reply.header("location"), Some(expected), "{len}");
    }
}

#[test]
fn an_ended_link_leads_to_its_fallback_and_that_is_a_click() {
    let world = World::new();
    let record = RouteRecord {
        status: RedirectStatus::PermanentRedirect,
        expires_at: Some(NOW),
        fallback: Some("https://over.test/".into()),
        ..forwarding(Forward::All, "https://e.test/")
    };
    world.links.put("over", record);
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    let reply = client.get("/over?a=1&via=qr");
    assert_eq!((reply.status, reply.header("location")), (302, Some("https://over.test/")));
    assert_eq!(reply.header("cache-control"), Some("private, no-store"));
    let rows = world.store.wait_for(1);
    assert_eq!((rows[0].status, rows[0].target_revision, rows[0].via.as_str()), (302, 0, "qr"));
}
