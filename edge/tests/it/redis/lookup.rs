//! Codes that the edge does not know: who is asked, and what is believed.

use std::time::{Duration, Instant};

use crate::client::Client;
use crate::follow::{to, version};
use crate::world::{change, eventually};

use super::{LONG, Trio, shared_url};

#[test]
fn with_a_lease_redis_answers_and_control_is_asked_for_nothing() {
    let mut trio = Trio::start(&shared_url());
    trio.redis.give_lease(LONG);
    assert_eq!(trio.fleet.leads("a"), to("https://e.test/a"));
    let mut client = Client::connect(trio.fleet.edge().address());
    for number in 0..200 {
        assert_eq!(client.get(&format!("/none{number}")).status, 404);
        // Made, and followed before the feed tells of it.
        let (code, target) = (format!("new{number}"), format!("https://e.test/{number}"));
        trio.redis.put(&code, version(1, &target));
        assert_eq!(client.get(&format!("/{code}")).header("location"), Some(&*target));
    }
    // An absence is not kept.
    trio.redis.put("none7", version(1, "https://e.test/"));
    assert_eq!(client.get("/none7").status, 302);
    assert_eq!(trio.asked(), 0);
    assert_eq!([trio.reads("found"), trio.reads("absent")], [202, 200]);
    assert_eq!([trio.reads("failed"), trio.reads("timeout"), trio.reads("no_lease")], [0; 3]);
}

#[test]
fn without_a_valid_lease_control_is_asked() {
    let mut trio = Trio::start(&shared_url());
    trio.control.lock().unwrap().routes.insert("b".into(), version(1, "https://e.test/b"));
    assert_eq!(trio.fleet.leads("b"), to("https://e.test/b"), "there is none");
    assert_eq!((trio.asked(), trio.reads("no_lease")), (1, 1));

    trio.control.lock().unwrap().routes.insert("c".into(), version(1, "https://e.test/c"));
    trio.redis.give_lease_for("of another server", LONG);
    assert_eq!(trio.fleet.leads("c"), to("https://e.test/c"), "it is another server's");

    trio.control.lock().unwrap().routes.insert("d".into(), version(1, "https://e.test/d"));
    trio.redis.give_lease(Duration::from_millis(1));
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(trio.fleet.leads("d"), to("https://e.test/d"), "it is over");

    // Control knows more than Redis.
    trio.control.lock().unwrap().routes.insert("a".into(), version(2, "https://e.test/2"));
    assert_eq!(trio.fleet.leads("a"), to("https://e.test/2"));
    assert_eq!(trio.asked(), 4);
}

#[test]
fn what_redis_knows_is_answered_where_control_fails_and_nothing_is_denied() {
    let mut trio = Trio::start(&shared_url());
    trio.control.lock().unwrap().is_away = true;
    assert_eq!(trio.fleet.leads("a"), to("https://e.test/a"));
    assert_eq!(trio.fleet.leads("b").0, 503);
    trio.redis.give_lease(LONG);
    assert_eq!(trio.fleet.leads("b").0, 404);
    trio.redis.take_lease();
    assert_eq!(trio.fleet.leads("b").0, 503);
}

#[test]
fn an_answer_that_is_older_than_a_change_is_discarded() {
    let mut trio = Trio::start(&shared_url());
    // Without a lease the answer is control's, and takes its time.
    trio.redis.take_lease();
    trio.control.lock().unwrap().delay = Duration::from_millis(300);
    let begin = Instant::now();
    let mut client = Client::connect(trio.fleet.edge().address());
    client.ask(&["GET /a HTTP/1.1", "Host: go.example.com"]);
    eventually("control is asked", || trio.asked() == 1);
    trio.publish("a", version(2, "https://e.test/2"));
    trio.redis.give_lease(LONG);
    assert_eq!(client.reply().header("location"), Some("https://e.test/2"));
    assert!(begin.elapsed() >= Duration::from_millis(300), "it was not late");
    assert_eq!(trio.fleet.leads("a"), to("https://e.test/2"));

    // What Redis says late is no better.
    trio.fleet.edge().feed().apply(change("b", version(5, "https://e.test/5")));
    trio.redis.put("b", version(4, "https://e.test/4"));
    assert_eq!(trio.fleet.leads("b"), to("https://e.test/5"));
}

#[test]
fn what_redis_holds_is_replaced_by_greater_versions_alone() {
    let mut trio = Trio::start(&shared_url());
    trio.redis.give_lease(LONG);
    for (number, written) in [(9, 1), (8, 0), (9, 0), (256, 1), (255, 0), (u64::MAX, 1), (1, 0)] {
        let target = format!("https://e.test/{number}");
        assert_eq!(trio.redis.put("v", version(number, &target)), written, "{number}");
    }
    assert_eq!(trio.fleet.leads("v"), to(&format!("https://e.test/{}", u64::MAX)));
}
