//! What pages say of errors that their readers meet, in their language. The rest is for programs and whoever
//! writes them, and says what the API says.

use http::StatusCode;

use super::sentence;
use crate::access::Role;
use crate::http::problem::ApiError;
use crate::page::message::message;
use crate::page::message::phrase::{Phrase, phrase, plural};

/// An error's status, title and detail.
pub(in crate::page) fn words(error: &ApiError) -> (StatusCode, Phrase, Phrase) {
    let (status, title, detail) = error.words();
    let (title, detail) =
        known(error).unwrap_or_else(|| (Phrase::data(title), Phrase::data(sentence(&detail))));
    (status, title, detail)
}

fn known(error: &ApiError) -> Option<(Phrase, Phrase)> {
    let (title, detail) = match error {
        ApiError::NoRoute => (NOTHING, phrase("This address does not exist.")),
        ApiError::NotFound(what) => (NOTHING, not_found(what)?),
        ApiError::Request(detail) => {
            let title = message("The request cannot be read");
            (title, Phrase::data(sentence(detail)))
        }
        ApiError::Forbidden(scope) => {
            let detail = phrase("This needs the role {role} in the workspace.")
                .put("role", phrase(role(scope.least_role())));
            (message("Your role does not allow this"), detail)
        }
        ApiError::Busy => {
            (message("The service is busy"), phrase("Try again in a moment. Nothing was done."))
        }
        ApiError::Limited { retry_after_s, .. } => (
            message("Too many requests"),
            plural("Try again in {n} second.", "Try again in {n} seconds.", *retry_after_s),
        ),
        ApiError::OperatorsOnly => (
            message("This is for operators of the installation"),
            phrase(
                "Whoever runs the installation makes an account an operator on its machine: carom user \
                 promote.",
            ),
        ),
        ApiError::Closing => {
            (message("The service is busy"), phrase("The service is shutting down."))
        }
        ApiError::NoClicks => (
            message("Clicks are kept elsewhere"),
            phrase("This control plane keeps no clicks; another one on the same database does."),
        ),
        ApiError::ClicksAway => (
            message("The store of clicks is away"),
            phrase(
                "Statistics cannot be read at the moment; clicks are counted all the same, and are \
                 shown once it is back.",
            ),
        ),
        ApiError::ProviderRefused => (
            message("The provider has not signed you in"),
            phrase(
                "Its answer does not belong to a sign-in that this browser began within the last ten \
                 minutes, or says no. Begin again at /sign-in. The operator finds the cause in the log.",
            ),
        ),
        ApiError::ProviderAway => (
            message("The provider cannot be reached"),
            phrase(
                "Signing in by the provider does not work at the moment. Try again in a while, or sign \
                 in with a password.",
            ),
        ),
        ApiError::Internal(_) => {
            (message("Something went wrong"), phrase("The operator finds the cause in the log."))
        }
        _ => return None,
    };
    Some((phrase(title), detail))
}

const NOTHING: &str = message("There is nothing here");

fn not_found(what: &str) -> Option<Phrase> {
    Some(match what {
        "id" => phrase("This address does not exist."),
        "link" => phrase("There is no such link."),
        "domain" => phrase("There is no such domain."),
        "key" => phrase("There is no such key."),
        "page" => phrase("There is no such page."),
        "file" => phrase("There is no such file."),
        _ => return None,
    })
}

const fn role(role: Role) -> &'static str {
    match role {
        Role::Viewer => message("Viewer"),
        Role::Editor => message("Editor"),
        Role::Admin => message("Admin"),
        Role::Owner => message("Owner"),
    }
}
