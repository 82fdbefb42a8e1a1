//! Reports, from the question over HTTP to the answer's last byte: its SQL, and its rendering as JSON
//! and CSV.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use carom_benches::{NOW, referrer_host};
use carom_control::{App, Config, LimitsConfig, OpenOptions, api_router, operator};
use carom_shared::batch::{BatchBuilder, Token};
use carom_shared::click::{Channel, Detail, Details, Device, Kind, Privacy, Via};
use carom_shared::{Click, Code, SeededRandom, TestClock};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::Request;
use http_body_util::BodyExt;
use tokio::runtime::Runtime;
use tower::{Service, ServiceExt};

/// Clicks of the link in question, evenly over thirty days.
const CLICKS: u32 = 10_000;
const DAYS: u32 = 30;
const COUNTRIES: [&str; 6] = ["DE", "FR", "IN", "JP", "US", "BR"];
const BROWSERS: [&str; 4] = ["Chrome", "Safari", "Firefox", "Edge"];

/// What is asked, and what it is called here.
const QUESTIONS: [(&str, &str); 4] = [
    ("totals_and_days", "?interval=day"),
    ("three_breakdowns", "?interval=day&by=country,browser,referrer"),
    ("three_breakdowns_filtered", "?by=country,browser,referrer&filter=country%3D%3DDE"),
    ("breakdown_as_csv", "?by=browser&format=csv&table=top.browser"),
];

/// Sends one request through a router, as a server does; its answer, which has to be a success.
async fn call<S, B>(router: S, method: &str, path: &str, key: &str, body: &str) -> Vec<u8>
where
    S: Service<Request<String>, Response = http::Response<B>>,
    S::Error: std::fmt::Debug,
    B: hyper::body::Body,
    B::Error: std::fmt::Debug,
{
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/json")
        .body(body.to_owned())
        .expect("a request");
    let response = router.oneshot(request).await.expect("an answer");
    let status = response.status();
    let body = response.into_body().collect().await.expect("a whole answer").to_bytes();
    assert!(status.is_success(), "{path}: {status}: {}", String::from_utf8_lossy(&body));
    body.to_vec()
}

async fn open(folder: &Path) -> App {
    let mut config = Config::new(folder.into(), "https://go.example.com");
    // What is measured is the answer, not who is made to wait for it.
    config.limits =
        LimitsConfig { key_per_minute: 0, workspace_per_minute: 0, ..LimitsConfig::default() };
    let (clock, random) = (Arc::new(TestClock::new(NOW)), Arc::new(SeededRandom::new(1)));
    App::open(OpenOptions { config, clock, random }).await.expect("an installation")
}

/// A link with its clicks; the path of its statistics, and a key that may read them.
async fn clicked_link(app: &App) -> (String, String) {
    let made = call(operator::router(app), "POST", "/v1/keys", "", r#"{"name":"bench"}"#).await;
    let made: serde_json::Value = serde_json::from_slice(&made).expect("JSON");
    let key = made["key"].as_str().expect("a key").to_owned();
    let link = r#"{"url":"https://example.com/","code":"clicked"}"#;
    call(api_router(app), "POST", "/api/v1/links", &key, link).await;
    let domain = app.domains()[0].id;
    let code = Code::parse("clicked").expect("a code");
    let record = app.resolve(domain, &code).await.expect("the store").expect("the link");

    let now_s = u32::try_from(NOW.as_secs()).expect("a time within 32 bits");
    let mut builder = BatchBuilder::new();
    for number in 0..CLICKS {
        let of = |list: &'static [&'static str]| list[number as usize % list.len()];
        builder.push(&Click {
            workspace: record.workspace,
            link: record.link,
            domain,
            at_s: now_s - 1 - number * (DAYS * 86_400 / CLICKS),
            n: 1,
            kind: Kind::Human,
            via: Via::Link,
            variant: 0,
            status: 302,
            target_revision: 1,
            visitor: u64::from(number % 4000) + 1,
            privacy: Privacy::default(),
            channel: Channel::Direct,
            device: Device::Desktop,
            details: Details::of(&[
                (Detail::Country, of(&COUNTRIES)),
                (Detail::Browser, of(&BROWSERS)),
                (Detail::Referrer, referrer_host(number as usize)),
            ]),
        });
    }
    let file = builder.finish(NOW, &[]);
    let token = Token::new(1, 1, 1, file.rows, file.crc);
    app.store_batch(&token, &file.bytes).await.expect("the clicks are stored");
    (format!("/api/v1/links/{}/stats", record.link), key)
}

fn report(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = Runtime::new().expect("a runtime");
    let app = runtime.block_on(open(folder.path()));
    let (path, key) = runtime.block_on(clicked_link(&app));
    let router = api_router(&app);
    let mut group = c.benchmark_group("report_of_10k_clicks");
    for (name, question) in QUESTIONS {
        let path = format!("{path}{question}");
        let ask = || runtime.block_on(call(router.clone(), "GET", black_box(&path), &key, ""));
        group.throughput(Throughput::Bytes(ask().len() as u64));
        group.bench_function(name, |b| b.iter(ask));
    }
    group.finish();
    runtime.block_on(app.close());
}

criterion_group!(benches, report);
criterion_main!(benches);
