//! The parts of a page with statistics, made of a report.

use carom_shared::UnixMillis;
use carom_shared::click::Detail;
use url::form_urlencoded::Serializer;

use super::About;
use super::body::{
    Change, ChipView, Choice, Item, MORE, Metric, Names, PanelView, PointRow, PresetView, TOP, Tab,
};
use super::map::Map;
use super::panel::Panel;
use super::view::{Asked, View, compare_word, length};
use super::words;
use crate::click::report::time::{Compare, Interval};
use crate::click::report::{Dimension, PeriodReport, Point, Report, ReportQuery, TopValue};
use crate::page::filter::{chips, with};
use crate::page::message::message;
use crate::page::message::phrase::{Phrase, phrase};
use crate::page::period::{PRESETS, Preset, Range, intervals, step};
use crate::page::text::{Delta, percent};
use crate::share::Part;

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
    pub(super) about: &'p About,
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
        let metric = |name, label, of: fn(&PeriodReport) -> u64| {
            let now = of(&self.report.period);
            let value = if name == "clicks" { "" } else { name };
            Metric {
                label,
                value: now,
                change: before
                    .map(of)
                    .map(|before| Change { delta: Delta::of(now, before), before }),
                is_charted: charted == name,
                href: self.href(&[("metric", value)]),
            }
        };
        vec![
            metric("clicks", message("Clicks"), |period| period.totals.clicks),
            metric("visitors", message("Visitors"), |period| period.visitors),
            metric("bots", message("Bots, not in clicks"), |period| period.totals.bots),
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
        let choice = |compare, label: &'static str| Choice {
            label: phrase(label),
            href: self.href(&[("compare", compare_word(compare))]),
            is_current: self.asked.compare == compare,
        };
        // Nothing is before all time.
        if matches!(self.asked.preset, Some(Preset { range: Range::All, .. })) {
            return Vec::new();
        }
        vec![
            choice(Compare::Previous, message("Previous period")),
            choice(Compare::Year, message("Year before")),
            choice(Compare::None, message("Nothing")),
        ]
    }

    pub(super) fn intervals(&self) -> Vec<Choice> {
        let fitting = self.asked.days.map_or(&[] as &[_], |days| intervals(length(days)));
        let choice = |interval: &Interval| Choice {
            label: phrase(interval_label(*interval)),
            href: self.href(&[("interval", interval.as_str())]),
            is_current: self.query.interval == *interval,
        };
        fitting.iter().map(choice).collect()
    }

    /// The address of the clicks with a value alone, where whoever looks may have it.
    fn only(&self, dimension: Dimension, value: &str) -> Option<String> {
        self.about.shown.has(Part::Filters).then(|| {
            let filter = with(&self.asked.filter, dimension.as_str(), value);
            self.href(&[("filter", &filter), ("more", "")])
        })
    }

    /// The values of a breakdown.
    pub(super) fn values(&self, dimension: Dimension) -> &[TopValue] {
        let found = self.report.top.iter().find(|(of, _)| *of == dimension);
        found.map_or(&[], |(_, values)| values)
    }

    pub(super) fn chips(&self) -> Vec<ChipView> {
        let chips = chips(&self.asked.filter).into_iter();
        chips.map(|chip| ChipView { href: self.href(&[("filter", &chip.rest)]), chip }).collect()
    }

    /// The panel of a dimension.
    pub(super) fn panel(
        &self,
        (panel, dimension): &(&'static Panel, Dimension),
        names: &Names,
    ) -> PanelView {
        let dimension = *dimension;
        let tab = |(of, label): &(Dimension, &'static str)| Tab {
            label,
            href: self.href(&[(panel.name, if *of == panel.tabs[0].0 { "" } else { of.as_str() })]),
            is_current: *of == dimension,
        };
        let all = self.values(dimension);
        let is_long = self.view.more.as_deref() == Some(panel.name);
        let shown = all.get(..all.len().min(if is_long { MORE } else { TOP })).unwrap_or_default();
        let most = all.iter().map(|value| value.clicks).max().unwrap_or(1).max(1);
        let whole = self.report.period.totals.clicks;
        let item = |value: &TopValue| Item {
            words: if value.value.is_empty() { "" } else { browser_words(dimension) },
            label: names
                .name(dimension, &value.value)
                .unwrap_or_else(|| words::value(dimension, &value.value)),
            value: value.value.clone(),
            clicks: value.clicks,
            visitors: value.visitors,
            share: percent(value.clicks, whole),
            width: (100 * value.clicks / most).max(1),
            href: self.only_named(dimension, value, names),
        };
        let map = (dimension == Dimension::Detail(Detail::Country))
            .then(|| Map::of(all, whole, |code| self.only(dimension, code)))
            .filter(|map| !map.places.is_empty());
        let more = (is_long || all.len() > TOP)
            .then(|| self.href(&[("more", if is_long { "" } else { panel.name })]));
        PanelView {
            title: panel.title,
            name: panel.name,
            head: panel.head(dimension),
            tabs: panel.tabs.iter().map(tab).collect(),
            items: shown.iter().map(item).collect(),
            map,
            more,
            is_long,
            has_visitors: is_long && !self.report.is_without_top_visitors,
        }
    }

    /// A filter names a domain by its host, reports by its number.
    fn only_named(&self, dimension: Dimension, value: &TopValue, names: &Names) -> Option<String> {
        match dimension {
            Dimension::Domain => self.only(dimension, names.host(&value.value)?),
            _ => self.only(dimension, &value.value),
        }
    }

    /// The chart's numbers, as JSON for `stats.js`.
    pub(super) fn chart(&self) -> String {
        let (name, of) = charted(self.view);
        let starts = &self.query.period.starts;
        let series = |period: &PeriodReport, count: usize| {
            let known = period.series.iter().take(count).map(|point| Some(of(point)));
            // Another period may have more or fewer steps: February, a day of 23 hours.
            let mut values: Vec<Option<u64>> = known.collect();
            values.resize(starts.len(), None);
            values
        };
        let before = self.report.compare.as_ref().map(|period| series(period, starts.len()));
        let step = starts.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap_or(86_400);
        let json = serde_json::json!({
            "at": starts,
            "now": series(&self.report.period, self.begun()),
            "before": before,
            "isOpen": self.is_open(),
            "zone": self.query.zone.name,
            "step": step,
            "name": name,
        });
        // Whatever is in it, it does not end the element that it stands in.
        json.to_string().replace('<', "\\u003c")
    }

    /// Steps that have begun: of those to come nothing is known.
    fn begun(&self) -> usize {
        let starts = self.query.period.starts.iter();
        starts.take_while(|start| i64::from(**start) <= self.now.as_secs()).count().max(1)
    }

    /// Whether the last step that has begun is not over yet.
    pub(super) fn is_open(&self) -> bool {
        i64::from(self.query.period.span.to_s) > self.now.as_secs() - 60
    }

    pub(super) fn points(&self) -> Vec<PointRow> {
        let (_, of) = charted(self.view);
        let before = self.report.compare.as_ref().map(|period| period.series.as_slice());
        let points = self.query.period.starts.iter().zip(&self.report.period.series).enumerate();
        let last = if self.is_open() { self.begun() } else { 0 };
        let row = |(at, (start, point)): (usize, (&u32, &Point))| PointRow {
            at: self.query.zone.rfc3339(*start),
            now: of(point),
            before: before.and_then(|all| all.get(at)).map(of),
            is_open: at + 1 == last,
        };
        points.take(self.begun()).map(row).collect()
    }

    pub(super) fn chart_words(&self) -> Phrase {
        let (name, of) = charted(self.view);
        let points = self.query.period.starts.iter().zip(&self.report.period.series);
        let Some((start, most)) = points.max_by_key(|(_, point)| of(point)) else {
            return phrase("Clicks over time");
        };
        let metric = match name {
            "visitors" => phrase("Visitors"),
            "bots" => phrase("Bots, not in clicks"),
            _ => phrase("Clicks"),
        };
        let at = UnixMillis::new(i64::from(*start) * 1000);
        phrase("Chart: {metric}. {interval}. The most: {n} on {date}.")
            .put("metric", metric)
            .put("interval", phrase(interval_label(self.query.interval)))
            .put("n", of(most))
            .put("date", self.query.zone.today(at))
    }

    /// Tables of what is shown, as files: the course, the totals, and each list as long as it gets.
    pub(super) fn exports(&self, panels: &[(&Panel, Dimension)]) -> Vec<Choice> {
        let Some(api) = &self.about.api else { return Vec::new() };
        let file = |label: Phrase, table: &str, by: Option<&str>| {
            let params = self.asked.params(&[], MORE);
            let mut query = Serializer::for_suffix(format!("{api}?"), api.len() + 1);
            let all = [
                ("from", params.from),
                ("to", params.to),
                ("tz", params.tz),
                ("interval", params.interval.map(|interval| interval.as_str().to_owned())),
                ("filter", params.filter),
                ("tag", self.about.tag.clone()),
                ("domain", params.domain),
                ("compare", (table == "totals").then(|| compare_word(self.asked.compare).into())),
                ("limit", by.map(|_| MORE.to_string())),
                ("by", by.map(str::to_owned)),
                ("format", Some("csv".to_owned())),
                ("table", Some(table.to_owned())),
            ];
            query.extend_pairs(all.into_iter().filter_map(|(name, value)| Some((name, value?))));
            Choice { label, href: query.finish(), is_current: false }
        };
        let mut files = vec![
            file(phrase("Clicks over time"), "series", None),
            file(phrase("Totals"), "totals", None),
        ];
        files.extend(panels.iter().map(|(panel, dimension)| {
            let by = dimension.as_str();
            let label = phrase("{list}: {what}")
                .put("list", phrase(panel.title))
                .put("what", phrase(panel.head(*dimension)));
            file(label, &format!("top.{by}"), Some(by))
        }));
        files
    }
}

const fn interval_label(interval: Interval) -> &'static str {
    match interval {
        Interval::Minute => message("By minute"),
        Interval::Hour => message("By hour"),
        Interval::Day => message("By day"),
        Interval::Week => message("By week"),
        Interval::Month => message("By month"),
        Interval::Year => message("By year"),
    }
}

/// Which of the browser's words a value has.
const fn browser_words(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::Detail(Detail::Country) => "region",
        Dimension::Detail(Detail::Language) => "language",
        _ => "",
    }
}
