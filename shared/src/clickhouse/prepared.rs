//! A batch as an edge sends it, made ready once for all that a call needs.

use super::statement::{LinkKey, insert_body, insert_columns};
use crate::UnixMillis;
use crate::batch::{Batch, BatchError, PackedBatch, Token};

/// A batch, ready to be sent.
#[derive(Debug)]
pub struct PreparedBatch {
    pub rows: usize,
    /// The sum of column `n`.
    pub clicks: u64,
    pub made_at: UnixMillis,
    /// The links of its rows, each with its number of rows.
    pub links: Vec<(LinkKey, u64)>,
    /// The insert's bytes, as zstd; the same block for the same batch, always.
    pub body: Vec<u8>,
}

impl PreparedBatch {
    /// From a batch's file. Its columns are not unpacked, where the file lets it be.
    ///
    /// # Errors
    /// [`BatchError`] if a single byte is not as it was written.
    pub fn new(token: &Token, bytes: &[u8]) -> Result<Self, BatchError> {
        let (header, links, body) = match PackedBatch::from_bytes(bytes)? {
            Some(packed) => {
                let header = packed.header().clone();
                let more = insert_columns(token.as_str(), header.rows, false);
                let body = packed.block_with(&more.as_columns());
                (header, packed.links().to_vec(), body)
            }
            None => {
                let batch = Batch::from_bytes(bytes)?;
                let body = insert_body(token.as_str(), &batch, false);
                (batch.header().clone(), batch.links(), body)
            }
        };
        let (rows, clicks, made_at) = (header.rows, header.clicks, header.made_at);
        Ok(Self { rows, clicks, made_at, links, body })
    }
}
