//! The look into memory that is the whole of most redirects, in the snapshot and in the overlay; what
//! each of them takes of memory; how long a start takes that has a snapshot.

use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use carom_benches::{domain, record};
use carom_edge::resolve::{
    Keeper, Key, Known, Origin, OriginError, OriginFuture, ResolveConfig, Resolver, RouteChange,
    SnapshotPlan,
};
use carom_shared::{Code, DomainId, FeedPage, FeedPosition, Random, SeededRandom, SystemClock};
use criterion::{Criterion, criterion_group, criterion_main};
use tokio::runtime::{Handle, Runtime};

/// A million, as a power of two.
const LINKS_LOG2: u32 = 20;
/// Hits in the order in which they come round again.
const HITS: usize = 1 << 16;
/// Routes that the origin tells at once.
const PAGE: usize = 1024;

/// Tells all routes, for a snapshot, and nothing else.
struct Lists(Vec<Code>);

fn route(number: usize, code: &Code) -> RouteChange {
    let number = u32::try_from(number).expect("few links");
    RouteChange { domain: domain(), code: code.clone(), record: record(number) }
}

impl Origin for Lists {
    fn resolve(&self, _domain: DomainId, _code: &Code) -> OriginFuture {
        Box::pin(async { Err(OriginError("nobody is asked".to_owned())) })
    }

    fn changes(&self, after: Option<FeedPosition>) -> OriginFuture<Option<FeedPage>> {
        let head = after.unwrap_or(FeedPosition { epoch: 1, seq: 0 });
        Box::pin(async move { Ok(Some(FeedPage { head, first: 0, changes: Vec::new() })) })
    }

    fn routes(&self, after: Option<(DomainId, Code)>) -> OriginFuture<Vec<RouteChange>> {
        let first = after.map_or(0, |(_, after)| self.0.partition_point(|code| *code <= after));
        let page = self.0.iter().enumerate().skip(first).take(PAGE);
        let page = page.map(|(number, code)| route(number, code)).collect();
        Box::pin(async { Ok(page) })
    }
}

fn resolver(codes: &[Code], background: &Handle) -> Resolver {
    let config = ResolveConfig { max_cache_bytes: 1 << 30, ..ResolveConfig::default() };
    Resolver::new(&config, Arc::new(Lists(codes.to_vec())), background.clone())
}

/// All of them in the overlay.
fn applied(codes: &[Code], background: &Handle) -> Resolver {
    let resolver = resolver(codes, background);
    for (number, code) in codes.iter().enumerate() {
        resolver.apply(route(number, code));
    }
    resolver
}

fn keeper(resolver: &Resolver, dir: &Path) -> Keeper {
    let plan = SnapshotPlan {
        path: dir.join("routes.snapshot"),
        bytes_max: u64::MAX,
        clock: Arc::new(SystemClock),
    };
    Keeper::open(resolver.clone(), plan)
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

/// Anonymous memory and pages of files that this process has, in MB.
fn resident_mb() -> [f64; 2] {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ["RssAnon:", "RssFile:"].map(|name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
        kib.unwrap_or_default() * 1024.0 / 1e6
    })
}

fn say(what: &str, before: [f64; 2], took: Duration) {
    let now = resident_mb();
    let (anonymous, file) = (now[0] - before[0], now[1] - before[1]);
    let text = format!(
        "{what}: {:.0} MB (anonymous {anonymous:.0}, file {file:.0}) in {:.2} s\n",
        anonymous + file,
        took.as_secs_f64()
    );
    std::io::stderr().write_all(text.as_bytes()).expect("an open terminal");
}

fn known(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let dir = tempfile::tempdir().expect("a folder");
    let random = SeededRandom::new(1);
    let mut codes: Vec<_> = (0..1 << LINKS_LOG2).map(|_| Code::generate(&random)).collect();
    codes.sort_unstable();
    codes.dedup();
    let mut all = codes.clone();
    while all.len() < 1 << LINKS_LOG2 {
        all.push(codes[all.len() % codes.len()].clone());
    }
    let hits = zipf_hits(&all, &random);
    // One in ten million is no stranger.
    let mut strangers: Vec<_> = (0..HITS).map(|_| Code::generate(&random)).collect();
    strangers.retain(|code| codes.binary_search(code).is_err());
    let find = |resolver: &Resolver, code: &Code| {
        resolver.known(&Key::new(domain(), black_box(code.as_str())))
    };
    let mut group = c.benchmark_group("known");
    let mut measure = |name: &str, resolver: &Resolver, codes: &[Code], is_hit: bool| {
        let holds = |code| matches!(find(resolver, code), Known::Route(_)) == is_hit;
        assert!(codes.iter().all(holds));
        group.bench_function(name, |b| {
            let mut next = codes.iter().cycle();
            b.iter(|| next.next().map(|code| find(resolver, code)));
        });
    };

    let one = applied(&codes[..1], runtime.handle());
    measure("overlay/hit_of_1", &one, &codes[..1], true);
    let small = tempfile::tempdir().expect("a folder");
    let mut kept = keeper(&one, small.path());
    kept.rewrite(&|| false).expect("a snapshot");
    measure("snapshot/hit_of_1", &one, &codes[..1], true);
    measure("snapshot/unknown_of_1", &one, &codes[1..2], false);

    // Written by another resolver, so that what is measured is that of a start.
    let mut writer = keeper(&resolver(&codes, runtime.handle()), dir.path());
    writer.rewrite(&|| false).expect("a snapshot");
    drop(writer);
    let started = resolver(&codes, runtime.handle());
    let (before, begin) = (resident_mb(), Instant::now());
    let _keeper = keeper(&started, dir.path());
    say("a start with a snapshot of a million", before, begin.elapsed());
    measure("snapshot/hit_of_1_000_000_zipf", &started, &hits, true);
    measure("snapshot/unknown_of_1_000_000", &started, &strangers, false);
    say("the same, after its hits", before, Duration::ZERO);

    let (before, begin) = (resident_mb(), Instant::now());
    let million = applied(&codes, runtime.handle());
    say("a million applied to the overlay", before, begin.elapsed());
    measure("overlay/hit_of_1_000_000_zipf", &million, &hits, true);
    measure("overlay/unknown_of_1_000_000", &million, &strangers, false);
    group.finish();
}

criterion_group!(benches, known);
criterion_main!(benches);
