//! What a visitor gets for a link, and what is recorded of it.

use std::time::Duration;

use carom_edge::Domains;
use carom_shared::click::{Kind, Via};
use carom_shared::{
    DomainId, Host, RedirectStatus, RouteRecord, RouteState, ServedDomain, TargetPolicy, TargetUrl,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::client::{Client, Reply};
use crate::world::{DOMAIN, NOW, Row, WORKSPACE, World, change, route};

/// The headers without those of the connection, sorted.
fn headers(reply: &Reply) -> Vec<(String, String)> {
    let mut headers: Vec<_> = reply
        .lines()
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .filter(|(name, _)| !matches!(name.as_str(), "date" | "content-length"))
        .collect();
    headers.sort();
    headers
}

fn expected(location: &str, cache_control: &str) -> Vec<(String, String)> {
    [
        ("cache-control", cache_control),
        ("location", location),
        ("referrer-policy", "strict-origin-when-cross-origin"),
        ("x-robots-tag", "noindex, nofollow"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

#[test]
fn a_redirect_has_these_headers_and_its_click_is_stored_once() {
    let world = World::with_link();
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    client.ask(&[
        "GET /abc?via=qr HTTP/1.1",
        "Host: GO.example.com:80",
        "Referer: https://News.Example.org/front?page=1",
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    ]);
    let reply = client.reply();
    assert_eq!(reply.status, 302);
    assert_eq!(headers(&reply), expected("https://example.com/", "private, no-store"));
    assert_eq!(reply.header("content-length"), Some("0"));

    let row = Row {
        link: 7,
        workspace: WORKSPACE,
        domain: DOMAIN,
        at_s: u32::try_from(NOW.as_secs()).unwrap(),
        n: 1,
        kind: Kind::Human,
        via: Via::Qr,
        status: 302,
        target_revision: 1,
        referrer: "news.example.org".to_owned(),
    };
    assert_eq!(world.store.wait_for(1), std::slice::from_ref(&row));
    let stopped = edge.stop();
    assert_eq!((stopped.clicks_recorded, stopped.batches_waiting), (1, 0));
    assert_eq!(world.store.rows(), [row]);
}

#[test]
fn head_is_answered_as_get_without_a_body_and_counted_apart() {
    let world = World::with_link();
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    let get = client.get("/abc");
    client.ask(&["HEAD /abc HTTP/1.1", "Host: go.example.com"]);
    let head = client.head_reply();
    assert_eq!(head.status, 302);
    assert_eq!(headers(&head), headers(&get));

    client.ask(&["HEAD /nothing HTTP/1.1", "Host: go.example.com"]);
    let head = client.head_reply();
    assert_eq!(head.status, 404);
    // A body would be taken for the beginning of this reply.
    let get = client.get("/nothing");
    assert_eq!((get.status, headers(&get)), (404, headers(&head)));

    let kinds: Vec<_> = world.store.wait_for(2).iter().map(|row| row.kind).collect();
    assert_eq!(kinds.iter().filter(|&&kind| kind == Kind::Head).count(), 1);
    assert_eq!(kinds.iter().filter(|&&kind| kind == Kind::Human).count(), 1);
}

#[test]
fn who_asks_is_recorded_by_kind() {
    let world = World::with_link();
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    for (link, (header, _)) in (1..).zip(KINDS) {
        let code = format!("kind{link}");
        world.links.put(&code, route(link, "https://example.com/"));
        client.ask(&[&format!("GET /{code} HTTP/1.1"), "Host: go.example.com", header]);
        assert_eq!(client.reply().status, 302);
    }
    let rows = world.store.wait_for(KINDS.len());
    for (link, (header, kind)) in (1..).zip(KINDS) {
        let row = rows.iter().find(|row| row.link == link).unwrap();
        assert_eq!((row.kind, row.referrer.as_str()), (kind, ""), "{header}");
    }

    const KINDS: [(&str, Kind); 6] = [
        ("User-Agent: Googlebot/2.1", Kind::Bot),
        ("User-Agent: WhatsApp/2.23", Kind::Preview),
        ("Sec-Purpose: prefetch", Kind::Prefetch),
        ("Accept: */*", Kind::Human),
        ("Referer: javascript://example.com/", Kind::Human),
        ("Referer: https://<script>.example.com/", Kind::Human),
    ];
}

#[test]
fn permanent_redirects_are_kept_for_minutes_and_never_beyond_the_links_end() {
    let world = World::new();
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    for (code, status, lives_s, cache_control) in [
        ("moved", RedirectStatus::MovedPermanently, None, "public, max-age=300"),
        ("permanent", RedirectStatus::PermanentRedirect, Some(40), "public, max-age=40"),
        ("temporary", RedirectStatus::TemporaryRedirect, Some(40), "private, no-store"),
    ] {
        let expires_at = lives_s.map(|s| NOW.saturating_add(Duration::from_secs(s)));
        world.links.put(code, RouteRecord { status, expires_at, ..route(1, "https://e.test/") });
        let reply = client.get(&format!("/{code}"));
        assert_eq!(reply.status, status.code());
        assert_eq!(headers(&reply), expected("https://e.test/", cache_control));
    }
    let mut statuses: Vec<_> = world.store.wait_for(3).iter().map(|row| row.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [301, 307, 308]);
}

#[test]
fn a_links_times_and_state_are_judged_at_each_hit() {
    let world = World::new();
    let at = |s| Some(NOW.saturating_add(Duration::from_secs(s)));
    world.links.put(
        "timed",
        RouteRecord { not_before: at(10), expires_at: at(20), ..route(1, "https://e.test/") },
    );
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(client.get("/timed").status);
        world.clock.advance(Duration::from_millis(9_999));
    }
    world.clock.set(at(20).unwrap());
    answers.push(client.get("/timed").status);
    assert_eq!(answers, [404, 404, 302, 410, 410]);

    for (version, state, status) in [
        (2, RouteState::Active, 410),
        (3, RouteState::Disabled, 410),
        (4, RouteState::Blocked, 451),
        (5, RouteState::Deleted, 410),
    ] {
        let expires_at = at(20);
        let record = RouteRecord { version, state, expires_at, ..route(1, "https://e.test/") };
        edge.feed().apply(change("timed", record));
        let reply = client.get("/timed");
        assert_eq!((reply.status, reply.header("location")), (status, None));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
    }
    let stopped = edge.stop();
    assert_eq!(stopped.clicks_recorded, 1, "an error page is no click");
}

/// Whatever a route holds, a response has one `Location` line with exactly that, or none.
#[test]
fn no_target_breaks_out_of_its_line() {
    let world = World::new();
    let edge = world.start();
    let target = prop_oneof![
        // What the control plane accepts.
        "https?://[a-z0-9.-]{1,20}/[ -~\u{80}-\u{2ff}\u{1f600}]{0,40}".prop_filter_map(
            "not a target",
            |text| {
                let target = TargetUrl::parse(&text, &TargetPolicy::default()).ok()?;
                Some(target.as_str().to_owned())
            }
        ),
        // What a damaged record might hold.
        "https://e\\.test/\\PC{0,20}(\r\n|\n|\r|\0|\t|\x7f| )?(Location: https://evil\\.test/)?",
    ];
    let number = std::cell::Cell::new(0);
    let mut runner = TestRunner::new(Config::with_cases(300));
    let result = runner.run(&target, |target| {
        number.set(number.get() + 1);
        let code = format!("t{}", number.get());
        world.links.put(&code, route(1, &target));
        let mut client = Client::connect(edge.address());
        let reply = client.get(&format!("/{code}"));
        let locations = reply.lines().filter(|(name, _)| name.eq_ignore_ascii_case("location"));
        let locations: Vec<_> = locations.map(|(_, value)| value).collect();
        match reply.status {
            302 => prop_assert_eq!(locations, [target]),
            503 => prop_assert!(locations.is_empty() && target.contains(char::is_control)),
            status => prop_assert!(false, "status {status}"),
        }
        Ok(())
    });
    result.unwrap();
}

#[test]
fn the_root_leads_to_the_domains_home_and_is_no_click() {
    let world = World::with_link();
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    assert_eq!(client.get("/").status, 404);
    let id = DomainId::try_from(DOMAIN).unwrap();
    edge.feed().set_domains(Domains::serving(&[ServedDomain {
        home: Some("https://example.com/welcome".to_owned()),
        ..ServedDomain::new(id, Host::parse("go.example.com").unwrap(), false)
    }]));
    let reply = client.get("/?via=qr");
    assert_eq!(reply.status, 302);
    let mut expected = expected("https://example.com/welcome", "private, no-store");
    expected.retain(|(name, _)| name != "x-robots-tag");
    assert_eq!(headers(&reply), expected);
    assert_eq!(edge.stop().clicks_recorded, 0);
}

#[test]
fn a_domain_says_where_those_go_whom_no_link_leads_on() {
    let world = World::with_link();
    for (code, state) in [("off", RouteState::Disabled), ("bad", RouteState::Blocked)] {
        world.links.put(code, RouteRecord { state, ..route(8, "https://example.com/") });
    }
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    let mut ask = |path: &str| {
        let reply = client.get(path);
        let to = reply.header("location").unwrap_or_default().to_owned();
        (reply.status, to, reply.header("cache-control").unwrap_or_default().to_owned())
    };
    assert_eq!([ask("/none").0, ask("/off").0, ask("/bad").0], [404, 410, 451]);
    let id = DomainId::try_from(DOMAIN).unwrap();
    edge.feed().set_domains(Domains::serving(&[ServedDomain {
        not_found: Some("https://example.com/404".to_owned()),
        expired: Some("https://example.com/over".to_owned()),
        ..ServedDomain::new(id, Host::parse("go.example.com").unwrap(), false)
    }]));
    for (path, status, to) in [
        ("/none", 302, "https://example.com/404"),
        ("/never/a/code", 302, "https://example.com/404"),
        ("/off", 302, "https://example.com/over"),
        ("/bad", 451, ""),
        ("/none+", 404, ""),
        ("/off+", 410, ""),
        // It has no home.
        ("/", 302, "https://example.com/404"),
    ] {
        let (found, location, cache) = ask(path);
        assert_eq!((found, location.as_str()), (status, to), "{path}");
        assert!(cache.contains("no-store"), "{path}: {cache}");
    }
    assert_eq!(ask("/abc").1, "https://example.com/");
    assert_eq!(edge.stop().clicks_recorded, 1);
}

#[test]
fn case_matters_unless_the_domain_says_otherwise() {
    let world = World::with_link();
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    assert_eq!([client.get("/abc").status, client.get("/ABC").status], [302, 404]);
    let id = DomainId::try_from(DOMAIN).unwrap();
    edge.feed().set_domains(Domains::serving(&[ServedDomain {
        folds_case: true,
        ..ServedDomain::new(id, Host::parse("go.example.com").unwrap(), false)
    }]));
    for path in ["/abc", "/ABC", "/aBc?x=1", "/Abc+"] {
        assert!(matches!(client.get(path).status, 200 | 302), "{path}");
    }
    // Also where the origin has to be asked.
    world.links.put("late", route(9, "https://example.com/late"));
    assert_eq!(client.get("/LATE").status, 302);
    // Misprints are one, however they are written.
    drop(edge.missing_codes().take());
    assert_eq!(["/Sale", "/SALE", "/sale+"].map(|path| client.get(path).status), [404; 3]);
    let missing = edge.missing_codes().take();
    assert_eq!(missing.len(), 1);
    assert_eq!((&*missing[0].code, missing[0].at_least), ("sale", 3));
}

#[test]
fn a_preview_says_where_to_report_the_link() {
    let world = World::with_link();
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    assert!(!client.get("/abc+").body.contains("report"));
    let id = DomainId::try_from(DOMAIN).unwrap();
    let host = Host::parse("go.example.com").unwrap();
    let domains = Domains::serving(&[ServedDomain::new(id, host, false)]);
    edge.feed().set_domains(domains.with_report_url(Some("https://carom.example/report")));
    let page = client.get("/abc+").body;
    assert!(
        page.contains("href=\"https://carom.example/report?url=go.example.com/abc\""),
        "{page}"
    );
}
