//! What is found out about a visitor on the way from a request to a stored click.

use carom_shared::click::{Channel, Detail, Device, Kind};
use carom_shared::{AddressBlock, Salts};

use crate::client::Client;
use crate::world::{DOMAIN, World, domain, eventually, metric};

const SAFARI: &str = "User-Agent: Mozilla/5.0 (iPhone; CPU iPhone OS 17_4_1 like Mac OS X) \
                      AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4.1 Mobile/15E148 \
                      Safari/604.1";

/// Follows `/abc` with more headers, and query.
fn follow(client: &mut Client, query: &str, headers: &[&str]) {
    let line = format!("GET /abc{query} HTTP/1.1");
    client.ask(&[&[&*line, "Host: go.example.com"], headers].concat());
    assert_eq!(client.reply().status, 302);
}

#[test]
fn a_stored_click_says_who_came_from_where() {
    let world = World::with_link();
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    follow(
        &mut client,
        "?fbclid=1&utm_source=News%20Letter&utm_medium=email",
        &[
            SAFARI, "Referer: https://mail.google.com/mail/u/0/",
            "Accept-Language: de-AT,de;q=0.9,en;q=0.5",
        ],
    );
    world.store.wait_for(1);
    let clicks = world.store.each(|click| {
        assert_ne!(click.visitor, 0);
        assert_eq!((click.kind, click.device), (Kind::Human, Device::Mobile));
        assert_eq!(click.channel, Channel::Mail);
        click.details.names().map(str::to_owned)
    });
    assert_eq!(
        clicks,
        [[
            "mail.google.com", "", "", "", "", "Mobile Safari", "17.4", "iOS", "17.4", "de",
            "News Letter", "email", "", "", "",
        ]]
    );
    assert_eq!(metric(&edge, "carom_edge_clients_read_total"), 1);
}

#[test]
fn who_asks_for_privacy_is_counted_without_a_number() {
    let world = World::with_link();
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    follow(&mut client, "", &[SAFARI, "Sec-GPC: 1"]);
    follow(&mut client, "", &[SAFARI, "DNT: 1"]);
    world.store.wait_for(2);
    let clicks = world.store.each(|click| (click.visitor, click.n, click.privacy.bits()));
    assert_eq!(clicks, [(0, 1, 2), (0, 1, 1)]);
}

#[test]
fn visitors_are_alike_until_the_salts_change() {
    let world = World::with_link();
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    let visitors = || world.store.each(|click| click.visitor);
    follow(&mut client, "", &[SAFARI]);
    follow(&mut client, "", &[SAFARI]);
    follow(&mut client, "", &["User-Agent: Mozilla/5.0 (another)"]);
    world.store.wait_for(3);
    let seen = visitors();
    assert_eq!(seen[0], seen[1]);
    assert_ne!(seen[0], seen[2]);

    edge.feed().set_salts(Salts::default());
    follow(&mut client, "", &[SAFARI]);
    world.store.wait_for(4);
    assert_eq!(visitors().iter().filter(|visitor| **visitor == 0).count(), 1);
}

/// The address is not stored, but visitors with different ones differ.
#[test]
fn a_trusted_proxy_says_whom_it_heard_from_and_strangers_do_not() {
    let visitors = |proxies: Vec<AddressBlock>| {
        let mut world = World::with_link();
        world.config.trusted_proxies = proxies;
        let edge = world.start();
        let mut client = Client::connect(edge.address());
        for address in ["192.0.2.1", "192.0.2.2", "203.0.113.9, 192.0.2.1"] {
            follow(&mut client, "", &[SAFARI, &format!("X-Forwarded-For: {address}")]);
        }
        world.store.wait_for(3);
        world.store.each(|click| click.visitor)
    };
    let [first, second, third] = visitors(Vec::new()).try_into().unwrap();
    assert!(first == second && second == third);
    let loopback = vec![AddressBlock::parse("127.0.0.0/8").unwrap()];
    let [first, second, third] = visitors(loopback).try_into().unwrap();
    assert!(first != second && first == third, "the right-most counts");
}

#[test]
fn random_referrers_become_one_name() {
    let mut world = World::with_link();
    world.config.threads = 1;
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    for n in 0..100 {
        follow(&mut client, "", &[SAFARI, &format!("Referer: https://r{n}.example/")]);
    }
    world.store.wait_for(100);
    let referrers = world.store.each(|click| click.details.get(Detail::Referrer).to_owned());
    assert_eq!(referrers.iter().filter(|name| *name == "(other)").count(), 36);
    assert_eq!(metric(&edge, "carom_edge_names_refused_total"), 36);
}

#[test]
fn codes_that_do_not_exist_are_listed_by_domain() {
    let world = World::with_link();
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    for path in ["/poster", "/poster", "/typo", "/abc", "/wp-login.php", "/%00"] {
        client.get(path);
    }
    assert_eq!(client.get("/poster+").status, 404);
    let missing = edge.missing_codes().take();
    let rows: Vec<_> =
        missing.iter().map(|row| (row.domain, &*row.code, row.at_least, row.at_most)).collect();
    let domain = domain(DOMAIN);
    assert_eq!(rows, [(domain, "poster", 3, 3), (domain, "typo", 1, 1)]);
}

#[test]
fn a_file_of_places_that_is_missing_is_told_of_and_stops_nothing() {
    let mut world = World::with_link();
    world.config.enrich.geo_path = world.spool_dir().join("no-such.mmdb");
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    follow(&mut client, "", &[SAFARI]);
    world.store.wait_for(1);
    eventually("it is told", || metric(&edge, "carom_edge_geo_errors_total") == 1);
    assert_eq!(metric(&edge, "carom_edge_geo_loaded"), 0);
    assert_eq!(world.store.each(|click| click.details.get(Detail::Country).to_owned()), [""]);
}
