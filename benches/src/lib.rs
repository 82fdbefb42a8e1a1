//! What the benchmarks measure with: links, visitors and clicks as they are in the field.
//!
//! Everything is made from numbers, so two runs measure the same.

use std::net::{IpAddr, Ipv4Addr};

use carom_edge::Domains;
use carom_shared::click::Via;
use carom_shared::{
    DomainId, Host, LinkId, QueryPolicy, RawClick, RedirectStatus, RouteRecord, RouteState,
    UnixMillis, WorkspaceId,
};
use http::Request;

/// 2026-01-01T00:00:00Z
pub const NOW: UnixMillis = UnixMillis::new(1_767_225_600_000);

const USER_AGENT: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like \
                          Gecko) Chrome/143.0.0.0 Safari/537.36";
const REFERRER: &str = "https://news.example.org/item?id=46480000";
const LANGUAGE: &str = "en-GB,en;q=0.9,de;q=0.8";

/// Pages that visitors come from; the empty one is no referrer.
const REFERRER_HOSTS: [&str; 8] = [
    "", "", "", "news.example.org", "search.example.com", "t.example", "mail.example.com",
    "forum.example.net",
];

#[must_use]
pub fn domain() -> DomainId {
    DomainId::try_from(2).expect("a positive id")
}

#[must_use]
pub fn workspace() -> WorkspaceId {
    WorkspaceId::try_from(5).expect("a positive id")
}

/// The link of a number from 0.
#[must_use]
pub fn link(number: u32) -> LinkId {
    LinkId::try_from(i64::from(number) + 1).expect("a positive id")
}

/// The hosts of a small installation.
#[must_use]
pub fn domains() -> Domains {
    let host = |name| Host::parse(name).expect("a host");
    let default = DomainId::try_from(1).expect("a positive id");
    Domains::new(&[
        (default, host("s.example.org"), true),
        (domain(), host("go.example.com"), false),
    ])
}

/// A link's route, to a target of 60 bytes.
#[must_use]
pub fn record(number: u32) -> RouteRecord {
    RouteRecord {
        version: 1,
        state: RouteState::Active,
        link: link(number),
        workspace: workspace(),
        status: RedirectStatus::Found,
        target_revision: 1,
        not_before: None,
        expires_at: None,
        target: format!("https://www.example.com/articles/2026/{number:010}/index.html").into(),
        fallback: None,
        query: QueryPolicy::default(),
        max_age_s: RouteRecord::MAX_AGE_MAX_S,
    }
}

/// A request with the headers that a browser sends.
#[must_use]
pub fn request(path: &str) -> Request<()> {
    Request::get(path)
        .header("host", "go.example.com")
        .header("connection", "keep-alive")
        .header("sec-ch-ua", "\"Chromium\";v=\"143\", \"Not A(Brand\";v=\"24\"")
        .header("sec-ch-ua-mobile", "?0")
        .header("sec-ch-ua-platform", "\"Windows\"")
        .header("upgrade-insecure-requests", "1")
        .header("user-agent", USER_AGENT)
        .header("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
        .header("sec-fetch-site", "cross-site")
        .header("sec-fetch-mode", "navigate")
        .header("sec-fetch-user", "?1")
        .header("sec-fetch-dest", "document")
        .header("referer", REFERRER)
        .header("accept-encoding", "gzip, deflate, br, zstd")
        .header("accept-language", LANGUAGE)
        .body(())
        .expect("a request")
}

/// What the edge saw of that request.
#[must_use]
pub fn raw_click() -> RawClick<'static> {
    RawClick {
        at_ms: NOW.get(),
        link: link(0),
        workspace: workspace(),
        domain: domain(),
        address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
        target_revision: 1,
        status: 302,
        variant: 0,
        via: Via::Link,
        head: false,
        prefetch: false,
        do_not_track: false,
        global_privacy_control: false,
        user_agent: USER_AGENT.as_bytes(),
        referrer: REFERRER.as_bytes(),
        language: LANGUAGE.as_bytes(),
        query: b"",
    }
}

/// The referring host of the click of a number.
#[must_use]
pub fn referrer_host(number: usize) -> &'static str {
    REFERRER_HOSTS[number % REFERRER_HOSTS.len()]
}
