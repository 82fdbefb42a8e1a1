//! From a route to a response.

use std::hint::black_box;
use std::time::Duration;

use carom_benches::{NOW, record};
use carom_edge::request::Form;
use carom_edge::resolve::Route;
use carom_edge::respond::{Answer, ErrorPage};
use carom_shared::{RedirectStatus, RouteRecord};
use criterion::{Criterion, criterion_group, criterion_main};

fn respond(c: &mut Criterion) {
    let found = record(1);
    let status = RedirectStatus::MovedPermanently;
    let ends = Some(NOW.saturating_add(Duration::from_secs(100)));
    let mut group = c.benchmark_group("respond");
    for (name, record) in [
        ("found", found.clone()),
        ("permanent", RouteRecord { status, ..found.clone() }),
        ("permanent_that_ends", RouteRecord { status, expires_at: ends, ..found.clone() }),
        ("ended", RouteRecord { expires_at: Some(NOW), ..found }),
    ] {
        let route = Route::try_from(record).expect("a target that is a header value");
        group.bench_function(name, |b| {
            b.iter(|| Answer::of(black_box(&route), NOW).response(Form::Html, NOW));
        });
    }
    group.bench_function("not_found_json", |b| {
        b.iter(|| black_box(Answer::Error(ErrorPage::NotFound)).response(Form::Json, NOW));
    });
    group.finish();
}

criterion_group!(benches, respond);
criterion_main!(benches);
