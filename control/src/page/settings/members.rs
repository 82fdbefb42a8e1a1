//! Who is in the workspace, and who was invited.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use carom_shared::{AccountId, InvitationId};
use serde::Deserialize;

use super::people::{People, name};
use super::{Frame, Part, RoleWords, open};
use crate::access::{Role, Scope};
use crate::app::App;
use crate::config::Registration;
use crate::http::extract::Params;
use crate::invitation::Invitation;
use crate::invitation::store::invitation_list;
use crate::member::Member;
use crate::member::store::member_list;
use crate::page::message::filters;
use crate::page::message::phrase::Phrase;
use crate::page::respond::{Page, PageError};
use crate::page::shell::{Shell, Viewer};
use crate::page::text::time;

/// Members of a page.
const PAGE: u32 = 100;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct View {
    after: Option<AccountId>,
}

struct Row {
    id: AccountId,
    name: Phrase,
    /// For those who manage members.
    email: Option<String>,
    role: RoleWords,
    since: String,
    is_self: bool,
    may_change: bool,
}

struct Invited {
    id: InvitationId,
    email: String,
    role: RoleWords,
    by: Phrase,
    expires_at: String,
}

#[derive(Template)]
#[template(path = "settings/members.html")]
struct Members {
    shell: Shell,
    frame: Frame,
    rows: Vec<Row>,
    next: Option<String>,
    invitations: Vec<Invited>,
    roles: [RoleWords; 4],
    may_change: bool,
    /// Whether who looks makes owners, and decides about them.
    may_own: bool,
    sends_mail: bool,
    /// Whether an invitation makes an account where there is none.
    makes_accounts: bool,
}

pub(super) async fn list(
    State(app): State<App>,
    viewer: Viewer,
    Params(view): Params<View>,
) -> Result<Response, PageError> {
    let (shell, frame) = open(&app, &viewer, Part::Members)?;
    let (workspace, scopes) = (viewer.caller.workspace, viewer.caller.scopes);
    let (may_change, may_own) =
        (scopes.has(Scope::MembersWrite), scopes.has(Scope::WorkspaceWrite));
    let mut members = member_list(app.read(), workspace, view.after, PAGE + 1).await?;
    let has_more = members.len() > PAGE as usize;
    members.truncate(PAGE as usize);
    let last = members.last().filter(|_| has_more);
    let next = last.map(|it| format!("{}?after={}", Part::Members.path(), it.account));
    let row = |it: Member| Row {
        id: it.account,
        name: name(&it, may_change),
        email: may_change.then(|| it.email.to_string()),
        role: RoleWords::of(it.role),
        since: time(it.since),
        is_self: it.account == viewer.signed_in.account,
        may_change: may_change && (may_own || it.role != Role::Owner),
    };
    let invitations = match may_change {
        true => invited(&app, &viewer).await?,
        false => Vec::new(),
    };
    let page = Members {
        shell,
        frame,
        rows: members.into_iter().map(row).collect(),
        next,
        invitations,
        roles: Role::ALL.map(RoleWords::of),
        may_change,
        may_own,
        sends_mail: app.accounts().mailer().is_ok(),
        makes_accounts: viewer.is_operator
            || app.config().accounts.registration != Registration::Closed,
    };
    Ok(Page::of(&page).respond(&viewer.headers))
}

async fn invited(app: &App, viewer: &Viewer) -> Result<Vec<Invited>, PageError> {
    let found = invitation_list(app.read(), viewer.caller.workspace, app.now()).await?;
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let people = People::of(app, &viewer.caller).await?;
    let invited = |it: Invitation| Invited {
        id: it.id,
        email: it.email.to_string(),
        role: RoleWords::of(it.role),
        by: people.maker(it.invited_by),
        expires_at: time(it.expires_at),
    };
    Ok(found.into_iter().map(invited).collect())
}
