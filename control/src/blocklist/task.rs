//! Keeps the blocklists: reads files again when they changed, and lets links follow.
//!
//! ```text
//! files    each second: time and size; what changed is read     the hot path never waits for it
//! sweep    after a change, after the start, each hour: all links, page by page; those that lead to what
//!          is listed are taken down, those that were and are no more come back. When hosts are added or
//!          released too: a link to a host that serves links could have no end
//! ```
//!
//! A link that is taken down is a change of its route like any other, so it reaches every edge the same
//! way, and an edge needs no list of its own. Whoever checked a target by the old list may write it
//! after the sweep has passed: so it is done once more, after the longest that a request can take.
//!
//! Where there are several control planes, the one with the newest files leads ([`super::lead`]): the others
//! say so each minute, and leave links alone while their files are others.
//!
//! A file that cannot be read, that is no list, or that lost nine tenths of its entries, is not taken:
//! what was read before stays, and a metric says so. Where nothing was read before, because the process
//! has just started, no link comes back until each file was read once.

use std::hash::RandomState;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use carom_shared::{LinkId, UnixMillis, WorkspaceId};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::lead::Lead;
use super::{Blocklist, Entries, Policy, Reading};
use crate::app::App;
use crate::audit::Actor;
use crate::db::{Db, StoreError};
use crate::link::block::{Block, BlockLinks, Reason};
use crate::link::store::{TargetRow, blocked_targets, link_targets};
use crate::metrics::BlocklistMetrics;
use crate::write::WriteError;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Longer than a request that was checked before can take to be written.
const SWEEP_AGAIN: Duration = Duration::from_secs(15);
const SWEEP_EVERY: Duration = Duration::from_hours(1);
/// How often it is asked whose lists links follow.
const LEAD_EVERY: Duration = Duration::from_mins(1);
/// Bytes of a file, at most: some four million hosts.
const FILE_MAX: u64 = 128 << 20;
/// Entries from which on a file may not lose nine tenths at once.
const LARGE: usize = 1000;
/// Links of a page, and links that are changed in one commit.
const PAGE: u32 = 1000;
const CHANGES_MAX: usize = 250;

/// What tells one state of a file from another: time with its fraction, size, and which file it is.
type Seen = (i64, i64, u64, u64);

/// One of the files.
#[derive(Debug)]
struct File {
    path: PathBuf,
    seen: Option<Seen>,
    /// Of what was read last.
    changed_at: UnixMillis,
    entries: Arc<Entries>,
    /// `entries` are of it: it was read at least once.
    is_known: bool,
    is_failed: bool,
}

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("it cannot be read: {0}")]
    Io(#[from] std::io::Error),
    #[error("it has more than {FILE_MAX} bytes")]
    Large,
    #[error("more than half of its lines are neither hosts nor addresses")]
    Foreign,
    #[error("it has {now} entries, and had {before}: restart if that is meant")]
    Shrunk { before: usize, now: usize },
}

/// The files, and what they said last.
#[derive(Debug)]
pub(crate) struct Files {
    files: Vec<File>,
    key: RandomState,
}

impl Files {
    pub(crate) fn new(paths: &[PathBuf]) -> Self {
        let file = |path: &PathBuf| File {
            path: path.clone(),
            seen: None,
            changed_at: UnixMillis::default(),
            entries: Arc::default(),
            is_known: false,
            is_failed: false,
        };
        Self { files: paths.iter().map(file).collect(), key: RandomState::new() }
    }

    /// Whether each of them was read once. What another process took down by one that this one has never read
    /// stays down.
    fn are_known(&self) -> bool {
        self.files.iter().all(|file| file.is_known)
    }

    /// Reads what changed since the last time; what is listed now, if that is something else.
    pub(crate) fn look(&mut self, metrics: &BlocklistMetrics) -> Option<Blocklist> {
        let mut is_changed = false;
        for file in &mut self.files {
            is_changed |= file.look(&self.key);
        }
        let newest = self.files.iter().filter_map(|file| file.seen.map(|seen| seen.0)).max();
        metrics.changed_at.set(newest.unwrap_or_default().unsigned_abs());
        metrics.failed.set(self.files.iter().filter(|file| file.is_failed).count() as u64);
        is_changed.then(|| {
            let entries = || self.files.iter().map(|file| &*file.entries);
            let changed_at = self.files.iter().map(|file| file.changed_at).max();
            let reading = Reading::of(entries(), changed_at.unwrap_or_default());
            let list = Blocklist::new(entries(), self.key.clone()).with_reading(reading);
            metrics.entries.set(list.len() as u64);
            list
        })
    }
}

impl File {
    /// Whether it says something else than before.
    fn look(&mut self, key: &RandomState) -> bool {
        let read = match seen(&self.path) {
            Ok(seen) if self.seen == Some(seen) => return false,
            Ok(seen) => {
                // It is not read again until it is another.
                self.seen = Some(seen);
                self.read(key)
            }
            Err(error) => {
                self.seen = None;
                Err(error.into())
            }
        };
        let path = self.path.display();
        match read {
            Ok(entries) => {
                let (count, bad) = (entries.len(), entries.bad_lines);
                tracing::info!(%path, entries = count, lines.bad = bad, "a blocklist was read");
                self.is_failed = false;
                self.is_known = true;
                self.changed_at = self.seen.map(changed_at).unwrap_or_default();
                let is_new = *self.entries != entries;
                self.entries = Arc::new(entries);
                is_new
            }
            Err(error) => {
                if !self.is_failed {
                    tracing::error!(%path, %error, "a blocklist is not taken; the last one stays");
                }
                self.is_failed = true;
                false
            }
        }
    }

    fn read(&self, key: &RandomState) -> Result<Entries, Refused> {
        if std::fs::metadata(&self.path)?.len() > FILE_MAX {
            return Err(Refused::Large);
        }
        let entries = Entries::parse(&std::fs::read(&self.path)?, key);
        let (before, now) = (self.entries.len(), entries.len());
        if entries.bad_lines > now {
            return Err(Refused::Foreign);
        }
        if before >= LARGE && now < before / 10 {
            return Err(Refused::Shrunk { before, now });
        }
        Ok(entries)
    }
}

fn seen(path: &Path) -> std::io::Result<Seen> {
    let of = std::fs::metadata(path)?;
    Ok((of.mtime(), of.mtime_nsec(), of.size(), of.ino()))
}

/// To the millisecond.
fn changed_at((seconds, nanos, ..): Seen) -> UnixMillis {
    UnixMillis::new(seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000))
}

/// Which links are looked at; each of them more than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sweep {
    /// Those that are taken down.
    Blocked,
    /// All, if there is a list.
    Listed,
    All,
}

/// What became of a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Swept {
    Done,
    /// Links follow another control plane's lists.
    OthersLead,
    Failed,
}

/// The next sweep. What did not come to its end is in it, so that nothing waits for an hour.
#[derive(Debug)]
struct Plan {
    at: Instant,
    of: Sweep,
    /// Whether links followed the lists of this process when that was asked last.
    leads: bool,
    /// Whether links that are on no list come back.
    frees: bool,
}

impl Plan {
    /// Takes the sweep that is due.
    fn take(&mut self, now: Instant) -> Sweep {
        self.at = now + SWEEP_EVERY;
        std::mem::replace(&mut self.of, Sweep::Listed)
    }

    /// Sweeps once more, of no less than this.
    fn again(&mut self, now: Instant, of: Sweep) {
        self.at = now + SWEEP_AGAIN;
        self.of = self.of.max(of);
    }

    /// Whoever leads anew looks at everything: what it left alone meanwhile nobody remembers.
    fn note_leads(&mut self, now: Instant, leads: bool) {
        if leads && !self.leads {
            (self.at, self.of) = (now, Sweep::All);
        }
        self.leads = leads;
    }

    fn note(&mut self, now: Instant, of: Sweep, swept: Swept) {
        match swept {
            Swept::Done => self.note_leads(now, true),
            Swept::OthersLead => self.note_leads(now, false),
            Swept::Failed => self.again(now, of),
        }
    }
}

/// Why a sweep ended early; the next one goes over it again.
#[derive(Debug, thiserror::Error)]
enum SweepError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl App {
    /// Keeps lists and links together, until `stop`. The files were looked at once.
    pub(crate) async fn keep_blocklists(self, files: Files, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.follow_blocklists(files) => {}
        }
    }

    async fn follow_blocklists(&self, mut files: Files) {
        let (at, of, frees) = (Instant::now(), Sweep::Listed, files.are_known());
        let mut plan = Plan { at, of, leads: true, frees };
        let mut next_look = Instant::now() + LOOK_EVERY;
        let mut next_lead = Instant::now() + LEAD_EVERY;
        loop {
            tokio::select! {
                () = sleep_until(next_lead), if self.is_one_of_several() => {
                    // Where that cannot be asked, nothing is known to have changed.
                    if let Ok(leads) = self.leads().await {
                        plan.note_leads(Instant::now(), leads);
                    }
                    next_lead = Instant::now() + LEAD_EVERY;
                }
                () = sleep_until(plan.at) => {
                    let of = plan.take(Instant::now());
                    self.sweep(of, &mut plan).await;
                }
                () = self.blocked_notify().notified() => {
                    self.sweep(Sweep::Blocked, &mut plan).await;
                }
                () = self.hosts_notify().notified() => {
                    self.sweep(Sweep::All, &mut plan).await;
                    plan.again(Instant::now(), Sweep::All);
                }
                () = sleep_until(next_look), if !files.files.is_empty() => {
                    let app = self.clone();
                    let looked = tokio::task::spawn_blocking(move || {
                        let list = files.look(&app.metrics().blocklist);
                        (files, list)
                    });
                    let Ok((looked, list)) = looked.await else {
                        tracing::error!("reading the blocklists panicked: they are read no more");
                        return;
                    };
                    files = looked;
                    plan.frees = files.are_known();
                    next_look = Instant::now() + LOOK_EVERY;
                    if let Some(list) = list {
                        self.set_blocklist(&Arc::new(list));
                        self.sweep(Sweep::Listed, &mut plan).await;
                        plan.again(Instant::now(), Sweep::Listed);
                    }
                }
            }
        }
    }

    /// Brings links in line with lists and hosts, and plans what that leads to.
    async fn sweep(&self, of: Sweep, plan: &mut Plan) {
        let started = Instant::now();
        let swept = match self.try_sweep(of, plan.frees).await {
            Ok(None) => Swept::OthersLead,
            Ok(Some(0)) => Swept::Done,
            Ok(Some(changed)) => {
                let ms = started.elapsed().as_millis();
                tracing::warn!(
                    changed,
                    ms,
                    "links were taken down, or came back, by blocklists or hosts"
                );
                Swept::Done
            }
            Err(error) => {
                tracing::error!(%error, "links are not in line with the blocklists yet");
                sleep(LOOK_EVERY).await;
                Swept::Failed
            }
        };
        plan.note(Instant::now(), of, swept);
    }

    /// How many links changed; `None` if they follow another control plane's lists.
    async fn try_sweep(&self, of: Sweep, frees: bool) -> Result<Option<usize>, SweepError> {
        if self.is_one_of_several() && !self.leads().await? {
            return Ok(None);
        }
        self.sweep_links(of, frees).await.map(Some)
    }

    /// Whether others may have the same database. A file has one process at a time.
    fn is_one_of_several(&self) -> bool {
        matches!(self.read(), Db::Postgres(_))
    }

    /// Whether links follow the lists of this process.
    async fn leads(&self) -> Result<bool, WriteError> {
        let reading = self.policy().blocklist().reading;
        let leads = self.act(Lead(reading)).await?;
        let others = &self.metrics().blocklist.others_lead;
        if !leads && others.get() == 0 {
            tracing::warn!(
                "another control plane has other, newer blocklists, and links follow those: give all of \
                 them the same files"
            );
        }
        others.set((!leads).into());
        Ok(leads)
    }

    async fn sweep_links(&self, of: Sweep, frees: bool) -> Result<usize, SweepError> {
        let policy = self.policy();
        let is_listing = !policy.blocklist().is_empty();
        let only_blocked = of == Sweep::Blocked || of == Sweep::Listed && !is_listing;
        let (mut after, mut changed) = (None, 0);
        loop {
            let rows = match only_blocked {
                true => blocked_targets(self.read(), after, PAGE).await?,
                false => link_targets(self.read(), after, PAGE).await?,
            };
            after = rows.last().map(|row| row.id);
            let is_last = rows.len() < PAGE as usize;
            let blocks: Vec<_> = rows.iter().filter_map(|row| judge(row, &policy, frees)).collect();
            for blocks in blocks.chunks(CHANGES_MAX) {
                let why = Reason::List;
                let act = BlockLinks { actor: Actor::default(), why, blocks: blocks.to_vec() };
                changed += self.act(act).await?.len();
            }
            if is_last {
                return Ok(changed);
            }
        }
    }
}

/// What is to be done with a link, if anything; `frees`: whether it may come back.
fn judge(row: &TargetRow, policy: &Policy, frees: bool) -> Option<Block> {
    let is_listed =
        policy.bars(&row.target) || row.fallback.as_ref().is_some_and(|url| policy.bars(url));
    let (workspace, link): (WorkspaceId, LinkId) = (row.workspace, row.id);
    let is_change = is_listed != row.is_listed && (is_listed || frees);
    is_change.then_some(Block { workspace, link, is_blocked: is_listed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    /// Writes a file whose time is another than before.
    fn write(path: &Path, text: &str) {
        std::fs::write(path.with_extension("new"), text).unwrap();
        std::fs::rename(path.with_extension("new"), path).unwrap();
    }

    #[test]
    fn what_was_not_swept_is_swept_again() {
        let start = Instant::now();
        let hour = start + SWEEP_EVERY;
        let due = |plan: &Plan| (plan.at, plan.of);
        let mut plan = Plan { at: start, of: Sweep::Listed, leads: true, frees: true };
        assert_eq!(plan.take(start), Sweep::Listed);
        plan.note(start, Sweep::Listed, Swept::Done);
        assert_eq!(due(&plan), (hour, Sweep::Listed));
        // The database was away.
        plan.note(start, Sweep::All, Swept::Failed);
        plan.note(start, Sweep::Blocked, Swept::Failed);
        assert_eq!(due(&plan), (start + SWEEP_AGAIN, Sweep::All));
        assert_eq!(plan.take(start), Sweep::All);
        // Another one led, if only for a moment.
        plan.note(start, Sweep::All, Swept::OthersLead);
        plan.note_leads(start, false);
        assert_eq!(due(&plan), (hour, Sweep::Listed));
        plan.note_leads(start, true);
        assert_eq!((plan.take(start), plan.at), (Sweep::All, hour));
        plan.note_leads(start, true);
        assert_eq!(due(&plan), (hour, Sweep::Listed));
    }

    #[test]
    fn a_file_is_read_again_when_it_changed_and_a_bad_one_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let (large, own) = (folder.path().join("large"), folder.path().join("own"));
        let hosts = (0..2000).fold(String::new(), |mut text, n| {
            writeln!(text, "127.0.0.1 h{n}.example").unwrap();
            text
        });
        write(&large, &hosts);
        let metrics = BlocklistMetrics::default();
        let mut files = Files::new(&[large.clone(), own.clone()]);
        let list = files.look(&metrics).unwrap();
        assert!(list.holds("https://h7.example/") && !list.holds("https://own.example/"));
        assert_eq!((metrics.entries.get(), metrics.failed.get()), (2000, 1), "own is not there");
        assert!(!files.are_known());
        assert!(files.look(&metrics).is_none(), "nothing changed");

        write(&own, "own.example\n");
        let list = files.look(&metrics).unwrap();
        assert!(list.holds("https://h7.example/") && list.holds("https://own.example/"));
        assert_eq!((metrics.entries.get(), metrics.failed.get()), (2001, 0));

        // What went wrong elsewhere takes nothing away.
        for bad in ["", "h1.example\n", "<html>\n<h1>502 Bad Gateway</h1>\n</html>\n"] {
            write(&large, bad);
            assert!(files.look(&metrics).is_none(), "{bad}");
            assert_eq!((metrics.entries.get(), metrics.failed.get()), (2001, 1));
        }
        assert!(files.are_known(), "it was read once");
        std::fs::remove_file(&own).unwrap();
        assert!(files.look(&metrics).is_none());
        assert_eq!(metrics.failed.get(), 2);

        // As it was before: it is read, and is nothing new.
        write(&large, &hosts);
        write(&own, "own.example\n");
        assert!(files.look(&metrics).is_none());
        assert_eq!(metrics.failed.get(), 0);
        write(&own, "");
        let list = files.look(&metrics).unwrap();
        assert!(list.holds("https://h7.example/") && !list.holds("https://own.example/"));
        assert!(metrics.changed_at.get() > 1_700_000_000);
    }
}
