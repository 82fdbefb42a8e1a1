//! Settings of the edge. Defaults are safe on a laptop and sensible on a server.

use std::net::{Ipv4Addr, SocketAddr};

use carom_shared::AddressBlock;
use carom_shared::settings::InvalidSetting;
use serde::{Deserialize, Serialize};

use crate::enrich::EnrichConfig;
use crate::resolve::ResolveConfig;

/// Threads, at most: each has a ring of its own.
const THREADS_MAX: usize = 1024;
/// Connections, at most: more than a process can have descriptors.
const CONNECTIONS_MAX: usize = 1 << 24;
/// User agents that are remembered, at most: 600 MB of them.
const USER_AGENTS_MAX: usize = 1 << 22;
/// Blocks of trusted proxies, at most: each is looked at for each request that a proxy brings.
const TRUSTED_PROXIES_MAX: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EdgeConfig {
    /// Where visitors' requests arrive.
    pub listen: SocketAddr,
    /// Health and metrics; for operators, not for visitors.
    pub admin_listen: SocketAddr,
    /// Proxies whose `X-Forwarded-For` is believed: addresses and blocks of them.
    pub trusted_proxies: Vec<AddressBlock>,
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
    /// What a visitor gets while clicks cannot be recorded in full.
    pub on_overload: OnOverload,
    pub resolve: ResolveConfig,
    pub enrich: EnrichConfig,
}

/// What a visitor gets while the click ring is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnOverload {
    /// The redirect; the click is only counted, or if that is not possible either, dropped.
    #[default]
    Count,
    /// 503: for those who would rather send nobody than not know of it.
    Refuse,
}

impl Default for EdgeConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            admin_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9080)),
            trusted_proxies: Vec::new(),
            threads: 0,
            max_connections: 50_000,
            header_timeout_ms: 10_000,
            drain_timeout_ms: 8000,
            on_overload: OnOverload::default(),
            resolve: ResolveConfig::default(),
            enrich: EnrichConfig::default(),
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
            ("edge.enrich.max_user_agents", self.enrich.max_user_agents, USER_AGENTS_MAX),
            ("edge.trusted_proxies", self.trusted_proxies.len(), TRUSTED_PROXIES_MAX),
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
