//! Restarts that visitors do not notice.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use crate::client::Client;
use crate::world::{World, eventually};

/// Visits until it is told to stop, as browsers do: a connection is kept until an answer says that it
/// is the last.
fn visit(address: SocketAddr, is_over: &AtomicBool, answered: &AtomicU32) {
    while !is_over.load(Ordering::SeqCst) {
        let mut client = Client::connect(address);
        loop {
            let reply = client.get("/abc");
            assert_eq!(reply.status, 302);
            answered.fetch_add(1, Ordering::SeqCst);
            if reply.header("connection") == Some("close") {
                assert!(client.is_ended());
                break;
            }
            if is_over.load(Ordering::SeqCst) {
                return;
            }
        }
    }
}

#[test]
fn an_inherited_socket_loses_no_visitor_over_restarts() {
    let mut world = World::with_link();
    // Who has connected and not asked yet has a sixteenth of it.
    world.config.drain_timeout_ms = 20_000;
    let socket = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = socket.local_addr().unwrap();
    world.sockets.push(socket);
    let (is_over, answered) = (AtomicBool::new(false), AtomicU32::new(0));
    let mut recorded = 0;
    std::thread::scope(|scope| {
        let visitors: Vec<_> =
            (0..4).map(|_| scope.spawn(|| visit(address, &is_over, &answered))).collect();
        for _ in 0..5 {
            let edge = world.start();
            assert_eq!(edge.address(), address);
            let enough = answered.load(Ordering::SeqCst) + 25;
            eventually("visitors come", || answered.load(Ordering::SeqCst) >= enough);
            recorded += edge.stop().clicks_recorded;
        }
        let edge = world.start();
        is_over.store(true, Ordering::SeqCst);
        for visitor in visitors {
            assert!(visitor.join().is_ok(), "a visitor was turned away");
        }
        recorded += edge.stop().clicks_recorded;
    });
    let answered = answered.into_inner();
    assert!(answered > 100, "{answered}");
    assert_eq!(recorded, u64::from(answered));
    assert_eq!(world.store.clicks_by_link(), [(7, answered)].into());
}

/// As systemd has them with `ReusePort=`: all of them have to be accepted from.
#[test]
fn several_inherited_sockets_are_shared_out() {
    for (sockets, threads) in [(1, 3), (3, 1), (2, 2)] {
        let mut world = World::with_link();
        world.config.threads = threads;
        for _ in 0..sockets {
            world.sockets.push(TcpListener::bind(("127.0.0.1", 0)).unwrap());
        }
        let _edge = world.start();
        for socket in &world.sockets {
            for _ in 0..threads * 2 {
                let mut client = Client::connect(socket.local_addr().unwrap());
                assert_eq!(client.get("/abc").status, 302, "{sockets} sockets, {threads} threads");
            }
        }
    }
}

#[test]
fn who_waits_in_the_queue_of_a_socket_that_closes_is_answered() {
    let mut world = World::with_link();
    world.config.threads = 1;
    let edge = world.start();
    let address = edge.address();
    let mut first = Client::connect(address);
    assert_eq!(first.get("/abc").status, 302);
    world.slowness.set(Duration::from_millis(400));
    first.ask(&["GET /abc HTTP/1.1", "Host: go.example.com"]);
    std::thread::sleep(Duration::from_millis(50));
    // The thread looks at its clock: the kernel takes these connections, and nobody accepts them.
    let mut waiting: Vec<_> = (0..50).map(|_| Client::connect(address)).collect();
    world.slowness.set(Duration::ZERO);
    for client in &mut waiting {
        client.ask(&["GET /abc HTTP/1.1", "Host: go.example.com"]);
    }
    let stopping = std::thread::spawn(move || edge.stop());
    for client in [&mut first].into_iter().chain(&mut waiting) {
        assert_eq!(client.reply().status, 302);
        assert!(client.is_ended());
    }
    assert_eq!(stopping.join().unwrap().clicks_recorded, 52);
}
