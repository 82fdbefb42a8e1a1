//! `domains.*`: hosts that workspaces add for their links.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DomainsConfig {
    /// Domains that one workspace may have or wait for, at most.
    pub max_per_workspace: u32,
    /// The DNS server that is asked for TXT records. None: those of `/etc/resolv.conf`.
    pub dns_server: Option<SocketAddr>,
}

impl Default for DomainsConfig {
    fn default() -> Self {
        Self { max_per_workspace: 20, dns_server: None }
    }
}
