//! Links that are deleted and made again under the same code while edges ask for them: no edge is
//! left with the old target.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use carom_edge::l2::{L2, L2Origin};
use carom_edge::resolve::{
    Key, Known, Origin, OriginError, OriginFuture, ResolveConfig, Resolver, Route,
};
use carom_shared::redis::{PAGE_FIELD, RedisKeys};
use carom_shared::{Code, DomainId, FeedPage, RouteRecord, RouteState, SystemRandom};
use redis::streams::StreamReadReply;
use tokio_util::sync::CancellationToken;

use crate::follow::version;
use crate::world::{DOMAIN, change, domain};

use super::{LONG, Writer, new_epoch, shared_url};

const LINKS: usize = 10_000;
const EDGES: usize = 3;
const WRITERS: usize = 4;
const OLD: &str = "https://e.test/old";
const NEW: &str = "https://e.test/new";

/// A control plane that is away: Redis alone answers.
pub(super) struct Nobody;

impl Origin for Nobody {
    fn resolve(&self, _: DomainId, _: &Code) -> OriginFuture {
        Box::pin(async { Err(OriginError("nobody is there".to_owned())) })
    }
}

fn l2(url: &str) -> L2 {
    L2::new(url, Path::new(""), Duration::from_secs(2), Arc::new(SystemRandom)).unwrap()
}

fn tombstone(version: u64) -> RouteRecord {
    let record = crate::world::route(7, "https://e.test/");
    RouteRecord { version, state: RouteState::Deleted, target: "".into(), ..record }
}

fn code(link: usize) -> (Key, Code) {
    let code = Code::parse(&format!("c{link}")).unwrap();
    (Key::new(domain(DOMAIN), code.as_str()), code)
}

fn target(route: &Route) -> &str {
    route.location.to_str().unwrap()
}

/// Applies what the stream says until it has said so much.
async fn follow(url: String, keys: RedisKeys, resolver: Resolver, changes: usize) {
    let client = redis::Client::open(url).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let (mut last, mut applied) = ("0-0".to_owned(), 0);
    while applied < changes {
        let mut read = redis::cmd("XREAD");
        read.arg("COUNT")
            .arg(64)
            .arg("BLOCK")
            .arg(100)
            .arg("STREAMS")
            .arg(keys.changes())
            .arg(&last);
        let reply: Option<StreamReadReply> = read.query_async(&mut connection).await.unwrap();
        for mut entry in reply.into_iter().flat_map(|reply| reply.keys).flat_map(|key| key.ids) {
            let bytes: Vec<u8> =
                redis::from_redis_value(entry.map.remove(PAGE_FIELD).unwrap()).unwrap();
            for change in FeedPage::from_bytes(&bytes).unwrap().changes {
                resolver.apply(change);
                applied += 1;
            }
            last = entry.id;
        }
    }
}

/// Makes, deletes and makes again one link after the other, with others who do.
fn write(redis: &mut Writer, turn: &AtomicUsize) {
    loop {
        let link = turn.fetch_add(1, Ordering::SeqCst);
        if link >= LINKS {
            return;
        }
        let code = format!("c{link}");
        for record in [version(1, OLD), tombstone(2), version(3, NEW)] {
            redis.put(&code, record.clone());
            redis.announce(1 << 40, 1, vec![change(&code, record)]);
        }
    }
}

/// Asks for the links that are being made, until all were; how often the answer was the old target.
async fn visit(edge: Resolver, turn: Arc<AtomicUsize>) -> usize {
    let mut seen = 0;
    loop {
        let at = turn.load(Ordering::SeqCst);
        let (key, code) = code(at.saturating_sub(1).min(LINKS - 1));
        if let Ok(Some(route)) = edge.look_up(&key, domain(DOMAIN), code).await {
            seen += usize::from(route.state == RouteState::Active && target(&route) == OLD);
        }
        if at >= LINKS {
            return seen;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_and_made_again_ten_thousand_times_no_edge_keeps_the_old_target() {
    let (url, epoch) = (shared_url(), new_epoch());
    let stop = CancellationToken::new();
    let mut tasks = tokio::task::JoinSet::new();
    let mut edges = Vec::new();
    for _ in 0..EDGES {
        let l2 = l2(&url);
        l2.set_epoch(epoch);
        tasks.spawn(l2.clone().keep(stop.clone()));
        let config = ResolveConfig { negative_ms: 0, ..ResolveConfig::default() };
        let origin = Arc::new(L2Origin::new(l2, Arc::new(Nobody)));
        edges.push(Resolver::new(&config, origin, tokio::runtime::Handle::current()));
    }
    Writer::new(&url, epoch).give_lease(LONG);
    let (key, absent) = code(LINKS);
    for edge in &edges {
        // The connection is a moment away.
        while edge.look_up(&key, domain(DOMAIN), absent.clone()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    let keys = RedisKeys::new(epoch);
    let mut followers = tokio::task::JoinSet::new();
    for edge in &edges {
        followers.spawn(follow(url.clone(), keys.clone(), edge.clone(), 3 * LINKS));
    }
    // Links up to this one are there, or about to be.
    let turn = Arc::new(AtomicUsize::new(0));
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..WRITERS {
        let (url, turn) = (url.clone(), Arc::clone(&turn));
        writers.spawn_blocking(move || write(&mut Writer::new(&url, epoch), &turn));
    }
    let mut visitors = tokio::task::JoinSet::new();
    for edge in &edges {
        for _ in 0..4 {
            visitors.spawn(visit(edge.clone(), Arc::clone(&turn)));
        }
    }
    while let Some(written) = writers.join_next().await {
        written.unwrap();
    }
    let seen_old: usize = visitors.join_all().await.iter().sum();
    followers.join_all().await;

    assert!(seen_old > 0, "nobody asked in between");
    for (number, edge) in edges.iter().enumerate() {
        for link in 0..LINKS {
            let (key, code) = code(link);
            let Known::Route(route) = edge.known(&key) else { panic!("{number} {code:?} is gone") };
            assert_eq!(
                (target(&route), route.state),
                (NEW, RouteState::Active),
                "{number} {code:?}"
            );
        }
    }
    stop.cancel();
}
