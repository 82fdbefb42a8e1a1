//! The parts of a page with statistics, made of a report.

use std::collections::HashMap;

use carom_shared::click::Detail;
use carom_shared::{UnixMillis, WorkspaceId};
use url::form_urlencoded::Serializer;

use super::view::{Asked, Panel, View, compare_word, length};
use super::{ChipView, Choice, HeatRow, Item, Metric, PanelView, PointRow, PresetView, TOP, Tab};
use crate::app::App;
use crate::click::api::domains;
use crate::click::report::params::check_report;
use crate::click::report::time::{Compare, Interval};
use crate::click::report::{
    Dimension, PeriodReport, Point, Report, ReportQuery, ReportScope, TopValue,
};
use crate::link::store::link_fetch;
use crate::page::filter::{chips, with};
use crate::page::period::{PRESETS, Preset, intervals, step};
use crate::page::respond::PageError;
use crate::page::shell::Viewer;
use crate::page::text::{Delta, bare, grouped, percent};

/// Hours of a series from which the pattern of a week is drawn, at most.
const HEAT_HOURS_MAX: i64 = 1000;

/// Which numbers the chart shows.
fn charted(view: &View) -> (&'static str, fn(&Point) -> u64) {
    match view.metric.as_deref() {
        Some("visitors") => ("visitors", |point| point.visitors),
        Some("bots") => ("bots", |point| point.bots),
        _ => ("clicks", |point| point.clicks),
    }
}

/// What a page needs to know to say it.
pub(super) struct Facts<'p> {
    pub(super) view: &'p View,
    pub(super) asked: &'p Asked,
    pub(super) path: &'p str,
    pub(super) query: &'p ReportQuery,
    pub(super) report: &'p Report,
    pub(super) now: UnixMillis,
}

impl Facts<'_> {
    fn href(&self, changes: &[(&'static str, &str)]) -> String {
        self.view.href(self.path, changes)
    }

    pub(super) fn metrics(&self) -> Vec<Metric> {
        let (charted, _) = charted(self.view);
        let before = self.report.compare.as_ref();
        let metric = |name, label, of: fn(&PeriodReport) -> u64, has_chart: bool| {
            let now = of(&self.report.period);
            let before = before.map(of);
            let value = if name == "clicks" { "" } else { name };
            Metric {
                label,
                value: grouped(now),
                delta: before.map(|before| Delta::of(now, before)),
                before: before.map(grouped).unwrap_or_default(),
                is_charted: charted == name,
                href: has_chart.then(|| self.href(&[("metric", value)])),
            }
        };
        vec![
            metric("clicks", "Clicks", |period| period.totals.clicks, true),
            metric("visitors", "Visitors", |period| period.visitors, true),
            metric("bots", "Bots, not in clicks", |period| period.totals.bots, true),
        ]
    }

    pub(super) fn presets(&self) -> Vec<PresetView> {
        let view = |preset: &'static Preset| PresetView {
            label: preset.label,
            key: preset.key,
            href: self.href(&[("period", preset.name), ("from", ""), ("to", ""), ("interval", "")]),
            is_current: self.asked.preset.is_some_and(|asked| asked.name == preset.name),
        };
        PRESETS.iter().map(view).collect()
    }

    /// The address of the range before or after this one.
    pub(super) fn stepped(&self, back: bool) -> Option<String> {
        let (from, to) = step(self.asked.days?, back, self.asked.today)?;
        let (from, to) = (from.to_string(), to.to_string());
        Some(self.href(&[("period", ""), ("from", &from), ("to", &to)]))
    }

    pub(super) fn comparisons(&self) -> Vec<Choice> {
        let choice = |compare, label| Choice {
            label,
            href: self.href(&[("compare", compare_word(compare))]),
            is_current: self.asked.compare == compare,
        };
        vec![
            choice(Compare::Previous, "Previous period"),
            choice(Compare::Year, "Year before"),
            choice(Compare::None, "Nothing"),
        ]
    }

    pub(super) fn intervals(&self) -> Vec<Choice> {
        let fitting = self.asked.days.map_or(&[] as &[_], |days| intervals(length(days)));
        let choice = |interval: &Interval| Choice {
            label: interval_label(*interval),
            href: self.href(&[("interval", interval.as_str())]),
            is_current: self.query.interval == *interval,
        };
        fitting.iter().map(choice).collect()
    }

    pub(super) fn chips(&self) -> Vec<ChipView> {
        let chips = chips(&self.asked.filter).into_iter();
        chips.map(|chip| ChipView { href: self.href(&[("filter", &chip.rest)]), chip }).collect()
    }

    /// The panel of a dimension. `name` gives the words for a value.
    pub(super) fn panel(
        &self,
        (panel, dimension): &(&Panel, Dimension),
        name: &dyn Fn(Dimension, &str) -> Option<String>,
    ) -> PanelView {
        let tab = |(of, label): &(Dimension, &'static str)| Tab {
            label,
            href: self.href(&[(panel.name, if *of == panel.tabs[0].0 { "" } else { of.as_str() })]),
            is_current: of == dimension,
        };
        let values = self.report.top.iter().find(|(of, _)| of == dimension);
        let values: &[TopValue] = values.map_or(&[], |(_, values)| values);
        let most = values.iter().map(|value| value.clicks).max().unwrap_or(1).max(1);
        let whole = self.report.period.totals.clicks;
        let item = |value: &TopValue| {
            let filter = with(&self.asked.filter, dimension.as_str(), &value.value);
            Item {
                words: if value.value.is_empty() { "" } else { words(*dimension) },
                label: name(*dimension, &value.value).unwrap_or_else(|| label(*dimension, value)),
                value: value.value.clone(),
                clicks: grouped(value.clicks),
                share: percent(value.clicks, whole),
                width: (100 * value.clicks / most).max(1),
                href: self.href(&[("filter", &filter)]),
            }
        };
        let head = panel.tabs.iter().find(|(of, _)| of == dimension).map_or("", |(_, head)| head);
        PanelView {
            title: panel.title,
            head,
            tabs: panel.tabs.iter().map(tab).collect(),
            items: values.iter().map(item).collect(),
        }
    }

    /// The chart's numbers, as JSON for `stats.js`.
    pub(super) fn chart(&self) -> String {
        let (name, of) = charted(self.view);
        let starts = &self.query.period.starts;
        let series = |period: &PeriodReport| period.series.iter().map(of).collect::<Vec<_>>();
        // Another period may have more or fewer steps: February, a day of 23 hours.
        let before = self.report.compare.as_ref().map(|period| {
            let mut values: Vec<Option<u64>> = series(period).into_iter().map(Some).collect();
            values.resize(starts.len(), None);
            values
        });
        let step = starts.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap_or(86_400);
        let json = serde_json::json!({
            "at": starts,
            "now": series(&self.report.period),
            "before": before,
            "isOpen": self.is_open(),
            "zone": self.query.zone.name,
            "step": step,
            "name": name,
        });
        // Whatever is in it, it does not end the element that it stands in.
        json.to_string().replace('<', "\\u003c")
    }

    /// Whether the last step is not over yet.
    fn is_open(&self) -> bool {
        i64::from(self.query.period.span.to_s) > self.now.as_secs() - 60
    }

    pub(super) fn points(&self) -> Vec<PointRow> {
        let (_, of) = charted(self.view);
        let before = self.report.compare.as_ref().map(|period| period.series.as_slice());
        let points = self.query.period.starts.iter().zip(&self.report.period.series).enumerate();
        let row = |(at, (start, point)): (usize, (&u32, &Point))| PointRow {
            at: self.query.zone.rfc3339(*start),
            now: grouped(of(point)),
            before: before.map(|all| all.get(at).map(|it| grouped(of(it))).unwrap_or_default()),
        };
        points.map(row).collect()
    }

    pub(super) fn chart_words(&self) -> String {
        let (name, of) = charted(self.view);
        let points = self.query.period.starts.iter().zip(&self.report.period.series);
        let Some((start, most)) = points.max_by_key(|(_, point)| of(point)) else {
            return String::new();
        };
        let interval = self.query.interval.as_str();
        let at = self.query.zone.rfc3339(*start);
        let at = at.split_once('T').map_or(at.as_str(), |(date, _)| date);
        format!("{name} by {interval}; the most are {} on {at}", grouped(of(most)))
    }

    pub(super) fn export(&self, api: &str, panels: &[(&Panel, Dimension)]) -> String {
        let params = self.asked.params(panels, TOP);
        let mut query = Serializer::new(format!("{api}?"));
        let all = [
            ("from", params.from),
            ("to", params.to),
            ("tz", params.tz),
            ("interval", params.interval.map(|interval| interval.as_str().to_owned())),
            ("filter", params.filter),
            ("format", Some("csv".to_owned())),
        ];
        query.extend_pairs(all.into_iter().filter_map(|(name, value)| Some((name, value?))));
        query.finish()
    }
}

const fn interval_label(interval: Interval) -> &'static str {
    match interval {
        Interval::Minute => "By minute",
        Interval::Hour => "By hour",
        Interval::Day => "By day",
        Interval::Week => "By week",
        Interval::Month => "By month",
        Interval::Year => "By year",
    }
}

/// Which of the browser's words a value has.
const fn words(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::Detail(Detail::Country) => "region",
        Dimension::Detail(Detail::Language) => "language",
        _ => "",
    }
}

fn label(dimension: Dimension, value: &TopValue) -> String {
    match (dimension, value.value.as_str()) {
        (Dimension::Detail(Detail::Referrer | Detail::ReferrerPath), "") => "direct or unknown",
        (Dimension::Detail(detail), "") if detail.as_str().starts_with("utm_") => "none",
        (_, "") => "unknown",
        (_, text) => text,
    }
    .to_owned()
}

/// The pattern of a week, from the clicks of each hour; nothing where the range has too many.
pub(super) async fn heat(
    app: &App,
    viewer: &Viewer,
    asked: &Asked,
    scope: ReportScope,
) -> Result<Vec<HeatRow>, PageError> {
    const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let hours = asked.days.map(|days| length(days).saturating_mul(24));
    if hours.is_none_or(|hours| hours > HEAT_HOURS_MAX - 24) {
        return Ok(Vec::new());
    }
    let names = domains(app, scope.workspace());
    let query = check_report(&asked.hours(), scope, &names, app.now())?;
    let report = app.clicks()?.report(&query).await?;
    let mut sums = [[0_u64; 24]; 7];
    for (start, point) in query.period.starts.iter().zip(&report.period.series) {
        let (day, hour) = viewer.zone.weekday_and_hour(*start);
        sums[day][hour] += point.clicks;
    }
    let most = sums.iter().flatten().copied().max().unwrap_or_default();
    let cell = |(hour, clicks): (usize, &u64)| {
        let class = if most == 0 { 0 } else { (clicks * 5).div_ceil(most) };
        let class = u8::try_from(class).unwrap_or(5);
        (class, format!("{hour}:00, {} clicks", grouped(*clicks)))
    };
    let row = |(day, sums): (&'static str, &[u64; 24])| HeatRow {
        day,
        cells: sums.iter().enumerate().map(cell).collect(),
    };
    Ok(DAYS.into_iter().zip(&sums).map(row).collect())
}

/// The short addresses of the links of a list.
pub(super) async fn link_names(
    app: &App,
    workspace: WorkspaceId,
    report: &Report,
) -> Result<HashMap<String, String>, PageError> {
    let values = report.top.iter().find(|(of, _)| *of == Dimension::Link);
    let mut names = HashMap::new();
    for value in values.iter().flat_map(|(_, values)| values) {
        let Ok(id) = value.value.parse() else { continue };
        let link = link_fetch(app.read(), workspace, id).await?;
        let name = link.map(|link| app.domain_set().short_url(link.domain, &link.code));
        let name = name.as_deref().map_or("a link of the past", bare).to_owned();
        names.insert(value.value.clone(), name);
    }
    Ok(names)
}

/// The name of what a period covers, where it has none of its own.
pub(super) fn period_label(asked: &Asked) -> String {
    match (asked.preset, asked.days) {
        (Some(preset), _) => preset.label.to_owned(),
        (None, Some((from, to))) if from == to => from.to_string(),
        (None, Some((from, to))) => format!("{from} to {to}"),
        (None, None) => "Part of a day".to_owned(),
    }
}
