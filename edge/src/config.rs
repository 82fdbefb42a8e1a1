//! Settings of the edge. Defaults are safe on a laptop and sensible on a server.

use std::net::{Ipv4Addr, SocketAddr};

use carom_shared::settings::InvalidSetting;
use serde::{Deserialize, Serialize};

use crate::resolve::ResolveConfig;

/// Threads, at most: each has a ring of its own.
const THREADS_MAX: usize = 1024;
/// Connections, at most: more than a process can have descriptors.
const CONNECTIONS_MAX: usize = 1 << 24;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EdgeConfig {
    /// Where visitors' requests arrive.
    pub listen: SocketAddr,
    /// Health and metrics; for operators, not for visitors.
    pub admin_listen: SocketAddr,
    /// Threads that answer; 0: one per processor.
    pub threads: usize,
    /// Open connections in all, at most; more wait in the kernel's queue.
    pub max_connections: usize,
    /// How long a connection may take for a request's head, to take in an answer, and stay idle
    /// between requests, in milliseconds.
    pub header_timeout_ms: u64,
    /// How long a stop may take, in milliseconds: half of it for requests under way, the rest for
    /// clicks to be stored.
    pub drain_timeout_ms: u64,
    pub resolve: ResolveConfig,
}

impl Default for EdgeConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            admin_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9080)),
            threads: 0,
            max_connections: 50_000,
            header_timeout_ms: 10_000,
            drain_timeout_ms: 8000,
            resolve: ResolveConfig::default(),
        }
    }
}

impl EdgeConfig {
    /// Checks what the types alone do not say.
    ///
    /// # Errors
    /// [`InvalidSetting`] names the first setting that cannot be used.
    pub fn check(&self) -> Result<(), InvalidSetting> {
        let resolve = &self.resolve;
        let at_least_1 = [
            ("edge.max_connections", self.max_connections > 0),
            ("edge.header_timeout_ms", self.header_timeout_ms > 0),
            ("edge.drain_timeout_ms", self.drain_timeout_ms > 0),
            ("edge.resolve.max_in_flight", resolve.max_in_flight > 0),
            ("edge.resolve.timeout_ms", resolve.timeout_ms > 0),
        ];
        if let Some((setting, _)) = at_least_1.into_iter().find(|(_, fits)| !fits) {
            return Err(InvalidSetting::new(setting, "must be at least 1"));
        }
        for (setting, value, max) in [
            ("edge.threads", self.threads, THREADS_MAX),
            ("edge.max_connections", self.max_connections, CONNECTIONS_MAX),
            ("edge.resolve.max_in_flight", resolve.max_in_flight, CONNECTIONS_MAX),
        ] {
            if value > max {
                return Err(InvalidSetting::new(setting, format!("must be at most {max}")));
            }
        }
        Ok(())
    }

    /// The number of threads that `threads` stands for.
    #[must_use]
    pub fn thread_count(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism()
                .map_or(1, std::num::NonZeroUsize::get)
                .min(THREADS_MAX),
            threads => threads,
        }
    }
}
