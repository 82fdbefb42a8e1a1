//! The look into memory that is the whole of most redirects.

use std::hint::black_box;
use std::sync::Arc;

use carom_benches::{domain, record};
use carom_edge::resolve::{
    Key, Known, Origin, OriginError, OriginFuture, ResolveConfig, Resolver, RouteChange,
};
use carom_shared::{Code, DomainId, Random, SeededRandom};
use criterion::{Criterion, criterion_group, criterion_main};
use tokio::runtime::{Handle, Runtime};

/// A million, as a power of two.
const LINKS_LOG2: u32 = 20;
/// Hits in the order in which they come round again.
const HITS: usize = 1 << 16;

/// Nobody is asked here.
struct Nobody;

impl Origin for Nobody {
    fn resolve(&self, _domain: DomainId, _code: &Code) -> OriginFuture {
        Box::pin(async { Err(OriginError("nobody is asked".to_owned())) })
    }
}

fn resolver(codes: &[Code], background: &Handle) -> Resolver {
    let config = ResolveConfig { max_cache_bytes: 1 << 30, ..ResolveConfig::default() };
    let resolver = Resolver::new(&config, Arc::new(Nobody), background.clone());
    for (number, code) in (0..).zip(codes) {
        let change = RouteChange { domain: domain(), code: code.clone(), record: record(number) };
        resolver.apply(change);
    }
    resolver
}

/// Hits of links by Zipf's law with exponent 1: among the links by rank, each doubling of the rank
/// has the same share. Ranks are scattered over the codes, and the codes over memory.
fn zipf_hits(codes: &[Code], random: &SeededRandom) -> Vec<Code> {
    let hit = |_| {
        let mut bytes = [0; 8];
        random.fill(&mut bytes);
        let draw = u64::from_le_bytes(bytes);
        let octave = u32::try_from(draw >> 32).unwrap_or_default() % LINKS_LOG2;
        let rank = (1_u64 << octave) + (draw & ((1 << octave) - 1));
        let scattered = rank.wrapping_mul(0x9e37_79b1) & ((1 << LINKS_LOG2) - 1);
        codes[usize::try_from(scattered).expect("an index")].clone()
    };
    (0..HITS).map(hit).collect()
}

fn known(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let random = SeededRandom::new(1);
    let codes: Vec<_> = (0..1 << LINKS_LOG2).map(|_| Code::generate(&random)).collect();
    let mut group = c.benchmark_group("known");

    let one = resolver(&codes[..1], runtime.handle());
    let find = |resolver: &Resolver, code: &Code| {
        resolver.known(&Key::new(domain(), black_box(code.as_str())))
    };
    group.bench_function("hit_of_1", |b| b.iter(|| find(&one, &codes[0])));
    assert!(matches!(find(&one, &codes[0]), Known::Route(_)));
    group.bench_function("unknown", |b| b.iter(|| find(&one, &codes[1])));
    assert!(matches!(find(&one, &codes[1]), Known::Unknown));

    let million = resolver(&codes, runtime.handle());
    let hits = zipf_hits(&codes, &random);
    assert!(hits.iter().all(|code| matches!(find(&million, code), Known::Route(_))));
    group.bench_function("hit_of_1_000_000_zipf", |b| {
        let mut next = hits.iter().cycle();
        b.iter(|| next.next().map(|code| find(&million, code)));
    });
    let strangers: Vec<_> = (0..HITS).map(|_| Code::generate(&random)).collect();
    group.bench_function("unknown_of_1_000_000", |b| {
        let mut next = strangers.iter().cycle();
        b.iter(|| next.next().map(|code| find(&million, code)));
    });
    group.finish();
}

criterion_group!(benches, known);
criterion_main!(benches);
