//! Which processor runs what. A measurement in which server and client take turns on one core says
//! little about either, and one in which the kernel moves them says something else each time.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;

use crate::failure::Failure;

/// The processors of a comparison: one for the server that is measured, one for this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Cpus {
    pub(crate) server: usize,
    pub(crate) client: usize,
}

impl Cpus {
    /// Those that are wanted; else the last that this process may use for the server, and the
    /// first, where kernels do most of their own work, for the client.
    pub(crate) fn choose(server: Option<usize>, client: Option<usize>) -> Result<Self, Failure> {
        let allowed = sched_getaffinity(None).map_err(|error| {
            Failure::new(format!("cannot see which processors are ours: {error}"))
        })?;
        let allowed: Vec<_> = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect();
        let (Some(&first), Some(&last)) = (allowed.first(), allowed.last()) else {
            return Err(Failure::new("this process may use no processor"));
        };
        let cpus = Self { server: server.unwrap_or(last), client: client.unwrap_or(first) };
        match [cpus.server, cpus.client].into_iter().find(|cpu| !allowed.contains(cpu)) {
            Some(cpu) => {
                Err(Failure::new(format!("processor {cpu} is not one of ours, {allowed:?}")))
            }
            None => Ok(cpus),
        }
    }

    /// Whether client and server have to take turns.
    pub(crate) const fn are_shared(self) -> bool {
        self.server == self.client
    }
}

/// Keeps this thread, and what it starts from now on, on one processor.
pub(crate) fn pin(cpu: usize) -> Result<(), Failure> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set)
        .map_err(|error| Failure::new(format!("cannot stay on processor {cpu}: {error}")))
}

/// Starts a process on the server's processor: a child inherits where its parent's thread may run,
/// and passes it on to all its own threads.
pub(crate) fn on_server<T>(
    cpus: Cpus,
    start: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, Failure> {
    pin(cpus.server)?;
    let started = start();
    pin(cpus.client)?;
    started
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_runs_where_it_was_started() {
        std::thread::spawn(|| {
            let cpus = Cpus::choose(None, None).unwrap();
            let mut command = std::process::Command::new("sh");
            command.args(["-c", "grep Cpus_allowed_list /proc/self/status"]);
            let output = on_server(cpus, || Ok(command.output().unwrap())).unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            assert_eq!(text.split_whitespace().last(), Some(&*cpus.server.to_string()), "{text}");
            let here = sched_getaffinity(None).unwrap();
            assert!(here.is_set(cpus.client) && here.count() == 1);
        })
        .join()
        .unwrap();
        assert!(Cpus::choose(Some(CpuSet::MAX_CPU), None).is_err());
    }
}
