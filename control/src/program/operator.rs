//! The operator's surface for commands: of the process that serves the data folder, or, where none
//! does, of this one.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::body::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower::ServiceExt;

use super::client;
use super::error::ProgramError;
use super::folder::Folder;
use crate::app::App;
use crate::http::problem::Problem;

/// How long a command waits for a program that is just starting or stopping.
const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);

/// Whom a command asks.
pub enum Operator {
    /// Another process serves the folder.
    Served { folder: PathBuf, socket: PathBuf },
    /// Nobody does: the folder is ours while this lives.
    Held { app: App, router: Router, _folder: Folder },
}

impl Operator {
    /// Opens the folder's surface; `open` opens the control plane where nobody serves the folder.
    /// Without `make`, a folder that is not there is an error: whoever only looks is probably in the
    /// wrong place.
    ///
    /// # Errors
    /// What `open` fails with, or a [`ProgramError`] about the folder.
    pub async fn open<E: From<ProgramError>>(
        data_dir: &Path,
        make: bool,
        open: impl AsyncFnOnce() -> Result<App, E>,
    ) -> Result<Self, E> {
        let folder = data_dir.to_owned();
        if !make && !folder.exists() {
            return Err(ProgramError::NoFolder(folder).into());
        }
        let socket = Folder::socket_path(&folder);
        let give_up = Instant::now() + PATIENCE;
        loop {
            if let Some(locked) = Folder::try_lock(&folder)? {
                let app = open().await?;
                let router = crate::operator::router(&app);
                return Ok(Self::Held { router, app, _folder: locked });
            }
            if tokio::net::UnixStream::connect(&socket).await.is_ok() {
                return Ok(Self::Served { folder, socket });
            }
            if Instant::now() > give_up {
                return Err(ProgramError::NoAnswer { folder, socket }.into());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// # Errors
    /// [`ProgramError`]: nobody answers, or what was asked is refused. So for all calls.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ProgramError> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    /// # Errors
    /// As [`Operator::get`].
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ProgramError> {
        self.call(Method::DELETE, path, Bytes::new()).await
    }

    /// # Errors
    /// As [`Operator::get`].
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ProgramError> {
        let body =
            serde_json::to_vec(body).map_err(|error| ProgramError::Answer(error.to_string()))?;
        self.call(Method::POST, path, body.into()).await
    }

    /// As [`Operator::post`], of a body that is JSON already.
    ///
    /// # Errors
    /// As [`Operator::get`].
    pub async fn post_json<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Bytes,
    ) -> Result<T, ProgramError> {
        self.call(Method::POST, path, body).await
    }

    /// An answer as it was written.
    ///
    /// # Errors
    /// As [`Operator::get`].
    pub async fn text(&self, path: &str) -> Result<String, ProgramError> {
        let answer = self.answer(Method::GET, path, Bytes::new()).await?;
        String::from_utf8(answer.into()).map_err(|error| ProgramError::Answer(error.to_string()))
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, ProgramError> {
        let answer = self.answer(method, path, body).await?;
        serde_json::from_slice(&answer).map_err(|error| ProgramError::Answer(error.to_string()))
    }

    async fn answer(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, ProgramError> {
        let unclear = |error: &dyn std::fmt::Display| ProgramError::Answer(error.to_string());
        let mut request = Request::builder().method(method).uri(path);
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(body)).map_err(|error| unclear(&error))?;
        let (status, answer): (StatusCode, Bytes) = match self {
            Self::Served { folder, socket } => {
                client::send(socket, request).await.map_err(|_| ProgramError::NoAnswer {
                    folder: folder.clone(),
                    socket: socket.clone(),
                })?
            }
            Self::Held { router, .. } => {
                let response = match router.clone().oneshot(request.map(Body::new)).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                };
                let status = response.status();
                let body = response.into_body().collect().await.map_err(|error| unclear(&error))?;
                (status, body.to_bytes())
            }
        };
        if status.is_success() {
            Ok(answer)
        } else {
            let problem = serde_json::from_slice(&answer).map_err(|error| unclear(&error))?;
            Err(ProgramError::Problem(Box::<Problem>::new(problem)))
        }
    }

    /// Writes back what was changed and lets go of the folder.
    pub async fn close(self) {
        if let Self::Held { app, .. } = self {
            app.close().await;
        }
    }
}

/// Runs a command on a runtime of its own: opens the surface, calls it, closes it again.
///
/// # Errors
/// What opening or the call fails with.
pub fn with_operator<T, E: From<ProgramError>>(
    data_dir: &Path,
    make: bool,
    open: impl AsyncFnOnce() -> Result<App, E>,
    call: impl AsyncFnOnce(&Operator) -> Result<T, E>,
) -> Result<T, E> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(ProgramError::Runtime)?.block_on(async {
        let operator = Operator::open(data_dir, make, open).await?;
        let result = call(&operator).await;
        operator.close().await;
        result
    })
}
