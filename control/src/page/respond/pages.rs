//! The layer around every page's route: what failed becomes a page of its own. Also what a page takes from a
//! request refuses like the API, such as a query with a parameter that there is not: whoever asked for HTML is
//! told in HTML. Scripts, styles and files ask for none.

use axum::Extension;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::{PageError, takes_html};
use crate::http::RequestId;
use crate::http::problem::ApiError;

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
    let id = request.extensions().get::<RequestId>().cloned();
    let mut response = next.run(request).await;
    let extensions = response.extensions_mut();
    let error = match extensions.remove::<Failed>() {
        Some(Failed(error)) => Some(error),
        None if takes_html(&asked) => extensions.remove::<ApiError>().map(PageError::Api),
        None => None,
    };
    error.map_or(response, |error| error.page(&asked, id.as_ref()))
}
