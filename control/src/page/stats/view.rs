//! What a page with statistics shows, as its address says it. Pure.

use carom_shared::UnixMillis;
use carom_shared::click::Detail;
use jiff::civil::Date;
use serde::Deserialize;
use url::form_urlencoded::Serializer;

use crate::click::report::Dimension;
use crate::click::report::params::ReportParams;
use crate::click::report::time::{Compare, Interval, Zone};
use crate::http::problem::ApiError;
use crate::page::period::{DEFAULT, Preset, intervals};

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
    /// What the chart shows: `visitors`, `bots`; clicks unless it says otherwise.
    pub(super) metric: Option<String>,
    pub(super) sources: Option<String>,
    pub(super) places: Option<String>,
    pub(super) devices: Option<String>,
    pub(super) campaigns: Option<String>,
    pub(super) links: Option<String>,
}

/// A panel of lists, of which one is shown.
pub(super) struct Panel {
    pub(super) title: &'static str,
    /// Its parameter.
    pub(super) name: &'static str,
    pub(super) tabs: &'static [(Dimension, &'static str)],
    /// Only where there are many links to tell apart.
    pub(super) is_of_many: bool,
}

const fn detail(detail: Detail) -> Dimension {
    Dimension::Detail(detail)
}

pub(super) const PANELS: &[Panel] = &[
    Panel {
        title: "Links",
        name: "links",
        tabs: &[(Dimension::Link, "Link"), (Dimension::Domain, "Domain")],
        is_of_many: true,
    },
    Panel {
        title: "Sources",
        name: "sources",
        tabs: &[
            (detail(Detail::Referrer), "Referrer"),
            (Dimension::Channel, "Channel"),
            (detail(Detail::ReferrerPath), "Page"),
            (Dimension::Via, "Link or QR"),
        ],
        is_of_many: false,
    },
    Panel {
        title: "Places",
        name: "places",
        tabs: &[
            (detail(Detail::Country), "Country"),
            (detail(Detail::Region), "Region"),
            (detail(Detail::City), "City"),
            (detail(Detail::Language), "Language"),
        ],
        is_of_many: false,
    },
    Panel {
        title: "Devices",
        name: "devices",
        tabs: &[
            (detail(Detail::Browser), "Browser"),
            (detail(Detail::Os), "System"),
            (Dimension::Device, "Device"),
        ],
        is_of_many: false,
    },
    Panel {
        title: "Campaigns",
        name: "campaigns",
        tabs: &[
            (detail(Detail::UtmCampaign), "Campaign"),
            (detail(Detail::UtmSource), "Source"),
            (detail(Detail::UtmMedium), "Medium"),
            (detail(Detail::UtmTerm), "Term"),
            (detail(Detail::UtmContent), "Content"),
        ],
        is_of_many: false,
    },
];

impl Panel {
    /// The tab that is open.
    pub(super) fn chosen(&self, view: &View) -> Dimension {
        let asked = view.tab(self.name);
        let found = self.tabs.iter().find(|(dimension, _)| asked == Some(dimension.as_str()));
        found.map_or(self.tabs[0].0, |(dimension, _)| *dimension)
    }
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
    zone: String,
}

impl View {
    fn tab(&self, panel: &str) -> Option<&str> {
        match panel {
            "links" => self.links.as_deref(),
            "sources" => self.sources.as_deref(),
            "places" => self.places.as_deref(),
            "devices" => self.devices.as_deref(),
            _ => self.campaigns.as_deref(),
        }
    }

    pub(super) fn asked(&self, zone: &Zone, now: UnixMillis) -> Result<Asked, ApiError> {
        let today = zone.today(now);
        let name = self.period.as_deref().unwrap_or(DEFAULT);
        let is_custom = self.from.is_some() || self.to.is_some();
        let unknown = || ApiError::Request("there is no such period".into());
        let preset = if is_custom { None } else { Some(Preset::find(name).ok_or_else(unknown)?) };
        let days = match preset {
            Some(preset) => preset.range(today),
            None => {
                let date = |text: &Option<String>| {
                    text.as_deref().map_or(Some(today), |text| {
                        (text.len() == 10).then(|| text.parse().ok()).flatten()
                    })
                };
                date(&self.from).zip(date(&self.to))
            }
        };
        let (from, to) = match days {
            Some((from, to)) => (from.to_string(), to.to_string()),
            None => (
                self.from.clone().unwrap_or_default(),
                self.to.clone().unwrap_or_else(|| today.to_string()),
            ),
        };
        let fitting = days.map(|days| intervals(length(days)));
        let interval = self.interval.or_else(|| fitting.map(|fitting| fitting[0]));
        let compare = self.compare.unwrap_or(Compare::Previous);
        let (filter, zone) = (self.filter.clone().unwrap_or_default(), zone.name.clone());
        Ok(Asked { preset, today, days, from, to, interval, compare, filter, zone })
    }

    /// The parameters as they are, for addresses and forms.
    pub(super) fn pairs(&self) -> Vec<(&'static str, String)> {
        let compare = self.compare.map(|compare| compare_word(compare).to_owned());
        let interval = self.interval.map(|interval| interval.as_str().to_owned());
        let all = [
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
        ];
        let said = all.into_iter().filter_map(|(name, value)| Some((name, value?)));
        said.filter(|(_, value)| !value.is_empty()).collect()
    }

    /// The address of the same view with some parameters changed; an empty value leaves one out.
    pub(super) fn href(&self, path: &str, changes: &[(&'static str, &str)]) -> String {
        let mut query = Serializer::new(format!("{path}?"));
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
