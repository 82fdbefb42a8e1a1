//! What the public says about links of all workspaces, for operators: reports are closed here, links
//! blocked, and workspaces taken out of service.

use std::collections::HashMap;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use carom_shared::{LinkId, ReportId, RouteState, WorkspaceId};
use serde::Deserialize;

use super::reports::{reason_words, state_words};
use super::{Frame, Part, open};
use crate::app::App;
use crate::http::extract::Params;
use crate::link::Link;
use crate::link::store::link_fetch;
use crate::page::message::filters;
use crate::page::respond::{Page, PageError};
use crate::page::shell::{Shell, Viewer};
use crate::page::text::{bare, time};
use crate::report::store::reports_list;
use crate::report::{Report, ReportState};
use crate::workspace::Workspace;
use crate::workspace::store::workspace_list;

/// Reports of a page; the link of each is read too.
const PAGE: u32 = 25;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct View {
    before: Option<ReportId>,
    /// Also those that are closed.
    all: Option<bool>,
}

struct Row {
    id: ReportId,
    link: LinkId,
    short: String,
    /// `None`: the link was deleted.
    target: Option<String>,
    workspace: WorkspaceId,
    workspace_name: String,
    is_workspace_disabled: bool,
    reason: &'static str,
    comment: String,
    contact: String,
    state: &'static str,
    state_class: &'static str,
    at: String,
    closed_at: Option<String>,
    is_open: bool,
    is_blocked: bool,
}

impl Row {
    fn new(report: Report, link: Option<Link>, workspace: Option<&Workspace>) -> Self {
        let (state, state_class) = state_words(report.state);
        let id = || report.workspace.to_string();
        Self {
            id: report.id,
            link: report.link,
            short: bare(&report.short_url).to_owned(),
            is_blocked: link.as_ref().is_some_and(|it| it.route_state() == RouteState::Blocked),
            target: link.map(|link| link.target),
            workspace: report.workspace,
            workspace_name: workspace.map_or_else(id, |it| it.name.clone()),
            is_workspace_disabled: workspace.is_some_and(|it| it.disabled_at.is_some()),
            reason: reason_words(report.reason),
            comment: report.comment,
            contact: report.contact,
            state,
            state_class,
            at: time(report.created_at),
            closed_at: report.closed_at.map(time),
            is_open: report.state == ReportState::Open,
        }
    }
}

#[derive(Template)]
#[template(path = "settings/abuse.html")]
struct Abuse {
    shell: Shell,
    frame: Frame,
    rows: Vec<Row>,
    next: Option<String>,
    /// Whether those that are closed are shown too.
    is_all: bool,
}

pub(super) async fn list(
    State(app): State<App>,
    viewer: Viewer,
    Params(view): Params<View>,
) -> Result<Response, PageError> {
    let (shell, frame) = open(&app, &viewer, Part::Abuse)?;
    let is_all = view.all == Some(true);
    let state = (!is_all).then_some(ReportState::Open);
    let mut reports = reports_list(app.read(), state, view.before, PAGE + 1).await?;
    let has_more = reports.len() > PAGE as usize;
    reports.truncate(PAGE as usize);
    let last = reports.last().filter(|_| has_more);
    let next = last.map(|it| format!("{}?all={is_all}&before={}", Part::Abuse.path(), it.id));
    let workspaces = workspace_list(app.read()).await?.into_iter();
    let workspaces: HashMap<WorkspaceId, Workspace> = workspaces.map(|it| (it.id, it)).collect();
    let mut rows = Vec::with_capacity(reports.len());
    for report in reports {
        let link = link_fetch(app.read(), report.workspace, report.link).await?;
        let workspace = workspaces.get(&report.workspace);
        rows.push(Row::new(report, link, workspace));
    }
    let page = Abuse { shell, frame, rows, next, is_all };
    Ok(Page::of(&page).respond(&viewer.headers))
}
