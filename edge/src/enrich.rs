//! [`RawClick`] → [`Click`]: what is kept of a request. Pure.
//!
//! The address, the full user agent and the referring page end here.

mod kind;

use carom_shared::click::{Channel, Detail, Details, Device, Privacy};
use carom_shared::{Click, RawClick};

/// Turns what was seen into what is kept; holds the memory it needs from click to click.
#[derive(Debug, Default)]
pub struct Enricher {
    referrer: String,
}

impl Enricher {
    /// What is kept of a click.
    pub fn enrich<'a>(&'a mut self, raw: &RawClick<'_>) -> Click<'a> {
        self.referrer.clear();
        referrer_host(raw.referrer, &mut self.referrer);
        Click {
            workspace: raw.workspace,
            link: raw.link,
            domain: raw.domain,
            at_s: u32::try_from(raw.at_ms.div_euclid(1000).max(0)).unwrap_or(u32::MAX),
            n: 1,
            kind: kind::of(raw),
            via: raw.via,
            variant: raw.variant,
            status: raw.status,
            target_revision: raw.target_revision,
            visitor: 0,
            privacy: Privacy {
                do_not_track: raw.do_not_track,
                global_privacy_control: raw.global_privacy_control,
            },
            channel: Channel::Direct,
            device: Device::Unknown,
            details: Details::of(&[(Detail::Referrer, &self.referrer)]),
        }
    }
}

/// Appends the host of a referring http(s) page, in lower case and without port; nothing if the
/// referrer is anything else. A referrer is whatever a client sent: only what looks like a host
/// name passes.
fn referrer_host(referrer: &[u8], out: &mut String) {
    let Some(scheme_end) = referrer.windows(3).position(|window| window == b"://") else { return };
    let (scheme, rest) = (&referrer[..scheme_end], &referrer[scheme_end + 3..]);
    if !scheme.eq_ignore_ascii_case(b"https") && !scheme.eq_ignore_ascii_case(b"http") {
        return;
    }
    let authority = rest.split(|b| matches!(b, b'/' | b'?' | b'#')).next().unwrap_or_default();
    let host = authority.rsplit(|&b| b == b'@').next().unwrap_or_default();
    let host = host.split(|&b| b == b':').next().unwrap_or_default();
    let is_name = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if host.iter().all(is_name) {
        out.extend(host.iter().map(|b| char::from(b.to_ascii_lowercase())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn referrers_are_reduced_to_a_host() {
        for (referrer, host) in [
            ("https://News.Example.com/item?id=1", "news.example.com"),
            ("http://example.com:8080", "example.com"),
            ("HTTPS://user:pw@example.com/x", "example.com"),
            ("http://example.com?x=http://other/", "example.com"),
            ("android-app://com.slack/", ""),
            ("javascript:alert(1)", ""),
            ("https://<script>/", ""),
            ("https://[::1]/", ""),
            ("https://", ""),
            ("example.com", ""),
            ("", ""),
        ] {
            let mut out = String::new();
            referrer_host(referrer.as_bytes(), &mut out);
            assert_eq!(out, host, "{referrer:?}");
        }
        let mut out = String::new();
        referrer_host(b"https://\xff\xfe/", &mut out);
        assert_eq!(out, "");
    }
}
