//! Shared statistics: what whoever has an address reads, and the list of what editors share.

use std::collections::HashMap;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use carom_shared::LinkId;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::message::phrase::{Phrase, phrase};
use super::message::{filters, message};
use super::respond::{Page, PageError};
use super::shell::{Section, Shell, Viewer, zone_of};
use super::stats::{About, Body, PAST_LINK, View, body, words};
use super::text::{bare, time};
use crate::access::Scope;
use crate::app::App;
use crate::click::report::ReportScope;
use crate::http::extract::Params;
use crate::http::problem::ApiError;
use crate::limit::api::Stranger;
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
    title: Phrase,
    detail: Phrase,
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
    counted: Result<Stranger, ApiError>,
    view: Result<Params<View>, ApiError>,
) -> Response {
    let answered = match counted {
        Ok(Stranger) => answer(&app, &token, &headers, view).await,
        Err(error) => Err(error),
    };
    let mut response = answered.unwrap_or_else(|error| {
        let path = format!("/share/{token}");
        // Nobody here has links to go back to.
        let (status, title, detail) = super::respond::words::words(&error);
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
    let gone =
        |status, title, detail| Ok(say(headers, status, &Gone { title, detail, path: None }));
    let Some(share) = share_find(app.read(), &Token::hash_of(token)).await? else {
        let detail = phrase(
            "Nothing is shared under this address. It may have been taken back, or a part of it was \
             lost on the way.",
        );
        return gone(StatusCode::NOT_FOUND, phrase("There is nothing here"), detail);
    };
    let about = match share.has_expired(app.now()) {
        true => None,
        false => about(app, &share, token).await?,
    };
    let Some((about, short)) = about else {
        let detail = phrase(
            "These statistics were shared for a time, and it is over. Whoever gave you the address can \
             share them again.",
        );
        return gone(StatusCode::GONE, phrase("This is not shared any more"), detail);
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
    of: Phrase,
    /// The same statistics, for members.
    href: String,
    url: Option<String>,
    shows: Phrase,
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
    of: Phrase,
    link: Option<String>,
    tag: Option<String>,
    parts: Vec<(&'static str, &'static str, bool)>,
    rows: Vec<Row>,
}

const fn label(part: Part) -> &'static str {
    match part {
        Part::Sources => message("sources"),
        Part::Places => message("places"),
        Part::Devices => message("devices"),
        Part::Campaigns => message("campaigns"),
        Part::Times => message("times of the week"),
        Part::Links => message("links and targets"),
        Part::Filters => message("filters"),
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
        shell: Shell::new(&app, &viewer, Section::Analytics, phrase("Shared statistics")),
        of: match (link, &tag) {
            (Some(link), _) => Phrase::data(names[&link].clone()),
            (None, Some(tag)) => of_tag(tag),
            (None, None) => phrase("All links"),
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

fn of_tag(tag: &str) -> Phrase {
    phrase("Links with the tag {tag}").put("tag", tag)
}

fn row(app: &App, share: &Share, names: &HashMap<LinkId, String>) -> Row {
    let (of, href) = match &share.of {
        ShareOf::Workspace => (phrase("All links"), "/analytics".to_owned()),
        ShareOf::Link(link) => (
            names.get(link).map_or_else(|| phrase(PAST_LINK), Phrase::data),
            format!("/links/{link}"),
        ),
        ShareOf::Tag(tag) => (of_tag(tag), View::of_tag(tag).href("/analytics", &[])),
    };
    let shows = words::listed(share.shown.parts().map(|part| phrase(label(part))));
    Row {
        id: share.id.to_string(),
        name: share.name.clone(),
        of,
        href,
        url: address(app, share),
        shows: shows.unwrap_or_else(|| phrase("totals alone")),
        has_password: !share.password_hash.is_empty(),
        has_expired: share.has_expired(app.now()),
        created_at: time(share.created_at),
        expires_at: share.expires_at.map(time),
    }
}
