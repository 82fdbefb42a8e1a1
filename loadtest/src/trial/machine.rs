//! What makes faults: mounts, throttles, locks, and system calls that fail. Each takes itself back
//! when it is dropped. Most of it needs root, and says so.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::report::Impossible;
use crate::failure::Failure;

/// What a command has printed; without it, what it is needed for cannot be done here.
fn tool(program: &str, arguments: &[&str]) -> Result<String, Impossible> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| Impossible(format!("`{program}`: {error}")))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let arguments = arguments.join(" ");
        return Err(Impossible(format!("`{program} {arguments}`: {}", text.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A file system of its own, in a file, mounted on a folder.
pub(super) struct SmallDisk {
    folder: PathBuf,
    device: String,
}

impl SmallDisk {
    /// Makes an ext4 of `mib` in `image` and mounts it on `folder`, which is made.
    pub(super) fn mount(image: &Path, folder: &Path, mib: u64) -> Result<Self, Impossible> {
        let fail = |error: std::io::Error| Impossible(format!("{}: {error}", image.display()));
        let file = fs::File::create_new(image).map_err(fail)?;
        file.set_len(mib << 20).map_err(fail)?;
        fs::create_dir(folder).map_err(fail)?;
        let (image, at) = (image.to_string_lossy(), folder.to_string_lossy());
        // No blocks for root alone: the server of a trial is root, and full is to be full.
        tool("mkfs.ext4", &["-q", "-m", "0", "-E", "lazy_itable_init=0", &image])?;
        let device = tool("losetup", &["--find", "--show", &image])?.trim().to_owned();
        let disk = Self { folder: folder.to_owned(), device };
        tool("mount", &["-t", "ext4", &disk.device, &at])?;
        fs::remove_dir(folder.join("lost+found")).map_err(fail)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(fail)?;
        Ok(disk)
    }

    /// Writes until nothing fits any more; how much that was. May be called again, for what became
    /// free meanwhile.
    pub(super) fn fill(&self) -> u64 {
        let file = fs::File::options().create(true).append(true).open(self.filler());
        let Ok(mut file) = file else { return 0 };
        let mut written = 0;
        for size in [1 << 20, 1 << 12] {
            let block = vec![0xa5; size];
            while file.write_all(&block).is_ok() {
                written += size as u64;
            }
        }
        written
    }

    /// Gives back what [`SmallDisk::fill`] took.
    pub(super) fn free(&self) -> Result<(), Failure> {
        fs::remove_file(self.filler())
            .map_err(|error| Failure::new(format!("cannot free the disk: {error}")))
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }

    /// Number of the device, as the block controller wants it.
    fn number(&self) -> Result<String, Impossible> {
        let name = self.device.trim_start_matches("/dev/");
        let path = format!("/sys/block/{name}/dev");
        let number = fs::read_to_string(&path);
        let number = number.map_err(|error| Impossible(format!("{path}: {error}")))?;
        Ok(number.trim().to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Best effort; a folder that is still mounted is seen by whoever removes it.
        drop(tool("umount", &["--lazy", &self.folder.to_string_lossy()]));
        drop(tool("losetup", &["--detach", &self.device]));
    }
}

/// A disk that takes only so many bytes and writes a second.
pub(super) struct Throttle {
    limits: Vec<(PathBuf, String)>,
}

impl Throttle {
    /// Throttles for everybody: data that the kernel writes later is nobody's.
    pub(super) fn begin(disk: &SmallDisk, bytes: u64, writes: u64) -> Result<Self, Impossible> {
        let folder = Path::new("/sys/fs/cgroup/blkio");
        let number = disk.number()?;
        let mut throttle = Self { limits: Vec::new() };
        for (name, limit) in [("write_bps_device", bytes), ("write_iops_device", writes)] {
            let path = folder.join(format!("blkio.throttle.{name}"));
            fs::write(&path, format!("{number} {limit}")).map_err(|error| {
                Impossible(format!(
                    "{}: {error}; needed is version 1 of the block controller, as root",
                    path.display()
                ))
            })?;
            throttle.limits.push((path, number.clone()));
        }
        Ok(throttle)
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        for (path, number) in &self.limits {
            drop(fs::write(path, format!("{number} 0")));
        }
    }
}

/// A group of processes that may have only so much memory.
pub(super) struct MemoryLimit(PathBuf);

impl MemoryLimit {
    pub(super) fn make(bytes: u64) -> Result<Self, Impossible> {
        let path = PathBuf::from(format!("/sys/fs/cgroup/memory/carom-{}", std::process::id()));
        let fail = |error: std::io::Error| {
            Impossible(format!(
                "{}: {error}; needed is version 1 of the memory controller, as root",
                path.display()
            ))
        };
        fs::create_dir(&path).map_err(fail)?;
        fs::write(path.join("memory.limit_in_bytes"), bytes.to_string()).map_err(fail)?;
        Ok(Self(path.clone()))
    }

    /// What a process does to be in the group: a line for a shell.
    pub(super) fn enter(&self) -> String {
        format!("echo $$ > '{}'", self.0.join("cgroup.procs").display())
    }

    /// How often memory ran short.
    pub(super) fn shortages(&self) -> u64 {
        let count = fs::read_to_string(self.0.join("memory.failcnt")).unwrap_or_default();
        count.trim().parse().unwrap_or(0)
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        drop(fs::remove_dir(&self.0));
    }
}

/// Where a trial puts a small file of its own that no data folder should hold.
pub(super) const SCRATCH: &str = "/tmp";

/// A program that prepares something and then becomes `carom`, so that it has its process id.
pub(super) struct Wrapper(PathBuf);

impl Wrapper {
    pub(super) fn make(carom: &Path, name: &str, prepare: &str) -> Result<Self, Failure> {
        let path = Path::new(SCRATCH).join(format!("carom-{name}-{}", std::process::id()));
        let fail = |error: std::io::Error| Failure::new(format!("{}: {error}", path.display()));
        let carom = fs::canonicalize(carom).map_err(fail)?;
        let text = format!("#!/bin/sh\n{prepare}\nexec '{}' \"$@\"\n", carom.display());
        fs::write(&path, text).map_err(fail)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).map_err(fail)?;
        Ok(Self(path.clone()))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Wrapper {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

/// Holds the write lock of a SQLite database, as another program might.
pub(super) struct DatabaseLock(Child);

/// Says `held` once it has the lock.
const HOLD: &str = "import sqlite3, sys, time\n\
    database = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)\n\
    database.execute('begin immediate')\n\
    print('held', flush=True)\n\
    sys.stdin.read()\n";

impl DatabaseLock {
    pub(super) fn take(database: &Path) -> Result<Self, Failure> {
        let child = Command::new("python3")
            .args(["-c", HOLD])
            .arg(database)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let child = child.map_err(|error| Failure::new(format!("cannot run python3: {error}")))?;
        let mut lock = Self(child);
        let mut word = [0; 4];
        let out = lock.0.stdout.as_mut();
        match out.map(|out| out.read_exact(&mut word)) {
            Some(Ok(())) if &word == b"held" => Ok(lock),
            _ => Err(Failure::new("the lock of the click database cannot be had")),
        }
    }
}

impl Drop for DatabaseLock {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Lets system calls of a process fail, all of them from now on.
pub(super) struct FailingCalls {
    strace: Child,
    log: PathBuf,
}

impl FailingCalls {
    pub(super) fn begin(
        pid: u32,
        calls: &str,
        error: &str,
        log: &Path,
    ) -> Result<Self, Impossible> {
        tool("strace", &["--version"])?;
        let strace = Command::new("strace")
            .args(["-f", "-q", "-p", &pid.to_string(), "-e", &format!("trace={calls}")])
            .args(["-e", &format!("inject={calls}:error={error}"), "-o"])
            .arg(log)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let strace = strace.map_err(|error| Impossible(format!("`strace`: {error}")))?;
        Ok(Self { strace, log: log.to_owned() })
    }

    /// Lets go of the process; how many calls have failed, by their name.
    pub(super) fn end(mut self) -> Vec<(String, usize)> {
        let pid = self.strace.id().to_string();
        // SIGKILL would take the process with it that is traced.
        drop(tool("sh", &["-c", "kill -INT \"$0\"", &pid]));
        drop(self.strace.wait());
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let mut counts = std::collections::BTreeMap::<String, usize>::new();
        for line in text.lines().filter(|line| line.ends_with("(INJECTED)")) {
            let call = line.split('(').next().and_then(|start| start.rsplit(' ').next());
            *counts.entry(call.unwrap_or_default().to_owned()).or_default() += 1;
        }
        counts.into_iter().collect()
    }
}

/// Whether a process lives and is no zombie.
pub(super) fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}
