//! [`TxtResolver`]: asks DNS whether a TXT record is there (RFC 1035, 3.3.14).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// How long a server may take, and how long all of it: a handler has ten seconds.
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(6);
/// Questions under way at once, at most.
const QUESTIONS_MAX: usize = 16;
/// Records of an answer that are looked at, at most.
const RECORDS_MAX: usize = 64;

/// What DNS said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Found,
    /// There is no such record, or others.
    Missing {
        others: usize,
    },
    /// Nobody knows; the text is for people.
    Unknown(String),
}

/// Asks DNS. Cheap to clone.
#[derive(Clone)]
pub(crate) struct TxtResolver {
    /// `None`: the system's settings could not be read.
    resolver: Option<Arc<TokioResolver>>,
    places: Arc<Semaphore>,
}

impl std::fmt::Debug for TxtResolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TxtResolver").finish_non_exhaustive()
    }
}

impl TxtResolver {
    /// Asks this server, or those of the system.
    pub(crate) fn new(server: Option<SocketAddr>) -> Self {
        let builder = match server {
            Some(server) => {
                let mut connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
                for connection in &mut connections {
                    connection.port = server.port();
                }
                let server = NameServerConfig::new(server.ip(), true, connections.into());
                let config = ResolverConfig::from_name_servers(vec![server]);
                Ok(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()))
            }
            None => TokioResolver::builder_tokio(),
        };
        let resolver = builder.and_then(|mut builder| {
            let options: &mut ResolverOpts = builder.options_mut();
            options.timeout = SERVER_TIMEOUT;
            options.attempts = 1;
            // Who has just written the record must not be told of the time before.
            options.cache_size = 0;
            builder.build()
        });
        let resolver = resolver
            .inspect_err(|error| tracing::error!(%error, "DNS cannot be asked: domains.dns_server"))
            .ok();
        Self { resolver: resolver.map(Arc::new), places: Arc::new(Semaphore::new(QUESTIONS_MAX)) }
    }

    /// Whether a record of this name holds this text.
    pub(crate) async fn ask(&self, name: &str, text: &str) -> Asked {
        let unknown = |why: &str| Asked::Unknown(why.to_owned());
        let Some(resolver) = &self.resolver else {
            return unknown("DNS cannot be asked; the log says why");
        };
        let Ok(_place) = self.places.try_acquire() else {
            return unknown("too many ask just now; try again in a moment");
        };
        // The final dot: no search list of the system is tried.
        let answer = match timeout(TIMEOUT, resolver.txt_lookup(format!("{name}."))).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) if error.is_no_records_found() => return Asked::Missing { others: 0 },
            Ok(Err(error)) => {
                tracing::info!(%error, name, "DNS gave no answer");
                return unknown("DNS gave no answer; try again later");
            }
            Err(_) => return unknown("DNS did not answer in time; try again later"),
        };
        let records = answer.answers().iter().filter_map(|record| match &record.data {
            RData::TXT(txt) => Some(txt.txt_data.concat()),
            _ => None,
        });
        let mut others = 0;
        for record in records.take(RECORDS_MAX) {
            if record.trim_ascii() == text.as_bytes() {
                return Asked::Found;
            }
            others += 1;
        }
        Asked::Missing { others }
    }
}
