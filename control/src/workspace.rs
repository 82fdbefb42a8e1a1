//! Workspaces: who owns links, domains and keys.
//!
//! One that is disabled is not served: edges hear of it with their bundle, each second, and answer as
//! for links that are disabled; a change of a million routes would take a minute. Whoever is in it only
//! reads. One that is deleted is disabled at once and for good; its links become tombstones afterwards,
//! page by page ([`sweep`]), and its row stays for those and for the audit log.

pub(crate) mod act;
pub(crate) mod api;
pub(crate) mod operator;
pub(crate) mod store;
pub(crate) mod sweep;

use carom_shared::{UnixMillis, WorkspaceId};

use crate::access::Role;
use crate::http::problem::FieldError;

/// Workspaces that one account owns, at most.
pub(crate) const OWNED_MAX: i64 = 20;
/// Characters of a name.
const NAME_MAX: usize = 100;

/// A workspace that is not deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Workspace {
    pub(crate) id: WorkspaceId,
    pub(crate) name: String,
    pub(crate) created_at: UnixMillis,
    pub(crate) disabled_at: Option<UnixMillis>,
}

/// A workspace, as one of its members sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Membership {
    pub(crate) workspace: Workspace,
    pub(crate) role: Role,
}

/// What a workspace is called: a line of text that is not empty.
pub(crate) fn check_name(name: &str) -> Result<String, FieldError> {
    let name = name.trim();
    let error = |code, detail: String| Err(FieldError::new("#/name", code, detail));
    if name.is_empty() {
        return error("required", "a workspace has a name".into());
    }
    if name.chars().count() > NAME_MAX {
        return error("too-long", format!("a name has at most {NAME_MAX} characters"));
    }
    if name.chars().any(char::is_control) {
        return error("control-character", "a name is one line of text".into());
    }
    Ok(name.to_owned())
}
