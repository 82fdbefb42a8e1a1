//! From a route to a response.

use std::hint::black_box;
use std::time::Duration;

use carom_benches::{NOW, record};
use carom_edge::request::{Form, Verb};
use carom_edge::resolve::Route;
use carom_edge::respond::{ErrorPage, HttpDate, Redirect, preview};
use carom_shared::{Forward, QueryPolicy, RedirectStatus, RouteRecord};
use criterion::{Criterion, criterion_group, criterion_main};
use http::Version;

fn respond(c: &mut Criterion) {
    let found = record(1);
    let status = RedirectStatus::MovedPermanently;
    let ends = Some(NOW.saturating_add(Duration::from_secs(100)));
    let mut group = c.benchmark_group("respond");
    let query = Some("utm_source=mail&colour=red");
    let policy = QueryPolicy { forward: Forward::All, visitor_wins: false };
    for (name, record) in [
        ("found", found.clone()),
        ("found_with_query", RouteRecord { query: policy, ..found.clone() }),
        ("permanent", RouteRecord { status, ..found.clone() }),
        ("permanent_that_ends", RouteRecord { status, expires_at: ends, ..found.clone() }),
        ("ended", RouteRecord { expires_at: Some(NOW), ..found.clone() }),
    ] {
        let route = Route::try_from(record).expect("a target that is a header value");
        group.bench_function(name, |b| {
            b.iter(|| {
                Redirect::of(black_box(&route), NOW)
                    .map(|redirect| redirect.answer(black_box(query), NOW))
                    .unwrap_or_else(|page| page.answer(Form::Html))
                    .into_response(Version::HTTP_11)
            });
        });
    }
    group.bench_function("not_found_json", |b| {
        let answer = || black_box(ErrorPage::NotFound).answer(Form::Json);
        b.iter(|| answer().into_response(Version::HTTP_11));
    });
    let route = Route::try_from(found).expect("a target that is a header value");
    let date = HttpDate::of(NOW);
    let mut out = Vec::new();
    group.bench_function("found_as_bytes", |b| {
        b.iter(|| {
            out.clear();
            let redirect = Redirect::of(black_box(&route), NOW);
            redirect.map(|redirect| redirect.answer(None, NOW).write(Verb::Get, &date, &mut out))
        });
    });
    group.bench_function("preview", |b| {
        b.iter(|| {
            let redirect = Redirect::of(black_box(&route), NOW);
            redirect.map(|redirect| preview::answer(&redirect, Form::Html, None))
        });
    });
    group.finish();
}

criterion_group!(benches, respond);
criterion_main!(benches);
