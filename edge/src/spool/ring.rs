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

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use carom_shared::batch::Range;
use carom_shared::{Random, RawClick};

use super::map::{self, Reader, Writer};
use super::segment::{HEADER_LEN, Header, SEGMENT_LEN};

/// Segments whose pages are made ready at the start: enough for a thread that is drained in time.
const POPULATED: usize = 3;
/// A ring has at least so many segments: one is written while another is drained.
const SEGMENTS_MIN: usize = 4;

/// How many segments make a ring of so many bytes.
pub(crate) fn segments(bytes: u64) -> usize {
    (usize::try_from(bytes).unwrap_or(usize::MAX) / SEGMENT_LEN).max(SEGMENTS_MIN)
}

/// What the two ends pass to each other.
#[derive(Debug, Default)]
struct Exchange {
    /// A stack.
    spares: Vec<(Writer, Reader)>,
    /// Opened by the recorder and not yet seen by the drainer, in the order of their records.
    opened: VecDeque<Reader>,
}

fn lock(exchange: &Mutex<Exchange>) -> MutexGuard<'_, Exchange> {
    // Whole between any two calls, so a panic elsewhere leaves it usable.
    exchange.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Records the clicks of one thread.
#[derive(Debug)]
pub struct Recorder {
    writer: Option<Writer>,
    exchange: Arc<Mutex<Exchange>>,
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
            exchange.opened.push_back(reader);
            drop(exchange);
            // Dropping the old writer seals its segment.
            self.writer = Some(writer);
        }
    }
}

/// Drains the clicks of one thread.
pub struct RingReader {
    worker: u16,
    random: Arc<dyn Random>,
    exchange: Arc<Mutex<Exchange>>,
    /// Opened segments, in the order of their records.
    segments: VecDeque<Segment>,
}

struct Segment {
    reader: Reader,
    /// Where the records begin that no batch holds yet.
    drained: usize,
}

impl RingReader {
    /// Makes the ring of a worker, of `bytes`, in a folder that has none of this worker.
    ///
    /// # Errors
    /// If a segment cannot be made: no room on the disk, mostly.
    pub fn create(
        dir: &Path,
        worker: u16,
        bytes: u64,
        random: Arc<dyn Random>,
    ) -> io::Result<(Recorder, Self)> {
        let segments = segments(bytes);
        let ring = Self { worker, random, exchange: Arc::default(), segments: VecDeque::new() };
        let mut spares = Vec::with_capacity(segments);
        // The top of the stack is made last.
        for number in (0..segments).rev() {
            let path = dir.join(format!("{worker:03}-{number:05}.seg"));
            spares.push(map::create(&path, ring.header(), number < POPULATED)?);
        }
        lock(&ring.exchange).spares = spares;
        Ok((Recorder { writer: None, exchange: Arc::clone(&ring.exchange) }, ring))
    }

    fn header(&self) -> Header {
        let mut epoch = [0; 8];
        self.random.fill(&mut epoch);
        Header { worker: self.worker, epoch: u64::from_le_bytes(epoch) }
    }

    /// Hands up to `max` records that were not read before to `take`; returns how many.
    ///
    /// # Errors
    /// If the header of a new segment cannot be synced; nothing of that segment was read.
    pub fn read(&mut self, max: usize, mut take: impl FnMut(&[u8])) -> io::Result<usize> {
        self.adopt()?;
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
        Ok(read)
    }

    /// Takes over what the recorder has opened. The header goes to the disk first: after a power
    /// failure nothing is found under a header that is not there.
    fn adopt(&mut self) -> io::Result<()> {
        loop {
            let Some(reader) = lock(&self.exchange).opened.pop_front() else { return Ok(()) };
            let synced = reader.sync_header();
            if let Err(error) = synced {
                lock(&self.exchange).opened.push_front(reader);
                return Err(error);
            }
            self.segments.push_back(Segment { reader, drained: HEADER_LEN });
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

    /// Notes durably that everything read so far is in a synced batch, then erases the segments
    /// that were read to their end and gives them back.
    ///
    /// # Errors
    /// If a note cannot be synced. What was noted stays noted, the rest is tried again.
    pub fn mark_drained(&mut self) -> io::Result<()> {
        for segment in &mut self.segments {
            let cursor = segment.reader.cursor();
            if cursor > segment.drained {
                segment.reader.mark_drained(cursor)?;
                segment.drained = cursor;
            }
        }
        while let Some(segment) = self.segments.pop_front_if(|first| first.reader.is_at_end()) {
            let drained = segment.drained;
            match segment.reader.recycle(self.header()) {
                Ok(spare) => lock(&self.exchange).spares.push(spare),
                // The recorder is just letting go of it: the next batch finds it again.
                Err(reader) => {
                    self.segments.push_front(Segment { reader, drained });
                    break;
                }
            }
        }
        Ok(())
    }

    /// Segments that hold clicks or are about to.
    #[must_use]
    pub fn segments_in_use(&self) -> usize {
        self.segments.len() + lock(&self.exchange).opened.len()
    }
}
