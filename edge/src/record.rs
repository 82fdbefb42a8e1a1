//! A redirect that is about to be answered → the [`RawClick`] that is recorded first. Pure.

use std::net::IpAddr;

use carom_shared::click::Via;
use carom_shared::{RawClick, UnixMillis};

use crate::request::{Ask, Visitor};
use crate::respond::Redirect;

/// What a QR code adds to the short URL it holds.
const QR_MARK: &str = "via=qr";

/// The click of one redirect. Whoever is sent to the fallback of an ended link is counted too, with
/// the status that was answered and target revision 0.
#[must_use]
pub fn click<'a>(
    ask: &Ask<'a>,
    visitor: &Visitor<'a>,
    address: IpAddr,
    redirect: &Redirect<'_>,
    now: UnixMillis,
) -> RawClick<'a> {
    let query = ask.query.unwrap_or_default();
    let via = if query.split('&').any(|pair| pair == QR_MARK) { Via::Qr } else { Via::Link };
    RawClick {
        at_ms: now.get(),
        link: redirect.route().link,
        workspace: redirect.route().workspace,
        domain: ask.domain,
        address,
        target_revision: redirect.target_revision(),
        status: redirect.status().code(),
        variant: 0,
        via,
        head: ask.head,
        prefetch: visitor.prefetch,
        do_not_track: visitor.do_not_track,
        global_privacy_control: visitor.global_privacy_control,
        user_agent: visitor.user_agent,
        referrer: visitor.referrer,
        language: visitor.language,
        query: campaign(query).as_bytes(),
    }
}

/// A query from its first parameter of a campaign on; the ring has room for 255 bytes, and what
/// others put in front must not take it. Anything else is between visitor and target.
fn campaign(query: &str) -> &str {
    let mut starts = query.match_indices("utm_").map(|(at, _)| at);
    let first = starts.find(|at| *at == 0 || query.as_bytes()[at - 1] == b'&');
    first.and_then(|at| query.get(at..)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_kept_from_its_campaign_on() {
        for (query, kept) in [
            ("utm_source=a&b=c", "utm_source=a&b=c"),
            ("fbclid=x&utm_source=a", "utm_source=a"),
            ("to=utm_x&utm_source=a", "utm_source=a"),
            ("xutm_source=a", ""),
            ("a=b", ""),
            ("", ""),
        ] {
            assert_eq!(campaign(query), kept, "{query}");
        }
    }
}
