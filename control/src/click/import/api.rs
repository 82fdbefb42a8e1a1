//! `POST /v1/import/clicks` of the operator's surface: clicks of a file, at most a thousand at once.
//!
//! All that can be imported is, in one commit; what was answered is durable. Rows that are sent
//! again are present: whoever is interrupted begins again.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use carom_shared::{Click, Code, Host, LinkId};
use serde::{Deserialize, Serialize};

use super::{ClickRow, Fate, LinkRef, check_click};
use crate::app::App;
use crate::click::sqlite::kept_since;
use crate::http::extract::{BulkJson, Json};
use crate::http::problem::{ApiError, FieldError};
use crate::link::store::{LinkPlace, link_places};

/// A body of `POST /v1/import/clicks`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportClicksRequest {
    /// Nothing is written; each row is answered as if it were.
    pub dry_run: bool,
    /// At most [`ImportClicksRequest::ROWS_MAX`].
    pub rows: Vec<ClickRow>,
}

impl ImportClicksRequest {
    /// Rows of one commit, at most: batches of new clicks wait for them.
    pub const ROWS_MAX: usize = 1000;
    /// Bytes of a body, at most.
    pub const BYTES_MAX: usize = 1024 * 1024;
}

/// What became of each row, in their order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ImportClicksAnswer {
    pub rows: Vec<ClickAnswer>,
}

/// What became of a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClickAnswer {
    New,
    /// It was there already.
    Present,
    Refused(Vec<FieldError>),
}

/// Imports clicks of a file.
pub(crate) async fn import_clicks(
    State(app): State<App>,
    BulkJson(request): BulkJson<ImportClicksRequest>,
) -> Result<Response, ApiError> {
    let ImportClicksRequest { dry_run, rows } = request;
    if rows.len() > ImportClicksRequest::ROWS_MAX {
        let detail = format!("one call takes at most {} rows", ImportClicksRequest::ROWS_MAX);
        return Err(ApiError::Invalid(vec![FieldError::new("#/rows", "too-many", detail)]));
    }
    let now = app.now();
    let checked: Vec<_> = rows.iter().map(|row| check_click(row, now)).collect();
    let refs = checked.iter().flatten().map(|click| &click.link);
    let links = Links::find(&app, refs).await?;
    let found: Vec<Result<(u32, Click<'_>), Vec<FieldError>>> = checked
        .into_iter()
        .map(|click| {
            let click = click?;
            let (link, place) = links.of(&click.link).map_err(|error| vec![error])?;
            Ok((click.nth, click.click(link, place)))
        })
        .collect();
    let clicks: Vec<_> = found.iter().flatten().copied().collect();
    let days = app.config().clicks.retention_days;
    let kept_since_s = if days == 0 { 0 } else { kept_since(days, now) };
    let fates = if dry_run {
        app.clicks()?.import(&clicks, kept_since_s, now, true).await?
    } else {
        let turn = app.import_turn().await?;
        let fates = app.clicks()?.import(&clicks, kept_since_s, now, false).await;
        turn.end().await;
        app.clicks_were_stored();
        fates?
    };
    let mut fates = fates.into_iter();
    let answers = found.into_iter().map(|found| {
        Ok(match found {
            Err(errors) => ClickAnswer::Refused(errors),
            Ok(_) => {
                let fate = fates.next();
                answer(fate.ok_or_else(|| ApiError::from_text("a row without its fate"))?)
            }
        })
    });
    let rows = answers.collect::<Result<_, ApiError>>()?;
    Ok(Json(ImportClicksAnswer { rows }).into_response())
}

fn answer(fate: Fate) -> ClickAnswer {
    match fate {
        Fate::New => ClickAnswer::New,
        Fate::Present => ClickAnswer::Present,
        Fate::Old => {
            let detail = "older than clicks are kept one by one here (clicks.retention_days): it \
                          may be in the totals already; set that to 0 until it is imported";
            ClickAnswer::Refused(vec![FieldError::new("#/at", "too-old", detail.into())])
        }
    }
}

/// The links of a file that are here.
struct Links {
    by_id: HashMap<LinkId, LinkPlace>,
    by_code: HashMap<(Option<Host>, Code), Result<LinkId, FieldError>>,
}

impl Links {
    /// By their ids; those that are not here by host and code.
    async fn find(
        app: &App,
        refs: impl Iterator<Item = &LinkRef> + Clone,
    ) -> Result<Self, ApiError> {
        let mut ids: Vec<LinkId> = refs.clone().filter_map(|link| link.id).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut by_id = link_places(app.read(), &ids).await?;
        let mut by_code = HashMap::new();
        for link in refs {
            let (Some(code), false) =
                (&link.code, link.id.is_some_and(|id| by_id.contains_key(&id)))
            else {
                continue;
            };
            let key = (link.host.clone(), code.clone());
            if let Entry::Vacant(place) = by_code.entry(key) {
                place.insert(find_code(app, link.host.as_ref(), code).await?);
            }
        }
        let codes: Vec<LinkId> = by_code.values().flatten().copied().collect();
        by_id.extend(link_places(app.read(), &codes).await?);
        Ok(Self { by_id, by_code })
    }

    fn of(&self, link: &LinkRef) -> Result<(LinkId, &LinkPlace), FieldError> {
        let at = |id: LinkId| Some((id, self.by_id.get(&id)?));
        if let Some(found) = link.id.and_then(at) {
            return Ok(found);
        }
        let not_here = |pointer| {
            let detail = "the link is not here; import the links first";
            FieldError::new(pointer, "not-found", detail.into())
        };
        let Some(code) = &link.code else { return Err(not_here("#/link_id")) };
        let found = self.by_code.get(&(link.host.clone(), code.clone()));
        let id = found.ok_or_else(|| not_here("#/code"))?.as_ref().map_err(FieldError::clone)?;
        at(*id).ok_or_else(|| not_here("#/code"))
    }
}

/// The link that a code leads to, or led to before it was deleted; without a host on the default
/// domain.
async fn find_code(
    app: &App,
    host: Option<&Host>,
    code: &Code,
) -> Result<Result<LinkId, FieldError>, ApiError> {
    let domains = app.domain_set();
    let domain = match host {
        Some(host) => domains.all().iter().find(|domain| domain.host == *host),
        None => domains.default_domain(),
    };
    let Some(domain) = domain else {
        let detail = "this installation does not have the host; --domain names another";
        return Ok(Err(FieldError::new("#/domain", "unknown-domain", detail.into())));
    };
    let route = app.resolve(domain.id, code).await?;
    Ok(route.map(|route| route.link).ok_or_else(|| {
        let detail = "no link has the code here; import the links first";
        FieldError::new("#/code", "not-found", detail.into())
    }))
}
