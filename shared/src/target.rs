//! The target of a link: a web address that is safe to send a browser to.
//!
//! The parser is the URL standard's (`url`), which repairs what it can: it drops tabs and line
//! ends, reads `http:example.com` as `http://example.com/`, and knows every spelling of an IP
//! address. So the rules stand on both sides of it. Raw text with controls, or that does not begin
//! with `http://` or `https://` and a host, is refused before it; scheme, user, host and length are
//! judged after it. What is stored and shown is the serialised URL, never the raw text, because a
//! person and a parser may read the raw text differently (`https://evil.example\@bank.example`).
//!
//! Names of other scripts follow Unicode Technical Standard 39: a label mixes scripts only where
//! writing does (Latin beside Chinese, Japanese or Korean; "highly restrictive"), and no host may
//! look like one of the installation's own. Labels that begin or end with a hyphen, or hold an
//! underscore, are let through: such hosts exist and browsers open them.

use std::collections::HashSet;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use unicode_security::{MixedScript, RestrictionLevel, RestrictionLevelDetection, skeleton};
use url::Url;

use crate::Host;

/// A target that passed [`TargetUrl::parse`]: an ASCII `http` or `https` URL without user,
/// controls or spaces, fit to be the value of a `Location` header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TargetUrl {
    url: Box<str>,
    host: Host,
}

/// What one installation lets links point to.
#[derive(Clone, Debug)]
pub struct TargetPolicy {
    /// Longest serialised URL, in bytes; [`TargetUrl::MAX_LEN`] holds above it.
    pub max_len: usize,
    /// Whether links may lead into private networks: addresses that are not public, names such as
    /// `localhost` and `*.internal`, and names without a dot. For installations in an intranet.
    pub allow_private: bool,
    /// The hosts that serve short links. A target there could be a loop; a target that looks like
    /// one is a forgery.
    pub own_hosts: OwnHosts,
}

/// Hosts, and what they look like: however many there are, a target is compared with one look-up.
#[derive(Clone, Debug, Default)]
pub struct OwnHosts {
    hosts: HashSet<Host>,
    looks: HashSet<String>,
}

impl OwnHosts {
    /// Whether links are served on this host.
    #[must_use]
    pub fn has(&self, host: &Host) -> bool {
        self.hosts.contains(host)
    }
}

impl FromIterator<Host> for OwnHosts {
    fn from_iter<I: IntoIterator<Item = Host>>(hosts: I) -> Self {
        let hosts: HashSet<Host> = hosts.into_iter().collect();
        let look = |host: &Host| folded_skeleton(&idna::domain_to_unicode(host.as_str()).0);
        let looks = hosts.iter().map(look).collect();
        Self { hosts, looks }
    }
}

impl Default for TargetPolicy {
    fn default() -> Self {
        Self { max_len: 2048, allow_private: false, own_hosts: OwnHosts::default() }
    }
}

/// Why a text is not accepted as a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("the URL holds a line break or another control character; remove it")]
    Character,
    #[error("the URL does not begin with http:// or https:// and a host; write it out in full")]
    Scheme,
    #[error("the text is not a valid URL ({0}); correct it")]
    Malformed(url::ParseError),
    #[error("the URL holds a user name or password; remove everything before the @")]
    Credentials,
    #[error("port 0 does not exist; name another port or none")]
    Port,
    #[error(
        "the host is not a valid name: each part between dots has 1 to 63 characters, all of it at \
         most {}; correct it",
        Host::MAX_LEN
    )]
    HostName,
    #[error("the host has no dot; use a full name such as www.example.com")]
    SingleLabel,
    #[error(
        "the host is in a private or reserved network, which visitors cannot reach; use a public host"
    )]
    Private,
    #[error(
        "the host serves short links itself, so the link could lead to itself; use the final address"
    )]
    OwnHost,
    #[error(
        "a part of the host mixes letters of several scripts, as forged names do; use its real name"
    )]
    MixedScript,
    #[error(
        "the host looks like one of this service's own but is another; use a host that cannot be mistaken"
    )]
    Confusable,
    #[error("the URL is longer than the {max} bytes that are allowed; shorten it")]
    TooLong { max: usize },
}

impl TargetError {
    /// The error's name for programs; it does not change from version to version.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Character => "target-control-character",
            Self::Scheme => "target-not-http",
            Self::Malformed(_) => "target-malformed",
            Self::Credentials => "target-credentials",
            Self::Port => "target-port",
            Self::HostName => "target-host",
            Self::SingleLabel => "target-single-label-host",
            Self::Private => "target-private-host",
            Self::OwnHost => "target-own-host",
            Self::MixedScript => "target-mixed-scripts",
            Self::Confusable => "target-confusable-host",
            Self::TooLong { .. } => "target-too-long",
        }
    }
}

impl TargetUrl {
    /// Bytes of the longest target under any policy: what the formats have room for.
    pub const MAX_LEN: usize = 8192;

    /// Reads a target as a client wrote it; spaces around it are dropped.
    ///
    /// # Errors
    /// [`TargetError`] names the first rule that the text breaks.
    pub fn parse(raw: &str, policy: &TargetPolicy) -> Result<Self, TargetError> {
        let max = policy.max_len.min(Self::MAX_LEN);
        let raw = raw.trim_matches(' ');
        // Serialising makes a URL longer, but for dot segments and wide characters in the host:
        // a longer text than this is not worth the parser's time.
        if raw.len() > Self::MAX_LEN {
            return Err(TargetError::TooLong { max });
        }
        if raw.contains(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
            return Err(TargetError::Character);
        }
        let raw = raw.trim();
        if !begins_with_http_and_host(raw) {
            return Err(TargetError::Scheme);
        }
        let url = Url::parse(raw).map_err(TargetError::Malformed)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(TargetError::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TargetError::Credentials);
        }
        if url.port() == Some(0) {
            return Err(TargetError::Port);
        }
        let host =
            Host::parse(url.host_str().unwrap_or_default()).map_err(|_| TargetError::HostName)?;
        check_host(&url, &host, policy)?;
        let url = String::from(url);
        if url.len() > max {
            return Err(TargetError::TooLong { max });
        }
        if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TargetError::Character);
        }
        Ok(Self { url: url.into(), host })
    }

    /// The serialised URL: what is stored, shown and sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// The host in normal form: no port, no final dot, names of other scripts as `xn--`.
    #[must_use]
    pub const fn host(&self) -> &Host {
        &self.host
    }
}

impl fmt::Display for TargetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

/// `^https?://[^/\\]`, in any case: the parser would take fewer slashes, more, or backslashes.
fn begins_with_http_and_host(raw: &str) -> bool {
    let Some((scheme, rest)) = raw.split_once("://") else { return false };
    (scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https"))
        && rest.chars().next().is_some_and(|first| first != '/' && first != '\\')
}

fn check_host(url: &Url, host: &Host, policy: &TargetPolicy) -> Result<(), TargetError> {
    if policy.own_hosts.hosts.contains(host) {
        return Err(TargetError::OwnHost);
    }
    let is_public = match url.host() {
        Some(url::Host::Ipv4(address)) => is_public_v4(address),
        Some(url::Host::Ipv6(address)) => is_public_v6(address),
        _ => return check_name(host.as_str(), policy),
    };
    if is_public || policy.allow_private { Ok(()) } else { Err(TargetError::Private) }
}

fn check_name(name: &str, policy: &TargetPolicy) -> Result<(), TargetError> {
    if !policy.allow_private {
        if is_private_name(name) {
            return Err(TargetError::Private);
        }
        if !name.contains('.') {
            return Err(TargetError::SingleLabel);
        }
    }
    let (shown, decoded) = idna::domain_to_unicode(name);
    // The parser has decoded it once already; should it ever disagree with itself, refuse.
    decoded.map_err(|_| TargetError::HostName)?;
    if !shown.split('.').all(is_written_in_one_way) {
        return Err(TargetError::MixedScript);
    }
    if policy.own_hosts.looks.contains(&folded_skeleton(&shown)) {
        return Err(TargetError::Confusable);
    }
    Ok(())
}

/// UTS 39, 5.1 and 5.2. The second test alone would refuse symbols, which belong to no script.
fn is_written_in_one_way(label: &str) -> bool {
    label.is_single_script() || label.check_restriction_level(RestrictionLevel::HighlyRestrictive)
}

/// What a host looks like (UTS 39, 4). Folded, because the skeleton of `0` is a capital `O`.
fn folded_skeleton(host: &str) -> String {
    skeleton(host).flat_map(char::to_lowercase).collect()
}

/// RFC 6761 (localhost), 6762 (local), 8375 (home.arpa); `internal` is reserved by ICANN.
fn is_private_name(name: &str) -> bool {
    ["localhost", "local", "internal", "home.arpa"].iter().any(|suffix| {
        name.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

/// Outside the blocks of IANA's special-purpose registry (RFC 6890), and not multicast.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = match (a, b) {
        // This network; private; loopback; multicast, reserved and broadcast.
        (0 | 10 | 127 | 224.., _) => true,
        // Carrier-grade NAT, 100.64.0.0/10 (RFC 6598).
        (100, b) => b & 0xc0 == 64,
        (169, 254) | (192, 168) => true,
        (172, b) => b & 0xf0 == 16,
        // Protocol assignments, documentation (RFC 5737), relays of 6to4 (RFC 7526).
        (192, 0) => c == 0 || c == 2,
        (192, 88) => c == 99,
        // Benchmarks, 198.18.0.0/15 (RFC 2544); documentation.
        (198, b) => b & 0xfe == 18 || (b == 51 && c == 100),
        (203, 0) => c == 113,
        _ => false,
    };
    !is_special
}

/// In `2000::/3`, the one block of global unicast addresses (RFC 4291), but for what is special
/// there. Loopback, link-local, unique local, multicast, IPv4 inside IPv6 (`::ffff:0:0/96`) and
/// NAT64 (`64:ff9b::/96`) all lie outside of it.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    let is_special = match a {
        // Protocol assignments, Teredo and ORCHID (2001::/23); documentation (RFC 3849).
        0x2001 => b < 0x200 || b == 0xdb8,
        // 6to4: the IPv4 address inside can be any (RFC 3056).
        0x2002 => true,
        // Documentation, 3fff::/20 (RFC 9637).
        0x3fff => b < 0x1000,
        _ => false,
    };
    a & 0xe000 == 0x2000 && !is_special
}

#[cfg(test)]
mod tests;
