//! From the cells of a row, in whatever file, to a link.

use carom_control::FieldError;
use carom_control::operator::{LinkRecord, QueryRecord};
use jiff::civil::DateTime;
use jiff::{Timestamp, tz::TimeZone};
use serde_json::Value;

use super::origin::Field;
use crate::csv::{TAGS, read_forward, read_tags, unguarded};

/// Seconds since 1970 have fewer digits than this, milliseconds have more.
const SECONDS_MAX: i64 = 100_000_000_000;

/// A value of a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Text(String),
    List(Vec<String>),
    Object(Value),
}

/// What was read of a row, and what cannot be.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) link: LinkRecord,
    pub(super) errors: Vec<FieldError>,
    /// A short URL, where the code and the domain do not stand by themselves.
    short_url: Option<String>,
    /// The address somebody chose for it, which goes before the one it was given.
    chosen_url: Option<String>,
}

impl Cell {
    /// A cell of CSV; `None` if it is empty.
    pub(super) fn of_csv(cell: &str) -> Option<Self> {
        let cell = unguarded(cell);
        (!cell.is_empty()).then(|| Self::Text(cell.to_owned()))
    }

    /// A member of a JSON object; `None` if there is nothing.
    pub(super) fn of_json(value: Value) -> Option<Self> {
        Some(match value {
            Value::Null => return None,
            Value::String(text) if text.is_empty() => return None,
            Value::String(text) => Self::Text(text),
            Value::Bool(is) => Self::Text(is.to_string()),
            Value::Number(number) => Self::Text(number.to_string()),
            Value::Array(values) => Self::List(values.into_iter().map(name).collect()),
            object @ Value::Object(_) => Self::Object(object),
        })
    }

    pub(super) fn text(self) -> Result<String, &'static str> {
        match self {
            Self::Text(text) => Ok(text),
            Self::List(_) | Self::Object(_) => Err("is a list or an object; write one value"),
        }
    }
}

/// What stands in a list: texts, or things with a name, as tags are in some exports.
fn name(value: Value) -> String {
    match value {
        Value::String(text) => text,
        Value::Object(mut members) => match members.remove("name") {
            Some(Value::String(name)) => name,
            _ => Value::Object(members).to_string(),
        },
        other => other.to_string(),
    }
}

impl Reading {
    /// Takes over a cell. `column` is its name in the file.
    pub(super) fn take(&mut self, field: Field, column: &str, cell: Cell) {
        if let Err(reason) = self.try_take(field, cell) {
            self.refuse(column, "malformed", reason);
        }
    }

    pub(super) fn refuse(&mut self, column: &str, code: &str, reason: &str) {
        self.errors.push(FieldError {
            pointer: column.to_owned(),
            code: code.to_owned(),
            detail: reason.to_owned(),
        });
    }

    fn try_take(&mut self, field: Field, cell: Cell) -> Result<(), &'static str> {
        let link = &mut self.link;
        match field {
            Field::Code => link.code = Some(cell.text()?),
            Field::Path => link.code = Some(cell.text()?.trim_matches('/').to_owned()),
            Field::ShortUrl => self.short_url = Some(cell.text()?),
            Field::ChosenUrls => {
                if let Cell::List(urls) = cell {
                    self.chosen_url = urls.into_iter().next();
                }
            }
            Field::Url => link.url = Some(cell.text()?),
            Field::Domain => {
                link.domain =
                    Some(cell.text()?).filter(|host| !host.eq_ignore_ascii_case("default"));
            }
            Field::Title => link.title = Some(cell.text()?),
            Field::Notes => link.notes = Some(cell.text()?),
            Field::Tags => link.tags = own_tags(cell)?,
            Field::TagList => link.tags = tag_list(cell)?,
            Field::RedirectStatus => link.redirect_status = Some(number(&cell.text()?)?),
            Field::MaxAge => link.max_age = Some(number(&cell.text()?)?),
            Field::State => link.state = Some(cell.text()?),
            Field::Archived => link.archived = Some(truth(&cell.text()?)?),
            Field::Banned => {
                if truth(&cell.text()?)? {
                    link.state = Some("blocked".into());
                }
            }
            Field::Password => {
                // Some write whether there is one, others a hash of it.
                if truth(&cell.text()?).unwrap_or(true) {
                    return Err(
                        "the link asks for a password, which Carom cannot: it would be open",
                    );
                }
            }
            Field::NotBefore => link.not_before = time(cell.text()?),
            Field::ExpiresAt => link.expires_at = time(cell.text()?),
            Field::FallbackUrl => link.fallback_url = Some(cell.text()?),
            Field::Forward => self.query().forward = Some(read_forward(&cell.text()?)),
            Field::Prefer => self.query().prefer = Some(cell.text()?),
            Field::Query => {
                let Cell::Object(query) = cell else { return Err("is no object") };
                let query = serde_json::from_value(query);
                link.query = Some(query.map_err(|_| "is not the query of a link")?);
            }
            Field::CreatedAt => link.created_at = time(cell.text()?),
            Field::DeletedAt => link.deleted_at = time(cell.text()?),
            Field::Clicks => {
                let clicks: u64 = number(&cell.text()?)?;
                link.clicks = Some(link.clicks.unwrap_or_default().saturating_add(clicks));
            }
            Field::Id => link.id = Some(cell.text()?),
            Field::Known | Field::Lost => {}
        }
        Ok(())
    }

    fn query(&mut self) -> &mut QueryRecord {
        self.link.query.get_or_insert_default()
    }

    /// Puts together what came apart. A link with errors is as much of it as could be read.
    pub(super) fn finish(mut self) -> (LinkRecord, Vec<FieldError>) {
        if self.link.code.is_none()
            && let Some(url) = self.chosen_url.take().or(self.short_url.take())
        {
            let address = url.split_once("://").map_or(&*url, |(_, address)| address);
            let (host, code) = address.split_once('/').unwrap_or((address, ""));
            self.link.code = Some(code.to_owned());
            if self.link.domain.is_none() {
                self.link.domain = Some(host.to_owned());
            }
        }
        (self.link, self.errors)
    }
}

fn own_tags(cell: Cell) -> Result<Vec<String>, &'static str> {
    if let Cell::List(tags) = cell { Ok(tags) } else { Ok(read_tags(&cell.text()?)) }
}

/// Tags as others write them, with one of two separators between them.
fn tag_list(cell: Cell) -> Result<Vec<String>, &'static str> {
    if let Cell::List(tags) = cell {
        return Ok(tags);
    }
    let text = cell.text()?;
    let tags = text.split([TAGS, ',']).map(str::trim).filter(|tag| !tag.is_empty());
    Ok(tags.map(str::to_owned).collect())
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, &'static str> {
    text.trim().parse().map_err(|_| "is not a whole number, or too large a one")
}

fn truth(text: &str) -> Result<bool, &'static str> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "1" => Ok(true),
        "false" | "no" | "0" | "" => Ok(false),
        _ => Err("is neither true nor false"),
    }
}

/// A time as the API takes it. Without a zone it is one of UTC; 0 seconds since 1970 is how some
/// write none. What cannot be read is handed on as it is: the API says what is wrong with it.
fn time(text: String) -> Option<String> {
    let trimmed = text.trim();
    if trimmed == "0" {
        return None;
    }
    let time = match trimmed.parse::<i64>() {
        Ok(number) if number.abs() < SECONDS_MAX => Timestamp::from_second(number).ok(),
        Ok(number) => Timestamp::from_millisecond(number).ok(),
        Err(_) => trimmed.parse().ok().or_else(|| {
            let civil: DateTime = trimmed.trim_end_matches("UTC").trim_end().parse().ok()?;
            Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
        }),
    };
    Some(time.map_or(text, |time| time.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_all_kinds_become_one() {
        for (text, expected) in [
            ("2026-01-02T03:04:05Z", Some("2026-01-02T03:04:05Z")),
            ("2026-01-02T03:04:05.678+01:00", Some("2026-01-02T02:04:05.678Z")),
            ("2026-01-02T03:04:05+0000", Some("2026-01-02T03:04:05Z")),
            ("2026-01-02 03:04:05", Some("2026-01-02T03:04:05Z")),
            ("2026-01-02 03:04:05 UTC", Some("2026-01-02T03:04:05Z")),
            ("2026-01-02", Some("2026-01-02T00:00:00Z")),
            ("1767322800", Some("2026-01-02T03:00:00Z")),
            ("1767322800123", Some("2026-01-02T03:00:00.123Z")),
            ("0", None),
            ("01/02/2026", Some("01/02/2026")),
        ] {
            assert_eq!(time(text.to_owned()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_password_is_never_dropped() {
        for (cell, is_refused) in
            [("true", true), ("$2b$10$abc", true), ("false", false), ("0", false)]
        {
            let mut reading = Reading::default();
            reading.take(Field::Password, "password", Cell::Text(cell.into()));
            assert_eq!(!reading.finish().1.is_empty(), is_refused, "{cell}");
        }
    }
}
