//! The live feed: clicks as they are stored, for whoever watches.
//!
//! ```text
//! store_batch -> publish: of each watched workspace or link, a Burst -> broadcast -> Watch -> api
//! ```
//!
//! Watching costs those who watch. Without watchers a batch is not looked at; of a batch only what
//! is watched is written down, and of that no more than a stream may show. A [`Burst`] goes through a
//! bounded channel that overwrites what a slow watcher has not read: storing never waits. Bursts say
//! how many clicks came before them, so a watcher knows exactly what it missed.
//!
//! Each workspace or link has a channel of its own: what happens in one neither pushes out what
//! another's watchers have not read, nor tells them how much it was.
//!
//! A control plane shows the clicks that it stored itself.

pub(crate) mod api;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use carom_shared::batch::Batch;
use carom_shared::click::Detail;
use carom_shared::{Click, LinkId, UnixMillis, WorkspaceId};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};
use tokio::time::Instant;

use crate::link::api::rfc3339;

/// Streams of an installation's control plane, at most.
pub(crate) const STREAMS_MAX: usize = 100;
/// Click events of a stream in one second, at most: more than anybody reads.
const EVENTS_MAX: usize = 50;
const SECOND: Duration = Duration::from_secs(1);
/// Bursts that a slow watcher may be behind, at most. With the longest names of everything one is
/// about 250 KB, most are 20 KB.
const BURSTS_MAX: usize = 8;

/// What is watched: a workspace, or one of its links.
pub(crate) type Watched = (WorkspaceId, Option<LinkId>);

/// Everybody who watches.
#[derive(Debug)]
pub(crate) struct Live {
    rooms: Mutex<HashMap<Watched, Room>>,
    slots: Arc<Semaphore>,
}

/// Those who watch the same.
#[derive(Debug)]
struct Room {
    bursts: broadcast::Sender<Arc<Burst>>,
    /// Clicks since the first of them came.
    clicks: u64,
}

/// The clicks of one batch that somebody watches.
#[derive(Debug, Default)]
struct Burst {
    /// Clicks of the bursts before it.
    before: u64,
    clicks: u64,
    /// The first of them, each with the number of clicks that it stands for, as they are sent.
    events: Vec<(u64, Bytes)>,
}

/// A click, as a watcher is told of it. What is unknown is `null`.
#[derive(Debug, Serialize)]
struct LiveClick<'a> {
    at: String,
    link_id: LinkId,
    /// How many clicks it stands for.
    n: u32,
    kind: &'static str,
    via: &'static str,
    channel: &'static str,
    device: &'static str,
    country: Option<&'a str>,
    city: Option<&'a str>,
    browser: Option<&'a str>,
    os: Option<&'a str>,
    language: Option<&'a str>,
    referrer: Option<&'a str>,
}

impl Default for Live {
    fn default() -> Self {
        Self { rooms: Mutex::default(), slots: Arc::new(Semaphore::new(STREAMS_MAX)) }
    }
}

impl Live {
    /// Streams that are open.
    pub(crate) fn streams(&self) -> usize {
        STREAMS_MAX - self.slots.available_permits()
    }

    /// Watches from now on; `None` if too many do.
    pub(crate) fn watch(self: &Arc<Self>, watched: Watched) -> Option<Watch> {
        let slot = Arc::clone(&self.slots).try_acquire_owned().ok()?;
        let mut rooms = self.rooms();
        let room = rooms
            .entry(watched)
            .or_insert_with(|| Room { bursts: broadcast::Sender::new(BURSTS_MAX), clicks: 0 });
        let (bursts, seen) = (Some(room.bursts.subscribe()), room.clicks);
        drop(rooms);
        let pace = Pace::default();
        Some(Watch { live: Arc::clone(self), watched, bursts, seen, pace, _slot: slot })
    }

    /// Tells those who watch of a batch that was stored.
    pub(crate) fn publish(&self, batch: &Batch) {
        let watched: Vec<Watched> = self.rooms().keys().copied().collect();
        if watched.is_empty() {
            return;
        }
        let mut bursts: HashMap<Watched, Burst> =
            watched.into_iter().map(|watched| (watched, Burst::default())).collect();
        for click in batch.clicks() {
            for watched in [(click.workspace, None), (click.workspace, Some(click.link))] {
                if let Some(burst) = bursts.get_mut(&watched) {
                    burst.add(&click);
                }
            }
        }
        let mut rooms = self.rooms();
        for (watched, mut burst) in bursts.into_iter().filter(|(_, burst)| burst.clicks > 0) {
            // Without a room the last one has left meanwhile.
            let Some(room) = rooms.get_mut(&watched) else { continue };
            burst.before = room.clicks;
            room.clicks += burst.clicks;
            // Nobody listens between the last one's leaving and the room's end.
            drop(room.bursts.send(Arc::new(burst)));
        }
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<Watched, Room>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Burst {
    fn add(&mut self, click: &Click<'_>) {
        self.clicks += u64::from(click.n);
        if self.events.len() < EVENTS_MAX {
            self.events.push((click.n.into(), LiveClick::new(click).event()));
        }
    }
}

impl<'a> LiveClick<'a> {
    fn new(click: &Click<'a>) -> Self {
        let name = |detail| Some(click.details.get(detail)).filter(|name| !name.is_empty());
        Self {
            at: rfc3339(UnixMillis::new(i64::from(click.at_s) * 1000)),
            link_id: click.link,
            n: click.n,
            kind: click.kind.as_str(),
            via: click.via.as_str(),
            channel: click.channel.as_str(),
            device: click.device.as_str(),
            country: name(Detail::Country),
            city: name(Detail::City),
            browser: name(Detail::Browser),
            os: name(Detail::Os),
            language: name(Detail::Language),
            referrer: name(Detail::Referrer),
        }
    }

    fn event(&self) -> Bytes {
        event("click", &serde_json::to_string(self).unwrap_or_default()).into()
    }
}

/// An event of a stream. `data` is JSON, which holds no line ends: whatever a visitor sent, it
/// cannot begin an event of its own.
fn event(name: &str, data: &str) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

/// How many clicks, and nothing else of them.
fn count_event(name: &str, clicks: u64) -> String {
    event(name, &format!("{{\"clicks\":{clicks}}}"))
}

/// One who watches. The room ends with the last of them.
#[derive(Debug)]
pub(crate) struct Watch {
    live: Arc<Live>,
    watched: Watched,
    /// `None` once dropped.
    bursts: Option<broadcast::Receiver<Arc<Burst>>>,
    /// Clicks of the room that this one was told of, in whatever way.
    seen: u64,
    pace: Pace,
    _slot: OwnedSemaphorePermit,
}

impl Watch {
    /// What to send next; waits for it. May be dropped at any moment and called again.
    async fn next(&mut self) -> Vec<u8> {
        loop {
            let Some(bursts) = &mut self.bursts else { return std::future::pending().await };
            let received = match self.pace.due() {
                None => bursts.recv().await,
                Some(due) => tokio::select! {
                    biased;
                    () = tokio::time::sleep_until(due) => return self.pace.take_rest().into(),
                    received = bursts.recv() => received,
                },
            };
            match received {
                Ok(burst) => {
                    let text = self.read(&burst, Instant::now());
                    if !text.is_empty() {
                        return text;
                    }
                }
                // The next burst says how much was missed.
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => self.bursts = None,
            }
        }
    }

    fn read(&mut self, burst: &Burst, now: Instant) -> Vec<u8> {
        let mut text = Vec::new();
        let missed = burst.before.saturating_sub(self.seen);
        if missed > 0 {
            text.extend(count_event("missed", missed).into_bytes());
        }
        self.seen = burst.before + burst.clicks;
        text.extend(self.pace.begin(now).into_bytes());
        let mut rest = burst.clicks;
        for (n, event) in &burst.events {
            if !self.pace.admits() {
                break;
            }
            text.extend_from_slice(event);
            rest -= n;
        }
        self.pace.hold_back(rest);
        text
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut rooms = self.live.rooms();
        // Before it is asked who is left.
        self.bursts = None;
        if rooms.get(&self.watched).is_some_and(|room| room.bursts.receiver_count() == 0) {
            rooms.remove(&self.watched);
        }
    }
}

/// How fast a stream goes: [`EVENTS_MAX`] events in a second that begins with its first event; of
/// more, the number of clicks when the second is over.
#[derive(Debug, Default)]
struct Pace {
    second_ends: Option<Instant>,
    shown: usize,
    rest: u64,
}

impl Pace {
    /// Begins a new second if the last one is over; gives what is to be said of that.
    fn begin(&mut self, now: Instant) -> String {
        if self.second_ends.is_some_and(|end| now < end) {
            return String::new();
        }
        let text = self.take_rest();
        self.second_ends = Some(now + SECOND);
        text
    }

    /// Whether this second has room for an event.
    fn admits(&mut self) -> bool {
        let is_room = self.shown < EVENTS_MAX;
        self.shown += usize::from(is_room);
        is_room
    }

    fn hold_back(&mut self, clicks: u64) {
        self.rest += clicks;
    }

    /// When there is something to be said, whatever comes.
    fn due(&self) -> Option<Instant> {
        self.second_ends.filter(|_| self.rest > 0)
    }

    /// The second is over.
    fn take_rest(&mut self) -> String {
        self.second_ends = None;
        self.shown = 0;
        match std::mem::take(&mut self.rest) {
            0 => String::new(),
            rest => count_event("more", rest),
        }
    }
}

#[cfg(test)]
mod tests;
