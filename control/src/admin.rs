//! Health and metrics, on a listener of their own.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use carom_shared::exposition;
use http::{StatusCode, header};

use crate::app::App;

/// The router of health and metrics.
pub fn router(app: &App) -> Router {
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics));
    crate::http::finish(app, "admin", router)
}

/// Prometheus' text: what `/metrics` answers, for a program that shows several parts' in one.
#[must_use]
pub fn metrics_text(app: &App) -> String {
    app.metrics().write(app.gauges())
}

/// Fails only if a restart would help: the task that writes is gone.
async fn livez(State(app): State<App>) -> Response {
    if app.is_alive() || app.is_draining() {
        "ok\n".into_response()
    } else {
        plain_unavailable("the writer is gone\n")
    }
}

async fn readyz(State(app): State<App>) -> Response {
    if app.is_draining() { plain_unavailable("draining\n") } else { "ok\n".into_response() }
}

/// Probes read the status, people the text: no problem document here.
fn plain_unavailable(text: &'static str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn metrics(State(app): State<App>) -> Response {
    ([(header::CONTENT_TYPE, exposition::CONTENT_TYPE)], metrics_text(&app)).into_response()
}
