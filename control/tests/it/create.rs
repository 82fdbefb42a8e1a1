use super::*;
use carom_control::{Change, Subscriber};
use carom_shared::Code;
use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

/// Keeps what it is told.
#[derive(Default)]
struct Seen(Mutex<Vec<Change>>);

impl Subscriber for Seen {
    fn apply(&self, changes: &[Change]) {
        self.0.lock().unwrap().extend_from_slice(changes);
    }

    fn missed(&self) {}
}

/// Returns once no more commands come: how long they take to is the machine's affair.
async fn all_wait(test: &Test) {
    let (mut before, mut unchanged) = (0, 0);
    while unchanged < 5 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let waiting = test.metric("carom_control_writes_waiting").await;
        unchanged = if waiting == before && waiting > 0 { unchanged + 1 } else { 0 };
        before = waiting;
    }
}

/// 64 at once, a quarter of them after the same code: each is answered once, refusals undo nobody
/// else, and whatever was answered was published before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parallel_creates_share_commits_and_keep_their_promises() {
    let test = Arc::new(Test::new().await);
    let seen = Arc::new(Seen::default());
    let commits_before = test.metric("carom_control_commits_total").await;
    test.app.subscribe(Arc::<Seen>::clone(&seen)).unwrap();
    assert!(test.app.subscribe(Arc::<Seen>::clone(&seen)).is_err());

    // While another program holds the lock of writers, all of them queue.
    let lock = test.database.lock_writes().await;
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..64 {
        let (test, seen) = (Arc::clone(&test), Arc::clone(&seen));
        calls.spawn(async move {
            let code = if n % 4 == 0 { r#","code":"wanted""# } else { "" };
            let body = format!(r#"{{"url":"https://example.com/{n}"{code}}}"#);
            let answer = test.post("/api/v1/links", &body).await;
            if answer.status != StatusCode::CREATED {
                return Err(answer.json()["code"].as_str().unwrap().to_owned());
            }
            let code = answer.json()["code"].as_str().unwrap().to_owned();
            let target = format!("https://example.com/{n}");
            let is_published = seen
                .0
                .lock()
                .unwrap()
                .iter()
                .any(|change| change.code.as_str() == code && *change.record.target == *target);
            assert!(is_published, "{code} was answered before it was published");
            Ok(code)
        });
    }
    all_wait(&test).await;
    lock.release().await;
    let answers: Vec<Result<String, String>> = calls.join_all().await;
    let codes: HashSet<&String> = answers.iter().flatten().collect();
    assert_eq!(codes.len(), 49);
    assert_eq!(answers.iter().filter(|a| **a == Err("code-taken".into())).count(), 15);

    let changes = seen.0.lock().unwrap().clone();
    let seqs: Vec<u64> = changes.iter().map(|change| change.seq).collect();
    assert_eq!(seqs, (1..=49).collect::<Vec<u64>>());
    for change in &changes {
        let record = test.app.resolve(change.domain, &change.code).await.unwrap();
        assert_eq!(record.as_ref(), Some(&change.record));
    }
    assert_eq!(test.metric("carom_control_feed_seq").await, 49);
    assert_eq!(test.metric("carom_control_links_created_total").await, 49);
    let commits = test.metric("carom_control_commits_total").await - commits_before;
    assert!((1..=8).contains(&commits), "{commits} commits for 64 calls");
}

/// More commands than the queue holds are refused at once, and only those.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses_with_a_time_to_come_back() {
    let test = Arc::new(Test::new().await);
    let lock = test.database.lock_writes().await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..1400 {
        let test = Arc::clone(&test);
        calls.spawn(async move { test.post("/shorten", r#"{"url":"https://a.example/"}"#).await });
    }
    // Only refusals are answered while the lock is held.
    let refused = calls.join_next().await.unwrap().unwrap();
    assert_eq!(
        (refused.status, refused.json()["code"].as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, Some("overloaded"),)
    );
    assert_eq!(refused.headers["retry-after"], "1");
    lock.release().await;
    let answers = calls.join_all().await;
    let made = answers.iter().filter(|answer| answer.status == StatusCode::CREATED).count();
    assert!(made >= 1024, "{made}");
    assert_eq!(test.get("/api/v1/stats").await.json()["links"], made);
}

/// As after a kill: the database is opened again without having been closed.
#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_kill() {
    let test = Test::new().await;
    let made = test.post("/shorten", r#"{"url":"https://example.com/kept"}"#).await.json();
    let again = open(test.config(), Arc::clone(&test.clock), 2).await.unwrap();
    let code = Code::parse(made["code"].as_str().unwrap()).unwrap();
    let domain = again.domains().remove(0);
    assert_eq!((domain.host.as_str(), domain.is_default), ("go.example", true));
    let record = again.resolve(domain.id, &code).await.unwrap().unwrap();
    assert_eq!(&*record.target, "https://example.com/kept");
    let request = Request::get("/api/v1/links")
        .header("authorization", format!("Bearer {}", test.key))
        .body(Body::empty())
        .unwrap();
    let list = send(api_router(&again), request).await.json();
    assert_eq!(list["data"][0]["code"], made["code"]);
}

/// A client that goes away while its command waits: it is done all the same.
#[tokio::test]
async fn a_client_that_leaves_does_not_undo_its_command() {
    let test = Test::new().await;
    let seen = Arc::new(Seen::default());
    test.app.subscribe(Arc::<Seen>::clone(&seen)).unwrap();
    // Another program holds the lock of writers, so the command waits for it.
    let lock = test.database.lock_writes().await;
    let body = r#"{"url":"https://example.com/","code":"left"}"#;
    let call = test.post("/api/v1/links", body);
    let left = tokio::time::timeout(Duration::from_secs(1), call).await;
    assert!(left.is_err(), "answered under another's lock");
    assert!(seen.0.lock().unwrap().is_empty());
    lock.release().await;
    test.app.close().await;
    assert_eq!(seen.0.lock().unwrap().iter().filter(|c| c.code.as_str() == "left").count(), 1);
}

/// A commit that fails does nothing, says so to each of its commands, and does not stop the writer.
#[tokio::test]
async fn a_commit_that_fails_does_nothing_at_all() {
    let test = Test::new().await;
    let seen = Arc::new(Seen::default());
    test.app.subscribe(Arc::<Seen>::clone(&seen)).unwrap();
    test.database.execute("alter table change rename to hidden").await;
    let body = r#"{"url":"https://example.com/","code":"once"}"#;
    let failed = test.post("/api/v1/links", body).await;
    assert_eq!(failed.json()["code"], "overloaded");
    assert_eq!(test.get("/api/v1/stats").await.json()["links"], 0);
    test.database.execute("alter table hidden rename to change").await;
    assert_eq!(test.post("/api/v1/links", body).await.status, StatusCode::CREATED);
    let seqs: Vec<u64> = seen.0.lock().unwrap().iter().map(|change| change.seq).collect();
    assert_eq!(seqs, [1]);
    assert_eq!(test.metric("carom_control_commits_failed_total").await, 1);
}
