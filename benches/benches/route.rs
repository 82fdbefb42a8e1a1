//! Route records: bytes in caches and on the wire.

use std::hint::black_box;

use carom_benches::record;
use carom_shared::RouteRecord;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn route(c: &mut Criterion) {
    let record = record(1);
    let bytes = record.to_bytes();
    let mut group = c.benchmark_group("route_record");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("to_bytes", |b| b.iter(|| black_box(&record).to_bytes()));
    group.bench_function("from_bytes", |b| b.iter(|| RouteRecord::from_bytes(black_box(&bytes))));
    group.finish();
}

criterion_group!(benches, route);
criterion_main!(benches);
