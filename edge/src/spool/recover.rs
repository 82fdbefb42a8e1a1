//! What a start finds of the last run, and how it becomes batches.
//!
//! A segment's records before its drained note, or inside a range of any batch in the outbox, are
//! in a batch. All others were recorded and not drained: they are found by scanning every 64 bytes,
//! because after a crash of the machine pages may have reached the disk in any order, and a record
//! of this epoch proves itself by its checksum. A record that was being written when the process
//! was killed has no length yet, is not seen, and was never answered.
//!
//! What is found does not depend on how the last run ended; what it means does. Records are
//! numbered. If the machine was stopped in between (another [`Boot`]), a gap is what the power
//! failing has cost. If it was not, memory is whole: the only thing to be seen beside records is one
//! torn record at the end, and anything else is damage, for a person to look at.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use carom_shared::batch::{BatchBuilder, Range};
use carom_shared::{Clock, RawClick};

use super::losses::{Loss, Losses};
use super::outbox::{Outbox, Waiting, ranges};
use super::segment::{
    ALIGN, Boot, HEADER_LEN, Header, NOTE_AT, Place, RECORD_LEN_MAX, SEALED_AT, SEGMENT_LEN,
    read_record,
};
use super::{Spool, SpoolError, compact, count, disk, ring};
use crate::enrich::Enricher;

/// What a recovery found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Clicks that were recorded and in no batch.
    pub clicks: u64,
    /// Batches that waited in the outbox already.
    pub batches: usize,
    /// Files that could not be read and were set aside.
    pub quarantined: usize,
    /// Records that are missing between others.
    pub lost: u64,
    /// Records that were being written when the process was killed; their visitors had no answer.
    pub torn: u64,
}

/// Who recovers, and with what.
pub(crate) struct Recovery<'a> {
    spool: &'a Spool,
    outbox: &'a Outbox,
    losses: &'a Losses,
    clock: &'a dyn Clock,
}

impl<'a> Recovery<'a> {
    pub(crate) const fn new(
        spool: &'a Spool,
        outbox: &'a Outbox,
        losses: &'a Losses,
        clock: &'a dyn Clock,
    ) -> Self {
        Self { spool, outbox, losses, clock }
    }

    /// Turns what the last run left behind into batches, hands over all that wait, and leaves the
    /// ring folder empty. Killed at any point, it begins again and loses or repeats nothing.
    pub(crate) fn run(&self, enricher: &mut Enricher) -> Result<Recovered, SpoolError> {
        let mut recovered = Recovered::default();
        let mut drained = HashMap::new();
        let outbox_dir = self.spool.outbox_dir();
        let mut waiting =
            self.take_stock(&mut recovered, &mut drained).map_err(SpoolError::io(&outbox_dir))?;

        let ring_dir = self.spool.ring_dir();
        let mut notes = Vec::new();
        for path in files(&ring_dir).map_err(SpoolError::io(&ring_dir))? {
            let found = match path.extension().and_then(OsStr::to_str) {
                Some("note" | "tmp") => {
                    notes.push(path);
                    continue;
                }
                Some("cnt") => self.counts(&path, &drained),
                _ => self.segment(&path, &drained, enricher),
            };
            let found = found
                .and_then(|found| self.put_away(&path, &found).map(|()| found))
                .map_err(SpoolError::io(&path))?;
            recovered.clicks += found.clicks;
            recovered.lost += found.lost;
            recovered.torn += found.torn;
            recovered.quarantined += usize::from(found.is_damaged);
            waiting.extend(found.batch);
        }
        // Were a batch stored and removed, and then the power lost, a segment that came back would
        // be recovered again: so its removal goes to the disk first. A note outlives its segment.
        let folder = File::open(&ring_dir).and_then(|folder| disk::sync_folder(&folder));
        folder.map_err(SpoolError::io(&ring_dir))?;
        for path in notes {
            disk::remove(&path).map_err(SpoolError::io(&path))?;
        }
        for batch in waiting {
            self.outbox.hand_over(batch);
        }
        Ok(recovered)
    }

    /// The batches that wait, without those that are damaged or replaced, and what they drained.
    fn take_stock(
        &self,
        recovered: &mut Recovered,
        drained: &mut HashMap<u64, usize>,
    ) -> io::Result<Vec<Waiting>> {
        let listed = self.outbox.list()?;
        let replaced = compact::replaced(&ranges(&listed));
        let mut waiting = Vec::new();
        for batch in listed {
            match batch.header {
                Ok(header) => {
                    note_drained(drained, &header.ranges);
                    let is_compact = header.clicks > header.rows as u64;
                    waiting.push(Waiting { token: batch.token, bytes: batch.bytes, is_compact });
                }
                Err(error) => {
                    let aside = self.outbox.quarantine(&batch.token)?;
                    tracing::error!(path = %aside.display(), %error, "a batch is damaged and was set aside");
                    recovered.quarantined += 1;
                }
            }
        }
        if !replaced.is_empty() {
            waiting.retain(|batch| !replaced.contains(&batch.token));
            self.outbox.remove_replaced(&replaced.into_iter().collect::<Vec<_>>())?;
        }
        recovered.batches = waiting.len();
        Ok(waiting)
    }

    /// Puts a segment's undrained records into a batch of their own. Until the segment is gone,
    /// that batch says that it is drained.
    fn segment(
        &self,
        path: &Path,
        drained: &HashMap<u64, usize>,
        enricher: &mut Enricher,
    ) -> io::Result<Found> {
        let bytes = fs::read(path)?;
        // A segment whose header was not finished never held a record.
        if bytes.iter().skip(HEADER_LEN).all(|&byte| byte == 0) {
            return Ok(Found { is_blank: true, ..Found::default() });
        }
        let Some(life) = Life::read(&self.spool.ring_dir(), &bytes) else {
            return Ok(Found { is_damaged: true, ..Found::default() });
        };
        let batched = drained.get(&life.header.epoch).copied().unwrap_or(HEADER_LEN);
        let mut scan = Scan::new(&bytes, &life, batched.max(life.note.offset));
        scan.run(path, enricher);
        let is_same_boot = life.header.boot.is(Boot::read());
        let (is_damaged, torn) = scan.judge(is_same_boot, &life);
        let range =
            Range { epoch: life.header.epoch, from: offset(scan.from), to: offset(scan.end) };
        let lost = scan.lost;
        let mut found = self.batch(&mut scan.builder, range, false)?;
        let loss = if is_same_boot { Loss::Damaged } else { Loss::Power };
        self.losses.add(loss, lost);
        self.losses.add(Loss::Torn, torn);
        (found.lost, found.torn, found.is_damaged) = (lost, torn, is_damaged);
        Ok(found)
    }

    /// The same for a table of counts.
    fn counts(&self, path: &Path, drained: &HashMap<u64, usize>) -> io::Result<Found> {
        let (words, epoch) = match count::open(path)? {
            count::Left::Nothing => return Ok(Found::default()),
            count::Left::Damaged => return Ok(Found { is_damaged: true, ..Found::default() }),
            count::Left::Rows { epoch, .. } if drained.contains_key(&epoch) => {
                return Ok(Found::default());
            }
            count::Left::Rows { words, epoch } => (words, epoch),
        };
        let mut builder = BatchBuilder::new();
        let mut clicks = 0;
        let damaged = count::rows(&words, epoch, |row| {
            clicks += u64::from(row.n);
            builder.push(&row);
        });
        let found = self.batch(&mut builder, count::range(epoch), true)?;
        self.losses.add(Loss::Damaged, damaged as u64);
        Ok(Found { clicks, is_damaged: damaged > 0, ..found })
    }

    fn batch(
        &self,
        builder: &mut BatchBuilder,
        range: Range,
        is_compact: bool,
    ) -> io::Result<Found> {
        let mut found = Found::default();
        if !builder.is_empty() {
            found.clicks = builder.len() as u64;
            let batch = builder.finish(self.clock.now(), &[range]);
            let token = self.outbox.name(&batch);
            self.outbox.put_replacement(&token, &batch)?;
            let bytes = batch.bytes.len() as u64;
            found.batch = Some(Waiting { token, bytes, is_compact });
        }
        Ok(found)
    }

    /// Removes a file that was read, or sets it aside.
    fn put_away(&self, path: &Path, found: &Found) -> io::Result<()> {
        if found.is_damaged {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let aside = self.spool.aside(&name);
            disk::rename(path, &aside)?;
            tracing::error!(path = %aside.display(), "a file of the click ring is damaged and was set aside; what can be read of it goes on");
            Ok(())
        } else if found.is_blank {
            disk::remove(path)
        } else {
            erase(path)
        }
    }
}

fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = fs::read_dir(dir)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}

/// How far ranges of batches drain each segment.
pub(super) fn drained_to(ranges: &[Range]) -> HashMap<u64, usize> {
    let mut drained = HashMap::new();
    note_drained(&mut drained, ranges);
    drained
}

fn note_drained(drained: &mut HashMap<u64, usize>, ranges: &[Range]) {
    for range in ranges {
        let to = usize::try_from(range.to).unwrap_or(usize::MAX);
        let known = drained.entry(range.epoch).or_insert(HEADER_LEN);
        *known = (*known).max(to);
    }
}

#[derive(Default)]
struct Found {
    clicks: u64,
    lost: u64,
    torn: u64,
    /// The batch that they are in now.
    batch: Option<Waiting>,
    /// No record was ever written: there is nothing to erase.
    is_blank: bool,
    /// Something was not understood: it is for a person to look at.
    is_damaged: bool,
}

/// What a segment says of itself.
struct Life {
    header: Header,
    note: Place,
    /// Where it ends, if that was written and makes sense.
    end: Option<Place>,
    is_end_damaged: bool,
}

impl Life {
    /// `None` if the header or the note is impossible: then nobody can say what is drained.
    fn read(ring_dir: &Path, bytes: &[u8]) -> Option<Self> {
        let header = Header::from_bytes(bytes).filter(|_| bytes.len() == SEGMENT_LEN)?;
        let word = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let mut note = Place::from_word(header.epoch, word(NOTE_AT)?)?;
        let path = ring::note_path(ring_dir, header.epoch);
        if let Ok(text) = fs::read_to_string(path)
            && let Some(beside) = Place::from_text(header.epoch, &text)
            && beside.offset > note.offset
        {
            note = beside;
        }
        let sealed = word(SEALED_AT)?;
        let end = Place::from_word(header.epoch, sealed);
        Some(Self { header, note, end, is_end_damaged: sealed != 0 && end.is_none() })
    }
}

/// The way through a segment.
struct Scan<'a> {
    bytes: &'a [u8],
    epoch: u64,
    at: usize,
    /// Records from here on are in no batch.
    from: usize,
    /// Where the last record ended.
    end: usize,
    /// The number that the next record should have, if anything says so.
    expected: Option<u32>,
    builder: BatchBuilder,
    lost: u64,
    /// Where bytes are that belong to no record: the first before a record, and the rest.
    has_junk_inside: bool,
    junk: Option<(usize, usize)>,
    is_unreadable: bool,
}

impl<'a> Scan<'a> {
    fn new(bytes: &'a [u8], life: &Life, from: usize) -> Self {
        Self {
            bytes,
            epoch: life.header.epoch,
            at: life.note.offset,
            from: from.next_multiple_of(ALIGN),
            end: life.note.offset,
            expected: Some(life.note.number),
            builder: BatchBuilder::new(),
            lost: 0,
            has_junk_inside: false,
            junk: None,
            is_unreadable: false,
        }
    }

    fn run(&mut self, path: &Path, enricher: &mut Enricher) {
        while let Some(rest) = self.bytes.get(self.at..).filter(|rest| !rest.is_empty()) {
            let Some(record) = read_record(self.epoch, rest) else {
                // Before that it may be half erased.
                if self.at >= self.from && rest.iter().take(ALIGN).any(|&byte| byte != 0) {
                    let first = self.junk.map_or(self.at, |(first, _)| first);
                    self.junk = Some((first, self.at + ALIGN));
                }
                self.at += ALIGN;
                continue;
            };
            self.has_junk_inside |= self.junk.take().is_some();
            if self.at >= self.from {
                self.count_gap(record.number);
                match RawClick::decode(record.payload) {
                    Ok(click) => self.builder.push(&enricher.enrich(&click)),
                    Err(error) => {
                        tracing::error!(path = %path.display(), offset = self.at, %error, "a click cannot be read");
                        self.is_unreadable = true;
                    }
                }
            }
            self.expected = Some(record.number + 1);
            self.at += record.padded;
            self.end = self.at;
        }
        // A batch may hold what did not reach the disk in the segment.
        if self.end < self.from {
            self.expected = None;
        }
        self.end = self.end.max(self.from);
    }

    /// Counts what is missing before a record that is in no batch. Where the last one of the batch
    /// is not there to be seen, its number is not known, and nothing is counted.
    fn count_gap(&mut self, number: u32) {
        let is_first = self.end < self.from || self.builder.is_empty();
        if is_first && self.end != self.from {
            self.expected = None;
        }
        let missing = self.expected.map_or(0, |expected| number.saturating_sub(expected));
        self.lost += u64::from(missing);
    }

    /// Whether what was seen needs a person, and how many records were torn.
    fn judge(&mut self, is_same_boot: bool, life: &Life) -> (bool, u64) {
        if let (Some(end), Some(expected)) = (life.end, self.expected)
            && end.offset > self.end
        {
            self.lost += u64::from(end.number.saturating_sub(expected));
        }
        if !is_same_boot {
            return (self.is_unreadable, 0);
        }
        let torn = self.junk.is_some_and(|(first, last)| {
            let length = self.bytes.get(first..).and_then(<[u8]>::first_chunk::<4>);
            first == self.end && last - first <= RECORD_LEN_MAX && length == Some(&[0; 4])
        });
        let is_damaged = self.is_unreadable
            || self.has_junk_inside
            || self.lost > 0
            || life.is_end_damaged
            || (self.junk.is_some() && !torn);
        (is_damaged, u64::from(torn))
    }
}

fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// Overwrites the addresses before the blocks go back to the file system. Killed half-way, the
/// header still says what is drained, and the next start goes on.
fn erase(path: &Path) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    let len = file.metadata()?.len();
    let records = usize::try_from(len).unwrap_or(usize::MAX).saturating_sub(HEADER_LEN);
    disk::step("write")?;
    file.write_all_at(&vec![0; records.min(SEGMENT_LEN)], HEADER_LEN as u64)?;
    disk::remove(path)
}
