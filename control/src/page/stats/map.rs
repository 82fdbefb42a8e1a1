//! The map of countries. Its shapes are a file, `map.svg`, which is the same for everybody and loaded
//! where it is shown; a page has a class and a link for each country that was clicked from.

use crate::click::report::TopValue;
use crate::page::message::phrase::Phrase;
use crate::page::text::percent;

/// Countries of the map, as a page shows them.
pub(in crate::page) struct Map {
    pub(in crate::page) places: Vec<Place>,
}

/// A country.
pub(in crate::page) struct Place {
    /// Two letters, as ISO 3166-1 has them: the shape's name too.
    pub(in crate::page) code: String,
    /// Of five, the most is 5.
    pub(in crate::page) class: u8,
    pub(in crate::page) clicks: u64,
    /// Of all clicks, in percent.
    pub(in crate::page) share: Phrase,
    pub(in crate::page) href: Option<String>,
}

impl Map {
    /// `href` gives the view of a country alone.
    pub(super) fn of(
        values: &[TopValue],
        whole: u64,
        href: impl Fn(&str) -> Option<String>,
    ) -> Self {
        let most = values.iter().filter(|it| is_code(&it.value)).map(|it| it.clicks).max();
        let place = |value: &TopValue| Place {
            code: value.value.clone(),
            class: class(value.clicks, most.unwrap_or_default()),
            clicks: value.clicks,
            share: percent(value.clicks, whole),
            href: href(&value.value),
        };
        let known = values.iter().filter(|value| is_code(&value.value) && value.clicks > 0);
        Self { places: known.map(place).collect() }
    }
}

/// Whether it is a country's code: it becomes a part of an address.
fn is_code(text: &str) -> bool {
    text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// By orders of magnitude: one country has most of the clicks nearly everywhere, and on an even scale
/// all others would look alike.
fn class(clicks: u64, most: u64) -> u8 {
    let (clicks, most) = (clicks.max(1).ilog2() + 1, most.max(1).ilog2() + 1);
    u8::try_from((clicks * 5).div_ceil(most)).unwrap_or(5).clamp(1, 5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_has_countries_alone() {
        let value = |value: &str, clicks| TopValue { value: value.into(), clicks, visitors: 0 };
        let values =
            [value("", 90), value("DE", 64), value("FR", 8), value("IT", 1), value("<b", 5)];
        let map = Map::of(&values, 168, |code| Some(format!("?{code}")));
        let shown: Vec<_> = map.places.iter().map(|it| (it.code.as_str(), it.class)).collect();
        assert_eq!(shown, [("DE", 5), ("FR", 3), ("IT", 1)]);
        assert_eq!((map.places[0].clicks, &map.places[0].share), (64, &percent(64, 168)));
        assert_eq!(map.places[1].href.as_deref(), Some("?FR"));
    }

    /// Every code that an address database gives has a shape or a dot.
    #[test]
    fn the_file_has_the_countries() {
        let file = include_str!("../../../assets/map.svg");
        for code in ["DE", "US", "SG", "XK", "FJ", "RU", "MT", "HK"] {
            assert!(file.contains(&format!("id=\"{code}\"")), "{code}");
        }
        assert!(file.contains("id=\"world\"") && !file.contains("style"));
    }
}
