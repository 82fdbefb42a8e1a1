//! The files that pages load: in the program, under an address that changes when one of them does.

use std::sync::{LazyLock, OnceLock};

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, header};
use sha2::{Digest, Sha256};

use super::respond::{compress, takes_brotli};
use crate::http::problem::ApiError;

/// Kept for a year and never asked for again: the address has a hash of the files in it.
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// What it costs to compress a file once: some 200 ms of CPU for all of them.
const QUALITY: u32 = 11;

struct Asset {
    name: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
    /// Made when it is first asked for.
    brotli: OnceLock<Vec<u8>>,
}

macro_rules! assets {
    ($($name:literal $media_type:literal),+ $(,)?) => {
        static ASSETS: [Asset; [$($name),+].len()] = [$(Asset {
            name: $name,
            media_type: $media_type,
            bytes: include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/", $name)),
            brotli: OnceLock::new(),
        }),+];
    };
}

assets!(
    "carom.css" "text/css",
    "carom.js" "text/javascript",
    "icon.svg" "image/svg+xml",
    "stats.js" "text/javascript",
    "theme.js" "text/javascript",
    "uplot.css" "text/css",
    "uplot.js" "text/javascript",
);

/// The folder that all of them are under, such as `/assets/1f0e3dad99908345`. One for all, so that
/// scripts can name each other without knowing it.
pub(super) static FOLDER: LazyLock<String> = LazyLock::new(|| {
    let mut hash = Sha256::new();
    ASSETS.iter().for_each(|asset| hash.update(asset.bytes));
    let digest = hash.finalize();
    let version: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("/assets/{version}")
});

/// A file. Whatever version is asked for, there is one: a page that was made by the program before
/// goes on working.
pub(super) async fn serve(
    Path((_, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let asset = ASSETS.iter().find(|asset| asset.name == name);
    Ok(respond(asset.ok_or(ApiError::NotFound("file"))?, &headers))
}

/// What browsers ask for by themselves.
pub(super) async fn icon(headers: HeaderMap) -> Result<Response, ApiError> {
    serve(Path((String::new(), "icon.svg".into())), headers).await
}

fn respond(asset: &'static Asset, headers: &HeaderMap) -> Response {
    let is_brotli = takes_brotli(headers);
    let body = if is_brotli {
        asset.brotli.get_or_init(|| compress(asset.bytes, QUALITY))
    } else {
        asset.bytes
    };
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.media_type));
    headers.insert(header::CACHE_CONTROL, CACHE_CONTROL);
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    if is_brotli {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("br"));
    }
    response
}
