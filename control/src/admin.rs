//! Health and metrics, on a listener of their own.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use carom_shared::exposition;
use http::{StatusCode, header};
use serde::Deserialize;

use crate::app::App;
use crate::http::extract::Params;

/// What a program adds to health and metrics that the control plane does not know.
pub trait Addition: Send + Sync + 'static {
    /// In Prometheus' text format.
    fn metrics(&self) -> String;
    /// What people should know who ask whether it is ready; it is ready all the same.
    fn concern(&self) -> Option<String>;
}

struct Nothing;

impl Addition for Nothing {
    fn metrics(&self) -> String {
        String::new()
    }

    fn concern(&self) -> Option<String> {
        None
    }
}

/// The router of health and metrics.
pub fn router(app: &App) -> Router {
    router_with(app, Arc::new(Nothing))
}

/// The same, with what the program adds.
pub fn router_with(app: &App, addition: Arc<dyn Addition>) -> Router {
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/internal/v1/ask", get(ask))
        .layer(Extension(addition));
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

#[derive(Deserialize)]
struct AskParams {
    domain: String,
}

/// What a proxy asks before it gets a certificate for a host that somebody named to it: 200 for hosts
/// on which links are served, 404 for all others. From memory: the proxy's own limits are the limit.
async fn ask(State(app): State<App>, Params(params): Params<AskParams>) -> Response {
    match app.serves_host(&params.domain) {
        true => "served\n".into_response(),
        false => (StatusCode::NOT_FOUND, "not served here\n").into_response(),
    }
}

async fn readyz(
    State(app): State<App>,
    Extension(addition): Extension<Arc<dyn Addition>>,
) -> Response {
    match addition.concern() {
        _ if app.is_draining() => plain_unavailable("draining\n"),
        None => "ok\n".into_response(),
        Some(concern) => format!("ok; {concern}\n").into_response(),
    }
}

/// Probes read the status, people the text: no problem document here.
fn plain_unavailable(text: &'static str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn metrics(
    State(app): State<App>,
    Extension(addition): Extension<Arc<dyn Addition>>,
) -> Response {
    let text = metrics_text(&app) + &addition.metrics();
    ([(header::CONTENT_TYPE, exposition::CONTENT_TYPE)], text).into_response()
}
