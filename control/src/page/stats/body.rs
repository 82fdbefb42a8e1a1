//! The part of a page that has the statistics, made of a view.

use std::collections::HashMap;

use carom_shared::{LinkId, WorkspaceId};

use super::About;
use super::build::Facts;
use super::heat::{HeatRow, heat};
use super::map::Map;
use super::panel::{Of, PANELS, Panel};
use super::view::{Asked, View};
use crate::app::App;
use crate::click::api::domains;
use crate::click::report::filter::{Filter, Test};
use crate::click::report::params::{ReportParams, check_report};
use crate::click::report::time::{Interval, Zone};
use crate::click::report::{Dimension, Report, ReportQuery, TopValue};
use crate::click::sqlite::ReportError;
use crate::click::tagged::narrow;
use crate::http::problem::ApiError;
use crate::link::store::link_places;
use crate::loss::Lost;
use crate::page::filter::Chip;
use crate::page::message::message;
use crate::page::message::phrase::{Phrase, phrase, plural};
use crate::page::respond::PageError;
use crate::page::text::{Delta, bare, time};
use crate::share::Part;

/// Values in a list, and in a longer one.
pub(super) const TOP: usize = 10;
pub(super) const MORE: usize = 100;
/// Values that are asked for: all countries, for the map.
const ASKED: usize = 260;
/// Clicks that are looked through for lists, which a long one shows with their visitors: some 8 ms and
/// 30. Of more, breakdowns may be had without them.
const LOOKED_THROUGH: u64 = 1 << 13;
const LOOKED_THROUGH_LONG: u64 = 1 << 15;
/// A link that was erased, of which only clicks are left.
pub(in crate::page) const PAST_LINK: &str = message("a link of the past");

/// Statistics as a page shows them.
pub(in crate::page) struct Body {
    pub(in crate::page) path: String,
    pub(in crate::page) metrics: Vec<Metric>,
    pub(in crate::page) panels: Vec<PanelView>,
    pub(in crate::page) presets: Vec<PresetView>,
    pub(in crate::page) period_label: Phrase,
    pub(in crate::page) from: String,
    pub(in crate::page) to: String,
    pub(in crate::page) back: Option<String>,
    pub(in crate::page) forward: Option<String>,
    /// What it is compared with.
    pub(in crate::page) compared: Phrase,
    pub(in crate::page) comparisons: Vec<Choice>,
    pub(in crate::page) intervals: Vec<Choice>,
    pub(in crate::page) chips: Vec<ChipView>,
    /// The address without any filter.
    pub(in crate::page) without_chips: String,
    pub(in crate::page) hidden: Vec<(&'static str, String)>,
    pub(in crate::page) chart: String,
    pub(in crate::page) chart_words: Phrase,
    pub(in crate::page) points: Vec<PointRow>,
    pub(in crate::page) is_open: bool,
    pub(in crate::page) heat: Vec<HeatRow>,
    pub(in crate::page) zone: String,
    pub(in crate::page) stream: Option<String>,
    /// The page that shares it.
    pub(in crate::page) share: Option<String>,
    pub(in crate::page) exports: Vec<Choice>,
    pub(in crate::page) detail_since: Option<String>,
    /// What was lost in this time, in words.
    pub(in crate::page) lost: Option<Phrase>,
    /// Why there are no lists.
    pub(in crate::page) notice: Option<Phrase>,
    pub(in crate::page) is_empty: bool,
    /// Nobody has clicked at any time.
    pub(in crate::page) is_new: bool,
}

/// A number in the head of the page.
pub(in crate::page) struct Metric {
    pub(in crate::page) label: &'static str,
    pub(in crate::page) value: u64,
    pub(in crate::page) change: Option<Change>,
    pub(in crate::page) is_charted: bool,
    pub(in crate::page) href: String,
}

/// How a number was before, and what became of it.
pub(in crate::page) struct Change {
    pub(in crate::page) delta: Delta,
    pub(in crate::page) before: u64,
}

/// A row of a list.
pub(in crate::page) struct Item {
    /// For `data-region` or `data-language`, whose words the browser knows.
    pub(in crate::page) words: &'static str,
    pub(in crate::page) value: String,
    pub(in crate::page) label: Phrase,
    pub(in crate::page) clicks: u64,
    pub(in crate::page) visitors: u64,
    pub(in crate::page) share: Phrase,
    /// Of the longest bar, in percent.
    pub(in crate::page) width: u64,
    /// The view of these clicks alone, where it may be had.
    pub(in crate::page) href: Option<String>,
}

/// A tab of a panel.
pub(in crate::page) struct Tab {
    pub(in crate::page) label: &'static str,
    pub(in crate::page) href: String,
    pub(in crate::page) is_current: bool,
}

/// A panel: one list, and tabs to others.
pub(in crate::page) struct PanelView {
    pub(in crate::page) title: &'static str,
    pub(in crate::page) name: &'static str,
    pub(in crate::page) head: &'static str,
    pub(in crate::page) tabs: Vec<Tab>,
    pub(in crate::page) items: Vec<Item>,
    pub(in crate::page) map: Option<Map>,
    /// The address of a longer list, or of the short one.
    pub(in crate::page) more: Option<String>,
    pub(in crate::page) is_long: bool,
    pub(in crate::page) has_visitors: bool,
}

/// A preset of the menu of periods.
pub(in crate::page) struct PresetView {
    pub(in crate::page) label: &'static str,
    pub(in crate::page) key: char,
    pub(in crate::page) href: String,
    pub(in crate::page) is_current: bool,
}

/// A choice among a few.
pub(in crate::page) struct Choice {
    pub(in crate::page) label: Phrase,
    pub(in crate::page) href: String,
    pub(in crate::page) is_current: bool,
}

/// A point of the table beside the chart.
pub(in crate::page) struct PointRow {
    pub(in crate::page) at: String,
    pub(in crate::page) now: u64,
    pub(in crate::page) before: Option<u64>,
    /// It is not over yet.
    pub(in crate::page) is_open: bool,
}

pub(in crate::page) struct ChipView {
    pub(in crate::page) chip: Chip,
    pub(in crate::page) href: String,
}

/// Makes it.
pub(in crate::page) async fn body(
    app: &App,
    zone: &Zone,
    view: &View,
    about: &About,
) -> Result<Body, PageError> {
    let first = match view.is_of_all_time() {
        true => app.clicks()?.first_click(about.scope).await?,
        false => None,
    };
    let asked = view.asked(zone, app.now(), first)?;
    let panels = panels(view, about);
    let mut query = question(app, about, &asked.params(&panels, TOP)).await?;
    check_filters(about, &panels, &query.filters)?;
    query.limit = ASKED;
    query.top_visitors_max = if view.more.is_some() { LOOKED_THROUGH_LONG } else { LOOKED_THROUGH };
    let (report, notice) = ask(app, &mut query).await?;
    let (path, now) = (about.path.as_str(), app.now());
    let facts = Facts { view, asked: &asked, about, path, query: &query, report: &report, now };
    let names = Names::of(app, about, &facts).await?;
    let heat = match about.shown.has(Part::Times) {
        true => heat(app, zone, &asked, about, &query, &report).await?,
        false => Vec::new(),
    };
    // It is of the whole server, which is no business of strangers.
    let lost = match about.is_member {
        true => app.lost(query.period.span).await.map_err(ApiError::from)?,
        false => None,
    };
    let (from, to) =
        asked.days.map(|(from, to)| (from.to_string(), to.to_string())).unwrap_or_default();
    let hidden = view.pairs().into_iter();
    let hidden = hidden.filter(|(name, _)| !matches!(*name, "period" | "from" | "to" | "interval"));
    let totals = report.period.totals;
    // Without lists none of them is empty, they are not there.
    let shown = if notice.is_some() { &[] } else { panels.as_slice() };
    let comparisons = facts.comparisons();
    Ok(Body {
        metrics: facts.metrics(),
        panels: shown.iter().map(|panel| facts.panel(panel, &names)).collect(),
        presets: facts.presets(),
        period_label: period_label(&asked),
        from,
        to,
        back: facts.stepped(true),
        forward: facts.stepped(false),
        compared: compared(&comparisons),
        comparisons,
        intervals: facts.intervals(),
        chips: facts.chips(),
        without_chips: view.href(path, &[("filter", "")]),
        hidden: hidden.collect(),
        chart: facts.chart(),
        chart_words: facts.chart_words(),
        points: facts.points(),
        is_open: facts.is_open(),
        heat,
        zone: zone.name.clone(),
        stream: about.stream.clone(),
        share: about.share.clone(),
        exports: facts.exports(shown),
        detail_since: report.detail_since.map(time),
        lost: lost.map(words_of_lost),
        notice,
        is_empty: totals.clicks == 0 && totals.bots == 0,
        is_new: report.last_click_at.is_none(),
        path: about.path.clone(),
    })
}

fn words_of_lost(Lost { clicks, without_detail }: Lost) -> Phrase {
    match (clicks, without_detail) {
        (0, bare) => plural(
            "A fault in this time: of {n} click only the number is known, of all links on this server \
             together.",
            "A fault in this time: of {n} clicks only the number is known, of all links on this server \
             together.",
            bare,
        ),
        (gone, 0) => plural(
            "A fault in this time: {n} click was lost, of all links on this server together.",
            "A fault in this time: {n} clicks were lost, of all links on this server together.",
            gone,
        ),
        (gone, bare) => plural(
            "A fault in this time: {n} click was lost, and of {bare} only the number is known, of all \
             links on this server together.",
            "A fault in this time: {n} clicks were lost, and of {bare} only the number is known, of all \
             links on this server together.",
            gone,
        )
        .put("bare", bare),
    }
}

fn compared(choices: &[Choice]) -> Phrase {
    let current = choices.iter().find(|choice| choice.is_current);
    let with = |choice: &Choice| phrase("Compare: {with}").put("with", choice.label.clone());
    current.map_or_else(|| phrase("Compare"), with)
}

/// The panels that are shown, each with the tab that is open.
fn panels(view: &View, about: &About) -> Vec<(&'static Panel, Dimension)> {
    let is_of_many = !matches!(about.scope, crate::click::report::ReportScope::Link(..));
    let is_shown = |panel: &&Panel| {
        about.shown.has(panel.part)
            && match panel.of {
                Of::Any => true,
                Of::Many => is_of_many,
                Of::Changed => about.targets.len() > 1,
            }
    };
    PANELS.iter().filter(is_shown).map(|panel| (panel, panel.chosen(view))).collect()
}

/// A checked question about what the page is about.
pub(super) async fn question(
    app: &App,
    about: &About,
    params: &ReportParams,
) -> Result<ReportQuery, ApiError> {
    let workspace = Some(about.workspace);
    let mut query = check_report(params, about.scope, &domains(app, workspace), app.now())?;
    if let Some(tag) = &about.tag {
        narrow(app, workspace, tag, &mut query).await?;
    }
    Ok(query)
}

/// Whoever has the address of a share filters by what it shows, if it says so, and by nothing else.
fn check_filters(
    about: &About,
    panels: &[(&Panel, Dimension)],
    filters: &[Filter],
) -> Result<(), ApiError> {
    if about.is_member {
        return Ok(());
    }
    // The last one is the share's own tag.
    let theirs = filters.len() - usize::from(about.tag.is_some());
    let is_shown = |filter: &Filter| {
        let by = match &filter.test {
            Test::Is(detail, _) | Test::Contains(detail, _) => Dimension::Detail(*detail),
            Test::Number(dimension, _) => *dimension,
        };
        panels.iter().any(|(panel, _)| panel.tabs.iter().any(|(tab, _)| *tab == by))
    };
    let may_filter = about.shown.has(Part::Filters);
    if filters.iter().take(theirs).all(|filter| may_filter && is_shown(filter)) {
        return Ok(());
    }
    Err(ApiError::Request("this page is not shared with such a filter".into()))
}

/// Asks; where there are too many clicks for lists, without them, and says so.
async fn ask(app: &App, query: &mut ReportQuery) -> Result<(Report, Option<Phrase>), ApiError> {
    let clicks = app.clicks()?;
    match clicks.report(query).await {
        Err(
            error @ (ReportError::TooManyClicks(_)
            | ReportError::TooManyValues(_)
            | ReportError::TooLong),
        ) if query.filters.is_empty()
            && !query.by.is_empty()
            && query.interval != Interval::Minute =>
        {
            query.by.clear();
            let why = match error {
                ReportError::TooManyClicks(count) => phrase(
                    "No lists here: this time has {n} clicks, too many to look through one by one; \
                     choose a shorter one.",
                )
                .put("n", count),
                ReportError::TooManyValues(_) => phrase(
                    "No lists here: one of them has too many different values in this time; choose a \
                     shorter one, or a filter.",
                ),
                _ => phrase(
                    "No lists here: too many clicks would have to be looked through; choose a shorter \
                     time.",
                ),
            };
            Ok((clicks.report(query).await?, Some(why)))
        }
        report => Ok((report?, None)),
    }
}

/// Words for what a report names by a number.
pub(super) struct Names {
    links: HashMap<String, Phrase>,
    domains: Vec<(i64, String)>,
    targets: HashMap<String, String>,
}

impl Names {
    async fn of(app: &App, about: &About, facts: &Facts<'_>) -> Result<Self, PageError> {
        let targets = about.targets.iter();
        let targets = targets.map(|past| (past.revision.to_string(), past.target.clone()));
        Ok(Self {
            links: link_names(app, about.workspace, facts.values(Dimension::Link)).await?,
            domains: domains(app, Some(about.workspace)),
            targets: targets.collect(),
        })
    }

    pub(super) fn name(&self, dimension: Dimension, value: &str) -> Option<Phrase> {
        match dimension {
            Dimension::Link => self.links.get(value).cloned(),
            Dimension::TargetRevision => self.targets.get(value).map(Phrase::data),
            Dimension::Domain => self.host(value).map(Phrase::data),
            _ => None,
        }
    }

    /// The host of a domain's number.
    pub(super) fn host(&self, value: &str) -> Option<&str> {
        let found = self.domains.iter().find(|(id, _)| id.to_string() == value);
        found.map(|(_, host)| host.as_str())
    }
}

/// The short addresses of the links of a list.
async fn link_names(
    app: &App,
    workspace: WorkspaceId,
    values: &[TopValue],
) -> Result<HashMap<String, Phrase>, PageError> {
    let values = values.get(..MORE.min(values.len())).unwrap_or_default();
    let ids: Vec<LinkId> = values.iter().filter_map(|value| value.value.parse().ok()).collect();
    let places = link_places(app.read(), &ids).await?;
    let domains = app.domain_set();
    let name = |id: &LinkId| {
        let place = places.get(id).filter(|place| place.workspace == workspace);
        let code = place.and_then(|place| Some((place.domain, place.code.as_ref()?)));
        let name = code.map(|(domain, code)| domains.short_url(domain, code));
        let words = name.map_or_else(|| phrase(PAST_LINK), |name| Phrase::data(bare(&name)));
        (id.to_string(), words)
    };
    Ok(ids.iter().map(name).collect())
}

/// The name of what a period covers, where it has none of its own.
fn period_label(asked: &Asked) -> Phrase {
    match (asked.preset, asked.days) {
        (Some(preset), _) => phrase(preset.label),
        (None, Some((from, to))) if from == to => Phrase::data(from),
        (None, Some((from, to))) => phrase("{from} to {to}").put("from", from).put("to", to),
        (None, None) => phrase("Part of a day"),
    }
}
