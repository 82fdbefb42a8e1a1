//! The data folder: whose it is, who can read it, on what it lies, and how much room is left.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use carom_shared::UnixMillis;
use rustix::fs::{Access, access, statfs, statvfs};
use rustix::process::geteuid;

use super::finding::{Area, Findings, Level};
use super::process::Presence;
use crate::data_dir::DataDir;
use crate::output::size;

/// Less than this much of the disk free, in percent, is told.
const FREE_PERCENT: u64 = 5;
/// Bytes below which nothing works for long.
const FREE_MIN: u64 = 64 << 20;
/// Names of files that a disk should have left.
const INODES_LOW: u64 = 10_000;
/// Seconds by which a file may be ahead of the clock.
const AHEAD_S: i64 = 60;
/// Names in one finding, at most.
const NAMES_MAX: usize = 3;

/// Looks at the folder. `reserved` is what the ring of clicks takes of the disk once it is there.
pub(super) fn examine(dir: &Path, presence: &Presence, now: UnixMillis, reserved: u64) -> Findings {
    let mut out = Findings::of(Area::Folder);
    let folder = match fs::metadata(dir) {
        Ok(folder) => folder,
        Err(error) => {
            out.error(
                "folder",
                format!("{}: {error}", dir.display()),
                "there is nothing to be looked at",
                "name the folder with --data-dir; carom serve makes one that is not there",
            );
            return out;
        }
    };
    if DataDir::restoring_path(dir).exists() && !presence.is_live() {
        out.error(
            "half_restored",
            "a restore into this folder was interrupted",
            "what is in it may be half of a backup; Carom does not start on it",
            "remove everything in it, and restore again",
        );
    }
    let files = files(dir);
    examine_access(&mut out, dir, &folder, &files);
    examine_times(&mut out, &files, now);
    examine_disk(&mut out, dir);
    let reserved = if presence.is_live() || has_ring(dir) { 0 } else { reserved };
    examine_room(&mut out, dir, reserved);
    out
}

/// The folder's own files and folders, and those of the spool's one level down; not the batches.
fn files(dir: &Path) -> Vec<(PathBuf, Metadata)> {
    let spool = dir.join("spool");
    let mut found = Vec::new();
    for folder in [dir.to_owned(), spool.clone(), spool.join("ring")] {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            // Some are gone by now.
            found.extend(entry.metadata().ok().map(|metadata| (entry.path(), metadata)));
        }
    }
    found
}

fn has_ring(dir: &Path) -> bool {
    let ring = fs::read_dir(dir.join("spool/ring"));
    ring.is_ok_and(|mut files| files.next().is_some())
}

fn examine_access(
    out: &mut Findings,
    dir: &Path,
    folder: &Metadata,
    files: &[(PathBuf, Metadata)],
) {
    let (mode, owner, me) = (folder.mode() & 0o777, folder.uid(), geteuid().as_raw());
    if owner != me && me != 0 {
        out.error(
            "owner",
            format!("the folder belongs to user {owner}, and this is user {me}"),
            "what can be found is not all that is there, and Carom cannot start on it",
            format!("run carom as the user that owns it (sudo -u '#{owner}' ...)"),
        );
    }
    let is_other = |file: &&(PathBuf, Metadata)| file.1.uid() != owner;
    let others: Vec<_> = files.iter().filter(is_other).map(|(path, _)| path).collect();
    if !others.is_empty() {
        out.error(
            "file_owner",
            format!("{} belong to other users than the folder: {}", count(&others), names(&others)),
            "the service may not be able to write them; mostly a command was run as root",
            format!("chown -R {owner}:{} {}", folder.gid(), dir.display()),
        );
    }
    if mode & 0o077 == 0 {
        out.ok("mode", format!("only its owner can get into {} (mode {mode:04o})", dir.display()));
    } else {
        out.warning(
            "mode",
            format!("other users of this machine can get into {} (mode {mode:04o})", dir.display()),
            "keys' hashes, links and clicks are in it, and visitors' addresses for some seconds",
            format!("chmod 700 {}", dir.display()),
        );
    }
    let (ring, socket) = (dir.join("spool/ring"), DataDir::socket_path(dir));
    let is_open = |(path, metadata): &&(PathBuf, Metadata)| {
        (path.parent() == Some(&ring) || *path == socket) && metadata.mode() & 0o077 != 0
    };
    let open: Vec<_> = files.iter().filter(is_open).map(|(path, _)| path).collect();
    if !open.is_empty() {
        out.warning(
            "file_mode",
            format!("{} can be read by other users: {}", count(&open), names(&open)),
            "visitors' addresses are in the ring of clicks, and control.sock needs no key",
            format!("chmod -R go= {}", dir.display()),
        );
    }
    if access(dir, Access::WRITE_OK).is_err() {
        out.error(
            "writable",
            "the folder cannot be written to",
            "Carom cannot start on it",
            "give it to the user that Carom runs as, and mount its file system writable",
        );
    }
}

fn examine_times(out: &mut Findings, files: &[(PathBuf, Metadata)], now: UnixMillis) {
    let newest = files.iter().map(|(path, metadata)| (metadata.mtime(), path)).max();
    let Some((at, path)) = newest else { return };
    let ahead = at.saturating_sub(now.as_secs());
    if ahead > AHEAD_S {
        out.warning(
            "future_files",
            format!("{} was written {ahead} s in the future", names(&[path])),
            "the clock was ahead then, or is behind now; clicks have the time of the clock",
            "let a time service keep the clock (systemd-timesyncd, chrony)",
        );
    }
}

/// What kind of disk a number of `statfs` means.
fn kind_of_disk(magic: u64) -> Option<(Level, &'static str, &'static str, &'static str)> {
    const NETWORK: (&str, &str) = (
        "SQLite's log and locks do not work over a network: databases get damaged",
        "move the folder to a disk of this machine",
    );
    const COPYING: (&str, &str) = (
        "room that is reserved for clicks is no promise there: a write may fail on a full disk",
        "keep some of it free; for databases, chattr +C or a recordsize of 16K make it faster",
    );
    const MEMORY: (&str, &str) =
        ("everything in it is gone when the machine restarts", "move the folder to a disk");
    const LAYER: (&str, &str) =
        ("everything in it is gone when the container is removed", "mount a volume there");
    let of = |level, name, (meaning, action)| Some((level, name, meaning, action));
    match magic {
        0x6969 => of(Level::Error, "NFS", NETWORK),
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => of(Level::Error, "SMB", NETWORK),
        0x0102_1997 => of(Level::Error, "9p", NETWORK),
        0x00c3_6400 => of(Level::Error, "CephFS", NETWORK),
        0x6573_5546 => of(Level::Warning, "FUSE", NETWORK),
        0x9123_683e => of(Level::Notice, "btrfs", COPYING),
        0x2fc1_2fc1 => of(Level::Notice, "ZFS", COPYING),
        0xca45_1a4e => of(Level::Notice, "bcachefs", COPYING),
        0x0102_1994 | 0x8584_58f6 => of(Level::Warning, "memory", MEMORY),
        0x794c_7630 => of(Level::Warning, "a container's layer", LAYER),
        0xef53 => of(Level::Ok, "ext4", ("", "")),
        0x5846_5342 => of(Level::Ok, "XFS", ("", "")),
        0xf2f5_2010 => of(Level::Ok, "F2FS", ("", "")),
        _ => None,
    }
}

fn examine_disk(out: &mut Findings, dir: &Path) {
    let Ok(found) = statfs(dir) else { return };
    #[expect(clippy::cast_sign_loss, reason = "a magic number of 32 bits, whatever its sign")]
    let magic = found.f_type as u64 & 0xffff_ffff;
    match kind_of_disk(magic) {
        Some((level, name, meaning, action)) => {
            out.add(level, "disk", format!("it is on {name}"), meaning, action);
        }
        None => out.ok("disk", format!("it is on a file system of type {magic:#x}")),
    }
}

fn examine_room(out: &mut Findings, dir: &Path, reserved: u64) {
    let Ok(disk) = statvfs(dir) else { return };
    let total = disk.f_blocks.saturating_mul(disk.f_frsize);
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let shown = format!("{} of {} are free", size(free), size(total));
    let action = "make room, or move the folder to a larger disk";
    if free < FREE_MIN.max(reserved) {
        let needs = format!("; a start reserves {} for clicks", size(reserved));
        let needs = if reserved > 0 { needs } else { String::new() };
        out.error(
            "room",
            format!("{shown}{needs}"),
            "links cannot be saved, and clicks only be counted, or Carom does not start",
            action,
        );
    } else if free < total / 100 * FREE_PERCENT {
        out.warning(
            "room",
            shown,
            "Carom leaves a twentieth of the disk free: clicks that wait give up details",
            action,
        );
    } else {
        out.ok("room", shown);
    }
    // Some file systems do not count them.
    if disk.f_files > 0 && disk.f_favail < INODES_LOW {
        out.warning(
            "inodes",
            format!("only {} more files can be made on this disk", disk.f_favail),
            "each batch of clicks that waits is a file",
            "remove files that are not needed, or move the folder",
        );
    }
}

fn count(paths: &[&PathBuf]) -> String {
    match paths.len() {
        1 => "1 file".to_owned(),
        n => format!("{n} files"),
    }
}

/// The first few names.
fn names(paths: &[&PathBuf]) -> String {
    let all: BTreeSet<_> = paths
        .iter()
        .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .collect();
    let mut shown: Vec<_> = all.iter().take(NAMES_MAX).cloned().collect();
    if all.len() > NAMES_MAX {
        shown.push("...".to_owned());
    }
    shown.join(", ")
}
