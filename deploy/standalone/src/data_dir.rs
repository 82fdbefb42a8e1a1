//! The data folder: made private, and used by one process at a time.

use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::CommandError;

/// How long a command may have the folder while a start waits for it.
const PATIENCE: Duration = Duration::from_secs(2);

/// The data folder, locked as long as this lives. The kernel lets go of the lock when the process
/// ends, however it ends.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Takes the folder, made with access for its owner alone if it is not there; `None` if
    /// another process has it.
    pub(crate) fn try_lock(path: &Path) -> Result<Option<Self>, CommandError> {
        let failed = |source| CommandError::DataDir { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let lock = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join("lock"))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) if Self::restoring_path(path).exists() => {
                Err(CommandError::HalfRestored(path.to_owned()))
            }
            Ok(()) => Ok(Some(Self { path: path.to_owned(), _lock: lock })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// Takes the folder; waits a moment for a command that has it.
    pub(crate) async fn lock(path: &Path) -> Result<Self, CommandError> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            match Self::try_lock(path)? {
                Some(data_dir) => return Ok(data_dir),
                None if Instant::now() > give_up => {
                    return Err(CommandError::Locked(path.to_owned()));
                }
                None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Where the process that serves the folder takes commands.
    pub(crate) fn socket_path(data_dir: &Path) -> PathBuf {
        data_dir.join("control.sock")
    }

    /// Where a restore works; as long as it is there, the rest of the folder may be half of one.
    pub(crate) fn restoring_path(data_dir: &Path) -> PathBuf {
        data_dir.join("restore.tmp")
    }

    pub(crate) fn spool_path(data_dir: &Path) -> PathBuf {
        data_dir.join("spool")
    }

    /// What the edge knows of routes, for its next start. Nothing is lost with it.
    pub(crate) fn snapshot(&self) -> PathBuf {
        self.path.join("routes.snapshot")
    }

    /// Where clicks wait to be stored.
    pub(crate) fn spool(&self) -> PathBuf {
        Self::spool_path(&self.path)
    }
}
