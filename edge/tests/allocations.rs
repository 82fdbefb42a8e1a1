//! How often a cached redirect asks the allocator for memory: over a real connection that is kept,
//! with a browser's headers, its click recorded.
//!
//! Counted are all threads of the process, so this test has a binary of its own and is the only one
//! in it. The client allocates nothing. What the drainer does with clicks, some milliseconds later, is
//! in some of many short rounds, in most of them where the machine does much else: the one with the fewest
//! is the edge thread's alone, and what each redirect allocates is in that one too.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[expect(dead_code, reason = "the world of the tests of `it`, of which this one needs a part")]
#[path = "it/client.rs"]
mod client;
#[expect(dead_code, reason = "the world of the tests of `it`, of which this one needs a part")]
#[path = "it/world.rs"]
mod world;

use std::alloc::System;
use std::io::{Read, Write};
use std::net::TcpStream;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use world::World;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Allocations and reallocations of as many redirects, at most: nothing, but what the cache does with its
/// books now and then.
const PER_ROUND_MAX: usize = 1;
/// Redirects until everything has the size that it keeps.
const WARM_UP: usize = 500;
const ROUNDS: usize = 301;
const REDIRECTS: usize = 10;

const REQUEST: &[u8] = b"GET /abc HTTP/1.1\r\nHost: go.example.com\r\nConnection: keep-alive\r\n\
    Upgrade-Insecure-Requests: 1\r\nUser-Agent: Mozilla/5.0 (Windows NT 10.0; Win64; x64) \
    AppleWebKit/537.36 (KHTML, like Gecko) Chrome/143.0.0.0 Safari/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-User: ?1\r\n\
    Sec-Fetch-Dest: document\r\nReferer: https://news.example.org/item?id=46480000\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9\r\n\r\n";

/// Asks once more on the same connection.
fn redirect(stream: &mut TcpStream, answer: &mut [u8]) {
    stream.write_all(REQUEST).unwrap();
    let mut len = 0;
    while !answer[..len].ends_with(b"\r\n\r\n") {
        len += stream.read(&mut answer[len..]).unwrap();
        assert!(len > 0 && len < answer.len());
    }
    assert!(answer.starts_with(b"HTTP/1.1 302 Found\r\n"));
}

#[test]
fn a_cached_redirect_allocates_little() {
    let mut world = World::with_link();
    world.config.threads = 1;
    // Longer than the test takes: no batch is cut meanwhile.
    world.spool.flush_ms = 3_600_000;
    let edge = world.start();
    let mut stream = TcpStream::connect(edge.address()).unwrap();
    let mut answer = [0; 4096];
    (0..WARM_UP).for_each(|_| redirect(&mut stream, &mut answer));

    let counts = (0..ROUNDS).map(|_| {
        let region = Region::new(ALLOCATOR);
        (0..REDIRECTS).for_each(|_| redirect(&mut stream, &mut answer));
        let change = region.change();
        change.allocations + change.reallocations
    });
    let fewest = counts.min().unwrap();
    assert!(fewest <= PER_ROUND_MAX, "{fewest} for {REDIRECTS} redirects");
    // Or what is counted is not what answers: to connect allocates.
    let region = Region::new(ALLOCATOR);
    redirect(&mut TcpStream::connect(edge.address()).unwrap(), &mut answer);
    assert!(region.change().allocations > 0, "nothing is counted");
}
