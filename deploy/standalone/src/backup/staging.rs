//! A folder for what is not finished, inside the folder where it will be.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use carom_shared::Random;

const BEFORE: &str = ".carom-";
const AFTER: &str = ".tmp";
const LOCK: &str = "lock";

/// A folder with access for its owner alone; it ends with this. That of a process that was killed
/// is swept by the next one, which sees by its lock that nobody has it.
#[derive(Debug)]
pub(super) struct Staging {
    dir: PathBuf,
    _lock: File,
}

impl Staging {
    /// Makes one in `parent`, which is made if it is not there.
    pub(super) fn create(parent: &Path, random: &dyn Random) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        sweep(parent)?;
        let mut name = [0; 8];
        random.fill(&mut name);
        let dir = parent.join(format!("{BEFORE}{:016x}{AFTER}", u64::from_le_bytes(name)));
        DirBuilder::new().mode(0o700).create(&dir)?;
        let lock = File::options().write(true).create_new(true).mode(0o600).open(dir.join(LOCK));
        let locked = lock.and_then(|lock| {
            lock.try_lock()?;
            Ok(lock)
        });
        match locked {
            Ok(lock) => Ok(Self { dir, _lock: lock }),
            Err(error) => {
                drop(fs::remove_dir_all(&dir));
                Err(error)
            }
        }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            tracing::warn!(path = %self.dir.display(), %error, "a temporary folder is left");
        }
    }
}

/// Removes the folders of processes that are gone. One whose lock is not there yet is being made.
fn sweep(parent: &Path) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_staging =
            name.to_str().is_some_and(|name| name.starts_with(BEFORE) && name.ends_with(AFTER));
        let lock = entry.path().join(LOCK);
        if is_staging
            && let Ok(lock) = File::open(lock)
            && lock.try_lock().is_ok()
        {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use carom_shared::SystemRandom;

    use super::*;

    #[test]
    fn what_is_left_is_swept_and_what_is_used_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let used = Staging::create(parent.path(), &SystemRandom).unwrap();
        let left = parent.path().join(".carom-0000000000000001.tmp");
        fs::create_dir(&left).unwrap();
        fs::write(left.join("lock"), "").unwrap();
        let other = parent.path().join(".carom.tmp.mine");
        fs::create_dir(&other).unwrap();
        let next = Staging::create(parent.path(), &SystemRandom).unwrap();
        assert!(used.dir().exists() && next.dir().exists() && other.exists());
        assert!(!left.exists());
        let at = next.dir().to_owned();
        drop(next);
        assert!(!at.exists());
    }
}
