//! What tells one state of a file from another, so that it is read again when it has changed.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// Device, inode, length, and times of change in nanoseconds. The last one also changes with owner and
/// permissions, and nobody can set it: a file that can be read now is a new one, and so is a copy that
/// keeps the time of its original.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp {
    file: (u64, u64),
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(crate) fn of(file: &Metadata) -> Self {
        Self {
            file: (file.dev(), file.ino()),
            len: file.len(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}
