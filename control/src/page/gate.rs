//! The pages before somebody is signed in, and those that letters lead to. They are the same for
//! everybody: what is secret comes in the fragment of the address, which browsers keep to themselves,
//! and `carom.js` sends it once its reader says so. Opening one does nothing: programs that look
//! through mail open links too.

use askama::Template;
use axum::Router;
use axum::routing::get;
use http::HeaderMap;

use super::respond::Page;
use crate::app::App;

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
    SignIn "/sign-in" "sign-in.html",
    Setup "/setup" "setup.html",
    Register "/register" "register.html",
    Forgot "/forgot" "forgot.html",
    Reset "/reset" "reset.html",
    ConfirmEmail "/account/email" "confirm-email.html",
    UndoEmail "/undo-email" "undo-email.html",
    Invitation "/invitation" "invitation.html",
);
