//! Taking data out, and bringing data in.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::{Frame, Part, open};
use crate::access::Scope;
use crate::app::App;
use crate::link::csv::COLUMNS;
use crate::link::store::link_count;
use crate::page::message::filters;
use crate::page::respond::{Page, PageError};
use crate::page::shell::{Shell, Viewer};

#[derive(Template)]
#[template(path = "settings/data.html")]
struct DataPage {
    shell: Shell,
    frame: Frame,
    links: u64,
    sees_clicks: bool,
    /// How many days clicks are kept one by one; 0: as long as there is room.
    kept_days: u32,
    /// The columns that a file may have, for the script.
    columns: String,
}

pub(super) async fn show(State(app): State<App>, viewer: Viewer) -> Result<Response, PageError> {
    let (shell, frame) = open(&app, &viewer, Part::Data)?;
    let links = link_count(app.read(), Some(viewer.caller.workspace)).await?;
    let page = DataPage {
        shell,
        frame,
        links,
        sees_clicks: viewer.caller.scopes.has(Scope::StatsRead),
        kept_days: app.config().clicks.retention_days,
        columns: COLUMNS.join(" "),
    };
    Ok(Page::of(&page).respond(&viewer.headers))
}
