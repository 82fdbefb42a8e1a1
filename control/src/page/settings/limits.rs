//! What a workspace can have, and how much of it there is.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::{Frame, Part, open};
use crate::apikey::act::KEYS_MAX;
use crate::apikey::store::key_list;
use crate::app::App;
use crate::db::StoreError;
use crate::domain::store::domains_of;
use crate::http::extract::{NoParams, Params};
use crate::invitation::OPEN_MAX;
use crate::invitation::store::invitation_list;
use crate::limit::api::Decisions;
use crate::limit::{Decision, Limit};
use crate::link::store::link_count;
use crate::member::MEMBERS_MAX;
use crate::member::store::member_list;
use crate::page::message::phrase::{Phrase, phrase, plural};
use crate::page::message::{filters, message};
use crate::page::respond::{Page, PageError};
use crate::page::shell::{Shell, Viewer};

/// What there can be so many of.
struct Stock {
    what: &'static str,
    used: u64,
    /// `None`: there is no limit.
    most: Option<u64>,
}

impl Stock {
    fn new(what: &'static str, used: usize, most: u64) -> Self {
        Self { what, used: used as u64, most: Some(most) }
    }
}

/// What can be done so often.
struct Pace {
    what: &'static str,
    /// At once, and then again each minute; 0: there is no limit.
    per_minute: u32,
    left: Option<u64>,
}

#[derive(Template)]
#[template(path = "settings/limits.html")]
struct Limits {
    shell: Shell,
    frame: Frame,
    has: Vec<Stock>,
    asks: Vec<Pace>,
    keeps: Vec<(&'static str, Phrase)>,
}

pub(super) async fn show(
    State(app): State<App>,
    viewer: Viewer,
    Decisions(decisions): Decisions,
    _: Params<NoParams>,
) -> Result<Response, PageError> {
    let (shell, frame) = open(&app, &viewer, Part::Limits)?;
    let config = app.config();
    let limits = &config.limits;
    let asks = [
        (Limit::Key, message("You, and each key without a rate of its own"), limits.key_per_minute),
        (Limit::Workspace, message("The workspace, all together"), limits.workspace_per_minute),
        (Limit::Address, message("A network address without a key"), limits.address_per_minute),
    ];
    let asks = asks.map(|(limit, what, per_minute)| pace(limit, what, per_minute, &decisions));
    let page = Limits {
        shell,
        frame,
        has: stocks(&app, &viewer).await?,
        asks: asks.into(),
        keeps: vec![
            (message("Clicks, with their details"), days(config.clicks.retention_days)),
            (message("Sums of clicks"), phrase("for ever")),
            (message("The audit log"), days(config.audit.retention_days)),
            (message("Codes that were missing"), phrase("90 days after the last request")),
            (message("Addresses of visitors"), phrase("not at all")),
        ],
    };
    Ok(Page::of(&page).respond(&viewer.headers))
}

async fn stocks(app: &App, viewer: &Viewer) -> Result<Vec<Stock>, StoreError> {
    let (db, workspace, now) = (app.read(), viewer.caller.workspace, app.now());
    let links = link_count(db, Some(workspace)).await?;
    let domains = domains_of(db, workspace).await?;
    let own = domains.iter().filter(|domain| domain.workspace.is_some()).count();
    let keys = key_list(db, Some(workspace)).await?;
    let usable = keys.iter().filter(|key| key.grant.expires_at.is_none_or(|at| at > now)).count();
    let members =
        member_list(db, workspace, None, MEMBERS_MAX.try_into().unwrap_or(u32::MAX)).await?;
    let invitations = invitation_list(db, workspace, now).await?;
    let links = Stock { what: message("Links"), used: links, most: None };
    Ok(vec![
        links,
        Stock::new(message("Domains"), own, app.config().domains.max_per_workspace.into()),
        Stock::new(message("API keys that work"), usable, KEYS_MAX.unsigned_abs()),
        Stock::new(message("Members"), members.len(), MEMBERS_MAX.unsigned_abs()),
        Stock::new(message("Open invitations"), invitations.len(), OPEN_MAX.unsigned_abs()),
    ])
}

fn pace(limit: Limit, what: &'static str, per_minute: u32, decisions: &[Decision]) -> Pace {
    let left = decisions.iter().rfind(|it| it.limit == limit);
    Pace { what, per_minute, left: left.map(|it| it.remaining.into()) }
}

fn days(days: u32) -> Phrase {
    match days {
        0 => phrase("for ever"),
        days => plural("{n} day", "{n} days", days.into()),
    }
}
