//! Who somebody is: name, address, password, identities elsewhere, how the dashboard looks to them, and the
//! end of their account.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::{Frame, Part, open};
use crate::account::Account;
use crate::account::oidc::store::{Identity, identity_list};
use crate::account::store::account_fetch;
use crate::app::App;
use crate::http::extract::{NoParams, Params};
use crate::http::problem::ApiError;
use crate::page::message::{Language, filters};
use crate::page::respond::{Page, PageError};
use crate::page::shell::{Shell, Viewer};
use crate::page::text::time;

#[derive(Template)]
#[template(path = "settings/profile.html")]
struct Profile {
    shell: Shell,
    frame: Frame,
    name: String,
    email: String,
    has_password: bool,
    /// Characters of a new password.
    password_min: usize,
    /// What signs in beside the password, and what the provider for one more is called, if there is one.
    identities: Vec<Row>,
    provider: Option<String>,
    sends_mail: bool,
    zone: String,
    /// The tag of the one that was chosen in this browser; empty: what it asks for.
    language: &'static str,
}

/// An identity at a provider.
struct Row {
    id: String,
    /// What the provider said when it was used last.
    email: String,
    issuer: String,
    used_at: String,
}

impl From<Identity> for Row {
    fn from(identity: Identity) -> Self {
        let Identity { id, email, issuer, used_at, .. } = identity;
        Self { id: id.to_string(), email, issuer, used_at: time(used_at) }
    }
}

/// The account of who looks.
pub(super) async fn account(app: &App, viewer: &Viewer) -> Result<Account, ApiError> {
    let account = account_fetch(app.read(), viewer.signed_in.account).await?;
    account.ok_or(ApiError::NoCredentials)
}

pub(super) async fn show(
    State(app): State<App>,
    viewer: Viewer,
    _: Params<NoParams>,
) -> Result<Response, PageError> {
    let (shell, frame) = open(&app, &viewer, Part::Profile)?;
    let account = account(&app, &viewer).await?;
    let identities = identity_list(app.read(), account.id).await?;
    let page = Profile {
        frame,
        identities: identities.into_iter().map(Row::from).collect(),
        provider: shell.provider.clone(),
        shell,
        password_min: crate::account::chars_min(account.has_second()),
        email: account.email.to_string(),
        has_password: account.password_hash.is_some(),
        name: account.name,
        sends_mail: app.accounts().mailer().is_ok(),
        zone: viewer.zone.name.clone(),
        language: Language::chosen(&viewer.headers).map(Language::tag).unwrap_or_default(),
    };
    Ok(Page::of(&page).respond(&viewer.headers))
}
