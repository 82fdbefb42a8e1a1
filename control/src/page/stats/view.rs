//! What a page with statistics shows, as its address says it. Pure.

use carom_shared::UnixMillis;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::Deserialize;
use url::form_urlencoded::Serializer;

use super::panel::Panel;
use crate::click::report::Dimension;
use crate::click::report::params::ReportParams;
use crate::click::report::time::{Compare, Interval, Zone};
use crate::http::problem::ApiError;
use crate::page::period::{DEFAULT, Preset, Range, intervals};

const HOUR_MS: i64 = 3_600_000;

/// The address. What is not there is as it is by default.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::page) struct View {
    pub(super) period: Option<String>,
    /// Dates or times, instead of a period.
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    pub(super) interval: Option<Interval>,
    pub(super) compare: Option<Compare>,
    pub(super) filter: Option<String>,
    /// Of the links that have it alone.
    pub(super) tag: Option<String>,
    /// Of one host alone.
    pub(super) domain: Option<String>,
    /// What the chart shows: `visitors`, `bots`; clicks unless it says otherwise.
    pub(super) metric: Option<String>,
    pub(super) sources: Option<String>,
    pub(super) places: Option<String>,
    pub(super) devices: Option<String>,
    pub(super) campaigns: Option<String>,
    pub(super) links: Option<String>,
    /// The panel of which a longer list is shown.
    pub(super) more: Option<String>,
}

/// The address with its defaults filled in.
pub(super) struct Asked {
    pub(super) preset: Option<&'static Preset>,
    pub(super) today: Date,
    /// The days that it covers; `None` for times within days.
    pub(super) days: Option<(Date, Date)>,
    from: String,
    to: String,
    pub(super) interval: Option<Interval>,
    pub(super) compare: Compare,
    pub(super) filter: String,
    domain: Option<String>,
    zone: String,
}

/// A parameter that says something: an empty field of a form is one that was not filled in.
fn said(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

impl View {
    /// The statistics of a tag, all else as it is by default.
    pub(in crate::page) fn of_tag(tag: &str) -> Self {
        Self { tag: Some(tag.to_owned()), ..Self::default() }
    }

    /// The same clicks, all else as it is by default.
    pub(super) fn narrowed(&self) -> Self {
        Self { tag: self.tag.clone(), domain: self.domain.clone(), ..Self::default() }
    }

    pub(super) fn tab(&self, panel: &str) -> Option<&str> {
        said(match panel {
            "links" => self.links.as_ref(),
            "sources" => self.sources.as_ref(),
            "places" => self.places.as_ref(),
            "devices" => self.devices.as_ref(),
            "campaigns" => self.campaigns.as_ref(),
            _ => None,
        })
    }

    pub(in crate::page) fn tag(&self) -> Option<&str> {
        said(self.tag.as_ref())
    }

    pub(in crate::page) fn domain(&self) -> Option<&str> {
        said(self.domain.as_ref())
    }

    fn is_custom(&self) -> bool {
        said(self.from.as_ref()).is_some() || said(self.to.as_ref()).is_some()
    }

    /// Whether it asks about all time, and [`View::asked`] has to know when that began.
    pub(super) fn is_of_all_time(&self) -> bool {
        !self.is_custom() && self.period.as_deref() == Some("all")
    }

    /// `first`: when clicks begin, where that matters.
    pub(super) fn asked(
        &self,
        zone: &Zone,
        now: UnixMillis,
        first: Option<UnixMillis>,
    ) -> Result<Asked, ApiError> {
        let today = zone.today(now);
        let name = said(self.period.as_ref()).unwrap_or(DEFAULT);
        let unknown = || ApiError::Request("there is no such period".into());
        let preset = match self.is_custom() {
            true => None,
            false => Some(Preset::find(name).ok_or_else(unknown)?),
        };
        let mut hours = None;
        let days = match preset.map(|preset| preset.range) {
            Some(Range::Days(days)) => days(today).ok(),
            Some(Range::All) => Some((first.map_or(today, |first| zone.today(first)), today)),
            Some(Range::Hours(count)) => {
                hours = Some(hours_until(now, count));
                None
            }
            None => {
                let date = |text: Option<&String>| {
                    said(text).map_or(Some(today), |text| {
                        (text.len() == 10).then(|| text.parse().ok()).flatten()
                    })
                };
                date(self.from.as_ref()).zip(date(self.to.as_ref()))
            }
        };
        let (from, to) = match (days, hours) {
            (Some((from, to)), _) => (from.to_string(), to.to_string()),
            (None, Some(hours)) => hours,
            (None, None) => (
                self.from.clone().unwrap_or_default(),
                said(self.to.as_ref()).map_or_else(|| today.to_string(), str::to_owned),
            ),
        };
        let fitting = days.map(|days| intervals(length(days)));
        let best = preset.map_or(fitting.map(|fitting| fitting[0]), |preset| match preset.range {
            Range::Hours(_) => Some(Interval::Hour),
            Range::Days(_) | Range::All => fitting.map(|fitting| fitting[0]),
        });
        // Nothing is before all time.
        let is_all = preset.is_some_and(|preset| matches!(preset.range, Range::All));
        let compare = self.compare.unwrap_or(Compare::Previous);
        Ok(Asked {
            preset,
            today,
            days,
            from,
            to,
            interval: self.interval.or(best),
            compare: if is_all { Compare::None } else { compare },
            filter: self.filter.clone().unwrap_or_default(),
            domain: self.domain().map(str::to_owned),
            zone: zone.name.clone(),
        })
    }

    /// The parameters as they are, for addresses and forms.
    pub(super) fn pairs(&self) -> Vec<(&'static str, String)> {
        let compare = self.compare.map(|compare| compare_word(compare).to_owned());
        let interval = self.interval.map(|interval| interval.as_str().to_owned());
        let all = [
            ("tag", self.tag.clone()),
            ("domain", self.domain.clone()),
            ("period", self.period.clone()),
            ("from", self.from.clone()),
            ("to", self.to.clone()),
            ("interval", interval),
            ("compare", compare),
            ("filter", self.filter.clone()),
            ("metric", self.metric.clone()),
            ("sources", self.sources.clone()),
            ("places", self.places.clone()),
            ("devices", self.devices.clone()),
            ("campaigns", self.campaigns.clone()),
            ("links", self.links.clone()),
            ("more", self.more.clone()),
        ];
        let said = all.into_iter().filter_map(|(name, value)| Some((name, value?)));
        said.filter(|(_, value)| !value.is_empty()).collect()
    }

    /// The address of the same view with some parameters changed; an empty value leaves one out.
    pub(in crate::page) fn href(&self, path: &str, changes: &[(&'static str, &str)]) -> String {
        let mut query = Serializer::for_suffix(format!("{path}?"), path.len() + 1);
        for (name, value) in self.pairs() {
            if changes.iter().all(|(changed, _)| *changed != name) {
                query.append_pair(name, &value);
            }
        }
        query.extend_pairs(changes.iter().filter(|(_, value)| !value.is_empty()));
        let address = query.finish();
        address.strip_suffix('?').map_or(address.clone(), str::to_owned)
    }
}

/// So many whole hours up to the end of the one that is under way, as times.
fn hours_until(now: UnixMillis, count: u32) -> (String, String) {
    let end = (now.get() / HOUR_MS + 1) * HOUR_MS;
    let text = |at| Timestamp::from_millisecond(at).unwrap_or(Timestamp::UNIX_EPOCH).to_string();
    (text(end - i64::from(count) * HOUR_MS), text(end))
}

/// Days from the first to the last.
pub(super) fn length((from, to): (Date, Date)) -> i64 {
    from.until(to).map_or(1, |span| i64::from(span.get_days()) + 1)
}

pub(super) const fn compare_word(compare: Compare) -> &'static str {
    match compare {
        Compare::None => "none",
        Compare::Previous => "previous",
        Compare::Year => "year",
    }
}

impl Asked {
    /// The question, as the API takes it.
    pub(super) fn params(&self, panels: &[(&Panel, Dimension)], limit: usize) -> ReportParams {
        let by: Vec<&str> = panels.iter().map(|(_, dimension)| dimension.as_str()).collect();
        ReportParams {
            from: Some(self.from.clone()),
            to: Some(self.to.clone()),
            tz: Some(self.zone.clone()),
            interval: self.interval,
            by: Some(by.join(",")).filter(|by| !by.is_empty()),
            filter: Some(self.filter.clone()).filter(|filter| !filter.is_empty()),
            tag: None,
            domain: self.domain.clone(),
            limit: Some(limit),
            compare: Some(self.compare),
            format: None,
            table: None,
        }
    }

    /// The same in hours and without lists: the pattern of a week is made of it.
    pub(super) fn hours(&self) -> ReportParams {
        let params = self.params(&[], 1);
        ReportParams { interval: Some(Interval::Hour), compare: Some(Compare::None), ..params }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::NOW;

    fn view(period: &str) -> View {
        View { period: Some(period.into()), ..View::default() }
    }

    #[test]
    fn the_last_hours_are_whole_ones() {
        let zone = Zone::parse("Asia/Kolkata").unwrap();
        let now = UnixMillis::new(NOW.get() + 59 * 60_000);
        let asked = view("24h").asked(&zone, now, None).unwrap();
        let params = asked.params(&[], 1);
        assert_eq!(params.from.as_deref(), Some("2025-12-31T01:00:00Z"));
        assert_eq!(params.to.as_deref(), Some("2026-01-01T01:00:00Z"));
        assert_eq!((asked.interval, asked.days), (Some(Interval::Hour), None));
    }

    #[test]
    fn all_time_begins_with_the_first_click() {
        let zone = Zone::parse("UTC").unwrap();
        let all = view("all");
        assert!(all.is_of_all_time() && !view("30d").is_of_all_time());
        let first = Some(UnixMillis::new(NOW.get() - 800 * 86_400_000));
        let asked = all.asked(&zone, NOW, first).unwrap();
        let params = asked.params(&[], 1);
        assert_eq!(params.from.as_deref(), Some("2023-10-24"));
        assert_eq!((params.interval, params.compare), (Some(Interval::Month), Some(Compare::None)));
        let never = all.asked(&zone, NOW, None).unwrap();
        assert_eq!(never.days.map(length), Some(1));
    }

    #[test]
    fn an_address_keeps_what_is_not_changed() {
        let view = View {
            tag: Some("a&b".into()),
            metric: Some("bots".into()),
            to: Some(String::new()),
            ..view("7d")
        };
        assert_eq!(view.href("/x", &[("metric", "")]), "/x?tag=a%26b&period=7d");
        assert_eq!(view.href("/x", &[("tag", ""), ("period", ""), ("metric", "")]), "/x");
    }
}
