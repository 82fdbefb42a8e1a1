//! Batches that are cut and not yet stored: one immutable, synced file each, in `outbox/`.
//!
//! The outbox has a quota. A little below it batches are compacted (`super::compact`); at it nothing
//! is put any more, and clicks wait in their rings.
//!
//! # File `sent`, beside the folder
//!
//! Text: the name of a batch, a space, the CRC-32C of the name in hexadecimal. No batch named after
//! it has ever been given to a store. It is written ahead, once in [`AHEAD`] batches.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use carom_shared::batch::{BatchError, BatchFile, BatchHeader, Range, Token};

use super::{Spool, disk};

const EXTENSION: &str = "clk";
/// How many batches the mark of what was sent is ahead: so many cannot be compacted, and so many
/// times fewer syncs are needed, of which each batch costs two anyway.
const AHEAD: u32 = 16;
/// Of its quota, in percent: beyond it the outbox is compacted, until it is back at the other.
const COMPACT_ABOVE: u64 = 80;
const COMPACT_TO: u64 = 70;
/// Without a setting: so much, or a part of the disk if that is less.
const QUOTA_MAX: u64 = 10 << 30;
const QUOTA_OF_DISK: u64 = 5;
/// A twentieth of the disk is left free, even below the quota; but clicks may always use so much.
const FREE_OF_DISK: u64 = 20;
const QUOTA_MIN: u64 = 64 << 20;

/// A batch on the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) token: Token,
    /// Of its file.
    pub(crate) bytes: u64,
    /// To compact it again would save nothing.
    pub(crate) is_compact: bool,
}

/// An end of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Oldest,
    Newest,
}

impl End {
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Oldest => Self::Newest,
            Self::Newest => Self::Oldest,
        }
    }
}

/// A batch that is there at the start, or what is wrong with it.
pub(crate) struct Listed {
    pub(crate) token: Token,
    pub(crate) bytes: u64,
    pub(crate) header: Result<BatchHeader, BatchError>,
}

#[derive(Debug, Default)]
struct Queue {
    /// Oldest first, but for those that the store had trouble with. Bounded by the quota.
    ready: VecDeque<Waiting>,
    /// What no later batch than has been sent.
    sent: Option<(u32, u32)>,
}

impl Queue {
    /// Looked for from both ends, where batches are taken from: a list that grew for a day has a hundred
    /// thousand.
    fn place_of(&self, token: &Token) -> Option<usize> {
        let (is_it, last) = (|waiting: &Waiting| waiting.token == *token, self.ready.len());
        let mut from_both = (0..last.div_ceil(2)).flat_map(|at| [at, last - 1 - at]);
        from_both.find(|&at| is_it(&self.ready[at]))
    }
}

/// The outbox of a spool. The drainer puts batches in, the shipper takes them out.
#[derive(Debug)]
pub(crate) struct Outbox {
    dir: PathBuf,
    /// Open from the start: syncing it must not fail for want of a descriptor.
    folder: File,
    quarantine_dir: PathBuf,
    sent_path: PathBuf,
    spool_id: u64,
    generation: u32,
    number: AtomicU32,
    /// The setting; 0: a part of the disk.
    max_bytes: u64,
    /// Bytes of all files, those included that are being compacted.
    bytes: AtomicU64,
    /// As it was when last looked at.
    quota: AtomicU64,
    queue: Mutex<Queue>,
    /// Held while the mark of what was sent is written: until then nobody may rely on it.
    marking: Mutex<()>,
    handed_over: Notify,
}

impl Outbox {
    pub(crate) fn open(spool: &Spool, max_bytes: u64) -> io::Result<Self> {
        let dir = spool.outbox_dir();
        let outbox = Self {
            folder: File::open(&dir)?,
            dir,
            quarantine_dir: spool.quarantine_dir(),
            sent_path: spool.sent_path(),
            spool_id: spool.id(),
            generation: spool.generation(),
            number: AtomicU32::new(0),
            max_bytes,
            bytes: AtomicU64::new(0),
            quota: AtomicU64::new(u64::MAX),
            queue: Mutex::default(),
            marking: Mutex::default(),
            handed_over: Notify::new(),
        };
        outbox.queue().sent = outbox.read_sent()?;
        outbox.measure()?;
        Ok(outbox)
    }

    /// The name of a new batch: once, however often it takes to [`put`](Outbox::put) it.
    pub(crate) fn name(&self, batch: &BatchFile) -> Token {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        Token::new(self.spool_id, self.generation, number, batch.rows, batch.crc)
    }

    /// Writes a batch. When this returns `Ok`, the batch is on disk under its token, whole,
    /// whatever happens next; after an error it may be or not, and is to be put again. Nobody ships
    /// it before [`Outbox::hand_over`].
    pub(crate) fn put(&self, token: &Token, batch: &BatchFile) -> io::Result<()> {
        self.measure()?;
        let full = self.bytes.load(Ordering::Relaxed) + batch.bytes.len() as u64;
        if full > self.quota.load(Ordering::Relaxed) {
            return Err(io::Error::new(
                io::ErrorKind::QuotaExceeded,
                "the outbox is at its quota (spool.max_bytes, or what the disk has left)",
            ));
        }
        self.put_replacement(token, batch)
    }

    /// Writes a batch that takes the place of others: beyond the quota, for a moment.
    pub(crate) fn put_replacement(&self, token: &Token, batch: &BatchFile) -> io::Result<()> {
        let temporary = self.dir.join(format!("{token}.tmp"));
        let written = (|| {
            let file = disk::create(&temporary)?;
            disk::write_all(&file, &batch.bytes)?;
            disk::sync(&file)?;
            disk::rename(&temporary, &self.path(token))
        })();
        if let Err(error) = written {
            // Half a file is no batch; its room may be what the next try needs.
            drop(fs::remove_file(&temporary));
            return Err(error);
        }
        disk::sync_folder(&self.folder)
    }

    /// Gives a batch to the shipper: its segments are marked drained, so its file may go.
    pub(crate) fn hand_over(&self, waiting: Waiting) {
        self.bytes.fetch_add(waiting.bytes, Ordering::Relaxed);
        self.give_back([waiting]);
        self.handed_over.notify_one();
    }

    /// Puts batches on the list that were taken off it, each at its place.
    pub(crate) fn give_back(&self, batches: impl IntoIterator<Item = Waiting>) {
        let mut queue = self.queue();
        for waiting in batches {
            let is_before = |other: &Waiting| other.token <= waiting.token;
            let at = queue.ready.iter().rposition(is_before).map_or(0, |at| at + 1);
            queue.ready.insert(at, waiting);
        }
        drop(queue);
        self.handed_over.notify_one();
    }

    /// The first batch from an end of the list that is not under way.
    pub(crate) fn first(&self, end: End, is_free: impl Fn(&Token) -> bool) -> Option<Token> {
        let queue = self.queue();
        let mut tokens = queue.ready.iter().map(|waiting| &waiting.token);
        let found = match end {
            End::Oldest => tokens.find(|token| is_free(token)),
            End::Newest => tokens.rfind(|token| is_free(token)),
        };
        found.cloned()
    }

    /// Waits until batches were put on the list since somebody waited.
    pub(crate) async fn handed_over(&self) {
        self.handed_over.notified().await;
    }

    /// Lets others go first that may be sent already. Those that were never sent stay behind: they
    /// can be compacted.
    pub(crate) fn postpone(&self, token: &Token) {
        let mut queue = self.queue();
        let sent = queue.sent;
        if let Some(at) = queue.place_of(token)
            && let Some(waiting) = queue.ready.remove(at)
        {
            let is_sent = |other: &Waiting| sent.is_some_and(|sent| other.token.place() <= sent);
            let behind = queue.ready.iter().take_while(|other| is_sent(other)).count();
            queue.ready.insert(behind, waiting);
        }
    }

    /// Notes durably that a batch may have been given to a store; to be called before it is. `false`: it
    /// may not be, because it is off the list: it is being compacted. Who comes first has it.
    pub(crate) fn may_be_sent(&self, token: &Token) -> io::Result<bool> {
        let _marking = self.marking.lock().unwrap_or_else(PoisonError::into_inner);
        let (generation, number) = token.place();
        let mut queue = self.queue();
        if queue.place_of(token).is_none() {
            return Ok(false);
        }
        if queue.sent.is_some_and(|sent| token.place() <= sent) {
            return Ok(true);
        }
        let before = queue.sent;
        // First here: from now on nobody begins to compact it.
        queue.sent = Some((generation, number.saturating_add(AHEAD - 1)));
        drop(queue);
        let mark = Token::new(self.spool_id, generation, number.saturating_add(AHEAD - 1), 0, 0);
        let written = disk::write_durably(&self.sent_path, sent_text(&mark).as_bytes());
        if written.is_err() {
            self.queue().sent = before;
        }
        written.map(|()| true)
    }

    /// How far batches were sent. Where nobody can say, everything may have been.
    fn read_sent(&self) -> io::Result<Option<(u32, u32)>> {
        let text = match fs::read_to_string(&self.sent_path) {
            Ok(text) => text,
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) =>
            {
                String::new()
            }
            Err(error) => return Err(error),
        };
        let mark = text.split(' ').next().and_then(|name| name.parse::<Token>().ok());
        match mark.filter(|mark| sent_text(mark) == text) {
            Some(mark) => Ok(Some(mark.place())),
            None => Ok(self.generation.checked_sub(1).map(|last| (last, u32::MAX))),
        }
    }

    /// How many batches wait.
    pub(crate) fn len(&self) -> usize {
        self.queue().ready.len()
    }

    /// Bytes of the batches that wait, and how many there may be.
    pub(crate) fn fill(&self) -> (u64, u64) {
        (self.bytes.load(Ordering::Relaxed), self.quota.load(Ordering::Relaxed))
    }

    /// Whether it is so full that detail is given up.
    pub(crate) fn is_above_limit(&self) -> bool {
        let (bytes, quota) = self.fill();
        bytes > quota / 100 * COMPACT_ABOVE
    }

    /// Whether compacting, once begun, goes on.
    pub(crate) fn is_under_pressure(&self) -> bool {
        let (bytes, quota) = self.fill();
        bytes > quota / 100 * COMPACT_TO
    }

    #[cfg(test)]
    pub(super) fn set_quota(&self, quota: u64) {
        self.quota.store(quota, Ordering::Relaxed);
    }

    /// Looks at the disk: what the outbox may take of it.
    fn measure(&self) -> io::Result<()> {
        let quota = quota_of(&self.dir, self.max_bytes, self.bytes.load(Ordering::Relaxed))?;
        self.quota.store(quota, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn read(&self, token: &Token) -> io::Result<Vec<u8>> {
        disk::step("read")?;
        fs::read(self.path(token))
    }

    /// Lets a batch go: the store has it. Should the removal not reach the disk, the store will
    /// recognise the token.
    pub(crate) fn remove(&self, token: &Token) -> io::Result<()> {
        disk::remove(&self.path(token))?;
        self.forget(token);
        Ok(())
    }

    /// Sets a batch aside for a person to look at.
    pub(crate) fn quarantine(&self, token: &Token) -> io::Result<PathBuf> {
        let aside = self.quarantine_dir.join(format!("{token}.{EXTENSION}"));
        disk::rename(&self.path(token), &aside)?;
        self.forget(token);
        Ok(aside)
    }

    /// Takes the oldest batches off the list that no store has seen and that compacting makes
    /// smaller.
    pub(crate) fn take_unsent(&self, max: usize) -> Vec<Waiting> {
        let mut queue = self.queue();
        let sent = queue.sent;
        let mut taken = Vec::new();
        queue.ready.retain(|waiting| {
            let is_sent = sent.is_some_and(|sent| waiting.token.place() <= sent);
            let take = taken.len() < max && !waiting.is_compact && !is_sent;
            if take {
                taken.push(waiting.clone());
            }
            !take
        });
        taken
    }

    /// Removes the files of batches that are off the list, so that they cannot come back. May be
    /// called again with the same ones.
    pub(crate) fn remove_replaced(&self, tokens: &[Token]) -> io::Result<()> {
        for token in tokens {
            let path = self.path(token);
            let len = fs::metadata(&path).map_or(0, |file| file.len());
            disk::remove_if_there(&path)?;
            self.bytes.fetch_sub(len.min(self.fill().0), Ordering::Relaxed);
        }
        disk::sync_folder(&self.folder)
    }

    /// The batches that are there at the start, oldest first, each with its header or what is
    /// wrong with it. Leftovers of interrupted writes are swept.
    pub(crate) fn list(&self) -> io::Result<Vec<Listed>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let path = entry.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let token = stem.and_then(|stem| stem.parse::<Token>().ok());
            let extension = path.extension().and_then(|extension| extension.to_str());
            match (token, extension) {
                (Some(token), Some(EXTENSION)) => {
                    let bytes = entry.metadata()?.len();
                    found.push(Listed { token, bytes, header: read_header(&path)? });
                }
                (_, Some("tmp")) => disk::remove(&path)?,
                _ => {
                    tracing::warn!(path = %path.display(), "a file that is no batch is in the outbox");
                }
            }
        }
        found.sort_by(|a, b| a.token.cmp(&b.token));
        Ok(found)
    }

    fn path(&self, token: &Token) -> PathBuf {
        self.dir.join(format!("{token}.{EXTENSION}"))
    }

    /// Takes a batch that has no file any more off the list.
    pub(crate) fn forget(&self, token: &Token) {
        let mut queue = self.queue();
        if let Some(at) = queue.place_of(token)
            && let Some(waiting) = queue.ready.remove(at)
        {
            self.bytes.fetch_sub(waiting.bytes, Ordering::Relaxed);
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an outbox of `bytes` in this folder may grow to, as the disk is now.
pub(super) fn quota_of(dir: &Path, max_bytes: u64, bytes: u64) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(dir)?;
    let total = disk.f_blocks.saturating_mul(disk.f_frsize);
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    Ok(quota(max_bytes, total, free, bytes))
}

/// What an outbox of `bytes` may grow to, on a disk of so many bytes.
fn quota(max: u64, total: u64, free: u64, bytes: u64) -> u64 {
    let max = if max == 0 { QUOTA_MAX.min(total / QUOTA_OF_DISK).max(QUOTA_MIN) } else { max };
    let left = bytes.saturating_add(free.saturating_sub(total / FREE_OF_DISK));
    max.min(left.max(QUOTA_MIN))
}

fn sent_text(mark: &Token) -> String {
    format!("{mark} {:08x}\n", crc32c::crc32c(mark.as_str().as_bytes()))
}

/// The header alone: a start does not read a backlog of gigabytes.
pub(super) fn read_header(path: &Path) -> io::Result<Result<BatchHeader, BatchError>> {
    let mut start = Vec::new();
    File::open(path)?.take(BatchHeader::MAX_LEN as u64).read_to_end(&mut start)?;
    Ok(BatchHeader::read(&start).map(|(header, _)| header))
}

/// The tokens of batches, each with what it drained.
pub(crate) fn ranges(batches: &[Listed]) -> Vec<(Token, Vec<Range>)> {
    let whole = batches.iter().filter_map(|batch| {
        let header = batch.header.as_ref().ok()?;
        Some((batch.token.clone(), header.ranges.clone()))
    });
    whole.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quota_is_a_part_of_the_disk_and_leaves_some_free() {
        let gib = 1 << 30;
        for (max, total, free, bytes, expected) in [
            (0, 100 * gib, 90 * gib, 0, 10 * gib),
            (0, 10 * gib, 9 * gib, 0, 2 * gib),
            (5 * gib, 10 * gib, 9 * gib, 0, 5 * gib),
            // Another program takes the disk: what is there may stay, and a little more.
            (5 * gib, 100 * gib, 6 * gib, 2 * gib, 3 * gib),
            (5 * gib, 100 * gib, gib, gib, gib),
            (5 * gib, 100 * gib, 0, 0, QUOTA_MIN),
            (1000, 100 * gib, 0, 0, 1000),
            (0, 0, 0, 0, QUOTA_MIN),
        ] {
            assert_eq!(quota(max, total, free, bytes), expected, "{max} {total} {free} {bytes}");
        }
    }
}
