//! What an edge is told: each answer after a change is the change's.

use carom_edge::Domains;
use carom_shared::{Host, RouteRecord, RouteState, WorkspaceId};

use crate::client::Client;
use crate::world::{WORKSPACE, World, change, domain, route};

#[test]
fn a_link_made_after_it_was_asked_for_is_there_at_once() {
    let mut world = World::new();
    // The moment is as long as the test, however slow the machine is.
    world.config.resolve.negative_ms = 60_000;
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    assert_eq!(client.get("/new").status, 404);
    assert_eq!(client.get("/new").status, 404);
    assert_eq!(world.links.asked(), 1, "an absence is known for a moment");

    edge.feed().apply(change("new", route(1, "https://e.test/")));
    let reply = client.get("/new");
    assert_eq!((reply.status, reply.header("location")), (302, Some("https://e.test/")));
    assert_eq!(world.links.asked(), 1);
}

#[test]
fn the_last_version_is_served_in_whatever_order_changes_come() {
    let world = World::with_link();
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    let version = |version, target| RouteRecord { version, ..route(7, target) };
    assert_eq!(client.get("/abc").header("location"), Some("https://example.com/"));
    for (version, location) in [
        (version(3, "https://e.test/3"), "https://e.test/3"),
        (version(2, "https://e.test/2"), "https://e.test/3"),
        (version(3, "https://e.test/other"), "https://e.test/3"),
        (version(4, "https://e.test/4"), "https://e.test/4"),
    ] {
        edge.feed().apply(change("abc", version));
        assert_eq!(client.get("/abc").header("location"), Some(location));
    }
    let gone = RouteRecord { state: RouteState::Deleted, ..version(5, "") };
    edge.feed().apply(change("abc", gone));
    let reply = client.get("/abc");
    assert_eq!((reply.status, reply.header("location")), (410, None));
    edge.feed().apply(change("abc", version(4, "https://e.test/4")));
    assert_eq!(client.get("/abc").status, 410, "a late change brings nothing back");
}

#[test]
fn a_change_reaches_connections_that_are_open() {
    let world = World::with_link();
    let edge = world.start();
    let mut clients: Vec<_> = (0..8).map(|_| Client::connect(edge.address())).collect();
    for client in &mut clients {
        assert_eq!(client.get("/abc").status, 302);
    }
    let blocked = RouteRecord { version: 2, state: RouteState::Blocked, ..route(7, "") };
    edge.feed().apply(change("abc", blocked));
    for client in &mut clients {
        assert_eq!(client.get("/abc").status, 451);
    }
}

#[test]
fn workspaces_that_are_out_of_service_are_so_from_the_first_answer_on() {
    let mut world = World::with_link();
    world.disabled = vec![WorkspaceId::try_from(WORKSPACE).unwrap()];
    let edge = world.start();
    assert_eq!(Client::connect(edge.address()).get("/abc").status, 410);
    edge.feed().set_disabled_workspaces(&[]);
    assert_eq!(Client::connect(edge.address()).get("/abc").status, 302);
    world.store.wait_for(1);
}

#[test]
fn domains_come_and_go_while_the_edge_runs() {
    let world = World::with_link();
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    let mut ask = |host: &str| {
        client.ask(&["GET /abc HTTP/1.1", &format!("Host: {host}")]);
        client.reply().status
    };
    assert_eq!([ask("go.example.com"), ask("new.example.com")], [302, 421]);
    let new = Host::parse("new.example.com").unwrap();
    edge.feed().set_domains(Domains::new(&[(domain(2), new, false)]));
    assert_eq!([ask("go.example.com"), ask("new.example.com")], [421, 302]);
}
