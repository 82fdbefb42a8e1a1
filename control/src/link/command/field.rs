//! The rules for each field of a link, one function per field.

use carom_shared::{
    Code, Forward, Host, ParameterNames, RedirectStatus, RouteRecord, RouteState, TargetUrl,
    UnixMillis, WorkspaceId,
};
use jiff::Timestamp;

use super::ForwardBody;
use crate::blocklist::Policy;
use crate::domain::{Domain, Domains};
use crate::http::problem::FieldError;
use crate::link::tag::{Tags, TagsError};

/// Characters of a title.
const TITLE_MAX: usize = 200;
/// Characters of notes.
const NOTES_MAX: usize = 4000;
/// 9999-12-31T23:59:59.999Z: RFC 3339 has four digits for the year.
const TIME_MAX: UnixMillis = UnixMillis::new(253_402_300_799_999);

pub(super) fn no_target() -> FieldError {
    FieldError::new("#/url", "required", "say where the link leads to".into())
}

pub(super) fn target(url: &str, pointer: &str, policy: &Policy) -> Result<TargetUrl, FieldError> {
    policy.check(url, pointer)
}

pub(super) fn code(code: &str) -> Result<Code, FieldError> {
    Code::parse(code)
        .map_err(|error| FieldError::new("#/code", "code-malformed", error.to_string()))
}

pub(super) fn domain<'d>(
    host: Option<&str>,
    workspace: WorkspaceId,
    domains: &'d Domains,
) -> Result<&'d Domain, FieldError> {
    let domain = match host {
        None => domains.default_domain(),
        Some(host) => Host::parse(host).ok().and_then(|host| domains.find(workspace, &host)),
    };
    domain.ok_or_else(|| {
        let detail = "this workspace has no such domain; leave it out for the default one";
        FieldError::new("#/domain", "domain-unknown", detail.into())
    })
}

pub(super) fn title(title: &str) -> Result<String, FieldError> {
    let title = title.trim();
    if title.chars().count() > TITLE_MAX {
        let detail = format!("a title has at most {TITLE_MAX} characters");
        return Err(FieldError::new("#/title", "too-long", detail));
    }
    if title.chars().any(char::is_control) {
        let detail = "a title is one line of text, without control characters";
        return Err(FieldError::new("#/title", "control-character", detail.into()));
    }
    Ok(title.to_owned())
}

pub(super) fn notes(notes: &str) -> Result<String, FieldError> {
    let notes = notes.trim();
    if notes.chars().count() > NOTES_MAX {
        let detail = format!("notes have at most {NOTES_MAX} characters");
        return Err(FieldError::new("#/notes", "too-long", detail));
    }
    if notes.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        let detail = "notes are text, with line ends and tabs but no other control characters";
        return Err(FieldError::new("#/notes", "control-character", detail.into()));
    }
    Ok(notes.to_owned())
}

pub(super) fn tags(tags: &[String]) -> Result<Tags, FieldError> {
    Tags::new(tags.iter().map(String::as_str)).map_err(|error| {
        let (place, code) = match error {
            TagsError::Count => (None, "too-many"),
            TagsError::Length(place) => (Some(place), "length"),
            TagsError::Character(place) => (Some(place), "control-character"),
            TagsError::Duplicate(place) => (Some(place), "duplicate"),
        };
        let pointer = place.map_or_else(|| "#/tags".into(), |place| format!("#/tags/{place}"));
        FieldError::new(&pointer, code, error.to_string())
    })
}

pub(super) fn redirect_status(status: u16) -> Result<RedirectStatus, FieldError> {
    RedirectStatus::try_from(status).map_err(|_| {
        let detail = "a redirect is 301, 302, 307 or 308";
        FieldError::new("#/redirect_status", "redirect-status", detail.into())
    })
}

pub(super) fn max_age(seconds: u16) -> Result<u16, FieldError> {
    let max = RouteRecord::MAX_AGE_MAX_S;
    if seconds > max {
        let detail = format!("browsers may keep a permanent redirect for 0 to {max} seconds");
        return Err(FieldError::new("#/max_age", "out-of-range", detail));
    }
    Ok(seconds)
}

pub(super) fn state(state: &str) -> Result<RouteState, FieldError> {
    match state {
        "active" => Ok(RouteState::Active),
        "disabled" => Ok(RouteState::Disabled),
        _ => {
            let detail = "a link is active or disabled";
            Err(FieldError::new("#/state", "state", detail.into()))
        }
    }
}

/// Reads a time of RFC 3339.
pub(crate) fn time(text: &str, pointer: &str) -> Result<UnixMillis, FieldError> {
    let time = text.parse::<Timestamp>().ok().map(|time| UnixMillis::new(time.as_millisecond()));
    time.filter(|time| (UnixMillis::new(0)..=TIME_MAX).contains(time)).ok_or_else(|| {
        let detail = "write a time as 2030-12-31T23:59:59Z, from 1970 to 9999";
        FieldError::new(pointer, "time", detail.into())
    })
}

pub(super) fn forward(forward: &ForwardBody) -> Result<Forward, FieldError> {
    let error = |detail: String| FieldError::new("#/query/forward", "parameter-names", detail);
    match forward {
        ForwardBody::Word(word) => match word.as_str() {
            "none" => Ok(Forward::None),
            "all" => Ok(Forward::All),
            _ => Err(error("write none, all or a list of names".into())),
        },
        ForwardBody::Names(names) => ParameterNames::new(names.iter().map(String::as_str))
            .map(Forward::Only)
            .map_err(|names| error(names.to_string())),
    }
}

pub(super) fn visitor_wins(prefer: &str) -> Result<bool, FieldError> {
    match prefer {
        "target" => Ok(false),
        "visitor" => Ok(true),
        _ => {
            let detail = "where both have a parameter, the target or the visitor wins";
            Err(FieldError::new("#/query/prefer", "prefer", detail.into()))
        }
    }
}
