//! What the public says about the workspace's links.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use carom_shared::{LinkId, ReportId, RouteState};
use serde::Deserialize;

use super::{Frame, Part, open};
use crate::access::Scope;
use crate::app::App;
use crate::http::extract::Params;
use crate::link::Link;
use crate::link::store::link_fetch;
use crate::page::message::{filters, message};
use crate::page::respond::{Page, PageError};
use crate::page::shell::{Shell, Viewer};
use crate::page::text::{bare, time};
use crate::report::store::reports_of;
use crate::report::{Report, ReportReason, ReportState};

/// Reports of a page; the link of each is read too.
const PAGE: u32 = 25;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct View {
    before: Option<ReportId>,
}

struct Row {
    id: ReportId,
    link: LinkId,
    short: String,
    target: Option<String>,
    reason: &'static str,
    comment: String,
    state: &'static str,
    state_class: &'static str,
    at: String,
    closed_at: Option<String>,
    is_open: bool,
    is_disabled: bool,
    may_disable: bool,
}

impl Row {
    fn new(report: Report, link: Option<&Link>, may_write: bool) -> Self {
        let is_in = |state| link.is_some_and(|link| link.route_state() == state);
        let (state, state_class) = state_words(report.state);
        Self {
            id: report.id,
            link: report.link,
            short: bare(&report.short_url).to_owned(),
            target: link.map(|link| link.target.clone()),
            reason: reason_words(report.reason),
            comment: report.comment,
            state,
            state_class,
            at: time(report.created_at),
            closed_at: report.closed_at.map(time),
            is_open: report.state == ReportState::Open,
            is_disabled: is_in(RouteState::Disabled),
            may_disable: may_write && is_in(RouteState::Active),
        }
    }
}

/// What became of a report, and how that looks.
pub(super) const fn state_words(state: ReportState) -> (&'static str, &'static str) {
    match state {
        ReportState::Open => (message("open"), "warn"),
        ReportState::Dismissed => (message("dismissed"), ""),
        ReportState::Blocked => (message("link blocked"), "bad"),
    }
}

pub(super) const fn reason_words(reason: ReportReason) -> &'static str {
    match reason {
        ReportReason::Phishing => message("pretends to be somebody else"),
        ReportReason::Malware => message("leads to harmful software"),
        ReportReason::Spam => message("is advertised by spam"),
        ReportReason::Illegal => message("leads to what is illegal"),
        ReportReason::Other => message("something else is wrong"),
    }
}

#[derive(Template)]
#[template(path = "settings/reports.html")]
struct Reports {
    shell: Shell,
    frame: Frame,
    rows: Vec<Row>,
    next: Option<String>,
    has_open: bool,
    is_operator: bool,
}

pub(super) async fn list(
    State(app): State<App>,
    viewer: Viewer,
    Params(view): Params<View>,
) -> Result<Response, PageError> {
    let (shell, frame) = open(&app, &viewer, Part::Reports)?;
    let workspace = viewer.caller.workspace;
    let may_write = viewer.caller.scopes.has(Scope::LinksWrite);
    let mut reports = reports_of(app.read(), workspace, view.before, PAGE + 1).await?;
    let has_more = reports.len() > PAGE as usize;
    reports.truncate(PAGE as usize);
    let last = reports.last().filter(|_| has_more);
    let next = last.map(|it| format!("{}?before={}", Part::Reports.path(), it.id));
    let mut rows = Vec::with_capacity(reports.len());
    for report in reports {
        let link = link_fetch(app.read(), workspace, report.link).await?;
        rows.push(Row::new(report, link.as_ref(), may_write));
    }
    let has_open = rows.iter().any(|row| row.is_open);
    let is_operator = viewer.is_operator;
    let page = Reports { shell, frame, rows, next, has_open, is_operator };
    Ok(Page::of(&page).respond(&viewer.headers))
}
