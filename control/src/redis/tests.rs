//! What the contract promises, on a real Redis: `TEST_REDIS_URL` names one, `deploy/test` starts
//! it. Tests that kill, stop or empty a server start their own from `PATH`.

mod faults;
#[cfg(feature = "postgres-tests")]
mod several;
pub(crate) mod support;
mod tls;

use std::time::Duration;

use carom_shared::redis::{ACK_WAIT, RedisKeys, RouteValue};
use carom_shared::{
    Code, DomainId, LinkId, QueryPolicy, Random as _, RedirectStatus, RouteRecord, RouteState,
    SystemRandom, WorkspaceId,
};
use http::StatusCode;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;
use support::{Plane, TestRedis, eventually};

fn record(version: u64) -> RouteRecord {
    RouteRecord {
        version,
        state: RouteState::Active,
        link: LinkId::try_from(7).unwrap(),
        workspace: WorkspaceId::try_from(9).unwrap(),
        status: RedirectStatus::Found,
        target_revision: 1,
        not_before: None,
        expires_at: None,
        target: "https://e.com/".into(),
        fallback: None,
        query: QueryPolicy::default(),
        max_age_s: 0,
    }
}

/// Versions near each border of a byte, and of what Lua's numbers tell apart.
fn versions() -> impl Strategy<Value = u64> {
    prop_oneof![1_u64..400, (1_u64 << 53)..(1 << 53) + 3, u64::MAX - 3..=u64::MAX, 1_u64..]
}

/// Whatever the order in which versions of a route arrive, in one script or many, the greatest one
/// stays.
#[test]
fn no_order_of_writes_lowers_a_version() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let domain = DomainId::try_from(3).unwrap();
    let codes = ["a", "b", "c"].map(|code| Code::parse(code).unwrap());
    let connection =
        runtime.block_on(support::shared_server().connect(Duration::from_secs(5))).unwrap();
    let writes =
        proptest::collection::vec(proptest::collection::vec((0_usize..3, versions()), 1..5), 1..8);
    let mut runner = TestRunner::new(ProptestConfig { cases: 64, ..ProptestConfig::default() });
    runner
        .run(&writes, |writes| {
            let mut connection = connection.clone();
            let mut epoch = [0; 8];
            SystemRandom.fill(&mut epoch);
            let keys = RedisKeys::new(u64::from_ne_bytes(epoch));
            let mut greatest = [0_u64; 3];
            for scripts in writes {
                let records: Vec<_> =
                    scripts.iter().map(|&(at, version)| (at, record(version))).collect();
                let mut pipeline = redis::pipe();
                compare_and_set(
                    &mut pipeline,
                    &keys,
                    records.iter().map(|(at, record)| (domain, &codes[*at], record)),
                );
                runtime.block_on(pipeline.exec_async(&mut connection)).unwrap();
                for (at, version) in scripts {
                    greatest[at] = greatest[at].max(version);
                }
                for (code, greatest) in codes.iter().zip(greatest) {
                    let mut get = redis::cmd("GET");
                    get.arg(keys.route(domain, code));
                    let held: Option<Vec<u8>> =
                        runtime.block_on(get.query_async(&mut connection)).unwrap();
                    let held =
                        held.map_or(0, |bytes| RouteValue::from_bytes(&bytes).unwrap().0.version);
                    prop_assert_eq!(held, greatest);
                }
            }
            let mut remove = redis::cmd("DEL");
            remove.arg(codes.iter().map(|code| keys.route(domain, code)).collect::<Vec<_>>());
            runtime.block_on(remove.exec_async(&mut connection)).unwrap();
            Ok(())
        })
        .unwrap();
}

/// A route, a page of the stream, a lease: what an edge needs is there when a create is answered.
#[tokio::test]
async fn what_is_acknowledged_is_in_redis() {
    let server = TestRedis::start(&[]);
    let plane = Plane::on_file(&server.url).await;
    for n in 0..20 {
        let code = format!("code{n}");
        let made = plane.create(&code).await;
        assert_eq!(made.status(), StatusCode::CREATED);
        assert_eq!(plane.route(&server, &code).await.unwrap().version, 1);
    }
    let edited = plane.edit("code7", r#"{"title":"a","url":"https://example.com/b"}"#).await;
    assert_eq!(edited.status(), StatusCode::OK);
    let seen = plane.route(&server, "code7").await.unwrap();
    assert_eq!((seen.version, &*seen.target), (2, "https://example.com/b"));
    let removed = plane.delete("code8").await;
    assert_eq!(removed.status(), StatusCode::NO_CONTENT);
    assert_eq!(plane.route(&server, "code8").await.unwrap().state, RouteState::Deleted);
    assert_eq!(plane.changes(&server).await, (1..=22).collect::<Vec<_>>());
    eventually("a lease", || plane.has_lease(&server)).await;
    eventually("all changes", async || plane.upto(&server).await == Some(22)).await;
    plane.app.close().await;
}

/// Answers that wait for the lease to be over do not hold up those that need not.
#[tokio::test]
async fn a_server_that_hangs_delays_what_changes_links_and_nothing_else() {
    let server = TestRedis::start(&[]);
    let plane = Plane::on_file(&server.url).await;
    assert_eq!(plane.create("before").await.status(), StatusCode::CREATED);
    server.pause();
    let began = std::time::Instant::now();
    let others = async {
        for n in 0..5 {
            plane.app.key_create(&format!("key{n}")).await.unwrap();
        }
        // A code that is taken changes nothing.
        assert_eq!(plane.create("before").await.status(), StatusCode::CONFLICT);
        began.elapsed()
    };
    let (made, others) = tokio::join!(plane.create("during"), others);
    assert_eq!(made.status(), StatusCode::CREATED);
    let took = began.elapsed();
    assert!(took >= ACK_WAIT && took < ACK_WAIT * 2, "{took:?}");
    assert!(others < ACK_WAIT, "{others:?}");
    server.resume();
    eventually("the change in Redis", async || plane.route(&server, "during").await.is_some())
        .await;
    plane.app.close().await;
}

/// A request that another process carried out just now is not acknowledged sooner because it is
/// repeated here.
#[tokio::test]
async fn a_repeated_request_waits_as_if_it_were_new() {
    let server = TestRedis::start(&[]);
    let plane = Plane::on_file(&server.url).await;
    let first = plane.create_once("once", "key-1").await;
    let began = std::time::Instant::now();
    let again = plane.create_once("once", "key-1").await;
    assert_eq!((first.status(), again.status()), (StatusCode::CREATED, StatusCode::CREATED));
    assert!(again.headers().contains_key("idempotent-replayed"));
    assert!(began.elapsed() >= ACK_WAIT, "{:?}", began.elapsed());
    plane.app.close().await;
}

/// Whoever waits when the process ends is not told that nothing was done.
#[test]
fn held_answers_are_counted_and_never_lost() {
    let count = HeldCount::default();
    let (sender, told) = std::sync::mpsc::sync_channel(write::HELD_MAX);
    let tell = || -> Tell {
        let sender = sender.clone();
        Box::new(move |outcome| sender.send(outcome).unwrap())
    };
    let held = Held::new((0..write::HELD_MAX).map(|_| tell()).collect(), count.clone());
    assert!(count.is_full() && told.try_recv().is_err());
    drop(held);
    assert_eq!(count.get(), 0);
    let told: Vec<_> = told.try_iter().collect();
    assert_eq!(told.len(), write::HELD_MAX);
    assert!(told.iter().all(|outcome| *outcome == Err(crate::write::WriteError::Unknown)));
}
