//! From what somebody sent to a share. Pure.

use carom_shared::{LinkId, UnixMillis};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Part, ShareOf, Shown};
use crate::account::Password;
use crate::account::command::SecretText;
use crate::http::problem::FieldError;
use crate::link::command::check_time;
use crate::link::tag::Tags;
use crate::openapi::schema;

/// Characters of a name.
const NAME_MAX: usize = 100;

/// A share to be made: of a link, of the links with a tag or, with neither, of all links.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewShare)]
pub(crate) struct ShareBody {
    /// What its readers see above it.
    #[schema(min_length = 1, max_length = 100, example = "Spring campaign")]
    name: String,
    #[serde(default)]
    #[schema(schema_with = schema::optional_id, required = false)]
    link_id: Option<LinkId>,
    #[serde(default)]
    #[schema(min_length = 1, max_length = 50)]
    tag: Option<String>,
    /// What a reader must know beside the address; none unless it says otherwise.
    #[serde(default)]
    #[schema(value_type = Option<String>, min_length = 8, max_length = 128)]
    password: Option<SecretText>,
    /// Until when it can be read; until it is taken back unless it says otherwise.
    #[serde(default)]
    #[schema(schema_with = schema::optional_time, required = false)]
    expires_at: Option<String>,
    #[serde(default)]
    #[schema(required = false)]
    shows: ShowsBody,
}

/// What is shown beside totals and their course.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = NewShareShows)]
struct ShowsBody {
    #[schema(required = false, default = true)]
    sources: bool,
    #[schema(required = false, default = true)]
    places: bool,
    #[schema(required = false, default = true)]
    devices: bool,
    #[schema(required = false, default = true)]
    campaigns: bool,
    /// When in a week.
    #[schema(required = false, default = true)]
    times: bool,
    /// Which links, with their short URLs, and where each led to.
    #[schema(required = false, default = false)]
    links: bool,
    /// Whether readers may filter by what is shown, and so see how it hangs together.
    #[schema(required = false, default = false)]
    filters: bool,
}

impl Default for ShowsBody {
    fn default() -> Self {
        Self {
            sources: true,
            places: true,
            devices: true,
            campaigns: true,
            times: true,
            links: false,
            filters: false,
        }
    }
}

/// A share, checked; whether its link exists is the store's to say.
#[derive(Debug)]
pub(crate) struct NewShare {
    pub(crate) name: String,
    pub(crate) of: ShareOf,
    pub(crate) password: Option<Password>,
    pub(crate) expires_at: Option<UnixMillis>,
    pub(crate) shown: Shown,
}

/// Checks every field.
pub(crate) fn check(body: &ShareBody, now: UnixMillis) -> Result<NewShare, Vec<FieldError>> {
    let mut errors = Vec::new();
    let mut keep = |error| errors.push(error);
    let name = check_name(&body.name).map_err(&mut keep);
    let of = check_of(body).map_err(&mut keep);
    // Beside it stands the address, which nobody guesses.
    let password = body.password.as_ref();
    let password = password.map(|it| Password::chosen(it.as_str().trim(), "#/password", true));
    let password = password.transpose().map_err(&mut keep);
    let expires_at = body.expires_at.as_deref().map(|at| check_expiry(at, now));
    let expires_at = expires_at.transpose().map_err(&mut keep);
    let ShowsBody { sources, places, devices, campaigns, times, links, filters } = body.shows;
    let shows = [sources, places, devices, campaigns, times, links, filters];
    let shown = Part::ALL.into_iter().zip(shows).filter(|(_, is_shown)| *is_shown);
    let shown = shown.fold(Shown::default(), |shown, (part, _)| shown.with(part));
    match (name, of, password, expires_at) {
        (Ok(name), Ok(of), Ok(password), Ok(expires_at)) => {
            Ok(NewShare { name, of, password, expires_at, shown })
        }
        _ => Err(errors),
    }
}

fn check_name(name: &str) -> Result<String, FieldError> {
    let name = name.trim();
    let error = |code, detail: &str| Err(FieldError::new("#/name", code, detail.into()));
    match name.chars().count() {
        0 => error("required", "give it a name: its readers see it above the statistics"),
        count if count > NAME_MAX => error("too-long", "a name has at most 100 characters"),
        _ if name.chars().any(char::is_control) => {
            error("control-character", "a name is one line of text")
        }
        _ => Ok(name.to_owned()),
    }
}

fn check_of(body: &ShareBody) -> Result<ShareOf, FieldError> {
    let error = |code, detail: String| FieldError::new("#/tag", code, detail);
    match (body.link_id, &body.tag) {
        (None, None) => Ok(ShareOf::Workspace),
        (Some(link), None) => Ok(ShareOf::Link(link)),
        (None, Some(tag)) => {
            let tags = Tags::new([tag.as_str()]);
            let tags = tags.map_err(|why| error("tag-malformed", why.to_string()))?;
            Ok(ShareOf::Tag(tags.folded().collect()))
        }
        (Some(_), Some(_)) => {
            Err(error("not-both", "a share is of a link or of a tag, not of both".into()))
        }
    }
}

fn check_expiry(text: &str, now: UnixMillis) -> Result<UnixMillis, FieldError> {
    let at = check_time(text, "#/expires_at")?;
    if at <= now {
        let detail = "this time is over; leave it out for a share without an end";
        return Err(FieldError::new("#/expires_at", "expiry", detail.into()));
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::NOW;
    use serde_json::json;

    #[test]
    fn a_share_is_checked_field_by_field() {
        let read = |body| -> ShareBody { serde_json::from_value(body).unwrap() };
        let shares = |body| check(&read(body), NOW).unwrap();
        let plain = shares(json!({"name": " Mine "}));
        assert_eq!(
            (plain.name.as_str(), plain.of, plain.shown.number()),
            ("Mine", ShareOf::Workspace, 0x1f)
        );
        let tag =
            shares(json!({"name": "x", "tag": " ÉTÉ ", "shows": {"links": true, "places": false}}));
        assert_eq!((tag.of, tag.shown.number()), (ShareOf::Tag("été".into()), 0x3d));
        for (body, pointers) in [
            (json!({"name": " "}), vec!["#/name"]),
            (json!({"name": "a\nb", "password": "short"}), vec!["#/name", "#/password"]),
            (json!({"name": "é".repeat(101), "tag": ""}), vec!["#/name", "#/tag"]),
            (json!({"name": "x", "tag": "a", "link_id": "1"}), vec!["#/tag"]),
            (json!({"name": "x", "expires_at": "2020-01-01T00:00:00Z"}), vec!["#/expires_at"]),
            (json!({"name": "x", "expires_at": "soon"}), vec!["#/expires_at"]),
        ] {
            let errors = check(&read(body.clone()), NOW).unwrap_err();
            let found: Vec<_> = errors.iter().map(|error| error.pointer.as_str()).collect();
            assert_eq!(found, pointers, "{body}");
        }
    }
}
