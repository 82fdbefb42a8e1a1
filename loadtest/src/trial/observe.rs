//! What a trial sees of the server: its metrics, its clock, and what it has stored.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::failure::Failure;
use crate::http::{Connection, HttpError};

/// How often the pressure is looked at.
const POLL: Duration = Duration::from_millis(20);
const LEVELS: usize = 6;

/// The edge's metrics; a name has its labels as they stand.
pub(super) struct Metrics(BTreeMap<String, u64>);

impl Metrics {
    pub(super) async fn read(admin: SocketAddr) -> Result<Self, HttpError> {
        let mut connection = Connection::open(admin).await?;
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\n\r\n");
        connection.send(request.as_bytes()).await?;
        let head = connection.read_head().await?;
        let response = connection.read_body(&head).await?;
        let text = String::from_utf8_lossy(response.body);
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.rsplit_once(' '));
        let whole = pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)));
        Ok(Self(whole.collect()))
    }

    /// The sum over all labels of a metric; 0 if it is not there.
    pub(super) fn get(&self, name: &str) -> u64 {
        let is_it = |full: &str| full.split('{').next() == Some(name);
        self.0.iter().filter(|(full, _)| is_it(full)).map(|(_, value)| value).sum()
    }
}

/// Looks at the level of pressure all the time.
pub(super) struct Watch {
    levels: Arc<[AtomicUsize; LEVELS]>,
    /// Longest time between two answers of the admin listener, in milliseconds.
    silence_ms: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Watch {
    #[expect(clippy::disallowed_methods, reason = "its end is awaited in `Watch::end`")]
    pub(super) fn begin(admin: SocketAddr) -> Self {
        let levels: Arc<[AtomicUsize; LEVELS]> = Arc::default();
        let (silence_ms, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let task = tokio::spawn({
            let (levels, silence) = (Arc::clone(&levels), Arc::clone(&silence_ms));
            let stop = Arc::clone(&stop);
            async move {
                let mut last = Instant::now();
                while !stop.load(Ordering::SeqCst) {
                    if let Ok(metrics) = Metrics::read(admin).await {
                        let level = metrics.get("carom_edge_pressure_level");
                        let level = usize::try_from(level).unwrap_or(0).min(LEVELS - 1);
                        levels[level].fetch_add(1, Ordering::SeqCst);
                        let ms = usize::try_from(last.elapsed().as_millis()).unwrap_or(usize::MAX);
                        silence.fetch_max(ms, Ordering::SeqCst);
                        last = Instant::now();
                    }
                    sleep(POLL).await;
                }
            }
        });
        Self { levels, silence_ms, stop, task }
    }

    /// Ends; the levels that were seen, and the admin listener's longest silence.
    pub(super) async fn end(self) -> (Vec<usize>, Duration) {
        self.stop.store(true, Ordering::SeqCst);
        drop(self.task.await);
        let seen = |level: &usize| self.levels[*level].load(Ordering::SeqCst) > 0;
        let ms = self.silence_ms.load(Ordering::SeqCst) as u64;
        ((0..LEVELS).filter(seen).collect(), Duration::from_millis(ms))
    }
}

/// Waits until there is no pressure and no batch waits; how long that took, if it came in time.
pub(super) async fn relieved(admin: SocketAddr, max: Duration) -> Option<Duration> {
    let begun = Instant::now();
    while begun.elapsed() < max {
        if let Ok(metrics) = Metrics::read(admin).await
            && metrics.get("carom_edge_pressure_level") == 0
            && metrics.get("carom_edge_batches_waiting") == 0
        {
            return Some(begun.elapsed());
        }
        sleep(POLL).await;
    }
    None
}

/// What a stopped server has stored.
#[derive(Debug, Deserialize)]
pub(crate) struct Stored {
    pub(crate) integrity: String,
    pub(crate) rollup_differences: u64,
    links: Vec<(String, u64)>,
    pub(super) without_referrer: u64,
    pub(super) min_at_s: i64,
    pub(super) max_at_s: i64,
}

impl Stored {
    pub(crate) async fn read(database: &Path) -> Result<Self, Failure> {
        let mut command = Command::new("python3");
        command.arg("-c").arg(include_str!("stored.py")).arg(database);
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
        let output = output.map_err(|error| {
            Failure::new(format!("cannot run python3, which reads the click database: {error}"))
        })?;
        serde_json::from_slice(&output.stdout).map_err(|error| {
            let text = String::from_utf8_lossy(&output.stderr);
            Failure::new(format!("{}: {error}: {text}", database.display()))
        })
    }

    /// Clicks of a link, by its id.
    pub(super) fn of(&self, id: &str) -> u64 {
        self.links.iter().find(|(link, _)| link == id).map_or(0, |&(_, n)| n)
    }

    /// Clicks of each link, by its id.
    pub(crate) fn by_link(&self) -> BTreeMap<&str, u64> {
        self.links.iter().map(|(link, n)| (link.as_str(), *n)).collect()
    }

    pub(crate) fn sum(&self) -> u64 {
        self.links.iter().map(|(_, n)| n).sum()
    }
}
