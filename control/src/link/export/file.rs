//! `GET /api/v1/links/export`: links as a file that an import takes.

use axum::extract::State;
use axum::response::Response;
use carom_shared::{LinkId, WorkspaceId};
use serde::Deserialize;
use utoipa::IntoParams;

use super::record;
use crate::access::{Scope, allow};
use crate::app::App;
use crate::http::auth::By;
use crate::http::download::{FileFormat, Pages, download};
use crate::http::extract::Params;
use crate::http::problem::ApiError;
use crate::link::Link;
use crate::link::csv::{COLUMNS, cells, push_line};
use crate::link::list::{Archived, ListParams, ListQuery, ListState, Place, check_list};
use crate::link::store::{link_fetch, link_list};
use crate::openapi::responses::Any;

/// Links of a page.
const PAGE: u32 = 500;
/// Links that are named one by one: as many as an address has room for.
const IDS_MAX: usize = 200;

/// Which links, as a client asks for them: those of a list, newest first, or those that are named.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LinksFileParams {
    /// `csv` unless it says otherwise; `jsonl`: a JSON object a line.
    #[param(inline)]
    format: Option<FileFormat>,
    /// Only these links, at most 200: their ids with commas between them, and no other filter.
    #[param(max_length = 4000, pattern = "^[0-9]{1,19}(,[0-9]{1,19})*$")]
    ids: Option<String>,
    /// Only links in this state; without it, all but deleted ones.
    #[param(inline)]
    state: Option<ListState>,
    /// Archived links only, none of them (so it is without this), or any.
    #[param(inline)]
    archived: Option<Archived>,
    /// Only links with this tag; case makes no difference.
    #[param(max_length = 50)]
    tag: Option<String>,
    /// Only links on this host.
    #[param(max_length = 253)]
    domain: Option<String>,
    /// Only links whose code, target, title or notes hold this text; case makes no difference.
    #[param(min_length = 1, max_length = 200)]
    q: Option<String>,
}

/// Exports links
///
/// A file that an import takes, here or elsewhere. In CSV, a cell that a spreadsheet would take for a
/// formula has an apostrophe before it, which an import takes away.
#[utoipa::path(
    get,
    path = "/api/v1/links/export",
    tag = "links",
    security(("api_key" = ["links:read"]), ("session" = ["links:read"])),
    params(LinksFileParams),
    responses(
        (
            status = 200,
            content((String = "text/csv"), (String = "application/jsonl")),
            headers(("Content-Disposition" = String, description = "The file's name")),
        ),
        Any,
    ),
    operation_id = "export_links",
)]
pub(crate) async fn export(
    State(app): State<App>,
    caller: By<allow::LinksRead>,
    Params(params): Params<LinksFileParams>,
) -> Result<Response, ApiError> {
    let format = params.format.unwrap_or_default();
    let source = match &params.ids {
        Some(ids) => Source::Named(caller.workspace, check_ids(ids, &params)?),
        None => Source::Listed(Some(Box::new(check(&params, caller.workspace, &app)?))),
    };
    let pages = LinkPages { source, format, is_begun: false };
    download(&app, caller.lasting(Scope::LinksRead), "links", format, pages).await
}

fn check(
    params: &LinksFileParams,
    workspace: WorkspaceId,
    app: &App,
) -> Result<ListQuery, ApiError> {
    let LinksFileParams { state, archived, tag, domain, q, .. } = params.clone();
    let list = ListParams { state, archived, tag, domain, q, ..ListParams::default() };
    check_list(&list, workspace, &app.domain_set(), app.cursor_key())
}

fn check_ids(ids: &str, params: &LinksFileParams) -> Result<Vec<LinkId>, ApiError> {
    let LinksFileParams { state, archived, tag, domain, q, .. } = params;
    let is_filtered =
        state.is_some() || archived.is_some() || [tag, domain, q].into_iter().any(Option::is_some);
    let ids: Result<Vec<LinkId>, _> = ids.split(',').map(str::parse).collect();
    match ids {
        Ok(ids) if ids.len() <= IDS_MAX && !is_filtered => Ok(ids),
        _ => Err(ApiError::Request(format!(
            "ids are at most {IDS_MAX} ids with commas between them, without another filter"
        ))),
    }
}

struct LinkPages {
    source: Source,
    format: FileFormat,
    is_begun: bool,
}

/// Where links come from.
enum Source {
    Named(WorkspaceId, Vec<LinkId>),
    /// What is left of a list; `None`: nothing.
    Listed(Option<Box<ListQuery>>),
}

impl Source {
    async fn next(&mut self, app: &App) -> Result<Vec<Link>, ApiError> {
        match self {
            Self::Named(workspace, ids) => {
                let mut links = Vec::with_capacity(ids.len());
                for id in std::mem::take(ids) {
                    links.extend(link_fetch(app.read(), *workspace, id).await?);
                }
                Ok(links)
            }
            Self::Listed(rest) => {
                let Some(mut query) = rest.take() else { return Ok(Vec::new()) };
                let links = link_list(app.read(), &query, PAGE).await?;
                if let Some(last) = links.last().filter(|_| links.len() == PAGE as usize) {
                    query.below = Some(Place::of(last, query.sort));
                    *rest = Some(query);
                }
                Ok(links)
            }
        }
    }
}

impl Pages for LinkPages {
    async fn next(&mut self, app: &App) -> Result<Option<String>, ApiError> {
        let links = self.source.next(app).await?;
        let mut text = String::new();
        if !self.is_begun && self.format == FileFormat::Csv {
            push_line(&mut text, COLUMNS);
        }
        self.is_begun = true;
        let domains = app.domain_set();
        for link in links {
            let record = record(link, &domains);
            match self.format {
                FileFormat::Csv => {
                    push_line(&mut text, cells(&record).iter().map(String::as_str));
                }
                FileFormat::Jsonl => {
                    text += &serde_json::to_string(&record).expect("texts and numbers are JSON");
                    text.push('\n');
                }
            }
        }
        Ok(Some(text).filter(|text| !text.is_empty()))
    }
}
