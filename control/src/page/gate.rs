//! The pages before somebody is signed in, and those that letters lead to. They are the same for
//! everybody: what is secret comes in the fragment of the address, which browsers keep to themselves,
//! and `carom.js` sends it once its reader says so. Opening one does nothing: programs that look
//! through mail open links too.

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::HeaderMap;

use super::respond::{Page, PageError};
use crate::account::oidc::api::{Arriving, CallbackParams, arrive};
use crate::app::App;
use crate::http::extract::Params;
use crate::page::message::filters;

macro_rules! gates {
    ($($name:ident $path:literal $template:literal),+ $(,)?) => {
        $(#[derive(Template)]
        #[template(path = $template)]
        struct $name;)+

        pub(super) fn router() -> Router<App> {
            Router::new()$(.route(
                $path,
                get(async |headers: HeaderMap| Page::of(&$name).respond(&headers)),
            ))+
        }
    };
}

gates!(
    Setup "/setup" "setup.html",
    Register "/register" "register.html",
    Forgot "/forgot" "forgot.html",
    Reset "/reset" "reset.html",
    ConfirmEmail "/account/email" "confirm-email.html",
    UndoEmail "/undo-email" "undo-email.html",
    Invitation "/invitation" "invitation.html",
);

/// Signing in, with what the provider is called, if there is one, and whether passkeys are.
#[derive(Template)]
#[template(path = "sign-in.html")]
struct SignIn<'a> {
    provider: Option<&'a str>,
    passkeys: bool,
}

pub(super) async fn sign_in(State(app): State<App>, headers: HeaderMap) -> Response {
    let provider = app.accounts().provider.as_ref().map(|provider| provider.label());
    let passkeys = app.accounts().passkeys.is_some();
    Page::of(&SignIn { provider, passkeys }).respond(&headers)
}

/// A browser that comes back from the provider.
pub(super) async fn callback(
    State(app): State<App>,
    arriving: Arriving,
    Params(params): Params<CallbackParams>,
) -> Result<Response, PageError> {
    Ok(arrive(&app, arriving, params).await?)
}
