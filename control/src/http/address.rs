//! The address that a request came from, seen past proxies that are trusted.

use std::net::IpAddr;

use carom_shared::AddressBlock;
use http::{HeaderMap, HeaderName};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Who is at the other end of the connection. None over a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer(pub(crate) Option<IpAddr>);

/// Who sent a request, as far as it can be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientAddress(pub(crate) Option<IpAddr>);

impl ClientAddress {
    /// Walks from the connection through what `X-Forwarded-For` says, from its right end, to the
    /// first address that no trusted proxy vouches for. Anything else that it says is the client's
    /// own claim; so is all of it where something malformed stands.
    pub(crate) fn of(peer: Option<IpAddr>, headers: &HeaderMap, trusted: &[AddressBlock]) -> Self {
        let is_trusted = |address: &IpAddr| trusted.iter().any(|block| block.contains(*address));
        let Some(mut address) = peer.map(|peer| peer.to_canonical()) else { return Self(None) };
        let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
        let hops = lines.flat_map(|line| line.to_str().unwrap_or("?").rsplit(','));
        for hop in hops {
            if !is_trusted(&address) {
                break;
            }
            match hop.trim().parse::<IpAddr>() {
                Ok(hop) => address = hop.to_canonical(),
                Err(_) => break,
            }
        }
        Self(Some(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted = ["10.0.0.0/8", "2001:db8::/32"].map(|text| text.parse().unwrap());
        let of = |peer: &str, lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(X_FORWARDED_FOR, line.parse().unwrap());
            }
            let address = ClientAddress::of(Some(peer.parse().unwrap()), &headers, &trusted);
            address.0.unwrap().to_string()
        };
        assert_eq!(of("192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(of("10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(of("10.0.0.1", &["1.1.1.1, 198.51.100.7, 10.9.9.9"]), "198.51.100.7");
        assert_eq!(of("10.0.0.1", &["1.1.1.1", "198.51.100.7 , 2001:db8::1"]), "198.51.100.7");
        assert_eq!(of("10.0.0.1", &["nonsense"]), "10.0.0.1");
        assert_eq!(of("10.0.0.1", &["1.1.1.1, nonsense, 10.2.2.2"]), "10.2.2.2");
        assert_eq!(of("::ffff:10.0.0.1", &["::ffff:192.0.2.9"]), "192.0.2.9");
        assert_eq!(of("10.0.0.1", &[]), "10.0.0.1");
    }
}
