//! A spool as it is found, looked at without its lock and without changing a byte: also beside the
//! process that records into it.
//!
//! Files come, change and go meanwhile. One that is gone is left out; a header that makes no sense
//! is read again, because a segment that begins another life has none for a moment. What a segment
//! holds is only looked at while nobody records.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use carom_shared::UnixMillis;
use carom_shared::batch::{Batch, BatchError, Range, Token};

use super::losses::{Loss, Losses};
use super::outbox::{quota_of, read_header};
use super::recover::drained_to;
use super::segment::{
    ALIGN, Boot, FORMAT, HEADER_LEN, Header, MAGIC, NOTE_AT, Place, RECORD_LEN_MAX, SEGMENT_LEN,
    read_record,
};
use super::{SpoolConfig, SpoolError, count, read_identity, ring};

/// How often, and after which time, a header is read again before it counts as damaged.
const TRIES: usize = 5;
const TRY_AGAIN: Duration = Duration::from_millis(20);
/// Files of one folder that are looked at, at most.
const FILES_MAX: usize = 1_000_000;

/// How to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Every byte of every batch, not only its header.
    pub is_deep: bool,
    /// Somebody records: what is in the ring changes while it is read.
    pub is_live: bool,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The folder's name, and how often it was started on; `None`: it never was.
    pub identity: Option<(u64, u32)>,
    pub segments: usize,
    /// Clicks in the ring that are in no batch; 0 while somebody records.
    pub undrained: u64,
    pub tables: usize,
    /// Batches that wait, each with when it was made.
    pub batches: Vec<(Token, UnixMillis)>,
    /// Clicks in them.
    pub clicks: u64,
    /// Of the outbox, and how many it may have.
    pub outbox_bytes: (u64, u64),
    /// What the ring takes of the disk once it is full.
    pub ring_bytes: u64,
    pub quarantine: Quarantine,
    /// Totals over all starts, in the order of [`Loss::ALL`]; those that cannot be read are `None`.
    pub losses: [Option<u64>; Loss::ALL.len()],
    pub bad: Vec<Bad>,
    /// Files that Carom did not put there.
    pub foreign: Vec<PathBuf>,
}

/// What was set aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quarantine {
    pub files: u64,
    pub bytes: u64,
    /// Those that are batches which can be read.
    pub whole_batches: u64,
    /// Clicks in these.
    pub clicks: u64,
}

/// A file that cannot be used as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    pub path: PathBuf,
    pub what: Damage,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Another version wrote it, in this format.
    Format(u32),
    Damaged(String),
}

/// Looks at a spool. The settings say what it may take of the disk.
///
/// # Errors
/// [`SpoolError`], if the folder cannot be read, or its identity is not one.
pub fn inspect(
    dir: &Path,
    config: &SpoolConfig,
    threads: usize,
    look: Look,
) -> Result<Found, SpoolError> {
    let mut found = Found {
        identity: read_identity(&dir.join("identity"))?,
        ring_bytes: ring_bytes(config, threads),
        losses: read_losses(&dir.join("losses")),
        ..Found::default()
    };
    let outbox = dir.join("outbox");
    let drained = found.outbox(&outbox, config, look).map_err(SpoolError::io(&outbox))?;
    let ring = dir.join("ring");
    found.ring(&ring, &drained, look).map_err(SpoolError::io(&ring))?;
    let quarantine = dir.join("quarantine");
    found.quarantine(&quarantine).map_err(SpoolError::io(&quarantine))?;
    Ok(found)
}

fn ring_bytes(config: &SpoolConfig, threads: usize) -> u64 {
    let segments = ring::segments(config.ring_bytes) as u64 * SEGMENT_LEN as u64;
    (segments + 2 * count::file_bytes(config.count_bytes)).saturating_mul(threads as u64)
}

/// The files of a folder, sorted; none of one that is not there.
fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let paths = entries.take(FILES_MAX).map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// `None` of a file that is gone meanwhile.
fn unless_gone<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

impl Found {
    fn bad(&mut self, path: &Path, what: Damage) {
        self.bad.push(Bad { path: path.to_owned(), what });
    }

    /// Returns how far the batches have drained the ring.
    fn outbox(
        &mut self,
        dir: &Path,
        config: &SpoolConfig,
        look: Look,
    ) -> io::Result<HashMap<u64, usize>> {
        let mut ranges: Vec<Range> = Vec::new();
        for path in files(dir)? {
            if path.extension().is_some_and(|extension| extension == "tmp") {
                continue;
            }
            let Some(token) = token_of(&path) else {
                self.foreign.push(path);
                continue;
            };
            let Some(header) = unless_gone(read_header(&path))? else { continue };
            let whole = match (header, look.is_deep) {
                (Ok(header), true) => {
                    let Some(bytes) = unless_gone(fs::read(&path))? else { continue };
                    Batch::from_bytes(&bytes).map(|_| header)
                }
                (header, _) => header,
            };
            self.outbox_bytes.0 += fs::metadata(&path).map_or(0, |file| file.len());
            match whole {
                Ok(header) => {
                    self.clicks += header.clicks;
                    self.batches.push((token, header.made_at));
                    ranges.extend(header.ranges);
                }
                Err(error) => self.bad(&path, Damage::of(error)),
            }
        }
        if dir.exists() {
            self.outbox_bytes.1 = quota_of(dir, config.max_bytes, self.outbox_bytes.0)?;
        }
        Ok(drained_to(&ranges))
    }

    fn ring(&mut self, dir: &Path, drained: &HashMap<u64, usize>, look: Look) -> io::Result<()> {
        for path in files(dir)? {
            match path.extension().and_then(std::ffi::OsStr::to_str) {
                Some("seg") => {
                    let damage = if look.is_live {
                        unless_gone(read_live(&path))?.flatten()
                    } else {
                        self.segment(dir, &path, drained)?
                    };
                    self.segments += 1;
                    if let Some(damage) = damage {
                        self.bad(&path, damage);
                    }
                }
                Some("cnt") => {
                    self.tables += 1;
                    if !look.is_live {
                        self.table(&path, drained)?;
                    }
                }
                Some("note" | "tmp") => {}
                _ => self.foreign.push(path),
            }
        }
        Ok(())
    }

    /// What is in a segment that nobody writes to.
    fn segment(
        &mut self,
        dir: &Path,
        path: &Path,
        drained: &HashMap<u64, usize>,
    ) -> io::Result<Option<Damage>> {
        let bytes = fs::read(path)?;
        if bytes.iter().skip(HEADER_LEN).all(|&byte| byte == 0) {
            return Ok(None);
        }
        let header = match header_of(&bytes, bytes.len()) {
            Ok(header) => header,
            Err(damage) => return Ok(Some(damage)),
        };
        let word = bytes.get(NOTE_AT..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default();
        let Some(note) = Place::from_word(header.epoch, u64::from_le_bytes(word)) else {
            return Ok(Some(Damage::Damaged("nothing says how far it is drained".to_owned())));
        };
        let beside = fs::read_to_string(ring::note_path(dir, header.epoch)).unwrap_or_default();
        let beside = Place::from_text(header.epoch, &beside).map_or(0, |place| place.offset);
        let batched = drained.get(&header.epoch).copied().unwrap_or(HEADER_LEN);
        let from = batched.max(note.offset).max(beside);
        let scanned = scan(&bytes, header.epoch, note.offset, from);
        self.undrained += scanned.records;
        let is_damaged = header.boot.is(Boot::read()) && scanned.is_damaged;
        let what = format!("{} of its clicks can be read", scanned.records);
        Ok(is_damaged.then_some(Damage::Damaged(what)))
    }

    fn table(&mut self, path: &Path, drained: &HashMap<u64, usize>) -> io::Result<()> {
        match count::open(path)? {
            count::Left::Nothing => {}
            count::Left::Damaged => {
                self.bad(path, Damage::Damaged("it is no table of counts".to_owned()));
            }
            count::Left::Rows { epoch, .. } if drained.contains_key(&epoch) => {}
            count::Left::Rows { words, epoch } => {
                let mut clicks = 0;
                let bad = count::rows(&words, epoch, |row| clicks += u64::from(row.n));
                self.undrained += clicks;
                if bad > 0 {
                    self.bad(path, Damage::Damaged(format!("{bad} of its counts")));
                }
            }
        }
        Ok(())
    }

    fn quarantine(&mut self, dir: &Path) -> io::Result<()> {
        for path in files(dir)? {
            let Some(file) = unless_gone(fs::metadata(&path))? else { continue };
            self.quarantine.files += 1;
            self.quarantine.bytes += file.len();
            if token_of(&path).is_some()
                && let Some(Ok(header)) = unless_gone(read_header(&path))?
            {
                self.quarantine.whole_batches += 1;
                self.quarantine.clicks += header.clicks;
            }
        }
        Ok(())
    }
}

impl Damage {
    fn of(error: BatchError) -> Self {
        match error {
            BatchError::Format(format) => Self::Format(u32::from(format)),
            error => Self::Damaged(error.to_string()),
        }
    }
}

pub(super) fn token_of(path: &Path) -> Option<Token> {
    let is_batch = path.extension().is_some_and(|extension| extension == "clk");
    path.file_stem()?.to_str()?.parse().ok().filter(|_| is_batch)
}

fn header_of(bytes: &[u8], len: usize) -> Result<Header, Damage> {
    if let Some(header) = Header::from_bytes(bytes).filter(|_| len == SEGMENT_LEN) {
        return Ok(header);
    }
    let format = bytes.strip_prefix(MAGIC).and_then(<[u8]>::first_chunk);
    match format.map(|format| u16::from_le_bytes(*format)) {
        Some(format) if format > FORMAT => Err(Damage::Format(u32::from(format))),
        _ => Err(Damage::Damaged("its header".to_owned())),
    }
}

/// Looks at the header of a segment that may be in use.
fn read_live(path: &Path) -> io::Result<Option<Damage>> {
    let file = fs::File::open(path)?;
    let mut tried = 1;
    loop {
        let mut bytes = [0; HEADER_LEN];
        let len = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        let damage = match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => header_of(&bytes, len).err(),
            Err(_) => Some(Damage::Damaged("it is cut short".to_owned())),
        };
        match damage {
            Some(_) if tried < TRIES => {
                tried += 1;
                std::thread::park_timeout(TRY_AGAIN);
            }
            damage => return Ok(damage),
        }
    }
}

struct Scanned {
    records: u64,
    /// As the next start will say too: there is more than one record torn at the end.
    is_damaged: bool,
}

/// Reads the records from `from` on; before that, from the note at `at` on, some may be erased.
fn scan(bytes: &[u8], epoch: u64, mut at: usize, from: usize) -> Scanned {
    let from = from.next_multiple_of(ALIGN);
    let mut scanned = Scanned { records: 0, is_damaged: false };
    let (mut junk, mut end, mut expected) = (None, from, None);
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        if let Some(record) = read_record(epoch, rest) {
            if at >= from {
                scanned.is_damaged |= junk.take().is_some()
                    || expected.is_some_and(|expected| record.number != expected);
                scanned.records += 1;
                end = at + record.padded;
            }
            expected = Some(record.number + 1);
            at += record.padded;
        } else {
            if at >= from && rest.iter().take(ALIGN).any(|&byte| byte != 0) {
                let first = junk.map_or(at, |(first, _)| first);
                junk = Some((first, at + ALIGN));
            }
            at += ALIGN;
        }
    }
    // A killed process leaves one record torn, without its length.
    let is_torn = |(first, last): (usize, usize)| {
        let length = bytes.get(first..).and_then(<[u8]>::first_chunk::<4>);
        first == end && last - first <= RECORD_LEN_MAX && length == Some(&[0; 4])
    };
    scanned.is_damaged |= junk.is_some_and(|junk| !is_torn(junk));
    scanned
}

/// Each total that can be read; all of them are 0 where there is no file.
fn read_losses(path: &Path) -> [Option<u64>; Loss::ALL.len()] {
    match fs::read(path) {
        Ok(bytes) => Losses::totals_of(&bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => [Some(0); Loss::ALL.len()],
        Err(_) => [None; Loss::ALL.len()],
    }
}

#[cfg(test)]
mod tests {
    use carom_shared::SeededRandom;

    use super::super::Spool;
    use super::*;

    fn look(dir: &Path, look: Look) -> Found {
        inspect(dir, &SpoolConfig::default(), 1, look).unwrap()
    }

    #[test]
    fn what_is_lost_is_read_beside_who_counts_it() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(look(dir.path(), Look::default()).losses, [Some(0); 6]);
        let spool = Spool::open(dir.path(), &SeededRandom::new(1)).unwrap();
        let losses = spool.losses().unwrap();
        losses.add(Loss::Dropped, 7);
        losses.add(Loss::Damaged, 8);
        let found = look(dir.path(), Look { is_live: true, is_deep: true });
        let expected = Loss::ALL.map(|loss| Some(losses.get(loss)));
        assert_eq!(found.losses, expected);
        assert_eq!((expected[2], expected[5]), (Some(7), Some(8)));
        assert_eq!(found.identity, Some((spool.id(), 1)));
        assert_eq!((found.bad, found.foreign), (Vec::new(), Vec::new()));
    }

    /// As a recovery judges it: one torn record at the end is what a kill leaves, all else is not.
    #[test]
    fn a_torn_end_is_told_from_damage() {
        let epoch = 5;
        let record = |number: u32| {
            let mut record = vec![0; 40];
            record[0] = 40;
            record[8..12].copy_from_slice(&number.to_le_bytes());
            let crc = super::super::segment::record_crc(epoch, &record[8..]);
            record[4..8].copy_from_slice(&crc.to_le_bytes());
            record.resize(ALIGN, 0);
            record
        };
        let mut bytes = vec![0; HEADER_LEN];
        for number in 0..3 {
            bytes.extend(record(number));
        }
        bytes.resize(HEADER_LEN + 20 * ALIGN, 0);
        let scan = |bytes: &[u8], from| {
            let Scanned { records, is_damaged } = scan(bytes, epoch, HEADER_LEN, from);
            (records, is_damaged)
        };
        assert_eq!(scan(&bytes, HEADER_LEN), (3, false));
        assert_eq!(scan(&bytes, HEADER_LEN + ALIGN), (2, false));
        for (name, at, expected) in [
            ("torn, without its length", 3 * ALIGN + 9, (3, false)),
            ("a length", 3 * ALIGN, (3, true)),
            ("further away", 5 * ALIGN + 9, (3, true)),
            ("inside", ALIGN + 20, (2, true)),
        ] {
            let mut changed = bytes.clone();
            changed[HEADER_LEN + at] ^= 1;
            assert_eq!(scan(&changed, HEADER_LEN), expected, "{name}");
        }
    }
}
