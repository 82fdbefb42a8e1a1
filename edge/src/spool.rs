//! The folder in which clicks live until a store has them.
//!
//! ```text
//! spool/lock               held by the process that records here
//! spool/identity           the folder's name and how often it was started on
//! spool/ring/*.seg         seconds: raw clicks, memory mapped, recycled      (segment, map, ring)
//! spool/outbox/*.clk       until stored: batches; immutable, synced          (outbox)
//! spool/quarantine/        what could not be read or will not be taken; never deleted here
//! ```
//!
//! The way of a click through it, and what makes it exactly once:
//!
//! 1. The thread that answers **appends** it to its segment before the response goes to the socket.
//!    The record's length is written last, so a process killed at any instruction leaves whole
//!    records, and at most one torn one that was never answered. Memory written to a mapped file
//!    belongs to the kernel: it survives the process.
//! 2. The **drainer** copies records into a batch, writes it under a temporary name, syncs it,
//!    renames it, and syncs the folder. From here on the batch exists.
//! 3. It notes in each segment how far it was drained, syncs that note, and only then hands the
//!    batch to the shipper. Killed before the note: the batch's own header says what it drained.
//!    Killed after: the note does. The batch cannot be gone before the note is there.
//! 4. The **shipper** gives the batch to the store under its name, as often as it takes, and
//!    removes the file once the store says that it has it.
//! 5. A segment that is drained to its end is zeroed and used again under a new epoch, so that
//!    `(epoch, offset)` never means two clicks, and no address outlives the seconds it is needed.
//!
//! At start the same rules read backwards ([`recover`]): what a segment holds beyond its note and
//! beyond every batch in the outbox was answered and not yet drained, and becomes a batch.

mod map;
pub(crate) mod outbox;
pub(crate) mod recover;
pub mod ring;
mod segment;

use std::fs::{DirBuilder, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use carom_shared::Random;

/// Limits of the spool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpoolConfig {
    /// How often clicks are cut into a batch, in milliseconds. What a click waits at most before
    /// it is on its way to the store.
    pub flush_ms: u64,
    /// Ring of one edge thread, in bytes; reserved on disk at the start. What clicks may fill while
    /// the disk is stuck: at 256 bytes a click, 64 MiB are 5 seconds of 50,000 clicks a second.
    pub ring_bytes: u64,
}

impl Default for SpoolConfig {
    fn default() -> Self {
        Self { flush_ms: 1000, ring_bytes: 64 << 20 }
    }
}

/// Why a spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    #[error("{} is in use by another process; two may not record into one spool", .0.display())]
    Locked(PathBuf),
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "{} is not a spool's identity file: restore it, or move the spool folder away and start \
         with an empty one",
        .0.display()
    )]
    Identity(PathBuf),
}

impl SpoolError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// An open spool folder; locked as long as this lives.
#[derive(Debug)]
pub(crate) struct Spool {
    dir: PathBuf,
    /// The folder's random name; part of every batch's token.
    id: u64,
    /// How often the folder was started on, this time included.
    generation: u32,
    _lock: File,
}

impl Spool {
    const IDENTITY: &str = "carom spool 1";

    /// Opens the folder, made if it is not there, and takes its lock.
    pub(crate) fn open(dir: &Path, random: &dyn Random) -> Result<Self, SpoolError> {
        for sub in ["", "ring", "outbox", "quarantine"] {
            let path = dir.join(sub);
            // It holds addresses: for its owner alone, wherever it is.
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
            made.map_err(SpoolError::io(&path))?;
        }
        let path = dir.join("lock");
        let lock = File::create(&path).map_err(SpoolError::io(&path))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => SpoolError::Locked(dir.to_owned()),
            TryLockError::Error(source) => SpoolError::Io { path, source },
        })?;

        let (id, generation) = match read_identity(&dir.join("identity"))? {
            Some((id, generation)) => (id, generation.wrapping_add(1)),
            None => {
                let mut bytes = [0; 8];
                random.fill(&mut bytes);
                (u64::from_le_bytes(bytes), 1)
            }
        };
        // On disk before the first batch is named by it: a generation never names two of them.
        let text = format!("{}\nid {id:016x}\ngeneration {generation}\n", Self::IDENTITY);
        let path = dir.join("identity");
        write_durably(&path, text.as_bytes()).map_err(SpoolError::io(&path))?;
        Ok(Self { dir: dir.to_owned(), id, generation, _lock: lock })
    }

    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    pub(crate) const fn generation(&self) -> u32 {
        self.generation
    }

    pub(crate) fn ring_dir(&self) -> PathBuf {
        self.dir.join("ring")
    }

    pub(crate) fn outbox_dir(&self) -> PathBuf {
        self.dir.join("outbox")
    }

    pub(crate) fn quarantine_dir(&self) -> PathBuf {
        self.dir.join("quarantine")
    }
}

fn read_identity(path: &Path) -> Result<Option<(u64, u32)>, SpoolError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(SpoolError::io(path)(error)),
    };
    let mut lines = text.lines();
    let mut field = |name| lines.next().and_then(|line| line.strip_prefix(name));
    let identity = (|| {
        field(Spool::IDENTITY)?;
        let id = u64::from_str_radix(field("id ")?, 16).ok()?;
        let generation = field("generation ")?.parse().ok()?;
        Some((id, generation))
    })();
    identity.map(Some).ok_or_else(|| SpoolError::Identity(path.to_owned()))
}

/// Puts a file in its place so that, whenever the machine stops, either the old one is there or
/// all of the new one.
fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    std::fs::rename(&temporary, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
