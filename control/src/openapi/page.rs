//! `/docs`: the document as a page, in which calls can be tried. Swagger UI is in the program;
//! nothing of it is loaded from elsewhere.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use http::{HeaderValue, header};
use utoipa_swagger_ui::Config;

use crate::app::App;
use crate::http::problem::ApiError;

/// Styles are set from scripts; everything else comes from this origin, and calls go there.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; \
     style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// The files change with the program only.
const CACHE_CONTROL: &str = "private, max-age=3600";

/// Swagger UI's own page has its name as the title.
const PAGE: &str = r##"<!DOCTYPE html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Carom API</title>
    <link rel="stylesheet" href="swagger-ui.css">
    <link rel="stylesheet" href="index.css">
    <link rel="icon" href="favicon-32x32.png">
  </head>
  <body>
    <div id="swagger-ui"></div>
    <script src="swagger-ui-bundle.js"></script>
    <script src="swagger-ui-standalone-preset.js"></script>
    <script src="swagger-initializer.js"></script>
  </body>
</html>
"##;

static CONFIG: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| {
    let config = Config::new(["/api/v1/openapi.json"]);
    Arc::new(config.try_it_out_enabled(true).persist_authorization(false).validator_url("none"))
});

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/docs", get(async || Redirect::permanent("/docs/")))
        .route("/docs/", get(async || page()))
        .route("/docs/{file}", get(async |Path(name): Path<String>| file(&name)))
}

fn page() -> Response {
    respond(PAGE, "text/html")
}

fn file(name: &str) -> Result<Response, ApiError> {
    let file = utoipa_swagger_ui::serve(name, Arc::clone(&CONFIG));
    let file = file.map_err(|error| ApiError::from_text(&error.to_string()))?;
    let file = file.ok_or(ApiError::NotFound("file"))?;
    let mut response = respond(file.bytes, &file.content_type);
    if file.gzpipped {
        // There is no other form of the large ones; whoever reads pages reads this.
        let gzip = HeaderValue::from_static("gzip");
        response.headers_mut().insert(header::CONTENT_ENCODING, gzip);
    }
    Ok(response)
}

fn respond(body: impl IntoResponse, media_type: &str) -> Response {
    let mut response = body.into_response();
    for (name, value) in [
        (header::CONTENT_TYPE, media_type),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::CACHE_CONTROL, CACHE_CONTROL),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
