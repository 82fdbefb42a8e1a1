//! The internal plane: what edges elsewhere ask and bring. Its contract is
//! [`carom_shared::internal`].
//!
//! An edge can do without each of these answers for a while: it goes on with what it knows.

mod api;

use std::time::Duration;

use carom_shared::{Bundle, FeedPage, FeedPosition, WorkspaceId};
use tokio::time::{Instant, timeout_at};

use crate::app::App;
use crate::db::StoreError;
use crate::feed::store::{feed_head, feed_page};
use crate::workspace::store::workspace_disabled;

pub use api::internal_router;

impl App {
    /// What an edge has to know beside routes.
    ///
    /// # Errors
    /// A sentence for the log, if it cannot be had now.
    pub async fn bundle(&self) -> Result<Bundle, String> {
        let bundle =
            Bundle::new(self.domains(), self.salts().await?)
                .with_report_url(Some(self.report_url()))
                .with_disabled_workspaces(self.disabled_workspaces().await.map_err(|error| {
                    format!("cannot read which workspaces are disabled: {error}")
                })?);
        let is_watched = self.live().streams() > 0;
        Ok(bundle.with_shared_clicks(self.are_clicks_shared()).with_watched_clicks(is_watched))
    }

    /// Workspaces that are out of service: an edge answers 410 for their links. Ask each second.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn disabled_workspaces(&self) -> Result<Vec<WorkspaceId>, StoreError> {
        workspace_disabled(self.read()).await
    }

    /// How far the feed of changes goes.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn feed_head(&self) -> Result<FeedPosition, StoreError> {
        feed_head(self.read()).await
    }

    /// The changes after a position, at most [`FeedPage::CHANGES_MAX`]. If there are none, it waits
    /// for one, at most so long. `None`: they are not known any more, or the position is another
    /// database's.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn changes_after(
        &self,
        after: FeedPosition,
        wait: Duration,
    ) -> Result<Option<FeedPage>, StoreError> {
        let until = Instant::now() + wait;
        let mut head = self.publisher().watch();
        loop {
            head.mark_unchanged();
            let page = feed_page(self.read(), after, FeedPage::CHANGES_MAX).await?;
            let is_over = Instant::now() >= until || self.is_draining();
            if is_over || page.as_ref().is_none_or(|page| !page.changes.is_empty()) {
                return Ok(page);
            }
            tokio::select! {
                // Of this process or of another (`feed/watch.rs`).
                _ = timeout_at(until, head.changed()) => {}
                () = self.draining() => {}
            }
        }
    }
}
