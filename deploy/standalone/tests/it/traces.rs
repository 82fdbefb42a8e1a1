//! Traces, from the first span to a collector: an edge, its control plane, and a receiver of OTLP.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fleet::{EdgeProgram, TOKEN, call};
use crate::support::{Server, carom, exchange, free_ports};

const PATIENCE: Duration = Duration::from_secs(40);

/// A collector that keeps what it is sent. Its thread ends with the test's process.
struct Collector {
    port: u16,
    /// Each with the service that sent it.
    spans: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let spans = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&spans);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let body = receive(&mut stream);
                let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
                stream.get_mut().write_all(answer.as_bytes()).unwrap();
                for of in body["resourceSpans"].as_array().unwrap() {
                    let service = attribute(&of["resource"], "service.name").unwrap();
                    let service = service["stringValue"].as_str().unwrap();
                    let new = of["scopeSpans"][0]["spans"].as_array().unwrap().iter().cloned();
                    let new = new.map(|span| (service.to_owned(), span));
                    kept.lock().unwrap_or_else(PoisonError::into_inner).extend(new);
                }
            }
        });
        Self { port, spans }
    }

    fn spans(&self) -> Vec<(String, Value)> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a span.
    fn span(&self, what: impl Fn(&str, &Value) -> bool) -> Value {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let spans = self.spans();
            if let Some((_, span)) = spans.iter().find(|(service, span)| what(service, span)) {
                return span.clone();
            }
            assert!(Instant::now() < give_up, "there are only {spans:#?}");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    fn settings(&self) -> String {
        format!("[otel]\nendpoint = \"http://127.0.0.1:{}\"\nsample_ratio = 1\n", self.port)
    }
}

/// A POST of OTLP: what is in it.
fn receive(stream: &mut impl BufRead) -> Value {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    assert_eq!(line, "POST /v1/traces HTTP/1.1\r\n");
    let mut len = 0;
    while line != "\r\n" {
        line.clear();
        stream.read_line(&mut line).unwrap();
        if let Some(value) = line.strip_prefix("content-length: ") {
            len = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; len];
    stream.read_exact(&mut body).unwrap();
    serde_json::from_slice(&body).unwrap()
}

fn attribute<'a>(of: &'a Value, key: &str) -> Option<&'a Value> {
    let attributes = of["attributes"].as_array()?;
    attributes.iter().find(|it| it["key"] == key).map(|it| &it["value"])
}

fn is_child(span: &Value, parent: &Value) -> bool {
    span["traceId"] == parent["traceId"] && span["parentSpanId"] == parent["spanId"]
}

fn nanos(span: &Value, key: &str) -> u64 {
    span[key].as_str().unwrap().parse().unwrap()
}

#[test]
fn a_trace_goes_from_an_edge_to_its_control_plane() {
    let collector = Collector::start();
    let [port] = free_ports();
    let dir = tempfile::tempdir().unwrap();
    let settings = format!(
        "[internal]\ntoken = \"{TOKEN}\"\n[control]\ninternal_listen = \"127.0.0.1:{port}\"\n{}",
        collector.settings()
    );
    std::fs::write(dir.path().join("carom.toml"), settings).unwrap();
    let server = Server::start_in(dir);
    let key = server.key();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("carom.toml"), collector.settings()).unwrap();
    let edge = EdgeProgram::start_in(dir, port);

    // A command, with the commit that it waited for.
    let link = json!({ "url": "https://example.com/secret-path", "code": "secret-code" });
    call(&server, &key, "POST /api/v1/links", &link);
    let create = collector.span(|service, span| {
        service == "carom"
            && span["name"] == "request"
            && attribute(span, "http.route").is_some_and(|it| it["stringValue"] == "/api/v1/links")
    });
    assert_eq!(create["kind"], 2);
    assert_eq!(create.get("parentSpanId"), None);
    assert_eq!(attribute(&create, "http.response.status_code").unwrap()["intValue"], "201");
    assert_eq!(attribute(&create, "http.request.method").unwrap()["stringValue"], "POST");
    assert!(attribute(&create, "carom.request_id").is_some());
    let commit = collector.span(|_, span| span["name"] == "commit" && is_child(span, &create));
    assert_eq!(attribute(&commit, "carom.commands").unwrap()["intValue"], "1");
    for key in ["carom.queue_us", "carom.commit_us", "carom.db.time_us"] {
        assert!(attribute(&commit, key).is_some(), "{key}: {commit:#}");
    }
    assert!(nanos(&create, "startTimeUnixNano") <= nanos(&commit, "startTimeUnixNano"));
    assert!(nanos(&commit, "startTimeUnixNano") < nanos(&commit, "endTimeUnixNano"));

    // A question of the edge, which the control plane answers in the same trace.
    assert_eq!(edge.leads("never").0, 404);
    let look_up = collector.span(|service, span| {
        service == "carom-edge"
            && span["name"] == "look_up"
            && attribute(span, "carom.outcome").is_some_and(|it| it["stringValue"] == "absent")
    });
    let asked = collector.span(|service, span| {
        service == "carom-edge" && span["name"] == "ask_control" && is_child(span, &look_up)
    });
    let answered = collector.span(|service, span| {
        service == "carom" && span["name"] == "request" && is_child(span, &asked)
    });
    assert_eq!(attribute(&answered, "carom.surface").unwrap()["stringValue"], "internal");

    // A batch of clicks, also.
    edge.wait_for("secret-code", 302, "https://example.com/secret-path", PATIENCE);
    let shipped = collector.span(|service, span| service == "carom-edge" && span["name"] == "ship");
    collector.span(|service, span| service == "carom" && is_child(span, &shipped));

    let page = exchange(server.ports.control_admin, "GET /metrics HTTP/1.1\r\n", "");
    assert!(page.contains("carom_trace_spans_total{outcome=\"sent\"}"), "{page}");
    assert!(page.contains("carom_trace_spans_total{outcome=\"dropped\"} 0"), "{page}");
    // What was under way at the stop is sent.
    let before = Instant::now();
    let (text, status) = server.stop();
    assert!(status.success(), "{text}");
    assert!(before.elapsed() < PATIENCE);
    for (_, span) in collector.spans() {
        let text = span.to_string();
        for secret in ["secret-code", "secret-path", "127.0.0.1", key.as_str()] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
    }
}

/// Nobody listens, or somebody who never answers: answers come as ever, and the stop does not wait.
#[test]
fn a_collector_that_is_away_or_silent_costs_nothing() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let [away] = free_ports();
    for port in [away, silent.local_addr().unwrap().port()] {
        let dir = tempfile::tempdir().unwrap();
        let settings = format!("[otel]\nendpoint = \"http://127.0.0.1:{port}\"\n");
        std::fs::write(dir.path().join("carom.toml"), settings).unwrap();
        let server = Server::start_in(dir);
        let key = server.key();
        let begin = Instant::now();
        for number in 0..20 {
            server.shorten(&key, &format!("https://example.com/{number}"));
        }
        assert!(begin.elapsed() < PATIENCE / 2);
        let begin = Instant::now();
        let (text, status) = server.stop();
        assert!(status.success(), "{text}");
        assert!(begin.elapsed() < PATIENCE / 2, "{:?}", begin.elapsed());
    }
}

#[test]
fn a_line_of_the_log_names_its_trace() {
    let collector = Collector::start();
    let dir = tempfile::tempdir().unwrap();
    let settings =
        format!("[log]\nformat = \"json\"\nfilter = \"sqlx=debug\"\n{}", collector.settings());
    std::fs::write(dir.path().join("carom.toml"), settings).unwrap();
    let log = std::fs::File::create(dir.path().join("log")).unwrap();
    let server = Server::start_logging(dir, log.into());
    let key = server.key();
    server.shorten(&key, "https://example.com/");
    let commit = collector.span(|_, span| span["name"] == "commit");
    let log = std::fs::read_to_string(server.dir.path().join("log")).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let traced: Vec<_> = lines.filter(|line| line["trace_id"] == commit["traceId"]).collect();
    assert!(!traced.is_empty(), "{log}");
    assert!(traced.iter().any(|line| line["span_id"] == commit["spanId"]), "{traced:?}");
}

#[test]
fn an_endpoint_that_cannot_be_used_stops_the_start() {
    let dir = tempfile::tempdir().unwrap();
    for endpoint in ["https://collector:4318", "collector:4318"] {
        let output = carom(dir.path(), &["serve"])
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(64));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("setting otel.endpoint: must be the address"), "{error}");
    }
}
