//! A folder that one process has to itself.

use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Makes a folder with access for its owner alone, and takes it; `None` if another process has it.
///
/// It is taken for as long as the file is open: the kernel lets go of it when the process ends,
/// however it ends.
///
/// # Errors
/// If the folder cannot be made or its lock not be opened.
pub fn lock_folder(path: &Path) -> io::Result<Option<File>> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let mut options = File::options();
    let lock = options.write(true).create(true).truncate(false).open(path.join("lock"))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_owner_at_a_time() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("a/b");
        let held = lock_folder(&folder).unwrap();
        assert!(held.is_some());
        assert!(lock_folder(&folder).unwrap().is_none());
        drop(held);
        assert!(lock_folder(&folder).unwrap().is_some());
    }
}
