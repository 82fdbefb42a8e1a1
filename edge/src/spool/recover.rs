//! What a start finds of the last run, and how it becomes batches.
//!
//! A segment's records before its drained note, or inside a range of any batch in the outbox, are
//! in a batch. All others were recorded and not drained: they are found by scanning every 64 bytes,
//! because after a crash of the machine pages may have reached the disk in any order, and a record
//! of this epoch proves itself by its checksum. A record that was being written when the process
//! was killed has no length yet, is not seen, and was never answered.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use carom_shared::batch::{BatchBuilder, Range, Token};
use carom_shared::{Clock, RawClick};

use super::outbox::Outbox;
use super::segment::{ALIGN, DRAINED_AT, HEADER_LEN, Header, SEGMENT_LEN, read_record};
use super::{Spool, SpoolError};
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
}

/// Turns what the last run left behind into batches, hands over all that wait, and leaves the ring
/// folder empty. Killed at any point, it begins again and loses or repeats nothing.
pub(crate) fn recover(
    spool: &Spool,
    outbox: &Outbox,
    clock: &dyn Clock,
) -> Result<Recovered, SpoolError> {
    let mut recovered = Recovered::default();
    let outbox_dir = spool.outbox_dir();
    let mut drained = HashMap::new();
    let mut waiting = Vec::new();
    for (token, header) in outbox.list().map_err(SpoolError::io(&outbox_dir))? {
        match header {
            Ok(header) => {
                note_drained(&mut drained, &header.ranges);
                waiting.push(token);
            }
            Err(error) => {
                let aside = outbox.quarantine(&token).map_err(SpoolError::io(&outbox_dir))?;
                tracing::error!(path = %aside.display(), %error, "a batch is damaged and was set aside");
                recovered.quarantined += 1;
            }
        }
    }
    recovered.batches = waiting.len();

    let ring_dir = spool.ring_dir();
    for path in files(&ring_dir).map_err(SpoolError::io(&ring_dir))? {
        let found = recover_segment(&path, &drained, outbox, clock);
        let found = found.map_err(SpoolError::io(&path))?;
        recovered.clicks += found.clicks;
        waiting.extend(found.batch);
        if found.is_damaged {
            let aside = spool.quarantine_dir().join(path.file_name().unwrap_or_default());
            fs::rename(&path, &aside).map_err(SpoolError::io(&path))?;
            tracing::error!(path = %aside.display(), "a ring segment is damaged and was set aside");
            recovered.quarantined += 1;
        } else {
            let removed = if found.is_blank { fs::remove_file(&path) } else { erase(&path) };
            removed.map_err(SpoolError::io(&path))?;
        }
    }
    // Were a batch stored and removed, and then the power lost, a segment that came back would be
    // recovered again: so its removal goes to the disk first.
    File::open(&ring_dir).and_then(|dir| dir.sync_all()).map_err(SpoolError::io(&ring_dir))?;
    for token in waiting {
        outbox.hand_over(token);
    }
    Ok(recovered)
}

fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = fs::read_dir(dir)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
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
    /// The batch that they are in now.
    batch: Option<Token>,
    /// No record was ever written: there is nothing to erase.
    is_blank: bool,
    /// Something in the segment was not understood: it is for a person to look at.
    is_damaged: bool,
}

/// Puts a segment's undrained records into a batch of their own. Until the segment is gone, that
/// batch says that it is drained.
fn recover_segment(
    path: &Path,
    drained: &HashMap<u64, usize>,
    outbox: &Outbox,
    clock: &dyn Clock,
) -> io::Result<Found> {
    let bytes = fs::read(path)?;
    // A segment whose header was not finished never held a record.
    if bytes.iter().skip(HEADER_LEN).all(|&byte| byte == 0) {
        return Ok(Found { is_blank: true, ..Found::default() });
    }
    let Some((header, noted)) = read_header(&bytes) else {
        return Ok(Found { is_damaged: true, ..Found::default() });
    };
    let from = drained.get(&header.epoch).copied().unwrap_or(HEADER_LEN).max(noted);

    let mut found = Found::default();
    let mut builder = BatchBuilder::new();
    let mut enricher = Enricher::default();
    let mut at = from.next_multiple_of(ALIGN);
    let mut end = from;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let Some((payload, len)) = read_record(header.epoch, rest) else {
            at += ALIGN;
            continue;
        };
        match RawClick::decode(payload) {
            Ok(click) => builder.push(&enricher.enrich(&click)),
            Err(error) => {
                tracing::error!(path = %path.display(), offset = at, %error, "a click cannot be read");
                found.is_damaged = true;
            }
        }
        at += len;
        end = at;
    }
    if !builder.is_empty() {
        found.clicks = builder.len() as u64;
        let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let range = Range { epoch: header.epoch, from: offset(from), to: offset(end) };
        let batch = builder.finish(clock.now(), &[range]);
        let token = outbox.name(&batch);
        outbox.put(&token, &batch)?;
        found.batch = Some(token);
    }
    Ok(found)
}

/// The header of a whole segment and its drained note; `None` if either is impossible.
fn read_header(bytes: &[u8]) -> Option<(Header, usize)> {
    let header = Header::from_bytes(bytes).filter(|_| bytes.len() == SEGMENT_LEN)?;
    let noted = u64::from_le_bytes(*bytes.get(DRAINED_AT..)?.first_chunk()?);
    let noted = usize::try_from(noted).ok()?;
    (HEADER_LEN..=SEGMENT_LEN).contains(&noted).then_some((header, noted))
}

/// Overwrites the addresses before the blocks go back to the file system. Killed half-way, the
/// header still says what is drained, and the next start goes on.
fn erase(path: &Path) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    let len = file.metadata()?.len();
    let records = usize::try_from(len).unwrap_or(usize::MAX).saturating_sub(HEADER_LEN);
    file.write_all_at(&vec![0; records.min(SEGMENT_LEN)], HEADER_LEN as u64)?;
    fs::remove_file(path)
}
