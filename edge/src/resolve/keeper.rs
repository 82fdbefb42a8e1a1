//! The [`Keeper`]: lets what an edge knows survive it.
//!
//! ```text
//! at start      map the file, ask the origin for the changes since; before anybody is answered
//! now and then  rewrite it: old file and overlay -> new file
//! at stop       once more, if there is something new
//! ```
//!
//! What cannot be brought up to date is not answered from: the edge then begins with nothing. Unless
//! somebody follows the origin's changes and will make that good (`follow.rs`): a fleet's edge must
//! start and serve with everything else down. It works on the thread `snapshot`; nobody waits for it
//! but a start, and a stop within its time.
//!
//! # Filling
//!
//! Until an edge knows all routes it lists them, page by page, in the background. A fill is a rewrite
//! (`memory.rs`): it begins at a position, and each page is read after that, so it is as new as the
//! position at least; what changes meanwhile is applied and noted. Hence:
//!
//! ```text
//! a page fails              it is asked for again; the pages before it are kept
//! ... for some minutes      what is there comes into use, and all is listed again later
//! a stop                    what visitors asked for is written, the next start lists all again
//! changes missed for good   pages may be older than these: the fill is given up and begun anew
//! another database          the same, and everything is forgotten
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use carom_process::{BEHIND_VISITORS, stand_back};
use carom_shared::{Clock, Code, DomainId, RouteChange};

use super::memory::{Key, Rewrite, Useless};
use super::snapshot::{Snapshot, SnapshotError, SnapshotWriter, version};
use super::{OriginError, Resolver, checked};

/// How often the keeper looks whether there is something to do.
const LOOK: Duration = Duration::from_secs(1);
/// What is in the overlay or superseded, so that a rewrite pays: a sixteenth of the snapshot, and
/// at least this.
const REWRITE_ROUTES_MIN: u64 = 4096;
const REWRITE_SHARE: u64 = 16;
/// A rewrite at least so often, if there is anything new: so much has a start to catch up with
/// after a kill. (The feed keeps a day.)
const REWRITE_EVERY: Duration = Duration::from_secs(3600);
/// No rewrite for this long after one, and for 20 times what it took: at most a twentieth of a
/// processor.
const PAUSE_MIN: Duration = Duration::from_secs(10);
const PAUSE_FACTOR: u32 = 20;
/// How long a start may take to catch up; after that nothing is faster.
const CATCH_UP_MAX: Duration = Duration::from_secs(10);
/// How often somebody who waits for the origin looks whether that is given up: a stop is short.
const GIVE_UP_LOOK: Duration = Duration::from_millis(20);
/// How long a page of routes may take.
const PAGE_MAX: Duration = Duration::from_secs(10);
/// The wait before a page that failed is asked for again: at first, and at most.
const PAGE_AGAIN_MIN: Duration = Duration::from_secs(1);
const PAGE_AGAIN_MAX: Duration = Duration::from_secs(30);
/// How long a page may fail before the fill ends with what it has. Nothing else is written meanwhile.
const PAGE_FAILS_MAX: Duration = Duration::from_secs(300);
/// Until a fill that did not come to its end is begun anew.
const FILL_AGAIN: Duration = Duration::from_secs(60);

/// Where a snapshot is kept.
#[derive(Clone)]
pub struct SnapshotPlan {
    /// The file; beside it there are others of the same name with another extension.
    pub path: PathBuf,
    /// Its size, in bytes, at most.
    pub bytes_max: u64,
    pub clock: Arc<dyn Clock>,
}

/// What has become of rewrites.
#[derive(Debug, Default)]
pub struct SnapshotCounts {
    written: AtomicU64,
    failed: AtomicU64,
}

impl SnapshotCounts {
    /// Snapshots that were written in this run.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Snapshots that could not be written or read.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

/// Why there is no new snapshot. The old one stays.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    #[error("it cannot be written: {0}")]
    Io(#[from] io::Error),
    #[error("what was written cannot be used: {0}")]
    Snapshot(#[from] SnapshotError),
    #[error("too much changed meanwhile")]
    TooManyChanges,
    #[error("changes were missed meanwhile that are in no page")]
    Abandoned,
    #[error("there was no time to finish it")]
    GivenUp,
}

impl From<Useless> for RewriteError {
    fn from(why: Useless) -> Self {
        match why {
            Useless::TooManyChanges => Self::TooManyChanges,
            Useless::Abandoned => Self::Abandoned,
        }
    }
}

/// Loads and writes the snapshot of one resolver.
pub struct Keeper {
    resolver: Resolver,
    plan: SnapshotPlan,
    counts: Arc<SnapshotCounts>,
    /// Not all routes are known: ask the origin for them.
    is_to_be_filled: bool,
    /// How often changes had been missed for good when that was last done.
    gaps: u64,
    page_fails_max: Duration,
}

/// What came of a fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// All routes.
    All,
    /// All that there is room for, or that can be answered.
    Most,
    /// The origin stopped answering.
    Part,
}

impl Keeper {
    /// Loads the snapshot and brings it up to date: when this returns, no answer is older than what
    /// the origin had when this was called. Waits for the origin: not within a task.
    #[must_use]
    pub fn open(resolver: Resolver, plan: SnapshotPlan) -> Self {
        let mut keeper = Self {
            resolver,
            plan,
            counts: Arc::default(),
            is_to_be_filled: true,
            gaps: 0,
            page_fails_max: PAGE_FAILS_MAX,
        };
        keeper.sweep();
        match Snapshot::open(&keeper.plan.path) {
            Ok(snapshot) => keeper.resolver.0.memory.start_with(Some(Arc::new(snapshot))),
            Err(SnapshotError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                keeper.counts.failed.fetch_add(1, Ordering::Relaxed);
                let path = &keeper.plan.path;
                let aside = path.with_extension("unusable");
                tracing::warn!(
                    path = %path.display(), set_aside = %aside.display(), %error,
                    "the snapshot of routes is not used; routes are asked for again"
                );
                drop(fs::rename(path, aside));
            }
        }
        let asked_at = keeper.plan.clock.now();
        let caught_up = keeper.catch_up();
        let held = keeper.resolver.0.memory.snapshot();
        keeper.is_to_be_filled = !held.is_some_and(|held| held.is_whole());
        match caught_up {
            Ok(true) => {
                keeper.resolver.feed().fresh(asked_at);
                return keeper;
            }
            _ if keeper.resolver.0.origin.is_followed() => {
                tracing::info!(
                    "what is known of routes is not up to date yet, and is answered from"
                );
                return keeper;
            }
            Ok(false) => tracing::info!(
                "the snapshot of routes is too old, or of another database; routes are asked for \
                 again"
            ),
            Err(error) => tracing::warn!(
                %error, "the snapshot of routes is not used: it cannot be brought up to date"
            ),
        }
        keeper.is_to_be_filled = true;
        keeper.resolver.0.memory.start_with(None);
        if let Err(error) = keeper.catch_up() {
            tracing::warn!(%error, "no snapshot of routes is kept in this run");
        }
        keeper
    }

    /// What has become of rewrites, for metrics.
    #[must_use]
    pub fn counts(&self) -> Arc<SnapshotCounts> {
        Arc::clone(&self.counts)
    }

    /// Applies what changed since the position; false if that is not to be known any more.
    fn catch_up(&self) -> Result<bool, OriginError> {
        let resolver = self.resolver.clone();
        self.wait_for(CATCH_UP_MAX, &|| false, async move { resolver.catch_up().await })
    }

    /// Runs something on the background runtime and waits for it, unless that is given up.
    fn wait_for<T: Send + 'static>(
        &self,
        limit: Duration,
        give_up: &dyn Fn() -> bool,
        future: impl Future<Output = Result<T, OriginError>> + Send + 'static,
    ) -> Result<T, OriginError> {
        let (sender, receiver) = sync_channel(1);
        let inner = &self.resolver.0;
        inner.tasks.spawn_on(
            async move {
                let slow = |_| Err(OriginError("no answer in time".to_owned()));
                let outcome = timeout(limit, future).await.unwrap_or_else(slow);
                drop(sender.send(outcome));
            },
            &inner.background,
        );
        loop {
            match receiver.recv_timeout(GIVE_UP_LOOK) {
                Ok(outcome) => return outcome,
                Err(RecvTimeoutError::Timeout) if !give_up() => {}
                Err(RecvTimeoutError::Timeout) => {
                    return Err(OriginError("it is not waited for any more".to_owned()));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(OriginError("the runtime is gone".to_owned()));
                }
            }
        }
    }

    /// Removes what a killed process left half written. Its lock is gone with it.
    fn sweep(&self) {
        let Some((folder, stem)) = self.plan.path.parent().zip(self.plan.path.file_stem()) else {
            return;
        };
        let Ok(files) = fs::read_dir(folder) else { return };
        for path in files.flatten().map(|file| file.path()) {
            let is_temporary = path.extension().is_some_and(|extension| extension == "tmp")
                && path.file_name().is_some_and(|name| {
                    name.as_encoded_bytes().starts_with(stem.as_encoded_bytes())
                });
            let is_left = || fs::File::open(&path).is_ok_and(|file| file.try_lock().is_ok());
            if is_temporary && is_left() {
                drop(fs::remove_file(&path));
            }
        }
    }

    /// Whether there is enough new for a rewrite, after so long without one.
    fn is_due(&self, since: Duration) -> bool {
        if self.must_fill() {
            return true;
        }
        let held = self.resolver.held();
        let (superseded, routes) =
            held.snapshot.map_or((0, 0), |snapshot| (snapshot.superseded, snapshot.routes));
        let new = held.overlay_routes + superseded;
        new >= REWRITE_ROUTES_MIN.max(routes / REWRITE_SHARE)
            || since >= REWRITE_EVERY && self.has_news()
    }

    /// Whether there may be routes that were never heard of.
    fn must_fill(&self) -> bool {
        self.is_to_be_filled || self.gaps != self.resolver.feed().gaps.get()
    }

    fn has_news(&self) -> bool {
        let held = self.resolver.held();
        let position = self.resolver.0.memory.position();
        let written = self.resolver.0.memory.snapshot_position();
        held.overlay_routes > 0
            || held.snapshot.is_some_and(|of| of.superseded > 0)
            || position.is_some() && position != written
    }

    /// Writes what is known, or all routes if they are not, to a new file and answers from that.
    /// `give_up` is looked at while writing each route.
    ///
    /// # Errors
    /// [`RewriteError`]; the old file stays, and is answered from.
    pub fn rewrite(&mut self, give_up: &dyn Fn() -> bool) -> Result<(), RewriteError> {
        self.rewrite_and(self.must_fill(), give_up)
    }

    fn rewrite_and(&mut self, fills: bool, give_up: &dyn Fn() -> bool) -> Result<(), RewriteError> {
        let gaps = self.resolver.feed().gaps.get();
        let Some(rewrite) = self.resolver.0.memory.begin() else { return Ok(()) };
        let written = self.write(&rewrite, fills, give_up).and_then(|(snapshot, filled)| {
            let installed = self.resolver.0.memory.install(&Arc::new(snapshot), &rewrite);
            installed?;
            Ok(filled)
        });
        let filled = written.inspect_err(|_| self.resolver.0.memory.abandon())?;
        self.counts.written.fetch_add(1, Ordering::Relaxed);
        if let Some(filled) = filled {
            tracing::info!(routes = self.resolver.held().routes(), ?filled, "routes were listed");
            (self.is_to_be_filled, self.gaps) = (filled == Filled::Part, gaps);
        }
        Ok(())
    }

    /// Writes the file of a rewrite that has begun. What was asked for comes first, in case that not
    /// everything has room. With `fills` all routes are asked for, and what came of that is said.
    pub(super) fn write(
        &self,
        rewrite: &Rewrite,
        fills: bool,
        give_up: &dyn Fn() -> bool,
    ) -> Result<(Snapshot, Option<Filled>), RewriteError> {
        let (path, memory) = (&self.plan.path, &self.resolver.0.memory);
        // Looked at again below: what overflows while this is written may be in neither place.
        let is_all = memory.whole.holds_all();
        let mut writer = SnapshotWriter::create(temporary(path), self.plan.bytes_max)?;
        let push = |writer: &mut SnapshotWriter, key: &[u8], record: &[u8]| {
            if give_up() {
                return Err(RewriteError::GivenUp);
            }
            Ok(writer.push(key, record)?)
        };
        let old = rewrite.old.as_deref();
        for (key, record) in memory.overlay() {
            // What is on its way out of the overlay is in the old snapshot, and comes from there.
            let is_in_old = old.is_some_and(|old| {
                let place = old.find(&key).filter(|place| old.is_live(*place));
                place.is_some_and(|place| version(old.record(place)) >= version(&record))
            });
            if !is_in_old && !push(&mut writer, &key, &record)? {
                break;
            }
        }
        let filled = if fills { Some(self.fill(&mut writer, give_up)?) } else { None };
        // A listing has what is in the old one, at least as new.
        let old = old.filter(|_| matches!(filled, None | Some(Filled::Part)));
        for (key, record) in old.into_iter().flat_map(Snapshot::routes) {
            if !push(&mut writer, key, record)? {
                break;
            }
        }
        let is_all = filled.map_or(is_all, |filled| filled == Filled::All);
        let is_all = is_all && memory.whole.overflows() == rewrite.overflows;
        let known_at = self.resolver.feed().known_at(self.plan.clock.now());
        writer.finish(path, rewrite.position, known_at, is_all)?;
        Ok((Snapshot::open(path)?, filled))
    }

    /// Adds all routes of the origin, as far as there is room.
    fn fill(
        &self,
        writer: &mut SnapshotWriter,
        give_up: &dyn Fn() -> bool,
    ) -> Result<Filled, RewriteError> {
        let (mut after, mut filled) = (None, Filled::All);
        loop {
            let begin = Instant::now();
            let page = match self.page(after.as_ref(), give_up)? {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(%error, "not all routes could be listed; once more later");
                    return Ok(Filled::Part);
                }
            };
            let took = begin.elapsed().min(PAGE_MAX);
            let Some(last) = page.last() else { return Ok(filled) };
            after = Some((last.domain, last.code.clone()));
            for route in &page {
                let Ok(record) = checked(&route.record) else {
                    filled = Filled::Most;
                    continue;
                };
                let key = Key::new(route.domain, route.code.as_str());
                if give_up() {
                    return Err(RewriteError::GivenUp);
                }
                if !writer.push(key.as_bytes(), &record)? {
                    return Ok(Filled::Most);
                }
            }
            // Half of the time is the origin's own.
            std::thread::park_timeout(took);
        }
    }

    /// The next routes of a listing, as soon as the origin has them for us; its error if that is too
    /// late.
    fn page(
        &self,
        after: Option<&(DomainId, Code)>,
        give_up: &dyn Fn() -> bool,
    ) -> Result<Result<Vec<RouteChange>, OriginError>, RewriteError> {
        let (begin, mut pause) = (Instant::now(), PAGE_AGAIN_MIN);
        loop {
            let asked = self.resolver.0.origin.routes(after.cloned());
            let page = self.wait_for(PAGE_MAX, give_up, asked);
            self.resolver.0.memory.is_rewriting()?;
            if page.is_ok() || begin.elapsed() >= self.page_fails_max {
                return Ok(page);
            }
            let until = Instant::now() + pause;
            while Instant::now() < until {
                if give_up() {
                    return Err(RewriteError::GivenUp);
                }
                std::thread::park_timeout(GIVE_UP_LOOK);
            }
            pause = (pause * 2).min(PAGE_AGAIN_MAX);
        }
    }
}

/// A name that no other writer has.
fn temporary(path: &Path) -> PathBuf {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    path.with_extension(format!("{}-{number}.tmp", std::process::id()))
}

impl Resolver {
    /// Applies what changed since the position; false if that is not to be known any more. Changes
    /// may be applied meanwhile.
    pub(super) async fn catch_up(&self) -> Result<bool, OriginError> {
        let (memory, origin) = (&self.0.memory, &self.0.origin);
        loop {
            let after = memory.position();
            let Some(page) = origin.changes(after).await? else { return Ok(false) };
            let Some(end) = page.end() else {
                if after.is_none() {
                    memory.set_position(Some(page.head));
                }
                return Ok(true);
            };
            if after
                .is_none_or(|after| page.head.epoch != after.epoch || page.first != after.seq + 1)
            {
                return Ok(false);
            }
            for change in page.changes {
                self.apply(change);
            }
            // Beyond it only if others have applied as much meanwhile.
            if !memory.advance(end.epoch, page.first, end.seq) {
                return Ok(false);
            }
        }
    }
}

/// The keeper's thread.
pub(crate) struct KeeperThread {
    thread: Option<JoinHandle<()>>,
    orders: Arc<Orders>,
}

#[derive(Default)]
struct Orders {
    /// Write what is new, and end.
    finish: AtomicBool,
    /// End.
    give_up: AtomicBool,
}

impl KeeperThread {
    pub(crate) fn start(keeper: Keeper) -> io::Result<Self> {
        let orders = Arc::new(Orders::default());
        let taken = Arc::clone(&orders);
        let thread = std::thread::Builder::new().name("snapshot".to_owned()).spawn(move || {
            stand_back(BEHIND_VISITORS);
            keeper.run(&taken);
        })?;
        Ok(Self { thread: Some(thread), orders })
    }

    /// Writes what is new and ends, at the latest at `until`.
    pub(crate) fn finish(&mut self, until: Instant) {
        self.orders.finish.store(true, Ordering::Release);
        let Some(thread) = self.thread.take() else { return };
        thread.thread().unpark();
        while !thread.is_finished() && Instant::now() < until {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        self.orders.give_up.store(true, Ordering::Release);
        thread.thread().unpark();
    }
}

impl Drop for KeeperThread {
    /// Without [`Self::finish`] nothing is written any more.
    fn drop(&mut self) {
        self.orders.give_up.store(true, Ordering::Release);
        self.orders.finish.store(true, Ordering::Release);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

#[cfg(test)]
impl Keeper {
    /// From now on a file has at most so many bytes.
    pub(super) const fn shrink(&mut self, bytes_max: u64) {
        self.plan.bytes_max = bytes_max;
    }

    /// From now on a page that fails is not asked for again.
    pub(super) const fn hurry(&mut self) {
        self.page_fails_max = Duration::ZERO;
    }
}

impl Keeper {
    fn run(mut self, orders: &Orders) {
        let (mut last, mut pause) = (Instant::now(), Duration::ZERO);
        loop {
            if orders.give_up.load(Ordering::Acquire) {
                return;
            }
            if orders.finish.load(Ordering::Acquire) {
                // What has to be asked for is not worth waiting for now.
                if self.has_news() {
                    self.try_rewrite(false, &|| orders.give_up.load(Ordering::Acquire));
                }
                return;
            }
            if last.elapsed() >= pause && self.is_due(last.elapsed()) {
                let begin = Instant::now();
                let fills = self.must_fill();
                let is_abandoned =
                    !self.try_rewrite(fills, &|| orders.finish.load(Ordering::Acquire));
                last = Instant::now();
                pause = PAUSE_MIN.max(begin.elapsed() * PAUSE_FACTOR);
                if fills && self.must_fill() {
                    // Nearly all of it was waiting.
                    pause = if is_abandoned { Duration::ZERO } else { pause.min(FILL_AGAIN) };
                }
            }
            // Who waited in a rewrite may have been woken there for the order to finish.
            if !orders.finish.load(Ordering::Acquire) {
                std::thread::park_timeout(LOOK);
            }
        }
    }

    /// False if it was abandoned, and may be begun again at once.
    fn try_rewrite(&mut self, fills: bool, give_up: &dyn Fn() -> bool) -> bool {
        match self.rewrite_and(fills, give_up) {
            Ok(()) | Err(RewriteError::GivenUp) => {}
            Err(RewriteError::Abandoned) => return false,
            Err(error) => {
                self.counts.failed.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    path = %self.plan.path.display(), %error,
                    "there is no new snapshot of routes; the last one stays"
                );
            }
        }
        true
    }
}
