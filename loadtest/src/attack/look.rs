//! What the edge takes while it is attacked, and what it says of that.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::failure::Failure;
use crate::http::{Connection, HttpError};
use crate::process::Memory;

/// Pause between two looks.
const EVERY: Duration = Duration::from_millis(100);
/// How long the edge may take to close what an attack held, and then to give its memory back: that it
/// does once a minute.
const CLOSE_MAX: Duration = Duration::from_secs(30);
const FREE_MAX: Duration = Duration::from_secs(65);
/// Counters that tell of an attack: connections and answers by reason and status.
const TELLING: [&str; 5] = [
    "carom_edge_connections_refused_total", "carom_edge_connections_ended_total",
    "carom_edge_answers_total", "carom_edge_connections_total", "carom_edge_turns_total",
];

/// What a process holds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Look {
    /// Heap and stacks, without the mapped files of the click rings.
    pub(crate) anonymous_mib: f64,
    pub(crate) descriptors: u64,
}

/// What the threads that answer had of their processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Share {
    pub(crate) ran_ns: u64,
    /// For how long they had work, and the processor ran something else.
    pub(crate) waited_ns: u64,
}

impl Share {
    /// Since they began; nothing, where the kernel does not tell.
    pub(crate) fn of(pid: u32) -> Self {
        let mut sum = Self::default();
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for thread in threads {
            let read = |name| fs::read_to_string(thread.path().join(name)).unwrap_or_default();
            if read("comm").starts_with("edge-") {
                let text = read("schedstat");
                let mut numbers =
                    text.split(' ').map(|number| number.trim().parse::<u64>().unwrap_or_default());
                sum.ran_ns += numbers.next().unwrap_or_default();
                sum.waited_ns += numbers.next().unwrap_or_default();
            }
        }
        sum
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            ran_ns: self.ran_ns.saturating_sub(before.ran_ns),
            waited_ns: self.waited_ns.saturating_sub(before.waited_ns),
        }
    }
}

/// Looks again and again, for the most that was held.
pub(crate) struct Sampler {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Look>,
}

/// The edge's counters of one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters(BTreeMap<String, u64>);

impl Look {
    pub(crate) fn take(pid: u32) -> Result<Self, Failure> {
        let path = format!("/proc/{pid}/fd");
        let fail = |error| Failure::new(format!("cannot read {path}: {error}"));
        let descriptors = match fs::metadata(&path).map_err(fail)?.len() {
            // Before Linux 6.2 the size of the folder says nothing.
            0 => fs::read_dir(&path).map_err(fail)?.count() as u64,
            count => count,
        };
        Ok(Self { anonymous_mib: Memory::of(pid)?.anonymous_mib, descriptors })
    }

    fn most(self, other: Self) -> Self {
        Self {
            anonymous_mib: self.anonymous_mib.max(other.anonymous_mib),
            descriptors: self.descriptors.max(other.descriptors),
        }
    }
}

impl Sampler {
    pub(crate) fn start(pid: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut most = Look::default();
            while !stopped.load(Ordering::Relaxed) {
                most = Look::take(pid).map_or(most, |look| most.most(look));
                std::thread::sleep(EVERY);
            }
            most
        });
        Self { stop, thread }
    }

    pub(crate) fn stop(self) -> Result<Look, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| Failure::new("the look at the edge's memory panicked"))
    }
}

/// Waits until a process holds at most `most` again, but no longer than it may take; what it holds
/// then.
pub(crate) fn settle(pid: u32, most: Look) -> Result<Look, Failure> {
    let begun = Instant::now();
    let mut closed = None;
    loop {
        let look = Look::take(pid)?;
        if look.descriptors <= most.descriptors {
            let since = closed.get_or_insert_with(Instant::now);
            if look.anonymous_mib <= most.anonymous_mib || since.elapsed() > FREE_MAX {
                return Ok(look);
            }
        }
        if closed.is_none() && begun.elapsed() > CLOSE_MAX {
            return Ok(look);
        }
        std::thread::sleep(EVERY);
    }
}

impl Counters {
    pub(crate) async fn read(admin: SocketAddr) -> Result<Self, Failure> {
        let text = ask(admin)
            .await
            .map_err(|error| Failure::new(format!("http://{admin}/metrics: {error}")))?;
        let telling = |line: &&str| {
            TELLING.iter().any(|name| {
                line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            })
        };
        let count = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.trim_start_matches("carom_edge_").to_owned(), value.parse().ok()?))
        };
        Ok(Self(text.lines().filter(telling).filter_map(count).collect()))
    }

    /// What grew since `before`.
    pub(crate) fn since(&self, before: &Self) -> BTreeMap<String, u64> {
        let grew = |(name, count): (&String, &u64)| {
            let more = count.saturating_sub(before.0.get(name).copied().unwrap_or_default());
            (more > 0).then(|| (name.clone(), more))
        };
        self.0.iter().filter_map(grew).collect()
    }
}

async fn ask(admin: SocketAddr) -> Result<String, HttpError> {
    let mut connection = Connection::open(admin).await?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    connection.send(request.as_bytes()).await?;
    let head = connection.read_head().await?;
    let page = connection.read_body(&head).await?;
    Ok(String::from_utf8_lossy(page.body).into_owned())
}
