//! What is written about reports.

use carom_shared::ReportId;
use serde_json::json;

use super::store::{report_close, report_insert, reports_open};
use super::{OPEN_MAX, OPEN_OF_LINK_MAX, Report, ReportState};
use crate::audit::{Actor, Entry};
use crate::db::StoreError;
use crate::write::{Act, Writing};

/// Takes a report in, unless there are enough already.
pub(super) struct TakeReport {
    pub(super) report: Report,
    pub(super) actor: Actor,
}

impl Act for TakeReport {
    /// Whether it is kept.
    type Done = bool;

    async fn act(self, writing: &mut Writing<'_>) -> Result<bool, StoreError> {
        let Self { mut report, actor } = self;
        let (of_link, all) = reports_open(writing.tx, report.link).await?;
        if of_link >= OPEN_OF_LINK_MAX || all >= OPEN_MAX {
            return Ok(false);
        }
        report_insert(writing.tx, &mut report, writing.random).await?;
        let entry = Entry {
            workspace: Some(report.workspace),
            action: "report.take",
            object: format!("report:{}", report.id),
            detail: json!({"link": report.link, "reason": report.reason.as_str()}),
        };
        // Who reports is no business of the workspace.
        writing.note(&Actor { request: actor.request, ..Actor::default() }, entry).await?;
        Ok(true)
    }
}

/// Closes a report.
pub(super) struct CloseReport {
    pub(super) id: ReportId,
    pub(super) state: ReportState,
    pub(super) actor: Actor,
}

impl Act for CloseReport {
    /// The report as it was, and how many were closed with it.
    type Done = Option<(Report, u64)>;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Option<(Report, u64)>, StoreError> {
        let Self { id, state, actor } = self;
        let done = report_close(writing.tx, id, state, writing.now).await?;
        if let Some((report, closed @ 1..)) = &done {
            let entry = Entry {
                workspace: Some(report.workspace),
                action: "report.close",
                object: format!("report:{id}"),
                detail: json!({"link": report.link, "state": state.as_str(), "closed": closed}),
            };
            writing.note(&actor, entry).await?;
        }
        Ok(done)
    }
}
