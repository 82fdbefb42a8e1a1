//! Making links.

use carom_shared::{
    AccountId, ApiKeyId, Code, LinkId, QueryPolicy, Random, RedirectStatus, RouteRecord,
    RouteState, UnixMillis,
};

use super::{forward_text, search_text, sound, tags_insert};
use crate::db::{StoreError, Tx, on_tx};
use crate::feed::NewChange;
use crate::link::Link;
use crate::link::command::CreateLink;
use crate::link::tag::Tags;
use crate::workspace::store::workspace_now;

/// How often a random code or id is drawn before giving up. With a million links on a domain, one
/// draw in 680,000 is taken.
const DRAWS_MAX: usize = 8;
/// The version of a new link, and of a new route.
pub(super) const FIRST_VERSION: u64 = 1;

/// Why a link could not be made, though everything about it is in order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CreateRefused {
    #[error("the code {0} is taken")]
    Taken(Code),
    #[error("{DRAWS_MAX} random codes in a row were taken")]
    NoFreeCode,
    #[error("the workspace was deleted")]
    NoWorkspace,
}

/// Makes a link and its route, or takes over the route of a link that its workspace has deleted. A
/// refusal has written nothing, so that the other commands of the transaction are not touched by
/// it.
pub(crate) async fn link_create(
    tx: &mut Tx,
    command: CreateLink,
    now: UnixMillis,
    random: &dyn Random,
) -> Result<Result<(Link, NewChange), CreateRefused>, StoreError> {
    let folds_case = command.folds_case;
    let code = command.code.clone().unwrap_or_else(|| drawn(folds_case, random));
    let mut link = new_link(&command, code, now, random);
    // The route first: it is the one that can be refused for good.
    let route_version = if let Some(code) = command.code {
        let Some(version) = route_take(tx, &link).await? else {
            let is_there = workspace_now(tx, link.workspace).await?.is_some();
            let refused =
                if is_there { CreateRefused::Taken(code) } else { CreateRefused::NoWorkspace };
            return Ok(Err(refused));
        };
        version
    } else {
        let mut draws = 1;
        while !route_insert(tx, &link).await? {
            if workspace_now(tx, link.workspace).await?.is_none() {
                return Ok(Err(CreateRefused::NoWorkspace));
            }
            if draws == DRAWS_MAX {
                return Ok(Err(CreateRefused::NoFreeCode));
            }
            draws += 1;
            link.code = drawn(folds_case, random);
        }
        FIRST_VERSION
    };
    let mut draws = 1;
    while !link_insert(tx, &link).await? {
        if draws == DRAWS_MAX {
            return Err(StoreError::Exhausted(DRAWS_MAX, "link ids"));
        }
        draws += 1;
        link.id = LinkId::generate(now, random);
        route_point(tx, &link).await?;
    }
    tags_insert(tx, &link).await?;
    let record = link.record(route_version);
    let change = NewChange { domain: link.domain, code: link.code.clone(), record };
    Ok(Ok((link, change)))
}

fn drawn(folds_case: bool, random: &dyn Random) -> Code {
    if folds_case { Code::generate_folded(random) } else { Code::generate(random) }
}

pub(crate) fn new_link(
    command: &CreateLink,
    code: Code,
    now: UnixMillis,
    random: &dyn Random,
) -> Link {
    let mut link = Link {
        id: LinkId::generate(now, random),
        workspace: command.workspace,
        domain: command.domain,
        code,
        target: command.target.as_str().to_owned(),
        target_revision: 1,
        title: String::new(),
        notes: String::new(),
        tags: Tags::default(),
        redirect_status: RedirectStatus::default(),
        max_age_s: RouteRecord::MAX_AGE_MAX_S,
        state: RouteState::Active,
        is_archived: false,
        not_before: None,
        expires_at: None,
        fallback: None,
        query: QueryPolicy::default(),
        version: FIRST_VERSION,
        created_at: now,
        updated_at: now,
        deleted_at: None,
        created_by: command.by.author(),
        clicks: 0,
        imported_clicks: 0,
        last_click_at: None,
    };
    command.settings.apply_to(&mut link);
    link
}

/// What a new route is inserted from. Not of a workspace that was deleted since it was asked who may: its
/// links are swept once, and one that came later nobody could end.
macro_rules! new_route {
    ($rest:literal) => {
        concat!(
            "insert into route (domain_id, code, link_id, workspace_id, state, version) \
             select $1, $2, $3, $4, $5, $6 from workspace \
             where workspace.id = $4 and workspace.deleted_at_ms is null ",
            $rest
        )
    };
}

/// `false` if the code has a route, or the workspace is gone. A deleted one counts too: a code that was
/// drawn must not end what its owner could still restore.
async fn route_insert(tx: &mut Tx, link: &Link) -> Result<bool, StoreError> {
    const INSERT: &str = new_route!("on conflict (domain_id, code) do nothing");
    let result = on_tx!(tx, |conn| {
        let query = sqlx::query(INSERT)
            .bind(link.domain.get())
            .bind(link.code.as_str())
            .bind(link.id.get())
            .bind(link.workspace.get())
            .bind(link.state as i64)
            .bind(FIRST_VERSION.cast_signed());
        query.execute(conn).await.map(|result| result.rows_affected())
    });
    Ok(result? == 1)
}

/// The route's version: of a new one, or of one that the workspace has deleted and takes again.
/// `None` if the workspace is gone, or the code is taken; so is one whose link an operator has taken down, deleted or not: its owner
/// must not bring it back by making it anew. (State 3 is blocked; 2 the bit of the lists, which follow what
/// a link leads to.)
pub(super) async fn route_take(tx: &mut Tx, link: &Link) -> Result<Option<u64>, StoreError> {
    const TAKE: &str = new_route!(
        "on conflict (domain_id, code) do update \
         set link_id = excluded.link_id, state = excluded.state, version = route.version + 1 \
         where route.state = 0 and route.workspace_id = excluded.workspace_id \
           and not exists (select 1 from link where link.id = route.link_id \
             and link.state = 3 and link.blocked <> 2) \
         returning version"
    );
    let version: Option<i64> = on_tx!(tx, |conn| {
        let query = sqlx::query_scalar(TAKE)
            .bind(link.domain.get())
            .bind(link.code.as_str())
            .bind(link.id.get())
            .bind(link.workspace.get())
            .bind(link.state as i64)
            .bind(FIRST_VERSION.cast_signed());
        query.fetch_optional(conn).await
    })?;
    version.map(|version| sound(version.try_into())).transpose()
}

/// Lets a route of this transaction lead to the link's new id.
async fn route_point(tx: &mut Tx, link: &Link) -> Result<(), StoreError> {
    const POINT: &str = "update route set link_id = $3 where domain_id = $1 and code = $2";
    on_tx!(tx, |conn| {
        let query = sqlx::query(POINT).bind(link.domain.get()).bind(link.code.as_str());
        query.bind(link.id.get()).execute(conn).await.map(|done| done.rows_affected())
    })?;
    Ok(())
}

/// `false` if another link has the id.
async fn link_insert(tx: &mut Tx, link: &Link) -> Result<bool, StoreError> {
    const INSERT: &str = "insert into link (id, target, target_revision, title, notes, tags, \
           redirect_status, max_age_s, state, archived, not_before_ms, expires_at_ms, fallback, \
           query_forward, query_visitor_wins, search, version, updated_at_ms, deleted_at_ms, \
           workspace_id, domain_id, code, created_at_ms, created_by, created_by_account) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, \
           $19, $20, $21, $22, $23, $24, $25) \
         on conflict (id) do nothing";
    let result = on_tx!(tx, |conn| {
        let query = bind_editable!(sqlx::query(INSERT), link)
            .bind(link.workspace.get())
            .bind(link.domain.get())
            .bind(link.code.as_str())
            .bind(link.created_at.get())
            .bind(link.created_by.key.map(ApiKeyId::get))
            .bind(link.created_by.account.map(AccountId::get));
        query.execute(conn).await.map(|result| result.rows_affected())
    });
    Ok(result? == 1)
}
