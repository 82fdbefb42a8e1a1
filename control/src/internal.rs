//! The internal plane: what edges elsewhere ask and bring. Its contract is
//! [`carom_shared::internal`].
//!
//! An edge can do without each of these answers for a while: it goes on with what it knows.

mod api;

use std::time::Duration;

use carom_shared::{Bundle, FeedPage, FeedPosition};
use tokio::time::{Instant, timeout_at};

use crate::app::App;
use crate::db::StoreError;
use crate::feed::store::{feed_head, feed_page};

pub use api::internal_router;

/// How often whoever waits looks for changes that another control plane made.
const OTHERS_EVERY: Duration = Duration::from_millis(50);

impl App {
    /// What an edge has to know beside routes.
    ///
    /// # Errors
    /// A sentence for the log, if it cannot be had now.
    pub async fn bundle(&self) -> Result<Bundle, String> {
        Ok(Bundle::new(self.domains(), self.salts().await?))
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
            let look_again = until.min(Instant::now() + OTHERS_EVERY);
            tokio::select! {
                // Ends by itself only with the process.
                _ = timeout_at(look_again, head.changed()) => {}
                () = self.draining() => {}
            }
        }
    }
}
