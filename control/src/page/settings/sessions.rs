//! Where somebody is signed in.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use carom_shared::{SessionId, UnixMillis};

use super::device::device;
use super::{Frame, Part, open};
use crate::app::App;
use crate::http::extract::{NoParams, Params};
use crate::page::message::filters;
use crate::page::message::phrase::Phrase;
use crate::page::respond::{Page, PageError};
use crate::page::shell::{Shell, Viewer};
use crate::page::text::time;
use crate::session::store::{SessionRow, session_list};

struct Row {
    id: i64,
    device: Phrase,
    user_agent: String,
    address: String,
    seen_at: String,
    created_at: String,
    ends_at: String,
    is_current: bool,
    is_remembered: bool,
    has_second: bool,
}

impl Row {
    fn new(row: SessionRow, current: SessionId) -> Self {
        let at = |ms| time(UnixMillis::new(ms));
        Self {
            id: row.id,
            device: device(&row.user_agent),
            user_agent: row.user_agent,
            address: row.address,
            seen_at: at(row.last_seen_at_ms),
            created_at: at(row.created_at_ms),
            ends_at: at(row.idle_expires_at_ms.min(row.expires_at_ms)),
            is_current: row.id == current.get(),
            is_remembered: row.remembered,
            has_second: row.second_factor,
        }
    }
}

#[derive(Template)]
#[template(path = "settings/sessions.html")]
struct Sessions {
    shell: Shell,
    frame: Frame,
    rows: Vec<Row>,
}

pub(super) async fn list(
    State(app): State<App>,
    viewer: Viewer,
    _: Params<NoParams>,
) -> Result<Response, PageError> {
    let (shell, frame) = open(&app, &viewer, Part::Sessions)?;
    let current = viewer.signed_in.session;
    let rows = session_list(app.read(), viewer.signed_in.account, app.now()).await?;
    let mut rows: Vec<_> = rows.into_iter().map(|row| Row::new(row, current)).collect();
    rows.sort_by_key(|row| !row.is_current);
    let page = Sessions { shell, frame, rows };
    Ok(Page::of(&page).respond(&viewer.headers))
}
