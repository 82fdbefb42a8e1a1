//! A click's two encodings: in the ring, once per redirect, and in batches, once per flush.

use std::hint::black_box;

use carom_benches::{NOW, domain, link, raw_click, referrer_host, workspace};
use carom_shared::batch::{Batch, BatchBuilder, BatchFile};
use carom_shared::click::{Channel, Detail, Details, Device, Kind, Privacy, Via};
use carom_shared::{Click, Random, RawClick, SeededRandom};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const ROWS: u32 = 10_000;
/// Links that the rows of a batch are for.
const LINKS: u32 = 1000;

fn ring(c: &mut Criterion) {
    let click = raw_click();
    let mut bytes = [0; RawClick::MAX_LEN];
    let len = click.encoded_len();
    click.encode(&mut bytes);
    let mut group = c.benchmark_group("raw_click");
    group.throughput(Throughput::Bytes(len as u64));
    group.bench_function("encode", |b| {
        let mut out = [0; RawClick::MAX_LEN];
        b.iter(|| {
            let click = black_box(&click);
            let len = click.encoded_len();
            click.encode(&mut out[..len]);
            black_box(&mut out);
        });
    });
    group.bench_function("decode", |b| b.iter(|| RawClick::decode(black_box(&bytes[..len]))));
    group.finish();
}

/// Ten seconds of clicks.
fn rows() -> Vec<Click<'static>> {
    let random = SeededRandom::new(1);
    let at_s = u32::try_from(NOW.as_secs()).expect("a time within 32 bits");
    let row = |number: u32| {
        let mut bytes = [0; 4];
        random.fill(&mut bytes);
        Click {
            workspace: workspace(),
            link: link(u32::from_le_bytes(bytes) % LINKS),
            domain: domain(),
            at_s: at_s + number / (ROWS / 10),
            n: 1,
            kind: Kind::Human,
            via: Via::Link,
            variant: 0,
            status: 302,
            target_revision: 1,
            visitor: 0,
            privacy: Privacy::default(),
            channel: Channel::Direct,
            device: Device::Unknown,
            details: Details::of(&[(Detail::Referrer, referrer_host(usize::from(bytes[3])))]),
        }
    };
    (0..ROWS).map(row).collect()
}

fn build(builder: &mut BatchBuilder, rows: &[Click<'_>]) -> BatchFile {
    for row in rows {
        builder.push(row);
    }
    builder.finish(NOW, &[])
}

fn batch(c: &mut Criterion) {
    let rows = rows();
    let mut builder = BatchBuilder::new();
    let file = build(&mut builder, &rows);
    let mut group = c.benchmark_group("batch_of_10k");
    group.throughput(Throughput::Elements(ROWS.into()));
    group.bench_function("build", |b| b.iter(|| build(&mut builder, black_box(&rows))));
    group.bench_function("from_bytes", |b| b.iter(|| Batch::from_bytes(black_box(&file.bytes))));
    group.finish();
}

criterion_group!(benches, ring, batch);
criterion_main!(benches);
