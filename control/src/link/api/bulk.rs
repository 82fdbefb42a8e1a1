//! Many links at once, each with its own result.

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::CREATED;
use super::view::LinkView;
use crate::app::App;
use crate::http::RequestId;
use crate::http::auth::Caller;
use crate::http::extract::{BulkJson, Json, Object};
use crate::http::problem::{ApiError, FieldError, Problem};
use crate::link::Link;
use crate::link::command::{LinkBody, Rules, check_create};

/// Links of one call.
const LINKS_MAX: usize = 1000;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BulkBody {
    links: Vec<Object<LinkBody>>,
}

#[derive(Clone, Debug, Serialize)]
struct BulkView {
    results: Vec<ResultView>,
}

/// What became of one item: a link or a problem.
#[derive(Clone, Debug, Serialize)]
struct ResultView {
    index: usize,
    status: u16,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Link(Box<LinkView>),
    Problem(Problem),
}

/// `POST /api/v1/links/bulk`: makes those links that can be made, all in one commit. A body that
/// cannot be read makes none.
pub(crate) async fn create(
    State(app): State<App>,
    Extension(id): Extension<RequestId>,
    caller: Caller,
    BulkJson(body): BulkJson<BulkBody>,
) -> Result<Response, ApiError> {
    if body.links.len() > LINKS_MAX {
        let detail = format!("one call makes at most {LINKS_MAX} links");
        return Err(ApiError::Invalid(vec![FieldError::new("#/links", "too-many", detail)]));
    }
    let rules = Rules { domains: app.domain_set(), policy: app.policy(), now: app.now() };
    let mut commands = Vec::with_capacity(body.links.len());
    // Why an item is refused before it is written; `None` for each of the commands, in their order.
    let mut refusals = Vec::with_capacity(body.links.len());
    for Object(link) in &body.links {
        match check_create(link, caller.workspace, caller.key, rules) {
            Ok(command) => {
                commands.push(command);
                refusals.push(None);
            }
            Err(refusal) => refusals.push(Some(ApiError::from(refusal))),
        }
    }
    let made = if commands.is_empty() { Vec::new() } else { app.links_create(commands).await? };
    let mut made = made.into_iter();
    let outcomes = refusals.into_iter().filter_map(|refusal| match refusal {
        Some(refusal) => Some(Err(refusal)),
        None => made.next().map(|result| result.map_err(ApiError::from)),
    });
    let view = |(index, outcome): (usize, Result<Link, ApiError>)| match outcome {
        Ok(link) => ResultView {
            index,
            status: CREATED,
            outcome: Outcome::Link(Box::new(LinkView::new(&app, link))),
        },
        Err(error) => {
            let problem = error.problem(&id, app.problem_base());
            ResultView { index, status: problem.status, outcome: Outcome::Problem(problem) }
        }
    };
    let results = outcomes.enumerate().map(view).collect();
    Ok(Json(BulkView { results }).into_response())
}
