//! What is read of a request, from its bytes to the routes, and what of it becomes a click.

use std::hint::black_box;

use carom_benches::{NOW, domains, raw_click, request};
use carom_edge::record;
use carom_edge::request::{Ask, Form, Head, Visitor, plain};
use carom_edge::resolve::Route;
use carom_edge::respond::Redirect;
use criterion::{Criterion, criterion_group, criterion_main};
use http::Request;

/// A request as it is sent.
fn bytes(request: &Request<()>) -> Vec<u8> {
    let mut bytes = format!("GET {} HTTP/1.1\r\n", request.uri()).into_bytes();
    for (name, value) in request.headers() {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

fn parse(c: &mut Criterion) {
    let domains = domains();
    let mut group = c.benchmark_group("request");
    for (name, path) in
        [("code", "/kM4pQz9"), ("code_and_query", "/kM4pQz9?via=qr"), ("no_code", "/wp-login.php")]
    {
        let request = request(path);
        let head = Head::of(&request, false);
        group.bench_function(format!("ask/{name}"), |b| {
            b.iter(|| Ask::parse(black_box(&head), &domains));
        });
    }
    let request = request("/kM4pQz9");
    let bytes = bytes(&request);
    group.bench_function("head/bytes", |b| b.iter(|| plain::read(black_box(&bytes))));
    group.bench_function("head/hyper", |b| b.iter(|| Head::of(black_box(&request), false)));
    let head = Head::of(&request, false);
    group.bench_function("visitor", |b| b.iter(|| Visitor::read(black_box(&head))));
    group.bench_function("form", |b| b.iter(|| Form::wanted(black_box(&head))));

    let ask = Ask::parse(&head, &domains).expect("a request for a link");
    let visitor = Visitor::read(&head);
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
