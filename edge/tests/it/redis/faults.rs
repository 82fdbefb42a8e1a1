//! Redis killed, paused, emptied, and restarted with what it was: what is known is served, the rest
//! is asked of control, and nothing that exists is denied.

use std::time::{Duration, Instant};

use crate::client::Client;
use crate::follow::{L2_PATIENCE, to, version};
use crate::world::eventually;

use super::server::Server;
use super::{LONG, Trio, Writer};

/// Asks for a code that only control has, and for one that nobody has.
fn asks_control(trio: &Trio, code: &str) {
    trio.control.lock().unwrap().routes.insert(code.to_owned(), version(1, "https://e.test/"));
    let (asked, begin) = (trio.asked(), Instant::now());
    assert_eq!(trio.fleet.leads(code), to("https://e.test/"));
    assert_eq!(trio.fleet.leads(&format!("{code}-none")).0, 404);
    // Two questions, each of which Redis may take its time for and no more.
    assert!(begin.elapsed() < L2_PATIENCE * 2 + Duration::from_secs(3), "{:?}", begin.elapsed());
    assert_eq!(trio.asked(), asked + 2);
    assert_eq!(trio.fleet.leads("a"), to("https://e.test/a"));
}

/// With everything else away: what is known is served, and nothing is denied.
fn denies_nothing(trio: &Trio) {
    trio.control.lock().unwrap().is_away = true;
    let mut client = Client::connect(trio.fleet.edge().address());
    for number in 0..20 {
        assert_eq!(client.get("/a").header("location"), Some("https://e.test/a"));
        assert_eq!(client.get(&format!("/unknown{number}")).status, 503);
    }
    trio.control.lock().unwrap().is_away = false;
    // Its breaker notices.
    eventually("control answers", || trio.fleet.leads("unknown").0 == 404);
}

#[test]
fn killed_and_back_with_nothing() {
    let mut server = Server::start();
    let mut trio = Trio::start(&server.url());
    trio.redis.give_lease(LONG);
    assert_eq!(trio.fleet.leads("a"), to("https://e.test/a"));
    assert_eq!(trio.fleet.leads("none").0, 404);
    assert_eq!(trio.asked(), 0);

    server.kill();
    asks_control(&trio, "b");
    denies_nothing(&trio);
    server.start_again();
    trio.is_connected();
    asks_control(&trio, "c");
    denies_nothing(&trio);

    // Filled again.
    trio.redis = Writer::new(&server.url(), trio.control.lock().unwrap().epoch);
    trio.redis.give_lease(LONG);
    let asked = trio.asked();
    assert_eq!(trio.fleet.leads("none").0, 404);
    assert_eq!(trio.asked(), asked);
}

#[test]
fn back_with_older_data_and_a_lease_that_was_for_another_life() {
    let mut server = Server::start();
    let mut trio = Trio::start(&server.url());
    trio.redis.give_lease(LONG);
    server.save();
    assert_eq!(trio.fleet.leads("a"), to("https://e.test/a"));
    // Acknowledged, and not in what was saved.
    let late = version(1, "https://e.test/late");
    trio.control.lock().unwrap().routes.insert("late".into(), late.clone());
    trio.redis.put("late", late);

    server.kill();
    server.start_again();
    let mut redis = Writer::new(&server.url(), trio.control.lock().unwrap().epoch);
    let held: Option<String> =
        redis::cmd("GET").arg(redis.keys.lease()).query(&mut redis.connection).unwrap();
    assert!(held.is_some_and(|run_id| run_id != redis.run_id()), "the old lease is there");
    trio.is_connected();
    assert_eq!(trio.fleet.leads("late"), to("https://e.test/late"));
    asks_control(&trio, "b");
    denies_nothing(&trio);
}

#[test]
fn paused_costs_three_visitors_a_moment_and_is_used_again() {
    let server = Server::start();
    let mut trio = Trio::start(&server.url());
    trio.redis.give_lease(LONG);
    assert_eq!(trio.fleet.leads("a"), to("https://e.test/a"));
    server.pause();
    asks_control(&trio, "b");
    asks_control(&trio, "c");
    eventually("it is let go", || trio.metric("carom_edge_l2_connected") == 0);
    assert!(trio.reads("timeout") >= 1);
    denies_nothing(&trio);
    let timeouts = trio.reads("timeout");
    asks_control(&trio, "d");
    assert_eq!(trio.reads("timeout"), timeouts, "nobody waits for it any more");

    server.go_on();
    trio.is_connected();
    let asked = trio.asked();
    assert_eq!(trio.fleet.leads("none").0, 404);
    assert_eq!(trio.asked(), asked);
}

#[test]
fn emptied_while_it_runs() {
    let server = Server::start();
    let mut trio = Trio::start(&server.url());
    trio.redis.give_lease(LONG);
    assert_eq!(trio.fleet.leads("a"), to("https://e.test/a"));
    redis::cmd("FLUSHALL").exec(&mut trio.redis.connection).unwrap();
    asks_control(&trio, "b");
    denies_nothing(&trio);
    assert_eq!(trio.metric("carom_edge_l2_connections_total"), 1);
}

/// Emptied and filled again all the time, while visitors ask for what is always there.
#[test]
fn emptied_between_any_two_steps_nothing_is_denied() {
    let server = Server::start();
    let mut trio = Trio::start(&server.url());
    let codes: Vec<_> = (0..2000).map(|number| format!("code{number}")).collect();
    for code in &codes {
        trio.control.lock().unwrap().routes.insert(code.clone(), version(1, "https://e.test/"));
    }
    trio.control.lock().unwrap().delay = Duration::ZERO;
    let address = trio.fleet.edge().address();
    std::thread::scope(|scope| {
        let visitors: Vec<_> = codes
            .chunks(500)
            .map(|codes| {
                scope.spawn(move || {
                    let mut client = Client::connect(address);
                    for code in codes {
                        assert_eq!(client.get(&format!("/{code}")).status, 302, "{code}");
                    }
                })
            })
            .collect();
        while !visitors.iter().all(|visitor| visitor.is_finished()) {
            let mut fill = redis::pipe();
            for code in &codes {
                let key = format!("carom:{}:route:2:{code}", trio.redis.epoch);
                let value = carom_shared::redis::RouteValue(version(1, "https://e.test/"));
                fill.set(key, value.to_bytes()).ignore();
            }
            fill.exec(&mut trio.redis.connection).unwrap();
            trio.redis.give_lease(LONG);
            std::thread::sleep(Duration::from_millis(1));
            redis::cmd("FLUSHALL").exec(&mut trio.redis.connection).unwrap();
        }
    });
    assert!(trio.reads("found") > 0);
    assert_eq!(trio.reads("absent"), 0);
}
