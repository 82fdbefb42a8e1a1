//! The ring of one edge thread: the [`Recorder`] that the thread owns, and the [`RingReader`] that
//! the drainer owns.
//!
//! All segments of a ring are made at the start, with their blocks on disk: what the ring promises
//! to hold it can hold, though the disk be full by then. The thread takes one segment after the
//! other from the spares and opens it to the drainer; the drainer gives back what it has drained,
//! and what came back last is taken first, so that a ring that is never behind touches the memory
//! of three segments.
//!
//! The two meet at a record's length word, in [`super::map`], and at a lock that is taken once per
//! segment. To record is no system call.
//!
//! When no segment is spare, the recorder can still [`count`](Recorder::count): in one of two tables
//! ([`super::count`]), of which the drainer empties the other. A segment whose file fails to sync is
//! *retired*: drained from memory, removed, and replaced by another file.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use carom_shared::batch::Range;
use carom_shared::{Click, Random, RawClick};

use super::count::{CountKey, Table, TableFull};
use super::disk;
use super::map::{self, Reader, Tail, Words, Writer};
use super::segment::{Boot, HEADER_LEN, Header, SEGMENT_LEN};
use super::sync::{Gate, RingSync, Synced};

/// Segments at the top of the spares whose pages are kept ready: enough for a thread that is
/// drained in time.
pub(super) const POPULATED: usize = 3;
/// A ring has at least so many segments: one is written while another is drained.
const SEGMENTS_MIN: usize = 4;

/// How many segments make a ring of so many bytes.
pub(crate) fn segments(bytes: u64) -> usize {
    (usize::try_from(bytes).unwrap_or(usize::MAX) / SEGMENT_LEN).max(SEGMENTS_MIN)
}

/// What the ends pass to each other.
#[derive(Debug)]
pub(super) struct Exchange {
    /// A stack.
    pub(super) spares: Vec<(Writer, Reader)>,
    /// Opened by the recorder and not yet seen by the drainer, in the order of their records.
    opened: VecDeque<Reader>,
    /// Opened by the recorder and not yet seen by the thread that syncs; at most the segments.
    pub(super) tails: Vec<Tail>,
    /// Counts what finds no segment; the other one is with the drainer or spare.
    counting: Table,
    spare_table: Option<Table>,
    /// The words of the one that the drainer has, until a synced batch holds them.
    draining: Option<Arc<Words>>,
}

impl Exchange {
    /// The words of the tables that hold what is in no batch.
    pub(super) fn counted(&self) -> impl Iterator<Item = Arc<Words>> + use<> {
        let counting = (!self.counting.is_empty()).then(|| self.counting.words());
        counting.into_iter().chain(self.draining.clone())
    }
}

pub(super) fn lock(exchange: &Mutex<Exchange>) -> MutexGuard<'_, Exchange> {
    // Whole between any two calls, so a panic elsewhere leaves it usable.
    exchange.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Records the clicks of one thread.
#[derive(Debug)]
pub struct Recorder {
    writer: Option<Writer>,
    exchange: Arc<Mutex<Exchange>>,
    gate: Arc<Gate>,
    recorded: u64,
}

/// The ring has no room: the drainer is stuck, and clicks have filled all segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingFull;

impl Recorder {
    /// Records a click. When this returns `Ok`, the click survives this process.
    ///
    /// # Errors
    /// [`RingFull`] if the drainer has given nothing back; the next click tries again.
    pub fn record(&mut self, click: &RawClick<'_>) -> Result<(), RingFull> {
        let len = click.encoded_len();
        loop {
            if let Some(writer) = &mut self.writer
                && writer.append(len, |payload| click.encode(payload)).is_ok()
            {
                return Ok(());
            }
            let mut exchange = lock(&self.exchange);
            let (writer, reader) = exchange.spares.pop().ok_or(RingFull)?;
            if exchange.tails.len() == exchange.tails.capacity() {
                exchange.tails.retain(Tail::is_alive);
            }
            exchange.tails.push(reader.tail());
            exchange.opened.push_back(reader);
            drop(exchange);
            // Dropping the old writer seals its segment.
            self.writer = Some(writer);
        }
    }

    /// Counts a click that found no room. When this returns `Ok`, the count survives this process;
    /// what else was known of the click is lost.
    ///
    /// # Errors
    /// [`TableFull`] if too many links are clicked while the ring is full.
    pub fn count(&mut self, click: &RawClick<'_>) -> Result<(), TableFull> {
        lock(&self.exchange).counting.add(&CountKey::at_a_glance(click))
    }

    /// Whether the drainer is far behind: a quarter of the ring is left, or less.
    pub(crate) fn is_filling(&self) -> bool {
        let exchange = lock(&self.exchange);
        exchange.spares.len() <= exchange.spares.capacity() / 4
    }

    /// What to wait for until the clicks recorded so far survive the machine, too. Asks for it to
    /// happen now, together with what else waits.
    pub(crate) fn synced(&mut self) -> Synced {
        self.recorded += 1;
        self.gate.ask(self.recorded)
    }
}

/// What a ring is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSize {
    /// Bytes of its segments.
    pub bytes: u64,
    /// Bytes of each of its two tables of counts.
    pub count_bytes: u64,
}

/// Drains the clicks of one thread.
pub struct RingReader {
    worker: u16,
    dir: PathBuf,
    /// Open from the start: syncing it must not fail for want of a descriptor.
    folder: File,
    boot: Boot,
    random: Arc<dyn Random>,
    exchange: Arc<Mutex<Exchange>>,
    gate: Arc<Gate>,
    /// Opened segments, in the order of their records.
    segments: VecDeque<Segment>,
    /// Drained segments whose files are still to be removed.
    retired: Vec<Segment>,
    /// Segments that the ring is short of, and the number of the next one.
    missing: usize,
    next_number: usize,
    /// A table that was taken and is not drained yet.
    table: Option<Table>,
    failures: u64,
}

struct Segment {
    reader: Reader,
    /// Where the records begin that no batch holds yet.
    drained: usize,
    /// Its note is in a file of its own.
    note_path: Option<PathBuf>,
}

impl RingReader {
    /// Makes the ring of a worker in a folder that has none of this worker.
    ///
    /// # Errors
    /// If a file cannot be made: no room on the disk, mostly.
    pub fn create(
        dir: &Path,
        worker: u16,
        size: RingSize,
        random: Arc<dyn Random>,
    ) -> io::Result<(Recorder, Self)> {
        let boot = Boot::read();
        let number = segments(size.bytes);
        let table = |name: &str| {
            let path = dir.join(format!("{worker:03}-{name}.cnt"));
            Table::create(&path, worker, size.count_bytes, epoch(&*random))
        };
        let exchange = Exchange {
            spares: Vec::with_capacity(number),
            opened: VecDeque::with_capacity(number),
            tails: Vec::with_capacity(2 * number),
            counting: table("a")?,
            spare_table: Some(table("b")?),
            draining: None,
        };
        let ring = Self {
            worker,
            dir: dir.to_owned(),
            folder: File::open(dir)?,
            boot,
            random,
            exchange: Arc::new(Mutex::new(exchange)),
            gate: Arc::default(),
            segments: VecDeque::new(),
            retired: Vec::new(),
            missing: 0,
            next_number: number,
            table: None,
            failures: 0,
        };
        // The top of the stack is made last.
        for number in (0..number).rev() {
            let spare = ring.make(number, number < POPULATED)?;
            lock(&ring.exchange).spares.push(spare);
        }
        // Under a name that is not on the disk nothing is found after a power failure.
        disk::sync_folder(&ring.folder)?;
        let (exchange, gate) = (Arc::clone(&ring.exchange), Arc::clone(&ring.gate));
        Ok((Recorder { writer: None, exchange, gate, recorded: 0 }, ring))
    }

    fn make(&self, number: usize, populate: bool) -> io::Result<(Writer, Reader)> {
        let path = self.dir.join(format!("{:03}-{number:05}.seg", self.worker));
        map::create(&path, self.header(), populate)
    }

    fn header(&self) -> Header {
        Header { worker: self.worker, epoch: epoch(&*self.random), boot: self.boot }
    }

    /// The part of the ring that is the syncing thread's.
    pub(crate) fn sync(&self) -> RingSync {
        RingSync::new(Arc::clone(&self.exchange), Arc::clone(&self.gate))
    }

    /// Hands up to `max` records that were not read before to `take`; returns how many.
    pub fn read(&mut self, max: usize, mut take: impl FnMut(&[u8])) -> usize {
        self.adopt();
        self.recycle();
        let mut read = 0;
        for segment in &mut self.segments {
            while read < max {
                let Some(payload) = segment.reader.next() else { break };
                take(payload);
                read += 1;
            }
            // The writer goes on to the next segment only after sealing this one.
            if !segment.reader.is_at_end() {
                break;
            }
        }
        read
    }

    /// Takes over what the recorder has opened. The header goes to the disk first: after a power
    /// failure nothing is found under a header that is not there. If it does not, the segment is
    /// retired, and read all the same: its clicks belong into a batch.
    fn adopt(&mut self) {
        while let Some(reader) = {
            let mut exchange = lock(&self.exchange);
            exchange.opened.pop_front()
        } {
            if !reader.is_retired() && reader.sync_header().is_err() {
                self.failures += 1;
            }
            self.segments.push_back(Segment { reader, drained: HEADER_LEN, note_path: None });
        }
    }

    /// What was read and is in no batch yet.
    pub fn ranges(&self) -> impl Iterator<Item = Range> {
        let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        self.segments.iter().filter(|segment| segment.reader.cursor() > segment.drained).map(
            move |segment| Range {
                epoch: segment.reader.epoch(),
                from: offset(segment.drained),
                to: offset(segment.reader.cursor()),
            },
        )
    }

    /// Notes durably that everything read so far is in a synced batch, erases it, and gives back
    /// the segments that were read to their end.
    ///
    /// # Errors
    /// If a note cannot be put on the disk in any way. What was noted stays noted, the rest is
    /// tried again.
    pub fn mark_drained(&mut self) -> io::Result<()> {
        for segment in &mut self.segments {
            let cursor = segment.reader.cursor();
            if cursor > segment.drained {
                note(&self.dir, segment, &mut self.failures)?;
                segment.drained = cursor;
                segment.reader.erase_read();
            }
        }
        self.recycle();
        self.replace_retired();
        Ok(())
    }

    /// Gives back the segments that are drained to their end.
    fn recycle(&mut self) {
        while let Some(Segment { reader, drained, note_path }) =
            self.segments.pop_front_if(|first| {
                first.reader.is_at_end() && first.reader.cursor() == first.drained
            })
        {
            if reader.is_retired() || note_path.is_some() {
                self.retired.push(Segment { reader, drained, note_path });
                continue;
            }
            match reader.recycle(self.header()) {
                Ok(spare) => lock(&self.exchange).spares.push(spare),
                // Another end is just letting go of it: the next look finds it again.
                Err(reader) => {
                    self.segments.push_front(Segment { reader, drained, note_path });
                    break;
                }
            }
        }
    }

    /// Removes the files of retired segments and makes others in their place. The note's file goes
    /// last: as long as the segment could come back, somebody must say that it is drained.
    fn replace_retired(&mut self) {
        while let Some(segment) = self.retired.pop() {
            let removed = disk::remove_if_there(segment.reader.path())
                .and_then(|()| disk::sync_folder(&self.folder))
                .and_then(|()| {
                    segment.note_path.iter().try_for_each(|path| disk::remove_if_there(path))
                });
            if removed.is_err() {
                self.retired.push(segment);
                break;
            }
            self.missing += 1;
        }
        while self.missing > 0 {
            let Ok(spare) = self.make(self.next_number, false) else { break };
            self.next_number += 1;
            self.missing -= 1;
            lock(&self.exchange).spares.push(spare);
        }
    }

    /// Takes the table that has counted, if any, and leaves the other one to count.
    pub(crate) fn take_counts(&mut self) -> bool {
        if self.table.is_none() {
            let mut exchange = lock(&self.exchange);
            if exchange.counting.is_empty() {
                return false;
            }
            let Some(spare) = exchange.spare_table.take() else { return false };
            let table = std::mem::replace(&mut exchange.counting, spare);
            exchange.draining = Some(table.words());
            self.table = Some(table);
        }
        true
    }

    /// The rows of the table that was taken, and what a batch says that holds them; returns how
    /// many slots make no sense.
    pub(crate) fn counts(&self, row: impl FnMut(Click<'static>)) -> (usize, Option<Range>) {
        match &self.table {
            Some(table) => (table.rows(row), Some(table.range())),
            None => (0, None),
        }
    }

    /// Notes durably that the table that was taken is in a synced batch, and begins it anew.
    ///
    /// # Errors
    /// If the note cannot be put on the disk.
    pub(crate) fn mark_counts_drained(&mut self) -> io::Result<()> {
        if let Some(table) = &mut self.table {
            table.mark_drained()?;
            lock(&self.exchange).draining = None;
            table.recycle(epoch(&*self.random));
        }
        lock(&self.exchange).spare_table = self.table.take();
        Ok(())
    }

    /// Segments that hold clicks or are about to.
    #[must_use]
    pub fn segments_in_use(&self) -> usize {
        self.segments.len() + lock(&self.exchange).opened.len()
    }

    /// How many syncs of segments failed since the last call.
    pub(crate) fn take_failures(&mut self) -> u64 {
        std::mem::take(&mut self.failures)
    }
}

/// Puts the note of a segment on the disk: into the segment, or if that fails or has failed, into a
/// file of its own.
fn note(dir: &Path, segment: &mut Segment, failures: &mut u64) -> io::Result<()> {
    let was_retired = segment.reader.is_retired();
    if !was_retired && segment.reader.mark_drained().is_ok() {
        return Ok(());
    }
    *failures += u64::from(!was_retired);
    let epoch = segment.reader.epoch();
    let path = note_path(dir, epoch);
    disk::write_durably(&path, segment.reader.place().to_text(epoch).as_bytes())?;
    segment.note_path = Some(path);
    Ok(())
}

pub(super) fn note_path(dir: &Path, epoch: u64) -> PathBuf {
    dir.join(format!("{epoch:016x}.note"))
}

fn epoch(random: &dyn Random) -> u64 {
    let mut epoch = [0; 8];
    random.fill(&mut epoch);
    u64::from_le_bytes(epoch)
}
