//! From what a client sent to a command that can be carried out. Pure.
//!
//! One body serves a link to be made and a change to one. In a change it is a merge patch
//! (RFC 7396): what is left out stays as it is, and `null` gives a field the value that it has in a
//! link made without it.

mod field;

pub(crate) use field::time as check_time;

use std::sync::Arc;

use carom_shared::{
    Code, DomainId, Forward, LinkId, RedirectStatus, RouteRecord, RouteState, TargetUrl,
    UnixMillis, WorkspaceId,
};
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use super::Link;
use super::tag::Tags;
use crate::audit::Actor;
use crate::blocklist::Policy;
use crate::domain::{Domain, Domains};
use crate::http::extract::Object;
use crate::http::precondition::IfMatch;
use crate::http::problem::FieldError;
use crate::openapi::schema;

/// A member of a body.
#[derive(Clone, Debug, Default)]
pub(crate) enum Field<T> {
    #[default]
    Absent,
    Null,
    Value(T),
}

impl<T> Field<T> {
    const fn value(&self) -> Option<&T> {
        match self {
            Self::Absent | Self::Null => None,
            Self::Value(value) => Some(value),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Null, Self::Value))
    }
}

/// A link to be made or changed, as a client writes it.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LinkBody {
    /// Where the link leads to: an `http` or `https` URL.
    #[schema(value_type = String, format = "uri", min_length = 1, max_length = 8192)]
    #[serde(default)]
    pub(crate) url: Field<String>,
    /// The code; a random one if it is left out.
    #[schema(value_type = Option<String>, pattern = "^[A-Za-z0-9_-]{1,64}$")]
    #[serde(default)]
    pub(crate) code: Field<String>,
    /// The host that the code is on; the default domain's if it is left out.
    #[schema(value_type = Option<String>, max_length = 253)]
    #[serde(default)]
    pub(crate) domain: Field<String>,
    /// One line of text.
    #[schema(value_type = Option<String>, max_length = 200)]
    #[serde(default)]
    pub(crate) title: Field<String>,
    #[schema(value_type = Option<String>, max_length = 4000)]
    #[serde(default)]
    pub(crate) notes: Field<String>,
    /// Short texts, of which no two are alike but for their case.
    #[schema(value_type = Option<Vec<String>>, max_items = 20)]
    #[serde(default)]
    pub(crate) tags: Field<Vec<String>>,
    /// 302 unless it says otherwise. 301 and 308 are permanent: browsers keep them for `max_age`,
    /// and come back without being counted.
    #[schema(schema_with = schema::optional_redirect_status)]
    #[serde(default)]
    pub(crate) redirect_status: Field<u16>,
    /// How long browsers may keep a permanent redirect, in seconds.
    #[schema(value_type = Option<u16>, maximum = 300)]
    #[serde(default)]
    pub(crate) max_age: Field<u16>,
    #[schema(schema_with = schema::optional_state)]
    #[serde(default)]
    pub(crate) state: Field<String>,
    /// Out of sight in lists; the code goes on working.
    #[schema(value_type = Option<bool>)]
    #[serde(default)]
    pub(crate) archived: Field<bool>,
    /// From when on the code works.
    #[schema(schema_with = schema::optional_time)]
    #[serde(default)]
    pub(crate) not_before: Field<String>,
    /// Until when the code works: a time to come.
    #[schema(schema_with = schema::optional_time)]
    #[serde(default)]
    pub(crate) expires_at: Field<String>,
    /// Where the link leads to once it has expired.
    #[schema(value_type = Option<String>, format = "uri", max_length = 8192)]
    #[serde(default)]
    pub(crate) fallback_url: Field<String>,
    #[schema(value_type = Option<QueryBody>)]
    #[serde(default)]
    pub(crate) query: Field<Object<QueryBody>>,
}

/// What of a visitor's query reaches the target, as a client writes it.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = QueryPolicy)]
pub(crate) struct QueryBody {
    /// Nothing, everything, or the parameters with these names.
    #[schema(schema_with = schema::optional_forward)]
    #[serde(default)]
    pub(crate) forward: Field<ForwardBody>,
    /// Whose value counts where both have a parameter.
    #[schema(schema_with = schema::optional_prefer)]
    #[serde(default)]
    pub(crate) prefer: Field<String>,
}

/// Which parameters are passed on, as a client writes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "write \"none\", \"all\" or a list of names")]
pub(crate) enum ForwardBody {
    Word(String),
    Names(Vec<String>),
}

/// What the owner of a link decides about it beside the target, checked. `None` leaves it as it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct LinkSettings {
    pub(crate) title: Option<String>,
    pub(crate) notes: Option<String>,
    pub(crate) tags: Option<Tags>,
    pub(crate) redirect_status: Option<RedirectStatus>,
    pub(crate) max_age_s: Option<u16>,
    /// Active or disabled.
    pub(crate) state: Option<RouteState>,
    pub(crate) is_archived: Option<bool>,
    pub(crate) not_before: Option<Option<UnixMillis>>,
    pub(crate) expires_at: Option<Option<UnixMillis>>,
    pub(crate) fallback: Option<Option<TargetUrl>>,
    pub(crate) forward: Option<Forward>,
    pub(crate) visitor_wins: Option<bool>,
}

/// A link to be made, checked.
#[derive(Clone, Debug)]
pub(crate) struct CreateLink {
    pub(crate) workspace: WorkspaceId,
    pub(crate) by: Arc<Actor>,
    pub(crate) domain: DomainId,
    /// Case does not matter on the domain: the code is in lower case.
    pub(crate) folds_case: bool,
    /// `None`: a random one.
    pub(crate) code: Option<Code>,
    pub(crate) target: TargetUrl,
    pub(crate) settings: LinkSettings,
}

/// Something to be done to a link that is there, checked.
#[derive(Clone, Debug)]
pub(crate) struct EditLink {
    pub(crate) workspace: WorkspaceId,
    pub(crate) link: LinkId,
    pub(crate) by: Arc<Actor>,
    pub(crate) if_match: IfMatch,
    pub(crate) edit: Edit,
}

/// What can be done to a link.
#[derive(Clone, Debug)]
pub(crate) enum Edit {
    Change(Box<LinkChange>),
    Delete,
    /// Takes a deletion back.
    Restore,
}

/// A change of a link, checked.
#[derive(Clone, Debug, Default)]
pub(crate) struct LinkChange {
    pub(crate) target: Option<TargetUrl>,
    pub(crate) settings: LinkSettings,
}

/// Why a link cannot be made or changed as asked.
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
    pub(crate) policy: &'a Policy,
    pub(crate) now: UnixMillis,
}

/// Checks every field, so that a client learns of all its mistakes at once.
pub(crate) fn check_create(
    body: &LinkBody,
    workspace: WorkspaceId,
    by: &Arc<Actor>,
    rules: Rules<'_>,
) -> Result<CreateLink, Refusal> {
    let mut errors = Vec::new();
    let url = body.url.value().ok_or_else(field::no_target);
    let target = url.and_then(|url| field::target(url, "#/url", rules.policy));
    let target = keep(&mut errors, target);
    let code = body.code.value().map(|code| field::code(code)).transpose();
    let code = keep(&mut errors, code);
    let host = body.domain.value().map(String::as_str);
    let domain = keep(&mut errors, field::domain(host, workspace, rules.domains));
    let settings = check_settings(body, rules.policy, &mut errors);
    let (not_before, expires_at) = (settings.not_before.flatten(), settings.expires_at.flatten());
    errors.extend(check_future(expires_at, rules.now).err());
    errors.extend(check_order(not_before, expires_at).err());
    let (Some(target), Some(code), Some(domain), []) = (target, code, domain, &*errors) else {
        return Err(Refusal::Invalid(errors));
    };
    if let Some(code) = code.as_ref().filter(|code| code.is_reserved()) {
        return Err(Refusal::Reserved(code.clone()));
    }
    let Domain { id: domain, folds_case, .. } = *domain;
    let code = code.map(|code| if folds_case { code.folded() } else { code });
    let by = Arc::clone(by);
    Ok(CreateLink { workspace, by, domain, folds_case, code, target, settings })
}

/// Checks every field of a change by itself; [`LinkChange::apply_to`] checks the outcome.
pub(crate) fn check_change(body: &LinkBody, policy: &Policy) -> Result<LinkChange, Refusal> {
    let mut errors = Vec::new();
    let target = match &body.url {
        Field::Absent => None,
        Field::Null => keep(&mut errors, Err(field::no_target())),
        Field::Value(url) => keep(&mut errors, field::target(url, "#/url", policy)),
    };
    for (field, pointer) in [(&body.code, "#/code"), (&body.domain, "#/domain")] {
        if !matches!(field, Field::Absent) {
            let detail = "a link keeps its code and its domain; make another link instead";
            errors.push(FieldError::new(pointer, "immutable", detail.into()));
        }
    }
    let settings = check_settings(body, policy, &mut errors);
    if errors.is_empty() {
        Ok(LinkChange { target, settings })
    } else {
        Err(Refusal::Invalid(errors))
    }
}

fn check_settings(body: &LinkBody, policy: &Policy, errors: &mut Vec<FieldError>) -> LinkSettings {
    let title = read(errors, &body.title, String::new(), |title| field::title(title));
    let notes = read(errors, &body.notes, String::new(), |notes| field::notes(notes));
    let tags = read(errors, &body.tags, Tags::default(), |tags| field::tags(tags));
    let status = RedirectStatus::default();
    let redirect_status =
        read(errors, &body.redirect_status, status, |status| field::redirect_status(*status));
    let age = RouteRecord::MAX_AGE_MAX_S;
    let max_age_s = read(errors, &body.max_age, age, |age| field::max_age(*age));
    let state = read(errors, &body.state, RouteState::Active, |state| field::state(state));
    let is_archived = read(errors, &body.archived, false, |archived| Ok(*archived));
    let time = |pointer| move |text: &String| field::time(text, pointer).map(Some);
    let not_before = read(errors, &body.not_before, None, time("#/not_before"));
    let expires_at = read(errors, &body.expires_at, None, time("#/expires_at"));
    let fallback = read(errors, &body.fallback_url, None, |url| {
        field::target(url, "#/fallback_url", policy).map(Some)
    });
    let (forward, visitor_wins) = match &body.query {
        Field::Absent => (None, None),
        Field::Null => (Some(Forward::None), Some(false)),
        Field::Value(Object(query)) => (
            read(errors, &query.forward, Forward::None, field::forward),
            read(errors, &query.prefer, false, |prefer| field::visitor_wins(prefer)),
        ),
    };
    LinkSettings {
        title,
        notes,
        tags,
        redirect_status,
        max_age_s,
        state,
        is_archived,
        not_before,
        expires_at,
        fallback,
        forward,
        visitor_wins,
    }
}

fn keep<T>(errors: &mut Vec<FieldError>, result: Result<T, FieldError>) -> Option<T> {
    result.map_err(|error| errors.push(error)).ok()
}

/// What a member makes of a field: `None` leaves it alone, `null` brings `default` back.
fn read<T, U>(
    errors: &mut Vec<FieldError>,
    member: &Field<T>,
    default: U,
    check: impl FnOnce(&T) -> Result<U, FieldError>,
) -> Option<U> {
    match member {
        Field::Absent => None,
        Field::Null => Some(default),
        Field::Value(value) => keep(errors, check(value)),
    }
}

impl LinkSettings {
    /// Writes what is decided over what was.
    pub(crate) fn apply_to(&self, link: &mut Link) {
        set(&mut link.title, &self.title);
        set(&mut link.notes, &self.notes);
        set(&mut link.tags, &self.tags);
        set(&mut link.redirect_status, &self.redirect_status);
        set(&mut link.max_age_s, &self.max_age_s);
        set(&mut link.state, &self.state);
        set(&mut link.is_archived, &self.is_archived);
        set(&mut link.not_before, &self.not_before);
        set(&mut link.expires_at, &self.expires_at);
        if let Some(fallback) = &self.fallback {
            link.fallback = fallback.as_ref().map(|url| url.as_str().to_owned());
        }
        set(&mut link.query.forward, &self.forward);
        set(&mut link.query.visitor_wins, &self.visitor_wins);
    }
}

fn set<T: Clone>(place: &mut T, value: &Option<T>) {
    if let Some(value) = value {
        place.clone_from(value);
    }
}

impl LinkChange {
    /// The link as it is after the change, if that makes sense. Versions are the caller's.
    pub(crate) fn apply_to(&self, link: &Link, now: UnixMillis) -> Result<Link, FieldError> {
        let mut changed = link.clone();
        if let Some(target) = &self.target {
            target.as_str().clone_into(&mut changed.target);
        }
        self.settings.apply_to(&mut changed);
        if link.state == RouteState::Blocked && changed.state != link.state {
            let detail = "the operator has taken the link down, and only the operator can undo it";
            return Err(FieldError::new("#/state", "blocked", detail.into()));
        }
        // A link that has expired can still get another title.
        if changed.expires_at != link.expires_at {
            check_future(changed.expires_at, now)?;
        }
        if (changed.not_before, changed.expires_at) != (link.not_before, link.expires_at) {
            check_order(changed.not_before, changed.expires_at)?;
        }
        Ok(changed)
    }
}

fn check_future(expires_at: Option<UnixMillis>, now: UnixMillis) -> Result<(), FieldError> {
    if expires_at.is_some_and(|expires_at| expires_at <= now) {
        let detail = "the link would have expired already; name a time to come";
        return Err(FieldError::new("#/expires_at", "time-order", detail.into()));
    }
    Ok(())
}

fn check_order(
    not_before: Option<UnixMillis>,
    expires_at: Option<UnixMillis>,
) -> Result<(), FieldError> {
    if not_before.zip(expires_at).is_some_and(|(from, until)| from >= until) {
        let detail = "the link would expire before it begins; name a later time";
        return Err(FieldError::new("#/expires_at", "time-order", detail.into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
