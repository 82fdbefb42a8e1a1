//! The five `utm_` parameters of a request's query.

use carom_shared::RawClick;
use carom_shared::click::Detail;
use url::form_urlencoded;

use super::text::clean;

/// Characters of a value, at most.
const CHARS_MAX: usize = 64;

pub(super) const FIELDS: [Detail; 5] = [
    Detail::UtmSource,
    Detail::UtmMedium,
    Detail::UtmCampaign,
    Detail::UtmTerm,
    Detail::UtmContent,
];

/// The values of [`FIELDS`], cleaned; empty where there is none.
#[derive(Debug, Default)]
pub(super) struct Campaign([String; FIELDS.len()]);

impl Campaign {
    /// Reads a query; the first value of each field that is not empty.
    pub(super) fn read(&mut self, query: &[u8]) {
        self.0.iter_mut().for_each(String::clear);
        for (name, value) in form_urlencoded::parse(whole(query)) {
            let field = FIELDS.iter().position(|field| field.as_str() == name);
            if let Some(text) = field.map(|field| &mut self.0[field]).filter(|of| of.is_empty()) {
                clean(&value, CHARS_MAX, text);
            }
        }
    }

    pub(super) fn values(&self) -> impl Iterator<Item = (Detail, &str)> {
        FIELDS.iter().copied().zip(self.0.iter().map(|value| &**value))
    }

    pub(super) fn medium(&self) -> &str {
        &self.0[1]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(String::is_empty)
    }
}

/// Without the half of a percent escape that the ring's limit may have left at the end.
fn whole(query: &[u8]) -> &[u8] {
    if query.len() < RawClick::QUERY_MAX {
        return query;
    }
    let tail = query.len() - 2;
    match query[tail..].iter().position(|&b| b == b'%') {
        Some(at) => &query[..tail + at],
        None => query,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn campaigns_are_decoded_and_cleaned() {
        for (query, expected) in [
            ("utm_source=News+Letter&utm_medium=email", ["News Letter", "email", "", "", ""]),
            ("a=b&utm_campaign=%C3%A4%20b", ["", "", "ä b", "", ""]),
            ("utm_source=&utm_source=x&utm_source=y", ["x", "", "", "", ""]),
            ("utm_term=a%00b%0d%0Ac&utm_content=%20%3Cb%3E ", ["", "", "", "abc", "<b>"]),
            ("utm_source=%ff%fe&UTM_MEDIUM=x", ["", "", "", "", ""]),
            ("utm_%73ource=x", ["x", "", "", "", ""]),
            ("utm_source", ["", "", "", "", ""]),
            ("", ["", "", "", "", ""]),
        ] {
            let mut campaign = Campaign::default();
            campaign.read(query.as_bytes());
            assert_eq!(campaign.values().map(|(_, value)| value).collect::<Vec<_>>(), expected);
            assert_eq!(campaign.is_empty(), expected.iter().all(|value| value.is_empty()));
        }
        let mut campaign = Campaign::default();
        campaign.read(format!("utm_source={}", "x".repeat(100)).as_bytes());
        assert_eq!(campaign.values().next(), Some((Detail::UtmSource, &*"x".repeat(64))));
    }

    #[test]
    fn an_escape_that_was_cut_is_left_out() {
        let start = format!("{}&utm_source=", "x".repeat(RawClick::QUERY_MAX - 15));
        for (end, value) in [("abc", "abc"), ("ab%", "ab"), ("a%4", "a"), ("%41", "A"), ("%C3", "")]
        {
            let query = format!("{start}{end}");
            assert_eq!(query.len(), RawClick::QUERY_MAX);
            let mut campaign = Campaign::default();
            campaign.read(query.as_bytes());
            assert_eq!(campaign.values().next(), Some((Detail::UtmSource, value)), "{end}");
        }
    }
}
