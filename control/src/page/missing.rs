//! Codes that visitors asked for and that do not exist.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::respond::{Page, PageError};
use super::shell::{Section, Shell, Viewer};
use super::text::time;
use crate::access::Scope;
use crate::app::App;
use crate::http::extract::{NoParams, Params};
use crate::missing::store::missing_list;
use crate::page::message::filters;
use crate::page::message::phrase::phrase;

/// Codes of the page.
const CODES: u32 = 100;

struct Row {
    host: String,
    code: String,
    requests: u64,
    first_seen: String,
    last_seen: String,
}

#[derive(Template)]
#[template(path = "missing.html")]
struct Missing {
    shell: Shell,
    /// The workspace that codes of the installation's own domain are shown in.
    is_first: bool,
    rows: Vec<Row>,
}

pub(super) async fn list(
    State(app): State<App>,
    viewer: Viewer,
    _: Params<NoParams>,
) -> Result<Response, PageError> {
    viewer.caller.require(Scope::StatsRead)?;
    let codes = missing_list(app.read(), viewer.caller.workspace, None, CODES).await?;
    let row = |code: crate::missing::MissingCode| Row {
        host: code.host,
        code: code.code,
        requests: code.requests,
        first_seen: time(code.first_seen),
        last_seen: time(code.last_seen),
    };
    let shell = Shell::new(&app, &viewer, Section::Missing, phrase("Missing codes"));
    let is_first = viewer.caller.workspace == app.first_workspace();
    let page = Missing { shell, is_first, rows: codes.into_iter().map(row).collect() };
    Ok(Page::of(&page).respond(&viewer.headers))
}
