//! Statistics of a tag: of the links that have it now, whoever had it when they were clicked.
//!
//! Tags are the control database's and clicks know nothing of them, so a tag becomes the list of its
//! links in the question. Lists are bounded: each of them is looked for in each part of the clicks.

use carom_shared::{LinkId, WorkspaceId};

use super::report::filter::{Filter, Test};
use super::report::{Dimension, ReportQuery};
use crate::app::App;
use crate::http::problem::ApiError;
use crate::link::list;
use crate::link::store::tag_links;

/// Links of a tag, at most: 40 KB of a statement, and half a second in a file of 20 million clicks.
const LINKS_MAX: u32 = 2000;

/// Makes a question about a workspace one about its links that have a tag. Returns how many there are.
///
/// # Errors
/// The text is no tag; or too many links have it.
pub(crate) async fn narrow(
    app: &App,
    workspace: Option<WorkspaceId>,
    tag: &str,
    query: &mut ReportQuery,
) -> Result<u64, ApiError> {
    let workspace = workspace
        .ok_or_else(|| ApiError::Request("tag is for the links of one workspace".into()))?;
    let links = links(app, workspace, &list::tag(tag)?).await?;
    let count = links.len() as u64;
    let ids = links.into_iter().map(|link| link.get()).collect();
    query.filters.push(Filter { is_negated: false, test: Test::Number(Dimension::Link, ids) });
    Ok(count)
}

/// Links that have a tag, which is folded.
///
/// # Errors
/// Too many have it.
pub(crate) async fn links(
    app: &App,
    workspace: WorkspaceId,
    tag: &str,
) -> Result<Vec<LinkId>, ApiError> {
    let links = tag_links(app.read(), workspace, tag, LINKS_MAX + 1).await?;
    if links.len() > LINKS_MAX as usize {
        return Err(ApiError::Request(format!(
            "more than {LINKS_MAX} links have this tag, and statistics are of at most as many; give \
             those that belong together a tag of their own"
        )));
    }
    Ok(links)
}
