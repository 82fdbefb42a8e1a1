//! The data folder: made private, and used by one process at a time.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::error::ProgramError;

/// How long a command may have the folder while a start waits for it.
const PATIENCE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(50);

/// The data folder, locked as long as this lives.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Takes the folder, made with access for its owner alone if it is not there; `None` if
    /// another process has it.
    ///
    /// # Errors
    /// [`ProgramError::Folder`] if it cannot be made or locked, [`ProgramError::HalfRestored`] if a
    /// restore into it did not end.
    pub fn try_lock(path: &Path) -> Result<Option<Self>, ProgramError> {
        let failed = |source| ProgramError::Folder { path: path.to_owned(), source };
        let Some(lock) = carom_process::lock_folder(path).map_err(failed)? else {
            return Ok(None);
        };
        if Self::restoring_path(path).exists() {
            return Err(ProgramError::HalfRestored(path.to_owned()));
        }
        Ok(Some(Self { path: path.to_owned(), _lock: lock }))
    }

    /// Takes the folder; waits a moment for a command that has it.
    ///
    /// # Errors
    /// As [`Folder::try_lock`], and [`ProgramError::Locked`] if another process keeps it.
    pub async fn lock(path: &Path) -> Result<Self, ProgramError> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            match Self::try_lock(path)? {
                Some(folder) => return Ok(folder),
                None if Instant::now() > give_up => {
                    return Err(ProgramError::Locked(path.to_owned()));
                }
                None => tokio::time::sleep(POLL).await,
            }
        }
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the process that serves the folder takes commands.
    #[must_use]
    pub fn socket_path(folder: &Path) -> PathBuf {
        folder.join("control.sock")
    }

    /// Where a restore works; as long as it is there, the rest of the folder may be half of one.
    #[must_use]
    pub fn restoring_path(folder: &Path) -> PathBuf {
        folder.join("restore.tmp")
    }
}
