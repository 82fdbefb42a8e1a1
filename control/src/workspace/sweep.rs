//! Turns the links of deleted workspaces into tombstones, page by page: each page is one command among
//! others. What a process that ends leaves, the next start goes on with.

use std::sync::Arc;
use std::time::Duration;

use carom_shared::WorkspaceId;

use super::store::{workspace_swept, workspace_unswept};
use crate::app::App;
use crate::db::StoreError;
use crate::http::precondition::IfMatch;
use crate::link::command::{Edit, EditLink};
use crate::link::store::{link_edit, links_of};
use crate::write::{Act, WriteError, Writing};

/// Links of one command: others wait for them.
const PAGE: u32 = 256;
/// How long a full queue or an absent database is given.
const AGAIN: Duration = Duration::from_secs(1);

struct SweepPage(WorkspaceId);

impl Act for SweepPage {
    type Done = ();

    async fn act(self, writing: &mut Writing<'_>) -> Result<(), StoreError> {
        let links = links_of(writing.tx, self.0, PAGE).await?;
        if links.is_empty() {
            return workspace_swept(writing.tx, self.0).await;
        }
        // One entry of the audit log tells of the workspace; none of each of its links.
        let by = Arc::default();
        for link in links {
            let (by, if_match) = (Arc::clone(&by), IfMatch::Any);
            let delete = EditLink { workspace: self.0, link, by, if_match, edit: Edit::Delete };
            if let Ok((_, Some(edited))) = link_edit(writing.tx, delete, writing.now).await? {
                writing.changes.push(edited.change);
            }
        }
        Ok(())
    }
}

/// Sweeps until nothing is left, or the process drains.
pub(crate) fn sweep(app: &App) {
    let inner = app.clone();
    app.spawn(async move {
        tokio::select! {
            () = inner.draining() => {}
            () = run(&inner) => {}
        }
    });
}

async fn run(app: &App) {
    loop {
        let done = match workspace_unswept(app.read()).await {
            Ok(None) => return,
            Ok(Some(workspace)) => {
                app.act(SweepPage(workspace)).await.map_err(|error| match error {
                    WriteError::Closing => None,
                    error => Some(error.to_string()),
                })
            }
            Err(error) => Err(Some(error.to_string())),
        };
        match done {
            Ok(()) => {}
            Err(None) => return,
            Err(Some(error)) => {
                tracing::warn!(%error, "the links of a deleted workspace wait to be ended");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}
