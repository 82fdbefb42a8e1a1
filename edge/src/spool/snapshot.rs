//! The spool as it was at one moment, for a backup: second names for the files of the outbox and of
//! the quarantine, and a copy of the totals of what is lost.
//!
//! The drainer takes it, between two batches: nothing is written or compacted meanwhile, and every
//! click that was recorded before it was asked for is in a batch. The shipper goes on. A batch that
//! it removes before the batch has its second name is in the store by then; one that it sets aside
//! is found in the quarantine, which is looked at last.
//!
//! **The ring is never in it.** Only there are addresses; a segment that lies damaged in the
//! quarantine is left out for the same reason.
//!
//! The second names are in the spool, because they cannot be on another file system: a copy of a
//! long outbox would keep the drainer from draining.

use std::collections::HashSet;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::Thread;
use std::time::Duration;

use arc_swap::ArcSwap;
use carom_shared::batch::{Batch, BatchError, Token};
use carom_shared::{Clock, Random, Salts};

use super::outbox::{Outbox, read_header};
use super::recover::Recovery;
use super::{Spool, SpoolConfig, SpoolError, compact, disk};
use crate::drain::Orders;
use crate::enrich::{EnrichConfig, Enricher};
use crate::metrics::Metrics;

/// Letters of a file's name in the quarantine, at most: Carom's own have fewer.
const NAME_MAX: usize = 80;

/// A spool as it was: `outbox/`, `quarantine/` and `losses` in a folder that ends with this.
#[derive(Debug)]
pub struct SpoolSnapshot {
    dir: PathBuf,
    left_out: usize,
}

impl SpoolSnapshot {
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Files of the quarantine that are not in it: damaged segments, which may hold addresses, and
    /// what Carom did not put there.
    #[must_use]
    pub const fn left_out(&self) -> usize {
        self.left_out
    }

    /// `number` tells it from others of this process.
    pub(crate) fn take(spool: &Spool, number: u32) -> io::Result<Self> {
        let dir = spool.snapshots_dir().join(number.to_string());
        let mut snapshot = Self { dir, left_out: 0 };
        for sub in ["outbox", "quarantine"] {
            DirBuilder::new().recursive(true).mode(0o700).create(snapshot.dir.join(sub))?;
        }
        for entry in fs::read_dir(spool.outbox_dir())? {
            let entry = entry?;
            if batch_name(&entry.path()).is_some() {
                link(&entry.path(), &snapshot.dir.join("outbox").join(entry.file_name()))?;
            }
        }
        for entry in fs::read_dir(spool.quarantine_dir())? {
            let entry = entry?;
            let name = entry.file_name();
            if entry.file_type()?.is_file() && name.to_str().is_some_and(is_kept) {
                link(&entry.path(), &snapshot.dir.join("quarantine").join(name))?;
            } else {
                snapshot.left_out += 1;
            }
        }
        let losses = spool.losses_path();
        if losses.exists() {
            // Each total is a word with a checksum of its own: a copy is whole at any moment.
            disk::copy(&losses, &snapshot.dir.join("losses"))?;
        }
        Ok(snapshot)
    }
}

impl Drop for SpoolSnapshot {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.dir.display(), %error, "a snapshot is left; the next start removes it");
        }
    }
}

/// Gives a file a second name; one that is gone meanwhile has none.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    let linked = match disk::link(from, to) {
        // Some file systems know no second names.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied
            ) =>
        {
            disk::copy(from, to)
        }
        linked => linked,
    };
    match linked {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        linked => linked,
    }
}

/// What a file of the outbox is named, if it is a batch.
fn batch_name(path: &Path) -> Option<Token> {
    let is_batch = path.extension().is_some_and(|extension| extension == "clk");
    path.file_stem()?.to_str()?.parse().ok().filter(|_| is_batch)
}

/// Whether a file of the quarantine may be in a backup, by its name.
#[must_use]
pub fn is_kept(name: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
    let is_known = [".clk", ".cnt", "-losses"].iter().any(|end| name.ends_with(end));
    is_known && name.len() <= NAME_MAX && !name.starts_with('.') && name.bytes().all(is_plain)
}

/// The batches in the `outbox/` of a snapshot, oldest first, but for those that another one
/// replaces: their clicks are in that one.
///
/// # Errors
/// [`BatchFileError`] names the batch that cannot be read, or is damaged.
pub fn batches(outbox: &Path) -> Result<Vec<Token>, BatchFileError> {
    let failed = |source| BatchFileError::Io { path: outbox.to_owned(), source };
    let mut tokens = Vec::new();
    for entry in fs::read_dir(outbox).map_err(failed)? {
        tokens.extend(batch_name(&entry.map_err(failed)?.path()));
    }
    tokens.sort();
    let mut ranges = Vec::with_capacity(tokens.len());
    for token in &tokens {
        let header = read_header(&path_of(outbox, token)).map_err(failed)?;
        let header =
            header.map_err(|source| BatchFileError::Batch { token: token.clone(), source })?;
        ranges.push((token.clone(), header.ranges));
    }
    let replaced: HashSet<Token> = compact::replaced(&ranges);
    tokens.retain(|token| !replaced.contains(token));
    Ok(tokens)
}

/// One of them, with every byte checked.
///
/// # Errors
/// As those of [`batches`].
pub fn read_batch(outbox: &Path, token: &Token) -> Result<Batch, BatchFileError> {
    let path = path_of(outbox, token);
    let bytes = fs::read(&path).map_err(|source| BatchFileError::Io { path, source })?;
    Batch::from_bytes(&bytes)
        .map_err(|source| BatchFileError::Batch { token: token.clone(), source })
}

fn path_of(outbox: &Path, token: &Token) -> PathBuf {
    outbox.join(format!("{token}.clk"))
}

/// A batch of a snapshot that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BatchFileError {
    #[error("{}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the batch {token} is damaged")]
    Batch { token: Token, source: BatchError },
}

/// An order to the drainer.
#[derive(Debug)]
pub(crate) struct SnapshotOrder {
    number: u32,
    reply: SyncSender<io::Result<SpoolSnapshot>>,
}

impl SnapshotOrder {
    pub(crate) fn new(number: u32) -> (Self, Receiver<io::Result<SpoolSnapshot>>) {
        let (reply, answer) = sync_channel(1);
        (Self { number, reply }, answer)
    }

    pub(crate) fn carry_out(self, spool: &Spool) {
        // Whoever asked may have given up; the snapshot then ends here.
        drop(self.reply.try_send(SpoolSnapshot::take(spool, self.number)));
    }
}

/// Why there is no snapshot of a spool.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error(
        "clicks could not be drained in {} s: the disk is full, fails, or is very slow; the log \
         says which",
        .0.as_secs()
    )]
    Stuck(Duration),
    #[error("the edge is stopping")]
    Stopping,
    #[error("the spool fails")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// Takes snapshots of the spool of a running edge. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SpoolAccess {
    pub(crate) orders: Arc<Orders>,
    pub(crate) drainer: Option<Thread>,
}

impl SpoolAccess {
    /// Drains the rings, then takes a snapshot. Waits, so it belongs on a thread that may.
    ///
    /// # Errors
    /// [`SnapshotError`]; nothing is left of the try.
    pub fn snapshot(&self, patience: Duration) -> Result<SpoolSnapshot, SnapshotError> {
        let answer = self.orders.ask_for_snapshot();
        if let Some(drainer) = &self.drainer {
            drainer.unpark();
        }
        match answer.recv_timeout(patience) {
            Ok(snapshot) => Ok(snapshot?),
            Err(RecvTimeoutError::Timeout) => Err(SnapshotError::Stuck(patience)),
            Err(RecvTimeoutError::Disconnected) => Err(SnapshotError::Stopping),
        }
    }
}

/// A spool that no edge runs on.
pub struct SpoolAtRest {
    pub dir: PathBuf,
    pub spool: SpoolConfig,
    pub enrich: EnrichConfig,
    pub salts: Salts,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
}

impl SpoolAtRest {
    /// Recovers what the last run left, as a start does, then takes a snapshot.
    ///
    /// # Errors
    /// [`SnapshotError`]; what was recovered is in the outbox, and the next start's.
    pub fn snapshot(&self) -> Result<SpoolSnapshot, SnapshotError> {
        let spool = Spool::open(&self.dir, &*self.random)?;
        let outbox = Outbox::open(&spool, self.spool.max_bytes)?;
        let losses = spool.losses()?;
        let salts = Arc::new(ArcSwap::from_pointee(self.salts.clone()));
        let metrics = Arc::new(Metrics::new(1));
        let mut enricher = Enricher::new(&self.enrich, &salts, &*self.random, &metrics);
        Recovery::new(&spool, &outbox, &losses, &*self.clock).run(&mut enricher)?;
        Ok(SpoolSnapshot::take(&spool, 0)?)
    }
}

#[cfg(test)]
mod tests {
    use carom_shared::SeededRandom;

    use super::*;

    #[test]
    fn a_snapshot_holds_batches_and_no_addresses() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path(), &SeededRandom::new(1)).unwrap();
        let token = Token::new(1, 2, 3, 4, 5);
        let put = |folder: PathBuf, name: &str| fs::write(folder.join(name), name).unwrap();
        for name in [format!("{token}.clk"), format!("{token}.tmp"), "other".to_owned()] {
            put(spool.outbox_dir(), &name);
        }
        for name in [
            "00000001-000-00000.seg", "00000001-000-a.cnt", "00000001-losses", "a b.clk",
            "0000000000000001-00000001-00000001-1-00000001.clk",
        ] {
            put(spool.quarantine_dir(), name);
        }
        put(spool.ring_dir(), "000-00000.seg");
        let snapshot = SpoolSnapshot::take(&spool, 7).unwrap();
        let names = |sub: &str| {
            let files = fs::read_dir(snapshot.dir().join(sub)).unwrap();
            let mut names: Vec<_> =
                files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        assert_eq!(names("outbox"), [format!("{token}.clk")]);
        assert_eq!(
            names("quarantine"),
            [
                "0000000000000001-00000001-00000001-1-00000001.clk", "00000001-000-a.cnt",
                "00000001-losses",
            ]
        );
        assert_eq!(snapshot.left_out(), 2);
        // What is shipped meanwhile stays in it; what is in it does not stay for ever.
        let path = spool.outbox_dir().join(format!("{token}.clk"));
        fs::remove_file(&path).unwrap();
        let kept = snapshot.dir().join("outbox").join(format!("{token}.clk"));
        assert_eq!(fs::read_to_string(kept).unwrap(), format!("{token}.clk"));
        let at = snapshot.dir().to_owned();
        drop(snapshot);
        assert!(!at.exists());
    }

    #[test]
    fn what_a_killed_backup_left_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Spool::open(dir.path(), &SeededRandom::new(1)).unwrap();
        let spool = open();
        let left = SpoolSnapshot::take(&spool, 1).unwrap();
        let at = left.dir().to_owned();
        std::mem::forget(left);
        drop(spool);
        assert!(at.exists());
        drop(open());
        assert!(!at.exists());
    }
}
