//! The list of links.

pub(super) mod form;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use carom_shared::{RouteState, UnixMillis};
use serde::Deserialize;
use url::form_urlencoded::Serializer;

use super::respond::{Page, PageError};
use super::shell::{Section, Shell, Viewer};
use super::text::{bare, time};
use crate::access::Scope;
use crate::app::App;
use crate::http::extract::Params;
use crate::link::Link;
use crate::link::list::{Archived, ListParams, ListState, Sort, check_list};
use crate::link::store::{link_count_to, link_list};
use crate::page::message::phrase::phrase;
use crate::page::message::{filters, message};
use form::LinkForm;

/// Links that are counted, at most: some 3 ms.
const COUNTED: u32 = 50_000;

/// What of the address is the page's, beside what the API's list takes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct View {
    q: Option<String>,
    tag: Option<String>,
    domain: Option<String>,
    /// `active`, `disabled`, `archived`, `deleted`.
    show: Option<String>,
    sort: Option<String>,
    cursor: Option<String>,
}

/// A link as a row shows it.
pub(super) struct Row {
    pub(super) id: String,
    pub(super) short_url: String,
    /// Without the scheme.
    pub(super) short: String,
    pub(super) target: String,
    pub(super) title: String,
    pub(super) tags: Vec<String>,
    pub(super) clicks: u64,
    pub(super) last_click_at: Option<String>,
    pub(super) badges: Vec<Badge>,
    pub(super) version: u64,
    pub(super) is_disabled: bool,
    pub(super) is_archived: bool,
    pub(super) is_deleted: bool,
    link: Link,
}

/// What is special about a link.
pub(super) struct Badge {
    pub(super) class: &'static str,
    pub(super) text: &'static str,
}

impl Row {
    pub(super) fn new(app: &App, link: &Link) -> Self {
        let short_url = app.domain_set().short_url(link.domain, &link.code);
        Self {
            id: link.id.to_string(),
            short: bare(&short_url).to_owned(),
            short_url,
            target: link.target.clone(),
            title: link.title.clone(),
            tags: link.tags.clone().into_vec(),
            clicks: link.clicks.saturating_add(link.imported_clicks),
            last_click_at: link.last_click_at.map(time),
            badges: badges(link, app.now()),
            version: link.version,
            is_disabled: link.state == RouteState::Disabled,
            is_archived: link.is_archived,
            is_deleted: link.deleted_at.is_some(),
            link: link.clone(),
        }
    }

    /// What the form that changes it holds.
    pub(super) fn form(&self) -> LinkForm {
        LinkForm::of(&self.link)
    }

    /// For the script, which sends them back with one more or one less.
    fn tags_json(&self) -> String {
        serde_json::to_string(&self.tags).expect("texts are JSON")
    }
}

fn badges(link: &Link, now: UnixMillis) -> Vec<Badge> {
    let all = [
        (link.deleted_at.is_some(), "bad", message("deleted")),
        (link.state == RouteState::Blocked, "bad", message("blocked")),
        (link.state == RouteState::Disabled, "warn", message("disabled")),
        (link.expires_at.is_some_and(|at| at <= now), "warn", message("expired")),
        (link.expires_at.is_some_and(|at| at > now), "", message("expires")),
        (link.not_before.is_some_and(|at| at > now), "", message("not yet")),
        (link.is_archived, "", message("archived")),
    ];
    let badge = |(is, class, text)| if is { Some(Badge { class, text }) } else { None };
    all.into_iter().filter_map(badge).collect()
}

#[derive(Template)]
#[template(path = "links.html")]
struct Links {
    shell: Shell,
    rows: Vec<Row>,
    /// `None`: more than are counted.
    total: Option<u64>,
    q: String,
    tag: String,
    domain: String,
    show: &'static str,
    sort: &'static str,
    is_filtered: bool,
    /// The address of the first page, if this is another.
    first: Option<String>,
    next: Option<String>,
    /// The address with all but the tag.
    without_tag: String,
    /// What finds the same links in the API's list.
    query: String,
    /// What exports them.
    export: String,
}

const SHOWS: &[&str] = &["all", "active", "disabled", "archived", "deleted"];
const SORTS: &[&str] = &["created", "clicks", "last_click"];

/// One of the words that there are; the first for any other.
fn word(words: &'static [&'static str], asked: Option<&str>) -> &'static str {
    let found = words.iter().find(|word| asked == Some(**word));
    found.or(words.first()).copied().unwrap_or_default()
}

impl View {
    /// What the list is asked for.
    fn params(&self, show: &str, sort: &str) -> ListParams {
        // An empty field of a form is one that was not filled in.
        let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        ListParams {
            limit: None,
            cursor: filled(&self.cursor),
            state: match show {
                "active" => Some(ListState::Active),
                "disabled" => Some(ListState::Disabled),
                "deleted" => Some(ListState::Deleted),
                _ => None,
            },
            archived: Some(match show {
                "archived" => Archived::True,
                "deleted" => Archived::Any,
                _ => Archived::False,
            }),
            tag: filled(&self.tag),
            domain: filled(&self.domain),
            q: filled(&self.q),
            sort: Some(match sort {
                "clicks" => Sort::Clicks,
                "last_click" => Sort::LastClick,
                _ => Sort::Created,
            }),
        }
    }
}

/// The parameters of the API that ask for the same list, from its first page on.
fn api_query(params: &ListParams) -> String {
    let state = params.state.map(|state| match state {
        ListState::Active => "active",
        ListState::Disabled => "disabled",
        ListState::Deleted => "deleted",
    });
    let archived = params.archived.map(|archived| match archived {
        Archived::True => "true",
        Archived::False => "false",
        Archived::Any => "any",
    });
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let all = [
        ("q", text(&params.q)),
        ("tag", text(&params.tag)),
        ("domain", text(&params.domain)),
        ("state", state.unwrap_or_default().to_owned()),
        ("archived", archived.unwrap_or_default().to_owned()),
    ];
    let mut query = Serializer::new(String::new());
    query.extend_pairs(all.into_iter().filter(|(_, value)| !value.is_empty()));
    query.finish()
}

pub(super) async fn list(
    State(app): State<App>,
    viewer: Viewer,
    Params(view): Params<View>,
) -> Result<Response, PageError> {
    viewer.caller.require(Scope::LinksRead)?;
    let (show, sort) = (word(SHOWS, view.show.as_deref()), word(SORTS, view.sort.as_deref()));
    let params = view.params(show, sort);
    let workspace = viewer.caller.workspace;
    let query = check_list(&params, workspace, &app.domain_set(), app.cursor_key())?;
    let mut links = link_list(app.read(), &query, query.limit + 1).await?;
    let has_more = links.len() > query.limit as usize;
    links.truncate(query.limit as usize);
    let last = links.last().filter(|_| has_more);
    let cursor = last.map(|last| query.cursor_after(last, app.cursor_key()));
    let total = link_count_to(app.read(), workspace, COUNTED).await?;

    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let address = |tag: &str, cursor: &str| {
        let mut query = Serializer::new(String::from("/links?"));
        let (q, domain) = (text(&view.q), text(&view.domain));
        let all = [
            ("q", q.as_str()),
            ("tag", tag),
            ("domain", domain.as_str()),
            ("show", if show == "all" { "" } else { show }),
            ("sort", if sort == "created" { "" } else { sort }),
            ("cursor", cursor),
        ];
        query.extend_pairs(all.into_iter().filter(|(_, value)| !value.is_empty()));
        query.finish()
    };
    let tag = text(&view.tag);
    let query = api_query(&params);
    let page = Links {
        rows: links.iter().map(|link| Row::new(&app, link)).collect(),
        total,
        is_filtered: view.q.is_some()
            || view.tag.is_some()
            || view.domain.is_some()
            || show != "all",
        first: view.cursor.as_ref().map(|_| address(&tag, "")),
        next: cursor.map(|cursor| address(&tag, &cursor)),
        without_tag: address("", ""),
        export: format!("format=csv&{query}"),
        query,
        shell: Shell::new(&app, &viewer, Section::Links, phrase("Links")),
        q: text(&view.q),
        domain: text(&view.domain),
        tag,
        show,
        sort,
    };
    Ok(Page::of(&page).respond(&viewer.headers))
}
