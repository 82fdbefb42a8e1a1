//! Taking links down: by an operator, or because a blocklist has their target.
//!
//! A link that is taken down answers 451. Its owner can change and delete it, and cannot bring it back:
//! it comes back, in the state that it had, once no reason is left.

use carom_shared::{LinkId, RouteState, WorkspaceId};
use serde_json::json;

use super::Link;
use super::store::{BlockRow, block_read, block_write};
use crate::audit::{Actor, Entry};
use crate::db::StoreError;
use crate::write::{Act, Writing};

/// Why a link is taken down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Operator,
    /// A blocklist has its target, or what it leads to once it has expired; or links are served there.
    List,
}

impl Reason {
    /// Its bit in the database.
    pub(crate) const fn bit(self) -> i64 {
        match self {
            Self::Operator => 1,
            Self::List => 2,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::List => "blocklist",
        }
    }
}

/// A link that is to be taken down, or not any more for this reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) workspace: WorkspaceId,
    pub(crate) link: LinkId,
    pub(crate) is_blocked: bool,
}

/// Takes links down, or brings them back. Tells which have changed.
pub(crate) struct BlockLinks {
    pub(crate) actor: Actor,
    pub(crate) why: Reason,
    pub(crate) blocks: Vec<Block>,
}

impl Act for BlockLinks {
    type Done = Vec<Link>;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Vec<Link>, StoreError> {
        let Self { actor, why, blocks } = self;
        let mut changed = Vec::new();
        for Block { workspace, link, is_blocked } in blocks {
            let Some(before) = block_read(writing.tx, workspace, link).await? else { continue };
            let Some(after) = judge(&before, why, is_blocked) else { continue };
            let after = BlockRow {
                link: Link {
                    version: before.link.version.saturating_add(1),
                    updated_at: writing.now,
                    ..after.link
                },
                ..after
            };
            writing.changes.extend(block_write(writing.tx, &after).await?);
            let action = if is_blocked { "link.block" } else { "link.unblock" };
            let object = format!("link:{link}");
            let detail = json!({"why": why.as_str(), "state": after.link.state as u8});
            let entry = Entry { workspace: Some(workspace), action, object, detail };
            writing.note(&actor, entry).await?;
            changed.push(after.link);
        }
        Ok(changed)
    }
}

/// The link afterwards; `None` if nothing changes. Pure.
fn judge(before: &BlockRow, why: Reason, is_blocked: bool) -> Option<BlockRow> {
    let mut reasons = before.reasons;
    // One that came by an import is taken down, and nobody knows why.
    if before.link.state == RouteState::Blocked && reasons == 0 {
        reasons = Reason::Operator.bit();
    }
    let after = if is_blocked { reasons | why.bit() } else { reasons & !why.bit() };
    if after == before.reasons && (after != 0) == (before.link.state == RouteState::Blocked) {
        return None;
    }
    let mut row = BlockRow { reasons: after, ..before.clone() };
    if before.link.state != RouteState::Blocked {
        row.state_before = before.link.state;
    }
    row.link.state = if after == 0 { row.state_before } else { RouteState::Blocked };
    Some(row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::store::{link_create, link_fetch};
    use crate::testing::{NOW, TestDb, on_each_database};
    use carom_shared::UnixMillis;

    on_each_database!(a_link_comes_back_once_no_reason_is_left);

    async fn a_link_comes_back_once_no_reason_is_left(test: TestDb) {
        let mut tx = test.db.begin().await.unwrap();
        let made = link_create(&mut tx, test.create(Some("x")), NOW, &test.random).await.unwrap();
        let (link, first) = made.unwrap();
        let later = UnixMillis::new(NOW.get() + 5);
        let mut version = first.record.version;
        for (why, is_blocked, state, is_change) in [
            (Reason::Operator, false, RouteState::Active, false),
            (Reason::List, true, RouteState::Blocked, true),
            (Reason::List, true, RouteState::Blocked, false),
            (Reason::Operator, true, RouteState::Blocked, true),
            (Reason::List, false, RouteState::Blocked, true),
            (Reason::Operator, false, RouteState::Active, true),
        ] {
            let mut changes = Vec::new();
            let (workspace, link) = (test.workspace, link.id);
            let blocks = vec![Block { workspace, link, is_blocked }];
            let act = BlockLinks { actor: Actor::default(), why, blocks };
            let mut writing = Writing {
                tx: &mut tx,
                now: later,
                random: &test.random,
                changes: &mut changes,
                noted: &mut Vec::new(),
            };
            let done = act.act(&mut writing).await.unwrap();
            assert_eq!((done.len(), changes.len()), (is_change.into(), is_change.into()));
            for change in changes {
                assert_eq!((change.record.state, change.record.version), (state, version + 1));
                version += 1;
            }
        }
        let foreign = WorkspaceId::try_from(test.workspace.get() ^ 1).unwrap();
        assert!(block_read(&mut tx, foreign, link.id).await.unwrap().is_none());
        tx.commit().await.unwrap();
        let now = link_fetch(&test.db.read, test.workspace, link.id).await.unwrap().unwrap();
        assert_eq!((now.state, now.version, now.updated_at), (RouteState::Active, 5, later));
    }
}
