//! The layer around every page's route: what failed becomes a page of its own.

use axum::Extension;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::PageError;

/// An error on its way to the layer, which knows who asked.
#[derive(Clone)]
struct Failed(PageError);

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        Extension(Failed(self)).into_response()
    }
}

/// Makes errors into pages, in the language of who asked.
pub(in crate::page) async fn pages(request: Request, next: Next) -> Response {
    let asked = request.headers().clone();
    let mut response = next.run(request).await;
    match response.extensions_mut().remove::<Failed>() {
        Some(Failed(error)) => error.page(&asked),
        None => response,
    }
}
