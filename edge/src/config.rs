//! Settings of the edge. Defaults are safe on a laptop and sensible on a server.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use carom_shared::AddressBlock;
use carom_shared::settings::InvalidSetting;
use serde::{Deserialize, Serialize};

use crate::control::ControlUrls;
use crate::enrich::EnrichConfig;
use crate::resolve::ResolveConfig;
use crate::ship::ClicksUrls;

/// Threads, at most: each has a ring of its own.
const THREADS_MAX: usize = 1024;
/// Connections, at most: more than a process can have descriptors.
const CONNECTIONS_MAX: usize = 1 << 24;
/// User agents that are remembered, at most: 600 MB of them.
const USER_AGENTS_MAX: usize = 1 << 22;
/// Blocks of trusted proxies, and of exempt addresses, at most: each is looked at for each request that
/// a proxy brings, and for each connection.
const ADDRESS_BLOCKS_MAX: usize = 256;

/// Misses that a minute and a burst may hold, at most: more is no limit.
const MISSES_MAX: usize = 60_000;
/// Whoever is on this machine can harm it without the edge's help; and a proxy here that was forgotten
/// in `trusted_proxies` would else share one address's limits among all visitors.
const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1"];

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EdgeConfig {
    /// Where visitors' requests arrive.
    pub listen: SocketAddr,
    /// Health and metrics; for operators, not for visitors.
    pub admin_listen: SocketAddr,
    /// Proxies whose `X-Forwarded-For` is believed: addresses and blocks of them.
    pub trusted_proxies: Vec<AddressBlock>,
    /// Whether each connection begins with a PROXY header (version 1 or 2), which only a trusted proxy
    /// may send. Connections without one are closed.
    pub proxy_protocol: bool,
    /// Threads that answer; 0: one per processor.
    pub threads: usize,
    /// Open connections in all, at most; more wait in the kernel's queue.
    pub max_connections: usize,
    /// Open connections of one address block (an IPv4 address, a /64 of IPv6), at most; more are closed
    /// at once. Trusted proxies and `exempt` are not counted.
    pub max_connections_per_block: usize,
    /// Addresses and blocks that the limits by block do not count: by default this machine.
    pub exempt: Vec<AddressBlock>,
    /// How long a connection may take for a request's head, and to take in an answer, in milliseconds.
    pub header_timeout_ms: u64,
    /// How long a connection may wait between two requests, in milliseconds.
    pub idle_timeout_ms: u64,
    /// How old a connection may become, in seconds; the answer after that is its last.
    pub max_connection_age_s: u64,
    /// Codes that do not exist an address block may ask for at once; beyond, such are answered 429.
    pub miss_burst: u32,
    /// Codes that do not exist an address block may ask for, a minute, once it used up its burst.
    pub misses_per_minute: u32,
    /// How late a thread may be with its work, in milliseconds, before new connections get 503.
    pub max_lag_ms: u64,
    /// How long a stop may take, in milliseconds: half of it for requests under way, the rest for
    /// clicks to be stored.
    pub drain_timeout_ms: u64,
    /// What a visitor gets while clicks cannot be recorded in full.
    pub on_overload: OnOverload,
    /// The internal planes of the control planes, for an edge that is a program of its own. The first
    /// one gets the clicks.
    pub control_url: ControlUrls,
    /// Where such an edge stores clicks itself: a database of ClickHouse, or the same one on several
    /// servers of a cluster. None: it brings them to the control plane. A secret.
    pub clicks_url: ClicksUrls,
    /// Certificates in PEM of the authorities of which those of such servers have to be; empty: those
    /// that this machine trusts.
    pub clicks_ca_path: PathBuf,
    /// How long that store may be away before clicks go by way of the control plane, in milliseconds.
    pub clicks_patience_ms: u64,
    /// How long ago such an edge may have heard of its control plane before `on_stale` says what
    /// happens, in seconds.
    pub stale_max_s: u64,
    /// What a visitor of a known link gets then.
    pub on_stale: OnStale,
    pub tls: TlsConfig,
    pub resolve: ResolveConfig,
    pub enrich: EnrichConfig,
}

/// Where visitors' TLS connections arrive, and by which certificates. Files that take the place of
/// these are in use within seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// Beside `edge.listen`; none: nowhere.
    pub listen: Option<SocketAddr>,
    /// The certificate for all hosts without one of their own, with its chain, in PEM; empty: none.
    pub cert_path: PathBuf,
    /// Its key, in PEM.
    pub key_path: PathBuf,
    /// A folder of certificates `HOST.crt`, each beside its `HOST.key`; empty: none.
    pub dir: PathBuf,
}

impl TlsConfig {
    fn check(&self) -> Result<(), InvalidSetting> {
        let is_set = |path: &PathBuf| !path.as_os_str().is_empty();
        let error = if self.listen.is_none() {
            return Ok(());
        } else if cfg!(not(feature = "tls")) {
            ("edge.tls.listen", "cannot be used: this program is built without TLS")
        } else if is_set(&self.cert_path) != is_set(&self.key_path) {
            ("edge.tls.key_path", "and edge.tls.cert_path need each other")
        } else if !is_set(&self.cert_path) && !is_set(&self.dir) {
            ("edge.tls.listen", "needs edge.tls.cert_path with its key_path, or edge.tls.dir")
        } else {
            return Ok(());
        };
        Err(InvalidSetting::new(error.0, error.1))
    }
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

/// What a visitor of a known link gets while this edge has not heard of changes for too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnStale {
    /// The redirect, as it was known last.
    #[default]
    Serve,
    /// 503: for those who would rather send nobody than to where a link may lead no more.
    Refuse,
}

impl Default for EdgeConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            admin_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9080)),
            trusted_proxies: Vec::new(),
            threads: 0,
            proxy_protocol: false,
            max_connections: 50_000,
            max_connections_per_block: 128,
            exempt: LOOPBACK.iter().filter_map(|text| AddressBlock::parse(text).ok()).collect(),
            header_timeout_ms: 10_000,
            idle_timeout_ms: 15_000,
            max_connection_age_s: 3600,
            miss_burst: 30,
            misses_per_minute: 10,
            max_lag_ms: 500,
            drain_timeout_ms: 8000,
            on_overload: OnOverload::default(),
            control_url: ControlUrls::default(),
            clicks_url: ClicksUrls::default(),
            clicks_ca_path: PathBuf::new(),
            clicks_patience_ms: 10_000,
            stale_max_s: 86_400,
            on_stale: OnStale::default(),
            tls: TlsConfig::default(),
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
            ("edge.max_connections_per_block", self.max_connections_per_block > 0),
            ("edge.header_timeout_ms", self.header_timeout_ms > 0),
            ("edge.idle_timeout_ms", self.idle_timeout_ms > 0),
            ("edge.max_connection_age_s", self.max_connection_age_s > 0),
            ("edge.miss_burst", self.miss_burst > 0),
            ("edge.misses_per_minute", self.misses_per_minute > 0),
            ("edge.max_lag_ms", self.max_lag_ms > 0),
            ("edge.stale_max_s", self.stale_max_s > 0),
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
            ("edge.trusted_proxies", self.trusted_proxies.len(), ADDRESS_BLOCKS_MAX),
            ("edge.exempt", self.exempt.len(), ADDRESS_BLOCKS_MAX),
            ("edge.miss_burst", self.miss_burst as usize, MISSES_MAX),
            ("edge.misses_per_minute", self.misses_per_minute as usize, MISSES_MAX),
        ] {
            if value > max {
                return Err(InvalidSetting::new(setting, format!("must be at most {max}")));
            }
        }
        if self.proxy_protocol && self.trusted_proxies.is_empty() {
            let needed = "needs edge.trusted_proxies: only they may send the PROXY header";
            return Err(InvalidSetting::new("edge.proxy_protocol", needed));
        }
        self.clicks_url.tls(&self.clicks_ca_path)?;
        self.tls.check()
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
