//! A click into its ring, out of it, and what is kept of it.

use std::hint::black_box;
use std::sync::Arc;

use carom_benches::raw_click;
use carom_edge::enrich::Enricher;
use carom_edge::spool::ring::{RingReader, RingSize};
use carom_shared::{RawClick, SeededRandom};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const CLICKS: u64 = 5000;
const RING: RingSize = RingSize { bytes: 16 << 20, count_bytes: 0 };

fn ring(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a folder for the ring");
    let random = Arc::new(SeededRandom::new(1));
    let (mut recorder, mut reader) =
        RingReader::create(dir.path(), 0, RING, random).expect("a ring");
    let click = raw_click();
    let mut group = c.benchmark_group("ring");
    group.throughput(Throughput::Elements(CLICKS));
    // Each round begins with a drained ring, as the drainer leaves it: recycled, in memory.
    group.bench_function("record", |b| {
        b.iter_batched(
            || {
                reader.read(usize::MAX, |_| ());
                reader.mark_drained().expect("a drained ring");
            },
            |()| (0..CLICKS).for_each(|_| recorder.record(black_box(&click)).expect("room")),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn enrich(c: &mut Criterion) {
    let mut enricher = Enricher::default();
    let mut bytes = vec![0; raw_click().encoded_len()];
    raw_click().encode(&mut bytes);
    c.bench_function("enrich/decode_and_enrich", |b| {
        b.iter(|| {
            let raw = RawClick::decode(black_box(&bytes)).expect("a click");
            black_box(enricher.enrich(&raw).at_s)
        });
    });
}

criterion_group!(benches, ring, enrich);
criterion_main!(benches);
