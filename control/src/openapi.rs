//! The API's contract, in OpenAPI 3.1: generated from the handlers and the types that they take
//! and give, so that it cannot say anything else than the code does.
//!
//! The same document is committed as `docs/openapi.json`. A test compares the two, and names what
//! would break clients: see `tests/it/openapi.rs`.

mod page;
pub(crate) mod responses;
pub(crate) mod schema;

use axum::Router;
use axum::routing::get;
use http::header;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::{
    account, apikey, audit, click, domain, invitation, link, member, missing, qr, report, session,
    share, workspace,
};

/// What every surface of the document shares.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Carom",
        version = "1",
        description = "Short links and who followed them.\n\n\
            Send the header `Authorization: Bearer crm_...` with an API key. Bodies are JSON; \
            unknown members and unknown query parameters are refused. Times are RFC 3339, ids are \
            strings of digits. Every error is a problem document (RFC 9457): tell them apart by \
            `code`, show people `detail`. The header `X-Request-Id` of an answer is in the \
            server's log.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    servers((url = "/", description = "This installation")),
    tags(
        (name = "links", description = "Short links: make, change, find, end."),
        (name = "statistics", description = "Who followed them."),
        (name = "reports", description = "Links that somebody reported as abuse."),
        (name = "domains", description = "Hosts that short links are on."),
        (name = "workspaces", description = "Who shares links, and who changed what."),
        (name = "keys", description = "API keys: who may use this API, and for what."),
        (name = "operator", description = "For operators of the installation, signed in: what is reported, and what is taken out of service."),
        (name = "account", description = "Signing in, and one's own account."),
        (name = "document", description = "This document, and what problems mean."),
    ),
    security(("api_key" = [])),
    modifiers(&ApiKeyScheme),
)]
struct Document;

struct ApiKeyScheme;

impl Modify for ApiKeyScheme {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let mut bearer = Http::new(HttpAuthScheme::Bearer);
        bearer.description = Some("An API key: `crm_` and 36 letters and digits.".into());
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("api_key", SecurityScheme::Http(bearer));
        let cookie = ApiKeyValue::with_description(
            session::api::COOKIE,
            "The cookie of a browser that is signed in.",
        );
        components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    }
}

/// The API's routes, and the document that tells of all of them.
pub(crate) fn router() -> Router<App> {
    let (router, document) = documented();
    // A static text: it is made once, and differs only with the program.
    let document: &'static str = Box::leak(document.into_boxed_str());
    router
        .route(
            "/api/v1/openapi.json",
            get(async move || ([(header::CONTENT_TYPE, "application/json")], document)),
        )
        .route("/report", get(report::api::form))
        .merge(page::router())
}

/// The document, as `/api/v1/openapi.json` gives it.
#[must_use]
pub fn openapi_document() -> String {
    documented().1
}

fn documented() -> (Router<App>, String) {
    let calls = accounts(objects(OpenApiRouter::with_openapi(Document::openapi())));
    let (router, document) =
        calls.routes(routes!(crate::http::problem::describe)).split_for_parts();
    let mut text = document.to_pretty_json().expect("an OpenAPI document is JSON");
    text.push('\n');
    (router, text)
}

/// Calls about what a workspace has.
fn objects(calls: OpenApiRouter<App>) -> OpenApiRouter<App> {
    calls
        .routes(routes!(link::api::shorten))
        .routes(routes!(link::api::list, link::api::create))
        .routes(routes!(link::api::bulk::create, link::api::bulk::edit))
        .routes(routes!(link::api::fetch, link::api::change, link::api::delete))
        .routes(routes!(link::api::restore))
        .routes(routes!(link::api::history))
        .routes(routes!(qr::api::draw))
        .routes(routes!(link::code::availability))
        .routes(routes!(link::tag::api::list))
        .routes(routes!(link::export::file::export))
        .routes(routes!(link::import::rows::import))
        .routes(routes!(click::export::workspace::export))
        .routes(routes!(click::api::link_stats))
        .routes(routes!(click::export::api::link_clicks, click::api::link_erase))
        .routes(routes!(click::api::workspace_stats))
        .routes(routes!(click::live::api::live))
        .routes(routes!(share::api::list, share::api::create))
        .routes(routes!(share::api::revoke))
        .routes(routes!(share::api::open))
        .routes(routes!(missing::api::list))
        .routes(routes!(domain::api::list, domain::api::add))
        .routes(routes!(domain::api::fetch, domain::api::change, domain::api::release))
        .routes(routes!(domain::api::verify))
        .routes(routes!(report::api::report))
        .routes(routes!(report::api::list))
        .routes(routes!(report::queue::list))
        .routes(routes!(report::queue::close))
        .routes(routes!(report::queue::block))
        .routes(routes!(report::queue::unblock))
        .routes(routes!(workspace::operator::disable_signed_in))
        .routes(routes!(workspace::operator::enable_signed_in))
        .routes(routes!(apikey::api::list, apikey::api::create))
        .routes(routes!(apikey::api::fetch, apikey::api::change, apikey::api::revoke))
        .routes(routes!(apikey::api::rotate))
        .routes(routes!(workspace::api::list, workspace::api::create))
        .routes(routes!(workspace::api::rename, workspace::api::delete))
        .routes(routes!(workspace::api::transfer))
        .routes(routes!(workspace::api::leave))
        .routes(routes!(member::api::list))
        .routes(routes!(member::api::change, member::api::remove))
        .routes(routes!(invitation::api::list, invitation::api::invite))
        .routes(routes!(invitation::api::withdraw))
        .routes(routes!(invitation::api::accept))
        .routes(routes!(account::invited::register))
        .routes(routes!(audit::api::list))
}

/// Calls about a person's account, and how they sign in.
fn accounts(calls: OpenApiRouter<App>) -> OpenApiRouter<App> {
    calls
        .routes(routes!(account::setup::set_up))
        .routes(routes!(session::sign_in::sign_in, session::api::list, session::api::end_others))
        .routes(routes!(session::sign_in::second_factor))
        .routes(routes!(session::api::sign_out))
        .routes(routes!(session::api::confirm))
        .routes(routes!(session::api::end))
        .routes(routes!(account::api::fetch, account::api::change, account::delete::delete))
        .routes(routes!(account::api::change_password))
        .routes(routes!(account::email::request))
        .routes(routes!(account::email::confirm))
        .routes(routes!(account::email::undo))
        .routes(routes!(account::factor::begin))
        .routes(routes!(account::factor::confirm))
        .routes(routes!(account::factor::remove))
        .routes(routes!(account::factor::renew_codes))
        .routes(routes!(account::oidc::api::sign_in))
        .routes(routes!(account::oidc::api::list, account::oidc::api::link))
        .routes(routes!(account::oidc::api::unlink))
        .routes(routes!(account::oidc::api::confirm))
        .routes(routes!(account::passkey::api::list, account::passkey::api::add))
        .routes(routes!(account::passkey::api::begin))
        .routes(routes!(account::passkey::api::remove))
        .routes(routes!(account::passkey::sign_in::begin))
        .routes(routes!(account::passkey::sign_in::sign_in))
        .routes(routes!(account::passkey::sign_in::begin_confirm))
        .routes(routes!(account::passkey::sign_in::confirm))
        .routes(routes!(account::register::request))
        .routes(routes!(account::register::verify))
        .routes(routes!(account::recover::request))
        .routes(routes!(account::recover::confirm))
}
