//! The click spool: whether what waits in it can be read, and what was lost.

use std::path::Path;

use carom_edge::Loss;
use carom_edge::SpoolError;
use carom_edge::spool::inspect::{Bad, Damage, Found};

use super::finding::{Area, Findings};
use crate::compose::chain;
use crate::output::size;

/// Damaged files that are told one by one, at most.
const TOLD_MAX: usize = 5;
/// Of its quota, in percent: from here on details are given up.
const FULL_PERCENT: u64 = 80;

pub(super) fn examine(found: &Result<Found, SpoolError>, is_live: bool) -> Findings {
    let mut out = Findings::of(Area::Spool);
    let found = match found {
        Ok(found) => found,
        Err(error @ (SpoolError::Identity(_) | SpoolError::Newer { .. })) => {
            out.error(
                "identity",
                chain(error),
                "Carom does not start on it: clicks could be counted twice",
                "what the message says; keep a copy of the spool folder",
            );
            return out;
        }
        Err(error) => {
            out.error(
                "spool",
                format!("the spool cannot be read: {}", chain(error)),
                "it is not known whether clicks wait in it",
                "see who may read it (carom has to run as the folder's owner), and try again",
            );
            return out;
        }
    };
    examine_what_waits(&mut out, found, is_live);
    examine_bad(&mut out, &found.bad);
    examine_quarantine(&mut out, found);
    examine_losses(&mut out, found);
    if !found.foreign.is_empty() {
        out.notice(
            "foreign_files",
            format!("{} that Carom did not put there", files(found.foreign.len() as u64)),
            format!("the first is {}", found.foreign[0].display()),
            "remove what you put there",
        );
    }
    out
}

fn examine_what_waits(out: &mut Findings, found: &Found, is_live: bool) {
    match found.identity {
        Some((id, generation)) => {
            let times =
                if generation == 1 { "once".to_owned() } else { format!("{generation} times") };
            out.ok("identity", format!("spool {id:016x}, started {times}"));
        }
        None if found.segments + found.tables + found.batches.len() == 0 => {
            out.ok("identity", "the spool is new: the first start gives it a name");
        }
        None => out.warning(
            "identity",
            "the spool has clicks and no name",
            "its identity file was removed; the next start gives it another name",
            "restore the file, if batches of it are on their way in a copy elsewhere",
        ),
    }
    let ring = if is_live {
        format!("{} segments are in use or ready", found.segments)
    } else {
        match found.undrained {
            0 => "no click is left in the ring".to_owned(),
            n => format!("{n} clicks are in the ring: the next start goes on with them"),
        }
    };
    out.ok("ring", ring);
    let (bytes, quota) = found.outbox_bytes;
    let waits =
        format!("{} with {} clicks wait to be stored", batches(found.batches.len()), found.clicks);
    if quota > 0 && bytes > quota / 100 * FULL_PERCENT {
        out.warning(
            "outbox",
            format!("{waits}: {} of {}", size(bytes), size(quota)),
            "the store has been away for long, or the disk is nearly full; details of the oldest \
             clicks are given up, later clicks are only counted",
            "see why the store takes nothing; make room, or raise spool.max_bytes",
        );
    } else if found.batches.is_empty() {
        out.ok("outbox", "the outbox is empty");
    } else {
        out.ok("outbox", waits);
    }
}

fn examine_bad(out: &mut Findings, bad: &[Bad]) {
    for Bad { path, what } in bad.iter().take(TOLD_MAX) {
        let name = short(path);
        match what {
            Damage::Format(format) => out.error(
                "spool_format",
                format!("{name} has the format {format}, which this version does not know"),
                "a newer version of Carom wrote it; this one would set it aside in \
                 spool/quarantine, and store nothing of it",
                "start the newer version once, and stop it: it stores what waits",
            ),
            Damage::Damaged(what) => out.error(
                "spool_damage",
                format!("{name} is damaged: {what}"),
                "the disk lost or changed bytes of it; the next start stores what can be read, \
                 and sets the file aside in spool/quarantine",
                "keep a copy of it, look at the disk, and restart carom",
            ),
        }
    }
    if bad.len() > TOLD_MAX {
        out.error(
            "spool_damage",
            format!("{} more cannot be used", files((bad.len() - TOLD_MAX) as u64)),
            "as those above",
            "as above",
        );
    }
    if bad.is_empty() {
        out.ok("spool_damage", "every file in it can be read");
    }
}

fn examine_quarantine(out: &mut Findings, found: &Found) {
    let kept = found.quarantine;
    if kept.files == 0 {
        out.ok("quarantine", "nothing was set aside");
        return;
    }
    let action = if kept.whole_batches > 0 {
        "the log says why each was set aside. Once the cause is mended, stop carom, run carom spool \
         retry and start carom: batches that can be read are stored, unless they are too old. \
         Remove what is of no use"
    } else {
        "keep a copy for a report, then remove it: it may hold visitors' addresses"
    };
    out.warning(
        "quarantine",
        format!("{} ({}) in spool/quarantine", files(kept.files), size(kept.bytes)),
        match kept.whole_batches {
            0 => "they could not be read, or not in full; Carom never deletes them".to_owned(),
            n => format!(
                "{} of them can be read, with {} clicks that are in no statistics",
                batches(usize::try_from(n).unwrap_or(usize::MAX)),
                kept.clicks
            ),
        },
        action,
    );
}

fn examine_losses(out: &mut Findings, found: &Found) {
    let mut is_first = true;
    for (loss, total) in Loss::ALL.into_iter().zip(found.losses) {
        let Some(n) = total else {
            out.warning(
                "losses", "a total of lost clicks cannot be read",
                "how many were lost before is not known any more",
                "none: the next start sets the file aside and goes on",
            );
            return;
        };
        let (check, words, meaning, action) = match loss {
            Loss::Counted => (
                "clicks_counted", "clicks were only counted, because a ring was full",
                "they are in totals and series, without details",
                "raise spool.ring_bytes, or see why the disk was slow",
            ),
            Loss::Compacted => (
                "clicks_compacted",
                "clicks were reduced to counts, because the outbox was full",
                "they are in totals and series, without details",
                "raise spool.max_bytes, or see why the store was away for so long",
            ),
            Loss::Dropped => (
                "clicks_dropped",
                "clicks were dropped, because ring and counts were full",
                "they are in no statistics",
                "raise spool.ring_bytes and spool.count_bytes, or get a faster disk",
            ),
            Loss::Power => (
                "clicks_lost", "clicks were lost when the machine stopped",
                "they were answered and not yet on the disk",
                "set spool.durability = always, if that must not be",
            ),
            Loss::Damaged => (
                "records_damaged",
                "records of clicks could not be read",
                "the disk lost or changed them; what was read of the files was stored",
                "look at the disk; the files are in spool/quarantine",
            ),
            // Their visitors had no answer: nothing is lost.
            Loss::Torn => continue,
        };
        if n > 0 {
            is_first = false;
            out.notice(check, format!("{n} {words}, over all starts"), meaning, action);
        }
    }
    if is_first {
        out.ok("losses", "no click was ever lost or reduced to a count");
    }
}

fn short(path: &Path) -> String {
    let parts: Vec<_> = path.iter().rev().take(3).collect();
    let parts: Vec<_> = parts.into_iter().rev().map(|part| part.to_string_lossy()).collect();
    parts.join("/")
}

fn files(n: u64) -> String {
    if n == 1 { "1 file".to_owned() } else { format!("{n} files") }
}

fn batches(n: usize) -> String {
    if n == 1 { "1 batch".to_owned() } else { format!("{n} batches") }
}
