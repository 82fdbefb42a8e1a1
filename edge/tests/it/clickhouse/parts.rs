//! How many parts a store has while ten edges store a batch each second.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::*;

/// Edges, each with a batch a second.
const EDGES: u32 = 10;
/// Clicks of a batch: 2,000 a second in all.
const CLICKS: u32 = 200;
/// Parts that a table may have: a third of the number at which a server slows inserts down
/// (`parts_to_delay_insert`, 1,000).
const PARTS_MAX: u64 = 333;

/// `CAROM_SECONDS` says for how long.
#[test]
fn ten_edges_batches_leave_a_bounded_number_of_parts() {
    #[expect(clippy::disallowed_methods, reason = "a test's environment")]
    let seconds = std::env::var("CAROM_SECONDS").ok().and_then(|n| n.parse().ok()).unwrap_or(5);
    let engine = Engine::start();
    let database = Database::new(&engine.url());
    let (_control, address) = Control::start();
    let is_over = Arc::new(AtomicBool::new(false));
    let (stored, took_ms) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let edges: Vec<_> = (0..EDGES)
        .map(|edge| {
            let (url, control) = (database.url(), format!("http://{address}"));
            let (over, stored, took_ms) =
                (Arc::clone(&is_over), Arc::clone(&stored), Arc::clone(&took_ms));
            std::thread::spawn(move || {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let sink = sink(&url, &control, Duration::from_secs(3600));
                let mut number = 0;
                while !over.load(Ordering::SeqCst) {
                    let begun = Instant::now();
                    let one = sized_batch(edge << 24 | number, CLICKS, NOW);
                    runtime.block_on(store(&sink, &one)).unwrap();
                    number += 1;
                    stored.fetch_add(1, Ordering::SeqCst);
                    let took = begun.elapsed();
                    took_ms.fetch_add(u64::try_from(took.as_millis()).unwrap(), Ordering::SeqCst);
                    std::thread::sleep(Duration::from_secs(1).saturating_sub(took));
                }
            })
        })
        .collect();
    let mut most = 0;
    for second in 1..=seconds {
        std::thread::sleep(Duration::from_secs(1));
        let parts = |table: &str| {
            database.number(&format!(
                "SELECT count() FROM system.parts WHERE active AND database = '{}' AND table = '{table}'",
                database.name()
            ))
        };
        let of = ["click", "click_quarter", "batch", "click_change"].map(parts);
        most = most.max(of.into_iter().max().unwrap_or_default());
        if second % 10 == 0 || second == seconds {
            let (stored, took) = (stored.load(Ordering::SeqCst), took_ms.load(Ordering::SeqCst));
            #[expect(clippy::print_stderr, reason = "the figures of a run")]
            {
                eprintln!(
                    "{second} s: {stored} batches of {} ms, parts {of:?}",
                    took / stored.max(1)
                );
            }
        }
    }
    is_over.store(true, Ordering::SeqCst);
    for edge in edges {
        edge.join().unwrap();
    }
    let rows = stored.load(Ordering::SeqCst) * u64::from(CLICKS);
    assert_eq!(database.number("SELECT count() FROM click"), rows);
    assert!(most < PARTS_MAX, "{most} parts");
}
