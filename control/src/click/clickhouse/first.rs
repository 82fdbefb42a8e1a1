//! When clicks begin.

use carom_shared::UnixMillis;
use carom_shared::clickhouse::{SETTINGS, Statement};

use super::ClickStore;
use super::sql::of_scope;
use crate::click::report::ReportScope;
use crate::db::StoreError;

impl ClickStore {
    /// The start of the first quarter hour in which anything was clicked.
    pub(crate) async fn first_click(
        &self,
        scope: ReportScope,
    ) -> Result<Option<UnixMillis>, StoreError> {
        let sql = format!(
            "SELECT toUnixTimestamp(minIf(quarter, click_quarter.n > 0)) FROM click_quarter {} \
             FORMAT JSONCompactEachRow",
            of_scope(scope),
        );
        let rows: Vec<(i64,)> = self.0.client.rows(Statement::new(&sql, SETTINGS)).await?;
        let first = rows.first().map(|(first,)| *first).filter(|first| *first > 0);
        Ok(first.map(|first| UnixMillis::new(first * 1000)))
    }
}
