//! A batch as it is sent on: its columns stay compressed.

use std::collections::HashMap;
use std::io::Read;

use super::native::{self, BlockWriter};
use super::{Batch, BatchError, BatchHeader, COLUMNS, ZSTD_LEVEL};

/// Workspace and link.
pub type LinkKey = [i64; 2];

/// The columns of a batch's block, and what is needed to send them.
#[derive(Debug)]
pub struct PackedBatch<'a> {
    header: BatchHeader,
    /// The frames of all columns, without the block's counts.
    columns: &'a [u8],
    links: Vec<(LinkKey, u64)>,
}

/// What a column of a block is called and holds.
pub(crate) type Column<'a> = (&'a str, &'a str, &'a [u8]);

/// The body of a batch with this block: a frame of its counts, and one of its columns, so that whoever
/// has more columns to add sends other counts, these columns as they are, and a frame of those.
pub(super) fn body(block: &[u8], rows: usize) -> Vec<u8> {
    let (counts, columns) = block.split_at(counts(COLUMNS, rows).len());
    [pack(counts), pack(columns)].concat()
}

fn counts(columns: usize, rows: usize) -> Vec<u8> {
    BlockWriter::new(columns, rows).finish()
}

fn pack(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, ZSTD_LEVEL).expect("zstd compresses from memory")
}

impl<'a> PackedBatch<'a> {
    /// Reads a batch whose counts are a frame of their own; `None` if they are not, as in files of
    /// versions before 0.2. That its bytes are those that were written is checked; its rows are not.
    ///
    /// # Errors
    /// [`BatchError`] if a single byte is not as it was written.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Option<Self>, BatchError> {
        let (header, body) = BatchHeader::read(bytes)?;
        if body.len() != header.body_len {
            return Err(BatchError::Length);
        }
        if crc32c::crc32c(body) != header.crc {
            return Err(BatchError::Checksum("body"));
        }
        let Ok(first) = zstd::zstd_safe::find_frame_compressed_size(body) else { return Ok(None) };
        let Some((first, columns)) = body.split_at_checked(first) else { return Ok(None) };
        let expected = counts(COLUMNS, header.rows);
        let counts = zstd::bulk::decompress(first, expected.len());
        if columns.is_empty() || counts.ok() != Some(expected) {
            return Ok(None);
        }
        let links = links(columns, header.rows).ok_or(BatchError::Field("link column"))?;
        Ok(Some(Self { header, columns, links }))
    }

    #[must_use]
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The links of its rows, each once and with its number of rows.
    #[must_use]
    pub fn links(&self) -> &[(LinkKey, u64)] {
        &self.links
    }

    /// The block as frames, with more columns behind its own.
    pub(crate) fn block_with(&self, columns: &[Column<'_>]) -> Vec<u8> {
        let mut more = BlockWriter::default();
        for (name, r#type, values) in columns {
            more.column(name, r#type, values);
        }
        let counts = counts(COLUMNS + columns.len(), self.header.rows);
        [&pack(&counts), self.columns, &pack(&more.finish())].concat()
    }
}

/// The first two columns; what is behind them stays as it is.
fn links(columns: &[u8], rows: usize) -> Option<Vec<(LinkKey, u64)>> {
    let mut unpacked = zstd::stream::read::Decoder::with_buffer(columns).ok()?;
    let workspaces = numbers(&mut unpacked, "workspace", rows)?;
    let links = numbers(&mut unpacked, "link", rows)?;
    let (workspaces, links) = (workspaces.as_chunks().0, links.as_chunks().0);
    let mut found: HashMap<LinkKey, u64> = HashMap::new();
    for (workspace, link) in workspaces.iter().zip(links) {
        *found.entry([i64::from_le_bytes(*workspace), i64::from_le_bytes(*link)]).or_default() += 1;
    }
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_unstable();
    Some(found)
}

/// The values of the next column, if that is what it is.
fn numbers(columns: &mut impl Read, name: &str, rows: usize) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    native::put_string(&mut head, name);
    native::put_string(&mut head, "Int64");
    let mut found = vec![0; head.len()];
    columns.read_exact(&mut found).ok()?;
    let mut values = vec![0; rows.checked_mul(8)?];
    columns.read_exact(&mut values).ok()?;
    (found == head).then_some(values)
}

impl Batch {
    /// The links of its rows, each once and with its number of rows.
    #[must_use]
    pub fn links(&self) -> Vec<(LinkKey, u64)> {
        let mut found: HashMap<LinkKey, u64> = HashMap::new();
        for click in self.clicks() {
            *found.entry([click.workspace.get(), click.link.get()]).or_default() += 1;
        }
        let mut found: Vec<_> = found.into_iter().collect();
        found.sort_unstable();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UnixMillis;
    use crate::batch::{BatchBuilder, Range};
    use crate::click::{Channel, Details, Device, Kind, Privacy, Via};
    use crate::{Click, DomainId, LinkId, WorkspaceId};

    fn file() -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        for link in [3, 1, 3, 2, 3] {
            builder.push(&Click {
                workspace: WorkspaceId::try_from(7).unwrap(),
                link: LinkId::try_from(link).unwrap(),
                domain: DomainId::try_from(1).unwrap(),
                at_s: 4,
                n: 1,
                kind: Kind::Human,
                via: Via::Link,
                variant: 0,
                status: 302,
                target_revision: 1,
                visitor: 5,
                privacy: Privacy::default(),
                channel: Channel::Direct,
                device: Device::Desktop,
                details: Details::default(),
            });
        }
        builder.finish(UnixMillis::new(9), &[Range { epoch: 1, from: 0, to: 64 }]).bytes
    }

    #[test]
    fn a_packed_batch_is_the_batch_with_columns_behind_its_own() {
        let file = file();
        let (batch, packed) =
            (Batch::from_bytes(&file).unwrap(), PackedBatch::from_bytes(&file).unwrap().unwrap());
        assert_eq!(packed.links(), [([7, 1], 1), ([7, 2], 1), ([7, 3], 3)]);
        assert_eq!(packed.links(), batch.links());
        assert_eq!(packed.header(), batch.header());
        let more = [("x", "UInt8", &[1, 2, 3, 4, 5][..]), ("y", "UInt8", &[0; 5])];
        let block = zstd::stream::decode_all(&packed.block_with(&more)[..]).unwrap();
        assert_eq!(block, batch.block_with(&more));
    }

    #[test]
    fn a_batch_of_one_frame_is_none_and_a_damaged_one_an_error() {
        let file = file();
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 1;
            assert!(PackedBatch::from_bytes(&damaged).is_err(), "{at}");
            assert!(PackedBatch::from_bytes(&file[..at]).is_err(), "{at}");
        }
        let (header, body) = BatchHeader::read(&file).unwrap();
        let block = zstd::bulk::decompress(body, header.block_len).unwrap();
        let body = pack(&block);
        let mut one = file[..file.len() - header.body_len].to_vec();
        one[20..24].copy_from_slice(&crc32c::crc32c(&body).to_le_bytes());
        one[52..56].copy_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
        let crc_at = one.len() - 4;
        let crc = crc32c::crc32c(&one[..crc_at]).to_le_bytes();
        one[crc_at..].copy_from_slice(&crc);
        one.extend(body);
        assert!(PackedBatch::from_bytes(&one).unwrap().is_none());
        assert_eq!(
            Batch::from_bytes(&one).unwrap().links().len(),
            3,
            "as released versions wrote it"
        );
    }
}
