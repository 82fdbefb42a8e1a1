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
        // Only campaigns are of interest; anything else in a query is between visitor and target.
        query: if query.contains("utm_") { query.as_bytes() } else { b"" },
    }
}
