//! From what a client sent to a domain that can be added or changed. Pure.

use std::net::IpAddr;

use carom_shared::{Host, TargetUrl, UnixMillis, WorkspaceId};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Domain, WaysOut};
use crate::blocklist::Policy;
use crate::http::problem::FieldError;
use crate::link::command::Field;

/// A domain to be added or changed, as a client writes it.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DomainBody {
    /// The host, without a port.
    #[schema(value_type = String, min_length = 3, max_length = 253)]
    #[serde(default)]
    pub(crate) host: Field<String>,
    /// Where `/` leads; a page that says nothing is there if it is left out.
    #[schema(value_type = Option<String>, format = "uri", max_length = 8192)]
    #[serde(default)]
    pub(crate) home_url: Field<String>,
    /// Where codes lead that do not exist; a page that says so if it is left out.
    #[schema(value_type = Option<String>, format = "uri", max_length = 8192)]
    #[serde(default)]
    pub(crate) not_found_url: Field<String>,
    /// Where links lead that have ended, are disabled or deleted.
    #[schema(value_type = Option<String>, format = "uri", max_length = 8192)]
    #[serde(default)]
    pub(crate) expired_url: Field<String>,
    /// Codes are in lower case, and visitors may write them in any. It cannot be changed later.
    #[schema(value_type = Option<bool>)]
    #[serde(default)]
    pub(crate) folds_case: Field<bool>,
}

/// A domain to be added, checked.
#[derive(Clone, Debug)]
pub(crate) struct NewDomain {
    pub(crate) workspace: WorkspaceId,
    pub(crate) host: Host,
    pub(crate) ways_out: WaysOut,
    pub(crate) folds_case: bool,
}

/// What is changed of a domain, checked. `None` leaves it as it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct DomainChange {
    home: Option<Option<String>>,
    not_found: Option<Option<String>>,
    expired: Option<Option<String>>,
}

/// Checks every field. `own` are hosts of the installation that no workspace can have.
pub(crate) fn check_new(
    body: &DomainBody,
    workspace: WorkspaceId,
    own: &[&Host],
    policy: &Policy,
) -> Result<NewDomain, Vec<FieldError>> {
    let mut errors = Vec::new();
    let host = check_host(&body.host, own, policy).map_err(|error| errors.push(error)).ok();
    let change = check_ways_out(body, policy, &mut errors);
    let (Some(host), []) = (host, &*errors) else { return Err(errors) };
    let mut ways_out = WaysOut::default();
    change.apply_to(&mut ways_out);
    let folds_case = matches!(body.folds_case, Field::Value(true));
    Ok(NewDomain { workspace, host, ways_out, folds_case })
}

/// Checks every field of a change.
pub(crate) fn check_change(
    body: &DomainBody,
    policy: &Policy,
) -> Result<DomainChange, Vec<FieldError>> {
    let mut errors = Vec::new();
    let fixed = [
        (matches!(body.host, Field::Absent), "#/host"),
        (matches!(body.folds_case, Field::Absent), "#/folds_case"),
    ];
    for (_, pointer) in fixed.into_iter().filter(|(is_absent, _)| !is_absent) {
        let detail = "this stays as it was when the domain was added; add another domain instead";
        errors.push(FieldError::new(pointer, "immutable", detail.into()));
    }
    let change = check_ways_out(body, policy, &mut errors);
    if errors.is_empty() { Ok(change) } else { Err(errors) }
}

fn check_host(host: &Field<String>, own: &[&Host], policy: &Policy) -> Result<Host, FieldError> {
    let error = |code: &str, detail: &str| FieldError::new("#/host", code, detail.into());
    let Field::Value(text) = host else {
        return Err(error("required", "say which host it is"));
    };
    let malformed =
        || error("host-malformed", "write a host name such as go.example.com, with no port");
    let text = text.trim();
    if text.contains(':') {
        return Err(malformed());
    }
    let host = Host::parse(text).map_err(|_| malformed())?;
    let name = host.as_str();
    let is_label = |label: &str| {
        let fits = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        fits && !label.starts_with('-') && !label.ends_with('-')
    };
    if name.parse::<IpAddr>().is_ok() || !name.split('.').all(is_label) {
        return Err(malformed());
    }
    if own.contains(&&host) {
        return Err(error("host-own", "this host is the installation's own; name another"));
    }
    // What no link may lead to no links can be on: private names, names without a dot, forgeries.
    match policy.check(&format!("https://{name}/"), "#/host") {
        Ok(_) => Ok(host),
        // Somebody has it. Who can show that it is theirs finds out when they verify it.
        Err(refused) if refused.code == "target-own-host" => Ok(host),
        Err(refused) => Err(refused),
    }
}

fn check_ways_out(
    body: &DomainBody,
    policy: &Policy,
    errors: &mut Vec<FieldError>,
) -> DomainChange {
    let mut read = |field: &Field<String>, pointer: &str| match field {
        Field::Absent => None,
        Field::Null => Some(None),
        Field::Value(url) => {
            let url = policy.check(url, pointer).map_err(|error| errors.push(error)).ok()?;
            Some(Some(TargetUrl::as_str(&url).to_owned()))
        }
    };
    DomainChange {
        home: read(&body.home_url, "#/home_url"),
        not_found: read(&body.not_found_url, "#/not_found_url"),
        expired: read(&body.expired_url, "#/expired_url"),
    }
}

impl DomainChange {
    pub(crate) fn apply_to(&self, ways_out: &mut WaysOut) {
        let places = [
            (&mut ways_out.home, &self.home),
            (&mut ways_out.not_found, &self.not_found),
            (&mut ways_out.expired, &self.expired),
        ];
        for (place, value) in places {
            if let Some(value) = value {
                place.clone_from(value);
            }
        }
    }
}

/// What looking for its record comes to. Pure.
pub(crate) fn note_check(domain: &mut Domain, is_found: bool, now: UnixMillis) {
    domain.checked_at = Some(now);
    domain.missing_since = match is_found {
        true => None,
        false => domain.missing_since.or(Some(now)),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use carom_shared::TargetPolicy;

    #[test]
    fn which_hosts_can_be_added() {
        let default = Host::parse("go.example").unwrap();
        let taken = Host::parse("taken.example").unwrap();
        let policy = Policy::from(TargetPolicy {
            own_hosts: [default.clone(), taken].into_iter().collect(),
            ..TargetPolicy::default()
        });
        let check = |host: &str| {
            let body = DomainBody { host: Field::Value(host.into()), ..DomainBody::default() };
            let id = WorkspaceId::try_from(1).unwrap();
            match check_new(&body, id, &[&default], &policy) {
                Ok(new) => new.host.to_string(),
                Err(errors) => errors[0].code.clone(),
            }
        };
        for (host, verdict) in [
            ("Links.Shop.Example.", "links.shop.example"),
            ("b\u{fc}cher.example", "xn--bcher-kva.example"),
            ("taken.example", "taken.example"),
            ("go.example", "host-own"),
            ("g\u{43e}.example", "target-mixed-scripts"),
            ("com", "target-single-label-host"),
            ("localhost", "target-private-host"),
            ("printer.local", "target-private-host"),
            ("192.0.2.1", "host-malformed"),
            ("8.8.8.8", "host-malformed"),
            ("0x8080808", "host-malformed"),
            ("[::1]", "host-malformed"),
            ("*.example.com", "host-malformed"),
            ("a_b.example.com", "host-malformed"),
            ("-a.example.com", "host-malformed"),
            ("a.example.com:443", "host-malformed"),
            ("https://a.example.com", "host-malformed"),
            ("", "host-malformed"),
        ] {
            assert_eq!(check(host), verdict, "{host}");
        }
    }

    #[test]
    fn a_missing_record_is_missing_since_the_first_time() {
        let mut domain = Domain::verified(2, "a.example", Some(1));
        let at = UnixMillis::new;
        for (time, is_found, since) in
            [(1, true, None), (2, false, Some(2)), (3, false, Some(2)), (4, true, None)]
        {
            note_check(&mut domain, is_found, at(time));
            assert_eq!((domain.checked_at, domain.missing_since), (Some(at(time)), since.map(at)));
        }
    }
}
