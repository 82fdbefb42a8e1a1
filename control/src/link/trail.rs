//! What the audit log tells of links. Pure.

use carom_shared::WorkspaceId;
use serde_json::{Map, Value, json};

use super::Link;
use super::import::{ImportLink, Imported};
use crate::audit::Entry;

/// A link was made.
pub(crate) fn created(link: &Link) -> Entry {
    entry(link, "link.create", json!({"code": link.code.as_str(), "url": link.target}))
}

/// A link was changed, deleted or restored.
pub(crate) fn edited(before: &Link, after: &Link) -> Entry {
    let code = json!({"code": after.code.as_str()});
    match (before.deleted_at.is_some(), after.deleted_at.is_some()) {
        (false, true) => return entry(after, "link.delete", code),
        (true, false) => return entry(after, "link.restore", code),
        _ => {}
    }
    let mut detail = Map::new();
    detail.insert("code".into(), after.code.as_str().into());
    detail.insert("changed".into(), changed(before, after).into());
    for (name, from, to) in [
        ("url", Some(&before.target), Some(&after.target)),
        ("fallback_url", before.fallback.as_ref(), after.fallback.as_ref()),
    ] {
        if from != to {
            detail.insert(name.into(), json!({"from": from, "to": to}));
        }
    }
    entry(after, "link.change", Value::Object(detail))
}

/// Links of a file were made: one entry for those of a commit. A hundred thousand would tell no more,
/// and links remember that they were imported.
pub(crate) fn imported(imports: &[ImportLink], outcomes: &[Imported]) -> Option<Entry> {
    let workspace = imports.first()?.create.workspace;
    let made = outcomes.iter().filter(|outcome| matches!(outcome, Imported::Made)).count();
    let replaced = outcomes.iter().filter(|outcome| matches!(outcome, Imported::Replaced)).count();
    (made + replaced > 0).then(|| Entry {
        workspace: Some(workspace),
        action: "link.import",
        object: "links".into(),
        detail: json!({"made": made, "replaced": replaced}),
    })
}

/// A link's clicks are to be erased.
pub(crate) fn erased(link: &Link) -> Entry {
    entry(link, "clicks.erase", json!({"code": link.code.as_str()}))
}

/// The names of the fields that differ, as the API has them.
fn changed(before: &Link, after: &Link) -> Vec<&'static str> {
    let fields = [
        ("url", before.target != after.target),
        ("title", before.title != after.title),
        ("notes", before.notes != after.notes),
        ("tags", before.tags != after.tags),
        ("redirect_status", before.redirect_status != after.redirect_status),
        ("max_age", before.max_age_s != after.max_age_s),
        ("state", before.state != after.state),
        ("archived", before.is_archived != after.is_archived),
        ("not_before", before.not_before != after.not_before),
        ("expires_at", before.expires_at != after.expires_at),
        ("fallback_url", before.fallback != after.fallback),
        ("query", before.query != after.query),
    ];
    fields.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

fn entry(link: &Link, action: &'static str, detail: Value) -> Entry {
    let workspace: Option<WorkspaceId> = Some(link.workspace);
    Entry { workspace, action, object: format!("link:{}", link.id), detail }
}
