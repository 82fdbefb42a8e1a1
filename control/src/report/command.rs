//! From what somebody sent to a report. Pure.

use carom_shared::{Code, Host};
use serde::Deserialize;
use utoipa::ToSchema;

use super::ReportReason;
use crate::domain::{Domain, Domains};
use crate::http::problem::FieldError;

/// Characters.
const COMMENT_MAX: usize = 2000;
const CONTACT_MAX: usize = 200;

/// A report, as somebody writes it, in JSON or in a form.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewReport)]
pub(crate) struct ReportBody {
    /// The short URL, with or without `https://`.
    #[schema(max_length = 400)]
    pub(crate) short_url: String,
    /// What is wrong with it.
    #[schema(schema_with = crate::openapi::schema::report_reason)]
    pub(crate) reason: String,
    #[serde(default)]
    #[schema(max_length = 2000)]
    pub(crate) comment: Option<String>,
    /// By what you can be reached, if you like; for the operator alone.
    #[serde(default)]
    #[schema(max_length = 200)]
    pub(crate) contact: Option<String>,
}

/// A report, checked; whether its link exists is the store's to say.
#[derive(Clone, Debug)]
pub(crate) struct NewReport<'d> {
    pub(crate) domain: &'d Domain,
    pub(crate) code: Code,
    pub(crate) reason: ReportReason,
    pub(crate) comment: String,
    pub(crate) contact: String,
}

/// Checks every field.
pub(crate) fn check<'d>(
    body: &ReportBody,
    domains: &'d Domains,
) -> Result<NewReport<'d>, Vec<FieldError>> {
    let mut errors = Vec::new();
    let place = place(&body.short_url, domains);
    if place.is_none() {
        errors.push(no_link());
    }
    let reason = ReportReason::ALL.into_iter().find(|reason| reason.as_str() == body.reason);
    if reason.is_none() {
        let words = ReportReason::ALL.map(ReportReason::as_str).join(", ");
        let detail = format!("a reason is one of {words}");
        errors.push(FieldError::new("#/reason", "report-reason", detail));
    }
    let mut text = |text: &Option<String>, max, pointer: &str| {
        let text = text.as_deref().unwrap_or_default().trim();
        let is_control = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
        if text.chars().count() > max || text.contains(is_control) {
            let detail = format!("at most {max} characters, none of them control characters");
            errors.push(FieldError::new(pointer, "text", detail));
        }
        text.to_owned()
    };
    let comment = text(&body.comment, COMMENT_MAX, "#/comment");
    let contact = text(&body.contact, CONTACT_MAX, "#/contact");
    let (Some((domain, code)), Some(reason), []) = (place, reason, &*errors) else {
        return Err(errors);
    };
    Ok(NewReport { domain, code, reason, comment, contact })
}

/// What is reported does not exist here.
pub(crate) fn no_link() -> FieldError {
    let detail = "this is not a short link of this service that leads anywhere; write it as it was \
                  sent to you, such as https://go.example.com/abc";
    FieldError::new("#/short_url", "link-unknown", detail.into())
}

/// The domain and the code of a short URL; a query, a fragment and the `+` of a preview are dropped.
pub(crate) fn place<'d>(short_url: &str, domains: &'d Domains) -> Option<(&'d Domain, Code)> {
    let address = short_url.trim();
    let address = address.split_once("://").map_or(address, |(_, address)| address);
    let (host, path) = address.split_once('/')?;
    let host = Host::parse(host).ok()?;
    // A default domain on this machine answers to all names of it.
    let local = domains.default_domain().filter(|it| it.host.is_loopback() && host.is_loopback());
    let domain = domains.serving(&host).or(local)?;
    let code = path.split(['?', '#']).next()?.trim_end_matches('+');
    let code = Code::parse(code).ok()?;
    Some((domain, if domain.folds_case { code.folded() } else { code }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Origin;

    #[test]
    fn a_short_url_is_read_as_people_write_it() {
        let domains = Domains::new(
            vec![
                Domain::verified(1, "localhost", None),
                Domain { folds_case: true, ..Domain::verified(2, "go.example", Some(7)) },
            ],
            Origin::parse("public_url", "http://localhost:8080").unwrap(),
        );
        for (url, found) in [
            ("http://localhost:8080/aB", Some((1, "aB"))),
            ("127.0.0.1:8080/aB?via=qr", Some((1, "aB"))),
            (" https://GO.example/aB+ ", Some((2, "ab"))),
            ("go.example/aB#x", Some((2, "ab"))),
            ("go.example", None),
            ("go.example/", None),
            ("go.example/a/b", None),
            ("other.example/aB", None),
            ("https://evil.example/go.example/aB", None),
            ("", None),
        ] {
            let place = place(url, &domains);
            let place = place.as_ref().map(|(domain, code)| (domain.id.get(), code.as_str()));
            assert_eq!(place, found, "{url}");
        }
    }
}
