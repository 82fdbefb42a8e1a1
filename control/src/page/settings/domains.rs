//! The domains that a workspace can use or waits for.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use carom_shared::DomainId;

use super::{Badge, Frame, Part, open};
use crate::access::Scope;
use crate::app::App;
use crate::domain::store::{domain_fetch, domains_of};
use crate::domain::{Domain, DomainState};
use crate::http::extract::{Id, NoParams, Params};
use crate::http::problem::ApiError;
use crate::page::message::phrase::Phrase;
use crate::page::message::{filters, message};
use crate::page::respond::{Page, PageError};
use crate::page::shell::{Shell, Viewer};
use crate::page::text::time;

struct Row {
    id: DomainId,
    host: String,
    is_shared: bool,
    badges: Vec<Badge>,
    what: &'static str,
}

impl Row {
    fn new(domain: &Domain) -> Self {
        let is_shared = domain.workspace.is_none();
        let all = [
            (domain.is_default, "on", message("default")),
            (domain.state == DomainState::Waiting, "warn", message("waiting")),
            (domain.is_verified() && !is_shared, "on", message("verified")),
            (domain.missing_since.is_some(), "bad", message("record missing")),
            (domain.folds_case, "", message("any case")),
        ];
        let badge = |(is, class, text)| if is { Some(Badge { class, text }) } else { None };
        Self {
            id: domain.id,
            host: domain.host.to_string(),
            is_shared,
            badges: all.into_iter().filter_map(badge).collect(),
            what: match (is_shared, domain.state) {
                (true, _) => message("The installation’s own, for all workspaces."),
                (false, DomainState::Verified) => {
                    message("Links can be put on it, and are served.")
                }
                (false, _) => message("Nothing is served on it until its TXT record was found."),
            },
        }
    }
}

#[derive(Template)]
#[template(path = "settings/domains.html")]
struct Domains {
    shell: Shell,
    frame: Frame,
    rows: Vec<Row>,
    may_change: bool,
    used: usize,
    max: u32,
}

#[derive(Template)]
#[template(path = "settings/domain.html")]
struct Single {
    shell: Shell,
    frame: Frame,
    row: Row,
    may_change: bool,
    is_verified: bool,
    record_name: String,
    record_value: String,
    checked_at: Option<String>,
    missing_since: Option<String>,
    home: String,
    not_found: String,
    expired: String,
    folds_case: bool,
    version: u64,
}

pub(super) async fn list(
    State(app): State<App>,
    viewer: Viewer,
    _: Params<NoParams>,
) -> Result<Response, PageError> {
    let (shell, frame) = open(&app, &viewer, Part::Domains)?;
    let domains = domains_of(app.read(), viewer.caller.workspace).await?;
    let page = Domains {
        shell,
        frame,
        rows: domains.iter().map(Row::new).collect(),
        may_change: viewer.caller.scopes.has(Scope::DomainsWrite),
        used: domains.iter().filter(|domain| domain.workspace.is_some()).count(),
        max: app.config().domains.max_per_workspace,
    };
    Ok(Page::of(&page).respond(&viewer.headers))
}

pub(super) async fn show(
    State(app): State<App>,
    viewer: Viewer,
    Id(id): Id<DomainId>,
    _: Params<NoParams>,
) -> Result<Response, PageError> {
    let (mut shell, frame) = open(&app, &viewer, Part::Domains)?;
    let found = domain_fetch(app.read(), viewer.caller.workspace, id).await?;
    // What is shared has nothing that a workspace could do with it.
    let domain = found.filter(|it| it.workspace.is_some()).ok_or(ApiError::NotFound("domain"))?;
    let row = Row::new(&domain);
    shell.title = Phrase::data(row.host.clone());
    let page = Single {
        shell,
        frame,
        row,
        may_change: viewer.caller.scopes.has(Scope::DomainsWrite),
        is_verified: domain.is_verified(),
        record_name: domain.record_name(),
        record_value: domain.challenge,
        checked_at: domain.checked_at.map(time),
        missing_since: domain.missing_since.map(time),
        home: domain.ways_out.home.unwrap_or_default(),
        not_found: domain.ways_out.not_found.unwrap_or_default(),
        expired: domain.ways_out.expired.unwrap_or_default(),
        folds_case: domain.folds_case,
        version: domain.version,
    };
    Ok(Page::of(&page).respond(&viewer.headers))
}
