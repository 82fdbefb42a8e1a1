//! Domains that workspaces add, with a DNS server of the test's own.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use carom_control::Subscriber;
use carom_shared::ServedDomain;
use tokio::net::UdpSocket;
use tokio_util::task::TaskTracker;

use super::*;

/// A DNS server (RFC 1035) that knows TXT records, and of all other names that they do not exist.
#[derive(Clone, Default)]
struct Dns(Arc<Mutex<HashMap<String, Vec<String>>>>);

impl Dns {
    async fn serve(&self) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let dns = self.clone();
        TaskTracker::new().spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
                socket.send_to(&dns.answer(&buffer[..len]), from).await.unwrap();
            }
        });
        address
    }

    fn set(&self, name: &str, values: &[&str]) {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        self.0.lock().unwrap().insert(name.to_owned(), values);
    }

    fn answer(&self, query: &[u8]) -> Vec<u8> {
        let (mut at, mut labels) = (12, Vec::new());
        while query[at] > 0 {
            let end = at + 1 + usize::from(query[at]);
            labels.push(String::from_utf8(query[at + 1..end].to_vec()).unwrap());
            at = end;
        }
        let question = &query[12..at + 5];
        let known = self.0.lock().unwrap().get(&labels.join(".").to_lowercase()).cloned();
        let rcode = if known.is_some() { 0 } else { 3 };
        let values = known.unwrap_or_default();
        let mut answer = query[..2].to_vec();
        // A response, with recursion; one question, so many answers.
        answer.extend([
            0x81,
            0x80 | rcode,
            0,
            1,
            0,
            u8::try_from(values.len()).unwrap(),
            0,
            0,
            0,
            0,
        ]);
        answer.extend(question);
        for value in values {
            // The question's name, TXT, IN, 60 s.
            answer.extend([0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60]);
            let len = u8::try_from(value.len()).unwrap();
            answer.extend((u16::from(len) + 1).to_be_bytes());
            answer.push(len);
            answer.extend(value.as_bytes());
        }
        answer
    }
}

/// What the edge of the process is told.
#[derive(Default)]
struct Edge(Mutex<Vec<String>>);

impl Subscriber for Edge {
    fn apply(&self, _: &[carom_control::Change]) {}

    fn domains(&self, domains: &[ServedDomain]) {
        *self.0.lock().unwrap() = domains.iter().map(|domain| domain.host.to_string()).collect();
    }

    fn missed(&self) {}
}

/// An installation with a DNS server, and another workspace's key.
struct Domains {
    test: Test,
    dns: Dns,
    server: SocketAddr,
    other: String,
}

impl Domains {
    async fn new() -> Self {
        let mut test = Test::new().await;
        let made = test.operator(Method::POST, "/v1/keys", r#"{"name":"other"}"#).await;
        let other = made.json()["key"].as_str().unwrap().to_owned();
        let dns = Dns::default();
        let server = dns.serve().await;
        test.app.close().await;
        let insert = "insert into workspace (id, name, created_at_ms) values (777, 'Other', 1)";
        test.database.execute(insert).await;
        test.database.execute("update api_key set workspace_id = 777 where name = 'other'").await;
        let mut config = test.config();
        config.domains.dns_server = Some(server);
        test.reopened(open(config, test.clock.clone(), 2).await.unwrap());
        Self { test, dns, server, other }
    }

    /// As the other workspace.
    async fn by_other(&mut self, method: Method, path: &str, body: &str) -> Answer {
        std::mem::swap(&mut self.test.key, &mut self.other);
        let answer = self.test.call(method, path, body).await;
        std::mem::swap(&mut self.test.key, &mut self.other);
        answer
    }

    /// Opens it again, after so many milliseconds.
    async fn reopen(&mut self, later_ms: u64) {
        self.test.app.close().await;
        self.test.clock.advance(std::time::Duration::from_millis(later_ms));
        let mut config = self.test.config();
        config.domains.dns_server = Some(self.server);
        self.test.reopened(open(config, self.test.clock.clone(), 3).await.unwrap());
    }

    async fn add(&self, body: &str) -> serde_json::Value {
        let added = self.test.post("/api/v1/domains", body).await;
        assert_eq!(added.status, 201, "{}", added.body);
        added.json()
    }

    /// Writes the record that a domain waits for.
    fn publish(&self, domain: &serde_json::Value) {
        let challenge = &domain["challenge"];
        let value = challenge["value"].as_str().unwrap();
        self.dns.set(challenge["name"].as_str().unwrap(), &["v=spf1 -all", value]);
    }

    async fn asked(&self, host: &str) -> StatusCode {
        self.test.admin(&format!("/internal/v1/ask?domain={host}")).await.status
    }
}

fn path_of(domain: &serde_json::Value) -> String {
    format!("/api/v1/domains/{}", domain["id"].as_str().unwrap())
}

#[tokio::test]
async fn a_domain_waits_for_its_record_and_is_served_once_it_is_there() {
    let domains = Domains::new().await;
    let (test, edge) = (&domains.test, Arc::new(Edge::default()));
    test.app.subscribe(Arc::clone(&edge) as _).unwrap();
    let added = domains.add(r#"{"host":"Links.Shop.Example","home_url":"https://shop.example"}"#);
    let added = added.await;
    assert_eq!(added["challenge"]["name"], "_carom-challenge.links.shop.example");
    assert_eq!(
        (&added["state"], &added["home_url"]),
        (&"waiting".into(), &"https://shop.example/".into())
    );
    let verify = format!("{}/verify", path_of(&added));

    // Until then it serves nothing, and nothing can be put on it.
    let link = r#"{"url":"https://example.com/a","domain":"links.shop.example","code":"a"}"#;
    assert_eq!(
        test.post("/api/v1/links", link).await.json()["errors"][0]["code"],
        "domain-unknown"
    );
    assert_eq!(domains.asked("links.shop.example").await, 404);
    let refused = test.post(&verify, "").await;
    assert_eq!(refused.status, 409);
    assert!(refused.json()["detail"].as_str().unwrap().contains("none was found"));
    domains.dns.set("_carom-challenge.links.shop.example", &["carom-something-else"]);
    let refused = test.post(&verify, "").await;
    assert!(refused.json()["detail"].as_str().unwrap().contains("1 with other values"));
    assert!(edge.0.lock().unwrap().is_empty());

    domains.publish(&added);
    let verified = test.post(&verify, "").await;
    assert_eq!((verified.status, &verified.json()["state"]), (StatusCode::OK, &"verified".into()));
    assert_eq!(*edge.0.lock().unwrap(), ["go.example", "links.shop.example"]);
    for (host, status) in [
        ("links.shop.example", 200),
        ("LINKS.shop.example", 200),
        ("go.example", 200),
        ("shop.example", 404),
        ("%20", 404),
    ] {
        assert_eq!(domains.asked(host).await, status, "{host}");
    }
    let made = test.post("/api/v1/links", link).await;
    assert_eq!(made.json()["short_url"], "https://links.shop.example/a", "{}", made.body);

    // No link leads to where links are.
    for url in
        ["https://links.shop.example/b", "https://go.example/a", "https://links.shop.example"]
    {
        let body = format!(r#"{{"url":"{url}"}}"#);
        let refused = test.post("/api/v1/links", &body).await.json();
        assert_eq!(refused["errors"][0]["code"], "target-own-host", "{url}");
    }

    let list = test.get("/api/v1/domains").await.json();
    let hosts: Vec<_> = list["data"].as_array().unwrap().iter().map(|it| &it["host"]).collect();
    assert_eq!(hosts, ["go.example", "links.shop.example"]);
    assert_eq!(list["data"][0]["challenge"], serde_json::Value::Null);
}

#[tokio::test]
async fn who_verifies_first_has_the_host() {
    let mut domains = Domains::new().await;
    let body = r#"{"host":"a.example"}"#;
    let (ours, theirs) = (domains.add(body).await, {
        let added = domains.by_other(Method::POST, "/api/v1/domains", body).await;
        assert_eq!(added.status, 201, "{}", added.body);
        added.json()
    });
    assert_ne!(ours["challenge"]["value"], theirs["challenge"]["value"]);
    assert_eq!(domains.test.post("/api/v1/domains", body).await.status, 409, "a second time");

    domains.publish(&theirs);
    let (our_verify, their_verify) =
        (format!("{}/verify", path_of(&ours)), format!("{}/verify", path_of(&theirs)));
    assert_eq!(domains.test.post(&our_verify, "").await.status, 409, "it is their record");
    assert_eq!(domains.test.post(&their_verify, "").await.status, 404, "it is their domain");
    assert_eq!(domains.by_other(Method::POST, &their_verify, "").await.status, 200);
    domains.publish(&ours);
    let refused = domains.test.post(&our_verify, "").await;
    assert!(refused.json()["detail"].as_str().unwrap().contains("another workspace"));
    let theirs_path = path_of(&theirs);
    for (method, path) in [
        (Method::GET, theirs_path.clone()),
        (Method::DELETE, theirs_path.clone()),
        (Method::PATCH, theirs_path.clone()),
    ] {
        assert_eq!(domains.test.call(method, &path, "{}").await.status, 404);
    }

    // Their record is gone: that is noticed within a day, and they can lose it after seven.
    let verified = domains.by_other(Method::GET, &theirs_path, "").await.json();
    assert_eq!(verified["missing_since"], serde_json::Value::Null);
    domains.reopen(25 * 3600 * 1000).await;
    let mut missing = verified["missing_since"].clone();
    for _ in 0..2000 {
        if missing != serde_json::Value::Null {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        let now = domains.by_other(Method::GET, &theirs_path, "").await.json();
        missing = now["missing_since"].clone();
    }
    assert_eq!(missing, "2026-01-02T01:00:00Z");
    assert_eq!(domains.asked("a.example").await, 200, "it is a warning");
    assert_eq!(domains.test.post(&our_verify, "").await.status, 409);
    domains.reopen(7 * 24 * 3600 * 1000).await;
    assert_eq!(domains.test.post(&our_verify, "").await.status, 200);
    assert_eq!(domains.by_other(Method::GET, &theirs_path, "").await.status, 404);
    assert_eq!(domains.asked("a.example").await, 200);
}

#[tokio::test]
async fn a_released_host_needs_a_new_challenge() {
    let mut domains = Domains::new().await;
    let body = r#"{"host":"a.example"}"#;
    let added = domains.add(body).await;
    domains.publish(&added);
    let path = path_of(&added);
    assert_eq!(domains.test.post(&format!("{path}/verify"), "").await.status, 200);
    let link = r#"{"url":"https://example.com/","domain":"a.example","code":"x"}"#;
    let link = domains.test.post("/api/v1/links", link).await.json();

    let refused = domains.test.call(Method::DELETE, &path, "").await;
    assert_eq!(refused.status, 409);
    assert!(refused.json()["detail"].as_str().unwrap().contains("force=true"));
    let forced = format!("{path}?force=true");
    assert_eq!(domains.test.call(Method::DELETE, &forced, "").await.status, 204);
    assert_eq!(domains.asked("a.example").await, 404);
    assert_eq!(domains.test.get(&path).await.status, 404);
    let link_path = format!("/api/v1/links/{}", link["id"].as_str().unwrap());
    assert_eq!(domains.test.get(&link_path).await.json()["short_url"], "https://a.example/x");

    // The old record is of no use to anybody else, nor to whoever had it.
    let theirs = domains.by_other(Method::POST, "/api/v1/domains", body).await.json();
    let verify = format!("{}/verify", path_of(&theirs));
    assert_eq!(domains.by_other(Method::POST, &verify, "").await.status, 409);
    let again = domains.add(body).await;
    assert_eq!(again["id"], added["id"], "the same domain, with its links");
    assert_ne!(again["challenge"], added["challenge"]);
    assert_eq!(domains.test.post(&format!("{path}/verify"), "").await.status, 409);

    // Who gets the host gets none of the links.
    domains.publish(&theirs);
    assert_eq!(domains.by_other(Method::POST, &verify, "").await.status, 200);
    let link = r#"{"url":"https://example.org/","domain":"a.example","code":"x"}"#;
    let made = domains.by_other(Method::POST, "/api/v1/links", link).await;
    assert_eq!(made.status, 201, "{}", made.body);
}

#[tokio::test]
async fn where_a_domain_sends_people_is_changed_and_its_case_policy_is_not() {
    let domains = Domains::new().await;
    let test = &domains.test;
    let added = domains.add(r#"{"host":"a.example","folds_case":true}"#).await;
    let path = path_of(&added);
    domains.publish(&added);
    assert_eq!(test.post(&format!("{path}/verify"), "").await.status, 200);
    let made =
        test.post("/api/v1/links", r#"{"url":"https://e.com","domain":"a.example","code":"Sale"}"#);
    assert_eq!(made.await.json()["short_url"], "https://a.example/sale");
    let taken =
        test.post("/api/v1/links", r#"{"url":"https://e.com","domain":"a.example","code":"SALE"}"#);
    assert_eq!(taken.await.status, 409);
    let drawn = test.post("/api/v1/links", r#"{"url":"https://e.com","domain":"a.example"}"#).await;
    let code = drawn.json()["code"].as_str().unwrap().to_owned();
    assert_eq!((code.len(), code.to_lowercase()), (9, code));

    let patch = async |body: &str| test.call(Method::PATCH, &path, body).await;
    let changed =
        patch(r#"{"not_found_url":"https://e.com/404","expired_url":"https://e.com/over"}"#);
    let changed = changed.await;
    assert_eq!(changed.status, 200, "{}", changed.body);
    let served = test.app.domains();
    let served = served.iter().find(|domain| domain.host.as_str() == "a.example").unwrap();
    assert_eq!(served.not_found.as_deref(), Some("https://e.com/404"));
    assert_eq!((served.expired.as_deref(), served.folds_case), (Some("https://e.com/over"), true));
    let back = patch(r#"{"not_found_url":null}"#).await.json();
    assert_eq!(back["not_found_url"], serde_json::Value::Null);
    assert_eq!(back["expired_url"], "https://e.com/over");
    for (body, code) in [
        (r#"{"folds_case":false}"#, "immutable"),
        (r#"{"host":"b.example"}"#, "immutable"),
        (r#"{"home_url":"https://go.example/x"}"#, "target-own-host"),
        (r#"{"home_url":"http://localhost/"}"#, "target-private-host"),
        (r#"{"verified_at":null}"#, "malformed"),
    ] {
        let refused = patch(body).await;
        assert_eq!(refused.json()["errors"][0]["code"], code, "{body}");
    }
    let request = Request::patch(&path)
        .header("authorization", format!("Bearer {}", test.key))
        .header("content-type", "application/json")
        .header("if-match", "\"1\"");
    let stale = send(test.api(), request.body(Body::from("{}")).unwrap()).await;
    assert_eq!(stale.status, 412);

    let shared = test.get("/api/v1/domains").await.json()["data"][0].clone();
    assert_eq!(patch_of(test, &shared).await, 409, "the installation's own");
}

async fn patch_of(test: &Test, domain: &serde_json::Value) -> StatusCode {
    test.call(Method::PATCH, &path_of(domain), r#"{"home_url":null}"#).await.status
}

#[tokio::test]
async fn a_workspace_has_so_many_domains_at_most() {
    let mut domains = Domains::new().await;
    domains.test.app.close().await;
    let mut config = domains.test.config();
    config.domains.max_per_workspace = 1;
    domains.test.reopened(open(config, domains.test.clock.clone(), 4).await.unwrap());
    domains.add(r#"{"host":"a.example"}"#).await;
    let refused = domains.test.post("/api/v1/domains", r#"{"host":"b.example"}"#).await;
    assert_eq!(refused.status, 409);
    let theirs = domains.by_other(Method::POST, "/api/v1/domains", r#"{"host":"b.example"}"#);
    assert_eq!(theirs.await.status, 201);
}

/// A link to a host that becomes one's own could have no end: it is taken down, and comes back when the
/// host is released.
#[tokio::test]
async fn links_to_a_host_that_becomes_a_domain_are_taken_down() {
    let domains = Domains::new().await;
    let test = &domains.test;
    let mut links = Vec::new();
    for (url, fallback) in [
        ("https://late.example/a", None),
        ("http://late.example:8080/", None),
        ("https://example.com/", Some("https://late.example/b")),
        ("https://other.example/?u=https://late.example/", None),
    ] {
        let mut body = serde_json::json!({"url": url});
        if let Some(fallback) = fallback {
            body["fallback_url"] = fallback.into();
        }
        let made = test.post("/api/v1/links", &body.to_string()).await;
        assert_eq!(made.status, 201, "{}", made.body);
        links.push(format!("/api/v1/links/{}", made.json()["id"].as_str().unwrap()));
    }
    let states = async || {
        let mut states = Vec::new();
        for link in &links {
            states.push(test.get(link).await.json()["state"].as_str().unwrap().to_owned());
        }
        states
    };
    let become_ = async |expected: [&str; 4]| {
        for _ in 0..2000 {
            if states().await == expected {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert_eq!(states().await, expected);
    };
    let added = domains.add(r#"{"host":"late.example"}"#).await;
    assert_eq!(states().await, ["active"; 4], "a host that waits serves nothing");
    domains.publish(&added);
    let verified = test.post(&format!("{}/verify", path_of(&added)), "").await;
    assert_eq!(verified.status, 200, "{}", verified.body);
    become_(["blocked", "blocked", "blocked", "active"]).await;
    let released = test.call(Method::DELETE, &path_of(&added), "").await;
    assert_eq!(released.status, 204, "{}", released.body);
    become_(["active"; 4]).await;
}
