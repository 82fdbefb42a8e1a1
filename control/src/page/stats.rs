//! Statistics: of a link, and of all links of a workspace.

mod build;
mod view;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use carom_shared::LinkId;

use super::filter::Chip;
use super::links::Row;
use super::respond::{Page, PageError};
use super::shell::{Section, Shell, Viewer};
use super::text::{Delta, time};
use crate::access::Scope;
use crate::app::App;
use crate::click::api::domains;
use crate::click::report::params::check_report;
use crate::click::report::{Dimension, ReportScope};
use crate::http::extract::{Id, Params};
use crate::http::problem::ApiError;
use crate::link::store::{PastTarget, link_fetch, target_history};
use build::{Facts, heat, link_names, period_label};
use view::{PANELS, Panel, View};

/// Values in a list.
const TOP: usize = 10;

/// A number in the head of the page.
struct Metric {
    label: &'static str,
    value: String,
    delta: Option<Delta>,
    before: String,
    is_charted: bool,
    href: Option<String>,
}

/// A row of a list.
struct Item {
    /// For `data-region` or `data-language`, whose words the browser knows.
    words: &'static str,
    value: String,
    label: String,
    clicks: String,
    share: String,
    /// Of the longest bar, in percent.
    width: u64,
    href: String,
}

/// A tab of a panel.
struct Tab {
    label: &'static str,
    href: String,
    is_current: bool,
}

/// A panel: one list, and tabs to others.
struct PanelView {
    title: &'static str,
    head: &'static str,
    tabs: Vec<Tab>,
    items: Vec<Item>,
}

/// A preset of the menu of periods.
struct PresetView {
    label: &'static str,
    key: char,
    href: String,
    is_current: bool,
}

/// A choice among a few.
struct Choice {
    label: &'static str,
    href: String,
    is_current: bool,
}

/// A point of the table beside the chart.
struct PointRow {
    at: String,
    now: String,
    before: Option<String>,
}

/// The pattern of a week: for each day its name, and for each hour a class and words.
struct HeatRow {
    day: &'static str,
    cells: Vec<(u8, String)>,
}

#[derive(Template)]
#[template(path = "stats.html")]
struct StatsPage {
    shell: Shell,
    link: Option<Row>,
    past: Vec<Past>,
    path: String,
    metrics: Vec<Metric>,
    panels: Vec<PanelView>,
    presets: Vec<PresetView>,
    period_label: String,
    from: String,
    to: String,
    back: Option<String>,
    forward: Option<String>,
    comparisons: Vec<Choice>,
    intervals: Vec<Choice>,
    chips: Vec<ChipView>,
    hidden: Vec<(&'static str, String)>,
    chart: String,
    chart_words: String,
    points: Vec<PointRow>,
    heat: Vec<HeatRow>,
    zone: String,
    stream: String,
    export: String,
    detail_since: Option<String>,
    is_empty: bool,
}

struct ChipView {
    chip: Chip,
    href: String,
}

/// Where a link led to.
struct Past {
    target: String,
    since: String,
}

/// Statistics of one link.
pub(super) async fn link(
    State(app): State<App>,
    viewer: Viewer,
    Id(id): Id<LinkId>,
    Params(view): Params<View>,
) -> Result<Response, PageError> {
    viewer.caller.require(Scope::StatsRead)?;
    let workspace = viewer.caller.workspace;
    let link = link_fetch(app.read(), workspace, id).await?.ok_or(ApiError::NotFound("link"))?;
    let past = target_history(app.read(), &link).await?;
    let row = Row::new(&app, &link);
    let about = About {
        scope: ReportScope::Link(workspace, id),
        path: format!("/links/{id}"),
        stream: format!("/api/v1/live?link={id}"),
        api: format!("/api/v1/links/{id}/stats"),
        title: row.short.clone(),
        section: Section::Links,
        link: Some(row),
        past,
    };
    show(&app, &viewer, &view, about).await
}

/// Statistics of a workspace.
pub(super) async fn workspace(
    State(app): State<App>,
    viewer: Viewer,
    Params(view): Params<View>,
) -> Result<Response, PageError> {
    viewer.caller.require(Scope::StatsRead)?;
    let about = About {
        scope: ReportScope::Workspace(viewer.caller.workspace),
        path: "/analytics".into(),
        stream: "/api/v1/live".into(),
        api: "/api/v1/stats".into(),
        title: "Analytics".into(),
        section: Section::Analytics,
        link: None,
        past: Vec::new(),
    };
    show(&app, &viewer, &view, about).await
}

/// What the statistics are of.
struct About {
    scope: ReportScope,
    path: String,
    stream: String,
    api: String,
    title: String,
    section: Section,
    link: Option<Row>,
    past: Vec<PastTarget>,
}

async fn show(
    app: &App,
    viewer: &Viewer,
    view: &View,
    about: About,
) -> Result<Response, PageError> {
    let asked = view.asked(&viewer.zone, app.now())?;
    let panels = PANELS.iter().filter(|panel| about.link.is_none() || !panel.is_of_many);
    let panels: Vec<(&Panel, Dimension)> =
        panels.map(|panel| (panel, panel.chosen(view))).collect();
    let names = domains(app, about.scope.workspace());
    let query = check_report(&asked.params(&panels, TOP), about.scope, &names, app.now())?;
    let report = app.clicks()?.report(&query).await?;
    let links = link_names(app, viewer.caller.workspace, &report).await?;
    let name = |dimension, value: &str| match dimension {
        Dimension::Link => links.get(value).cloned(),
        Dimension::Domain => {
            names.iter().find(|(id, _)| id.to_string() == value).map(|it| it.1.clone())
        }
        _ => None,
    };
    let (path, now) = (about.path.as_str(), app.now());
    let facts = Facts { view, asked: &asked, path, query: &query, report: &report, now };
    let (from, to) =
        asked.days.map(|(from, to)| (from.to_string(), to.to_string())).unwrap_or_default();
    let hidden = view.pairs().into_iter();
    let hidden = hidden.filter(|(name, _)| !matches!(*name, "period" | "from" | "to" | "interval"));
    let page = StatsPage {
        metrics: facts.metrics(),
        panels: panels.iter().map(|panel| facts.panel(panel, &name)).collect(),
        presets: facts.presets(),
        period_label: period_label(&asked),
        from,
        to,
        back: facts.stepped(true),
        forward: facts.stepped(false),
        comparisons: facts.comparisons(),
        intervals: facts.intervals(),
        chips: facts.chips(),
        hidden: hidden.collect(),
        chart: facts.chart(),
        chart_words: facts.chart_words(),
        points: facts.points(),
        heat: heat(app, viewer, &asked, about.scope).await?,
        zone: viewer.zone.name.clone(),
        export: facts.export(&about.api, &panels),
        detail_since: report.detail_since.map(time),
        is_empty: report.last_click_at.is_none() && report.period.totals.bots == 0,
        past: about.past.into_iter().map(Past::from).collect(),
        path: about.path.clone(),
        stream: about.stream,
        shell: Shell::new(app, viewer, about.section, about.title),
        link: about.link,
    };
    Ok(Page::of(&page).respond(&viewer.headers))
}

impl From<PastTarget> for Past {
    fn from(past: PastTarget) -> Self {
        Self { target: past.target, since: time(past.set_at) }
    }
}
