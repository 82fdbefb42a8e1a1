//! From what a client sent to a command that can be carried out. Pure.

use carom_shared::{
    ApiKeyId, Code, DomainId, Host, RedirectStatus, TargetPolicy, TargetUrl, UnixMillis,
    WorkspaceId,
};
use jiff::Timestamp;
use serde::Deserialize;

use crate::domain::Domains;
use crate::http::problem::FieldError;

/// Characters of a title.
const TITLE_MAX: usize = 200;
/// 9999-12-31T23:59:59.999Z: RFC 3339 has four digits for the year.
const TIME_MAX: UnixMillis = UnixMillis::new(253_402_300_799_999);

/// A link to be made, as a client writes it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LinkBody {
    pub(crate) url: Option<String>,
    pub(crate) code: Option<String>,
    pub(crate) domain: Option<String>,
    pub(crate) title: Option<String>,
    pub(crate) redirect_status: Option<u16>,
    pub(crate) not_before: Option<String>,
    pub(crate) expires_at: Option<String>,
}

/// A link to be made, checked.
#[derive(Clone, Debug)]
pub(crate) struct CreateLink {
    pub(crate) workspace: WorkspaceId,
    pub(crate) created_by: ApiKeyId,
    pub(crate) domain: DomainId,
    /// `None`: a random one.
    pub(crate) code: Option<Code>,
    pub(crate) target: TargetUrl,
    pub(crate) title: String,
    pub(crate) redirect_status: RedirectStatus,
    pub(crate) not_before: Option<UnixMillis>,
    pub(crate) expires_at: Option<UnixMillis>,
}

/// Why a link cannot be made as asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Fields that do not make sense, each with its reason.
    Invalid(Vec<FieldError>),
    /// The code is a name that Carom keeps for itself.
    Reserved(Code),
}

/// What a command is judged by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules<'a> {
    pub(crate) domains: &'a Domains,
    pub(crate) policy: &'a TargetPolicy,
    pub(crate) now: UnixMillis,
}

/// Checks every field, so that a client learns of all its mistakes at once.
pub(crate) fn check_create(
    body: &LinkBody,
    workspace: WorkspaceId,
    created_by: ApiKeyId,
    rules: Rules<'_>,
) -> Result<CreateLink, Refusal> {
    let mut errors = Vec::new();
    let target = keep(&mut errors, check_target(body.url.as_deref(), rules.policy));
    let code = keep(&mut errors, body.code.as_deref().map(check_code).transpose());
    let host = body.domain.as_deref();
    let domain = keep(&mut errors, check_domain(host, workspace, rules.domains));
    let title = keep(&mut errors, check_title(body.title.as_deref().unwrap_or_default()));
    let status = keep(&mut errors, check_status(body.redirect_status));
    let time = |text: Option<&str>, pointer| text.map(|t| check_time(t, pointer)).transpose();
    let not_before = keep(&mut errors, time(body.not_before.as_deref(), "#/not_before"));
    let expires_at = keep(&mut errors, time(body.expires_at.as_deref(), "#/expires_at"));
    if let (Some(not_before), Some(expires_at)) = (not_before, expires_at) {
        errors.extend(check_period(not_before, expires_at, rules.now).err());
    }
    match (target, code, domain, title, status, not_before, expires_at) {
        (
            Some(target),
            Some(code),
            Some(domain),
            Some(title),
            Some(redirect_status),
            Some(not_before),
            Some(expires_at),
        ) if errors.is_empty() => {
            if let Some(code) = code.as_ref().filter(|code| code.is_reserved()) {
                return Err(Refusal::Reserved(code.clone()));
            }
            Ok(CreateLink {
                workspace,
                created_by,
                domain,
                code,
                target,
                title,
                redirect_status,
                not_before,
                expires_at,
            })
        }
        _ => Err(Refusal::Invalid(errors)),
    }
}

fn keep<T>(errors: &mut Vec<FieldError>, result: Result<T, FieldError>) -> Option<T> {
    result.map_err(|error| errors.push(error)).ok()
}

fn check_target(url: Option<&str>, policy: &TargetPolicy) -> Result<TargetUrl, FieldError> {
    let url = url.ok_or_else(|| {
        FieldError::new("#/url", "required", "say where the link leads to".into())
    })?;
    TargetUrl::parse(url, policy)
        .map_err(|error| FieldError::new("#/url", error.code(), error.to_string()))
}

fn check_code(code: &str) -> Result<Code, FieldError> {
    Code::parse(code)
        .map_err(|error| FieldError::new("#/code", "code-malformed", error.to_string()))
}

fn check_domain(
    host: Option<&str>,
    workspace: WorkspaceId,
    domains: &Domains,
) -> Result<DomainId, FieldError> {
    let domain = match host {
        None => domains.default_domain(),
        Some(host) => Host::parse(host).ok().and_then(|host| domains.find(workspace, &host)),
    };
    domain.map(|domain| domain.id).ok_or_else(|| {
        let detail = "this workspace has no such domain; leave it out for the default one";
        FieldError::new("#/domain", "domain-unknown", detail.into())
    })
}

fn check_title(title: &str) -> Result<String, FieldError> {
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

fn check_status(status: Option<u16>) -> Result<RedirectStatus, FieldError> {
    let Some(status) = status else { return Ok(RedirectStatus::default()) };
    RedirectStatus::try_from(status).map_err(|_| {
        let detail = "a redirect is 301, 302, 307 or 308";
        FieldError::new("#/redirect_status", "redirect-status", detail.into())
    })
}

/// Reads a time of RFC 3339.
fn check_time(text: &str, pointer: &'static str) -> Result<UnixMillis, FieldError> {
    let time = text.parse::<Timestamp>().ok().map(|time| UnixMillis::new(time.as_millisecond()));
    time.filter(|time| (UnixMillis::new(0)..=TIME_MAX).contains(time)).ok_or_else(|| {
        let detail = "write a time as 2030-12-31T23:59:59Z, from 1970 to 9999";
        FieldError::new(pointer, "time", detail.into())
    })
}

fn check_period(
    not_before: Option<UnixMillis>,
    expires_at: Option<UnixMillis>,
    now: UnixMillis,
) -> Result<(), FieldError> {
    let Some(expires_at) = expires_at else { return Ok(()) };
    let error = |detail: &str| Err(FieldError::new("#/expires_at", "time-order", detail.into()));
    if expires_at <= now {
        return error("the link would have expired already; name a time to come");
    }
    if not_before.is_some_and(|not_before| not_before >= expires_at) {
        return error("the link would expire before it begins; name a later time");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
