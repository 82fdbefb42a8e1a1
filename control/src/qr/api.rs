//! `GET /api/v1/links/{id}/qr`

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use carom_shared::LinkId;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::{IntoParams, ToSchema};

use super::{Colour, Design, Level, MARGIN_DEFAULT, QrError, SIZE_DEFAULT, png, svg};
use crate::access::allow;
use crate::app::App;
use crate::http::auth::By;
use crate::http::extract::{Id, Params};
use crate::http::precondition::{etag, is_known};
use crate::http::problem::ApiError;
use crate::link::api::LinkPath;
use crate::link::store::link_fetch;
use crate::openapi::responses::{Any, IfNoneMatchHeader, OfOne};

/// A link keeps its code and its domain, so its picture does not change; one that was deleted is
/// asked for again soon.
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("private, max-age=3600");
/// Entity tags are of pictures drawn in this way.
const DRAWING: &str = "1";

/// How a code is drawn.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct QrParams {
    /// `svg` unless it says otherwise.
    #[param(inline)]
    format: Option<Format>,
    /// Pixels of a side, with the margin; 512 unless it says otherwise. At least as many as the code
    /// has modules.
    #[param(minimum = 64, maximum = 4096)]
    size: Option<u32>,
    /// Light modules around the code; 4 unless it says otherwise, and fewer only where what is around
    /// it is as light.
    #[param(maximum = 16)]
    margin: Option<u32>,
    /// How much of the code may be dirty or torn: `l` 7 %, `m` 15 % (so it is without this), `q` 25 %,
    /// `h` 30 %.
    #[param(inline)]
    level: Option<LevelParam>,
    /// The dark modules' colour, in hexadecimal digits; black unless it says otherwise.
    #[param(pattern = "^#?[0-9A-Fa-f]{6}$", example = "0a6b4f")]
    foreground: Option<String>,
    /// The light modules' colour; white unless it says otherwise.
    #[param(pattern = "^#?[0-9A-Fa-f]{6}$", example = "ffffff")]
    background: Option<String>,
    /// Whether a square in the middle stays light, for a logo to be laid there: an SVG has an empty `rect`
    /// with the id `logo` in its place. The level is then `h`, and no other.
    logo: Option<bool>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Svg,
    Png,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum LevelParam {
    L,
    #[default]
    M,
    Q,
    H,
}

impl QrParams {
    fn design(&self) -> Result<Design, ApiError> {
        let colour = |text: &Option<String>, name: &str, default| match text.as_deref() {
            None => Ok(default),
            Some(text) => Colour::parse(text).ok_or_else(|| {
                let detail =
                    format!("{name} is a colour in six hexadecimal digits, such as 0a6b4f");
                ApiError::Request(detail)
            }),
        };
        let logo = self.logo.unwrap_or_default();
        let unless_said = if logo { LevelParam::H } else { LevelParam::M };
        Ok(Design {
            size: self.size.unwrap_or(SIZE_DEFAULT),
            margin: self.margin.unwrap_or(MARGIN_DEFAULT),
            level: match self.level.unwrap_or(unless_said) {
                LevelParam::L => Level::L,
                LevelParam::M => Level::M,
                LevelParam::Q => Level::Q,
                LevelParam::H => Level::H,
            },
            foreground: colour(&self.foreground, "foreground", Colour::BLACK)?,
            background: colour(&self.background, "background", Colour::WHITE)?,
            logo,
        })
    }
}

impl From<QrError> for ApiError {
    fn from(error: QrError) -> Self {
        Self::Request(error.to_string())
    }
}

/// A picture, as its bytes.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "read by its derive alone")]
struct Png(Vec<u8>);

/// Draws a link's QR code
///
/// It holds the short URL with `?via=qr`: who comes by it is counted as such, and the target does not
/// see it.
#[utoipa::path(
    get,
    path = "/api/v1/links/{id}/qr",
    tag = "links",
    security(("api_key" = ["links:read"]), ("session" = ["links:read"])),
    params(LinkPath, QrParams, IfNoneMatchHeader),
    responses(
        (
            status = 200,
            content((String = "image/svg+xml"), (Png = "image/png")),
            headers(("ETag" = String, description = "What this picture is told by from others")),
        ),
        (status = 304, description = "`If-None-Match` names this picture."),
        Any, OfOne,
    ),
    operation_id = "link_qr",
)]
pub(crate) async fn draw(
    State(app): State<App>,
    caller: By<allow::LinksRead>,
    Id(id): Id<LinkId>,
    Params(params): Params<QrParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let design = params.design()?;
    let format = params.format.unwrap_or_default();
    let link = link_fetch(app.read(), caller.workspace, id).await?;
    let link = link.ok_or(ApiError::NotFound("link"))?;
    let text = app.domain_set().short_url(link.domain, &link.code) + "?via=qr";
    let version = version(&text, format, &design);
    let cached = [etag(version), (header::CACHE_CONTROL, CACHE_CONTROL)];
    if is_known(&headers, version)? {
        return Ok((StatusCode::NOT_MODIFIED, cached).into_response());
    }
    let (media_type, body) = match format {
        Format::Svg => ("image/svg+xml", svg(&text, &design)?.into_bytes()),
        Format::Png => ("image/png", png(&text, &design)?),
    };
    let vary = "Authorization, Cookie, Carom-Workspace";
    Ok((cached, [(header::CONTENT_TYPE, media_type), (header::VARY, vary)], body).into_response())
}

/// What tells a picture from others: known before it is drawn.
fn version(text: &str, format: Format, design: &Design) -> u64 {
    let asked = format!("{DRAWING} {format:?} {design:?} {text}");
    let digest = Sha256::digest(asked.as_bytes());
    let (bytes, _) = digest.split_first_chunk().expect("a digest has 32 bytes");
    // As short as other entity tags: 63 bits.
    u64::from_be_bytes(*bytes) >> 1
}
