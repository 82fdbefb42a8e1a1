//! The folder in which clicks live until a store has them.
//!
//! ```text
//! spool/lock               held by the process that records here
//! spool/identity           the folder's name and how often it was started on
//! spool/losses             totals of what could not be kept, memory mapped   (losses)
//! spool/ring/*.seg         seconds: raw clicks, memory mapped, recycled      (segment, map, ring)
//! spool/ring/*.cnt         counts of clicks that found no room there         (count)
//! spool/ring/*.note        how far a segment is drained whose disk failed    (segment)
//! spool/outbox/*.clk       until stored: batches; immutable, synced          (outbox)
//! spool/sent               which of them no store can have seen              (outbox)
//! spool/snapshot/          second names of batches, while a backup is made     (snapshot)
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
//!
//! The same for a spool whose process is gone for good: another one that runs takes its lock and does
//! what a start would do ([`adopt`]). A spool has one process at a time, always.
//!
//! Beside that, a thread of its own puts records on the disk before they are in a batch ([`sync`]):
//! a killed process loses nothing, and a machine without power no more than the setting says.
//!
//! # Pressure
//!
//! The redirect never waits. What gives, in this order ([`crate::pressure`] shows it):
//!
//! | level | what happens | what is lost |
//! |---|---|---|
//! | 1 | the store is away: batches wait in the outbox | nothing |
//! | 2 | the outbox nears its quota: its oldest batches become counts ([`compact`]) | detail |
//! | 3 | the outbox or the disk is full, or fails: clicks wait in the rings | nothing yet |
//! | 4 | a ring is full: clicks are counted in a table ([`count`]) | detail |
//! | 5 | the table is full: clicks are dropped, and their total kept ([`losses`]) | clicks |

pub mod adopt;
pub(crate) mod compact;
mod count;
mod disk;
pub mod inspect;
pub(crate) mod losses;
pub(crate) mod map;
pub(crate) mod outbox;
pub(crate) mod recover;
pub mod retry;
pub mod ring;
mod segment;
pub mod snapshot;
pub(crate) mod sync;

use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use carom_shared::Random;
use carom_shared::settings::InvalidSetting;

use losses::Losses;
use sync::Durability;

/// Limits of the spool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpoolConfig {
    /// How often clicks are cut into a batch, in milliseconds, from 1 to 60,000. What a click waits at most
    /// before it is on its way to the store, and an address is in the ring.
    pub flush_ms: u64,
    /// Ring of one edge thread, in bytes; reserved on disk at the start. What clicks may fill while
    /// the disk is stuck: at 256 bytes a click, 64 MiB are 5 seconds of 50,000 clicks a second.
    pub ring_bytes: u64,
    /// Each of the two tables in which an edge thread counts clicks while its ring is full, in
    /// bytes, 16 MiB at most; reserved on disk at the start. 64 bytes are one link for a quarter of an hour.
    pub count_bytes: u64,
    /// What the power failing may cost.
    pub durability: Durability,
    /// With `durability = interval`: how long a click may be in memory only, in milliseconds.
    pub sync_interval_ms: u64,
    /// Batches that wait for the store, in bytes, at most; 0: 10 GiB or a fifth of the disk,
    /// whichever is less. Beyond four fifths of it, detail is given up; at it, clicks wait in
    /// the rings. A twentieth of the disk stays free in any case.
    pub max_bytes: u64,
}

impl Default for SpoolConfig {
    fn default() -> Self {
        Self {
            flush_ms: 1000,
            ring_bytes: 64 << 20,
            count_bytes: 4 << 20,
            durability: Durability::default(),
            sync_interval_ms: 200,
            max_bytes: 0,
        }
    }
}

/// More in one ring would be reserved for each thread.
const RING_BYTES_MAX: u64 = 16 << 30;
const SYNC_INTERVAL_MS_MAX: u64 = 60_000;
const FLUSH_MS_MAX: u64 = 60_000;

impl SpoolConfig {
    /// Checks what the types alone do not say.
    ///
    /// # Errors
    /// [`InvalidSetting`] names the first setting that cannot be used.
    pub fn check(&self) -> Result<(), InvalidSetting> {
        for (setting, value, min, max) in [
            ("spool.flush_ms", self.flush_ms, 1, FLUSH_MS_MAX),
            ("spool.ring_bytes", self.ring_bytes, 0, RING_BYTES_MAX),
            ("spool.count_bytes", self.count_bytes, 0, count::BYTES_MAX),
            ("spool.sync_interval_ms", self.sync_interval_ms, 2, SYNC_INTERVAL_MS_MAX),
        ] {
            if !(min..=max).contains(&value) {
                let reason = format!("must be from {min} to {max}");
                return Err(InvalidSetting::new(setting, reason));
            }
        }
        Ok(())
    }
}

/// Why a spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    #[error(
        "{} is in use by another process; two may not record into one spool: stop the other one, \
         or give this one a folder of its own",
        .0.display()
    )]
    Locked(PathBuf),
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "{} is not a spool's identity file: restore it, or move the spool folder away and start \
         with an empty one",
        .0.display()
    )]
    Identity(PathBuf),
    #[error(
        "{} was written by a newer version of Carom (format {found}, this version knows {}); start \
         that version",
        .path.display(), Spool::FORMAT
    )]
    Newer { path: PathBuf, found: u32 },
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
    const IDENTITY: &str = "carom spool ";
    const FORMAT: u32 = 1;

    /// Opens the folder, made if it is not there, and takes its lock.
    pub(crate) fn open(dir: &Path, random: &dyn Random) -> Result<Self, SpoolError> {
        for sub in ["", "ring", "outbox", "quarantine"] {
            let path = dir.join(sub);
            // It holds addresses: for its owner alone, wherever it is.
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
            made.map_err(SpoolError::io(&path))?;
        }
        let path = dir.join("lock");
        let lock = disk::create(&path).map_err(SpoolError::io(&path))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => SpoolError::Locked(dir.to_owned()),
            TryLockError::Error(source) => SpoolError::Io { path, source },
        })?;

        // A backup was being made when the last process was killed.
        let path = dir.join("snapshot");
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(SpoolError::Io { path, source: error });
            }
            _ => {}
        }

        let (id, generation) = match read_identity(&dir.join("identity"))? {
            Some((id, generation)) => (id, generation.wrapping_add(1)),
            None => {
                let mut bytes = [0; 8];
                random.fill(&mut bytes);
                (u64::from_le_bytes(bytes), 1)
            }
        };
        // On disk before the first batch is named by it: a generation never names two of them.
        let text =
            format!("{}{}\nid {id:016x}\ngeneration {generation}\n", Self::IDENTITY, Self::FORMAT);
        let path = dir.join("identity");
        disk::write_durably(&path, text.as_bytes()).map_err(SpoolError::io(&path))?;
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

    pub(crate) fn sent_path(&self) -> PathBuf {
        self.dir.join("sent")
    }

    /// The totals of what could not be kept.
    pub(crate) fn losses(&self) -> Result<Losses, SpoolError> {
        let path = self.losses_path();
        Losses::open(&path, &self.aside("losses")).map_err(SpoolError::io(&path))
    }

    pub(crate) fn losses_path(&self) -> PathBuf {
        self.dir.join("losses")
    }

    pub(crate) fn snapshots_dir(&self) -> PathBuf {
        self.dir.join("snapshot")
    }

    pub(crate) fn quarantine_dir(&self) -> PathBuf {
        self.dir.join("quarantine")
    }

    /// Where a file is set aside, under a name that no other start gives.
    pub(crate) fn aside(&self, name: &str) -> PathBuf {
        self.quarantine_dir().join(format!("{:08x}-{name}", self.generation))
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
    let format = field(Spool::IDENTITY).and_then(|format| format.parse().ok());
    if let Some(found) = format.filter(|&format| format > Spool::FORMAT) {
        return Err(SpoolError::Newer { path: path.to_owned(), found });
    }
    let identity = (|| {
        format?;
        let id = u64::from_str_radix(field("id ")?, 16).ok()?;
        let generation = field("generation ")?.parse().ok()?;
        Some((id, generation))
    })();
    identity.map(Some).ok_or_else(|| SpoolError::Identity(path.to_owned()))
}

#[cfg(test)]
mod tests;
