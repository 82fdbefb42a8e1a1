//! The system: what the kernel grants, and whether the ports are free.

use std::fs;
use std::io;
use std::net::TcpListener;

use carom_shared::UnixMillis;
use rustix::process::{Resource, getrlimit};

use super::finding::{Area, Findings};
use super::process::Presence;
use crate::output::size;
use crate::settings::Settings;

/// Descriptors beside connections: databases, segments, listeners, threads.
const FILES_BESIDE: u64 = 512;
/// Connections that may wait in the kernel, at least.
const BACKLOG_MIN: u64 = 1024;
/// Memory beside the routes, in bytes.
const MEMORY_BESIDE: u64 = 192 << 20;
/// 2025-01-01: a clock before it was never set.
const CLOCK_MIN: UnixMillis = UnixMillis::new(1_735_689_600_000);

pub(super) fn examine(settings: &Settings, presence: &Presence, now: UnixMillis) -> Findings {
    let mut out = Findings::of(Area::System);
    let kernel = read("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".to_owned());
    out.ok("versions", format!("carom {}, kernel {kernel}", env!("CARGO_PKG_VERSION")));
    examine_clock(&mut out, now);
    examine_limits(&mut out, settings, presence);
    examine_memory(&mut out, settings);
    if !presence.is_live() {
        examine_ports(&mut out, settings);
    }
    out
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn examine_clock(out: &mut Findings, now: UnixMillis) {
    if now < CLOCK_MIN {
        out.error(
            "clock",
            "the clock shows a time before 2025",
            "clicks and links get wrong times, and links that expire do so wrongly",
            "set the clock, and let a time service keep it (systemd-timesyncd, chrony)",
        );
        return;
    }
    let is_synced = fs::exists("/run/systemd/timesync/synchronized").unwrap_or_default();
    out.ok(
        "clock",
        if is_synced {
            "the clock is kept by a time service"
        } else {
            "the clock shows a plausible time (who keeps it cannot be seen)"
        },
    );
}

fn examine_limits(out: &mut Findings, settings: &Settings, presence: &Presence) {
    let facts = presence.facts();
    // A start takes all that is granted.
    let granted = facts.map_or(getrlimit(Resource::Nofile).maximum, |facts| facts.open_files_max);
    let needed = settings.edge.max_connections as u64
        + u64::from(settings.control.max_connections)
        + FILES_BESIDE;
    match granted {
        Some(granted) if granted < needed => out.warning(
            "open_files",
            format!("a process may open {granted} files; the settings ask for {needed}"),
            "connections beyond that are refused by the kernel instead of waiting",
            "raise the limit (systemd: LimitNOFILE=, else ulimit -Hn), or lower \
             edge.max_connections",
        ),
        granted => {
            let granted = granted.map_or("any number of".to_owned(), |granted| granted.to_string());
            out.ok("open_files", format!("{granted} files may be open; {needed} are needed"));
        }
    }
    if let Some(backlog) =
        read("/proc/sys/net/core/somaxconn").and_then(|text| text.parse::<u64>().ok())
        && backlog < BACKLOG_MIN
    {
        out.notice(
            "backlog",
            format!("{backlog} connections may wait in the kernel (net.core.somaxconn)"),
            "in a burst of visitors some have to connect again",
            format!("sysctl -w net.core.somaxconn={}", 4 * BACKLOG_MIN),
        );
    }
    if let Some(facts) = facts
        && facts.core_bytes_max != Some(0)
    {
        out.notice(
            "core_dumps",
            "the process writes a core dump if it crashes",
            "the rings of clicks are left out of it; what is just being answered is in it, \
             addresses too",
            "forbid it (systemd: LimitCORE=0, else ulimit -c 0), or keep dumps as private as data",
        );
    }
}

fn examine_memory(out: &mut Findings, settings: &Settings) {
    let total = read("/proc/meminfo").and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
    });
    let cgroup = read("/proc/self/cgroup").and_then(|text| {
        let path = text.lines().find_map(|line| line.strip_prefix("0::"))?.to_owned();
        let limit = read(&format!("/sys/fs/cgroup{path}/memory.max"));
        limit.or_else(|| read("/sys/fs/cgroup/memory.max"))?.parse::<u64>().ok()
    });
    let Some(granted) = [total, cgroup].into_iter().flatten().min() else { return };
    let needed = settings.edge.resolve.max_cache_bytes.saturating_add(MEMORY_BESIDE);
    if granted < needed {
        out.warning(
            "memory",
            format!("there are {} of memory; the settings ask for {}", size(granted), size(needed)),
            "with enough links in memory the kernel ends the process; no answered click is lost",
            "give it more, or lower edge.resolve.max_cache_bytes",
        );
    } else {
        let shown = format!("{} of memory; up to {} are used", size(granted), size(needed));
        out.ok("memory", shown);
    }
}

fn examine_ports(out: &mut Findings, settings: &Settings) {
    let mut are_free = true;
    for (setting, address) in super::settings::listeners(settings) {
        let Err(error) = TcpListener::bind(address) else { continue };
        are_free = false;
        let action = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                "ports below 1024 need a right: systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE"
            }
            io::ErrorKind::AddrInUse => {
                "see who has it (ss -ltnp), and stop that, or choose another port"
            }
            _ => "choose an address of this machine",
        };
        out.error(
            "ports",
            format!("{setting}: {address} cannot be listened on: {error}"),
            "carom serve would not start with these settings",
            action,
        );
    }
    if are_free {
        out.ok("ports", "every address that is listened on is free");
    }
}
