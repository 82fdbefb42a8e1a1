//! Room in the process's table of descriptors, made at the start.
//!
//! The kernel doubles the table whenever it is full, and waits for all processors before it lets go of
//! the old one (RCU): 13 ms, in which the thread that accepted stands still, at the 256th, 512th,
//! 1024th, ... connection. So whoever opened ten thousand connections made everybody wait 6 times. The
//! price of room for `edge.max_connections` is 8 bytes of the kernel's memory for each.

use std::io;
use std::os::fd::AsFd;

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, getrlimit};

/// Descriptors for all else: files of the spool, listeners, stores.
const OTHERS: u64 = 512;

/// Makes room for so many connections, within what the system grants. A duplicate of `any` is opened at
/// the highest place and closed: the table grows to it at once, and never shrinks.
pub(crate) fn make_room(connections: usize, any: impl AsFd) -> io::Result<()> {
    let granted = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(OTHERS);
    let highest = i32::try_from(wanted.min(granted).saturating_sub(1)).unwrap_or(i32::MAX);
    fcntl_dupfd_cloexec(any, highest).map(drop).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of the table are not told, but how many places it has.
    fn places() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let size = status.lines().find_map(|line| line.strip_prefix("FDSize:")).unwrap();
        size.trim().parse().unwrap()
    }

    #[test]
    fn the_table_grows_within_what_is_granted() {
        let granted = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let connections = usize::try_from(granted.min(4096) / 2).unwrap();
        make_room(connections, io::stdout()).unwrap();
        assert!(places() >= connections as u64);
        make_room(usize::try_from(granted.min(4096)).unwrap(), io::stdout()).unwrap();
    }
}
