//! A batch of clicks: the unit in which they are written to disk, sent, and stored exactly once.
//!
//! **The file is the batch, its name is its token, and its bytes never change.** The edge cuts a
//! batch once; every retry, after any restart, sends the same bytes under the same name, and a
//! store that has the name has the batch.
//!
//! # File, format 1 (little endian)
//!
//! ```text
//!  0  8    "CAROMCLK"
//!  8  u16  format = 1
//! 10  u16  zero
//! 12  u32  header length: 68 + 16 per range
//! 16  u32  rows, at most 262,144
//! 20  u32  CRC-32C of the body
//! 24  u64  clicks: the sum of column n
//! 32  i64  made at, milliseconds since 1970
//! 40  u32  earliest, 44 u32 latest at_s
//! 48  u32  block length, at most 128 MiB
//! 52  u32  body length
//! 56  u32  ranges, at most 4,096
//! 60  u32  zero
//! 64  ...  ranges: u64 epoch, u32 from, u32 to: which bytes of which ring segment are in here
//!     u32  CRC-32C of the header up to here
//!     ...  body: zstd of one block in ClickHouse's Native format, in one frame, or in two: its counts of
//!          columns and rows, and its columns (packed.rs)
//! ```
//!
//! The ranges make the drain position recoverable from the file alone: a file that exists has
//! drained them, whatever the ring's own header says.
//!
//! The block is Native because it says how many rows it has: a block cut anywhere is an error in
//! every reader, where a truncated row format is a shorter batch. Columns, in this order:
//!
//! ```text
//! workspace Int64, link Int64, domain Int64, at UInt32, n UInt32, kind UInt8, via UInt8,
//! variant UInt16, status UInt16, target_revision UInt32, visitor UInt64, privacy UInt8,
//! channel UInt8, device UInt8, and a String for each Detail, under its name
//! ```

mod native;
mod packed;
mod token;

use std::time::Duration;

use native::{BlockReader, BlockWriter};
pub use packed::{LinkKey, PackedBatch};
pub use token::{Token, TokenError};

use crate::click::{Channel, Detail, Details, Device, Kind, Privacy, Via};
use crate::{Click, DomainId, LinkId, UnixMillis, WorkspaceId};

const MAGIC: &[u8; 8] = b"CAROMCLK";
const FORMAT: u16 = 1;
const FIXED_LEN: usize = 64;
const RANGE_LEN: usize = 16;
const CRC_LEN: usize = 4;
const DETAILS: usize = Detail::ALL.len();
const COLUMNS: usize = 14 + DETAILS;
/// Fast enough for the edge, and close to three times smaller than no compression.
const ZSTD_LEVEL: i32 = 1;

/// Rows in a batch, at most: a store numbers them in 18 bits.
pub const ROWS_MAX: usize = 1 << 18;
/// Bytes of a batch's block before compression, at most: what a reader must be ready to hold.
pub const BLOCK_LEN_MAX: usize = 128 << 20;
/// Ranges of a batch, at most.
pub const RANGES_MAX: usize = 4096;
/// A batch made longer ago than this may have been stored and forgotten: a store refuses it.
pub const LEDGER_LIFE: Duration = Duration::from_hours(90 * 24);

/// Whether a batch was made so long ago that it may have been stored and forgotten.
#[must_use]
pub fn is_forgotten(made_at: UnixMillis, now: UnixMillis) -> bool {
    let life_ms = i64::try_from(LEDGER_LIFE.as_millis()).unwrap_or(i64::MAX);
    made_at.get() < now.get().saturating_sub(life_ms)
}

/// Bytes of one ring segment: `from..to` within the segment that had this epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub epoch: u64,
    pub from: u32,
    pub to: u32,
}

/// Why bytes are not a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("not a batch of clicks")]
    Magic,
    #[error("batch of unknown format {0}: written by another version of Carom")]
    Format(u16),
    #[error("batch is cut short or has bytes after its end")]
    Length,
    #[error("batch is damaged: its {0} does not match its checksum")]
    Checksum(&'static str),
    #[error("batch holds an impossible {0}")]
    Field(&'static str),
}

/// Collects clicks, column by column, into the bytes of a batch.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    workspace: Vec<u8>,
    link: Vec<u8>,
    domain: Vec<u8>,
    at: Vec<u8>,
    n: Vec<u8>,
    kind: Vec<u8>,
    via: Vec<u8>,
    variant: Vec<u8>,
    status: Vec<u8>,
    target_revision: Vec<u8>,
    visitor: Vec<u8>,
    privacy: Vec<u8>,
    channel: Vec<u8>,
    device: Vec<u8>,
    details: [Vec<u8>; DETAILS],
    rows: usize,
    clicks: u64,
    earliest_s: u32,
    latest_s: u32,
}

/// A finished batch: its bytes, and what its token says of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchFile {
    pub bytes: Vec<u8>,
    pub rows: u32,
    /// CRC-32C of the body.
    pub crc: u32,
}

impl BatchBuilder {
    #[must_use]
    pub fn new() -> Self {
        Self { earliest_s: u32::MAX, ..Self::default() }
    }

    /// Adds a row. The caller stops at [`ROWS_MAX`] and keeps text to what an edge records, which
    /// keeps the block under [`BLOCK_LEN_MAX`].
    pub fn push(&mut self, click: &Click<'_>) {
        debug_assert!(self.rows < ROWS_MAX);
        self.workspace.extend(click.workspace.get().to_le_bytes());
        self.link.extend(click.link.get().to_le_bytes());
        self.domain.extend(click.domain.get().to_le_bytes());
        self.at.extend(click.at_s.to_le_bytes());
        self.n.extend(click.n.to_le_bytes());
        self.kind.push(click.kind as u8);
        self.via.push(click.via as u8);
        self.variant.extend(click.variant.to_le_bytes());
        self.status.extend(click.status.to_le_bytes());
        self.target_revision.extend(click.target_revision.to_le_bytes());
        self.visitor.extend(click.visitor.to_le_bytes());
        self.privacy.push(click.privacy.bits());
        self.channel.push(click.channel as u8);
        self.device.push(click.device as u8);
        for (column, name) in self.details.iter_mut().zip(click.details.names()) {
            native::put_string(column, name);
        }
        self.rows += 1;
        self.clicks += u64::from(click.n);
        self.earliest_s = self.earliest_s.min(click.at_s);
        self.latest_s = self.latest_s.max(click.at_s);
    }

    #[must_use]
    pub const fn len(&self) -> usize {
        self.rows
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The bytes of the batch. The builder is empty afterwards and keeps its memory.
    ///
    /// # Panics
    /// If the caller did not keep to [`ROWS_MAX`] and [`RANGES_MAX`].
    pub fn finish(&mut self, made_at: UnixMillis, ranges: &[Range]) -> BatchFile {
        assert!(self.rows <= ROWS_MAX && ranges.len() <= RANGES_MAX, "a batch within its limits");
        let mut block = BlockWriter::new(COLUMNS, self.rows);
        block.column("workspace", "Int64", &self.workspace);
        block.column("link", "Int64", &self.link);
        block.column("domain", "Int64", &self.domain);
        block.column("at", "UInt32", &self.at);
        block.column("n", "UInt32", &self.n);
        block.column("kind", "UInt8", &self.kind);
        block.column("via", "UInt8", &self.via);
        block.column("variant", "UInt16", &self.variant);
        block.column("status", "UInt16", &self.status);
        block.column("target_revision", "UInt32", &self.target_revision);
        block.column("visitor", "UInt64", &self.visitor);
        block.column("privacy", "UInt8", &self.privacy);
        block.column("channel", "UInt8", &self.channel);
        block.column("device", "UInt8", &self.device);
        for (detail, column) in Detail::ALL.iter().zip(&self.details) {
            block.column(detail.as_str(), "String", column);
        }
        let block = block.finish();
        let body = packed::body(&block, self.rows);

        let crc = crc32c::crc32c(&body);
        let u32_of = |n: usize| u32::try_from(n).expect("a batch within its limits").to_le_bytes();
        let mut bytes =
            Vec::with_capacity(FIXED_LEN + ranges.len() * RANGE_LEN + CRC_LEN + body.len());
        bytes.extend(MAGIC);
        bytes.extend(FORMAT.to_le_bytes());
        bytes.extend([0; 2]);
        bytes.extend(u32_of(FIXED_LEN + ranges.len() * RANGE_LEN + CRC_LEN));
        bytes.extend(u32_of(self.rows));
        bytes.extend(crc.to_le_bytes());
        bytes.extend(self.clicks.to_le_bytes());
        bytes.extend(made_at.get().to_le_bytes());
        bytes.extend(self.earliest_s.to_le_bytes());
        bytes.extend(self.latest_s.to_le_bytes());
        bytes.extend(u32_of(block.len()));
        bytes.extend(u32_of(body.len()));
        bytes.extend(u32_of(ranges.len()));
        bytes.extend([0; 4]);
        for range in ranges {
            bytes.extend(range.epoch.to_le_bytes());
            bytes.extend(range.from.to_le_bytes());
            bytes.extend(range.to.to_le_bytes());
        }
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        bytes.extend(body);

        let rows = u32::from_le_bytes(u32_of(self.rows));
        self.clear();
        BatchFile { bytes, rows, crc }
    }

    fn clear(&mut self) {
        for column in [
            &mut self.workspace, &mut self.link, &mut self.domain, &mut self.at, &mut self.n,
            &mut self.kind, &mut self.via, &mut self.variant, &mut self.status,
            &mut self.target_revision, &mut self.visitor, &mut self.privacy, &mut self.channel,
            &mut self.device,
        ]
        .into_iter()
        .chain(&mut self.details)
        {
            column.clear();
        }
        self.rows = 0;
        self.clicks = 0;
        self.earliest_s = u32::MAX;
        self.latest_s = 0;
    }
}

/// The header of a batch: enough to recover the drain position without unpacking the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    pub made_at: UnixMillis,
    pub rows: usize,
    /// The sum of column `n`.
    pub clicks: u64,
    pub ranges: Vec<Range>,
    crc: u32,
    block_len: usize,
    body_len: usize,
}

impl BatchHeader {
    /// The longest header, in bytes: so much of a file is enough to read it.
    pub const MAX_LEN: usize = FIXED_LEN + RANGES_MAX * RANGE_LEN + CRC_LEN;

    /// Reads the header and returns it with the rest of the bytes: the body.
    ///
    /// # Errors
    /// [`BatchError`] if the bytes do not begin with the whole header of a batch of this version.
    pub fn read(bytes: &[u8]) -> Result<(Self, &[u8]), BatchError> {
        if !bytes.starts_with(MAGIC) {
            return Err(BatchError::Magic);
        }
        let fixed = bytes.first_chunk::<FIXED_LEN>().ok_or(BatchError::Length)?;
        let u32_at = |at: usize| {
            u32::from_le_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]])
        };
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        let format = u16::from_le_bytes([fixed[8], fixed[9]]);
        if format != FORMAT {
            return Err(BatchError::Format(format));
        }
        let size = |at: usize, max: usize, name| {
            let size = usize::try_from(u32_at(at)).ok().filter(|&size| size <= max);
            size.ok_or(BatchError::Field(name))
        };
        let range_count = size(56, RANGES_MAX, "number of ranges")?;
        let crc_at = FIXED_LEN + range_count * RANGE_LEN;
        let (header, body) = bytes.split_at_checked(crc_at + CRC_LEN).ok_or(BatchError::Length)?;
        let (header, crc) = header.split_at(crc_at);
        if crc32c::crc32c(header).to_le_bytes() != crc {
            return Err(BatchError::Checksum("header"));
        }
        let (ranges, _) = header[FIXED_LEN..].as_chunks::<RANGE_LEN>();
        let ranges = ranges.iter().map(
            |&[e0, e1, e2, e3, e4, e5, e6, e7, f0, f1, f2, f3, t0, t1, t2, t3]| Range {
                epoch: u64::from_le_bytes([e0, e1, e2, e3, e4, e5, e6, e7]),
                from: u32::from_le_bytes([f0, f1, f2, f3]),
                to: u32::from_le_bytes([t0, t1, t2, t3]),
            },
        );
        let header = Self {
            made_at: UnixMillis::new(u64_at(32).cast_signed()),
            rows: size(16, ROWS_MAX, "number of rows")?,
            clicks: u64_at(24),
            ranges: ranges.collect(),
            crc: u32_at(20),
            block_len: size(48, BLOCK_LEN_MAX, "block length")?,
            body_len: size(52, BLOCK_LEN_MAX, "body length")?,
        };
        Ok((header, body))
    }
}

/// A batch that was read and checked: every row is whole and makes sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    header: BatchHeader,
    block: Vec<u8>,
}

impl Batch {
    /// Reads and checks the bytes of a batch.
    ///
    /// # Errors
    /// [`BatchError`] if a single byte is not as it was written.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BatchError> {
        let (header, body) = BatchHeader::read(bytes)?;
        if body.len() != header.body_len {
            return Err(BatchError::Length);
        }
        if crc32c::crc32c(body) != header.crc {
            return Err(BatchError::Checksum("body"));
        }
        let block = zstd::bulk::decompress(body, header.block_len)
            .ok()
            .filter(|block| block.len() == header.block_len)
            .ok_or(BatchError::Field("body"))?;
        let columns = Columns::read(&block)?;
        if columns.rows != header.rows {
            return Err(BatchError::Field("number of rows"));
        }
        let mut clicks = 0;
        for click in columns.clicks() {
            clicks += u64::from(click?.n);
        }
        if clicks != header.clicks {
            return Err(BatchError::Field("number of clicks"));
        }
        Ok(Self { header, block })
    }

    #[must_use]
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    #[must_use]
    pub const fn made_at(&self) -> UnixMillis {
        self.header.made_at
    }

    #[must_use]
    pub const fn len(&self) -> usize {
        self.header.rows
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.header.rows == 0
    }

    /// The block with more columns behind its own: name, type, values.
    pub(crate) fn block_with(&self, columns: &[(&str, &str, &[u8])]) -> Vec<u8> {
        native::with_columns(&self.block, self.len(), COLUMNS, columns)
    }

    /// The rows, in the order in which they were recorded.
    pub fn clicks(&self) -> impl Iterator<Item = Click<'_>> {
        // Both were checked when the batch was read.
        Columns::read(&self.block).into_iter().flat_map(|columns| columns.clicks().flatten())
    }
}

/// The columns of a block, each as long as the block has rows.
#[derive(Clone, Copy, Debug)]
struct Columns<'a> {
    rows: usize,
    workspace: &'a [[u8; 8]],
    link: &'a [[u8; 8]],
    domain: &'a [[u8; 8]],
    at: &'a [[u8; 4]],
    n: &'a [[u8; 4]],
    kind: &'a [[u8; 1]],
    via: &'a [[u8; 1]],
    variant: &'a [[u8; 2]],
    status: &'a [[u8; 2]],
    target_revision: &'a [[u8; 4]],
    visitor: &'a [[u8; 8]],
    privacy: &'a [[u8; 1]],
    channel: &'a [[u8; 1]],
    device: &'a [[u8; 1]],
    details: [native::Strings<'a>; DETAILS],
}

impl<'a> Columns<'a> {
    fn read(block: &'a [u8]) -> Result<Self, BatchError> {
        let mut reader = BlockReader::new(block, COLUMNS).ok_or(BatchError::Field("block"))?;
        let field = BatchError::Field;
        let columns = Self {
            rows: reader.rows(),
            workspace: reader.fixed("workspace", "Int64").ok_or(field("workspace column"))?,
            link: reader.fixed("link", "Int64").ok_or(field("link column"))?,
            domain: reader.fixed("domain", "Int64").ok_or(field("domain column"))?,
            at: reader.fixed("at", "UInt32").ok_or(field("time column"))?,
            n: reader.fixed("n", "UInt32").ok_or(field("number column"))?,
            kind: reader.fixed("kind", "UInt8").ok_or(field("kind column"))?,
            via: reader.fixed("via", "UInt8").ok_or(field("via column"))?,
            variant: reader.fixed("variant", "UInt16").ok_or(field("variant column"))?,
            status: reader.fixed("status", "UInt16").ok_or(field("status column"))?,
            target_revision: reader
                .fixed("target_revision", "UInt32")
                .ok_or(field("target revision column"))?,
            visitor: reader.fixed("visitor", "UInt64").ok_or(field("visitor column"))?,
            privacy: reader.fixed("privacy", "UInt8").ok_or(field("privacy column"))?,
            channel: reader.fixed("channel", "UInt8").ok_or(field("channel column"))?,
            device: reader.fixed("device", "UInt8").ok_or(field("device column"))?,
            details: {
                let mut details = [native::Strings::default(); DETAILS];
                for (column, detail) in details.iter_mut().zip(Detail::ALL) {
                    let strings = reader.strings(detail.as_str());
                    *column = strings.ok_or(field("column of names"))?;
                }
                details
            },
        };
        if reader.is_at_end() { Ok(columns) } else { Err(BatchError::Length) }
    }

    fn clicks(self) -> impl Iterator<Item = Result<Click<'a>, BatchError>> {
        let field = BatchError::Field;
        let mut names = self.details;
        (0..self.rows).map(move |row| {
            let id = |column: &[[u8; 8]]| i64::from_le_bytes(column[row]);
            Ok(Click {
                workspace: WorkspaceId::try_from(id(self.workspace))
                    .map_err(|_| field("workspace id"))?,
                link: LinkId::try_from(id(self.link)).map_err(|_| field("link id"))?,
                domain: DomainId::try_from(id(self.domain)).map_err(|_| field("domain id"))?,
                at_s: u32::from_le_bytes(self.at[row]),
                n: u32::from_le_bytes(self.n[row]),
                kind: Kind::from_u8(self.kind[row][0]).ok_or(field("kind"))?,
                via: Via::from_u8(self.via[row][0]).ok_or(field("via"))?,
                variant: u16::from_le_bytes(self.variant[row]),
                status: u16::from_le_bytes(self.status[row]),
                target_revision: u32::from_le_bytes(self.target_revision[row]),
                visitor: u64::from_le_bytes(self.visitor[row]),
                privacy: Privacy::from_bits(self.privacy[row][0]).ok_or(field("privacy"))?,
                channel: Channel::from_u8(self.channel[row][0]).ok_or(field("channel"))?,
                device: Device::from_u8(self.device[row][0]).ok_or(field("device"))?,
                details: {
                    let mut details = Details::default();
                    for (names, &detail) in names.iter_mut().zip(Detail::ALL) {
                        details.set(detail, names.next().ok_or(field("name"))?);
                    }
                    details
                },
            })
        })
    }
}

#[cfg(test)]
mod tests;
