//! What a key is for: from what a client wrote to a grant that nobody may object to. Pure.

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use carom_shared::{AddressBlock, DomainId, UnixMillis, WorkspaceId};
use serde::Deserialize;
use serde_json::json;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::check_name;
use crate::access::{Scope, Scopes};
use crate::apikey::{Grant, KeyRow};
use crate::config::LimitsConfig;
use crate::domain::Domains;
use crate::http::problem::FieldError;
use crate::link::command::{Field, check_time};
use crate::openapi::schema;

/// How long a key can be used, unless its maker says otherwise.
const LIFE_DEFAULT: Duration = Duration::from_hours(90 * 24);
/// How long at most.
const LIFE_MAX: Duration = Duration::from_hours(366 * 24);
/// Domains, and blocks of addresses, of one key.
const LIST_MAX: usize = 50;
/// Requests a minute of one key.
pub(crate) const RATE_MAX: u32 = 1_000_000;

/// A key to be made or changed, as a client writes it.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeyPatch)]
pub(crate) struct KeyBody {
    /// Who or what uses it: one line of text.
    #[schema(value_type = String, min_length = 1, max_length = 100)]
    #[serde(default)]
    pub(crate) name: Field<String>,
    /// What it may do, of what you may do.
    #[schema(schema_with = schema::scopes)]
    #[serde(default)]
    pub(crate) scopes: Field<Vec<String>>,
    /// Until when: at most 366 days ahead, and 90 days if it is left out. `null`: for ever, where
    /// the installation allows that.
    #[schema(schema_with = schema::optional_time)]
    #[serde(default)]
    pub(crate) expires_at: Field<String>,
    /// Only links on these domains; any without them. Calls about the whole workspace are then
    /// refused.
    #[schema(schema_with = schema::optional_ids)]
    #[serde(default)]
    pub(crate) domains: Field<Vec<DomainId>>,
    /// Only from these blocks of addresses, such as `192.0.2.0/24`; from anywhere without them.
    #[schema(value_type = Option<Vec<String>>, max_items = 50)]
    #[serde(default)]
    pub(crate) addresses: Field<Vec<String>>,
    /// Requests a minute, at most as many as other keys have.
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1_000_000)]
    #[serde(default)]
    pub(crate) rate_per_minute: Field<u32>,
}

/// A key to be made: a [`KeyBody`] that says what it is called and what it is for.
pub(crate) struct NewKeyBody;

impl PartialSchema for NewKeyBody {
    fn schema() -> RefOr<Schema> {
        let mut schema = KeyBody::schema();
        if let RefOr::T(Schema::Object(object)) = &mut schema {
            object.description = None;
            object.required.extend(["name".to_owned(), "scopes".to_owned()]);
            object.examples.push(json!({"name": "CI", "scopes": ["links:read", "links:write"]}));
        }
        schema
    }
}

impl ToSchema for NewKeyBody {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("NewKey")
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        KeyBody::schemas(schemas);
    }
}

/// What a body is checked by.
pub(crate) struct KeyRules<'a> {
    pub(crate) now: UnixMillis,
    pub(crate) limits: &'a LimitsConfig,
    /// What whoever asks can do.
    pub(crate) maker: &'a Grant,
    pub(crate) workspace: WorkspaceId,
    pub(crate) domains: Arc<Domains>,
}

/// What changes of a key. `None`: it stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyChange {
    name: Option<String>,
    scopes: Option<Scopes>,
    expires_at: Option<Option<UnixMillis>>,
    domains: Option<Vec<DomainId>>,
    addresses: Option<Vec<AddressBlock>>,
    rate_per_minute: Option<Option<NonZeroU32>>,
}

impl KeyChange {
    pub(crate) fn apply_to(self, key: &mut KeyRow) {
        let Self { name, .. } = &self;
        if let Some(name) = name {
            key.name.clone_from(name);
        }
        self.apply_to_grant(&mut key.grant);
    }

    fn apply_to_grant(self, grant: &mut Grant) {
        let Self { name: _, scopes, expires_at, domains, addresses, rate_per_minute } = self;
        grant.scopes = scopes.unwrap_or(grant.scopes);
        grant.expires_at = expires_at.unwrap_or(grant.expires_at);
        grant.domains = domains.unwrap_or_else(|| std::mem::take(&mut grant.domains));
        grant.addresses = addresses.unwrap_or_else(|| std::mem::take(&mut grant.addresses));
        grant.rate_per_minute = rate_per_minute.unwrap_or(grant.rate_per_minute);
    }
}

/// The name and the grant of a new key.
pub(crate) fn check_key(
    body: &KeyBody,
    rules: &KeyRules<'_>,
) -> Result<(String, Grant), Vec<FieldError>> {
    let mut errors = Vec::new();
    let change = read(body, rules, &mut errors);
    for (field, is_missing) in [
        ("#/name", matches!(body.name, Field::Absent)),
        ("#/scopes", matches!(body.scopes, Field::Absent)),
    ] {
        if is_missing {
            errors.push(FieldError::new(field, "required", "a key has a name and scopes".into()));
        }
    }
    let mut grant = rules.maker.clone();
    grant.expires_at = sooner(grant.expires_at, Some(rules.now.saturating_add(LIFE_DEFAULT)));
    let name = change.name.clone().unwrap_or_default();
    change.apply_to_grant(&mut grant);
    if errors.is_empty() {
        errors = check_within(&grant, rules.maker);
    }
    if errors.is_empty() { Ok((name, grant)) } else { Err(errors) }
}

/// What a merge patch (RFC 7396) changes of a key.
pub(crate) fn check_key_change(
    body: &KeyBody,
    rules: &KeyRules<'_>,
) -> Result<KeyChange, Vec<FieldError>> {
    let mut errors = Vec::new();
    let change = read(body, rules, &mut errors);
    if errors.is_empty() {
        // What stays is nobody's to object to.
        let mut grant = rules.maker.clone();
        change.clone().apply_to_grant(&mut grant);
        errors = check_within(&grant, rules.maker);
    }
    if errors.is_empty() { Ok(change) } else { Err(errors) }
}

fn read(body: &KeyBody, rules: &KeyRules<'_>, errors: &mut Vec<FieldError>) -> KeyChange {
    let mut keep = |error: FieldError| errors.push(error);
    KeyChange {
        name: match &body.name {
            Field::Absent => None,
            Field::Null => check_name("").map_err(&mut keep).ok(),
            Field::Value(name) => check_name(name).map_err(&mut keep).ok(),
        },
        scopes: match &body.scopes {
            Field::Absent => None,
            Field::Null => scopes(&[]).map_err(&mut keep).ok(),
            Field::Value(names) => scopes(names).map_err(&mut keep).ok(),
        },
        expires_at: match &body.expires_at {
            Field::Absent => None,
            Field::Null if rules.limits.endless_keys => Some(None),
            Field::Null => {
                keep(expiry("keys expire here: name a time"));
                None
            }
            Field::Value(text) => expires_at(text, rules.now).map_err(&mut keep).ok().map(Some),
        },
        domains: match &body.domains {
            Field::Absent => None,
            Field::Null => Some(Vec::new()),
            Field::Value(domains) => check_domains(domains, rules).map_err(&mut keep).ok(),
        },
        addresses: match &body.addresses {
            Field::Absent => None,
            Field::Null => Some(Vec::new()),
            Field::Value(blocks) => check_addresses(blocks).map_err(&mut keep).ok(),
        },
        rate_per_minute: match body.rate_per_minute {
            Field::Absent => None,
            Field::Null => Some(None),
            Field::Value(rate) => check_rate(rate, rules.limits).map_err(&mut keep).ok().map(Some),
        },
    }
}

/// Scopes by their names, at least one.
pub(crate) fn scopes(names: &[String]) -> Result<Scopes, FieldError> {
    let error = |detail| FieldError::new("#/scopes", "scopes", detail);
    if names.is_empty() {
        return Err(error("name at least one scope".into()));
    }
    names.iter().try_fold(Scopes::NONE, |all, name| {
        let known = || Scope::ALL.map(Scope::as_str).join(", ");
        let scope = name.parse().map_err(|_| error(format!("scopes are of {}", known())))?;
        Ok(all.with(scope))
    })
}

fn expiry(detail: &str) -> FieldError {
    FieldError::new("#/expires_at", "expiry", detail.into())
}

fn expires_at(text: &str, now: UnixMillis) -> Result<UnixMillis, FieldError> {
    let time = check_time(text, "#/expires_at")?;
    if time <= now || time > now.saturating_add(LIFE_MAX) {
        return Err(expiry("a key expires at a time to come, at most 366 days ahead"));
    }
    Ok(time)
}

fn check_domains(domains: &[DomainId], rules: &KeyRules<'_>) -> Result<Vec<DomainId>, FieldError> {
    let error = |code, detail: String| Err(FieldError::new("#/domains", code, detail));
    if domains.len() > LIST_MAX {
        return error("too-many", format!("a key is for at most {LIST_MAX} domains"));
    }
    let may_use = |id: DomainId| {
        let domain = rules.domains.by_id(id);
        domain.is_some_and(|domain| domain.workspace.is_none_or(|owner| owner == rules.workspace))
    };
    if let Some(unknown) = domains.iter().find(|domain| !may_use(**domain)) {
        return error("unknown", format!("the workspace has no domain {unknown}"));
    }
    let mut domains = domains.to_vec();
    domains.sort_unstable();
    domains.dedup();
    Ok(domains)
}

fn check_addresses(blocks: &[String]) -> Result<Vec<AddressBlock>, FieldError> {
    let error = |detail| FieldError::new("#/addresses", "address-block", detail);
    if blocks.len() > LIST_MAX {
        return Err(error(format!("a key is for at most {LIST_MAX} blocks of addresses")));
    }
    let parse = |text: &String| AddressBlock::parse(text).map_err(|cause| error(cause.to_string()));
    blocks.iter().map(parse).collect()
}

fn check_rate(rate: u32, limits: &LimitsConfig) -> Result<NonZeroU32, FieldError> {
    let max = if limits.key_per_minute == 0 { RATE_MAX } else { limits.key_per_minute };
    NonZeroU32::new(rate).filter(|rate| rate.get() <= max).ok_or_else(|| {
        let detail = format!("a key answers 1 to {max} requests a minute");
        FieldError::new("#/rate_per_minute", "range", detail)
    })
}

/// What of a grant whoever hands it on does not have themselves.
pub(crate) fn check_within(grant: &Grant, maker: &Grant) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut error = |pointer: &str, detail: String| {
        errors.push(FieldError::new(pointer, "not-yours", detail));
    };
    if !grant.scopes.are_within(maker.scopes) {
        let missing = grant.scopes.iter().filter(|scope| !maker.scopes.has(*scope));
        let missing: Vec<_> = missing.map(Scope::as_str).collect();
        error("#/scopes", format!("you do not have {} yourself", missing.join(", ")));
    }
    if !is_part(&grant.domains, &maker.domains) {
        error("#/domains", "your own key is for fewer domains".into());
    }
    if !is_part(&grant.addresses, &maker.addresses) {
        error("#/addresses", "your own key is for fewer addresses; repeat its blocks".into());
    }
    if sooner(grant.expires_at, maker.expires_at) != grant.expires_at {
        error("#/expires_at", "your own key expires before that".into());
    }
    if let Some(own) = maker.rate_per_minute
        && grant.rate_per_minute.is_none_or(|rate| rate > own)
    {
        error("#/rate_per_minute", format!("your own key answers {own} requests a minute"));
    }
    errors
}

/// Whether a list, of which an empty one is everything, allows nothing that another does not.
fn is_part<T: PartialEq>(some: &[T], all: &[T]) -> bool {
    all.is_empty() || (!some.is_empty() && some.iter().all(|one| all.contains(one)))
}

/// The earlier of two ends; `None` is none.
pub(crate) fn sooner(a: Option<UnixMillis>, b: Option<UnixMillis>) -> Option<UnixMillis> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (end, None) | (None, end) => end,
    }
}

/// How long a key was made for.
pub(crate) fn lifetime(key: &KeyRow) -> Option<Duration> {
    let expires_at = key.grant.expires_at?;
    let ms = expires_at.get().saturating_sub(key.created_at.get());
    Some(Duration::from_millis(ms.try_into().unwrap_or(0)))
}

#[cfg(test)]
mod tests;
