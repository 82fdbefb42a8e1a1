//! Redis: whether it answers, has the commands that are needed, and keeps what it is given.

use carom_control::{RedisConfig, redis_facts};

use super::finding::{Area, Findings};

/// Says nothing without a URL: an installation need not have it.
pub(super) async fn examine(config: &RedisConfig) -> Findings {
    let mut out = Findings::of(Area::Stores);
    if config.url.is_empty() {
        return out;
    }
    let facts = match redis_facts(config).await {
        Ok(facts) => facts,
        Err(error) => {
            out.warning(
                "redis",
                format!("Redis cannot be asked: {error}"),
                "who makes or changes links waits 1.2 s longer; edges ask the control plane for \
                 each code that they do not know",
                "see that the server runs, and that redis.url is right",
            );
            return out;
        }
    };
    let version = &facts.version;
    if facts.is_new_enough {
        out.ok("redis", format!("Redis {version} answers"));
    } else {
        out.error(
            "redis",
            format!("Redis is version {version}"),
            "it has not all commands that Carom needs (PXAT, MINID): no lease can be given",
            "upgrade it to 6.2 or newer",
        );
    }
    if facts.keeps_all {
        out.ok("redis_policy", "Redis throws no key away when its memory is full");
    } else {
        out.error(
            "redis_policy",
            format!("Redis has the maxmemory-policy {}", facts.policy),
            "a route that was thrown away would look like a link that never was, so no lease is \
             given and edges ask the control plane",
            "set maxmemory-policy noeviction",
        );
    }
    if facts.max_memory > 0 && facts.used_memory > facts.max_memory / 5 * 4 {
        out.warning(
            "redis_memory",
            format!(
                "Redis uses {} of {} MB",
                facts.used_memory / 1_000_000,
                facts.max_memory / 1_000_000
            ),
            "when it is full it takes no more links, and each change waits 1.2 s",
            "give it more memory (maxmemory)",
        );
    }
    out
}
