//! The data folder, and who may be in it.
//!
//! ```text
//! DATA/lock                        held by the process that is in it
//! DATA/spool, bundle.json, routes.snapshot
//! DATA/second/                     the same once more, for a process that takes visitors over
//! ```
//!
//! Two processes share visitors only for the seconds of a hand-over, on inherited sockets; then the
//! one that comes is in the other folder, so that no file has two writers. It begins with what the
//! one that goes last wrote of domains and routes: a second name of the same files, which are never
//! changed but replaced. Without inherited sockets a second process is a mistake, and is told so.
//!
//! Whoever runs looks into the other folder from time to time, and ships what was left there
//! ([`carom_edge::spool::adopt`]), and removes what was kept there of salts.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use carom_edge::process::lock_folder;
use carom_edge::spool::adopt::{Adopter, TURN_MAX};
use tokio_util::sync::CancellationToken;

use super::error::ProgramError;

/// How long a start waits for one of the folders: longer than a stop takes, and than a turn of an
/// adopter.
const FREE_MAX: Duration = TURN_MAX.saturating_add(Duration::from_secs(5));
const FREE_POLL: Duration = Duration::from_millis(50);
/// How often the other folder is looked at. A restart in between is not disturbed.
const ADOPT_EVERY: Duration = Duration::from_secs(5);
/// What a start may take over of the other folder.
const KEPT: [&str; 2] = [BUNDLE, "routes.snapshot"];
/// It holds salts, which nobody keeps for longer than they are needed.
pub(super) const BUNDLE: &str = "bundle.json";

/// A folder of this process alone, as long as this lives.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) dir: PathBuf,
    /// Where another process may be.
    other: PathBuf,
    _lock: File,
}

impl Folder {
    /// Takes the data folder, or, `if_shared`, the second one in it: waits until one of them is free.
    pub(super) async fn take(data_dir: &Path, if_shared: bool) -> Result<Self, ProgramError> {
        let second = data_dir.join("second");
        let begun = Instant::now();
        loop {
            if let Some(lock) = lock(data_dir)? {
                let folder = Self { dir: data_dir.to_owned(), other: second, _lock: lock };
                folder.take_over();
                return Ok(folder);
            }
            if if_shared && let Some(lock) = lock(&second)? {
                let folder = Self { dir: second, other: data_dir.to_owned(), _lock: lock };
                folder.take_over();
                return Ok(folder);
            }
            if !if_shared || begun.elapsed() > FREE_MAX {
                return Err(ProgramError::Locked(data_dir.to_owned()));
            }
            tokio::time::sleep(FREE_POLL).await;
        }
    }

    /// Takes what the other folder knows better. Without it a start only takes longer.
    fn take_over(&self) {
        for name in KEPT {
            let (from, to) = (self.other.join(name), self.dir.join(name));
            if let Err(error) = link_newer(&from, &to) {
                tracing::warn!(path = %from.display(), %error, "what was known is not taken over");
            }
        }
    }

    pub(super) fn spool_of_other(&self) -> PathBuf {
        self.other.join("spool")
    }

    /// Ships what is left in the other folder whenever nobody is in it, until `stop`.
    pub(super) fn adopt(
        &self,
        mut adopter: Adopter,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + use<> {
        let (dir, other) = (self.dir.clone(), self.other.clone());
        async move {
            loop {
                if other.is_dir() && adopter.is_due() {
                    adopt(&other, &mut adopter, &stop).await;
                }
                if let Err(error) = forget_salts(&dir, &other) {
                    tracing::warn!(folder = %other.display(), %error, "salts of another process stay there");
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(ADOPT_EVERY) => {}
                }
            }
        }
    }
}

async fn adopt(folder: &Path, adopter: &mut Adopter, stop: &CancellationToken) {
    // Held until the end of the turn; who starts meanwhile waits.
    let Ok(Some(_lock)) = lock(folder) else { return };
    match adopter.turn(stop).await {
        Ok(adopted) => tracing::info!(
            folder = %folder.display(),
            clicks = adopted.recovered.clicks,
            batches = adopted.recovered.batches,
            left = adopted.left,
            "what another process left is taken over"
        ),
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "what another process left stays there");
        }
    }
}

/// Removes the bundle that a process left which has gone, once this one has as new a one: nobody else would,
/// and whoever reads it later could find out visitors of its days.
fn forget_salts(dir: &Path, other: &Path) -> io::Result<()> {
    let (ours, theirs) = (dir.join(BUNDLE), other.join(BUNDLE));
    if modified(&theirs)?.is_none() {
        return Ok(());
    }
    let Some(_lock) = lock_folder(other)? else { return Ok(()) };
    let ours = modified(&ours)?;
    match modified(&theirs)? {
        Some(at) if ours.is_some_and(|ours| ours >= at) => fs::remove_file(theirs),
        _ => Ok(()),
    }
}

/// Gives `from` a second name, in place of `to` if that is older.
fn link_newer(from: &Path, to: &Path) -> io::Result<()> {
    let Some(at) = modified(from)? else { return Ok(()) };
    if modified(to)?.is_some_and(|known| known >= at) {
        return Ok(());
    }
    let temporary = to.with_extension("taken");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::hard_link(from, &temporary)?;
    fs::rename(&temporary, to)
}

fn modified(path: &Path) -> io::Result<Option<SystemTime>> {
    match fs::metadata(path) {
        Ok(metadata) => metadata.modified().map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The lock of a folder; `None` if another process has it.
fn lock(path: &Path) -> Result<Option<File>, ProgramError> {
    lock_folder(path).map_err(|source| ProgramError::DataDir { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(data: &Path, if_shared: bool) -> Result<Folder, ProgramError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(Folder::take(data, if_shared))
    }

    #[test]
    fn who_comes_to_share_is_in_the_other_folder() {
        let data = tempfile::tempdir().unwrap();
        let first = take(data.path(), true).unwrap();
        assert_eq!(first.dir, data.path());
        fs::write(data.path().join("bundle.json"), "known").unwrap();
        assert!(matches!(take(data.path(), false), Err(ProgramError::Locked(_))));

        let second = take(data.path(), true).unwrap();
        assert_eq!(second.dir, data.path().join("second"));
        assert_eq!((&second.other, &first.other), (&first.dir, &second.dir));
        assert_eq!(fs::read_to_string(second.dir.join("bundle.json")).unwrap(), "known");

        // A third waits until one of them goes.
        let go = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            drop(first);
        });
        assert_eq!(take(data.path(), true).unwrap().dir, data.path());
        go.join().unwrap();
    }

    #[test]
    fn the_salts_of_one_that_has_gone_go_once_they_are_known_here() {
        let data = tempfile::tempdir().unwrap();
        let first = take(data.path(), true).unwrap();
        fs::write(first.dir.join(BUNDLE), "salts").unwrap();
        let second = take(data.path(), true).unwrap();
        forget_salts(&second.dir, &second.other).unwrap();
        assert!(first.dir.join(BUNDLE).exists(), "it is still there");
        drop(first);
        let hour = Duration::from_secs(3600);
        let ours = File::options().write(true).open(second.dir.join(BUNDLE)).unwrap();
        let at = ours.metadata().unwrap().modified().unwrap();
        fs::remove_file(second.other.join(BUNDLE)).unwrap();
        fs::write(second.other.join(BUNDLE), "newer").unwrap();
        ours.set_modified(at - hour).unwrap();
        forget_salts(&second.dir, &second.other).unwrap();
        assert!(second.other.join(BUNDLE).exists(), "it is newer than ours");
        ours.set_modified(at + hour).unwrap();
        forget_salts(&second.dir, &second.other).unwrap();
        assert!(!second.other.join(BUNDLE).exists());
        assert!(second.dir.join(BUNDLE).exists());
    }

    #[test]
    fn only_what_is_newer_is_taken_over() {
        let data = tempfile::tempdir().unwrap();
        let (from, to) = (data.path().join("from"), data.path().join("to"));
        link_newer(&from, &to).unwrap();
        assert!(!to.exists());
        fs::write(&to, "old").unwrap();
        let past = fs::metadata(&to).unwrap().modified().unwrap() - Duration::from_secs(60);
        File::options().write(true).open(&to).unwrap().set_modified(past).unwrap();
        fs::write(&from, "new").unwrap();
        link_newer(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "new");
        File::options().write(true).open(&from).unwrap().set_modified(past).unwrap();
        fs::remove_file(&to).unwrap();
        fs::write(&to, "newest").unwrap();
        link_newer(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "newest");
    }
}
