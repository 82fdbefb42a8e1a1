//! What an edge knew, its next life knows, and no more than is still so.

use carom_shared::{RouteRecord, RouteState};

use crate::client::Client;
use crate::world::{Running, World, change, eventually, metric, route};

/// Starts an edge and waits until it has a snapshot, to be written again at its stop.
fn start(world: &World) -> Running {
    let edge = world.start();
    eventually("a snapshot is there", || metric(&edge, "carom_edge_snapshots_written_total") > 0);
    edge
}

#[test]
fn an_edge_serves_what_the_last_one_knew_while_nobody_answers_it() {
    let world = World::with_link();
    let edge = start(&world);
    assert_eq!(Client::connect(edge.address()).get("/abc").status, 302);
    edge.feed().apply(change("told", route(8, "https://e.test/told")));
    let _stopped = edge.stop();

    world.links.set_down(true);
    let edge = world.start();
    assert_eq!(metric(&edge, "carom_edge_snapshot_routes"), 2);
    let mut client = Client::connect(edge.address());
    for (path, location) in [("/abc", "https://example.com/"), ("/told", "https://e.test/told")] {
        assert_eq!(client.get(path).header("location"), Some(location));
    }
    assert_eq!(world.links.asked(), 1);
}

#[test]
fn what_changed_while_no_edge_ran_is_known_before_the_first_answer() {
    let world = World::with_link();
    let edge = start(&world);
    assert_eq!(Client::connect(edge.address()).get("/abc").status, 302);
    let _stopped = edge.stop();

    let blocked = RouteRecord { version: 2, state: RouteState::Blocked, ..route(7, "") };
    world.links.announce(change("abc", blocked));
    let edge = world.start();
    assert_eq!(Client::connect(edge.address()).get("/abc").status, 451);
    assert_eq!(metric(&edge, "carom_edge_snapshot_superseded"), 1);
    // A kill: what was written last is older than the change, and the feed has it still.
    edge.drop_without_stop();
    let edge = world.start();
    assert_eq!(Client::connect(edge.address()).get("/abc").status, 451);
}

#[test]
fn without_room_for_a_snapshot_none_is_kept() {
    let mut world = World::with_link();
    world.config.resolve.snapshot_max_bytes = 0;
    let edge = world.start();
    assert_eq!(Client::connect(edge.address()).get("/abc").status, 302);
    let _stopped = edge.stop();
    assert!(!world.spool_dir().with_extension("snapshot").exists());
}
