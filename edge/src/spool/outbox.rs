//! Batches that are cut and not yet stored: one immutable, synced file each, in `outbox/`.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use carom_shared::batch::{BatchError, BatchFile, BatchHeader, Token};

use super::Spool;

const EXTENSION: &str = "clk";

/// The outbox of a spool. The drainer puts batches in, the shipper takes them out.
#[derive(Debug)]
pub(crate) struct Outbox {
    dir: PathBuf,
    /// Open from the start: syncing it must not fail for want of a descriptor.
    folder: File,
    quarantine_dir: PathBuf,
    spool_id: u64,
    generation: u32,
    number: AtomicU32,
    /// Handed over and not yet shipped, oldest first. Bounded by the files, and so by the disk.
    ready: Mutex<VecDeque<Token>>,
    handed_over: Notify,
}

impl Outbox {
    pub(crate) fn open(spool: &Spool) -> io::Result<Self> {
        let dir = spool.outbox_dir();
        Ok(Self {
            folder: File::open(&dir)?,
            dir,
            quarantine_dir: spool.quarantine_dir(),
            spool_id: spool.id(),
            generation: spool.generation(),
            number: AtomicU32::new(0),
            ready: Mutex::default(),
            handed_over: Notify::new(),
        })
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
        let temporary = self.dir.join(format!("{token}.tmp"));
        let written = (|| {
            let mut file = File::create(&temporary)?;
            file.write_all(&batch.bytes)?;
            file.sync_data()?;
            fs::rename(&temporary, self.path(token))
        })();
        if let Err(error) = written {
            // Half a file is no batch; its room may be what the next try needs.
            drop(fs::remove_file(&temporary));
            return Err(error);
        }
        self.folder.sync_all()
    }

    /// Gives a batch to the shipper: its segments are marked drained, so its file may go.
    pub(crate) fn hand_over(&self, token: Token) {
        self.ready().push_back(token);
        self.handed_over.notify_one();
    }

    /// The oldest batch that was handed over; waits for one.
    pub(crate) async fn next(&self) -> Token {
        loop {
            if let Some(token) = self.ready().front() {
                return token.clone();
            }
            self.handed_over.notified().await;
        }
    }

    /// How many batches wait.
    pub(crate) fn len(&self) -> usize {
        self.ready().len()
    }

    pub(crate) fn read(&self, token: &Token) -> io::Result<Vec<u8>> {
        fs::read(self.path(token))
    }

    /// Lets a batch go: the store has it. Should the removal not reach the disk, the store will
    /// recognise the token.
    pub(crate) fn remove(&self, token: &Token) -> io::Result<()> {
        fs::remove_file(self.path(token))?;
        self.forget(token);
        Ok(())
    }

    /// Sets a batch aside for a person to look at.
    pub(crate) fn quarantine(&self, token: &Token) -> io::Result<PathBuf> {
        let aside = self.quarantine_dir.join(format!("{token}.{EXTENSION}"));
        fs::rename(self.path(token), &aside)?;
        self.forget(token);
        Ok(aside)
    }

    /// The batches that are there at the start, oldest first, each with its header or what is
    /// wrong with it. Leftovers of interrupted writes are swept.
    pub(crate) fn list(&self) -> io::Result<Vec<(Token, Result<BatchHeader, BatchError>)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let token = stem.and_then(|stem| stem.parse::<Token>().ok());
            let extension = path.extension().and_then(|extension| extension.to_str());
            match (token, extension) {
                (Some(token), Some(EXTENSION)) => found.push((token, read_header(&path)?)),
                (_, Some("tmp")) => fs::remove_file(&path)?,
                _ => {
                    tracing::warn!(path = %path.display(), "a file that is no batch is in the outbox");
                }
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    fn path(&self, token: &Token) -> PathBuf {
        self.dir.join(format!("{token}.{EXTENSION}"))
    }

    /// Takes a batch that has no file any more off the list.
    pub(crate) fn forget(&self, token: &Token) {
        self.ready().retain(|waiting| waiting != token);
    }

    fn ready(&self) -> MutexGuard<'_, VecDeque<Token>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The header alone: a start does not read a backlog of gigabytes.
fn read_header(path: &Path) -> io::Result<Result<BatchHeader, BatchError>> {
    let mut start = Vec::new();
    File::open(path)?.take(BatchHeader::MAX_LEN as u64).read_to_end(&mut start)?;
    Ok(BatchHeader::read(&start).map(|(header, _)| header))
}
