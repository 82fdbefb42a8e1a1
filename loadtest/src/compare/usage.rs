//! What a server used: CPU time in nanoseconds by thread, and resident memory by what it is of.
//!
//! `crate::process` reads ticks of 10 ms, which is too coarse for measurements of a second; the
//! scheduler's own account is exact.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::failure::Failure;

/// Pause between two looks at whether a server still works.
const QUIET_POLL: Duration = Duration::from_millis(50);
/// A server rests that used less than this in [`QUIET_POLL`]...
const QUIET_NS: u64 = 1_000_000;
/// ... again and again for so long.
const QUIET: Duration = Duration::from_millis(100);
/// How long a server may work on after its last answer.
const QUIET_MAX: Duration = Duration::from_secs(10);

/// CPU time that each thread of a process has used since it began.
#[derive(Clone, Debug)]
pub(crate) struct CpuSample(HashMap<u32, Thread>);

#[derive(Clone, Copy, Debug)]
struct Thread {
    /// Whether it answers requests.
    serves: bool,
    ns: u64,
}

/// CPU time used between two samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CpuTime {
    /// By threads that answer requests.
    pub(crate) serving_ns: u64,
    pub(crate) others_ns: u64,
}

/// Resident memory in MiB.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Memory {
    /// Heap, stacks, and pages of files that were written to privately.
    pub(crate) anonymous_mib: f64,
    /// Pages of mapped files: the program's text, maps of links, databases.
    pub(crate) file_mib: f64,
    /// Pages of mapped files for clicks under way, apart: their size is a setting.
    pub(crate) rings_mib: f64,
}

impl CpuSample {
    /// `serving`: how the names of threads begin that answer requests; `None`: all do.
    pub(crate) fn take(pid: u32, serving: Option<&str>) -> Result<Self, Failure> {
        let folder = format!("/proc/{pid}/task");
        let tasks = fs::read_dir(&folder)
            .map_err(|error| Failure::new(format!("cannot read {folder}: {error}")))?;
        let mut threads = HashMap::new();
        for task in tasks.flatten() {
            // A thread may end between the listing and the look at it.
            let read = |name| fs::read_to_string(task.path().join(name)).ok();
            let id = task.file_name().to_str().and_then(|id| id.parse().ok());
            if let (Some(id), Some(name), Some(stat)) = (id, read("comm"), read("schedstat")) {
                let serves = serving.is_none_or(|serving| name.starts_with(serving));
                let ns = stat.split_whitespace().next().and_then(|ns| ns.parse().ok());
                threads.insert(id, Thread { serves, ns: ns.unwrap_or_default() });
            }
        }
        if threads.is_empty() {
            return Err(Failure::new(format!(
                "{folder} has no schedstat: the process has ended, or the kernel was built without \
                 CONFIG_SCHED_INFO"
            )));
        }
        Ok(Self(threads))
    }

    /// What was used since `before`. The last of threads that have ended since is not known.
    pub(crate) fn since(&self, before: &Self) -> CpuTime {
        let mut time = CpuTime::default();
        for (id, thread) in &self.0 {
            let ns = thread.ns.saturating_sub(before.0.get(id).map_or(0, |thread| thread.ns));
            let sum = if thread.serves { &mut time.serving_ns } else { &mut time.others_ns };
            *sum += ns;
        }
        time
    }

    /// The sample of a server that rests, but not before `at_least`: what it does with clicks after
    /// its answers belongs to them.
    pub(crate) fn when_quiet(
        pid: u32,
        serving: Option<&str>,
        at_least: Duration,
    ) -> Result<Self, Failure> {
        let begun = Instant::now();
        let (mut last, mut quiet_since) = (Self::take(pid, serving)?, begun);
        while begun.elapsed() < QUIET_MAX
            && (begun.elapsed() < at_least || quiet_since.elapsed() < QUIET)
        {
            std::thread::sleep(QUIET_POLL);
            let next = Self::take(pid, serving)?;
            let used = next.since(&last);
            if used.serving_ns + used.others_ns > QUIET_NS {
                quiet_since = Instant::now();
            }
            last = next;
        }
        Ok(last)
    }
}

impl Memory {
    /// `rings`: the folder of the mapped files that are counted apart.
    pub(crate) fn of(pid: u32, rings: Option<&Path>) -> Result<Self, Failure> {
        let path = format!("/proc/{pid}/smaps");
        let text = fs::read_to_string(&path)
            .map_err(|error| Failure::new(format!("cannot read {path}: {error}")))?;
        Ok(Self::parse(&text, rings))
    }

    /// Reads proc(5) `smaps`: for each mapping a line of its addresses and file, then its figures.
    fn parse(text: &str, rings: Option<&Path>) -> Self {
        let (mut memory, mut is_ring, mut resident) = (Self::default(), false, 0.0);
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let first = words.next().unwrap_or_default();
            let mib = |mut words: std::str::SplitAsciiWhitespace<'_>| {
                words.next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default() / 1024.0
            };
            match first {
                "Rss:" => resident = mib(words),
                "Anonymous:" => {
                    let anonymous = mib(words);
                    memory.anonymous_mib += anonymous;
                    let file = if is_ring { &mut memory.rings_mib } else { &mut memory.file_mib };
                    *file += resident - anonymous;
                }
                _ if !first.ends_with(':') => {
                    let file = words.nth(4).map(Path::new);
                    is_ring = file.zip(rings).is_some_and(|(file, rings)| file.starts_with(rings));
                }
                _ => {}
            }
        }
        memory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_of_this_process_is_seen_to_the_thread() {
        let pid = std::process::id();
        let before = CpuSample::take(pid, Some("busy")).unwrap();
        let work = move || {
            let begun = Instant::now();
            let sample = || CpuSample::take(pid, Some("busy")).unwrap().since(&before);
            let is_seen = || sample().serving_ns > 1_000_000 || begun.elapsed() > QUIET_MAX;
            let mut x = 1_u64;
            // As long as it takes to get that much of a processor.
            while begun.elapsed() < Duration::from_millis(30) || !is_seen() {
                (0..1000_u64).for_each(|i| x = std::hint::black_box(x.wrapping_mul(i | 1)));
            }
            sample()
        };
        let busy = std::thread::Builder::new().name("busy-0".to_owned());
        let time = busy.spawn(work).unwrap().join().unwrap();
        assert!(time.serving_ns > 1_000_000, "{time:?}");
        assert!(CpuSample::take(u32::MAX, None).is_err());
    }

    #[test]
    fn memory_is_told_apart_by_what_it_is_of() {
        let text = "\
55d0-55d1 r-xp 00000000 08:01 12 /opt/carom
Rss:                2048 kB
Pss:                1024 kB
Anonymous:          1024 kB
7f00-7f01 rw-s 00000000 08:01 13 /data/spool/ring/0-1.seg
Rss:                4096 kB
Anonymous:             0 kB
VmFlags: rd wr
7f02-7f03 rw-p 00000000 00:00 0
Rss:                1024 kB
Anonymous:          1024 kB
";
        let memory = Memory::parse(text, Some(Path::new("/data/spool")));
        assert_eq!(
            format!("{memory:?}"),
            "Memory { anonymous_mib: 2.0, file_mib: 1.0, rings_mib: 4.0 }"
        );
        let memory = Memory::parse(text, None);
        assert!(memory.rings_mib == 0.0 && memory.file_mib > 4.9, "{memory:?}");
    }
}
