//! What is written about domains.

use carom_shared::{DomainId, UnixMillis, WorkspaceId};
use serde_json::json;

use super::command::{DomainChange, NewDomain, note_check};
use super::store::{
    domain_claiming, domain_count, domain_holding, domain_insert, domain_is_used, domain_read,
    domain_remove, domain_update,
};
use super::{Domain, DomainState, MISSING_MAX_MS, new_challenge};
use crate::audit::{Actor, Entry};
use crate::db::StoreError;
use crate::http::precondition::IfMatch;
use crate::http::problem::ApiError;
use crate::write::{Act, Writing};

/// Why a domain could not be added, changed, verified or released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DomainRefused {
    NotFound,
    /// It has another version than the client has seen.
    Precondition {
        version: u64,
    },
    /// What there is does not allow it; a sentence says why.
    Conflict(String),
}

impl From<DomainRefused> for ApiError {
    fn from(refused: DomainRefused) -> Self {
        match refused {
            DomainRefused::NotFound => Self::NotFound("domain"),
            DomainRefused::Precondition { version } => Self::Precondition { version },
            DomainRefused::Conflict(detail) => Self::Conflict(detail),
        }
    }
}

type Outcome = Result<Result<Domain, DomainRefused>, StoreError>;

fn conflict(detail: impl Into<String>) -> Outcome {
    Ok(Err(DomainRefused::Conflict(detail.into())))
}

fn entry(action: &'static str, domain: &Domain, mut detail: serde_json::Value) -> Entry {
    detail["host"] = json!(domain.host.as_str());
    Entry { workspace: domain.workspace, action, object: format!("domain:{}", domain.id), detail }
}

/// A domain that this workspace may change, with the version that the client has seen.
async fn own(
    writing: &mut Writing<'_>,
    workspace: WorkspaceId,
    id: DomainId,
    if_match: &IfMatch,
) -> Outcome {
    let found = domain_read(writing.tx, id).await?;
    let found = found.filter(|domain| domain.state != DomainState::Released);
    Ok(match found {
        Some(domain) if domain.workspace.is_none() => Err(DomainRefused::Conflict(
            "this domain is the installation's, and its settings are the operator's".into(),
        )),
        Some(domain) if domain.workspace == Some(workspace) => {
            match if_match.accepts(domain.version) {
                true => Ok(domain),
                false => Err(DomainRefused::Precondition { version: domain.version }),
            }
        }
        _ => Err(DomainRefused::NotFound),
    })
}

/// Adds a domain, which waits for its record.
pub(super) struct AddDomain {
    pub(super) new: NewDomain,
    pub(super) max: u32,
    pub(super) actor: Actor,
}

impl Act for AddDomain {
    type Done = Result<Domain, DomainRefused>;

    async fn act(self, writing: &mut Writing<'_>) -> Outcome {
        let Self { new: NewDomain { workspace, host, ways_out, folds_case }, max, actor } = self;
        let known = domain_claiming(writing.tx, workspace, &host).await?;
        let released = match known {
            Some(domain) if domain.state != DomainState::Released => {
                return conflict(format!(
                    "this workspace has {} already, as domain {}",
                    domain.host, domain.id
                ));
            }
            released => released,
        };
        if domain_count(writing.tx, workspace).await? >= u64::from(max) {
            return conflict(format!(
                "a workspace has at most {max} domains (domains.max_per_workspace); release one"
            ));
        }
        let now = writing.now;
        let challenge = new_challenge(writing.random);
        let domain = match released {
            Some(released) => {
                if released.folds_case != folds_case {
                    return conflict(format!(
                        "this workspace had {host} before, and its links need folds_case {}",
                        released.folds_case
                    ));
                }
                let version = released.version + 1;
                let state = DomainState::Waiting;
                let domain = Domain { state, challenge, ways_out, version, ..released };
                domain_update(writing.tx, &domain).await?;
                domain
            }
            None => {
                let id = DomainId::generate(now, writing.random);
                let new = Domain::new(id, host, Some(workspace), now);
                let mut domain = Domain { challenge, ways_out, folds_case, ..new };
                domain_insert(writing.tx, &mut domain, writing.random).await?;
                domain
            }
        };
        writing.note(&actor, entry("domain.add", &domain, json!({}))).await?;
        Ok(Ok(domain))
    }
}

/// Changes where a domain sends people.
pub(super) struct ChangeDomain {
    pub(super) workspace: WorkspaceId,
    pub(super) id: DomainId,
    pub(super) if_match: IfMatch,
    pub(super) change: DomainChange,
    pub(super) actor: Actor,
}

impl Act for ChangeDomain {
    type Done = Result<Domain, DomainRefused>;

    async fn act(self, writing: &mut Writing<'_>) -> Outcome {
        let domain = match own(writing, self.workspace, self.id, &self.if_match).await? {
            Ok(domain) => domain,
            refused => return Ok(refused),
        };
        let mut changed = domain.clone();
        self.change.apply_to(&mut changed.ways_out);
        if changed == domain {
            return Ok(Ok(domain));
        }
        changed.version += 1;
        domain_update(writing.tx, &changed).await?;
        let detail = json!({
            "home_url": changed.ways_out.home,
            "not_found_url": changed.ways_out.not_found,
            "expired_url": changed.ways_out.expired,
        });
        writing.note(&self.actor, entry("domain.change", &changed, detail)).await?;
        Ok(Ok(changed))
    }
}

/// Verifies a domain whose record, with this challenge, was found just now.
pub(super) struct VerifyDomain {
    pub(super) workspace: WorkspaceId,
    pub(super) id: DomainId,
    pub(super) challenge: String,
    pub(super) actor: Actor,
}

impl Act for VerifyDomain {
    type Done = Result<Domain, DomainRefused>;

    async fn act(self, writing: &mut Writing<'_>) -> Outcome {
        let mut domain = match own(writing, self.workspace, self.id, &IfMatch::Any).await? {
            Ok(domain) => domain,
            refused => return Ok(refused),
        };
        if domain.challenge != self.challenge {
            return conflict("the domain was released meanwhile, and has another challenge now");
        }
        let now = writing.now;
        let was_verified = domain.is_verified();
        if !was_verified && let Some(holder) = domain_holding(writing.tx, &domain.host).await? {
            if !is_abandoned(&holder, now) {
                return conflict(
                    "another workspace has verified this host; it has to release it first",
                );
            }
            let version = holder.version + 1;
            let released = Domain { state: DomainState::Released, version, ..holder };
            domain_update(writing.tx, &released).await?;
            writing.note(&self.actor, entry("domain.lose", &released, json!({}))).await?;
        }
        note_check(&mut domain, true, now);
        domain.state = DomainState::Verified;
        domain.verified_at = Some(now);
        domain.version += 1;
        domain_update(writing.tx, &domain).await?;
        if !was_verified {
            writing.note(&self.actor, entry("domain.verify", &domain, json!({}))).await?;
        }
        Ok(Ok(domain))
    }
}

/// Whether a workspace has let the record of its host be missing for so long that another may take
/// the host over.
fn is_abandoned(holder: &Domain, now: UnixMillis) -> bool {
    let missing_ms = holder.missing_since.map(|since| now.get().saturating_sub(since.get()));
    holder.workspace.is_some() && missing_ms.is_some_and(|ms| ms >= MISSING_MAX_MS)
}

/// Gives a domain back.
pub(super) struct ReleaseDomain {
    pub(super) workspace: WorkspaceId,
    pub(super) id: DomainId,
    pub(super) if_match: IfMatch,
    /// Also if links are on it.
    pub(super) is_forced: bool,
    pub(super) actor: Actor,
}

impl Act for ReleaseDomain {
    type Done = Result<Domain, DomainRefused>;

    async fn act(self, writing: &mut Writing<'_>) -> Outcome {
        let domain = match own(writing, self.workspace, self.id, &self.if_match).await? {
            Ok(domain) => domain,
            refused => return Ok(refused),
        };
        if !self.is_forced && domain_is_used(writing.tx, self.id).await? {
            return conflict(
                "links are on this domain, and would stop working: delete them, or say force=true",
            );
        }
        let version = domain.version + 1;
        let challenge = String::new();
        let domain = Domain { state: DomainState::Released, challenge, version, ..domain };
        // Of one that was never served nothing has to be remembered; hosts can be made up without end.
        if !domain_remove(writing.tx, self.id).await? {
            domain_update(writing.tx, &domain).await?;
        }
        let detail = json!({"force": self.is_forced});
        writing.note(&self.actor, entry("domain.release", &domain, detail)).await?;
        Ok(Ok(domain))
    }
}

/// Notes what looking for a verified domain's record came to.
pub(super) struct NoteCheck {
    pub(super) id: DomainId,
    /// `None`: it could not be found out; that it was tried is noted, so that others have their turn.
    pub(super) is_found: Option<bool>,
}

impl Act for NoteCheck {
    type Done = ();

    async fn act(self, writing: &mut Writing<'_>) -> Result<(), StoreError> {
        let found = domain_read(writing.tx, self.id).await?;
        let Some(before) = found.filter(Domain::is_verified) else { return Ok(()) };
        let mut domain = before.clone();
        match self.is_found {
            Some(is_found) => note_check(&mut domain, is_found, writing.now),
            None => domain.checked_at = Some(writing.now),
        }
        if domain.missing_since != before.missing_since {
            domain.version += 1;
            let action =
                if self.is_found == Some(true) { "domain.found" } else { "domain.missing" };
            writing.note(&Actor::default(), entry(action, &domain, json!({}))).await?;
        }
        domain_update(writing.tx, &domain).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::store::domains_due;
    use crate::testing::{NOW, TestDb, on_each_database};
    use carom_shared::Host;

    on_each_database!(what_cannot_be_found_out_is_asked_last_and_missing_nowhere);

    async fn what_cannot_be_found_out_is_asked_last_and_missing_nowhere(test: TestDb) {
        let later = UnixMillis::new(NOW.get() + 1);
        let mut tx = test.db.begin().await.unwrap();
        let mut ids = Vec::new();
        for name in ["a.example", "b.example"] {
            let id = DomainId::generate(NOW, &test.random);
            let new = Domain::new(id, Host::parse(name).unwrap(), Some(test.workspace), NOW);
            let (state, checked_at) = (DomainState::Verified, Some(NOW));
            let mut domain = Domain { state, checked_at, verified_at: checked_at, ..new };
            domain_insert(&mut tx, &mut domain, &test.random).await.unwrap();
            ids.push(domain.id);
        }
        ids.sort_unstable();
        let (mut changes, mut noted) = (Vec::new(), Vec::new());
        let (random, tx_ref) = (&test.random, &mut tx);
        let mut writing =
            Writing { tx: tx_ref, now: later, random, changes: &mut changes, noted: &mut noted };
        NoteCheck { id: ids[0], is_found: None }.act(&mut writing).await.unwrap();
        tx.commit().await.unwrap();
        let due = domains_due(&test.db.read, UnixMillis::new(NOW.get() + 2), 10).await.unwrap();
        let due: Vec<_> = due.iter().map(|it| (it.id, it.missing_since, it.version)).collect();
        assert_eq!(due, [(ids[1], None, 1), (ids[0], None, 1)]);
    }
}
