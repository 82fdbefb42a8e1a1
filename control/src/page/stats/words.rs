//! What clicks are told apart by, and the values of it that Carom names itself, in words.

use carom_shared::click::Detail;

use crate::click::report::Dimension;
use crate::page::message::message;
use crate::page::message::phrase::{Phrase, phrase};

/// A dimension, where it stands alone.
pub(in crate::page) const fn dimension(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::Detail(detail) => name(detail),
        Dimension::Channel => message("Channel"),
        Dimension::Device => message("Device"),
        Dimension::Kind => message("Kind"),
        Dimension::Via => message("Link or QR"),
        Dimension::Status => message("Status"),
        Dimension::Variant => message("Variant"),
        Dimension::TargetRevision => message("Target"),
        Dimension::Domain => message("Domain"),
        Dimension::Link => message("Link"),
    }
}

const fn name(detail: Detail) -> &'static str {
    match detail {
        Detail::Referrer => message("Referrer"),
        Detail::ReferrerPath => message("Referring page"),
        Detail::Country => message("Country"),
        Detail::Region => message("Region"),
        Detail::City => message("City"),
        Detail::Browser => message("Browser"),
        Detail::BrowserVersion => message("Browser version"),
        Detail::Os => message("System"),
        Detail::OsVersion => message("System version"),
        Detail::Language => message("Language"),
        Detail::UtmSource => message("Campaign source"),
        Detail::UtmMedium => message("Campaign medium"),
        Detail::UtmCampaign => message("Campaign"),
        Detail::UtmTerm => message("Campaign term"),
        Detail::UtmContent => message("Campaign content"),
    }
}

/// A value. Names that visitors or lists gave are the same in every language.
pub(in crate::page) fn value(dimension: Dimension, value: &str) -> Phrase {
    let known = match (dimension, value) {
        (Dimension::Detail(Detail::Referrer | Detail::ReferrerPath), "") => {
            message("direct or unknown")
        }
        (Dimension::Detail(detail), "") if detail.as_str().starts_with("utm_") => message("none"),
        (_, "") => message("unknown"),
        (Dimension::Channel, value) => channel(value),
        (Dimension::Device, value) => device(value),
        (Dimension::Kind, value) => kind(value),
        (Dimension::Via, "link") => message("link"),
        (Dimension::Via, "qr") => message("QR code"),
        _ => "",
    };
    if known.is_empty() { Phrase::data(value) } else { phrase(known) }
}

fn channel(value: &str) -> &'static str {
    match value {
        "direct" => message("direct"),
        "referral" => message("referral"),
        "search" => message("search"),
        "social" => message("social networks"),
        "mail" => message("mail"),
        "messenger" => message("messenger"),
        "video" => message("video"),
        "ai" => message("AI"),
        "paid" => message("paid"),
        "campaign" => message("campaign"),
        _ => "",
    }
}

fn device(value: &str) -> &'static str {
    match value {
        "unknown" => message("unknown"),
        "desktop" => message("desktop"),
        "mobile" => message("mobile"),
        "tablet" => message("tablet"),
        "tv" => message("TV"),
        "console" => message("console"),
        "wearable" => message("wearable"),
        _ => "",
    }
}

fn kind(value: &str) -> &'static str {
    match value {
        "human" => message("human"),
        "bot" => message("bot"),
        "preview" => message("preview"),
        "prefetch" => message("prefetch"),
        "head" => message("HEAD request"),
        _ => "",
    }
}

/// Several as one; `None` of none.
pub(in crate::page) fn listed(all: impl IntoIterator<Item = Phrase>) -> Option<Phrase> {
    let with = |first, rest| phrase("{first}, {rest}").put("first", first).put("rest", rest);
    all.into_iter().reduce(with)
}

#[cfg(test)]
mod tests {
    use super::*;
    use carom_shared::click::{Channel, Device, Kind, Via};

    /// A value that is new has words too.
    #[test]
    fn every_value_of_our_own_is_a_message() {
        let of = |dimension, values: Vec<&'static str>| {
            for it in values {
                assert_ne!(value(dimension, it), Phrase::data(it), "{dimension:?} {it}");
            }
        };
        of(Dimension::Channel, Channel::ALL.iter().map(|it| it.as_str()).collect());
        of(Dimension::Device, Device::ALL.iter().map(|it| it.as_str()).collect());
        of(Dimension::Kind, Kind::ALL.iter().map(|it| it.as_str()).collect());
        of(Dimension::Via, Via::ALL.iter().map(|it| it.as_str()).collect());
        assert_eq!(value(Dimension::Detail(Detail::Browser), "search"), Phrase::data("search"));
    }
}
