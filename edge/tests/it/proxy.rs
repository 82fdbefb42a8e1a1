//! The PROXY protocol: who may send it, what it says, and that nothing goes without it.

use std::time::{Duration, Instant};

use carom_shared::AddressBlock;

use crate::client::Client;
use crate::world::{Running, World, metric};

const REQUEST: &str = "GET /abc HTTP/1.1\r\nHost: go.example.com\r\n\r\n";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// An edge behind a proxy on this machine; an address has one connection.
fn behind(proxies: &str) -> (World, Running) {
    let mut world = World::with_link();
    world.config.proxy_protocol = true;
    world.config.header_timeout_ms = 60_000;
    world.config.trusted_proxies = vec![AddressBlock::parse(proxies).unwrap()];
    world.config.max_connections_per_block = 1;
    let edge = world.start();
    (world, edge)
}

fn version_2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
    let len = u16::try_from(addresses.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &len, addresses].concat()
}

fn from_v4(last: u8) -> Vec<u8> {
    version_2(0x21, 0x11, &[198, 51, 100, last, 192, 0, 2, 1, 0x12, 0x67, 0, 80])
}

#[test]
fn the_address_of_the_header_is_the_visitor() {
    let (world, edge) = behind("127.0.0.1");
    let headers = [
        b"PROXY TCP4 198.51.100.1 192.0.2.1 4711 80\r\n".to_vec(),
        b"PROXY TCP6 2001:db8::1 2001:db8::2 4711 80\r\n".to_vec(),
        from_v4(2),
        [from_v4(3), vec![]].concat(),
    ];
    let mut held = Vec::new();
    for header in &headers {
        let mut client = Client::connect(edge.address());
        client.send([header, REQUEST.as_bytes()].concat());
        assert_eq!(client.reply().status, 302);
        assert_eq!(client.get("/abc").status, 302);
        held.push(client);
    }
    // Each of them has its connection, and no second one.
    for header in &headers {
        let mut client = Client::connect(edge.address());
        client.send(header);
        assert!(client.is_ended());
    }
    // Of the proxy itself: health checks. It is not counted.
    for header in [&b"PROXY UNKNOWN\r\n"[..], &version_2(0x20, 0, &[])] {
        let mut client = Client::connect(edge.address());
        client.send([header, REQUEST.as_bytes()].concat());
        assert_eq!(client.reply().status, 302);
        held.push(client);
    }
    let counted = metric(&edge, "carom_edge_connections_refused_total{reason=\"block\"}");
    assert_eq!(counted, headers.len() as u64);
    world.store.wait_for(10);
}

#[test]
fn a_header_may_come_in_pieces() {
    let (_world, edge) = behind("127.0.0.0/8");
    for header in [b"PROXY TCP4 198.51.100.1 192.0.2.1 4711 80\r\n".to_vec(), from_v4(2)] {
        let mut client = Client::connect(edge.address());
        for byte in [&header[..], REQUEST.as_bytes()].concat() {
            client.send([byte]);
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(client.reply().status, 302);
    }
}

#[test]
fn without_a_header_nothing_is_answered() {
    let (_world, edge) = behind("127.0.0.1");
    let long = version_2(0x21, 0x11, &[0; 521]);
    let lines = [
        REQUEST.as_bytes(),
        b"PROXY TCP4 198.51.100.1 192.0.2.1 4711\r\n",
        b"PROXY TCP4 198.51.100.1 192.0.2.1 4711 80\nGET / HTTP/1.1\r\n",
        &[b"PROXY UNKNOWN ", &[b'x'; 200][..], b"\r\n"].concat(),
        &version_2(0x22, 0x11, &[0; 12]),
        &long,
    ];
    for line in lines {
        let mut client = Client::connect(edge.address());
        client.send([line, REQUEST.as_bytes()].concat());
        assert!(client.is_ended(), "{:?}", String::from_utf8_lossy(line));
    }
    let begin = Instant::now();
    let mut slow = Client::connect(edge.address());
    slow.send(&SIGNATURE[..5]);
    assert!(slow.is_ended());
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    assert_eq!(
        metric(&edge, "carom_edge_connections_refused_total{reason=\"proxy\"}"),
        lines.len() as u64 + 1
    );
    assert_eq!(edge.stop().clicks_recorded, 0);
}

#[test]
fn strangers_may_not_send_it() {
    let (_world, edge) = behind("10.0.0.0/8");
    for header in [b"PROXY TCP4 10.0.0.1 192.0.2.1 4711 80\r\n".to_vec(), from_v4(2)] {
        let mut client = Client::connect(edge.address());
        // It may be refused before that is sent.
        assert!(!client.try_send(&header) || client.is_ended());
    }
    assert_eq!(edge.stop().clicks_recorded, 0);
}
