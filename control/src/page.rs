//! The dashboard: pages for people, made here and whole when they arrive.
//!
//! Pages read. What they change goes through the API as any program's changes do: `carom.js` sends a
//! form as JSON and shows the problem document's errors beside its fields. So each change has one
//! way in, with one check, one limit and one entry in the audit log.
//!
//! All of a view's state is in its address. A tab, a filter, another period are links, so Back works,
//! and what one person sees can be sent to another. That leaves nothing for a framework in the
//! browser to do: there is none, and no step that builds one.
//!
//! ```text
//! address -> Viewer (who looks, in which workspace) -> the noun's store -> a template's struct -> HTML
//! ```
//!
//! A page is in the language of who looks at it ([`message`]).
//!
//! Nothing is loaded from elsewhere, and no script or style stands in a page ([`respond`]).

mod asset;
mod details;
mod filter;
mod gate;
mod links;
mod message;
mod missing;
mod period;
mod respond;
mod settings;
mod share;
mod shell;
mod stats;
mod text;

use axum::Router;
use axum::middleware::from_fn;
use axum::response::Redirect;
use axum::routing::get;

use crate::app::App;
pub(crate) use respond::no_route;

/// The route of the files that pages load.
pub(crate) const FILE: &str = "/assets/{version}/{name}";

/// The pages' routes.
pub(crate) fn router() -> Router<App> {
    Router::new()
        .route("/", get(async || Redirect::to("/links")))
        .merge(gate::router())
        .merge(settings::router())
        .route("/sign-in", get(gate::sign_in))
        .route("/sign-in/callback", get(gate::callback))
        .route("/links", get(links::list))
        .route("/links/{id}", get(stats::link))
        .route("/analytics", get(stats::workspace))
        .route("/missing", get(missing::list))
        .route("/shares", get(share::list))
        .route("/share/{token}", get(share::read))
        .route(FILE, get(asset::serve))
        .route("/favicon.ico", get(asset::icon))
        .route_layer(from_fn(respond::pages))
}
