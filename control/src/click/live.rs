//! The live feed: clicks as they are stored, for whoever watches.
//!
//! ```text
//! store_batch -> publish: of whatever is watched, a Burst -> broadcast -> Watch -> api
//! ```
//!
//! Watching costs those who watch. Without watchers a batch is not looked at; each of its clicks is
//! held against what is watched, which is at most [`STREAMS_MAX`] things, and of those that fit no more
//! is written down than a stream may show. A [`Burst`] goes through a
//! bounded channel that overwrites what a slow watcher has not read: storing never waits. Bursts say
//! how many clicks came before them, so a watcher knows exactly what it missed.
//!
//! Whatever is watched has a channel of its own: what happens in one neither pushes out what
//! another's watchers have not read, nor tells them how much it was.
//!
//! Clicks know nothing of tags. A tag's channel knows its links, and its streams say now and then which
//! they are.
//!
//! A control plane shows the clicks that it stored itself.

pub(crate) mod api;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use carom_shared::batch::Batch;
use carom_shared::click::Detail;
use carom_shared::{Click, DomainId, LinkId, UnixMillis, WorkspaceId};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};
use tokio::time::Instant;

use crate::link::api::rfc3339;

/// Streams of an installation's control plane, at most.
pub(crate) const STREAMS_MAX: usize = 100;
/// Those of one workspace, at most: nobody has all of them.
pub(crate) const STREAMS_OF_WORKSPACE_MAX: usize = 20;
/// Click events of a stream in one second, at most: more than anybody reads.
const EVENTS_MAX: usize = 50;
const SECOND: Duration = Duration::from_secs(1);
/// Bursts that a slow watcher may be behind, at most. With the longest names of everything one is
/// about 250 KB, most are 20 KB.
const BURSTS_MAX: usize = 8;

/// What is watched: of a workspace's clicks those that fit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Watched {
    pub(crate) workspace: WorkspaceId,
    pub(crate) link: Option<LinkId>,
    pub(crate) domain: Option<DomainId>,
    /// Folded.
    pub(crate) tag: Option<String>,
}

impl Watched {
    /// `links`: those that have the tag.
    fn fits(&self, click: &Click<'_>, links: &HashSet<LinkId>) -> bool {
        self.workspace == click.workspace
            && self.link.is_none_or(|link| link == click.link)
            && self.domain.is_none_or(|domain| domain == click.domain)
            && (self.tag.is_none() || links.contains(&click.link))
    }
}

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
    /// Of a tag: the links that have it.
    links: Arc<HashSet<LinkId>>,
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

    /// Watches from now on; `None` if too many do, or too many of the workspace. `links`: of a tag,
    /// those that have it now.
    pub(crate) fn watch(
        self: &Arc<Self>,
        watched: Watched,
        links: HashSet<LinkId>,
    ) -> Option<Watch> {
        let slot = Arc::clone(&self.slots).try_acquire_owned().ok()?;
        let mut rooms = self.rooms();
        let of_workspace = rooms.iter().filter(|(of, _)| of.workspace == watched.workspace);
        let open: usize = of_workspace.map(|(_, room)| room.bursts.receiver_count()).sum();
        if open >= STREAMS_OF_WORKSPACE_MAX {
            return None;
        }
        let bursts = || broadcast::Sender::new(BURSTS_MAX);
        let room = rooms.entry(watched.clone()).or_insert_with(|| Room {
            bursts: bursts(),
            clicks: 0,
            links: Arc::default(),
        });
        room.links = Arc::new(links);
        let (bursts, seen) = (Some(room.bursts.subscribe()), room.clicks);
        drop(rooms);
        let pace = Pace::default();
        Some(Watch { live: Arc::clone(self), watched, bursts, seen, pace, _slot: slot })
    }

    /// Tells those who watch of a batch that was stored.
    pub(crate) fn publish(&self, batch: &Batch) {
        let watched = |(watched, room): (&Watched, &Room)| {
            (watched.clone(), Arc::clone(&room.links), Burst::default())
        };
        let mut all: Vec<_> = self.rooms().iter().map(watched).collect();
        if all.is_empty() {
            return;
        }
        for click in batch.clicks() {
            for (watched, links, burst) in &mut all {
                if watched.fits(&click, links) {
                    burst.add(&click);
                }
            }
        }
        let mut rooms = self.rooms();
        for (watched, _, mut burst) in all.into_iter().filter(|(_, _, burst)| burst.clicks > 0) {
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
    pub(crate) const fn watched(&self) -> &Watched {
        &self.watched
    }

    /// From now on these links have the tag.
    pub(crate) fn renew(&self, links: HashSet<LinkId>) {
        if let Some(room) = self.live.rooms().get_mut(&self.watched) {
            room.links = Arc::new(links);
        }
    }

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
