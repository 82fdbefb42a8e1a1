//! What an edge answers for any link at any time to any request, against a plain model of it.

use std::cell::RefCell;
use std::time::Duration;

use carom_shared::{
    Forward, ParameterNames, QueryPolicy, RedirectStatus, RouteRecord, RouteState, UnixMillis,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::client::Client;
use crate::world::{NOW, World, route};

/// A link as a person would describe it; times in milliseconds from now.
#[derive(Clone, Debug)]
struct Link {
    exists: bool,
    state: RouteState,
    status: RedirectStatus,
    begins: Option<i64>,
    ends: Option<i64>,
    target: &'static str,
    fallback: Option<&'static str>,
    forward: &'static [&'static str],
    visitor_wins: bool,
    max_age_s: u16,
}

/// A request; `{}` in the path is the link's code.
#[derive(Clone, Debug)]
struct Ask {
    method: &'static str,
    host: &'static str,
    path: &'static str,
    query: Option<Vec<&'static str>>,
    json: bool,
}

/// What can be said of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    status: u16,
    location: Option<String>,
    cache_control: String,
    content_type: Option<&'static str>,
    /// Status and target revision of the click.
    click: Option<(u16, u32)>,
}

const HTML: &str = "text/html; charset=utf-8";
const ALL: &[&str] = &["*"];

fn links() -> impl Strategy<Value = Link> {
    use RedirectStatus::{Found, MovedPermanently, PermanentRedirect, TemporaryRedirect};
    use RouteState::{Active, Blocked, Deleted, Disabled};
    let time = || {
        prop_oneof![
            3 => Just(None),
            2 => (-3..=3_i64).prop_map(Some),
            2 => (-1_000_000..1_000_000_i64).prop_map(Some),
        ]
    };
    (
        prop::bool::weighted(0.9),
        prop_oneof![6 => Just(Active), 1 => Just(Disabled), 1 => Just(Deleted), 1 => Just(Blocked)],
        prop::sample::select(vec![Found, TemporaryRedirect, MovedPermanently, PermanentRedirect]),
        (time(), time()),
        prop::sample::select(vec!["https://e.test/", "https://e.test/p?a=1&b=2&a=3#f"]),
        prop::sample::select(vec![None, Some("https://over.test/?a=9")]),
        prop::sample::select(vec![&[][..], ALL, &["a", "c"][..]]),
        any::<bool>(),
        prop_oneof![Just(0), Just(300), 0..=300_u16],
    )
        .prop_map(|(exists, state, status, (begins, ends), target, fallback, forward, wins, age)| {
            let (visitor_wins, max_age_s) = (wins, age);
            #[rustfmt::skip]
            let link = Link {
                exists, state, status, begins, ends, target, fallback, forward, visitor_wins, max_age_s,
            };
            link
        })
}

fn asks() -> impl Strategy<Value = Ask> {
    let parameter = prop::sample::select(vec!["a=7", "a", "b=8", "c=9", "d", "via=qr", "via"]);
    (
        prop_oneof![5 => Just("GET"), 2 => Just("HEAD"), 1 => Just("POST")],
        prop_oneof![8 => Just("go.example.com"), 1 => Just("localhost"), 1 => Just("evil.test")],
        prop_oneof![
            6 => Just("/{}"), 3 => Just("/{}+"), 1 => Just("/"), 1 => Just("/{}/"),
            1 => Just("/{}++"), 1 => Just("/robots.txt"), 1 => Just("/favicon.ico"),
        ],
        prop::option::of(prop::collection::vec(parameter, 0..5)),
        any::<bool>(),
    )
        .prop_map(|(method, host, path, query, json)| Ask { method, host, path, query, json })
}

fn model(link: &Link, ask: &Ask) -> Told {
    let error = |status| Told {
        status,
        location: None,
        cache_control: "no-store".to_owned(),
        content_type: Some(if ask.json { "application/problem+json" } else { HTML }),
        click: None,
    };
    let page = |status, cache: &str, content_type| Told {
        cache_control: cache.to_owned(),
        content_type,
        ..error(status)
    };
    if ask.method == "POST" {
        return error(405);
    }
    if ask.host == "evil.test" {
        return error(421);
    }
    match ask.path {
        "/robots.txt" => {
            return page(200, "public, max-age=86400", Some("text/plain; charset=utf-8"));
        }
        "/favicon.ico" => return page(204, "public, max-age=604800", None),
        "/{}" | "/{}+" if ask.host == "go.example.com" && link.exists => {}
        _ => return error(404),
    }
    let has_ended = link.ends.is_some_and(|ends| ends <= 0);
    match link.state {
        RouteState::Blocked => return error(451),
        RouteState::Deleted | RouteState::Disabled => return error(410),
        RouteState::Active if has_ended && link.fallback.is_none() => return error(410),
        RouteState::Active if !has_ended && link.begins.is_some_and(|begins| begins > 0) => {
            return error(404);
        }
        RouteState::Active => {}
    }
    if ask.path == "/{}+" {
        return page(200, "no-store", Some(if ask.json { "application/json" } else { HTML }));
    }
    let to = |status: RedirectStatus, location, revision| Told {
        status: status.code(),
        location: Some(location),
        cache_control: "private, no-store".to_owned(),
        content_type: None,
        click: Some((status.code(), revision)),
    };
    if let Some(fallback) = link.fallback.filter(|_| has_ended) {
        return to(RedirectStatus::Found, fallback.to_owned(), 0);
    }
    let mut told = to(link.status, location(link, ask), 4);
    let keeps = link.ends.map_or(u64::MAX, |ends| ends.unsigned_abs() / 1000);
    let keeps = keeps.min(link.max_age_s.into());
    if [301, 308].contains(&told.status) && keeps > 0 {
        told.cache_control = format!("public, max-age={keeps}");
    }
    told
}

/// The parameters here need no encoding, so texts are enough.
fn location(link: &Link, ask: &Ask) -> String {
    let name = |pair: &str| pair.split('=').next().unwrap().to_owned();
    let (rest, fragment) = link.target.split_once('#').unwrap_or((link.target, ""));
    let (base, own) = rest.split_once('?').unwrap_or((rest, ""));
    let own: Vec<&str> = own.split('&').filter(|pair| !pair.is_empty()).collect();
    let mut theirs = ask.query.clone().unwrap_or_default();
    theirs.retain(|pair| link.forward == ALL || link.forward.contains(&&*name(pair)));
    theirs.retain(|pair| name(pair) != "via");

    let both = |pair: &&str| {
        let is = |other: &&str| name(other) == name(pair);
        own.iter().any(is) && theirs.iter().any(is)
    };
    let ours = own.iter().filter(|pair| !(link.visitor_wins && both(pair)));
    let theirs = theirs.iter().filter(|pair| link.visitor_wins || !both(pair));
    let query: Vec<&str> = ours.chain(theirs).copied().collect();
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    let fragment = if fragment.is_empty() { String::new() } else { format!("#{fragment}") };
    format!("{base}{query}{fragment}")
}

fn record(number: i64, link: &Link, now: UnixMillis) -> RouteRecord {
    let at = |ms: i64| UnixMillis::new(now.get() + ms);
    let forward = match link.forward {
        [] => Forward::None,
        ["*"] => Forward::All,
        names => Forward::Only(ParameterNames::new(names.iter().copied()).unwrap()),
    };
    RouteRecord {
        state: link.state,
        status: link.status,
        target_revision: 4,
        not_before: link.begins.map(at),
        expires_at: link.ends.map(at),
        fallback: link.fallback.map(Into::into),
        query: QueryPolicy { forward, visitor_wins: link.visitor_wins },
        max_age_s: link.max_age_s,
        ..route(number, link.target)
    }
}

/// Asks the edge; the click is left to the store to tell.
fn told(client: &mut Client, code: &str, ask: &Ask) -> Told {
    let query = ask.query.as_ref().map(|query| format!("?{}", query.join("&")));
    let path = ask.path.replace("{}", code) + &query.unwrap_or_default();
    client.ask(&[
        &format!("{} {path} HTTP/1.1", ask.method),
        &format!("Host: {}", ask.host),
        if ask.json { "Accept: application/json" } else { "Accept: */*" },
    ]);
    let reply = if ask.method == "HEAD" { client.head_reply() } else { client.reply() };
    let content_type = reply.header("content-type").map(str::to_owned);
    Told {
        status: reply.status,
        location: reply.header("location").map(str::to_owned),
        cache_control: reply.header("cache-control").unwrap_or_default().to_owned(),
        content_type: content_type.map(|text| &*text.leak()),
        click: None,
    }
}

#[test]
fn any_link_at_any_time_answers_any_request_as_the_model_says() {
    let world = World::new();
    let edge = world.start();
    let client = RefCell::new(Client::connect(edge.address()));
    let clicks = RefCell::new(Vec::new());
    let number = RefCell::new(0_i64);
    let mut runner = TestRunner::new(Config::with_cases(2000));
    let result = runner.run(&(links(), asks()), |(link, ask)| {
        *number.borrow_mut() += 1;
        let number = *number.borrow();
        let code = format!("c{number}");
        let now = NOW.saturating_add(Duration::from_millis(number.unsigned_abs()));
        world.clock.set(now);
        if link.exists {
            world.links.put(&code, record(number, &link, now));
        }
        let expected = model(&link, &ask);
        clicks.borrow_mut().extend(expected.click.map(|(status, rev)| (number, status, rev)));
        let told = told(&mut client.borrow_mut(), &code, &ask);
        prop_assert_eq!(told, Told { click: None, ..expected });
        Ok(())
    });
    result.unwrap();
    drop(client);
    edge.stop();
    let rows = world.store.rows();
    assert!(rows.iter().all(|row| row.n == 1));
    let mut stored: Vec<_> =
        rows.iter().map(|row| (row.link, row.status, row.target_revision)).collect();
    stored.sort_unstable();
    assert_eq!(stored, clicks.into_inner());
}
