//! What a server says of itself.

use std::time::Duration;

use carom_shared::redis::info_field;

use super::RedisAt;
use crate::config::RedisConfig;

/// How long [`redis_facts`] waits.
const PATIENCE: Duration = Duration::from_secs(2);
/// The oldest version with `PXAT`, the end of a lease as a time.
const VERSION_MIN: (u32, u32) = (6, 2);

/// What matters of `INFO`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    /// Another one after each start.
    pub(super) run_id: String,
    /// What it does when its memory is full.
    pub(super) policy: String,
    /// Keys that it threw away since its start.
    pub(super) evicted: u64,
}

impl Server {
    /// `None` if it is not what Redis answers.
    pub(super) fn of_info(info: &str) -> Option<Self> {
        let text = |name| info_field(info, name).filter(|value| !value.is_empty());
        Some(Self {
            run_id: text("run_id")?.to_owned(),
            policy: text("maxmemory_policy")?.to_owned(),
            evicted: text("evicted_keys")?.parse().ok()?,
        })
    }

    /// Whether what is missing was never there.
    pub(super) fn keeps_all(&self) -> bool {
        self.policy == "noeviction"
    }
}

/// A Redis server as a check of the installation sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisFacts {
    pub version: String,
    /// It has all commands that Carom needs: 6.2 or newer.
    pub is_new_enough: bool,
    /// Its `maxmemory-policy`.
    pub policy: String,
    /// It never throws keys away to make room.
    pub keeps_all: bool,
    /// In bytes.
    pub used_memory: u64,
    /// In bytes; 0: no limit.
    pub max_memory: u64,
}

/// Asks the server that `redis.*` names.
///
/// # Errors
/// A sentence that says what is wrong, without the URL.
pub async fn redis_facts(config: &RedisConfig) -> Result<RedisFacts, String> {
    let at = RedisAt::new(&config.url, &config.ca_path);
    let at = at.map_err(|invalid| format!("{} {}", invalid.setting, invalid.problem))?;
    let asked = async {
        let mut connection = at.connect(PATIENCE).await?;
        redis::cmd("INFO").query_async::<String>(&mut connection).await
    };
    let info = asked.await.map_err(|error| error.to_string())?;
    RedisFacts::of_info(&info).ok_or_else(|| "it does not answer as Redis does".to_owned())
}

impl RedisFacts {
    fn of_info(info: &str) -> Option<Self> {
        let server = Server::of_info(info)?;
        let version = info_field(info, "redis_version")?;
        let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
        let number = (numbers.next()?, numbers.next().unwrap_or(0));
        let bytes = |name| info_field(info, name).and_then(|text| text.parse().ok());
        Some(Self {
            version: version.to_owned(),
            is_new_enough: number >= VERSION_MIN,
            keeps_all: server.keeps_all(),
            policy: server.policy,
            used_memory: bytes("used_memory")?,
            max_memory: bytes("maxmemory")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "# Server\r\nredis_version:7.0.15\r\nrun_id:0f\r\n# Memory\r\n\
        used_memory:1000\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n# Stats\r\n\
        evicted_keys:3\r\n";

    #[test]
    fn a_server_says_who_it_is_and_what_it_keeps() {
        let server = Server::of_info(INFO).unwrap();
        assert_eq!((&*server.run_id, server.evicted, server.keeps_all()), ("0f", 3, true));
        let facts = RedisFacts::of_info(INFO).unwrap();
        assert!(facts.is_new_enough && facts.keeps_all);
        let lru = INFO.replace("noeviction", "allkeys-lru");
        assert!(!Server::of_info(&lru).unwrap().keeps_all());
        for (version, is_new_enough) in [("6.0.16", false), ("6.2.0", true), ("10.0", true)] {
            let facts = RedisFacts::of_info(&INFO.replace("7.0.15", version)).unwrap();
            assert_eq!(facts.is_new_enough, is_new_enough, "{version}");
        }
    }

    /// An access list may hide parts of it.
    #[test]
    fn what_says_less_is_no_server() {
        for hidden in ["run_id", "maxmemory_policy", "evicted_keys"] {
            assert_eq!(Server::of_info(&INFO.replace(hidden, "x")), None, "{hidden}");
        }
        assert_eq!(RedisFacts::of_info(""), None);
    }
}
