//! The operator's surface for commands: of the process that serves the data folder, or, where none
//! does, of this one.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower::ServiceExt;

use carom_control::{App, OpenOptions, Problem, operator};
use carom_shared::{SystemClock, SystemRandom};

use crate::data_dir::DataDir;
use crate::error::CommandError;
use crate::http_client;
use crate::settings::Settings;
use crate::upgrade;

/// How long a command waits for a `carom` that is just starting or stopping.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) enum Operator {
    /// Another process serves the folder.
    Served { data_dir: PathBuf, socket: PathBuf },
    /// Nobody does: the folder is ours while this lives.
    Held { app: App, router: Router, _data_dir: DataDir },
}

impl Operator {
    /// Opens the folder's surface. Without `make`, a folder that is not there is an error: whoever
    /// only looks is probably in the wrong place.
    pub(crate) async fn open(settings: &Settings, make: bool) -> Result<Self, CommandError> {
        let data_dir = settings.data_dir.clone();
        if !make && !data_dir.exists() {
            return Err(CommandError::NoDataDir(data_dir));
        }
        let socket = DataDir::socket_path(&data_dir);
        let give_up = Instant::now() + PATIENCE;
        loop {
            if let Some(locked) = DataDir::try_lock(&data_dir)? {
                upgrade::prepare(settings, &SystemClock).await?;
                let app = App::open(OpenOptions {
                    config: settings.control_config(),
                    clock: Arc::new(SystemClock),
                    random: Arc::new(SystemRandom),
                })
                .await?;
                return Ok(Self::Held { router: operator::router(&app), app, _data_dir: locked });
            }
            if tokio::net::UnixStream::connect(&socket).await.is_ok() {
                return Ok(Self::Served { data_dir, socket });
            }
            if Instant::now() > give_up {
                return Err(CommandError::NoAnswer { data_dir, socket });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CommandError> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    pub(crate) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, CommandError> {
        self.call(Method::DELETE, path, Bytes::new()).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CommandError> {
        let body =
            serde_json::to_vec(body).map_err(|error| CommandError::Answer(error.to_string()))?;
        self.call(Method::POST, path, body.into()).await
    }

    /// As [`Operator::post`], of a body that is JSON already.
    pub(crate) async fn post_json<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Bytes,
    ) -> Result<T, CommandError> {
        self.call(Method::POST, path, body).await
    }

    /// An answer as it was written.
    pub(crate) async fn text(&self, path: &str) -> Result<String, CommandError> {
        let answer = self.answer(Method::GET, path, Bytes::new()).await?;
        String::from_utf8(answer.into()).map_err(|error| CommandError::Answer(error.to_string()))
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, CommandError> {
        let answer = self.answer(method, path, body).await?;
        serde_json::from_slice(&answer).map_err(|error| CommandError::Answer(error.to_string()))
    }

    async fn answer(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, CommandError> {
        let unclear = |error: &dyn std::fmt::Display| CommandError::Answer(error.to_string());
        let mut request = Request::builder().method(method).uri(path);
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(body)).map_err(|error| unclear(&error))?;
        let (status, answer): (StatusCode, Bytes) = match self {
            Self::Served { data_dir, socket } => {
                http_client::send(socket, request).await.map_err(|_| CommandError::NoAnswer {
                    data_dir: data_dir.clone(),
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
            Err(CommandError::Problem(Box::<Problem>::new(problem)))
        }
    }

    /// Writes back what was changed and lets go of the folder.
    pub(crate) async fn close(self) {
        if let Self::Held { app, .. } = self {
            app.close().await;
        }
    }
}
