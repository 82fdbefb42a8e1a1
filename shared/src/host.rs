//! The host of a domain, in the one form in which hosts are compared.
//!
//! Lower case, no port, no final dot, ASCII (names of other scripts in their `xn--` form), at most
//! 253 bytes. An IPv6 address keeps its brackets. `localhost`, `127.0.0.1` and `[::1]` are three
//! hosts here; that the default domain answers to all three when it is loopback is the edge's rule.

use crate::text::text_type;

/// A host in normal form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(Box<str>);

/// Why a text is not a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a host: expected a name such as go.example.com, or an IP address, with no path")]
pub struct HostError;

impl Host {
    pub const MAX_LEN: usize = 253;
    const MAX_LABEL_LEN: usize = 63;

    /// The host of a configured name, of a `Host` header or of an authority; a port is dropped.
    ///
    /// # Errors
    /// [`HostError`] if it is not a host name or an address with an optional port.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        let (name, port) = split_port(text);
        if port.is_some_and(|port| port.parse::<u16>().is_err()) {
            return Err(HostError);
        }
        // The URL standard's parser knows IDNA and every spelling of an address.
        let host = url::Host::parse(name).map_err(|_| HostError)?.to_string();
        let host = host.strip_suffix('.').unwrap_or(&host);
        let labels_fit =
            |host: &str| host.split('.').all(|l| (1..=Self::MAX_LABEL_LEN).contains(&l.len()));
        if host.len() > Self::MAX_LEN || !(host.starts_with('[') || labels_fit(host)) {
            return Err(HostError);
        }
        Ok(Self(host.into()))
    }

    /// Whether the host is this machine: `localhost`, a name under it, 127.0.0.0/8 or `[::1]`.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match url::Host::parse(&self.0) {
            Ok(url::Host::Ipv4(address)) => address.is_loopback(),
            Ok(url::Host::Ipv6(address)) => address.is_loopback(),
            _ => &*self.0 == "localhost" || self.0.ends_with(".localhost"),
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Splits `name:port`; brackets keep the colons of an IPv6 address together.
fn split_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => (name, Some(port)),
        _ => (text, None),
    }
}

text_type!(Host, HostError);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spellings_of_one_host_are_one_host() {
        let cases = [
            ("Go.Example.COM", "go.example.com"),
            ("go.example.com.", "go.example.com"),
            ("go.example.com:8443", "go.example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("127.0.0.1:8080", "127.0.0.1"),
            ("[::1]:8080", "[::1]"),
            ("[0:0:0:0:0:0:0:1]", "[::1]"),
            ("localhost", "localhost"),
        ];
        for (text, normal) in cases {
            assert_eq!(Host::parse(text).map(|host| host.to_string()), Ok(normal.into()), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_host() {
        let long_label = format!("{}.example", "x".repeat(64));
        let long_name = "abcdefg.".repeat(33) + "example";
        for bad in [
            "", ".", "a..b", ".com", "a b", "a/b", "user@host", "host:99999", "host:x",
            "host:80:80", "[::1", "::1", "a\0b", "a%zz", &long_label, &long_name,
        ] {
            assert_eq!(Host::parse(bad), Err(HostError), "{bad:?}");
        }
    }

    #[test]
    fn loopback() {
        for (text, expected) in [
            ("localhost", true),
            ("carom.localhost", true),
            ("127.0.0.1", true),
            ("127.1.2.3", true),
            ("[::1]", true),
            ("localhost.example.com", false),
            ("10.0.0.1", false),
            ("example.com", false),
        ] {
            assert_eq!(Host::parse(text).unwrap().is_loopback(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_normal_form_is_stable(text in "\\PC{0,40}|[a-zA-Z0-9.:\\[\\]-]{0,60}") {
            if let Ok(host) = Host::parse(&text) {
                prop_assert!(host.as_str().is_ascii());
                prop_assert!(!host.as_str().chars().any(|c| c.is_ascii_uppercase()));
                prop_assert_eq!(Host::parse(host.as_str()), Ok(host));
            }
        }
    }
}
