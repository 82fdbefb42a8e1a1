//! Clicks of each link: what lists show and sort by.

use std::collections::HashMap;

use carom_shared::{LinkId, WorkspaceId};

use super::ClickStore;
use super::sql::list;
use crate::db::StoreError;
use crate::link::clicks::{ClickCursor, LinkClicks};

impl ClickStore {
    /// Links that were clicked since a place, and the place of the last of them. `None`: none were.
    /// A place is a time at which something was noted, and a link.
    pub(crate) async fn changed_since(
        &self,
        after: ClickCursor,
        limit: u32,
    ) -> Result<(Vec<LinkClicks>, Option<ClickCursor>), StoreError> {
        let ClickCursor { batch: stamp, link } = after;
        let changed = format!(
            "SELECT workspace, link, max(changed_ms) AS stamp FROM click_change \
             WHERE changed_ms >= {stamp} GROUP BY workspace, link \
             HAVING (stamp, link) > ({stamp}, {link}) ORDER BY stamp, link LIMIT {limit} \
             FORMAT JSONCompactEachRow"
        );
        let changed: Vec<(i64, i64, i64)> = self.rows(&changed).await?;
        let next = changed.last().map(|&(_, link, batch)| ClickCursor { batch, link });
        if changed.is_empty() {
            return Ok((Vec::new(), None));
        }
        let pairs =
            list(changed.iter().map(|(workspace, link, _)| format!("({workspace}, {link})")));
        let totals = format!(
            "SELECT workspace, link, greatest(sumIf(click_quarter.n, kind = 0), 0), \
               greatest(sumIf(click_quarter.imported, kind = 0), 0), toUnixTimestamp(maxIf(last_at, kind = 0)) \
             FROM click_quarter WHERE (workspace, link) IN ({pairs}) \
             GROUP BY workspace, link FORMAT JSONCompactEachRow"
        );
        let totals: Vec<(i64, i64, i64, i64, i64)> = self.rows(&totals).await?;
        let totals: HashMap<(i64, i64), (i64, i64, i64)> = totals
            .into_iter()
            .map(|(workspace, link, clicks, moved, last_s)| {
                ((workspace, link), (clicks, moved, last_s))
            })
            .collect();
        let corrupt = |_| StoreError::Corrupt("link of a click");
        let links = changed.into_iter().map(|(workspace, link, _)| {
            // None: erased.
            let (clicks, moved, last_s) =
                totals.get(&(workspace, link)).copied().unwrap_or_default();
            Ok(LinkClicks {
                workspace: WorkspaceId::try_from(workspace).map_err(corrupt)?,
                link: LinkId::try_from(link).map_err(corrupt)?,
                clicks,
                moved,
                last_click_ms: last_s.saturating_mul(1000),
            })
        });
        Ok((links.collect::<Result<_, StoreError>>()?, next))
    }

    /// The place of the last link that was clicked.
    pub(crate) async fn last_change(&self) -> Result<ClickCursor, StoreError> {
        const LAST: &str = "SELECT changed_ms, link FROM click_change \
             ORDER BY changed_ms DESC, link DESC LIMIT 1 FORMAT JSONCompactEachRow";
        let last: Vec<(i64, i64)> = self.rows(LAST).await?;
        let last = last.first().map(|&(batch, link)| ClickCursor { batch, link });
        Ok(last.unwrap_or_default())
    }
}
