//! Codes that an edge does not know: asked for once, and never denied for want of an answer.

use std::time::Duration;

use crate::client::Client;
use crate::world::{World, metric, route};

fn code(link: i64) -> String {
    format!("c{link}")
}

#[test]
fn without_its_origin_an_edge_serves_what_it_knows_and_denies_nothing() {
    let world = World::with_link();
    world.links.put("unseen", route(8, "https://e.test/"));
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    assert_eq!(client.get("/abc").status, 302);
    world.links.set_down(true);
    for _ in 0..3 {
        assert_eq!(client.get("/abc").status, 302);
        for path in ["/unseen", "/nothing"] {
            let reply = client.get(path);
            assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")), "{path}");
            assert_eq!(reply.header("cache-control"), Some("no-store"));
        }
    }
    world.links.set_down(false);
    assert_eq!(client.get("/unseen").status, 302);
    assert_eq!(client.get("/nothing").status, 404);
}

#[test]
fn a_hundred_visitors_of_a_cold_code_are_one_question() {
    let world = World::with_link();
    world.links.set_delay(Duration::from_millis(500));
    let edge = world.start();
    let mut clients: Vec<_> = (0..100).map(|_| Client::connect(edge.address())).collect();
    for client in &mut clients {
        client.ask(&["GET /abc HTTP/1.1", "Host: go.example.com"]);
    }
    for client in &mut clients {
        assert_eq!(client.reply().header("location"), Some("https://example.com/"));
    }
    assert_eq!(world.links.asked(), 1);
    assert_eq!(world.store.wait_for(100).len(), 100);
}

#[test]
fn a_slow_origin_is_not_waited_for_and_not_asked_without_limit() {
    let mut world = World::with_link();
    // Longer than it takes until all of them have asked.
    world.config.resolve.timeout_ms = 1500;
    world.config.resolve.max_in_flight = 2;
    let edge = world.start();
    let mut known = Client::connect(edge.address());
    assert_eq!(known.get("/abc").status, 302);
    world.links.set_delay(Duration::from_secs(60));
    let mut clients: Vec<_> = (0..6).map(|_| Client::connect(edge.address())).collect();
    for (link, client) in (1..).zip(&mut clients) {
        client.ask(&[&format!("GET /{} HTTP/1.1", code(link)), "Host: go.example.com"]);
    }
    assert_eq!(known.get("/abc").status, 302, "who is known does not wait with the others");
    for client in &mut clients {
        assert_eq!(client.reply().status, 503);
    }
    assert_eq!(world.links.asked(), 1 + 2);

    world.links.set_delay(Duration::ZERO);
    world.links.put(&code(1), route(1, "https://e.test/"));
    assert_eq!(clients[0].get(&format!("/{}", code(1))).status, 302, "a failure is not kept");
}

#[test]
fn absences_are_asked_for_again_and_never_push_out_a_route() {
    let mut world = World::with_link();
    world.config.resolve.negative_ms = 50;
    world.config.resolve.max_negative_entries = 100;
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    assert_eq!(client.get("/abc").status, 302);
    for link in 0..1000 {
        assert_eq!(client.get(&format!("/{}", code(link))).status, 404);
    }
    let asked = world.links.asked();
    assert_eq!(client.get("/abc").status, 302);
    assert_eq!(world.links.asked(), asked);
    assert_eq!(metric(&edge, "carom_edge_routes"), 1);

    // Made without a word to this edge: found as soon as the absence is no longer believed.
    assert_eq!(client.get("/late").status, 404);
    world.links.put("late", route(9, "https://e.test/"));
    std::thread::sleep(Duration::from_millis(150));
    assert_eq!(client.get("/late").status, 302);
}
