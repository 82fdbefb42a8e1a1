//! The engine is killed again and again while batches are stored.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::time::Duration;

use carom_shared::batch::Token;
use tokio::time::sleep;

use super::*;

/// How often; `CAROM_KILLS` says otherwise.
const KILLS: u32 = 2;
const ROWS: i64 = 500;
const TASKS: u32 = 3;

/// A server of this test's own, of the engine that `deploy/services` has installed.
struct Server {
    root: PathBuf,
    data: tempfile::TempDir,
    port: u16,
    child: Child,
}

impl Server {
    fn start() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let data = tempfile::tempdir().unwrap();
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        drop(socket);
        let child = spawn(&root, data.path(), port);
        Self { root, data, port, child }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn restart(&mut self) {
        self.child = spawn(&self.root, self.data.path(), self.port);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(root: &Path, data: &Path, port: u16) -> Child {
    Command::new("python3")
        .arg(root.join("deploy/clickhouse/front.py"))
        .args(["--listen", &format!("127.0.0.1:{port}"), "--data"])
        .arg(data)
        .env("PYTHONPATH", root.join("target/services/wheel/chdb"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Asks until there is an answer.
async fn until<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..1000 {
        if let Some(answer) = ask().await {
            return answer;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("the engine does not come back");
}

fn batch_of(number_of_batch: u32) -> (Token, Batch) {
    let clicks: Vec<Click<'_>> =
        (0..ROWS).map(|n| click(n % 100 + 1, Kind::Human, NOW_S, 1, "news.example")).collect();
    batch(number_of_batch, NOW, &clicks)
}

/// `docs/RELIABILITY.md` has figures of longer runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_is_killed_has_each_batch_once() {
    #[expect(clippy::disallowed_methods, reason = "a test's environment")]
    let kills = std::env::var("CAROM_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(KILLS);
    let mut server = Server::start();
    let at = server_at(&format!("http://127.0.0.1:{}/default", server.port));
    let open = || ClickStore::open(at.clone(), "");
    let store = until(async || open().await.ok()).await;
    until(async || store.prepare().await.ok()).await;
    let (next, is_over) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..TASKS {
        let (store, next, is_over) = (store.clone(), Arc::clone(&next), Arc::clone(&is_over));
        tasks.spawn(async move {
            let (mut failed, mut repeated) = (0_u32, 0_u32);
            while !is_over.load(Ordering::Relaxed) {
                let (token, one) = batch_of(next.fetch_add(1, Ordering::Relaxed));
                loop {
                    match store.store(&token, &one, NOW).await {
                        Ok(stored) => {
                            repeated += u32::from(stored == Stored::Duplicate);
                            break;
                        }
                        Err(_) => failed += 1,
                    }
                    sleep(Duration::from_millis(20)).await;
                }
            }
            (failed, repeated)
        });
    }
    let mut seed = 0x9e37_79b9_u32;
    for _ in 0..kills {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        sleep(Duration::from_millis(u64::from(seed >> 16) % 600 + 50)).await;
        server.kill();
        server.restart();
        until(async || store.summary().await.ok()).await;
    }
    is_over.store(true, Ordering::Relaxed);
    let of_tasks = tasks.join_all().await;
    let (failed, repeated) = of_tasks.iter().fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
    let stored = i64::from(next.load(Ordering::Relaxed));
    let wrong = format!(
        "SELECT toInt64(count()) FROM (SELECT batch, count() AS c FROM click GROUP BY batch HAVING c != {ROWS})"
    );
    assert_eq!(number(&store, &wrong).await, 0, "batches that are there in part or twice");
    let (raw, rollup) = rows(&store).await;
    assert_eq!(raw, stored * ROWS);
    // Void if no call was cut off.
    assert!(failed > 0);
    let later = NOW.saturating_add(Duration::from_hours(1));
    let off = store.audit(later).await.unwrap();
    assert_eq!(rows(&store).await, (raw, raw), "after one audit");
    let figures = format!(
        "{kills} kills, {stored} batches, {failed} calls failed, {repeated} batches found, {raw} \
         rows, {rollup} in the rollup before the audit, off by {off}"
    );
    #[expect(clippy::print_stderr, reason = "the figures of a run")]
    {
        eprintln!("{figures}");
    }
}
