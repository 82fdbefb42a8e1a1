//! What happens before a start changes the databases of an older version: they are copied aside.
//!
//! A newer version's are refused first, before anything is changed. The copies are whole databases
//! of one moment, on disk before the first change; a folder of them is there whole or not at all.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use carom_control::OpenError;
use carom_control::check::{CheckError, StoreFile, Stores};
use carom_shared::Clock;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::CommandError;
use crate::settings::Settings;

const BEFORE: &str = "before-upgrade-";
/// Where copies are made that are not whole yet.
const UNFINISHED: &str = "before-upgrade.tmp";
const TIME: &str = "%Y%m%dT%H%M%SZ";
/// Copies of so many upgrades are kept.
const KEEP: usize = 2;

/// `upgrade.*`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct UpgradeConfig {
    /// Whether databases of an older version are copied aside before they are changed.
    pub(crate) backup: bool,
}

impl Default for UpgradeConfig {
    fn default() -> Self {
        Self { backup: true }
    }
}

/// Why databases of an older version were not copied; they are as they were.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot copy the databases into {} before they are upgraded; nothing was changed. Make room \
     there (the copy is as large as they are), or, with a backup of your own, start once with \
     --set upgrade.backup=false",
    .path.display()
)]
pub(crate) struct CopyAsideError {
    path: PathBuf,
    source: Cause,
}

/// The store or the file system.
type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Refuses databases of a newer version, and copies those of an older one aside. The caller holds
/// the data folder's lock, and opens the stores next.
pub(crate) async fn prepare(settings: &Settings, clock: &dyn Clock) -> Result<(), CommandError> {
    let stores = settings.control_config().stores()?;
    let mut found = Vec::new();
    for file in stores.files() {
        let version = file.version().await.map_err(refused)?;
        found.extend(version.map(|version| (file, version)));
    }
    if found.iter().all(|(file, version)| *version == file.known()) {
        return Ok(());
    }
    if !settings.upgrade.backup {
        tracing::warn!("databases are upgraded without a copy (upgrade.backup = false)");
        return Ok(());
    }
    let dir = settings.data_dir.join(name(&stores, &found, clock));
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| CommandError::CopyAside(CopyAsideError { path, source })
    };
    tracing::info!(path = %dir.display(), "copying the databases before they are upgraded");
    copy(&settings.data_dir, &dir, &found).await.map_err(failed(&dir))?;
    tracing::info!(path = %dir.display(), "databases copied; upgrading them now");
    if let Err(error) = rotate(&settings.data_dir) {
        tracing::warn!(%error, "copies of earlier upgrades cannot be removed");
    }
    Ok(())
}

fn refused(error: CheckError) -> CommandError {
    match error {
        CheckError::Open(error) => CommandError::Open(OpenError::Database(error)),
        error => CommandError::Store(error),
    }
}

/// Such as `before-upgrade-12-6-20261122T190000Z`: the schemas of links and clicks, and the time.
fn name(stores: &Stores, found: &[(&StoreFile, i64)], clock: &dyn Clock) -> String {
    let mut name = BEFORE.to_owned();
    for file in stores.links.iter().chain([&stores.clicks]) {
        let version = found.iter().find(|(of, _)| of.name == file.name);
        name.push_str(&format!("{}-", version.map_or(0, |(_, version)| *version)));
    }
    let now = Timestamp::from_millisecond(clock.now().get()).unwrap_or_default();
    name + &now.strftime(TIME).to_string()
}

async fn copy(data_dir: &Path, dir: &Path, found: &[(&StoreFile, i64)]) -> Result<(), Cause> {
    let unfinished = data_dir.join(UNFINISHED);
    remove(&unfinished)?;
    DirBuilder::new().mode(0o700).create(&unfinished)?;
    let copied = async {
        for (file, _) in found {
            file.copy_to(&unfinished.join(file.name)).await?;
        }
        let sync = |dir: &Path| File::open(dir)?.sync_all();
        sync(&unfinished)?;
        fs::rename(&unfinished, dir)?;
        sync(data_dir)?;
        Ok(())
    };
    let copied = copied.await;
    if copied.is_err() {
        // Its room may be what the next try needs.
        drop(remove(&unfinished));
    }
    copied
}

fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Removes all copies but those of the last upgrades.
fn rotate(data_dir: &Path) -> io::Result<()> {
    let mut copies = Vec::new();
    for entry in fs::read_dir(data_dir)? {
        let entry = entry?;
        copies.extend(entry.file_name().to_str().and_then(time_of).map(|at| (at, entry.path())));
    }
    copies.sort();
    let too_many = copies.len().saturating_sub(KEEP);
    for (_, path) in copies.into_iter().take(too_many) {
        fs::remove_dir_all(&path)?;
        tracing::info!(path = %path.display(), "the copy of an earlier upgrade is removed");
    }
    Ok(())
}

/// When a folder was made, if its name says that it holds copies.
fn time_of(name: &str) -> Option<String> {
    let (schemas, time) = name.strip_prefix(BEFORE)?.rsplit_once('-')?;
    let are_numbers = schemas.split('-').all(|part| part.parse::<u32>().is_ok());
    let is_time = jiff::civil::DateTime::strptime(TIME, time).is_ok();
    (are_numbers && is_time).then(|| time.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_copies_of_earlier_upgrades_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let copies = [
            "before-upgrade-9-6-20261122T190000Z", "before-upgrade-10-6-20261122T190001Z",
            "before-upgrade-3-20261122T190002Z",
        ];
        let others = ["before-upgrade-mine", "before-upgrade-1-2-2026", "spool"];
        for name in copies.iter().chain(&others) {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        rotate(dir.path()).unwrap();
        assert!(!dir.path().join(copies[0]).exists());
        for name in copies[1..].iter().chain(&others) {
            assert!(dir.path().join(name).exists(), "{name}");
        }
    }
}
