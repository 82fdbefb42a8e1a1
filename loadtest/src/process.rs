//! What a process costs, from Linux's `/proc`: CPU time by thread and resident memory.
//!
//! CPU time comes in ticks of 10 ms: over a run of seconds that is exact enough, over less it is
//! not. A thread counts under its name without the number at its end (`edge-0` and `edge-1` are
//! `edge`); the kernel keeps 15 characters of a name.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use serde::Serialize;

use crate::failure::Failure;

/// `USER_HZ`: what the kernel shows to programs is in hundredths of a second on every platform.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time that a process and each group of its threads have used since they began.
#[derive(Clone, Debug)]
pub(crate) struct CpuSample {
    total_ticks: u64,
    group_ticks: BTreeMap<String, u64>,
}

/// CPU time per piece of work, and memory after it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Cost {
    /// Of the `edge-*` threads, microseconds of CPU for each request.
    pub(crate) edge_us: f64,
    /// Of all other threads, those that have ended meanwhile among them.
    pub(crate) others_us: f64,
    /// The same by group of threads that live.
    pub(crate) groups_us: BTreeMap<String, f64>,
    pub(crate) memory: Memory,
}

/// Resident memory in MiB.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Memory {
    pub(crate) rss_mib: f64,
    /// Anonymous pages: heap and stacks.
    pub(crate) anonymous_mib: f64,
    /// Pages of mapped files: the program's text, mapped segments and databases.
    pub(crate) file_mib: f64,
}

impl CpuSample {
    pub(crate) fn take(pid: u32) -> Result<Self, Failure> {
        let fail = |error| unreadable(pid, &error);
        let (_, total_ticks) =
            parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).map_err(fail)?)
                .ok_or_else(|| Failure::new(format!("/proc/{pid}/stat is not as expected")))?;
        let mut group_ticks = BTreeMap::new();
        for thread in fs::read_dir(format!("/proc/{pid}/task")).map_err(fail)? {
            // A thread may end between the listing and the look at it.
            let text = fs::read_to_string(thread.map_err(fail)?.path().join("stat"));
            if let Some((name, ticks)) = text.ok().as_deref().and_then(parse_stat) {
                *group_ticks.entry(group(name)).or_default() += ticks;
            }
        }
        Ok(Self { total_ticks, group_ticks })
    }

    /// What was used from `self` until now for each of `requests`.
    pub(crate) fn cost_until_now(&self, pid: u32, requests: u64) -> Result<Cost, Failure> {
        let now = Self::take(pid)?;
        let each_us = |ticks: u64| ticks as f64 / TICKS_PER_SECOND * 1e6 / requests.max(1) as f64;
        let used: BTreeMap<String, u64> = now
            .group_ticks
            .into_iter()
            .map(|(group, ticks)| {
                let before = self.group_ticks.get(&group).copied().unwrap_or_default();
                (group, ticks.saturating_sub(before))
            })
            .filter(|&(_, ticks)| ticks > 0)
            .collect();
        let edge = used.get("edge").copied().unwrap_or_default();
        let total = now.total_ticks.saturating_sub(self.total_ticks);
        Ok(Cost {
            edge_us: each_us(edge),
            others_us: each_us(total.saturating_sub(edge)),
            groups_us: used.into_iter().map(|(group, ticks)| (group, each_us(ticks))).collect(),
            memory: Memory::of(pid)?,
        })
    }
}

impl Memory {
    pub(crate) fn of(pid: u32) -> Result<Self, Failure> {
        let text = fs::read_to_string(format!("/proc/{pid}/status"))
            .map_err(|error| unreadable(pid, &error))?;
        let mib = |field: &str| {
            let rest = text.lines().find_map(|line| line.strip_prefix(field));
            let kib = rest.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<f64>().ok());
            kib.unwrap_or_default() / 1024.0
        };
        Ok(Self {
            rss_mib: mib("VmRSS:"),
            anonymous_mib: mib("RssAnon:"),
            file_mib: mib("RssFile:"),
        })
    }
}

fn unreadable(pid: u32, error: &io::Error) -> Failure {
    Failure::new(format!("cannot read /proc of process {pid}: {error}"))
}

/// The name and the ticks of `utime` + `stime` of a line of proc(5) `stat`. The name stands in
/// parentheses and may itself hold blanks and parentheses.
fn parse_stat(text: &str) -> Option<(&str, u64)> {
    let (_, rest) = text.split_once('(')?;
    let (name, fields) = rest.rsplit_once(')')?;
    // Field 3, the state, is the first after the name; 14 and 15 are the times.
    let mut times = fields.split_ascii_whitespace().skip(11).map(str::parse::<u64>);
    let user = times.next()?.ok()?;
    let system = times.next()?.ok()?;
    Some((name, user + system))
}

fn group(name: &str) -> String {
    name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_gives_name_and_time_whatever_the_name_is() {
        let fields = "R 12817 12817 10278 0 -1 4194304 103 0 0 0 17 25 0 0 20 0 1 0 136237 3133440";
        for name in ["edge-0", "tokio runtime w", "a) R 1 (b"] {
            assert_eq!(parse_stat(&format!("128 ({name}) {fields}")), Some((name, 42)));
        }
        assert_eq!(parse_stat("128 (edge-0) R 1 2"), None);
    }

    #[test]
    fn threads_are_grouped_without_their_number() {
        let cases = [("edge-0", "edge"), ("edge-11", "edge"), ("drainer", "drainer"), ("7", "")];
        for (name, expected) in cases {
            assert_eq!(group(name), expected);
        }
    }

    #[test]
    fn work_in_this_process_is_seen() {
        let pid = std::process::id();
        let before = CpuSample::take(pid).expect("/proc of this process");
        let mut x = 1_u64;
        let cost = loop {
            (0..1_000_000_u64).for_each(|i| x = std::hint::black_box(x.wrapping_mul(i | 1)));
            let cost = before.cost_until_now(pid, 1).expect("/proc of this process");
            if cost.others_us > 0.0 {
                break cost;
            }
        };
        assert!(cost.memory.rss_mib > 0.0 && cost.memory.anonymous_mib > 0.0, "{cost:?}");
    }
}
