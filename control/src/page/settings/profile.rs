//! Who somebody is: name, address, password, and how the dashboard looks to them.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::{Frame, Part, open};
use crate::account::Account;
use crate::account::store::account_fetch;
use crate::app::App;
use crate::http::extract::{NoParams, Params};
use crate::http::problem::ApiError;
use crate::page::respond::{Page, PageError};
use crate::page::shell::{Shell, Viewer};

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
    sends_mail: bool,
    zone: String,
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
    let page = Profile {
        shell,
        frame,
        password_min: crate::account::chars_min(account.has_second()),
        email: account.email.to_string(),
        has_password: account.password_hash.is_some(),
        name: account.name,
        sends_mail: app.accounts().mailer().is_ok(),
        zone: viewer.zone.name.clone(),
    };
    Ok(Page::of(&page).respond(&viewer.headers))
}
