//! Clicks of files: stored unless they are there.

use std::collections::BTreeSet;

use carom_shared::batch::{Batch, BatchBuilder};
use carom_shared::{Click, UnixMillis};
use sha2::{Digest, Sha256};

use super::ClickStore;
use super::page::{StoredRow, columns};
use super::sql::list;
use crate::click::export::StoredClick;
use crate::click::import::Fate;
use crate::click::import::known::fates_of;
use crate::db::StoreError;

/// Seconds of links looked up per statement.
const SECONDS: usize = 1000;

impl ClickStore {
    /// Stores those of the clicks that are not there; says what became of each.
    ///
    /// Each comes with how many of the file before it are the same. Clicks from before
    /// `kept_since_s`, or from before what has been deleted, are left out. An import that was cut off
    /// is made again: what it stored is found.
    pub(crate) async fn import(
        &self,
        clicks: &[(u32, Click<'_>)],
        kept_since_s: i64,
        now: UnixMillis,
        is_dry_run: bool,
    ) -> Result<Vec<Fate>, StoreError> {
        if clicks.is_empty() {
            return Ok(Vec::new());
        }
        let _alone = self.0.importing.lock().await;
        let since_s = self.detail_since_s().await?;
        let since_s = since_s.map_or(0, i64::from).max(kept_since_s);
        let second =
            |(_, click): &(u32, Click<'_>)| (click.workspace.get(), click.link.get(), click.at_s);
        let seconds: BTreeSet<_> = clicks.iter().map(second).collect();
        let seconds: Vec<_> =
            seconds.into_iter().filter(|(.., at_s)| i64::from(*at_s) >= since_s).collect();
        let stored = self.stored(&seconds).await?;
        let fates = fates_of(clicks, since_s, &stored);
        let mut builder = BatchBuilder::new();
        let new = clicks.iter().zip(&fates).filter(|(_, fate)| **fate == Fate::New);
        new.for_each(|((_, click), _)| builder.push(click));
        if is_dry_run || builder.is_empty() {
            return Ok(fates);
        }
        let file = builder.finish(now, &[]);
        let batch = Batch::from_bytes(&file.bytes).map_err(|_| StoreError::Corrupt("import"))?;
        // With the time in it: the same clicks may have been imported before, and erased since.
        let hash = Sha256::digest(&file.bytes);
        let digits: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let stamp = self.note_changes([], now).await?;
        self.ship(&format!("import-{digits}-{stamp}"), &batch, now, true).await?;
        Ok(fates)
    }

    /// The clicks of some seconds of links.
    async fn stored(
        &self,
        seconds: &[(i64, i64, u32)],
    ) -> Result<Vec<(i64, StoredClick)>, StoreError> {
        let mut clicks = Vec::new();
        for chunk in seconds.chunks(SECONDS) {
            let keys = chunk.iter().map(|(workspace, link, at_s)| {
                format!("({workspace}, {link}, toDateTime({at_s}, 'UTC'))")
            });
            let sql = format!(
                "SELECT {} FROM click WHERE (workspace, link, at) IN ({}) FORMAT JSONCompactEachRow",
                columns(),
                list(keys),
            );
            let rows: Vec<StoredRow> = self.rows(&sql).await?;
            for row in rows {
                let (link, click) = row.click()?;
                clicks.push((link.get(), click));
            }
        }
        Ok(clicks)
    }
}
