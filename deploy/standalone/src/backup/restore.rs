//! A backup becomes an installation again, or is checked as if it did.
//!
//! Everything is unpacked and checked in a folder of its own inside the new data folder, and moved
//! to its place when it is whole. A data folder in which that folder is left is not served.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use carom_control::Config;
use carom_control::backup::{CLICKS_FILE, LINKS_FILE, Restoring};
use carom_control::{StoreError, Stored, Totals};
use carom_edge::spool::snapshot::{BatchFileError, batches, read_batch};
use carom_shared::{Clock, Random};
use serde::Serialize;

use super::manifest::{Manifest, OUTBOX, OutboxCopied, QUARANTINE};
use super::staging::Staging;
use super::{BadBackup, file};
use crate::compose::chain;
use crate::data_dir::DataDir;

/// What a data folder may hold and be empty all the same.
const IGNORED: &[&str] = &["lock", "lost+found"];

/// What a restore has made.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Restored {
    pub(crate) data_dir: String,
    pub(crate) cut_at: String,
    pub(crate) links: u64,
    /// Where the clicks are, if they are not in the folder; without a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) clicks_at: Option<String>,
    /// All clicks, those included that waited in the outbox.
    pub(crate) totals: Totals,
    /// Of the batches that waited: those that the store did not have, and those that it had.
    pub(crate) batches_stored: u64,
    pub(crate) batches_known: u64,
}

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestoreError {
    #[error(
        "{} is not empty; name a folder that is empty or not there, with --data-dir",
        .0.display()
    )]
    NotEmpty(PathBuf),
    #[error(transparent)]
    Bad(#[from] BadBackup),
    #[error("cannot restore into {}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("cannot store the clicks that waited")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Batch(#[from] BatchFileError),
    #[error("{0}")]
    Folder(String),
}

/// Unpacks a backup and checks what is in it against what it says.
async fn unpack(backup: &Path, dir: &Path) -> Result<(Manifest, Restoring), BadBackup> {
    let (from, to) = (backup.to_owned(), dir.to_owned());
    let (manifest, outbox) = tokio::task::spawn_blocking(move || {
        let manifest = file::unpack(&from, &to)?;
        match OutboxCopied::of(&to.join(OUTBOX)) {
            Ok(outbox) => Ok((manifest, outbox)),
            Err(error) => Err(BadBackup::Damaged { path: from, what: chain(&error) }),
        }
    })
    .await
    .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
    let bad = |source| BadBackup::Store { path: backup.to_owned(), source };
    let stores = Restoring::open(dir, manifest.elsewhere.clone()).await.map_err(bad)?;
    let found = stores.copied().clone();
    let is_as_said = found.links == manifest.links
        && found.clicks == manifest.clicks
        && outbox == manifest.outbox;
    if !is_as_said {
        stores.close().await;
        let what = format!(
            "it says {:?}, {:?}, {:?}, and holds {:?}, {:?}, {outbox:?}",
            manifest.links, manifest.clicks, manifest.outbox, found.links, found.clicks
        );
        return Err(BadBackup::Damaged { path: backup.to_owned(), what });
    }
    Ok((manifest, stores))
}

/// Checks a backup in all that a restore would need; `temporary` takes the unpacked copy meanwhile.
pub(super) async fn check(
    backup: &Path,
    temporary: &Path,
    random: &dyn Random,
) -> Result<Manifest, BadBackup> {
    // First: a file that is not there makes no folder.
    let unreadable = |source| BadBackup::Unreadable { path: backup.to_owned(), source };
    File::open(backup).map_err(unreadable)?;
    let staging = Staging::create(temporary, random)
        .map_err(|source| BadBackup::Unpack { path: temporary.to_owned(), source })?;
    let (manifest, stores) = unpack(backup, staging.dir()).await?;
    stores.close().await;
    Ok(manifest)
}

/// Restores a backup into a data folder that is empty or not there. `config` says where clicks are that are
/// not in it.
pub(crate) async fn restore(
    backup: &Path,
    config: &Config,
    clock: &dyn Clock,
) -> Result<Restored, RestoreError> {
    let data_dir = config.data_dir.as_path();
    let failed = |source| RestoreError::Io { path: data_dir.to_owned(), source };
    let unreadable = |source| BadBackup::Unreadable { path: backup.to_owned(), source };
    File::open(backup).map_err(unreadable)?;
    if !is_empty(data_dir).map_err(failed)? {
        return Err(RestoreError::NotEmpty(data_dir.to_owned()));
    }
    let was_there = data_dir.exists();
    let locked = DataDir::try_lock(data_dir);
    let locked = locked.map_err(|error| RestoreError::Folder(chain(&error)))?;
    let Some(_locked) = locked else {
        return Err(RestoreError::NotEmpty(data_dir.to_owned()));
    };
    let staging = DataDir::restoring_path(data_dir);
    DirBuilder::new().mode(0o700).create(&staging).map_err(failed)?;
    let restored = restore_in(backup, config, &staging, clock).await;
    if restored.is_err() {
        // One of them could not be moved after others were.
        drop(fs::remove_dir_all(data_dir.join("spool")));
        for name in [CLICKS_FILE, LINKS_FILE] {
            drop(fs::remove_file(data_dir.join(name)));
        }
    }
    // Until this is gone nobody serves what was moved.
    let swept = fs::remove_dir_all(&staging).map_err(failed);
    match restored {
        Ok(restored) => {
            swept?;
            File::open(data_dir).and_then(|folder| folder.sync_all()).map_err(failed)?;
            Ok(restored)
        }
        Err(error) => {
            // As it was before; errors of this would hide the one that matters.
            drop(fs::remove_file(data_dir.join("lock")));
            if !was_there {
                drop(fs::remove_dir(data_dir));
            }
            Err(error)
        }
    }
}

async fn restore_in(
    backup: &Path,
    config: &Config,
    staging: &Path,
    clock: &dyn Clock,
) -> Result<Restored, RestoreError> {
    let data_dir = config.data_dir.as_path();
    let (manifest, mut stores) = unpack(backup, staging).await?;
    let joined = stores.join(config).await;
    let done = match joined {
        Ok(()) => finish(&manifest, &stores, staging, clock).await,
        Err(source) => Err(BadBackup::Join { path: backup.to_owned(), source }.into()),
    };
    let clicks_at = stores.clicks_at();
    stores.close().await;
    let Waited { stored: batches_stored, known: batches_known, totals } = done?;
    let failed = |source| RestoreError::Io { path: data_dir.to_owned(), source };
    for folder in [QUARANTINE, "spool"] {
        let folder = File::open(staging.join(folder));
        folder.and_then(|folder| folder.sync_all()).map_err(failed)?;
    }
    // Without an identity: the first start gives the spool a name of its own.
    let clicks = manifest.clicks.map(|_| CLICKS_FILE);
    for name in ["spool"].into_iter().chain(clicks).chain([LINKS_FILE]) {
        fs::rename(staging.join(name), data_dir.join(name)).map_err(failed)?;
    }
    File::open(data_dir).and_then(|folder| folder.sync_all()).map_err(failed)?;
    Ok(Restored {
        data_dir: data_dir.display().to_string(),
        cut_at: manifest.cut_at,
        links: manifest.links.links,
        clicks_at,
        totals,
        batches_stored,
        batches_known,
    })
}

/// What became of the batches that waited.
struct Waited {
    stored: u64,
    known: u64,
    totals: Totals,
}

/// Stores the batches that waited. The next start would, but not if the backup is older than the
/// ledger's memory; and it would not know that these may be stored already.
async fn finish(
    manifest: &Manifest,
    stores: &Restoring,
    dir: &Path,
    clock: &dyn Clock,
) -> Result<Waited, RestoreError> {
    let outbox = dir.join(OUTBOX);
    let failed = |source| RestoreError::Io { path: outbox.clone(), source };
    let (mut stored, mut known) = (0, 0);
    for token in batches(&outbox)? {
        let batch = read_batch(&outbox, &token)?;
        match stores.store(&token, &batch, manifest.cut_at_ms).await? {
            Stored::New { .. } => stored += 1,
            Stored::Duplicate => known += 1,
            Stored::TooOld => {
                // As the shipper would have done.
                let name = format!("{token}.clk");
                let aside = dir.join(QUARANTINE).join(&name);
                fs::rename(outbox.join(name), aside).map_err(failed)?;
            }
        }
    }
    fs::remove_dir_all(&outbox).map_err(failed)?;
    stores.begin_anew(clock).await?;
    Ok(Waited { stored, known, totals: stores.totals().await? })
}

fn is_empty(dir: &Path) -> io::Result<bool> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let name = entry?.file_name();
        if !IGNORED.iter().any(|ignored| name == *ignored) {
            return Ok(false);
        }
    }
    Ok(true)
}
