//! Backups by themselves: every so many hours, and the newest few are kept.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use carom_control::admin::Addition;
use carom_shared::UnixMillis;
use carom_shared::exposition::Exposition;
use carom_shared::settings::InvalidSetting;
use serde::{Deserialize, Serialize};

use super::api::log;
use super::manifest::{cut_of, rfc3339};
use super::{BackupError, Backups, Made};
use crate::compose::chain;

/// How often the clock is looked at. It may be set, so nobody sleeps until a time.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// A backup may be named by so much after now; by more, a clock was wrong that named it.
const AHEAD_MAX: Duration = Duration::from_mins(1);
/// How long a failed backup is not tried again.
const RETRY_AFTER: Duration = Duration::from_mins(15);
const HOURS_MAX: u32 = 24 * 366;
const KEEP_MAX: u32 = 10_000;

/// `backup.*`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct BackupConfig {
    /// Folder into which backups are made by themselves, and by `carom backup` without `--to`;
    /// empty: none are. One for each installation: what is not kept is removed.
    pub(crate) dir: PathBuf,
    /// Hours from one backup to the next.
    pub(crate) every_hours: u32,
    /// How many backups are kept in the folder; older ones are removed once a new one is there.
    pub(crate) keep: u32,
    /// Whether clicks in ClickHouse are copied into them, as a file. Without it ClickHouse needs a backup of its
    /// own, made after each of these.
    pub(crate) clicks: bool,
}

impl Default for BackupConfig {
    fn default() -> Self {
        Self { dir: PathBuf::new(), every_hours: 24, keep: 7, clicks: false }
    }
}

impl BackupConfig {
    /// Checks what the types alone do not say.
    pub(crate) fn check(&self) -> Result<(), InvalidSetting> {
        for (setting, value, max) in [
            ("backup.every_hours", self.every_hours, HOURS_MAX),
            ("backup.keep", self.keep, KEEP_MAX),
        ] {
            if !(1..=max).contains(&value) {
                return Err(InvalidSetting::new(setting, format!("must be from 1 to {max}")));
            }
        }
        Ok(())
    }

    /// The folder, if there is one.
    pub(crate) fn dir(&self) -> Option<&Path> {
        Some(self.dir.as_path()).filter(|dir| !dir.as_os_str().is_empty())
    }
}

/// What is known of the backups of this installation.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// The cut of the newest good one, in milliseconds since 1970; 0: there is none.
    newest_ms: AtomicI64,
    /// Of the last one that was made by this process.
    bytes: AtomicU64,
    took_ms: AtomicU64,
    made: AtomicU64,
    failed: AtomicU64,
    /// Why the last one was not made.
    concern: Mutex<Option<String>>,
}

impl Kept {
    pub(super) fn note(&self, made: &Result<Made, BackupError>, now: UnixMillis) {
        let concern = match made {
            Ok(made) => {
                let file = Path::new(&made.file).file_name().and_then(|name| name.to_str());
                let cut_at = file.and_then(cut_of).unwrap_or(now);
                self.newest_ms.fetch_max(cut_at.get(), Ordering::Relaxed);
                self.bytes.store(made.bytes, Ordering::Relaxed);
                self.took_ms.store(made.took_ms, Ordering::Relaxed);
                self.made.fetch_add(1, Ordering::Relaxed);
                None
            }
            Err(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                Some(format!("the backup of {} failed: {}", rfc3339(now), chain(error)))
            }
        };
        *self.concern.lock().unwrap_or_else(PoisonError::into_inner) = concern;
    }
}

impl Addition for Backups {
    fn metrics(&self) -> String {
        let kept = &self.0.kept;
        let read = |value: &AtomicU64| value.load(Ordering::Relaxed);
        let mut out = Exposition::new();
        out.counter("carom_backups_total", "Backups that were made.").sample(&[], read(&kept.made));
        out.counter("carom_backup_failures_total", "Backups that could not be made.")
            .sample(&[], read(&kept.failed));
        out.gauge("carom_backup_bytes", "Size of the last backup of this process.")
            .sample(&[], read(&kept.bytes));
        out.gauge("carom_backup_duration_seconds", "What it took to make it.")
            .sample(&[], Duration::from_millis(read(&kept.took_ms)).as_secs_f64());
        let newest = kept.newest_ms.load(Ordering::Relaxed);
        // Without one there is no sample: no time is a lie, and an alert can ask for its absence.
        if newest > 0 {
            out.gauge(
                "carom_backup_last_success_timestamp_seconds", "Of when the newest backup is.",
            )
            .sample(&[], newest / 1000);
            let age = self.0.clock.now().get().saturating_sub(newest).max(0);
            out.gauge("carom_backup_age_seconds", "How old the newest backup is.")
                .sample(&[], age / 1000);
        }
        out.finish()
    }

    fn concern(&self) -> Option<String> {
        self.0.kept.concern.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Backups {
    /// The cut of the newest good backup that this process knows of.
    pub(crate) fn newest(&self) -> Option<UnixMillis> {
        let newest_ms = self.0.kept.newest_ms.load(Ordering::Relaxed);
        Some(UnixMillis::new(newest_ms)).filter(|_| newest_ms > 0)
    }

    /// Makes backups in time, until the program stops. A failed one is told and tried again.
    pub(crate) async fn keep(self, config: BackupConfig) {
        let Some(dir) = config.dir().and_then(|dir| std::path::absolute(dir).ok()) else { return };
        let mut tried_at = None;
        loop {
            let now = self.0.clock.now();
            // Where it cannot be listed nothing can be put either, and that is told.
            let known = self.newest().filter(|&cut_at| is_past(cut_at, now));
            let newest = newest_backup(&dir, now).max(known).unwrap_or_default();
            self.0.kept.newest_ms.store(newest.get(), Ordering::Relaxed);
            if is_due(now, newest, tried_at, config.every_hours) {
                tried_at = Some(now);
                self.make_and_rotate(&dir, config.keep).await;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.0.stop.cancelled() => return,
            }
        }
    }

    async fn make_and_rotate(&self, dir: &Path, keep: u32) {
        let made = self.make(dir, false).await;
        match made {
            // Somebody makes one just now; the program stops.
            Err(BackupError::Busy | BackupError::Stopping) => return,
            ref made => {
                log(made);
                self.0.kept.note(made, self.0.clock.now());
            }
        }
        if made.is_ok()
            && let Err(error) = rotate(dir, keep, self.0.clock.now())
        {
            tracing::error!(path = %dir.display(), %error, "old backups cannot be removed");
        }
    }
}

/// Whether a backup is of a time that has been. Others are of a clock that was wrong: they say nothing of when
/// the next one is due, nor how old the newest is.
fn is_past(cut_at: UnixMillis, now: UnixMillis) -> bool {
    cut_at <= now.saturating_add(AHEAD_MAX)
}

/// Whether it is time. A last try in the future is of a clock that was wrong.
fn is_due(
    now: UnixMillis,
    newest: UnixMillis,
    tried: Option<UnixMillis>,
    every_hours: u32,
) -> bool {
    let passed = |since: UnixMillis, wait: Duration| since.saturating_add(wait) <= now;
    let every = Duration::from_secs(u64::from(every_hours) * 3600);
    passed(newest, every) && tried.is_none_or(|tried| tried > now || passed(tried, RETRY_AFTER))
}

/// The cut of the newest backup in a folder, if there is one that can be seen; not of one that a clock
/// named which was ahead.
pub(crate) fn newest_backup(dir: &Path, now: UnixMillis) -> Option<UnixMillis> {
    let cuts = list(dir).ok()?.into_iter().map(|(cut_at, _)| cut_at);
    cuts.filter(|&cut_at| is_past(cut_at, now)).max()
}

/// The backups in a folder, oldest first; nothing else.
fn list(dir: &Path) -> io::Result<Vec<(UnixMillis, PathBuf)>> {
    let mut backups = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let cut_at = entry.file_name().to_str().and_then(cut_of);
        if let Some(cut_at) = cut_at
            && entry.file_type()?.is_file()
        {
            backups.push((cut_at, entry.path()));
        }
    }
    backups.sort();
    Ok(backups)
}

/// Removes all but the newest. Those of the future stay until they are of the past: they take the place of
/// no other.
fn rotate(dir: &Path, keep: u32, now: UnixMillis) -> io::Result<()> {
    let mut backups = list(dir)?;
    backups.retain(|&(cut_at, _)| is_past(cut_at, now));
    let too_many = backups.len().saturating_sub(keep as usize);
    for (_, path) in backups.into_iter().take(too_many) {
        fs::remove_file(&path)?;
        tracing::info!(path = %path.display(), "an old backup is removed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::manifest::file_name;

    #[test]
    fn only_old_backups_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |n: i64| UnixMillis::new(1_795_374_000_000 + n);
        let others = ["notes.txt", "carom-backup-20261122T190000.000Z.tar.zst.part"];
        for n in 0..5 {
            fs::write(dir.path().join(file_name(at(n))), "").unwrap();
        }
        for other in others {
            fs::write(dir.path().join(other), "").unwrap();
        }
        rotate(dir.path(), 3, at(4)).unwrap();
        let left: Vec<_> = list(dir.path()).unwrap().into_iter().map(|(at, _)| at).collect();
        assert_eq!(left, [at(2), at(3), at(4)]);
        assert!(others.iter().all(|other| dir.path().join(other).exists()));
    }

    #[test]
    fn backups_of_a_clock_that_was_ahead_take_no_place() {
        let dir = tempfile::tempdir().unwrap();
        let hour = |n: i64| UnixMillis::new(1_795_374_000_000 + n * 3_600_000);
        for n in [0, 1, 2, 3, 700, 701] {
            fs::write(dir.path().join(file_name(hour(n))), "").unwrap();
        }
        rotate(dir.path(), 3, hour(3)).unwrap();
        let left: Vec<_> = list(dir.path()).unwrap().into_iter().map(|(at, _)| at).collect();
        assert_eq!(left, [1, 2, 3, 700, 701].map(hour));
        rotate(dir.path(), 3, hour(702)).unwrap();
        let left: Vec<_> = list(dir.path()).unwrap().into_iter().map(|(at, _)| at).collect();
        assert_eq!(left, [3, 700, 701].map(hour));
    }

    #[test]
    fn a_backup_is_due_after_its_hours_and_tried_again_after_a_while() {
        let hour = |n: i64| UnixMillis::new(1_795_374_000_000 + n * 3_600_000);
        let none = UnixMillis::new(0);
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(file_name(hour(0))), "").unwrap();
        // Of a clock that was ahead.
        fs::write(dir.path().join(file_name(hour(700))), "").unwrap();
        assert_eq!(newest_backup(dir.path(), hour(5)), Some(hour(0)));
        assert_eq!(newest_backup(dir.path(), hour(701)), Some(hour(700)));
        for (now, newest, tried, due) in [
            (hour(0), none, None, true),
            (hour(23), hour(0), None, false),
            (hour(24), hour(0), None, true),
            (hour(24), hour(0), Some(hour(24)), false),
            (hour(25), hour(0), Some(hour(24)), true),
            // The clock was ahead.
            (hour(0), hour(9), None, false),
            (hour(0), none, Some(hour(9)), true),
        ] {
            assert_eq!(is_due(now, newest, tried, 24), due, "{now:?} {newest:?} {tried:?}");
        }
    }
}
