//! API keys.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use carom_shared::{ApiKeyId, DomainId, UnixMillis};

use super::people::People;
use super::{Badge, Frame, Part, open};
use crate::access::{Scope, Scopes};
use crate::apikey::KeyRow;
use crate::apikey::store::{key_list, key_read};
use crate::app::App;
use crate::domain::{Domain, Domains};
use crate::http::extract::{Id, NoParams, Params};
use crate::http::problem::ApiError;
use crate::page::message::phrase::Phrase;
use crate::page::message::{filters, message};
use crate::page::respond::{Page, PageError};
use crate::page::shell::{Shell, Viewer};
use crate::page::text::time;

/// When a key is about to end.
const SOON_MS: i64 = 7 * 24 * 3600 * 1000;
/// What most keys are for.
const USUAL: [Scope; 3] = [Scope::LinksRead, Scope::LinksWrite, Scope::StatsRead];

struct Row {
    id: ApiKeyId,
    name: String,
    hint: String,
    badges: Vec<Badge>,
    may_all: bool,
    scopes: Vec<&'static str>,
    addresses: Vec<String>,
    hosts: Vec<String>,
    rate: Option<u32>,
    maker: Phrase,
    created_at: String,
    expires_at: Option<String>,
    used_at: Option<String>,
    used_from: Option<String>,
    /// Whether it can do nothing that who looks cannot.
    is_within: bool,
}

impl Row {
    fn new(key: KeyRow, people: &People, domains: &Domains, own: Scopes, now: UnixMillis) -> Self {
        let badges = badges(&key, people, now);
        let host = |id: &DomainId| match domains.by_id(*id) {
            Some(domain) => domain.host.to_string(),
            None => id.to_string(),
        };
        Self {
            id: key.id,
            badges,
            may_all: key.grant.scopes == Scopes::ALL,
            scopes: key.grant.scopes.iter().map(Scope::as_str).collect(),
            addresses: key.grant.addresses.iter().map(ToString::to_string).collect(),
            hosts: key.grant.domains.iter().map(host).collect(),
            rate: key.grant.rate_per_minute.map(Into::into),
            maker: people.maker(key.account),
            created_at: time(key.created_at),
            expires_at: key.grant.expires_at.map(time),
            used_at: key.last_used_at.map(time),
            used_from: key.last_used_from.map(|from| from.to_string()),
            is_within: key.grant.scopes.are_within(own),
            name: key.name,
            hint: key.hint,
        }
    }
}

fn badges(key: &KeyRow, people: &People, now: UnixMillis) -> Vec<Badge> {
    let ends = key.grant.expires_at.map(|at| at.get().saturating_sub(now.get()));
    let has_left = key.account.is_some_and(|account| people.name(account).is_none());
    let all = [
        (ends.is_some_and(|left| left <= 0), "bad", message("expired")),
        (ends.is_some_and(|left| (1..SOON_MS).contains(&left)), "warn", message("ends soon")),
        (key.replaced_by.is_some(), "", message("replaced")),
        (has_left, "bad", message("dead: its maker has left")),
        (!key.grant.addresses.is_empty(), "", message("some addresses only")),
        (!key.grant.domains.is_empty(), "", message("some domains only")),
    ];
    let badge = |(is, class, text)| if is { Some(Badge { class, text }) } else { None };
    all.into_iter().filter_map(badge).collect()
}

/// A scope that who looks can hand on.
struct Choice {
    name: &'static str,
    is_usual: bool,
}

struct Place {
    id: DomainId,
    host: String,
}

#[derive(Template)]
#[template(path = "settings/keys.html")]
struct Keys {
    shell: Shell,
    frame: Frame,
    rows: Vec<Row>,
    may_change: bool,
    may_be_endless: bool,
    scopes: Vec<Choice>,
    domains: Vec<Place>,
    /// Requests a minute of a key that has no rate of its own.
    rate: Option<u32>,
}

#[derive(Template)]
#[template(path = "settings/key.html")]
struct Key {
    shell: Shell,
    frame: Frame,
    key: Row,
    may_change: bool,
    scopes: Vec<Choice>,
}

fn choices(own: Scopes) -> Vec<Choice> {
    let choice = |it: Scope| Choice { name: it.as_str(), is_usual: USUAL.contains(&it) };
    own.iter().map(choice).collect()
}

pub(super) async fn list(
    State(app): State<App>,
    viewer: Viewer,
    _: Params<NoParams>,
) -> Result<Response, PageError> {
    let (shell, frame) = open(&app, &viewer, Part::Keys)?;
    let (workspace, own) = (viewer.caller.workspace, viewer.caller.scopes);
    let keys = key_list(app.read(), Some(workspace)).await?;
    let people = People::of(&app, &viewer.caller).await?;
    let (domains, now) = (app.domain_set(), app.now());
    let row = |key| Row::new(key, &people, &domains, own, now);
    let usable = |it: &&Domain| it.workspace.is_none_or(|owner| owner == workspace);
    let place = |it: &Domain| Place { id: it.id, host: it.host.to_string() };
    let limits = &app.config().limits;
    let page = Keys {
        shell,
        frame,
        rows: keys.into_iter().map(row).collect(),
        may_change: own.has(Scope::KeysWrite),
        may_be_endless: limits.endless_keys,
        scopes: choices(own),
        domains: domains.verified().filter(usable).map(place).collect(),
        rate: (limits.key_per_minute > 0).then_some(limits.key_per_minute),
    };
    Ok(Page::of(&page).respond(&viewer.headers))
}

pub(super) async fn show(
    State(app): State<App>,
    viewer: Viewer,
    Id(id): Id<ApiKeyId>,
    _: Params<NoParams>,
) -> Result<Response, PageError> {
    let (mut shell, frame) = open(&app, &viewer, Part::Keys)?;
    let own = viewer.caller.scopes;
    let key = key_read(app.read(), viewer.caller.workspace, id).await?;
    let key = key.ok_or(ApiError::NotFound("key"))?;
    let people = People::of(&app, &viewer.caller).await?;
    let key = Row::new(key, &people, &app.domain_set(), own, app.now());
    shell.title = Phrase::data(key.name.clone());
    let may_change = own.has(Scope::KeysWrite);
    let page = Key { shell, frame, key, may_change, scopes: choices(own) };
    Ok(Page::of(&page).respond(&viewer.headers))
}
