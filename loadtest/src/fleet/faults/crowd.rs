//! The load: visitors who follow known, changing and missing links, programs that make links and
//! follow them at once, editors. Every answer is judged.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::RwLock;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::super::visitor::Shown;
use super::counts::{Counts, Judged, Purpose};
use super::edges::{Asker, Claim, EdgeAt, Reply};
use super::model::{Asked, Model, Verdict};
use crate::api::{Api, ApiClient, ApiError, Link};
use crate::http::HttpError;
use crate::population::Rng;

/// Tasks of each kind; rates are shared among them.
const VISITORS: usize = 8;
const GUESSERS: usize = 2;
const CREATORS: usize = 6;
const EDITORS: usize = 4;
/// How often each edge is asked how old its feed is.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Links made or changed of late that visitors come back to.
const RECENT_MAX: usize = 500;
/// Of a hundred requests of visitors, so many are for those; the others are for known links.
const RECENT_PERCENT: usize = 30;
/// Characters of codes that are made up, and how many a code has.
const LETTERS: &[u8] = b"abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
const LETTERS_OF_CODE: usize = 10;

/// How much of it comes in a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    pub(super) redirects: usize,
    pub(super) missing: usize,
    pub(super) creates: usize,
    pub(super) edits: usize,
}

/// What all of them share.
pub(in super::super) struct World {
    pub(in super::super) edges: Vec<EdgeAt>,
    apis: Vec<Api>,
    model: Mutex<Model>,
    counts: Mutex<Counts>,
    /// Codes of links that every edge knows, and that nobody changes.
    known: Vec<String>,
    recent: Mutex<VecDeque<String>>,
    /// Held by whoever asks or calls; taken alone, nothing is under way.
    gate: RwLock<()>,
    is_over: AtomicBool,
    next_target: AtomicU64,
}

impl World {
    /// Edges are where visitors reach them, and where they say how they are.
    pub(in super::super) fn of(
        edges: impl Iterator<Item = (SocketAddr, SocketAddr)>,
        apis: Vec<Api>,
    ) -> Self {
        Self {
            edges: edges.map(|(address, admin)| EdgeAt::new(address, admin)).collect(),
            apis,
            model: Mutex::default(),
            counts: Mutex::new(Counts::new()),
            known: Vec::new(),
            recent: Mutex::default(),
            gate: RwLock::default(),
            is_over: AtomicBool::new(false),
            next_target: AtomicU64::new(0),
        }
    }

    pub(super) fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().expect("nobody panics while they hold the model")
    }

    pub(super) fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().expect("nobody panics while they count")
    }

    fn recent(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.recent.lock().expect("nobody panics while they hold the list")
    }

    pub(super) fn known(&self) -> &[String] {
        &self.known
    }

    pub(super) fn set_known(&mut self, known: Vec<String>) {
        self.known = known;
    }

    pub(in super::super) fn controls(&self) -> usize {
        self.apis.len()
    }

    /// Waits until nothing is under way, and gives what was counted since the last time. Nothing
    /// begins while the guard is held.
    pub(in super::super) async fn settle(&self) -> (Counts, tokio::sync::RwLockWriteGuard<'_, ()>) {
        let guard = self.gate.write().await;
        (std::mem::replace(&mut *self.counts(), Counts::new()), guard)
    }

    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    fn note_recent(&self, code: &str) {
        let mut recent = self.recent();
        recent.push_back(code.to_owned());
        if recent.len() > RECENT_MAX {
            recent.pop_front();
        }
    }

    /// One of those that visitors come to.
    fn any_edge(&self, rng: &mut Rng) -> Option<usize> {
        let up: Vec<_> =
            (0..self.edges.len()).filter(|&n| self.edges[n].claim().is_some()).collect();
        (!up.is_empty()).then(|| up[rng.below(up.len())])
    }

    /// A target of its own: it says which state of which link was answered.
    fn target(&self) -> String {
        let number = self.next_target.fetch_add(1, Ordering::Relaxed);
        format!("https://example.com/faults/{number}")
    }

    /// Asks an edge for a code and judges the answer; `None` if visitors do not come to that edge.
    pub(in super::super) async fn ask(
        &self,
        asker: &mut Asker,
        edge: usize,
        code: &str,
        purpose: Purpose,
    ) -> Option<Judged> {
        self.ask_for(asker, edge, code, purpose).await.map(|(judged, _)| judged)
    }

    /// The same, and the target if there is one.
    pub(in super::super) async fn ask_for(
        &self,
        asker: &mut Asker,
        edge: usize,
        code: &str,
        purpose: Purpose,
    ) -> Option<(Judged, Option<String>)> {
        let claim = self.edges[edge].claim()?;
        let sent = Instant::now();
        let reply = asker.ask(code, claim.life).await;
        let received = Instant::now();
        let Claim { life, fresh } = claim;
        let asked = Asked { edge, life, fresh, sent, received };
        let is_up = self.edges[edge].is_still(&claim);
        let judged = self.judge(code, purpose, &asked, &reply, is_up);
        let mut counts = self.counts();
        if purpose == Purpose::Known && judged == Judged::Answer(Verdict::Right) {
            counts.latencies.record(received - sent);
        }
        counts.note(purpose, &judged, |why| {
            let age = fresh.map(|fresh| sent.duration_since(fresh));
            format!(
                "edge-{}, life {life}: /{code} ({purpose:?}): {why}: {reply:?}, after {:.1?}; its \
                 feed was {age:.1?} old",
                edge + 1,
                received - sent
            )
        });
        let target = match reply {
            Ok(Reply::Shown(Shown::To(target))) => Some(target),
            _ => None,
        };
        Some((judged, target))
    }

    fn judge(
        &self,
        code: &str,
        purpose: Purpose,
        asked: &Asked,
        reply: &Result<Reply, HttpError>,
        is_up: bool,
    ) -> Judged {
        let mut model = self.model();
        match reply {
            Ok(Reply::Shown(shown)) => Judged::Answer(model.judge(code, asked, shown)),
            Ok(Reply::Unavailable { says_when: false }) => {
                Judged::Failed("503 without Retry-After".to_owned())
            }
            Ok(Reply::Unavailable { .. }) => {
                if purpose == Purpose::Known || model.is_known(code, asked.fresh) {
                    Judged::Failed("503 though it knows the link".to_owned())
                } else {
                    Judged::Unsure
                }
            }
            Err(error) => {
                model.cut(code);
                if is_up { Judged::Failed(error.to_string()) } else { Judged::Cut }
            }
        }
    }

    /// Makes a link, through this control plane, with a code of ours or one of its own.
    pub(in super::super) async fn create(
        &self,
        control: usize,
        code: Option<&str>,
    ) -> Option<Link> {
        let (target, sent) = (self.target(), Instant::now());
        if let Some(code) = code {
            self.model().sent(code, Shown::To(target.clone()), None, sent);
        }
        let made = ApiClient::new(self.apis[control].clone()).create(&target, code).await;
        let acknowledged = Instant::now();
        let mut counts = self.counts();
        match made {
            Ok(link) => {
                counts.creates.acknowledged += 1;
                counts.acknowledging.record(acknowledged - sent);
                if link.url != target {
                    counts.wrong.note(|| format!("{target} was kept as {}", link.url));
                }
                drop(counts);
                let mut model = self.model();
                if code.is_none() {
                    model.sent(&link.code, Shown::To(target), None, sent);
                }
                model.acknowledged(&link.code, &link.id, acknowledged);
                drop(model);
                self.note_recent(&link.code);
                Some(link)
            }
            Err(error) => {
                if is_refused(&error) {
                    counts.creates.refused += 1;
                } else {
                    counts.creates.unknown += 1;
                }
                None
            }
        }
    }

    /// Deletes a link; `None` if that was not acknowledged.
    pub(in super::super) async fn delete(&self, control: usize, link: &Link) -> Option<Link> {
        self.edit(control, link, Change::Delete).await
    }

    /// Makes a change; `None` if that was not acknowledged.
    async fn edit(&self, control: usize, link: &Link, change: Change) -> Option<Link> {
        let mut api = ApiClient::new(self.apis[control].clone());
        let path = format!("/api/v1/links/{}", link.id);
        let (method, body, shown) = match change {
            Change::Target => {
                let target = self.target();
                let body = serde_json::json!({ "url": target }).to_string();
                ("PATCH", body, Shown::To(target))
            }
            Change::Disable => ("PATCH", r#"{"state":"disabled"}"#.to_owned(), Shown::Status(410)),
            Change::Enable => {
                ("PATCH", r#"{"state":"active"}"#.to_owned(), Shown::To(link.url.clone()))
            }
            Change::Delete => ("DELETE", String::new(), Shown::Status(410)),
        };
        self.model().sent(&link.code, shown, Some(&link.id), Instant::now());
        let done = match change {
            Change::Delete => {
                api.call::<()>(method, &path, &body, 204).await.map(|()| link.clone())
            }
            _ => api.call::<Link>(method, &path, &body, 200).await,
        };
        let acknowledged = Instant::now();
        match done {
            Ok(link) => {
                self.model().acknowledged(&link.code, &link.id, acknowledged);
                self.counts().edits.acknowledged += 1;
                Some(link)
            }
            Err(error) if is_refused(&error) => {
                self.counts().edits.refused += 1;
                None
            }
            Err(_) => {
                self.counts().edits.unknown += 1;
                None
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Target,
    Disable,
    Enable,
    Delete,
}

/// Whether the answer is that nothing was done: nobody accepted it, or somebody said no. Even so the
/// model takes it for possible: an answer is not a proof.
fn is_refused(error: &ApiError) -> bool {
    match error {
        ApiError::Refused(refusal) => refusal.status != 500,
        ApiError::Http(HttpError::Io(error)) => error.kind() == ErrorKind::ConnectionRefused,
        ApiError::Http(_) => false,
    }
}

/// A code that nobody has made.
pub(in super::super) fn made_up(rng: &mut Rng) -> String {
    (0..LETTERS_OF_CODE).map(|_| char::from(LETTERS[rng.below(LETTERS.len())])).collect()
}

/// All tasks; they end after [`World::end`].
pub(super) fn begin(world: &Arc<World>, rates: Rates, rng: &mut Rng) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let every = |tasks: usize, rate: usize| {
        Duration::from_secs(1).mul_f64(tasks as f64 / rate.max(1) as f64)
    };
    for _ in 0..VISITORS {
        let every = every(VISITORS, rates.redirects);
        tasks.spawn(visit(Arc::clone(world), every, rng.fork()));
    }
    for _ in 0..GUESSERS {
        tasks.spawn(guess(Arc::clone(world), every(GUESSERS, rates.missing), rng.fork()));
    }
    for _ in 0..CREATORS {
        tasks.spawn(make(Arc::clone(world), every(CREATORS, rates.creates), rng.fork()));
    }
    for _ in 0..EDITORS {
        tasks.spawn(change(Arc::clone(world), every(EDITORS, rates.edits), rng.fork()));
    }
    for edge in 0..world.edges.len() {
        tasks.spawn(look(Arc::clone(world), edge));
    }
    tasks
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

async fn visit(world: Arc<World>, every: Duration, mut rng: Rng) {
    let mut askers: Vec<_> = world.edges.iter().map(|edge| Asker::of(edge.address)).collect();
    let mut ticks = ticks(every);
    while !world.is_over() {
        ticks.tick().await;
        let _pass = world.gate.read().await;
        let Some(edge) = world.any_edge(&mut rng) else { continue };
        let (code, purpose) = {
            let recent = world.recent();
            if !recent.is_empty() && rng.below(100) < RECENT_PERCENT {
                (recent[rng.below(recent.len())].clone(), Purpose::Changing)
            } else {
                (world.known[rng.below(world.known.len())].clone(), Purpose::Known)
            }
        };
        world.ask(&mut askers[edge], edge, &code, purpose).await;
    }
}

/// Each on a connection of its own: those who guess do not keep them.
async fn guess(world: Arc<World>, every: Duration, mut rng: Rng) {
    let mut ticks = ticks(every);
    while !world.is_over() {
        ticks.tick().await;
        let _pass = world.gate.read().await;
        let Some(edge) = world.any_edge(&mut rng) else { continue };
        let mut asker = Asker::of(world.edges[edge].address);
        world.ask(&mut asker, edge, &made_up(&mut rng), Purpose::Missing).await;
    }
}

/// Makes links, every other one with a code that was asked for just before it existed.
async fn make(world: Arc<World>, every: Duration, mut rng: Rng) {
    let mut ticks = ticks(every);
    while !world.is_over() {
        ticks.tick().await;
        let _pass = world.gate.read().await;
        let Some(edge) = world.any_edge(&mut rng) else { continue };
        let mut asker = Asker::of(world.edges[edge].address);
        let control = rng.below(world.controls());
        let code = (rng.below(2) == 0).then(|| made_up(&mut rng));
        if let Some(code) = &code {
            world.ask(&mut asker, edge, code, Purpose::Missing).await;
        }
        if let Some(link) = world.create(control, code.as_deref()).await {
            world.ask(&mut asker, edge, &link.code, Purpose::Followed).await;
        }
    }
}

/// Changes links of its own, through all that can become of them. One of which it does not know what
/// became is left as it is.
async fn change(world: Arc<World>, every: Duration, mut rng: Rng) {
    const LIFE: [Change; 5] =
        [Change::Target, Change::Disable, Change::Enable, Change::Target, Change::Delete];
    let mut ticks = ticks(every);
    while !world.is_over() {
        let code = made_up(&mut rng);
        'lives: while !world.is_over() {
            ticks.tick().await;
            let pass = world.gate.read().await;
            let made = world.create(rng.below(world.controls()), Some(&code)).await;
            drop(pass);
            let Some(mut link) = made else { break };
            for change in LIFE {
                ticks.tick().await;
                let _pass = world.gate.read().await;
                match world.edit(rng.below(world.controls()), &link, change).await {
                    Some(changed) => link = changed,
                    None => break 'lives,
                }
                world.note_recent(&code);
            }
        }
    }
}

async fn look(world: Arc<World>, edge: usize) {
    while !world.is_over() {
        if let Some(age) = world.edges[edge].look().await {
            let mut counts = world.counts();
            counts.feed_age_max = counts.feed_age_max.max(age);
        }
        sleep(LOOK_EVERY).await;
    }
}
