//! What is read of a request, between hyper and the routes, and what of it becomes a click.

use std::hint::black_box;

use carom_benches::{NOW, domains, raw_click, request};
use carom_edge::record;
use carom_edge::request::{Ask, Form, Visitor};
use carom_edge::resolve::Route;
use carom_edge::respond::Redirect;
use criterion::{Criterion, criterion_group, criterion_main};

fn parse(c: &mut Criterion) {
    let domains = domains();
    let mut group = c.benchmark_group("request");
    for (name, path) in
        [("code", "/kM4pQz9"), ("code_and_query", "/kM4pQz9?via=qr"), ("no_code", "/wp-login.php")]
    {
        let request = request(path);
        group.bench_function(format!("ask/{name}"), |b| {
            b.iter(|| Ask::parse(black_box(&request), false, &domains));
        });
    }
    let request = request("/kM4pQz9");
    let headers = request.headers();
    group.bench_function("visitor", |b| b.iter(|| Visitor::read(black_box(headers))));
    group.bench_function("form", |b| b.iter(|| Form::wanted(black_box(headers))));

    let ask = Ask::parse(&request, false, &domains).expect("a request for a link");
    let visitor = Visitor::read(headers);
    let route = Route::try_from(carom_benches::record(1)).expect("a target that is a header value");
    let redirect = Redirect::of(&route, NOW).expect("an active link");
    let address = raw_click().address;
    group.bench_function("click", |b| {
        b.iter(|| {
            record::click(black_box(&ask), black_box(&visitor), address, black_box(&redirect), NOW)
        });
    });
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
