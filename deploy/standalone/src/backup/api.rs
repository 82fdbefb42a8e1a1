//! Backups on the operator's surface of the process that serves.
//!
//! ```text
//! POST /v1/backup   {"to": FOLDER}   202: begun; ask how it is with
//! GET  /v1/backup
//! ```
//!
//! Not one request that lasts as long as the backup: that may take minutes, and should end neither
//! with a client that was interrupted nor with a limit on requests.

use std::path::PathBuf;

use axum::extract::State as Shared;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use carom_control::Problem;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::{BackupError, Backups, Made, State, Status};
use crate::compose::chain;

/// The path of both.
pub(super) const PATH: &str = "/v1/backup";

/// A body of `POST /v1/backup`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BackupRequest {
    /// As the process that serves sees it: a whole path.
    pub(super) to: PathBuf,
    /// Also clicks that are in ClickHouse.
    #[serde(default)]
    pub(super) with_clicks: bool,
}

/// The router; to be merged with the operator's.
pub(crate) fn router(backups: &Backups) -> Router {
    Router::new().route(PATH, get(status).post(begin)).with_state(backups.clone())
}

async fn status(Shared(backups): Shared<Backups>) -> Json<Status> {
    Json(backups.status().clone())
}

async fn begin(Shared(backups): Shared<Backups>, Json(body): Json<BackupRequest>) -> Response {
    if !body.to.is_absolute() {
        let detail = "to must be a whole path, from / on".to_owned();
        return problem(StatusCode::UNPROCESSABLE_ENTITY, "validation", detail);
    }
    match backups.begin(body.to, body.with_clicks) {
        Ok(status) => (StatusCode::ACCEPTED, Json(status)).into_response(),
        Err(error) => problem(StatusCode::CONFLICT, "busy", error.to_string()),
    }
}

fn problem(status: StatusCode, code: &str, detail: String) -> Response {
    let title = status.canonical_reason().unwrap_or_default().to_owned();
    let problem = Problem {
        kind: "about:blank".to_owned(),
        title,
        status: status.as_u16(),
        detail,
        instance: PATH.to_owned(),
        code: code.to_owned(),
        errors: Vec::new(),
    };
    (status, Json(problem)).into_response()
}

impl Backups {
    /// Begins a backup that goes on by itself.
    fn begin(&self, to: PathBuf, with_clicks: bool) -> Result<Status, BackupError> {
        if self.0.stop.is_cancelled() {
            return Err(BackupError::Stopping);
        }
        let begun = {
            let mut status = self.status();
            if status.state == State::Running {
                return Err(BackupError::Busy);
            }
            *status = Status { number: status.number + 1, state: State::Running };
            status.clone()
        };
        let this = self.clone();
        self.0.tasks.spawn(async move {
            let made = this.make(&to, with_clicks).await;
            log(&made);
            if made.is_ok() {
                this.0.kept.note(&made, this.0.clock.now());
            }
            this.status().state = match made {
                Ok(made) => State::Done { made: Box::new(made) },
                Err(error) => State::Failed { error: chain(&error) },
            };
        });
        Ok(begun)
    }
}

/// Writes into the log what became of a backup.
pub(super) fn log(made: &Result<Made, BackupError>) {
    match made {
        Ok(made) => {
            tracing::info!(
                file = made.file,
                bytes = made.bytes,
                took_ms = made.took_ms,
                "backup made"
            );
        }
        Err(error) => tracing::error!(error = chain(error), "no backup was made"),
    }
}
