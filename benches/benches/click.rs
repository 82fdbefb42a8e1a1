//! A click's two encodings: in the ring, once per redirect, and in batches, once per flush.

use std::hint::black_box;

use carom_benches::{NOW, domain, link, raw_click, referrer_host, workspace};
use carom_edge::EnrichConfig;
use carom_edge::enrich::Enricher;
use carom_shared::batch::{Batch, BatchBuilder, BatchFile};
use carom_shared::click::{Channel, Detail, Details, Device, Kind, Privacy, Via};
use carom_shared::{Click, Random, RawClick, Salts, SeededRandom};
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

/// User agents that have to be worked out, because only one is remembered.
const USER_AGENTS: [&str; 6] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
     Chrome/143.0.0.0 Safari/537.36 Edg/143.0.0.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like \
     Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) \
     Chrome/142.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like \
     Gecko) Mobile/15E148 Instagram 320.0.0.30.87 (iPhone14,2; iOS 17_4; de_DE; scale=3.00)",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
];

fn enrich(c: &mut Criterion) {
    let salts = Salts::default().roll(NOW, &SeededRandom::new(1));
    let mut group = c.benchmark_group("enrich");
    group.throughput(Throughput::Elements(1));

    let mut enricher = Enricher::alone(&EnrichConfig::default(), salts.clone());
    let plain = raw_click();
    let campaign = RawClick {
        query: b"utm_source=newsletter&utm_medium=email&utm_campaign=spring%20sale",
        ..plain
    };
    for (name, click) in [("known_agent", plain), ("known_agent_and_campaign", campaign)] {
        group.bench_function(name, |b| {
            b.iter(|| black_box(enricher.enrich(black_box(&click))).visitor);
        });
    }

    let config = EnrichConfig { max_user_agents: 1, ..EnrichConfig::default() };
    let mut enricher = Enricher::alone(&config, salts);
    group.bench_function("unknown_agent", |b| {
        let mut agents = USER_AGENTS.iter().cycle();
        b.iter(|| {
            let user_agent = agents.next().map_or(&b""[..], |agent| agent.as_bytes());
            let click = RawClick { user_agent, ..plain };
            black_box(enricher.enrich(black_box(&click))).visitor
        });
    });
    group.finish();
}

criterion_group!(benches, ring, enrich, batch);
criterion_main!(benches);
