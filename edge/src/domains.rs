//! Which hosts this edge answers for.

use std::collections::HashMap;

use http::HeaderValue;

use carom_shared::{DomainId, Host, ServedDomain};

/// From the host of a request to the domain whose codes it means. An unknown host means none:
/// it never gets another domain's links.
#[derive(Debug, Default)]
pub struct Domains {
    hosts: HashMap<Box<[u8]>, Served>,
    ways_out: HashMap<DomainId, WaysOut>,
    report_url: Option<Box<str>>,
}

/// A domain as a request needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    pub id: DomainId,
    /// Codes are in lower case, in whatever case visitors write them.
    pub folds_case: bool,
}

/// Where a domain sends those whom no link of it leads on.
#[derive(Debug, Default)]
struct WaysOut {
    home: Option<HeaderValue>,
    not_found: Option<HeaderValue>,
    expired: Option<HeaderValue>,
}

impl Domains {
    /// `(id, host, is the default domain)`. A default domain on this machine's loopback answers
    /// to `localhost`, `127.0.0.1` and `[::1]` alike: which one a person types is chance.
    #[must_use]
    pub fn new(domains: &[(DomainId, Host, bool)]) -> Self {
        let serve = |(id, host, is_default): &(DomainId, Host, bool)| {
            ServedDomain::new(*id, host.clone(), *is_default)
        };
        Self::serving(&domains.iter().map(serve).collect::<Vec<_>>())
    }

    /// The same, with where they send those whom no link leads on.
    #[must_use]
    pub fn serving(domains: &[ServedDomain]) -> Self {
        let mut hosts = HashMap::new();
        let mut ways_out = HashMap::new();
        // Control gives a target as it serialises it, and that is always a header value.
        let header = |url: &Option<String>| HeaderValue::from_str(url.as_ref()?).ok();
        for domain in domains {
            let served = Served { id: domain.id, folds_case: domain.folds_case };
            if domain.is_default && domain.host.is_loopback() {
                for alias in ["localhost", "127.0.0.1", "[::1]"] {
                    hosts.insert(alias.as_bytes().into(), served);
                }
            }
            hosts.insert(domain.host.as_str().as_bytes().into(), served);
            let ways = WaysOut {
                home: header(&domain.home),
                not_found: header(&domain.not_found),
                expired: header(&domain.expired),
            };
            ways_out.insert(domain.id, ways);
        }
        Self { hosts, ways_out, report_url: None }
    }

    /// The same, with where the public reports a link: an `http` or `https` URL without a query.
    #[must_use]
    pub fn with_report_url(self, report_url: Option<&str>) -> Self {
        Self { report_url: report_url.map(Into::into), ..self }
    }

    /// Where `/` of a domain leads.
    #[must_use]
    pub fn home(&self, domain: DomainId) -> Option<&HeaderValue> {
        self.ways_out.get(&domain)?.home.as_ref()
    }

    /// Where codes of a domain lead that do not exist.
    #[must_use]
    pub fn not_found(&self, domain: DomainId) -> Option<&HeaderValue> {
        self.ways_out.get(&domain)?.not_found.as_ref()
    }

    /// Where links of a domain lead that have ended.
    #[must_use]
    pub fn expired(&self, domain: DomainId) -> Option<&HeaderValue> {
        self.ways_out.get(&domain)?.expired.as_ref()
    }

    /// Where the public reports a link.
    #[must_use]
    pub fn report_url(&self) -> Option<&str> {
        self.report_url.as_deref()
    }

    /// Whether a host is served: what a proxy asks before it gets a certificate for it.
    #[must_use]
    pub fn serves(&self, host: &str) -> bool {
        Host::parse(host).is_ok_and(|host| self.hosts.contains_key(host.as_str().as_bytes()))
    }

    /// The domain of a host as a request wrote it: in any case, with a port or a final dot.
    #[must_use]
    pub fn find(&self, host: &[u8]) -> Option<Served> {
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

    fn served(n: i64) -> Option<Served> {
        Some(Served { id: id(n), folds_case: false })
    }

    #[test]
    fn loopback_names_mean_the_default_domain_only_if_it_is_loopback() {
        let local = Domains::new(&[(id(1), Host::parse("localhost").unwrap(), true)]);
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:80", "[::1]:8080", "[::1]"] {
            assert_eq!(local.find(host.as_bytes()), served(1), "{host}");
        }
        let public = Domains::new(&[(id(1), Host::parse("go.example.com").unwrap(), true)]);
        for host in ["localhost", "127.0.0.1", "example.com", "", ".", ":80", "go.example.com:x"] {
            assert_eq!(public.find(host.as_bytes()), None, "{host}");
        }
        assert_eq!(public.find(b"go.example.com.:443"), served(1));
        assert_eq!(public.find(&[b'a'; 300]), None);
    }
}
