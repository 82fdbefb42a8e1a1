//! Many links at once, each with its own result.
//!
//! All that can be done is done in one commit; the rest says why not. A body that cannot be read
//! does nothing.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use carom_shared::LinkId;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::view::LinkView;
use crate::access::{Scope, allow};
use crate::app::App;
use crate::audit::Actor;
use crate::http::RequestId;
use crate::http::auth::{By, Caller};
use crate::http::extract::{BulkJson, Object};
use crate::http::precondition::IfMatch;
use crate::http::problem::{ApiError, FieldError, Problem};
use crate::idempotency::Answer;
use crate::idempotency::api::Keyed;
use crate::link::Link;
use crate::link::command::{Edit, EditLink, LinkBody, Rules, check_change, check_create};
use crate::link::store::{CreateRefused, EditRefused};
use crate::openapi::responses::{Any, MayConflict, OnceHeader, WithBody};
use crate::openapi::schema::{self, LinkPatch, NewLink};
use crate::write::Performed;

/// Links of one call.
const LINKS_MAX: usize = 1000;

/// The links to be made.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewLinks)]
pub(crate) struct CreateBody {
    #[schema(value_type = Vec<NewLink>, max_items = 1000)]
    links: Vec<Object<LinkBody>>,
}

/// The links to be edited.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = LinkEdits)]
pub(crate) struct EditBody {
    #[schema(value_type = Vec<EditItem>, max_items = 1000)]
    links: Vec<Object<EditItem>>,
}

/// What to do with one link.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = LinkEdit)]
struct EditItem {
    #[schema(schema_with = schema::id)]
    id: LinkId,
    /// Only if the link has this version, as `If-Match` says it for one link.
    version: Option<u64>,
    #[serde(default)]
    #[schema(inline)]
    action: Action,
    /// What a change changes; with the other actions, nothing.
    #[schema(value_type = Option<LinkPatch>)]
    change: Option<Object<LinkBody>>,
}

/// What is done to a link.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Action {
    #[default]
    Change,
    Delete,
    Restore,
}

/// What became of each item, in their order.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = BulkResults)]
struct BulkView {
    results: Vec<ResultView>,
}

/// What became of one item: a link, or a problem. A link that was deleted is not shown.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = BulkResult)]
struct ResultView {
    /// The item's place in the request, from 0.
    index: usize,
    /// The status that a call for this item alone would have been answered with.
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = LinkView, required = false)]
    link: Option<Box<LinkView>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Problem, required = false)]
    problem: Option<Problem>,
}

/// Makes many links
///
/// Those that can be made are made, all at once; each has its own result. A body that cannot be
/// read makes none.
#[utoipa::path(
    post,
    path = "/api/v1/links/bulk",
    tag = "links",
    security(("api_key" = ["links:write"]), ("session" = ["links:write"])),
    params(OnceHeader),
    request_body = CreateBody,
    responses((status = 200, body = BulkView), Any, WithBody, MayConflict),
    operation_id = "create_links",
)]
pub(crate) async fn create(
    State(app): State<App>,
    Extension(id): Extension<RequestId>,
    caller: By<allow::LinksWrite>,
    request: Keyed<BulkJson<CreateBody>>,
) -> Result<Response, ApiError> {
    let links = &request.body.0.links;
    check_count(links.len())?;
    let (domains, policy) = (app.domain_set(), app.policy());
    let rules = Rules { domains: &domains, policy: &policy, now: app.now() };
    let by = Arc::new(caller.actor.clone());
    let checked = links.iter().map(|Object(link)| {
        let command = check_create(link, caller.workspace, &by, rules)?;
        caller.require_domain(command.domain)?;
        Ok(command)
    });
    let (commands, items) = Items::sort(&app, id, StatusCode::CREATED, checked);
    let stored = items.clone();
    let once = request.request(&caller, "POST /api/v1/links/bulk", move |done: &Vec<_>| {
        stored.answer::<CreateRefused>(done).ok()
    });
    let performed = app.links_create(commands, once).await?;
    items.respond(performed)
}

/// Changes, deletes and restores many links
///
/// What can be done is done, all at once; each link has its own result.
#[utoipa::path(
    patch,
    path = "/api/v1/links/bulk",
    tag = "links",
    security(("api_key" = ["links:write"]), ("session" = ["links:write"])),
    params(OnceHeader),
    request_body = EditBody,
    responses((status = 200, body = BulkView), Any, WithBody, MayConflict),
    operation_id = "edit_links",
)]
pub(crate) async fn edit(
    State(app): State<App>,
    Extension(id): Extension<RequestId>,
    caller: By<allow::LinksWrite>,
    request: Keyed<BulkJson<EditBody>>,
) -> Result<Response, ApiError> {
    let links = &request.body.0.links;
    check_count(links.len())?;
    let by = Arc::new(caller.actor.clone());
    let mut checked = Vec::with_capacity(links.len());
    for Object(item) in links {
        let is_theirs = caller.require_link(&app, item.id).await;
        checked.push(is_theirs.and_then(|()| check_edit(&app, &caller, &by, item)));
    }
    let (commands, items) = Items::sort(&app, id, StatusCode::OK, checked.into_iter());
    let stored = items.clone();
    let once = request.request(&caller, "PATCH /api/v1/links/bulk", move |done: &Vec<_>| {
        stored.answer::<EditRefused>(done).ok()
    });
    let performed = app.links_edit(commands, once).await?;
    items.respond(performed)
}

fn check_count(links: usize) -> Result<(), ApiError> {
    if links > LINKS_MAX {
        let detail = format!("one call takes at most {LINKS_MAX} links");
        return Err(ApiError::Invalid(vec![FieldError::new("#/links", "too-many", detail)]));
    }
    Ok(())
}

fn check_edit(
    app: &App,
    caller: &Caller,
    by: &Arc<Actor>,
    item: &EditItem,
) -> Result<EditLink, ApiError> {
    let edit = match (item.action, &item.change) {
        (Action::Change, Some(Object(change))) => {
            Edit::Change(Box::new(check_change(change, &app.policy())?))
        }
        (Action::Delete, None) => {
            caller.require(Scope::LinksDelete)?;
            Edit::Delete
        }
        (Action::Restore, None) => Edit::Restore,
        (Action::Change, None) => {
            let detail = "say what to change";
            return Err(ApiError::Invalid(vec![FieldError::new(
                "#/change",
                "required",
                detail.into(),
            )]));
        }
        (Action::Delete | Action::Restore, Some(_)) => {
            let detail = "only the action change changes anything";
            return Err(ApiError::Invalid(vec![FieldError::new(
                "#/change",
                "unexpected",
                detail.into(),
            )]));
        }
    };
    let if_match = item.version.map_or(IfMatch::Any, |version| IfMatch::Versions(vec![version]));
    let by = Arc::clone(by);
    Ok(EditLink { workspace: caller.workspace, link: item.id, by, if_match, edit })
}

/// The items of a call, in their order: why each is refused before it is written, if it is.
#[derive(Clone)]
struct Items {
    app: App,
    id: RequestId,
    done: StatusCode,
    refusals: Arc<[Option<ApiError>]>,
}

impl Items {
    /// Puts the commands aside from what is refused.
    fn sort<C>(
        app: &App,
        id: RequestId,
        done: StatusCode,
        checked: impl Iterator<Item = Result<C, ApiError>>,
    ) -> (Vec<C>, Self) {
        let mut commands = Vec::with_capacity(checked.size_hint().0);
        let refusals = checked.map(|item| item.map(|command| commands.push(command)).err());
        let refusals = refusals.collect();
        (commands, Self { app: app.clone(), id, done, refusals })
    }

    fn respond<E: Clone + Into<ApiError>>(
        &self,
        performed: Performed<Vec<Result<Link, E>>>,
    ) -> Result<Response, ApiError> {
        match performed {
            Performed::Now(done) => Ok(self.answer(&done)?.into_response()),
            Performed::Before(answer) => Ok(answer.replay()),
        }
    }

    /// The answer, where `done` says what became of each command.
    fn answer<E: Clone + Into<ApiError>>(
        &self,
        done: &[Result<Link, E>],
    ) -> Result<Answer, ApiError> {
        let mut done = done.iter();
        let outcomes = self.refusals.iter().filter_map(|refusal| match refusal {
            Some(refusal) => Some(Err(refusal.clone())),
            None => done.next().map(|result| result.clone().map_err(Into::into)),
        });
        let results = outcomes.enumerate().map(|(index, outcome)| self.view(index, outcome));
        Answer::json(StatusCode::OK, &BulkView { results: results.collect() })
    }

    fn view(&self, index: usize, outcome: Result<Link, ApiError>) -> ResultView {
        match outcome {
            Ok(link) if link.deleted_at.is_some() => {
                let status = StatusCode::NO_CONTENT.as_u16();
                ResultView { index, status, link: None, problem: None }
            }
            Ok(link) => {
                let link = Some(Box::new(LinkView::new(&self.app, link)));
                ResultView { index, status: self.done.as_u16(), link, problem: None }
            }
            Err(error) => {
                let problem = error.problem(&self.id, self.app.problem_base());
                ResultView { index, status: problem.status, link: None, problem: Some(problem) }
            }
        }
    }
}
