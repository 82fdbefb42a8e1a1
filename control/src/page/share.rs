//! Shared statistics: what whoever has an address reads, and the list of what editors share.

use std::collections::HashMap;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use carom_shared::LinkId;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::respond::{Page, PageError};
use super::shell::{Section, Shell, Viewer, zone_of};
use super::stats::{About, Body, View, body};
use super::text::{bare, time};
use crate::access::Scope;
use crate::app::App;
use crate::click::report::ReportScope;
use crate::http::extract::Params;
use crate::http::problem::ApiError;
use crate::link::store::{link_fetch, link_places, target_history};
use crate::secret::token::Token;
use crate::share::api::address;
use crate::share::store::{share_find, share_list};
use crate::share::{Part, Share, ShareOf, visit};

const ROBOTS: HeaderName = HeaderName::from_static("x-robots-tag");
/// Shares that are worked out at once: strangers take no more of this process than two members do.
static READING: Semaphore = Semaphore::const_new(2);

#[derive(Template)]
#[template(path = "share.html")]
struct SharePage {
    name: String,
    /// The short URL, of a link.
    short: Option<String>,
    body: Body,
}

#[derive(Template)]
#[template(path = "share-gone.html")]
struct Gone {
    title: &'static str,
    detail: String,
    /// Where there is something.
    path: Option<String>,
}

#[derive(Template)]
#[template(path = "share-password.html")]
struct AskPassword {
    token: String,
}

/// The statistics of a share, for whoever has its address.
pub(super) async fn read(
    State(app): State<App>,
    Path(token): Path<String>,
    headers: HeaderMap,
    view: Result<Params<View>, ApiError>,
) -> Response {
    let mut response = answer(&app, &token, &headers, view).await.unwrap_or_else(|error| {
        let path = format!("/share/{token}");
        // Nobody here has links to go back to.
        let (status, title, detail) = error.words();
        if status.is_server_error() && !matches!(error, ApiError::Busy | ApiError::ClicksAway) {
            tracing::error!(?error, "shared page failed");
        }
        let path = (status != StatusCode::NOT_FOUND && status != StatusCode::GONE).then_some(path);
        say(&headers, status, &Gone { title, detail, path })
    });
    response.headers_mut().insert(ROBOTS, HeaderValue::from_static("noindex, nofollow"));
    response
}

fn say(headers: &HeaderMap, status: StatusCode, page: &Gone) -> Response {
    let mut response = Page::of(page).respond(headers);
    *response.status_mut() = status;
    response
}

async fn answer(
    app: &App,
    token: &str,
    headers: &HeaderMap,
    view: Result<Params<View>, ApiError>,
) -> Result<Response, ApiError> {
    let gone = |status, title, detail: &str| {
        Ok(say(headers, status, &Gone { title, detail: detail.into(), path: None }))
    };
    let Some(share) = share_find(app.read(), &Token::hash_of(token)).await? else {
        let detail = "Nothing is shared under this address. It may have been taken back, or a part of \
                      it was lost on the way.";
        return gone(StatusCode::NOT_FOUND, "There is nothing here", detail);
    };
    let about = match share.has_expired(app.now()) {
        true => None,
        false => about(app, &share, token).await?,
    };
    let Some((about, short)) = about else {
        let detail = "These statistics were shared for a time, and it is over. Whoever gave you the \
                      address can share them again.";
        return gone(StatusCode::GONE, "This is not shared any more", detail);
    };
    if !visit::is_open(&share, headers, app.now(), app.cursor_key()) {
        return Ok(Page::of(&AskPassword { token: token.to_owned() }).respond(headers));
    }
    let Params(view) = view?;
    if view.tag().is_some() || view.domain().is_some() {
        return Err(ApiError::Request("this page is of one thing alone".into()));
    }
    let _turn = READING.acquire().await.map_err(|_| ApiError::Closing)?;
    let body = body(app, &zone_of(headers)?, &view, &about).await.map_err(|error| match error {
        PageError::Api(error) => error,
        PageError::Gate { .. } | PageError::NoWorkspace => ApiError::NotFound("page"),
    })?;
    Ok(Page::of(&SharePage { name: share.name, short, body }).respond(headers))
}

/// What a share shows, and its link's short URL; `None` if the link was deleted.
async fn about(
    app: &App,
    share: &Share,
    token: &str,
) -> Result<Option<(About, Option<String>)>, ApiError> {
    let workspace = share.workspace;
    let mut about = About {
        workspace,
        scope: ReportScope::Workspace(workspace),
        tag: None,
        path: format!("/share/{token}"),
        api: None,
        stream: None,
        targets: Vec::new(),
        shown: share.shown,
        share: None,
        is_member: false,
    };
    let mut short = None;
    match &share.of {
        ShareOf::Workspace => {}
        ShareOf::Tag(tag) => about.tag = Some(tag.clone()),
        ShareOf::Link(id) => {
            let link = link_fetch(app.read(), workspace, *id).await?;
            let Some(link) = link.filter(|link| link.deleted_at.is_none()) else {
                return Ok(None);
            };
            about.scope = ReportScope::Link(workspace, *id);
            about.targets = target_history(app.read(), &link).await?;
            short = Some(bare(&app.domain_set().short_url(link.domain, &link.code)).to_owned());
        }
    }
    Ok(Some((about, short)))
}

/// What the page of shares offers to share.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Offer {
    link: Option<LinkId>,
    tag: Option<String>,
}

/// A share as its editors see it.
struct Row {
    id: String,
    name: String,
    of: String,
    /// The same statistics, for members.
    href: String,
    url: Option<String>,
    shows: String,
    has_password: bool,
    has_expired: bool,
    created_at: String,
    expires_at: Option<String>,
}

#[derive(Template)]
#[template(path = "shares.html")]
struct Shares {
    shell: Shell,
    /// What is offered, in words.
    of: String,
    link: Option<String>,
    tag: Option<String>,
    parts: Vec<(&'static str, &'static str, bool)>,
    rows: Vec<Row>,
}

const fn label(part: Part) -> &'static str {
    match part {
        Part::Sources => "sources",
        Part::Places => "places",
        Part::Devices => "devices",
        Part::Campaigns => "campaigns",
        Part::Times => "times of the week",
        Part::Links => "links and targets",
        Part::Filters => "filters",
    }
}

/// What is shared, and the form that shares more.
pub(super) async fn list(
    State(app): State<App>,
    viewer: Viewer,
    Params(offer): Params<Offer>,
) -> Result<Response, PageError> {
    viewer.caller.require(Scope::LinksWrite)?;
    viewer.caller.require(Scope::StatsRead)?;
    let workspace = viewer.caller.workspace;
    let shares = share_list(app.read(), workspace).await?;
    let shared = shares.iter().filter_map(|share| match share.of {
        ShareOf::Link(link) => Some(link),
        ShareOf::Workspace | ShareOf::Tag(_) => None,
    });
    let ids: Vec<LinkId> = shared.chain(offer.link).collect();
    let places = link_places(app.read(), &ids).await?;
    let domains = app.domain_set();
    let name = |(id, place): (&LinkId, &crate::link::store::LinkPlace)| {
        let code = place.code.as_ref().filter(|_| place.workspace == workspace)?;
        Some((*id, bare(&domains.short_url(place.domain, code)).to_owned()))
    };
    let names: HashMap<LinkId, String> = places.iter().filter_map(name).collect();
    let link = offer.link.filter(|link| names.contains_key(link));
    if offer.link.is_some() && link.is_none() {
        return Err(ApiError::NotFound("link").into());
    }
    let tag = offer.tag.filter(|tag| !tag.is_empty());
    let page = Shares {
        shell: Shell::new(&app, &viewer, Section::Analytics, "Shared statistics".into()),
        of: match (link, &tag) {
            (Some(link), _) => names[&link].clone(),
            (None, Some(tag)) => format!("Links with the tag {tag}"),
            (None, None) => "All links".into(),
        },
        link: link.map(|link| link.to_string()),
        tag: tag.filter(|_| link.is_none()),
        parts: Part::ALL
            .map(|part| {
                let is_on = !matches!(part, Part::Links | Part::Filters);
                (part.as_str(), label(part), is_on)
            })
            .to_vec(),
        rows: shares.iter().map(|share| row(&app, share, &names)).collect(),
    };
    Ok(Page::of(&page).respond(&viewer.headers))
}

fn row(app: &App, share: &Share, names: &HashMap<LinkId, String>) -> Row {
    let (of, href) = match &share.of {
        ShareOf::Workspace => ("all links".to_owned(), "/analytics".to_owned()),
        ShareOf::Link(link) => (
            names.get(link).map_or_else(|| "a link of the past".to_owned(), Clone::clone),
            format!("/links/{link}"),
        ),
        ShareOf::Tag(tag) => {
            (format!("links with the tag {tag}"), View::of_tag(tag).href("/analytics", &[]))
        }
    };
    let shows: Vec<_> = share.shown.parts().map(label).collect();
    Row {
        id: share.id.to_string(),
        name: share.name.clone(),
        of,
        href,
        url: address(app, share),
        shows: if shows.is_empty() { "totals alone".into() } else { shows.join(", ") },
        has_password: !share.password_hash.is_empty(),
        has_expired: share.has_expired(app.now()),
        created_at: time(share.created_at),
        expires_at: share.expires_at.map(time),
    }
}
