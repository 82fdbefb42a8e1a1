//! The files that pages load: in the program, under an address that changes when one of them does.

use std::borrow::Cow;
use std::sync::{LazyLock, OnceLock};

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, header};
use sha2::{Digest, Sha256};

use super::details::DETAILS;
use super::message::Language;
use super::message::script::script;
use super::respond::{compress, takes_brotli};
use crate::http::problem::ApiError;

/// Kept for a year and never asked for again: the address has a hash of the files in it.
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// What it costs to compress a file once: some 200 ms of CPU for all of them.
const QUALITY: u32 = 11;

struct Asset {
    name: Cow<'static, str>,
    media_type: &'static str,
    text: Cow<'static, str>,
    /// Both made when they are first asked for.
    lean: OnceLock<String>,
    brotli: OnceLock<Vec<u8>>,
}

macro_rules! assets {
    ($($name:literal $media_type:literal),+ $(,)?) => {
        static ASSETS: [Asset; [$($name),+].len()] = [$(Asset {
            name: Cow::Borrowed($name),
            media_type: $media_type,
            text: Cow::Borrowed(include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"), "/assets/", $name,
            ))),
            lean: OnceLock::new(),
            brotli: OnceLock::new(),
        }),+];
    };
}

assets!(
    "carom.css" "text/css",
    "carom.js" "text/javascript",
    "data.js" "text/javascript",
    "icon.svg" "image/svg+xml",
    "links.js" "text/javascript",
    "logo.js" "text/javascript",
    "map.svg" "image/svg+xml",
    "messages.js" "text/javascript",
    "passkey.js" "text/javascript",
    "stats.js" "text/javascript",
    "theme.js" "text/javascript",
    "uplot.css" "text/css",
    "uplot.js" "text/javascript",
);

/// What scripts say in other languages than English: `messages.de.js`.
static MESSAGES: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    let scripts: Vec<&str> = scripts().map(|asset| &*asset.text).collect();
    let asset = |language: Language| Asset {
        name: Cow::Owned(format!("messages.{}.js", language.tag())),
        media_type: "text/javascript",
        text: Cow::Owned(script(language, &scripts, DETAILS)),
        lean: OnceLock::new(),
        brotli: OnceLock::new(),
    };
    Language::foreign().map(asset).collect()
});

fn scripts() -> impl Iterator<Item = &'static Asset> {
    ASSETS.iter().filter(|asset| asset.name.ends_with(".js"))
}

fn all() -> impl Iterator<Item = &'static Asset> {
    ASSETS.iter().chain(MESSAGES.iter())
}

/// The folder that all of them are under, such as `/assets/1f0e3dad99908345`. One for all, so that
/// scripts can name each other without knowing it.
pub(super) static FOLDER: LazyLock<String> = LazyLock::new(|| {
    let mut hash = Sha256::new();
    all().for_each(|asset| hash.update(&*asset.text));
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
    let asset = all().find(|asset| asset.name == name);
    Ok(respond(asset.ok_or(ApiError::NotFound("file"))?, &headers))
}

/// What browsers ask for by themselves.
pub(super) async fn icon(headers: HeaderMap) -> Result<Response, ApiError> {
    serve(Path((String::new(), "icon.svg".into())), headers).await
}

fn respond(asset: &'static Asset, headers: &HeaderMap) -> Response {
    let is_brotli = takes_brotli(headers);
    let lean = asset.lean.get_or_init(|| lean(&asset.text)).as_bytes();
    let body = match is_brotli {
        true => asset.brotli.get_or_init(|| compress(lean, QUALITY)),
        false => lean,
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

/// A script or a style without what is there for its readers: comments that have lines to themselves, and
/// indents. (Shorter names as well would take a program of its own.)
fn lean(text: &str) -> String {
    let mut lean = String::with_capacity(text.len());
    let mut is_comment = false;
    for line in text.lines().map(str::trim) {
        let begins = !is_comment && line.starts_with("/*") && !line.starts_with("/*!");
        if is_comment || begins {
            is_comment = !line.ends_with("*/");
        } else if !line.is_empty() && !line.starts_with("//") {
            lean.push_str(line);
            lean.push('\n');
        }
    }
    lean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_readers_need_is_left_out() {
        for (text, expected) in [
            ("/** Says. */\nsay(1); // why\n", "say(1); // why\n"),
            ("/** Says\n * more. */\n  say(1);\n\n", "say(1);\n"),
            ("  // --- Part ---\n  say('/*');\n", "say('/*');\n"),
            ("/*! licence */ a\n*, b {\n  c: d;\n}\n", "/*! licence */ a\n*, b {\nc: d;\n}\n"),
        ] {
            assert_eq!(lean(text), expected);
        }
    }

    /// Else a line's indent could be a part of a text, and what follows a comment be lost.
    #[test]
    fn texts_and_comments_end_where_lines_do() {
        for asset in &ASSETS {
            for line in asset.text.lines().filter(|line| !line.starts_with("/*!")) {
                let name = &asset.name;
                assert!(name == "uplot.js" || line.matches('`').count() % 2 == 0, "{name}: {line}");
                let end = line.trim().strip_prefix("/*").and_then(|it| it.split_once("*/"));
                assert!(end.is_none_or(|(_, after)| after.is_empty()), "{name}: {line}");
            }
        }
    }
}
