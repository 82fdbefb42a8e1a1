//! A click into its ring, out of it, and what is kept of it.
//!
//! Into a ring three ways, because what a record costs is mostly what the memory under it costs:
//! `recycled`, as a thread that is drained in time always has it; `populated`, a segment's first
//! life, whose pages were brought in ahead; `cold`, one whose pages come when they are touched, as
//! when the thread that brings them in is behind.

use std::hint::black_box;
use std::sync::Arc;

use carom_benches::raw_click;
use carom_edge::enrich::Enricher;
use carom_edge::spool::ring::{Recorder, RingReader, RingSize};
use carom_shared::{RawClick, SeededRandom};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const CLICKS: u64 = 5000;
const RING: RingSize = RingSize { bytes: 16 << 20, count_bytes: 0 };
/// Segments whose pages a new ring has in memory, and the bytes of each.
const POPULATED: u64 = 3;
const SEGMENT: u64 = 2 << 20;
/// Bytes that frame and padding add to a record, at most.
const AROUND: u64 = 16 + 63;

/// A ring that nothing was recorded in, and its folder.
struct Fresh {
    recorder: Recorder,
    _reader: RingReader,
    _dir: tempfile::TempDir,
}

impl Fresh {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder for the ring");
        let random = Arc::new(SeededRandom::new(1));
        let (recorder, reader) = RingReader::create(dir.path(), 0, RING, random).expect("a ring");
        Self { recorder, _reader: reader, _dir: dir }
    }

    fn record(&mut self, click: &RawClick<'_>, clicks: u64) {
        (0..clicks).for_each(|_| self.recorder.record(black_box(click)).expect("room"));
    }
}

fn ring(c: &mut Criterion) {
    let click = raw_click();
    let mut group = c.benchmark_group("ring");
    group.throughput(Throughput::Elements(CLICKS));
    // Each round begins with a drained ring, as the drainer leaves it: recycled, in memory.
    let dir = tempfile::tempdir().expect("a folder for the ring");
    let random = Arc::new(SeededRandom::new(1));
    let (mut recorder, mut reader) =
        RingReader::create(dir.path(), 0, RING, random).expect("a ring");
    group.bench_function("record/recycled", |b| {
        b.iter_batched(
            || {
                reader.read(usize::MAX, |_| ());
                reader.mark_drained().expect("a drained ring");
            },
            |()| (0..CLICKS).for_each(|_| recorder.record(black_box(&click)).expect("room")),
            BatchSize::PerIteration,
        );
    });
    // A ring is made for each round, which takes longer than what is measured.
    group.sample_size(20);
    let round = |ring: &mut Fresh| ring.record(&click, CLICKS);
    group.bench_function("record/populated", |b| {
        b.iter_batched_ref(Fresh::new, round, BatchSize::PerIteration);
    });
    // So many that no record of the round is in a populated segment.
    let populated = POPULATED * SEGMENT / click.encoded_len() as u64 + 1;
    let held = RING.bytes / (click.encoded_len() as u64 + AROUND);
    assert!(populated + CLICKS < held, "the ring has cold segments for a round");
    group.bench_function("record/cold", |b| {
        let warm = || {
            let mut ring = Fresh::new();
            ring.record(&click, populated);
            ring
        };
        b.iter_batched_ref(warm, round, BatchSize::PerIteration);
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
