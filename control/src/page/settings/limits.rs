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
use crate::page::respond::{Page, PageError};
use crate::page::shell::{Shell, Viewer};
use crate::page::text::grouped;

/// What there can be so many of.
struct Stock {
    what: &'static str,
    used: String,
    most: String,
    /// How many there are, of how many; `None` where there is no limit.
    share: Option<(u64, u64)>,
}

impl Stock {
    fn new(what: &'static str, used: usize, most: u64) -> Self {
        let used = used as u64;
        Self { what, used: grouped(used), most: grouped(most), share: Some((used, most)) }
    }
}

/// What can be done so often.
struct Pace {
    what: &'static str,
    burst: String,
    rate: String,
    left: String,
}

#[derive(Template)]
#[template(path = "settings/limits.html")]
struct Limits {
    shell: Shell,
    frame: Frame,
    has: Vec<Stock>,
    asks: Vec<Pace>,
    keeps: Vec<(&'static str, String)>,
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
        (Limit::Key, "You, and each key without a rate of its own", limits.key_per_minute),
        (Limit::Workspace, "The workspace, all together", limits.workspace_per_minute),
        (Limit::Address, "A network address without a key", limits.address_per_minute),
    ];
    let asks = asks.map(|(limit, what, per_minute)| pace(limit, what, per_minute, &decisions));
    let page = Limits {
        shell,
        frame,
        has: stocks(&app, &viewer).await?,
        asks: asks.into(),
        keeps: vec![
            ("Clicks, with their details", days(config.clicks.retention_days)),
            ("Sums of clicks", "for ever".into()),
            ("The audit log", days(config.audit.retention_days)),
            ("Codes that were missing", "90 days after the last request".into()),
            ("Addresses of visitors", "not at all".into()),
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
    let links = Stock { what: "Links", used: grouped(links), most: "no limit".into(), share: None };
    Ok(vec![
        links,
        Stock::new("Domains", own, app.config().domains.max_per_workspace.into()),
        Stock::new("API keys that work", usable, KEYS_MAX.unsigned_abs()),
        Stock::new("Members", members.len(), MEMBERS_MAX.unsigned_abs()),
        Stock::new("Open invitations", invitations.len(), OPEN_MAX.unsigned_abs()),
    ])
}

fn pace(limit: Limit, what: &'static str, per_minute: u32, decisions: &[Decision]) -> Pace {
    let number = grouped(per_minute.into());
    let left = decisions.iter().rfind(|it| it.limit == limit);
    let none = per_minute == 0;
    Pace {
        what,
        burst: if none { "no limit".into() } else { number.clone() },
        rate: if none { "–".into() } else { format!("{number} a minute") },
        left: left.map_or_else(|| "–".into(), |it| grouped(it.remaining.into())),
    }
}

fn days(days: u32) -> String {
    match days {
        0 => "for ever".to_owned(),
        days => format!("{} days", grouped(days.into())),
    }
}
