//! When clicks begin.

use carom_shared::UnixMillis;

use super::ClickStore;
use crate::click::report::{QUARTER_S, ReportScope};
use crate::db::StoreError;

impl ClickStore {
    /// The start of the first quarter hour in which anything was clicked.
    pub(crate) async fn first_click(
        &self,
        scope: ReportScope,
    ) -> Result<Option<UnixMillis>, StoreError> {
        const ALL: &str = "select min(quarter) from workspace_quarter";
        const WORKSPACE: &str = "select min(quarter) from workspace_quarter where workspace = ?";
        const LINK: &str = "select min(r.quarter) from part p cross join click_quarter r \
             where r.part = p.first_quarter and r.workspace = ? and r.link = ?";
        let query = match scope {
            ReportScope::All => sqlx::query_scalar(ALL),
            ReportScope::Workspace(workspace) => {
                sqlx::query_scalar(WORKSPACE).bind(workspace.get())
            }
            ReportScope::Link(workspace, link) => {
                sqlx::query_scalar(LINK).bind(workspace.get()).bind(link.get())
            }
        };
        let quarter: Option<i64> = query.fetch_one(&self.file.read).await?;
        Ok(quarter.map(|quarter| UnixMillis::new(quarter * i64::from(QUARTER_S) * 1000)))
    }
}
