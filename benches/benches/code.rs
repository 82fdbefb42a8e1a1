//! Codes: drawn once per link, checked once per request.

use std::hint::black_box;

use carom_shared::{Code, SeededRandom, SystemRandom};
use criterion::{Criterion, criterion_group, criterion_main};

fn code(c: &mut Criterion) {
    let mut group = c.benchmark_group("code");
    let seeded = SeededRandom::new(1);
    group.bench_function("generate", |b| b.iter(|| Code::generate(&seeded)));
    group.bench_function("generate_from_kernel", |b| b.iter(|| Code::generate(&SystemRandom)));
    let longest = "x".repeat(Code::MAX_LEN);
    for (name, text) in [("7", "kM4pQz9"), ("64", &*longest), ("refused", "favicon.ico")] {
        group.bench_function(format!("check/{name}"), |b| {
            b.iter(|| Code::check(black_box(text.as_bytes())));
        });
    }
    group.finish();
}

criterion_group!(benches, code);
criterion_main!(benches);
