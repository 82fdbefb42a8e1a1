//! The change feed on the wire: which routes changed, in numbered order, as a [`FeedPage`] of bytes.
//!
//! Changes are numbered densely from 1 within an epoch; another epoch begins when a database is
//! restored. Who holds number n and is sent n + 2 has missed one, and asks for it. The same bytes
//! are the answer to a question for changes and the entries of a stream.
//!
//! # Bytes, format 1 (little endian)
//!
//! ```text
//!  0  u8   format = 1
//!  1  u64  epoch, from 1
//!  9  u64  head: the last number that was given when the page was made; 0: none
//! 17  u64  number of the first change; 0 if there are none
//! 25  u16  how many changes follow, at most 1,024; their numbers are dense
//! 27  ...  for each: i64 domain, u8 length of the code, u16 length of the record, code, record
//! ```
//!
//! A record is that of the route *when the page was made*: it may be newer than its change, and is
//! applied by its version. Nothing follows the last record.

use crate::{Code, DomainId, RouteRecord, RouteRecordError};

const FORMAT: u8 = 1;
const HEADER_LEN: usize = 27;
const CHANGE_HEADER_LEN: usize = 11;

/// How far somebody has followed the feed: everything up to and with this change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FeedPosition {
    pub epoch: u64,
    /// 0: nothing of this epoch yet.
    pub seq: u64,
}

/// What a route is since a change of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteChange {
    pub domain: DomainId,
    pub code: Code,
    pub record: RouteRecord,
}

/// Changes in order, without a gap, and how far the feed goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedPage {
    /// The last change that has a number, in this page or not.
    pub head: FeedPosition,
    /// The number of the first change here.
    pub first: u64,
    pub changes: Vec<RouteChange>,
}

/// Why bytes are not a page of the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedPageError {
    #[error("page of the feed of unknown format {0}: written by another version of Carom")]
    Format(u8),
    #[error("page of the feed has the wrong length")]
    Length,
    #[error("page of the feed holds an impossible {0}")]
    Field(&'static str),
    #[error(transparent)]
    Record(#[from] RouteRecordError),
}

impl FeedPage {
    /// Changes in a page, at most.
    pub const CHANGES_MAX: usize = 1024;

    /// How far the feed is followed once this page was applied; `None` if it has no changes.
    #[must_use]
    pub fn end(&self) -> Option<FeedPosition> {
        let last = self.first + self.changes.len().checked_sub(1)? as u64;
        Some(FeedPosition { epoch: self.head.epoch, seq: last })
    }

    /// The bytes of format 1. Of more than [`Self::CHANGES_MAX`] changes only the first are in it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let changes = &self.changes[..self.changes.len().min(Self::CHANGES_MAX)];
        let mut bytes = Vec::with_capacity(HEADER_LEN + changes.len() * 160);
        bytes.push(FORMAT);
        bytes.extend(self.head.epoch.to_le_bytes());
        bytes.extend(self.head.seq.to_le_bytes());
        bytes.extend(if changes.is_empty() { 0 } else { self.first }.to_le_bytes());
        bytes.extend(u16::try_from(changes.len()).unwrap_or(u16::MAX).to_le_bytes());
        changes.iter().for_each(|change| write_change(&mut bytes, change));
        bytes
    }

    /// Reads the bytes of any released format.
    ///
    /// # Errors
    /// [`FeedPageError`] for a format of a newer version, a wrong length or impossible values.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FeedPageError> {
        let format = *bytes.first().ok_or(FeedPageError::Length)?;
        if format != FORMAT {
            return Err(FeedPageError::Format(format));
        }
        let (header, mut rest) =
            bytes.split_first_chunk::<HEADER_LEN>().ok_or(FeedPageError::Length)?;
        let (epoch, head, first) = (word(header, 1), word(header, 9), word(header, 17));
        let count = usize::from(u16::from_le_bytes([header[25], header[26]]));
        let dense = if count == 0 { first == 0 } else { first > 0 };
        let last = first.checked_add(count as u64).ok_or(FeedPageError::Field("number"))?;
        if epoch == 0 || !dense || count > Self::CHANGES_MAX || last > head.saturating_add(1) {
            return Err(FeedPageError::Field("number"));
        }
        let mut changes = Vec::with_capacity(count);
        for _ in 0..count {
            let (change, after) = read_change(rest)?;
            changes.push(change);
            rest = after;
        }
        if !rest.is_empty() {
            return Err(FeedPageError::Length);
        }
        Ok(Self { head: FeedPosition { epoch, seq: head }, first, changes })
    }
}

/// Appends the bytes of one change.
pub(crate) fn write_change(bytes: &mut Vec<u8>, change: &RouteChange) {
    let (code, record) = (change.code.as_str().as_bytes(), change.record.to_bytes());
    bytes.extend(change.domain.get().to_le_bytes());
    bytes.push(u8::try_from(code.len()).unwrap_or(u8::MAX));
    bytes.extend(u16::try_from(record.len()).unwrap_or(u16::MAX).to_le_bytes());
    bytes.extend(code);
    bytes.extend(record);
}

/// The first change, and the bytes after it.
pub(crate) fn read_change(bytes: &[u8]) -> Result<(RouteChange, &[u8]), FeedPageError> {
    let (header, rest) =
        bytes.split_first_chunk::<CHANGE_HEADER_LEN>().ok_or(FeedPageError::Length)?;
    let domain = DomainId::try_from(word(header, 0).cast_signed());
    let code_len = usize::from(header[8]);
    let record_len = usize::from(u16::from_le_bytes([header[9], header[10]]));
    let (code, rest) = rest.split_at_checked(code_len).ok_or(FeedPageError::Length)?;
    let (record, rest) = rest.split_at_checked(record_len).ok_or(FeedPageError::Length)?;
    let code = std::str::from_utf8(code).ok().and_then(|code| Code::parse(code).ok());
    let change = RouteChange {
        domain: domain.map_err(|_| FeedPageError::Field("domain id"))?,
        code: code.ok_or(FeedPageError::Field("code"))?,
        record: RouteRecord::from_bytes(record)?,
    };
    Ok((change, rest))
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests;
