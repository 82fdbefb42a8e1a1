//! `POST /v1/import` of the operator's surface: links of a file, at most a thousand at once.
//!
//! All that can be imported is, in one commit. A batch that was answered is durable, and one that is
//! sent again changes nothing: whoever is interrupted begins again.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use carom_shared::WorkspaceId;
use serde::{Deserialize, Serialize};

use super::{ImportLink, Imported, LinkRecord, OnConflict, check_import};
use crate::app::App;
use crate::audit::Actor;
use crate::http::RequestId;
use crate::http::extract::{BulkJson, Json};
use crate::http::problem::{ApiError, FieldError};
use crate::link::command::Rules;
use crate::write::ImportLinks;

/// A body of `POST /v1/import`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportRequest {
    pub on_conflict: OnConflict,
    /// Nothing is written; each row is answered as if it were.
    pub dry_run: bool,
    /// At most [`ImportRequest::ROWS_MAX`].
    pub rows: Vec<LinkRecord>,
}

impl ImportRequest {
    /// Rows of one commit, at most: everybody else's commands wait for them.
    pub const ROWS_MAX: usize = 1000;
    /// Bytes of a body, at most.
    pub const BYTES_MAX: usize = 1024 * 1024;
}

/// What became of each row, in their order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ImportAnswer {
    pub rows: Vec<RowAnswer>,
}

/// What became of a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RowAnswer {
    Made,
    /// As `Made`, of a dry run: what tells its code, and its target, from others. A dry run of many
    /// batches knows by them which rows would have met each other.
    Would {
        code: u64,
        target: u64,
    },
    /// The same code with the same target was there.
    Present,
    Skipped,
    Replaced,
    Refused(Vec<FieldError>),
}

/// What tells a row's code and target from others in a dry run.
type Marks = (u64, u64);

/// Imports links of a file.
pub(crate) async fn import(
    State(app): State<App>,
    Extension(id): Extension<RequestId>,
    BulkJson(request): BulkJson<ImportRequest>,
) -> Result<Response, ApiError> {
    let ImportRequest { on_conflict, dry_run, rows } = request;
    let workspace = app.first_workspace();
    let by = Arc::new(Actor { request: id.as_str().to_owned(), ..Actor::default() });
    let rows = import_rows(&app, workspace, &by, on_conflict, dry_run, &rows).await?;
    Ok(Json(ImportAnswer { rows }).into_response())
}

/// Imports links into a workspace, at most [`ImportRequest::ROWS_MAX`]; says what became of each.
pub(crate) async fn import_rows(
    app: &App,
    workspace: WorkspaceId,
    by: &Arc<Actor>,
    on_conflict: OnConflict,
    is_dry_run: bool,
    rows: &[LinkRecord],
) -> Result<Vec<RowAnswer>, ApiError> {
    if rows.len() > ImportRequest::ROWS_MAX {
        let detail = format!("one call takes at most {} rows", ImportRequest::ROWS_MAX);
        return Err(ApiError::Invalid(vec![FieldError::new("#/rows", "too-many", detail)]));
    }
    // Before the rows are checked: whoever waits for an idle writer waits for the import's end.
    let permit = app.bulk_permit()?;
    let (domains, policy) = (app.domain_set(), app.policy());
    let rules = Rules { domains: &domains, policy: &policy, now: app.now() };
    let mut links = Vec::with_capacity(rows.len());
    let checked: Vec<Result<Option<Marks>, Vec<FieldError>>> = rows
        .iter()
        .map(|row| {
            let link = check_import(row, workspace, by, rules)?;
            let marks = is_dry_run.then(|| marks(&link));
            links.push(link);
            Ok(marks)
        })
        .collect();
    let outcomes = if links.is_empty() {
        Vec::new()
    } else {
        app.links_import(ImportLinks { links, on_conflict, is_dry_run }, permit).await?
    };
    let mut outcomes = outcomes.into_iter();
    let rows = checked.into_iter().map(|checked| match checked {
        Err(errors) => Ok(RowAnswer::Refused(errors)),
        Ok(marks) => {
            let outcome = outcomes.next();
            let outcome =
                outcome.ok_or_else(|| ApiError::from_text("a row without its outcome"))?;
            Ok(RowAnswer::new(outcome, marks))
        }
    });
    rows.collect()
}

impl RowAnswer {
    fn new(outcome: Imported, marks: Option<Marks>) -> Self {
        match (outcome, marks) {
            (Imported::Made, Some((code, target))) => Self::Would { code, target },
            (Imported::Made, None) => Self::Made,
            (Imported::Present, _) => Self::Present,
            (Imported::Skipped, _) => Self::Skipped,
            (Imported::Replaced, _) => Self::Replaced,
            (Imported::Refused(error), _) => Self::Refused(vec![error]),
        }
    }
}

/// With 64 bits, among a million codes two are taken for one with a chance of 1 in 37 million.
fn marks(link: &ImportLink) -> Marks {
    let mark = |text: &str| {
        let mut hasher = DefaultHasher::new();
        (link.create.domain.get(), text).hash(&mut hasher);
        hasher.finish()
    };
    (mark(link.code.as_str()), mark(link.create.target.as_str()))
}
