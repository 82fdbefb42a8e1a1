//! Importing many links at once.
//!
//! One statement for some hundred rows: a statement for each would cost several times what the rows
//! do. Only what replaces something goes one by one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use carom_shared::{AccountId, ApiKeyId, Code, DomainId, LinkId, Random, UnixMillis};

use super::create::{FIRST_VERSION, route_take};
use super::edit::{EditRefused, Edited, link_edit, link_read};
use super::{forward_text, search_text, sound, state};
use crate::audit::Noted;
use crate::db::{StoreError, Tx, on_tx};
use crate::feed::NewChange;
use crate::http::problem::FieldError;
use crate::link::import::{Holder, ImportLink, Imported, OnConflict, Verdict, judge};
use crate::link::{Link, trail};
use crate::workspace::store::workspace_now;

/// Rows of one statement: with the 26 values of a link, below the 32,766 that SQLite binds.
const ROWS: usize = 250;
/// How often ids are drawn before giving up. Each draw is of the next millisecond, so that also a
/// file in which all links are of one moment finds room.
const DRAWS_MAX: usize = 16;

/// What has which code.
type Holders = HashMap<(DomainId, Code), Holder>;

/// What an import came to.
#[derive(Clone, Debug)]
pub(crate) struct ImportDone {
    /// Of each link, in their order.
    pub(crate) outcomes: Vec<Imported>,
    pub(crate) changes: Vec<NewChange>,
    pub(crate) noted: Vec<Noted>,
}

/// Imports links in their order, and says what became of each and what the feed is to hear. A dry
/// run writes nothing.
pub(crate) async fn links_import(
    tx: &mut Tx,
    imports: &[ImportLink],
    on_conflict: OnConflict,
    is_dry_run: bool,
    now: UnixMillis,
    random: &dyn Random,
) -> Result<ImportDone, StoreError> {
    if let Some(import) = imports.first()
        && workspace_now(tx, import.create.workspace).await?.is_none()
    {
        // Its links are swept once.
        let gone = || FieldError::new("#", "workspace", "the workspace was deleted".into());
        let outcomes = imports.iter().map(|_| Imported::Refused(gone())).collect();
        return Ok(ImportDone { outcomes, changes: Vec::new(), noted: Vec::new() });
    }
    let mut holders = holders_read(tx, imports).await?;
    let mut outcomes = Vec::with_capacity(imports.len());
    let (mut changes, mut noted) = (Vec::new(), Vec::new());
    let mut made = Vec::new();
    for import in imports {
        let key = (import.create.domain, import.code.clone());
        let verdict = judge(import, holders.get(&key), on_conflict);
        let outcome = match verdict {
            Verdict::Present => Imported::Present,
            Verdict::Skip => Imported::Skipped,
            Verdict::Refuse(error) => Imported::Refused(error),
            Verdict::Make => {
                if !is_dry_run {
                    made.push(import.link(random));
                }
                Imported::Made
            }
            Verdict::Change | Verdict::Take if is_dry_run => {
                change_refused(tx, import, now).await?.map_or(Imported::Replaced, Imported::Refused)
            }
            Verdict::Change => {
                // It may be one of them.
                links_make(tx, std::mem::take(&mut made), random, &mut changes).await?;
                change(tx, import, now, &mut changes, &mut noted).await?
            }
            Verdict::Take => {
                take(tx, import.link(random), random, &mut changes).await?;
                Imported::Replaced
            }
        };
        if matches!(outcome, Imported::Made | Imported::Replaced) {
            holders.insert(key, import.holder());
        }
        outcomes.push(outcome);
    }
    links_make(tx, made, random, &mut changes).await?;
    let by = imports.first().map(|import| Arc::clone(&import.create.by));
    let entry = trail::imported(imports, &outcomes).filter(|_| !is_dry_run);
    noted.extend(by.zip(entry).map(|(by, entry)| Noted { by, entry }));
    Ok(ImportDone { outcomes, changes, noted })
}

async fn holders_read(tx: &mut Tx, imports: &[ImportLink]) -> Result<Holders, StoreError> {
    const READ: &str = "select r.code, r.state, r.workspace_id, l.target, \
           coalesce(l.state = 3 and l.blocked <> 2, false) \
         from route r left join link l on l.id = r.link_id where r.domain_id = ";
    let mut codes = HashMap::<DomainId, Vec<&str>>::new();
    for import in imports {
        codes.entry(import.create.domain).or_default().push(import.code.as_str());
    }
    let mut holders = Holders::with_capacity(imports.len());
    for (domain, codes) in codes {
        for codes in codes.chunks(ROWS) {
            let rows: Vec<(String, i64, i64, Option<String>, bool)> = on_tx!(tx, |conn| {
                let mut read = sqlx::QueryBuilder::new(READ);
                read.push_bind(domain.get()).push(" and r.code in (");
                let mut list = read.separated(", ");
                for code in codes {
                    list.push_bind((*code).to_owned());
                }
                read.push(")");
                read.build_query_as().persistent(codes.len() == ROWS).fetch_all(conn).await
            })?;
            for (code, number, workspace, target, is_blocked) in rows {
                let holder = Holder {
                    workspace: sound(workspace.try_into())?,
                    target,
                    is_deleted: state(number)? == carom_shared::RouteState::Deleted,
                    is_blocked,
                };
                holders.insert((domain, sound(code.parse())?), holder);
            }
        }
    }
    Ok(holders)
}

/// The link that has the row's code, if there is one that is not deleted.
async fn link_of(tx: &mut Tx, import: &ImportLink) -> Result<Option<Link>, StoreError> {
    const FIND: &str = "select link_id from route where domain_id = $1 and code = $2";
    let (domain, code) = (import.create.domain.get(), import.code.as_str());
    let id: Option<i64> = on_tx!(tx, |conn| {
        sqlx::query_scalar(FIND).bind(domain).bind(code).fetch_optional(conn).await
    })?;
    let Some(id) = id else { return Ok(None) };
    let link = link_read(tx, import.create.workspace, sound(id.try_into())?).await?;
    Ok(link.filter(|link| link.deleted_at.is_none()))
}

/// Why the change that a row asks for would be refused.
async fn change_refused(
    tx: &mut Tx,
    import: &ImportLink,
    now: UnixMillis,
) -> Result<Option<FieldError>, StoreError> {
    // None: an earlier row of the dry run would have made it, or it is to be made anew.
    let link = link_of(tx, import).await?;
    Ok(link.and_then(|link| import.change().apply_to(&link, now).err()))
}

async fn change(
    tx: &mut Tx,
    import: &ImportLink,
    now: UnixMillis,
    changes: &mut Vec<NewChange>,
    noted: &mut Vec<Noted>,
) -> Result<Imported, StoreError> {
    let missing = || StoreError::Corrupt("route row: a route without its link");
    let link = link_of(tx, import).await?.ok_or_else(missing)?;
    match link_edit(tx, import.edit(link.id), now).await? {
        Ok((_, edited)) => {
            if let Some(Edited { change, noted: entry }) = edited {
                changes.push(change);
                noted.push(entry);
            }
            Ok(Imported::Replaced)
        }
        Err(EditRefused::Invalid(error)) => Ok(Imported::Refused(error)),
        Err(_) => Err(missing()),
    }
}

/// Makes a link on the code of one that its workspace has deleted.
async fn take(
    tx: &mut Tx,
    link: Link,
    random: &dyn Random,
    changes: &mut Vec<NewChange>,
) -> Result<(), StoreError> {
    let mut links = [link];
    ids_settle(tx, &mut links, random).await?;
    let [link] = links;
    let version = route_take(tx, &link).await?;
    let version = version.ok_or(StoreError::Corrupt("route row: deleted, and not to be taken"))?;
    let record = link.record(version);
    changes.push(NewChange { domain: link.domain, code: link.code.clone(), record });
    links_insert(tx, &[link]).await
}

/// Makes links on codes that are free.
async fn links_make(
    tx: &mut Tx,
    mut links: Vec<Link>,
    random: &dyn Random,
    changes: &mut Vec<NewChange>,
) -> Result<(), StoreError> {
    ids_settle(tx, &mut links, random).await?;
    for links in links.chunks(ROWS) {
        routes_insert(tx, links).await?;
        links_insert(tx, links).await?;
    }
    changes.extend(links.into_iter().map(|link| {
        let record = link.record(FIRST_VERSION);
        NewChange { domain: link.domain, code: link.code, record }
    }));
    Ok(())
}

/// Gives other ids to links whose own are taken.
async fn ids_settle(
    tx: &mut Tx,
    links: &mut [Link],
    random: &dyn Random,
) -> Result<(), StoreError> {
    let (mut settled, mut open) =
        (HashSet::with_capacity(links.len()), (0..links.len()).collect::<Vec<_>>());
    for draw in 0..DRAWS_MAX {
        if draw > 0 {
            for &place in &open {
                let created_at = links[place].created_at.get();
                let at = UnixMillis::new(created_at.saturating_add(draw as i64));
                links[place].id = LinkId::generate(at, random);
            }
        }
        let ids: Vec<i64> = open.iter().map(|&place| links[place].id.get()).collect();
        let taken = ids_taken(tx, &ids).await?;
        open.retain(|&place| {
            let id = links[place].id.get();
            taken.contains(&id) || !settled.insert(id)
        });
        if open.is_empty() {
            return Ok(());
        }
    }
    Err(StoreError::Exhausted(DRAWS_MAX, "link ids"))
}

async fn ids_taken(tx: &mut Tx, ids: &[i64]) -> Result<HashSet<i64>, StoreError> {
    let mut taken = HashSet::new();
    for ids in ids.chunks(ROWS) {
        let found: Vec<i64> = on_tx!(tx, |conn| {
            let mut find = sqlx::QueryBuilder::new("select id from link where id in (");
            let mut list = find.separated(", ");
            for id in ids {
                list.push_bind(*id);
            }
            find.push(")");
            find.build_query_scalar().persistent(ids.len() == ROWS).fetch_all(conn).await
        })?;
        taken.extend(found);
    }
    Ok(taken)
}

async fn routes_insert(tx: &mut Tx, links: &[Link]) -> Result<(), StoreError> {
    const INSERT: &str =
        "insert into route (domain_id, code, link_id, workspace_id, state, version) ";
    on_tx!(tx, |conn| {
        let mut insert = sqlx::QueryBuilder::new(INSERT);
        insert.push_values(links, |mut row, link| {
            row.push_bind(link.domain.get())
                .push_bind(link.code.as_str().to_owned())
                .push_bind(link.id.get())
                .push_bind(link.workspace.get())
                .push_bind(link.route_state() as i64)
                .push_bind(FIRST_VERSION.cast_signed());
        });
        let insert = insert.build().persistent(links.len() == ROWS);
        insert.execute(conn).await.map(|done| done.rows_affected())
    })?;
    Ok(())
}

async fn links_insert(tx: &mut Tx, links: &[Link]) -> Result<(), StoreError> {
    const INSERT: &str = "insert into link (id, target, target_revision, title, notes, tags, \
           redirect_status, max_age_s, state, archived, not_before_ms, expires_at_ms, fallback, \
           query_forward, query_visitor_wins, search, version, updated_at_ms, deleted_at_ms, \
           workspace_id, domain_id, code, created_at_ms, created_by, \
           created_by_account, imported_clicks) ";
    on_tx!(tx, |conn| {
        let mut insert = sqlx::QueryBuilder::new(INSERT);
        insert.push_values(links, |mut row, link| {
            row.push_bind(link.id.get())
                .push_bind(link.target.clone())
                .push_bind(i64::from(link.target_revision))
                .push_bind(link.title.clone())
                .push_bind(link.notes.clone())
                .push_bind(link.tags.to_text())
                .push_bind(i64::from(link.redirect_status.code()))
                .push_bind(i64::from(link.max_age_s))
                .push_bind(link.state as i64)
                .push_bind(link.is_archived)
                .push_bind(link.not_before.map(UnixMillis::get))
                .push_bind(link.expires_at.map(UnixMillis::get))
                .push_bind(link.fallback.clone())
                .push_bind(forward_text(&link.query.forward).to_owned())
                .push_bind(link.query.visitor_wins)
                .push_bind(search_text(link))
                .push_bind(link.version.cast_signed())
                .push_bind(link.updated_at.get())
                .push_bind(link.deleted_at.map(UnixMillis::get))
                .push_bind(link.workspace.get())
                .push_bind(link.domain.get())
                .push_bind(link.code.as_str().to_owned())
                .push_bind(link.created_at.get())
                .push_bind(link.created_by.key.map(ApiKeyId::get))
                .push_bind(link.created_by.account.map(AccountId::get))
                .push_bind(link.imported_clicks.cast_signed());
        });
        let insert = insert.build().persistent(links.len() == ROWS);
        insert.execute(conn).await.map(|done| done.rows_affected())
    })?;
    links_tags_insert(tx, links).await
}

/// Lets links be found by their tags.
async fn links_tags_insert(tx: &mut Tx, links: &[Link]) -> Result<(), StoreError> {
    const INSERT: &str = "insert into link_tag (workspace_id, tag, link_id) ";
    let tags = |link: &Link| {
        let (workspace, id) = (link.workspace.get(), link.id.get());
        link.tags.folded().map(move |tag| (workspace, tag, id)).collect::<Vec<_>>()
    };
    let tags: Vec<(i64, String, i64)> = links.iter().flat_map(tags).collect();
    for tags in tags.chunks(ROWS) {
        on_tx!(tx, |conn| {
            let mut insert = sqlx::QueryBuilder::new(INSERT);
            insert.push_values(tags, |mut row, (workspace, tag, id)| {
                row.push_bind(*workspace).push_bind(tag.clone()).push_bind(*id);
            });
            // Not kept: there would be a statement per number of tags.
            let insert = insert.build().persistent(false);
            insert.execute(conn).await.map(|done| done.rows_affected())
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
