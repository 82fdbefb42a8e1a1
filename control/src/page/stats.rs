//! Statistics: of a link, of a tag, of a domain, and of all links of a workspace.
//!
//! ```text
//! address -> View -> Asked -> a ReportQuery -> the store of clicks -> Report -> Facts -> Body -> HTML
//! ```
//!
//! The [`Body`] is the same for members and for whoever has the address of a share; [`About`] says what
//! of it is shown.

mod body;
mod build;
mod heat;
mod map;
mod panel;
mod view;
pub(super) mod words;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use carom_shared::{LinkId, WorkspaceId};

pub(super) use body::{Body, PAST_LINK, body};
pub(super) use view::View;

use super::links::Row;
use super::respond::{Page, PageError};
use super::shell::{Section, Shell, Viewer};
use super::text::time;
use crate::access::Scope;
use crate::app::App;
use crate::click::report::ReportScope;
use crate::http::extract::{Id, Params};
use crate::http::problem::ApiError;
use crate::link::store::{PastTarget, link_fetch, tag_names, target_history};
use crate::page::message::filters;
use crate::page::message::phrase::{Phrase, phrase};
use crate::share::Shown;

/// Tags that the menu has; the others are written into its field.
const TAGS_MAX: u32 = 30;

/// What statistics are of, and what of them is shown.
pub(super) struct About {
    pub(super) workspace: WorkspaceId,
    pub(super) scope: ReportScope,
    /// Of the links that have it alone.
    pub(super) tag: Option<String>,
    /// The page's own path.
    pub(super) path: String,
    /// The same in the API, for members.
    pub(super) api: Option<String>,
    /// Where clicks can be followed as they come.
    pub(super) stream: Option<String>,
    /// Where the link has led to.
    pub(super) targets: Vec<PastTarget>,
    pub(super) shown: Shown,
    /// The page that shares it, for whoever may.
    pub(super) share: Option<String>,
    /// For whoever may see everything there is in the workspace.
    pub(super) is_member: bool,
}

#[derive(Template)]
#[template(path = "stats.html")]
struct StatsPage {
    shell: Shell,
    link: Option<Row>,
    past: Vec<Past>,
    /// Of many links: of which.
    narrow: Option<Narrow>,
    body: Body,
}

/// The choice of a tag and a domain.
struct Narrow {
    tag: Option<Chosen>,
    domain: Option<Chosen>,
    tags: Vec<body::Choice>,
    domains: Vec<body::Choice>,
    hidden: Vec<(&'static str, String)>,
}

/// What was chosen, and the address without it.
struct Chosen {
    value: String,
    without: String,
}

/// Where a link led to.
struct Past {
    target: String,
    since: String,
}

impl From<PastTarget> for Past {
    fn from(past: PastTarget) -> Self {
        Self { target: past.target, since: time(past.set_at) }
    }
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
    if view.tag().is_some() || view.domain().is_some() {
        let detail = "tag and domain are for the statistics of all links";
        return Err(ApiError::Request(detail.into()).into());
    }
    let past = target_history(app.read(), &link).await?;
    let row = Row::new(&app, &link);
    let about = About {
        workspace,
        scope: ReportScope::Link(workspace, id),
        tag: None,
        path: format!("/links/{id}"),
        api: Some(format!("/api/v1/links/{id}/stats")),
        stream: Some(format!("/api/v1/live?link={id}")),
        targets: past.clone(),
        shown: Shown::ALL,
        share: may_share(&viewer).then(|| format!("/shares?link={id}")),
        is_member: true,
    };
    let body = body(&app, &viewer.zone, &view, &about).await?;
    let shell = Shell::new(&app, &viewer, Section::Links, Phrase::data(row.short.clone()));
    let past = past.into_iter().map(Past::from).collect();
    let page = StatsPage { shell, link: Some(row), past, narrow: None, body };
    Ok(Page::of(&page).respond(&viewer.headers))
}

/// Statistics of a workspace, or of a tag or a domain in it.
pub(super) async fn workspace(
    State(app): State<App>,
    viewer: Viewer,
    Params(view): Params<View>,
) -> Result<Response, PageError> {
    viewer.caller.require(Scope::StatsRead)?;
    let workspace = viewer.caller.workspace;
    let about = About {
        workspace,
        scope: ReportScope::Workspace(workspace),
        tag: view.tag().map(str::to_owned),
        path: "/analytics".into(),
        api: Some("/api/v1/stats".into()),
        stream: Some(view.narrowed().href("/api/v1/live", &[])),
        targets: Vec::new(),
        shown: Shown::ALL,
        share: may_share(&viewer).then(|| match view.tag() {
            Some(tag) => View::of_tag(tag).href("/shares", &[]),
            None => "/shares".to_owned(),
        }),
        is_member: true,
    };
    let body = body(&app, &viewer.zone, &view, &about).await?;
    let title = match (view.tag(), view.domain()) {
        (Some(what), _) | (None, Some(what)) => phrase("Analytics of {what}").put("what", what),
        (None, None) => phrase("Analytics"),
    };
    let shell = Shell::new(&app, &viewer, Section::Analytics, title);
    let narrow = Narrow {
        tag: chosen(&view, "tag", view.tag()),
        domain: chosen(&view, "domain", view.domain()),
        tags: choices(&view, "tag", tag_names(app.read(), workspace, TAGS_MAX).await?),
        domains: choices(&view, "domain", shell.hosts.clone()),
        hidden: view.pairs().into_iter().filter(|(name, _)| *name != "tag").collect(),
    };
    let narrow = Some(narrow);
    let page = StatsPage { shell, link: None, past: Vec::new(), narrow, body };
    Ok(Page::of(&page).respond(&viewer.headers))
}

fn may_share(viewer: &Viewer) -> bool {
    viewer.caller.scopes.has(Scope::LinksWrite)
}

fn chosen(view: &View, name: &'static str, value: Option<&str>) -> Option<Chosen> {
    let without = || view.href("/analytics", &[(name, "")]);
    value.map(|value| Chosen { value: value.to_owned(), without: without() })
}

fn choices(view: &View, name: &'static str, values: Vec<String>) -> Vec<body::Choice> {
    let current = if name == "tag" { view.tag() } else { view.domain() };
    let choice = |value: String| body::Choice {
        href: view.href("/analytics", &[(name, &value)]),
        is_current: current == Some(value.as_str()),
        label: Phrase::data(value),
    };
    values.into_iter().map(choice).collect()
}
