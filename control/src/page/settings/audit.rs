//! The audit log, as people read it.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use carom_shared::{AccountId, ApiKeyId, AuditId, UnixMillis};
use http::Uri;
use serde::Deserialize;
use serde_json::Value;
use url::form_urlencoded::Serializer;

use super::people::People;
use super::{Frame, Part, open};
use crate::apikey::KeyRow;
use crate::apikey::store::key_list;
use crate::app::App;
use crate::audit::api::page;
use crate::audit::list::{AuditParams, check_audit};
use crate::audit::store::{AuditRow, audit_list};
use crate::click::report::params::Format;
use crate::click::report::time::{Span, Zone};
use crate::http::extract::Params;
use crate::http::problem::ApiError;
use crate::page::message::filters;
use crate::page::message::phrase::{Phrase, phrase};
use crate::page::respond::{Page, PageError};
use crate::page::shell::{Shell, Viewer};
use crate::page::text::time;

/// Entries of the CSV file: as many as the API gives at once.
const CSV_MAX: u32 = 1000;
/// Characters of a detail that are shown; the API and the file have all of it.
const DETAIL_MAX: usize = 200;
/// What is offered while somebody types; the log may have more.
const ACTIONS: &[&str] = &[
    "link.create", "link.change", "link.delete", "link.restore", "link.import", "link.block",
    "link.unblock", "key.create", "key.update", "key.rotate", "key.revoke", "domain.add",
    "domain.change", "domain.verify", "domain.release", "member.change", "member.remove",
    "member.leave", "invitation.create", "invitation.accept", "invitation.withdraw",
    "share.create", "share.revoke", "report.take", "report.close", "workspace.rename",
    "workspace.transfer", "workspace.disable", "workspace.enable",
];

/// What of the address is the page's. An empty field of a form is one that was not filled in.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct View {
    /// `account:ID` or `key:ID`.
    #[serde(default)]
    who: String,
    #[serde(default)]
    action: String,
    #[serde(default)]
    object: String,
    /// Dates in the viewer's zone, both included.
    #[serde(default)]
    from: String,
    #[serde(default)]
    to: String,
    #[serde(default)]
    cursor: String,
}

impl View {
    fn params(&self, zone: &Zone, now: UnixMillis) -> Result<AuditParams, ApiError> {
        let filled = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let id = |noun: &str| self.who.strip_prefix(noun);
        let (account, key) = (id("account:"), id("key:"));
        if !self.who.is_empty() && account.is_none() && key.is_none() {
            return Err(unknown_who());
        }
        let account: Option<AccountId> =
            account.map(str::parse).transpose().map_err(|_| unknown_who())?;
        let key: Option<ApiKeyId> = key.map(str::parse).transpose().map_err(|_| unknown_who())?;
        // Each end by itself: a range has both.
        let span = |from: &str, to: &str| Span::parse(Some(from), Some(to), zone, now);
        let from = filled(&self.from).map(|from| span(&from, FAR)).transpose()?;
        let to = filled(&self.to).map(|to| span(LONG_AGO, &to)).transpose()?;
        Ok(AuditParams {
            limit: None,
            cursor: filled(&self.cursor),
            action: filled(self.action.trim()),
            object: filled(&self.object),
            account_id: account,
            key_id: key,
            from: from.map(|span| zone.rfc3339(span.from_s)),
            to: to.map(|span| zone.rfc3339(span.to_s)),
            format: Format::Json,
        })
    }

    /// The address of a page with these filters.
    fn address(&self, path: &str, object: &str, cursor: &str) -> String {
        let mut query = Serializer::new(format!("{path}?"));
        let all = [
            ("who", self.who.as_str()),
            ("action", self.action.as_str()),
            ("object", object),
            ("from", self.from.as_str()),
            ("to", self.to.as_str()),
            ("cursor", cursor),
        ];
        query.extend_pairs(all.into_iter().filter(|(_, value)| !value.is_empty()));
        query.finish()
    }

    fn is_filtered(&self) -> bool {
        [&self.who, &self.action, &self.object, &self.from, &self.to]
            .iter()
            .any(|it| !it.is_empty())
    }
}

const LONG_AGO: &str = "1970-01-02";
const FAR: &str = "2100-01-01";

fn unknown_who() -> ApiError {
    ApiError::Request("who is account: or key: and an id".into())
}

struct Row {
    at: String,
    who: Phrase,
    action: String,
    object: String,
    /// Where the object is shown.
    href: Option<String>,
    /// The log of this object alone.
    only: String,
    address: String,
    detail: Vec<(String, String)>,
}

impl Row {
    fn new(row: AuditRow, people: &People, keys: &[KeyRow]) -> Self {
        let detail = serde_json::from_str(&row.detail).unwrap_or_default();
        Self {
            at: time(UnixMillis::new(row.at_ms)),
            who: who(&row, people, keys),
            href: row.object.strip_prefix("link:").map(|id| format!("/links/{id}")),
            only: View::default().address(Part::Audit.path(), &row.object, ""),
            detail: words(&detail),
            action: row.action,
            object: row.object,
            address: row.address,
        }
    }
}

fn who(row: &AuditRow, people: &People, keys: &[KeyRow]) -> Phrase {
    let account = row.account_id.and_then(|id| AccountId::try_from(id).ok());
    let person = match row.account_id {
        Some(_) => Some(people.maker(account)),
        None if row.key_id.is_some() => None,
        // The public: who reports is no business of the workspace.
        None if row.action == "report.take" => Some(phrase("the public")),
        None => Some(phrase("the operator, or Carom itself")),
    };
    let key = row.key_id.map(|id| {
        let known = keys.iter().find(|key| key.id.get() == id);
        phrase("key {name}").put("name", known.map_or_else(|| id.to_string(), |it| it.name.clone()))
    });
    match (person, key) {
        (Some(person), Some(key)) => {
            phrase("{person}, with {key}").put("person", person).put("key", key)
        }
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => Phrase::data(String::new()),
    }
}

/// What is worth knowing of an entry, in words. Pure.
fn words(detail: &Value) -> Vec<(String, String)> {
    let Value::Object(members) = detail else { return Vec::new() };
    members.iter().map(|(name, value)| (name.replace('_', " "), word(value))).collect()
}

fn word(value: &Value) -> String {
    let text = match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(all) => all.iter().map(word).collect::<Vec<_>>().join(", "),
        Value::Object(members) => match (members.get("from"), members.get("to")) {
            (Some(from), Some(to)) => format!("{} → {}", word(from), word(to)),
            _ => value.to_string(),
        },
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    };
    match text.char_indices().nth(DETAIL_MAX).and_then(|(end, _)| text.get(..end)) {
        Some(begin) => format!("{begin}…"),
        None => text,
    }
}

/// Somebody, or a key, whose changes can be asked for.
struct Choice {
    id: String,
    label: Phrase,
    is_chosen: bool,
}

fn choices(people: &People, keys: &[KeyRow], chosen: &str) -> Vec<Choice> {
    let choice = |id: String, label: Phrase| Choice { is_chosen: id == chosen, id, label };
    let person = |(id, name): &(AccountId, Phrase)| choice(format!("account:{id}"), name.clone());
    let key = |key: &KeyRow| {
        let label = phrase("Key {name}").put("name", key.name.clone());
        choice(format!("key:{}", key.id), label)
    };
    let mut all: Vec<_> = people.all.iter().map(person).chain(keys.iter().map(key)).collect();
    if !chosen.is_empty() && !all.iter().any(|it| it.is_chosen) {
        // Somebody who has left, or a key that was revoked.
        all.push(choice(chosen.to_owned(), Phrase::data(chosen.replace(':', " "))));
    }
    all
}

#[derive(Template)]
#[template(path = "settings/audit.html")]
struct Audit {
    shell: Shell,
    frame: Frame,
    rows: Vec<Row>,
    people: Vec<Choice>,
    actions: &'static [&'static str],
    action: String,
    object: String,
    from: String,
    to: String,
    is_filtered: bool,
    without_object: String,
    csv: String,
    first: Option<String>,
    next: Option<String>,
}

pub(super) async fn list(
    State(app): State<App>,
    viewer: Viewer,
    Params(view): Params<View>,
) -> Result<Response, PageError> {
    let (shell, frame) = open(&app, &viewer, Part::Audit)?;
    let workspace = Some(viewer.caller.workspace);
    let params = view.params(&viewer.zone, app.now())?;
    let query = check_audit(&params, workspace, app.cursor_key())?;
    let mut entries = audit_list(app.read(), &query, query.limit + 1).await?;
    let has_more = entries.len() > query.limit as usize;
    entries.truncate(query.limit as usize);
    let last = entries.last().filter(|_| has_more).and_then(|row| AuditId::try_from(row.id).ok());
    let cursor = last.map(|last| query.cursor_after(last, app.cursor_key()));
    let people = People::of(&app, &viewer.caller).await?;
    let keys = key_list(app.read(), workspace).await?;
    let (path, object) = (Part::Audit.path(), view.object.as_str());
    let page = Audit {
        shell,
        frame,
        rows: entries.into_iter().map(|row| Row::new(row, &people, &keys)).collect(),
        people: choices(&people, &keys, &view.who),
        actions: ACTIONS,
        is_filtered: view.is_filtered(),
        without_object: view.address(path, "", ""),
        csv: view.address("/settings/audit.csv", object, ""),
        first: (!view.cursor.is_empty()).then(|| view.address(path, object, "")),
        next: cursor.map(|cursor| view.address(path, object, &cursor)),
        action: view.action,
        object: view.object,
        from: view.from,
        to: view.to,
    };
    Ok(Page::of(&page).respond(&viewer.headers))
}

/// The newest of what the page shows, as a file. Its own address, because the API's knows the
/// workspace by a header, which no link can send.
pub(super) async fn csv(
    State(app): State<App>,
    viewer: Viewer,
    uri: Uri,
    Params(view): Params<View>,
) -> Result<Response, PageError> {
    open(&app, &viewer, Part::Audit)?;
    let params = view.params(&viewer.zone, app.now())?;
    let params = AuditParams { limit: Some(CSV_MAX), format: Format::Csv, ..params };
    Ok(page(&app, Some(viewer.caller.workspace), &uri, &params).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn details_are_words() {
        let detail = json!({
            "changed": ["url", "title"], "url": {"from": "a", "to": null}, "links_left": 3,
            "long": "é".repeat(300),
        });
        let words = words(&detail);
        let find = |name: &str| words.iter().find(|(it, _)| it == name).unwrap().1.clone();
        assert_eq!(find("changed"), "url, title");
        assert_eq!(find("url"), "a → nothing");
        assert_eq!(find("links left"), "3");
        assert_eq!(find("long").chars().count(), 201);
        assert_eq!(super::words(&json!([1])), []);
    }

    #[test]
    fn a_view_asks_for_whole_days_of_the_viewers_zone() {
        let zone = Zone::parse("America/New_York").unwrap();
        let now = UnixMillis::new(1_767_225_600_000);
        let view = View {
            who: "key:7".into(),
            from: "2026-01-02".into(),
            to: "2026-01-02".into(),
            ..View::default()
        };
        let params = view.params(&zone, now).unwrap();
        assert_eq!(params.from.as_deref(), Some("2026-01-02T00:00:00-05:00"));
        assert_eq!(params.to.as_deref(), Some("2026-01-03T00:00:00-05:00"));
        assert_eq!((params.account_id, params.key_id), (None, Some(7.try_into().unwrap())));
        for bad in ["7", "account:x", "operator"] {
            let view = View { who: bad.into(), ..View::default() };
            assert!(view.params(&zone, now).is_err(), "{bad}");
        }
    }
}
