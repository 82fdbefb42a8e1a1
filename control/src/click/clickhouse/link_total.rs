//! Clicks of each link: what lists show and sort by.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;

use carom_shared::clickhouse::LinkKey;
use carom_shared::{LinkId, UnixMillis, WorkspaceId};

use super::ClickStore;
use super::sql::list;
use crate::db::StoreError;
use crate::link::clicks::{ClickCursor, LinkClicks};

/// Links that are asked for at once, at most.
const KEYS_MAX: usize = 1000;

impl ClickStore {
    /// Links that were clicked since a place and until a time, and the place of the last of them. `None`:
    /// none were. A place is a time at which something was noted, and a link.
    pub(crate) async fn changed_since(
        &self,
        after: ClickCursor,
        until: UnixMillis,
        limit: u32,
    ) -> Result<(Vec<LinkClicks>, Option<ClickCursor>), StoreError> {
        let ClickCursor { batch: stamp, link } = after;
        let changed = format!(
            "SELECT workspace, link, max(changed_ms) AS stamp FROM click_change \
             WHERE changed_ms >= {stamp} AND changed_ms <= {} GROUP BY workspace, link \
             HAVING (stamp, link) > ({stamp}, {link}) ORDER BY stamp, link LIMIT {limit} \
             FORMAT JSONCompactEachRow",
            until.get(),
        );
        let changed: Vec<(i64, i64, i64)> = self.rows(&changed).await?;
        let next = changed.last().map(|&(_, link, batch)| ClickCursor { batch, link });
        let keys = changed.into_iter().map(|(workspace, link, _)| [workspace, link]).collect();
        Ok((self.totals(keys).await?, next))
    }

    /// The times in a span under which changes were noted, and how many under each.
    pub(crate) async fn change_times(
        &self,
        span: RangeInclusive<i64>,
    ) -> Result<BTreeMap<i64, u64>, StoreError> {
        let (from, to) = span.into_inner();
        let sql = format!(
            "SELECT changed_ms, count() FROM click_change \
             WHERE changed_ms >= {from} AND changed_ms <= {to} GROUP BY changed_ms \
             FORMAT JSONCompactEachRow"
        );
        let times: Vec<(i64, u64)> = self.rows(&sql).await?;
        Ok(times.into_iter().collect())
    }

    /// The links whose changes were noted under these times.
    pub(crate) async fn changed_at(&self, times: &[i64]) -> Result<Vec<LinkClicks>, StoreError> {
        let sql = format!(
            "SELECT DISTINCT workspace, link FROM click_change WHERE changed_ms IN ({}) \
             FORMAT JSONCompactEachRow",
            list(times),
        );
        let keys: Vec<LinkKey> = self.rows(&sql).await?;
        self.totals(keys).await
    }

    /// In the order in which they are given.
    async fn totals(&self, keys: Vec<LinkKey>) -> Result<Vec<LinkClicks>, StoreError> {
        let mut totals: HashMap<LinkKey, (i64, i64, i64)> = HashMap::with_capacity(keys.len());
        for page in keys.chunks(KEYS_MAX) {
            let pairs = list(page.iter().map(|[workspace, link]| format!("({workspace}, {link})")));
            let sql = format!(
                "SELECT workspace, link, greatest(sumIf(click_quarter.n, kind = 0), 0), \
                   greatest(sumIf(click_quarter.imported, kind = 0), 0), toUnixTimestamp(maxIf(last_at, kind = 0)) \
                 FROM click_quarter WHERE (workspace, link) IN ({pairs}) \
                 GROUP BY workspace, link FORMAT JSONCompactEachRow"
            );
            let found: Vec<(i64, i64, i64, i64, i64)> = self.rows(&sql).await?;
            totals.extend(found.into_iter().map(|(workspace, link, clicks, moved, last_s)| {
                ([workspace, link], (clicks, moved, last_s))
            }));
        }
        let corrupt = |_| StoreError::Corrupt("link of a click");
        let links = keys.into_iter().map(|[workspace, link]| {
            // None: erased.
            let (clicks, moved, last_s) =
                totals.get(&[workspace, link]).copied().unwrap_or_default();
            Ok(LinkClicks {
                workspace: WorkspaceId::try_from(workspace).map_err(corrupt)?,
                link: LinkId::try_from(link).map_err(corrupt)?,
                clicks,
                moved,
                last_click_ms: last_s.saturating_mul(1000),
            })
        });
        links.collect()
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
