//! Blocklists, links that are taken down, and what the public reports.

use std::time::{Duration, Instant};

use super::*;

/// Files are looked at each second; a busy machine takes longer for that.
const PATIENCE: Duration = Duration::from_secs(30);

/// An installation with one blocklist.
async fn with_list(text: &str) -> (Test, std::path::PathBuf) {
    let mut test = Test::new().await;
    let path = test.folder.path().join("list");
    write(&path, text);
    test.app.close().await;
    let mut config = test.config();
    config.abuse.blocklists = vec![path.clone()];
    test.reopened(open(config, test.clock.clone(), 2).await.unwrap());
    (test, path)
}

fn write(path: &Path, text: &str) {
    std::fs::write(path.with_extension("new"), text).unwrap();
    std::fs::rename(path.with_extension("new"), path).unwrap();
}

async fn state(test: &Test, id: &str) -> String {
    let link = test.get(&format!("/api/v1/links/{id}")).await;
    link.json()["state"].as_str().unwrap().to_owned()
}

async fn becomes(test: &Test, id: &str, expected: &str) {
    let begin = Instant::now();
    while state(test, id).await != expected {
        assert!(begin.elapsed() < PATIENCE, "not {expected} within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn make(test: &Test, url: &str, code: &str) -> String {
    let body = format!(r#"{{"url":"{url}","code":"{code}"}}"#);
    let made = test.post("/api/v1/links", &body).await;
    assert_eq!(made.status, 201, "{}", made.body);
    made.json()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_is_on_a_list_is_refused_and_links_follow_it_both_ways() {
    let (test, list) = with_list("127.0.0.1 evil.example\n").await;
    for (url, code) in [
        ("https://evil.example/", "target-blocked"),
        ("https://www.EVIL.example./x", "target-blocked"),
        ("https://evil.example.@good.example", "target-credentials"),
    ] {
        let refused = test.post("/api/v1/links", &format!(r#"{{"url":"{url}"}}"#)).await;
        assert_eq!(refused.status, 422);
        assert_eq!(refused.json()["errors"][0]["code"], code, "{url}");
    }
    let good = make(&test, "https://good.example/", "good").await;
    let path = format!("/api/v1/links/{good}");
    let patch =
        test.call(Method::PATCH, &path, r#"{"fallback_url":"https://evil.example/"}"#).await;
    assert_eq!(patch.json()["errors"][0]["pointer"], "#/fallback_url");
    let late = make(&test, "https://late.example/a", "late").await;

    write(&list, "evil.example\nlate.example\n");
    becomes(&test, &late, "blocked").await;
    assert_eq!(state(&test, &good).await, "active");
    assert_eq!(test.metric("carom_control_blocklist_entries").await, 2);

    // Its owner cannot bring it back, but can let it lead elsewhere.
    let path = format!("/api/v1/links/{late}");
    let refused = test.call(Method::PATCH, &path, r#"{"state":"active"}"#).await;
    assert_eq!(refused.json()["errors"][0]["code"], "blocked");
    let moved = test.call(Method::PATCH, &path, r#"{"url":"https://fine.example/"}"#).await;
    assert_eq!(moved.status, 200);
    becomes(&test, &late, "active").await;

    write(&list, "fine.example\nevil.example\n");
    becomes(&test, &late, "blocked").await;
    // As well among others.
    let change = format!(
        r#"{{"id":"{late}","action":"change","change":{{"url":"https://other.example/"}}}}"#
    );
    let change = format!(r#"{{"links":[{change}]}}"#);
    let bulk = test.call(Method::PATCH, "/api/v1/links/bulk", &change).await;
    assert_eq!(bulk.json()["results"][0]["status"], 200);
    becomes(&test, &late, "active").await;
    write(&list, "other.example\nevil.example\n");
    becomes(&test, &late, "blocked").await;
    let rows = r#"[{"code":"late","url":"https://fine.example/"}]"#;
    let body = format!(r#"{{"on_conflict":"replace","rows":{rows}}}"#);
    let imported = test.post("/api/v1/links/import", &body).await;
    assert_eq!(imported.json()["results"][0]["outcome"], "replaced", "{}", imported.body);
    becomes(&test, &late, "active").await;
    write(&list, "fine.example\nevil.example\n");
    becomes(&test, &late, "blocked").await;
    write(&list, "evil.example\n");
    becomes(&test, &late, "active").await;

    std::fs::remove_file(&list).unwrap();
    let begin = Instant::now();
    while test.metric("carom_control_blocklist_files_failed").await == 0 {
        assert!(begin.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let refused = test.post("/api/v1/links", r#"{"url":"https://evil.example/"}"#).await;
    assert_eq!(refused.status, 422, "the last list stays");
}

#[tokio::test]
async fn without_lists_those_that_were_taken_down_by_one_come_back() {
    let (mut test, list) = with_list("other.example\n").await;
    let id = make(&test, "https://evil.example/", "x").await;
    write(&list, "evil.example\n");
    becomes(&test, &id, "blocked").await;
    test.app.close().await;
    // On PostgreSQL another control plane could still have the list; nobody is heard of any more who had it.
    test.clock.advance(Duration::from_mins(6));
    test.reopened(open(test.config(), test.clock.clone(), 3).await.unwrap());
    becomes(&test, &id, "active").await;
}

/// As where the download of a list has failed just before a restart.
#[tokio::test]
async fn a_list_that_cannot_be_read_at_start_brings_nothing_back() {
    let (mut test, list) = with_list("other.example\n").await;
    let kept = make(&test, "https://evil.example/", "kept").await;
    let late = make(&test, "https://late.example/", "late").await;
    write(&list, "evil.example\n");
    becomes(&test, &kept, "blocked").await;
    test.app.close().await;
    std::fs::remove_file(&list).unwrap();
    let (own, mut config) = (list.with_extension("own"), test.config());
    write(&own, "late.example\n");
    config.abuse.blocklists = vec![list.clone(), own];
    test.reopened(open(config, test.clock.clone(), 3).await.unwrap());
    // By then all links were looked at.
    becomes(&test, &late, "blocked").await;
    assert_eq!(state(&test, &kept).await, "blocked");
    write(&list, "other.example\n");
    becomes(&test, &kept, "active").await;
}

#[tokio::test]
async fn an_operator_takes_a_link_down_and_its_owner_cannot_undo_it() {
    let test = Test::new().await;
    let id = make(&test, "https://example.com/", "x").await;
    let path = format!("/api/v1/links/{id}");
    test.call(Method::PATCH, &path, r#"{"state":"disabled"}"#).await;
    for name in [&*id, "x", "https%3A%2F%2Fgo.example%2Fx"] {
        let done = test.operator(Method::POST, &format!("/v1/links/{name}/block"), "{}").await;
        assert_eq!((done.status, &done.json()["state"]), (StatusCode::OK, &"blocked".into()));
    }
    for body in [r#"{"state":"active"}"#, r#"{"state":"disabled"}"#] {
        assert_eq!(test.call(Method::PATCH, &path, body).await.status, 422);
    }
    // To delete it and take that back, or its code anew, brings nothing back.
    assert_eq!(test.call(Method::DELETE, &path, "").await.status, 204);
    let restored = test.post(&format!("{path}/restore"), "").await;
    assert_eq!(restored.json()["state"], "blocked");
    assert_eq!(test.call(Method::DELETE, &path, "").await.status, 204);
    let anew = r#"{"url":"https://example.com/","code":"x"}"#;
    assert_eq!(test.post("/api/v1/links", anew).await.json()["code"], "code-taken");
    let code = test.get("/api/v1/codes/x").await.json();
    assert_eq!((&code["available"], &code["reason"]), (&false.into(), &"taken".into()), "{code}");
    let rows = r#""rows":[{"code":"x","url":"https://example.com/"}]"#;
    let body = format!(r#"{{"on_conflict":"replace",{rows}}}"#);
    let imported = test.post("/api/v1/links/import", &body).await;
    assert_eq!(imported.json()["results"][0]["outcome"], "refused", "{}", imported.body);
    assert_eq!(test.post(&format!("{path}/restore"), "").await.status, 200);
    assert_eq!(test.get("/api/v1/links?limit=1").await.json()["data"][0]["state"], "blocked");

    let done = test.operator(Method::POST, &format!("/v1/links/{id}/unblock"), "{}").await;
    assert_eq!(done.json()["state"], "disabled", "as it was");
    let nothing = test.operator(Method::POST, "/v1/links/nothing/block", "{}").await;
    assert_eq!(nothing.status, 404);
}

#[tokio::test]
async fn a_file_takes_links_down_for_operators_alone() {
    let (test, _) = with_list("evil.example\n").await;
    let row = r#"{"code":"x","url":"https://evil.example/","state":"blocked"}"#;
    let refused = test.post("/api/v1/links/import", &format!(r#"{{"rows":[{row}]}}"#)).await;
    let errors = refused.json()["results"][0]["errors"].clone();
    assert_eq!(errors[0]["pointer"], "#/state", "{}", refused.body);
    // What an export of theirs has comes back as it was, also where it leads to what is listed.
    let body = format!(r#"{{"on_conflict":"refuse","dry_run":false,"rows":[{row}]}}"#);
    let made = test.operator(Method::POST, "/v1/import", &body).await;
    assert_eq!(made.json()["rows"][0], "made", "{}", made.body);
    let links = test.get("/api/v1/links").await.json();
    assert_eq!(links["data"][0]["state"], "blocked");
    let done = test.operator(Method::POST, "/v1/links/x/unblock", "{}").await;
    assert_eq!(done.status, 200, "{}", done.body);
}

async fn report(test: &Test, media_type: &str, body: &str) -> Answer {
    let request = Request::post("/report").header("content-type", media_type);
    send(test.api(), request.body(Body::from(body.to_owned())).unwrap()).await
}

#[tokio::test]
async fn anybody_reports_a_link_and_the_operator_closes_it() {
    let test = Test::new().await;
    let id = make(&test, "https://example.com/", "x").await;
    let json =
        r#"{"short_url":"https://go.example/x","reason":"phishing","contact":"a@b.example"}"#;
    assert_eq!(report(&test, "application/json", json).await.status, 202);
    let form = "short_url=go.example%2Fx%2B&reason=malware&comment=a%0Ab&contact=";
    let thanks = report(&test, "application/x-www-form-urlencoded; charset=utf-8", form).await;
    assert_eq!(thanks.status, 202);
    assert!(thanks.body.contains("Thank you"));
    for (body, code) in [
        (r#"{"short_url":"https://go.example/none","reason":"spam"}"#, "link-unknown"),
        (r#"{"short_url":"https://example.com/x","reason":"spam"}"#, "link-unknown"),
        (r#"{"short_url":"https://go.example/x","reason":"boring"}"#, "report-reason"),
        (r#"{"short_url":"https://go.example/x","reason":"spam","more":1}"#, "malformed"),
    ] {
        let refused = report(&test, "application/json", body).await;
        assert_eq!(
            (refused.status.as_u16(), &refused.json()["errors"][0]["code"]),
            (422, &code.into())
        );
    }
    assert_eq!(report(&test, "text/plain", form).await.status, 415);
    assert_eq!(report(&test, "application/json", &"x".repeat(20_000)).await.status, 413);

    // The workspace sees what, not who.
    let seen = test.get("/api/v1/reports").await;
    let data = seen.json()["data"].as_array().unwrap().clone();
    assert_eq!(data.len(), 2);
    assert_eq!(data.iter().filter(|it| it["comment"] == "a\nb").count(), 1);
    assert!(data.iter().all(|it| it["link_id"] == *id && it["state"] == "open"));
    assert!(!seen.body.contains("a@b.example"));
    let page = test.get("/api/v1/reports?limit=1").await.json();
    let next = page["next_before"].as_str().unwrap();
    let rest = test.get(&format!("/api/v1/reports?limit=1&before={next}")).await.json();
    assert_eq!((rest["data"].as_array().unwrap().len(), &rest["next_before"]), (1, &().into()));
    assert_eq!(test.get("/api/v1/reports?limit=0").await.status, 400);

    let queue = test.operator(Method::GET, "/v1/reports", "").await;
    assert!(queue.body.contains("a@b.example"));
    let report_id = queue.json()["data"][0]["id"].as_str().unwrap().to_owned();
    let close = format!("/v1/reports/{report_id}/close");
    let closed = test.operator(Method::POST, &close, r#"{"block":true}"#).await.json();
    assert_eq!((&closed["state"], &closed["closed"]), (&"blocked".into(), &2.into()));
    assert_eq!(state(&test, &id).await, "blocked");
    assert!(
        test.operator(Method::GET, "/v1/reports", "").await.json()["data"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    let all = test.operator(Method::GET, "/v1/reports?all=true", "").await;
    assert_eq!(all.json()["data"].as_array().unwrap().len(), 2);
    assert!(!all.body.contains("a@b.example"), "it is gone with the report");
    let nothing = test.operator(Method::POST, "/v1/reports/7/close", r#"{"block":false}"#).await;
    assert_eq!(nothing.status, 404);
}

#[tokio::test]
async fn a_link_has_so_many_open_reports_at_most() {
    let test = Test::new().await;
    make(&test, "https://example.com/", "x").await;
    for _ in 0..25 {
        let json = r#"{"short_url":"go.example/x","reason":"other"}"#;
        assert_eq!(report(&test, "application/json", json).await.status, 202);
    }
    let queue = test.operator(Method::GET, "/v1/reports", "").await.json();
    assert_eq!(queue["data"].as_array().unwrap().len(), 20);
}

#[tokio::test]
async fn the_form_shows_the_link_and_nothing_runs_in_it() {
    let test = Test::new().await;
    let page = test.get("/report?url=go.example/x%22%3E%3Cscript%3E").await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("value=\"go.example/x&quot;&gt;&lt;script&gt;\""), "{}", page.body);
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("script-src"));
}
