//! A file that is made while it is sent: page by page, as fast as the client takes it, with two pages
//! in memory however long it is.
//!
//! A file that cannot be finished must not look like one that is: the connection breaks off, and the
//! client says that the download failed.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use carom_shared::WorkspaceId;
use http::header;
use hyper::body::Frame;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::auth::Lasting;
use super::problem::ApiError;
use crate::app::App;

/// Files that are sent at a time.
const DOWNLOADS_MAX: usize = 16;
/// Those of one workspace: nobody has all of them.
const OF_WORKSPACE_MAX: usize = 4;
/// How long a client may take for a page.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pages until it is asked again whether whoever asked may still have them.
const PAGES_UNASKED: u32 = 64;

/// How the lines of a file are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FileFormat {
    #[default]
    Csv,
    Jsonl,
}

impl FileFormat {
    const fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Jsonl => "application/jsonl",
        }
    }

    const fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
        }
    }
}

/// Room for files that are sent: how many are, by workspace. Those without any are not in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Downloads(Arc<Mutex<HashMap<WorkspaceId, usize>>>);

/// Room for one file.
#[derive(Debug)]
struct Place {
    downloads: Downloads,
    workspace: WorkspaceId,
}

impl Downloads {
    fn place(&self, workspace: WorkspaceId) -> Result<Place, ApiError> {
        let mut sent = self.sent();
        let own = sent.get(&workspace).copied().unwrap_or_default();
        if own >= OF_WORKSPACE_MAX || sent.values().sum::<usize>() >= DOWNLOADS_MAX {
            return Err(ApiError::Busy);
        }
        sent.insert(workspace, own + 1);
        drop(sent);
        Ok(Place { downloads: self.clone(), workspace })
    }

    fn sent(&self) -> MutexGuard<'_, HashMap<WorkspaceId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut sent = self.downloads.sent();
        match sent.get_mut(&self.workspace) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(sent.remove(&self.workspace)),
        }
    }
}

/// What a file is made of.
pub(crate) trait Pages: Send + 'static {
    /// The next page; `None` at the end.
    fn next(&mut self, app: &App) -> impl Future<Output = Result<Option<String>, ApiError>> + Send;
}

/// Sends a file, named after what it holds and the day, while whoever asked for it may have it.
///
/// # Errors
/// Its first page cannot be made, or too many are being sent.
pub(crate) async fn download(
    app: &App,
    lasting: Lasting,
    what: &str,
    format: FileFormat,
    mut pages: impl Pages,
) -> Result<Response, ApiError> {
    let place = app.downloads().place(lasting.workspace())?;
    if app.is_draining() {
        return Err(ApiError::Closing);
    }
    let first = pages.next(app).await?.unwrap_or_default();
    let (chunks, body) = mpsc::channel(1);
    let task = app.clone();
    app.spawn(async move {
        let _place = place;
        send(&task, lasting, first, pages, chunks).await;
    });
    let day = crate::link::api::rfc3339(app.now());
    let day = day.split('T').next().unwrap_or_default();
    let name = format!("attachment; filename=\"carom-{what}-{day}.{}\"", format.extension());
    let headers = [
        (header::CONTENT_TYPE, format.media_type().to_owned()),
        (header::CONTENT_DISPOSITION, name),
    ];
    Ok((headers, Body::new(Chunks(body))).into_response())
}

type Chunk = Result<Bytes, Broken>;

/// Why a file ends before its end. The client sees that it does, and not why.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the rest of a download could not be made")]
struct Broken;

/// Sends what is left, until the client is gone.
async fn send(
    app: &App,
    lasting: Lasting,
    first: String,
    mut pages: impl Pages,
    chunks: mpsc::Sender<Chunk>,
) {
    let mut page = Ok(Some(first));
    let mut sent: u32 = 0;
    loop {
        let chunk = match page {
            Ok(None) => return,
            Ok(Some(text)) => Ok(Bytes::from(text)),
            Err(error) => {
                tracing::warn!(?error, "a download broke off");
                Err(Broken)
            }
        };
        let is_broken = chunk.is_err();
        let is_taken = timeout(PATIENCE, chunks.send(chunk)).await;
        if is_broken || !matches!(is_taken, Ok(Ok(()))) {
            return;
        }
        sent += 1;
        let is_asked = sent.is_multiple_of(PAGES_UNASKED);
        // Where the database does not answer, nobody is sent away for it.
        let is_ended = app.is_draining()
            || (is_asked && lasting.is_valid(app).await.is_ok_and(|is_valid| !is_valid));
        page = if is_ended { Err(ApiError::Closing) } else { pages.next(app).await };
    }
}

/// A file's body.
struct Chunks(mpsc::Receiver<Chunk>);

impl hyper::body::Body for Chunks {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.0.poll_recv(cx).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_has_its_part_and_gets_it_back() {
        let downloads = Downloads::default();
        let of = |id: i64| downloads.place(WorkspaceId::try_from(id).unwrap());
        let mut held: Vec<_> = (0..OF_WORKSPACE_MAX).map(|_| of(1).unwrap()).collect();
        assert!(of(1).is_err());
        let other = of(2).unwrap();
        held.pop();
        held.push(of(1).unwrap());
        assert!(of(1).is_err());
        held.extend([3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5].map(|id| of(id).unwrap()));
        assert!(of(6).is_err(), "there are sixteen");
        drop((held, other));
        assert!(downloads.sent().is_empty());
    }
}
