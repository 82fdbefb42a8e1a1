//! The address of a visitor behind proxies that the operator trusts: by a header of each request (here,
//! pure), or by one before the first ([`protocol`]).

pub(crate) mod protocol;

use std::net::{IpAddr, SocketAddr};

use carom_shared::AddressBlock;
use http::{HeaderMap, HeaderName, HeaderValue};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What a request has of `X-Forwarded-For`.
#[derive(Clone, Copy, Debug)]
pub enum ForwardedFor<'a> {
    /// It is there once or not at all.
    Line(Option<&'a [u8]>),
    /// It is in there, as often as it may be.
    Headers(&'a HeaderMap),
}

impl Default for ForwardedFor<'_> {
    fn default() -> Self {
        Self::Line(None)
    }
}

impl<'a> ForwardedFor<'a> {
    /// Several headers are one list, in their order (RFC 9110 5.3).
    fn lines(self) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        let (line, headers) = match self {
            Self::Line(line) => (line, None),
            Self::Headers(headers) => (None, Some(headers)),
        };
        let headers = headers.into_iter().flat_map(|headers| headers.get_all(FORWARDED_FOR).iter());
        line.into_iter().chain(headers.map(HeaderValue::as_bytes))
    }
}

/// The address that a request is from: of its connection, unless that is a trusted proxy's. Then
/// `X-Forwarded-For` is read from its end, where each proxy adds whom it heard from, up to the
/// first address that is not trusted: everything before was written by strangers.
///
/// An entry that is no address ends the walk: what was trusted last is the answer.
#[must_use]
pub(crate) fn client(
    trusted: &[AddressBlock],
    peer: IpAddr,
    forwarded_for: ForwardedFor<'_>,
) -> IpAddr {
    if trusted.is_empty() {
        return peer;
    }
    walk(trusted, peer, forwarded_for)
}

/// Apart, to keep the way without proxies short.
#[cold]
fn walk(trusted: &[AddressBlock], peer: IpAddr, forwarded_for: ForwardedFor<'_>) -> IpAddr {
    let is_trusted = |address| trusted.iter().any(|block| block.contains(address));
    let mut client = peer;
    let lines = forwarded_for.lines();
    let mut entries = lines.rev().flat_map(|line| line.rsplit(|&b| b == b','));
    while is_trusted(client) {
        match entries.next().map(address) {
            Some(Some(address)) => client = address,
            Some(None) | None => break,
        }
    }
    client
}

/// An address, with or without port.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse()
        .ok()
        .or_else(|| text.parse().ok().map(|address: SocketAddr| address.ip()))
        .map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_most_stranger_is_the_visitor() {
        let trusted: Vec<_> = ["10.0.0.0/8", "2001:db8::/32"]
            .iter()
            .map(|block| AddressBlock::parse(block).unwrap())
            .collect();
        for (peer, lines, expected) in [
            // Strangers may send what they like.
            ("203.0.113.1", &["198.51.100.1"][..], "203.0.113.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["1.1.1.1,198.51.100.1, 10.9.9.9"], "198.51.100.1"),
            ("10.0.0.1", &["1.1.1.1", "198.51.100.1", "10.9.9.9"], "198.51.100.1"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("10.0.0.1", &["[2001:db9::1]:4711"], "2001:db9::1"),
            ("10.0.0.1", &["[2001:db9::1]"], "2001:db9::1"),
            ("2001:db8::1", &["::ffff:198.51.100.1"], "198.51.100.1"),
            // Nonsense ends the walk.
            ("10.0.0.1", &["1.1.1.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["1.1.1.1, , 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &[""], "10.0.0.1"),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(FORWARDED_FOR, line.parse().unwrap());
            }
            let peer = peer.parse().unwrap();
            let of_headers = ForwardedFor::Headers(&headers);
            let expected: IpAddr = expected.parse().unwrap();
            assert_eq!(client(&trusted, peer, of_headers), expected, "{peer} {lines:?}");
            assert_eq!(client(&[], peer, of_headers), peer);
            if lines.len() < 2 {
                let line = ForwardedFor::Line(lines.first().map(|line| line.as_bytes()));
                assert_eq!(client(&trusted, peer, line), expected, "{peer} {lines:?}");
            }
        }
    }
}
