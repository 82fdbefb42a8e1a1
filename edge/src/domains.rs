//! Which hosts this edge answers for.

use std::collections::HashMap;

use http::HeaderValue;

use carom_shared::{DomainId, Host, ServedDomain};

/// From the host of a request to the domain whose codes it means. An unknown host means none:
/// it never gets another domain's links.
#[derive(Debug, Default)]
pub struct Domains {
    hosts: HashMap<Box<[u8]>, DomainId>,
    homes: HashMap<DomainId, HeaderValue>,
}

impl Domains {
    /// `(id, host, is the default domain)`. A default domain on this machine's loopback answers
    /// to `localhost`, `127.0.0.1` and `[::1]` alike: which one a person types is chance.
    #[must_use]
    pub fn new(domains: &[(DomainId, Host, bool)]) -> Self {
        let mut hosts = HashMap::new();
        for (id, host, is_default) in domains {
            if *is_default && host.is_loopback() {
                for alias in ["localhost", "127.0.0.1", "[::1]"] {
                    hosts.insert(alias.as_bytes().into(), *id);
                }
            }
            hosts.insert(host.as_str().as_bytes().into(), *id);
        }
        Self { hosts, homes: HashMap::new() }
    }

    /// The same, with the homes that `/` leads to.
    #[must_use]
    pub fn serving(domains: &[ServedDomain]) -> Self {
        let hosts: Vec<_> =
            domains.iter().map(|it| (it.id, it.host.clone(), it.is_default)).collect();
        // Control gives a target as it serialises it, and that is always a header value.
        let home =
            |it: &ServedDomain| Some((it.id, HeaderValue::from_str(it.home.as_ref()?).ok()?));
        Self { homes: domains.iter().filter_map(home).collect(), ..Self::new(&hosts) }
    }

    /// Where `/` of a domain leads.
    #[must_use]
    pub fn home(&self, domain: DomainId) -> Option<&HeaderValue> {
        self.homes.get(&domain)
    }

    /// The domain of a host as a request wrote it: in any case, with a port or a final dot.
    #[must_use]
    pub fn find(&self, host: &[u8]) -> Option<DomainId> {
        let mut name = host;
        if let Some(colon) = host.iter().rposition(|&b| b == b':')
            && host[colon + 1..].iter().all(u8::is_ascii_digit)
        {
            name = &host[..colon];
        }
        name = name.strip_suffix(b".").unwrap_or(name);

        let mut lower = [0; Host::MAX_LEN];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        self.hosts.get(&*lower).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: i64) -> DomainId {
        DomainId::try_from(n).unwrap()
    }

    #[test]
    fn loopback_names_mean_the_default_domain_only_if_it_is_loopback() {
        let local = Domains::new(&[(id(1), Host::parse("localhost").unwrap(), true)]);
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:80", "[::1]:8080", "[::1]"] {
            assert_eq!(local.find(host.as_bytes()), Some(id(1)), "{host}");
        }
        let public = Domains::new(&[(id(1), Host::parse("go.example.com").unwrap(), true)]);
        for host in ["localhost", "127.0.0.1", "example.com", "", ".", ":80", "go.example.com:x"] {
            assert_eq!(public.find(host.as_bytes()), None, "{host}");
        }
        assert_eq!(public.find(b"go.example.com.:443"), Some(id(1)));
        assert_eq!(public.find(&[b'a'; 300]), None);
    }
}
