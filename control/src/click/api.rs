//! Statistics over HTTP: `GET /api/v1/links/{id}/stats` and `GET /api/v1/stats`.
//!
//! Both take the parameters of [`ReportParams`]. An answer is JSON, or with `format=csv` one of its
//! tables: `table=series` (without one), `table=totals`, or `table=top.country` for a dimension that
//! `by` names.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use carom_shared::{LinkId, WorkspaceId};
use http::StatusCode;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::ToSchema;

use super::Totals;
use super::csv::Csv;
use super::report::params::{Format, ReportParams, check_report};
use super::report::time::{Buckets, Zone};
use super::report::{Dimension, PeriodReport, Report, ReportQuery, ReportScope, TopValue};
use super::sqlite::ReportError;
use super::tagged::narrow;
use crate::access::allow;
use crate::app::App;
use crate::audit::Noted;
use crate::db::StoreError;
use crate::http::auth::By;
use crate::http::extract::{Id, Json, NoParams, Params};
use crate::http::problem::ApiError;
use crate::link::api::{LinkPath, rfc3339};
use crate::link::store::{link_count, link_fetch};
use crate::link::trail;
use crate::loss::Lost;
use crate::openapi::responses::{Any, Fresh, OfOne};
use crate::openapi::schema;
use crate::write::{Act, Writing};

impl From<ReportError> for ApiError {
    fn from(error: ReportError) -> Self {
        match error {
            ReportError::Store(error) => error.into(),
            ReportError::TooManyValues(_)
            | ReportError::TooManyClicks(_)
            | ReportError::TooLong => Self::Request(error.to_string()),
        }
    }
}

/// Clicks of a time: how many, when, and by what they can be told apart.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Statistics)]
struct StatsView {
    /// The link that was asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schema::id, required = false)]
    link_id: Option<LinkId>,
    /// How many links there are, where all were asked about, or all with a tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u64, required = false)]
    links: Option<u64>,
    #[serde(flatten)]
    period: PeriodView,
    /// The period that `compare` names.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = PeriodView, required = false)]
    compare: Option<PeriodView>,
    /// For each dimension of `by`, its most frequent values.
    #[schema(value_type = BTreeMap<String, Vec<TopView>>)]
    top: BTreeMap<&'static str, Vec<TopView>>,
    #[schema(schema_with = schema::optional_time, required = true)]
    last_click_at: Option<String>,
    /// From when on breakdowns, filters and minutes know of all clicks; `null`: from the first.
    #[schema(schema_with = schema::optional_time, required = true)]
    detail_since: Option<String>,
    /// What was lost of all clicks of the installation in quarters of an hour that the range touches,
    /// because a store was away for long or a disk full; missing: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Lost, required = false)]
    lost: Option<Lost>,
}

/// Clicks of one period.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Period)]
struct PeriodView {
    range: RangeView,
    totals: TotalsView,
    series: Vec<PointView>,
}

/// From when until when, and in which steps.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Range)]
struct RangeView {
    #[schema(schema_with = schema::time)]
    from: String,
    #[schema(schema_with = schema::time)]
    to: String,
    tz: String,
    #[schema(schema_with = schema::interval)]
    interval: &'static str,
}

/// Clicks by kind, and how many people clicked.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = Totals)]
struct TotalsView {
    #[serde(flatten)]
    totals: Totals,
    /// People, counted anew each day (UTC).
    visitors: u64,
}

/// Clicks of one step.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Point)]
struct PointView {
    /// When the step begins.
    #[schema(schema_with = schema::time)]
    at: String,
    clicks: u64,
    visitors: u64,
    bots: u64,
}

/// Clicks with one value of a dimension.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Top)]
struct TopView {
    value: String,
    clicks: u64,
    visitors: u64,
}

impl PeriodView {
    fn new(query: &ReportQuery, buckets: &Buckets, report: &PeriodReport) -> Self {
        let zone: &Zone = &query.zone;
        let points = buckets.starts.iter().zip(&report.series);
        Self {
            range: RangeView {
                from: zone.rfc3339(buckets.span.from_s),
                to: zone.rfc3339(buckets.span.to_s),
                tz: zone.name.clone(),
                interval: query.interval.as_str(),
            },
            totals: TotalsView { totals: report.totals, visitors: report.visitors },
            series: points
                .map(|(start, point)| PointView {
                    at: zone.rfc3339(*start),
                    clicks: point.clicks,
                    visitors: point.visitors,
                    bots: point.bots,
                })
                .collect(),
        }
    }
}

/// Reports on a link's clicks
#[utoipa::path(
    get,
    path = "/api/v1/links/{id}/stats",
    tag = "statistics",
    security(("api_key" = ["stats:read"]), ("session" = ["stats:read"])),
    params(LinkPath, ReportParams),
    responses(
        (
            status = 200,
            content((StatsView = "application/json"), (String = "text/csv")),
        ),
        Any, OfOne,
    ),
    operation_id = "link_statistics",
)]
pub(crate) async fn link_stats(
    State(app): State<App>,
    caller: By<allow::StatsRead>,
    Id(id): Id<LinkId>,
    Params(params): Params<ReportParams>,
) -> Result<Response, ApiError> {
    let link = link_fetch(app.read(), caller.workspace, id).await?;
    let link = link.ok_or(ApiError::NotFound("link"))?;
    answer(&app, ReportScope::Link(caller.workspace, link.id), &params).await
}

/// Reports on the clicks of all links
#[utoipa::path(
    get,
    path = "/api/v1/stats",
    tag = "statistics",
    security(("api_key" = ["stats:read"]), ("session" = ["stats:read"])),
    params(ReportParams),
    responses(
        (
            status = 200,
            content((StatsView = "application/json"), (String = "text/csv")),
        ),
        Any,
    ),
    operation_id = "statistics",
)]
pub(crate) async fn workspace_stats(
    State(app): State<App>,
    caller: By<allow::StatsRead>,
    Params(params): Params<ReportParams>,
) -> Result<Response, ApiError> {
    answer(&app, ReportScope::Workspace(caller.workspace), &params).await
}

/// Erases a link's clicks
///
/// Once it is answered, no report counts them, and they cannot be had back. A person has just shown who
/// they are.
#[utoipa::path(
    delete,
    path = "/api/v1/links/{id}/clicks",
    tag = "statistics",
    security(("api_key" = ["stats:erase"]), ("session" = ["stats:erase"])),
    params(LinkPath),
    responses((status = 204, description = "They are erased."), Any, OfOne, Fresh),
    operation_id = "erase_clicks",
)]
pub(crate) async fn link_erase(
    State(app): State<App>,
    caller: By<allow::StatsErase>,
    Id(id): Id<LinkId>,
    _: Params<NoParams>,
) -> Result<Response, ApiError> {
    caller.credentials.require_fresh(app.now())?;
    let link = link_fetch(app.read(), caller.workspace, id).await?;
    let link = link.ok_or(ApiError::NotFound("link"))?;
    let clicks = app.clicks()?;
    // Before it begins: what was erased, and not noted, nobody could find out.
    let noted = Noted { by: Arc::new(caller.actor.clone()), entry: trail::erased(&link) };
    app.act(NoteErasure(noted)).await?;
    clicks.erase_link(caller.workspace, link.id, app.now()).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

struct NoteErasure(Noted);

impl Act for NoteErasure {
    type Done = ();

    async fn act(self, writing: &mut Writing<'_>) -> Result<(), StoreError> {
        writing.note(&self.0.by, self.0.entry).await
    }
}

/// Answers a report, as JSON or as a table.
pub(crate) async fn answer(
    app: &App,
    scope: ReportScope,
    params: &ReportParams,
) -> Result<Response, ApiError> {
    let mut query = check_report(params, scope, &domains(app, scope.workspace()), app.now())?;
    let tagged = match (&params.tag, scope) {
        (None, _) => None,
        (Some(_), ReportScope::Link(..)) => {
            return Err(ApiError::Request("tag is not for the statistics of one link".into()));
        }
        (Some(tag), _) => Some(narrow(app, scope.workspace(), tag, &mut query).await?),
    };
    let table = table(params, &query)?;
    let mut report = app.clicks()?.report(&query).await?;
    for (dimension, values) in &mut report.top {
        if *dimension == Dimension::Domain {
            values.iter_mut().for_each(|value| name_domain(app, value));
        }
    }
    if let Some(table) = table {
        return Ok(csv(&query, &report, table).into_response());
    }
    let (link_id, links) = match (scope, tagged, &params.domain) {
        (ReportScope::Link(_, link), ..) => (Some(link), None),
        (_, tagged @ Some(_), _) => (None, tagged),
        (_, None, Some(_)) => (None, None),
        (_, None, None) => (None, Some(link_count(app.read(), scope.workspace()).await?)),
    };
    let compare = query.compare.as_ref().zip(report.compare.as_ref());
    let view = StatsView {
        link_id,
        links,
        period: PeriodView::new(&query, &query.period, &report.period),
        compare: compare.map(|(buckets, report)| PeriodView::new(&query, buckets, report)),
        top: report.top.into_iter().map(top_view).collect(),
        last_click_at: report.last_click_at.map(rfc3339),
        detail_since: report.detail_since.map(rfc3339),
        lost: app.lost(query.period.span).await?,
    };
    Ok(Json(view).into_response())
}

/// Domains that a workspace's links may be on; `None`: all of them.
pub(crate) fn domains(app: &App, workspace: Option<WorkspaceId>) -> Vec<(i64, String)> {
    let domains = app.domain_set();
    let usable = domains.all().iter().filter(|domain| {
        domain.workspace.is_none() || workspace.is_none() || domain.workspace == workspace
    });
    usable.map(|domain| (domain.id.get(), domain.host.to_string())).collect()
}

fn name_domain(app: &App, value: &mut TopValue) {
    let domains = app.domain_set();
    let domain = domains.all().iter().find(|of| of.id.to_string() == value.value);
    if let Some(domain) = domain {
        value.value = domain.host.to_string();
    }
}

fn top_view((dimension, values): (Dimension, Vec<TopValue>)) -> (&'static str, Vec<TopView>) {
    let view = |TopValue { value, clicks, visitors }| TopView { value, clicks, visitors };
    (dimension.as_str(), values.into_iter().map(view).collect())
}

/// A table of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Table {
    Totals,
    Series,
    Top(Dimension),
}

/// The table asked for; `None` where JSON is.
fn table(params: &ReportParams, query: &ReportQuery) -> Result<Option<Table>, ApiError> {
    if params.format.unwrap_or_default() == Format::Json {
        return match params.table {
            None => Ok(None),
            Some(_) => Err(ApiError::Request("table is for format=csv".into())),
        };
    }
    match params.table.as_deref() {
        Some("totals") => Ok(Some(Table::Totals)),
        None | Some("series") => Ok(Some(Table::Series)),
        Some(name) => {
            let dimension = name.strip_prefix("top.").and_then(Dimension::parse);
            let dimension = dimension.filter(|dimension| query.by.contains(dimension));
            let detail = "table is totals, series, or top. and a dimension that by names";
            Ok(Some(Table::Top(dimension.ok_or_else(|| ApiError::Request(detail.into()))?)))
        }
    }
}

fn csv(query: &ReportQuery, report: &Report, table: Table) -> Csv {
    match table {
        Table::Totals => {
            let mut csv = Csv::new(&[
                "from", "to", "clicks", "visitors", "bots", "previews", "prefetches", "heads",
            ]);
            let compared = query.compare.as_ref().zip(report.compare.as_ref());
            for (buckets, report) in
                std::iter::once((&query.period, &report.period)).chain(compared)
            {
                let Totals { clicks, bots, previews, prefetches, heads } = report.totals;
                csv.text(&query.zone.rfc3339(buckets.span.from_s));
                csv.text(&query.zone.rfc3339(buckets.span.to_s));
                csv.numbers(&[clicks, report.visitors, bots, previews, prefetches, heads]);
                csv.end_line();
            }
            csv
        }
        Table::Series => {
            let mut csv = Csv::new(&["at", "clicks", "visitors", "bots"]);
            for (start, point) in query.period.starts.iter().zip(&report.period.series) {
                csv.text(&query.zone.rfc3339(*start));
                csv.numbers(&[point.clicks, point.visitors, point.bots]);
                csv.end_line();
            }
            csv
        }
        Table::Top(dimension) => {
            let mut csv = Csv::new(&[dimension.as_str(), "clicks", "visitors"]);
            let values = report.top.iter().filter(|(of, _)| *of == dimension);
            for value in values.flat_map(|(_, values)| values) {
                csv.text(&value.value);
                csv.numbers(&[value.clicks, value.visitors]);
                csv.end_line();
            }
            csv
        }
    }
}
