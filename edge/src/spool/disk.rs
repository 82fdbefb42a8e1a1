//! The spool's calls to the file system, in one place, so that a test can let any of them fail.
//!
//! Every call that writes goes through [`step`] first. In a build that is not a test `step` is
//! nothing at all; in a test it counts the calls of its thread and fails the one it was told to
//! (`fault`), or that one and all after it, which is what a killed process leaves behind.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// For its owner alone, whatever the folder allows: the spool holds addresses.
const MODE: u32 = 0o600;

#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "in tests it fails")]
pub(super) const fn step(_call: &'static str) -> io::Result<()> {
    Ok(())
}

/// Makes an empty file, in place of one that is there.
pub(super) fn create(path: &Path) -> io::Result<File> {
    step("create")?;
    File::options().write(true).create(true).truncate(true).mode(MODE).open(path)
}

/// Makes a file that is not there yet, to be mapped.
pub(super) fn create_new(path: &Path) -> io::Result<File> {
    step("create")?;
    File::options().read(true).write(true).create_new(true).mode(MODE).open(path)
}

pub(super) fn write_all(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    step("write").inspect_err(|_| {
        // A write that fails has mostly written something.
        drop(file.write_all(&bytes[..bytes.len() / 2]));
    })?;
    file.write_all(bytes)
}

pub(super) fn sync(file: &File) -> io::Result<()> {
    step("fdatasync")?;
    file.sync_data()
}

pub(super) fn sync_folder(folder: &File) -> io::Result<()> {
    step("fsync")?;
    folder.sync_all()
}

pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    step("rename")?;
    fs::rename(from, to)
}

/// Gives a file a second name.
pub(super) fn link(from: &Path, to: &Path) -> io::Result<()> {
    step("link")?;
    fs::hard_link(from, to)
}

/// Copies a file; the copy is not on the disk yet.
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    step("copy")?;
    let (mut from, mut to) = (File::open(from)?, create_new(to)?);
    io::copy(&mut from, &mut to).map(drop)
}

pub(super) fn remove(path: &Path) -> io::Result<()> {
    step("unlink")?;
    fs::remove_file(path)
}

/// Removes a file that may be gone already.
pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Puts a file in its place so that, whenever the machine stops, either the old one is there or
/// all of the new one. A failed sync is not tried again on the same file: the kernel reports it
/// once, and a second sync would succeed without the bytes being on disk.
pub(super) fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let written = (|| {
        let file = create(&temporary)?;
        write_all(&file, bytes)?;
        sync(&file)?;
        rename(&temporary, path)
    })();
    if let Err(error) = written {
        // Half a file is nothing; its room may be what the next try needs.
        drop(fs::remove_file(&temporary));
        return Err(error);
    }
    match path.parent() {
        Some(folder) => sync_folder(&File::open(folder)?),
        None => Ok(()),
    }
}

#[cfg(test)]
pub(super) use fault::step;

#[cfg(test)]
pub(super) mod fault {
    //! What a test lets fail.

    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::fs::File;
    use std::io;
    use std::os::unix::fs::FileExt;
    use std::path::{Path, PathBuf};

    use rustix::io::Errno;

    #[derive(Default)]
    struct Plan {
        /// Calls until the one that fails.
        left: usize,
        errno: Option<Errno>,
        /// Everything after it fails as well.
        is_last: bool,
        failed: Vec<&'static str>,
    }

    thread_local! {
        static PLAN: RefCell<Plan> = RefCell::default();
        static SHADOW: RefCell<Option<Shadow>> = const { RefCell::new(None) };
    }

    /// What of each mapped file was put on the disk.
    type Shadow = BTreeMap<PathBuf, Vec<u8>>;

    /// Begins or ends to keep what this thread syncs; returns what was kept.
    pub(in crate::spool) fn shadow(on: bool) -> Shadow {
        SHADOW.replace(on.then(Shadow::new)).unwrap_or_default()
    }

    /// Bytes of a mapped file were put on the disk.
    pub(in crate::spool) fn synced(path: &Path, from: usize, to: usize) {
        SHADOW.with_borrow_mut(|shadow| {
            let Some(shadow) = shadow else { return };
            let file = File::open(path).unwrap();
            let len = usize::try_from(file.metadata().unwrap().len()).unwrap();
            let kept = shadow.entry(path.to_owned()).or_insert_with(|| vec![0; len]);
            // Whole pages.
            let to = to.next_multiple_of(4096).min(len);
            file.read_exact_at(&mut kept[from..to], from as u64).unwrap();
        });
    }

    pub(in crate::spool) fn step(call: &'static str) -> io::Result<()> {
        PLAN.with_borrow_mut(|plan| {
            let Some(errno) = plan.errno else { return Ok(()) };
            if plan.left > 0 {
                plan.left -= 1;
                return Ok(());
            }
            plan.failed.push(call);
            if !plan.is_last {
                plan.errno = None;
            }
            Err(errno.into())
        })
    }

    fn run<T>(plan: Plan, act: impl FnOnce() -> T) -> (T, Vec<&'static str>) {
        PLAN.set(plan);
        let done = act();
        (done, PLAN.take().failed)
    }

    /// Lets call number `n`, from 0, fail; returns what failed, nothing if there were fewer calls.
    pub(in crate::spool) fn nth<T>(
        n: usize,
        errno: Errno,
        act: impl FnOnce() -> T,
    ) -> (T, Vec<&'static str>) {
        run(Plan { left: n, errno: Some(errno), is_last: false, failed: Vec::new() }, act)
    }

    /// Lets everything from call number `n` on fail: the process is dead.
    pub(in crate::spool) fn dies_at<T>(
        n: usize,
        act: impl FnOnce() -> T,
    ) -> (T, Vec<&'static str>) {
        run(Plan { left: n, errno: Some(Errno::IO), is_last: true, failed: Vec::new() }, act)
    }
}
