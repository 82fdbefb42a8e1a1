//! Which Redis server, and whose certificate it has to have.

use std::path::Path;

use carom_process::Tls;
use carom_shared::settings::InvalidSetting;
use redis::{Client, RedisResult};

pub(super) const CA_PATH: &str = "redis.ca_path";
const URL: &str = "redis.url";

/// Connects to nothing.
pub(super) fn open(url: &str, ca_path: &Path) -> Result<Client, InvalidSetting> {
    let malformed = |error| {
        let problem = format!("is not redis[s]://[[USER]:PASSWORD@]HOST[:PORT][/NUMBER]: {error}");
        InvalidSetting::new(URL, problem)
    };
    // The driver would read `#insecure`.
    if url.contains('#') {
        let problem = "must have no # in it: a certificate is always verified";
        return Err(InvalidSetting::new(URL, problem));
    }
    let has_file = !ca_path.as_os_str().is_empty();
    if ["rediss:", "valkeys:"].iter().any(|scheme| url.starts_with(scheme)) {
        // Whether the file can be used is found out here, and not at each connection.
        Tls::new(ca_path, CA_PATH)?;
        let unreadable = |error| InvalidSetting::new(CA_PATH, format!("cannot be read: {error}"));
        let root_cert = has_file.then(|| std::fs::read(ca_path)).transpose().map_err(unreadable)?;
        return sealed(url, root_cert).map_err(malformed);
    }
    if has_file {
        let problem = "is of no use without TLS: write rediss:// in redis.url";
        return Err(InvalidSetting::new(CA_PATH, problem));
    }
    Client::open(url).map_err(malformed)
}

#[cfg(feature = "tls")]
fn sealed(url: &str, root_cert: Option<Vec<u8>>) -> RedisResult<Client> {
    let certificates = redis::TlsCertificates { client_tls: None, root_cert };
    Client::build_with_tls(url, certificates)
}

/// Refuses it.
#[cfg(not(feature = "tls"))]
fn sealed(url: &str, _root_cert: Option<Vec<u8>>) -> RedisResult<Client> {
    Client::open(url)
}
