//! Backups of an installation on embedded stores: made while it serves, checked, and restored.
//!
//! # What a backup is
//!
//! The installation at one moment, the **cut**: the time at which the backup was asked for. It may
//! hold some of what came after. In one file (`archive`), readable without Carom:
//!
//! 1. **Drain.** The drainer is told to empty the rings, and then to give every file of the outbox
//!    a second name, before it goes on (`carom_edge::SpoolSnapshot`).
//! 2. **Copy the clicks**, in one reading transaction.
//! 3. **Copy the links**, in another.
//! 4. **Pack** these, with a manifest that says what is in them.
//!
//! # Why each click that was answered before the cut is in it, once
//!
//! A click is in a ring before it is answered, so after 1 it is in a batch: in the outbox, or in
//! the store, which had it before the batch left the outbox. The drainer does 1 between two
//! batches, so no batch is replaced by a compaction meanwhile. When it gives out second names,
//! either the batch is there and has one, or the shipper was faster and the store has committed it
//! before 2 begins. So it is in the outbox of the backup, in its store, or in both; and in both it
//! counts once, because the ledger, in the same file as the clicks, has the batch's name. The
//! restore gives each batch of the outbox to that store.
//!
//! A batch that the store refused is moved into the quarantine; that is read after the outbox, so
//! it is in one of them.
//!
//! # Why no click is without its link
//!
//! A link is committed before it can be clicked, no row of it is ever removed, and 3 begins after 2
//! has begun: what was clicked by then is there. What was acknowledged before the cut is there as
//! well, because a command is answered after its commit.
//!
//! Lists of links show clicks that are carried over from the store of clicks. None are between 2
//! and 3: the links of a backup never show clicks that its other file does not have.
//!
//! # Clicks in ClickHouse
//!
//! They are left out, unless they are asked for. What is left out has a backup of its own, which has to
//! be made after this one: then each click that was answered before the cut is in the outbox of the one, in the other,
//! or in both, and the restore gives each batch of the outbox to the restored ClickHouse, whose rows and
//! ledger tell whether it has it. Clicks that came between the two have no link here, if their link
//! did too. If clicks are asked for, 2 copies the tables as they are at one moment by their parts, and
//! makes a file of them: all above holds.
//!
//! # What is not in it
//!
//! The rings: addresses are there, and nowhere else. Damaged segments in the quarantine, for the
//! same reason. The spool's name: what is restored gives its batches other names than the
//! installation that was copied, which may live on. Settings and certificates.

mod api;
mod archive;
mod cli;
mod file;
mod manifest;
mod restore;
mod schedule;
mod staging;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use carom_control::App;
use carom_control::backup::{
    CheckError, ClicksCopied, ClicksElsewhere, Copied, CopyError, JoinError, LinksCopied,
    SharedClicks,
};
use carom_edge::spool::snapshot::{BatchFileError, batches, read_batch};
use carom_edge::{SnapshotError, SpoolAccess, SpoolAtRest, SpoolSnapshot};
use carom_shared::{Clock, Random, UnixMillis};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use api::router;
pub(crate) use cli::{BackupArgs, RestoreArgs};
pub(crate) use manifest::{Manifest, OutboxCopied};
pub(crate) use restore::{RestoreError, Restored};
pub(crate) use schedule::{BackupConfig, newest_backup};

use schedule::Kept;
use staging::Staging;

/// How long the drainer may take to empty the rings. It takes some milliseconds, unless its disk
/// is stuck.
const DRAIN_PATIENCE: Duration = Duration::from_secs(60);

/// Where the spool's snapshots come from.
pub(crate) enum SpoolSource {
    /// An edge runs on it.
    Live(SpoolAccess),
    AtRest(Box<SpoolAtRest>),
}

/// Makes backups, one at a time. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Backups(Arc<Inner>);

struct Inner {
    app: App,
    spool: SpoolSource,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    /// Whether clicks in ClickHouse are copied into backups that nobody asks for one by one.
    with_clicks: bool,
    busy: tokio::sync::Mutex<()>,
    /// Looked at by what runs on threads of its own.
    interrupted: Arc<AtomicBool>,
    kept: Kept,
    status: Mutex<Status>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// A backup that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Made {
    pub(crate) file: String,
    pub(crate) bytes: u64,
    pub(crate) took_ms: u64,
    pub(crate) cut_at: String,
    pub(crate) links: LinksCopied,
    /// `None`: they are elsewhere.
    pub(crate) clicks: Option<ClicksCopied>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) elsewhere: Option<ClicksElsewhere>,
    pub(crate) outbox: OutboxCopied,
    pub(crate) left_out: usize,
}

/// How it is with the backup that was asked for last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// Which one: they are counted from the start of the process.
    pub(crate) number: u64,
    #[serde(flatten)]
    pub(crate) state: State,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum State {
    #[default]
    None,
    Running,
    Done {
        made: Box<Made>,
    },
    Failed {
        error: String,
    },
}

/// Why there is no backup. Nothing is left of the try.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupError {
    #[error("a backup is being made already; try again when it is done")]
    Busy,
    #[error("carom is stopping; try again when it runs, or is stopped")]
    Stopping,
    #[error("{}: name a folder whose path is text", .0.display())]
    Path(PathBuf),
    #[error("no backup was made")]
    Copy(#[from] CopyError),
    #[error("no backup was made")]
    Spool(#[from] SnapshotError),
    #[error("no backup was made")]
    Batch(#[from] BatchFileError),
    #[error("no backup was made in {}", .path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Why a file is no backup that this program can use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadBackup {
    #[error("cannot read {}", .path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} is not a backup of Carom", .0.display())]
    Foreign(PathBuf),
    #[error(
        "{} was made by a newer version of Carom (format {found}, this version knows {}); use that \
         version",
        .path.display(), manifest::FORMAT
    )]
    NewerFormat { path: PathBuf, found: u32 },
    #[error("{} is damaged: {what}; use another backup", .path.display())]
    Damaged { path: PathBuf, what: String },
    #[error("{} cannot be restored", .path.display())]
    Join { path: PathBuf, source: JoinError },
    #[error("{} cannot be restored", .path.display())]
    Store { path: PathBuf, source: CheckError },
    #[error("cannot unpack {}", .path.display())]
    Unpack { path: PathBuf, source: io::Error },
}

impl OutboxCopied {
    fn of(outbox: &Path) -> Result<Self, BatchFileError> {
        let mut found = Self::default();
        for token in batches(outbox)? {
            found.batches += 1;
            found.clicks += read_batch(outbox, &token)?.header().clicks;
        }
        Ok(found)
    }
}

impl Backups {
    pub(crate) fn new(
        app: App,
        spool: SpoolSource,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        with_clicks: bool,
    ) -> Self {
        Self(Arc::new(Inner {
            app,
            spool,
            clock,
            random,
            with_clicks,
            busy: tokio::sync::Mutex::default(),
            interrupted: Arc::default(),
            kept: Kept::default(),
            status: Mutex::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }))
    }

    /// Makes a backup in a folder, which is made if it is not there. `with_clicks`: also if they are in
    /// ClickHouse; as the settings say, if that is false.
    pub(crate) async fn make(&self, to: &Path, with_clicks: bool) -> Result<Made, BackupError> {
        let Ok(_busy) = self.0.busy.try_lock() else { return Err(BackupError::Busy) };
        tokio::select! {
            made = self.make_alone(to, with_clicks || self.0.with_clicks) => made,
            () = self.0.stop.cancelled() => Err(BackupError::Stopping),
        }
    }

    async fn make_alone(&self, to: &Path, with_clicks: bool) -> Result<Made, BackupError> {
        let inner = &self.0;
        let shared = if with_clicks { SharedClicks::Copy } else { SharedClicks::LeaveOut };
        let began = Instant::now();
        let failed = |source| BackupError::Io { path: to.to_owned(), source };
        if to.to_str().is_none() {
            return Err(BackupError::Path(to.to_owned()));
        }
        // Before anything is done, where it would be for nothing.
        inner.app.can_be_copied(shared)?;
        let staging = Staging::create(to, &*inner.random).map_err(failed)?;
        let cut_at = inner.clock.now();
        let this = self.clone();
        let spool = self.wait(move || this.0.spool.snapshot()).await??;
        let copied = inner.app.copy_stores(staging.dir(), shared).await?;
        let packing = Packing {
            to: to.to_owned(),
            cut_at,
            staging,
            spool,
            copied,
            interrupted: Arc::clone(&inner.interrupted),
        };
        let mut made = self.wait(move || packing.pack()).await??;
        made.took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(made)
    }

    /// Runs what takes its time on a thread that may wait.
    async fn wait<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BackupError> {
        self.0.tasks.spawn_blocking(work).await.map_err(|_| BackupError::Stopping)
    }

    /// Ends what is under way, and waits for it.
    pub(crate) async fn stop(&self) {
        self.0.stop.cancel();
        self.0.interrupted.store(true, Ordering::Relaxed);
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        self.0.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SpoolSource {
    fn snapshot(&self) -> Result<SpoolSnapshot, SnapshotError> {
        match self {
            Self::Live(access) => access.snapshot(DRAIN_PATIENCE),
            Self::AtRest(spool) => spool.snapshot(),
        }
    }
}

/// All that goes into one file. Should nobody wait for it any more, its temporary files go with it.
struct Packing {
    to: PathBuf,
    cut_at: UnixMillis,
    staging: Staging,
    spool: SpoolSnapshot,
    copied: Copied,
    interrupted: Arc<AtomicBool>,
}

impl Packing {
    fn pack(self) -> Result<Made, BackupError> {
        let path = self.to.join(manifest::file_name(self.cut_at));
        let failed = |source| BackupError::Io { path: self.to.clone(), source };
        let outbox = OutboxCopied::of(&self.spool.dir().join("outbox"))?;
        let sources = file::sources(self.staging.dir(), self.spool.dir()).map_err(failed)?;
        let manifest = Manifest {
            format: manifest::format_of(self.copied.clicks.is_some()),
            carom: env!("CARGO_PKG_VERSION").to_owned(),
            cut_at: manifest::rfc3339(self.cut_at),
            cut_at_ms: self.cut_at,
            links: self.copied.links,
            clicks: self.copied.clicks,
            elsewhere: self.copied.elsewhere.clone(),
            outbox,
            left_out: self.spool.left_out(),
            entries: file::entries(&sources, &self.interrupted).map_err(failed)?,
        };
        let temporary = self.staging.dir().join("backup");
        let bytes =
            file::write(&manifest, &sources, &temporary, &self.interrupted).map_err(failed)?;
        // A second name, not a rename: that would replace a backup of the same millisecond.
        std::fs::hard_link(&temporary, &path)
            .or_else(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => Err(error),
                _ => std::fs::rename(&temporary, &path),
            })
            .and_then(|()| std::fs::File::open(&self.to)?.sync_all())
            .map_err(failed)?;
        Ok(Made {
            file: path.display().to_string(),
            bytes,
            took_ms: 0,
            cut_at: manifest.cut_at,
            links: manifest.links,
            clicks: manifest.clicks,
            elsewhere: manifest.elsewhere,
            outbox,
            left_out: manifest.left_out,
        })
    }
}
