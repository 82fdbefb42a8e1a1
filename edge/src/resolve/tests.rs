mod absence;
mod model;

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use carom_shared::{LinkId, QueryPolicy, RedirectStatus, RouteState, WorkspaceId};

use super::*;

/// An origin that answers when it is told to, with what it knew when it was asked.
#[derive(Default)]
struct SlowOrigin {
    routes: Mutex<HashMap<String, RouteRecord>>,
    asked: AtomicUsize,
    go: Arc<Notify>,
}

impl Origin for SlowOrigin {
    fn resolve(&self, _domain: DomainId, code: &Code) -> OriginFuture {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = self.routes.lock().unwrap().get(code.as_str()).cloned();
        let go = Arc::clone(&self.go);
        Box::pin(async move {
            go.notified().await;
            Ok(answer)
        })
    }
}

fn record(version: u64) -> RouteRecord {
    RouteRecord {
        version,
        state: RouteState::Active,
        link: LinkId::try_from(1).unwrap(),
        workspace: WorkspaceId::try_from(1).unwrap(),
        status: RedirectStatus::Found,
        target_revision: 1,
        not_before: None,
        expires_at: None,
        target: format!("https://example.com/{version}").into(),
        fallback: None,
        query: QueryPolicy::default(),
        max_age_s: RouteRecord::MAX_AGE_MAX_S,
    }
}

fn domain() -> DomainId {
    DomainId::try_from(1).unwrap()
}

fn change(code: &str, version: u64) -> RouteChange {
    RouteChange { domain: domain(), code: Code::parse(code).unwrap(), record: record(version) }
}

fn resolver(origin: &Arc<SlowOrigin>) -> Resolver {
    let config = ResolveConfig { timeout_ms: 200, ..ResolveConfig::default() };
    Resolver::new(&config, Arc::clone(origin) as Arc<dyn Origin>, Handle::current())
}

/// Starts a lookup and returns once the origin was asked.
async fn look_up(
    resolver: &Resolver,
    origin: &SlowOrigin,
    code: &'static str,
) -> tokio::task::JoinHandle<Outcome> {
    let before = origin.asked.load(Ordering::SeqCst);
    let resolver = resolver.clone();
    let lookup = TaskTracker::new().spawn(async move {
        resolver.look_up(&Key::new(domain(), code), domain(), Code::parse(code).unwrap()).await
    });
    while origin.asked.load(Ordering::SeqCst) == before {
        tokio::task::yield_now().await;
    }
    lookup
}

fn version(outcome: &Outcome) -> Option<u64> {
    outcome.as_ref().unwrap().as_ref().map(|route| route.version)
}

#[tokio::test]
async fn many_who_ask_at_once_are_one_question() {
    let origin = Arc::new(SlowOrigin::default());
    origin.routes.lock().unwrap().insert("abc".into(), record(1));
    let resolver = resolver(&origin);
    let first = look_up(&resolver, &origin, "abc").await;
    let others: Vec<_> = (0..50)
        .map(|_| {
            let resolver = resolver.clone();
            TaskTracker::new().spawn(async move {
                let code = Code::parse("abc").unwrap();
                resolver.look_up(&Key::new(domain(), "abc"), domain(), code).await
            })
        })
        .collect();
    tokio::task::yield_now().await;
    origin.go.notify_waiters();
    assert_eq!(version(&first.await.unwrap()), Some(1));
    for other in others {
        assert_eq!(version(&other.await.unwrap()), Some(1));
    }
    assert_eq!(origin.asked.load(Ordering::SeqCst), 1);
    let Known::Route(route) = resolver.known(&Key::new(domain(), "abc")) else {
        panic!("the answer was not kept");
    };
    assert_eq!(route.location, "https://example.com/1");
}

#[tokio::test]
async fn an_absence_is_believed_until_a_create() {
    let origin = Arc::new(SlowOrigin::default());
    let resolver = resolver(&origin);
    let key = Key::new(domain(), "new");
    let lookup = look_up(&resolver, &origin, "new").await;
    origin.go.notify_waiters();
    assert_eq!(version(&lookup.await.unwrap()), None);
    assert!(matches!(resolver.known(&key), Known::Absent));
    resolver.apply(change("new", 1));
    assert!(matches!(resolver.known(&key), Known::Route(_)));
}

#[tokio::test]
async fn an_answer_older_than_a_change_is_discarded() {
    let origin = Arc::new(SlowOrigin::default());
    origin.routes.lock().unwrap().insert("edit".into(), record(1));
    let resolver = resolver(&origin);
    // Asked before the change, answered after it: once with "none", once with version 1.
    for (code, changed_to) in [("create", 1), ("edit", 2)] {
        let lookup = look_up(&resolver, &origin, code).await;
        resolver.apply(change(code, changed_to));
        origin.go.notify_waiters();
        assert_eq!(version(&lookup.await.unwrap()), Some(changed_to), "{code}");
        let known = resolver.known(&Key::new(domain(), code));
        assert!(matches!(known, Known::Route(route) if route.version == changed_to), "{code}");
    }
}

#[tokio::test]
async fn changes_may_come_twice_and_in_any_order() {
    let resolver = resolver(&Arc::new(SlowOrigin::default()));
    for version in [2, 1, 3, 3, 2] {
        resolver.apply(change("abc", version));
    }
    let known = resolver.known(&Key::new(domain(), "abc"));
    assert!(matches!(known, Known::Route(route) if route.version == 3));
}

#[tokio::test]
async fn an_origin_that_does_not_answer_makes_the_route_unavailable_not_absent() {
    let origin = Arc::new(SlowOrigin::default());
    let resolver = resolver(&origin);
    let lookup = look_up(&resolver, &origin, "slow").await;
    assert_eq!(lookup.await.unwrap(), Err(Unavailable));
    assert!(matches!(resolver.known(&Key::new(domain(), "slow")), Known::Unknown));
}

#[tokio::test]
async fn keys_of_two_domains_or_codes_differ() {
    let resolver = resolver(&Arc::new(SlowOrigin::default()));
    resolver.apply(change("abc", 1));
    let other = DomainId::try_from(2).unwrap();
    for key in [Key::new(other, "abc"), Key::new(domain(), "ab"), Key::new(domain(), "abcd")] {
        assert!(matches!(resolver.known(&key), Known::Unknown));
    }
}

struct BrokenOrigin;

impl Origin for BrokenOrigin {
    fn resolve(&self, _domain: DomainId, _code: &Code) -> OriginFuture {
        Box::pin(async { panic!("a defect of the origin") })
    }
}

#[tokio::test]
async fn a_lookup_that_panics_keeps_nobody_waiting() {
    let config = ResolveConfig::default();
    let resolver = Resolver::new(&config, Arc::new(BrokenOrigin), Handle::current());
    let key = Key::new(domain(), "abc");
    for _ in 0..2 {
        let code = Code::parse("abc").unwrap();
        let outcome = timeout(Duration::from_secs(5), resolver.look_up(&key, domain(), code));
        assert_eq!(outcome.await.unwrap(), Err(Unavailable));
    }
}

#[tokio::test]
async fn an_answer_that_a_change_overtook_is_asked_again_if_memory_kept_nothing() {
    let origin = Arc::new(SlowOrigin::default());
    let config = ResolveConfig { max_cache_bytes: 0, ..ResolveConfig::default() };
    let resolver =
        Resolver::new(&config, Arc::clone(&origin) as Arc<dyn Origin>, Handle::current());
    let lookup = look_up(&resolver, &origin, "new").await;
    origin.routes.lock().unwrap().insert("new".into(), record(1));
    resolver.apply(change("new", 1));
    assert_eq!(resolver.held().routes(), 0);
    origin.go.notify_waiters();
    while origin.asked.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    origin.go.notify_waiters();
    assert_eq!(version(&lookup.await.unwrap()), Some(1));
}
