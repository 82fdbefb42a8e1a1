//! The commands about API keys.

use carom_shared::ApiKeyId;
use clap::Subcommand;

use super::error::ProgramError;
use super::operator::Operator;
use super::output::{self, Align};
use crate::operator::{KeyCreated, KeyList, KeyRequest, KeyView, RotateRequest};

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key; it is shown once
    Create {
        /// What the key is for, as lists show it
        #[arg(long)]
        name: String,
        /// What it may do, such as links:read,links:write; everything without it
        #[arg(long, value_delimiter = ',', value_name = "SCOPE,...")]
        scopes: Option<Vec<String>>,
        /// How long it can be used, such as 90d or 12h; for ever without it
        #[arg(long, value_name = "TIME", value_parser = seconds_of)]
        expires: Option<u64>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the keys
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Replace a key by a new one, which is shown once
    Rotate {
        /// The key's id, from `key list`
        id: ApiKeyId,
        /// How long both can be used, at most 168 hours
        #[arg(long, value_name = "HOURS", default_value_t = 24)]
        overlap_hours: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key at once
    Revoke {
        /// The key's id, from `key list`
        id: ApiKeyId,
    },
}

impl KeyCommand {
    /// Whether a data folder that is not there is made: the first key makes an installation.
    #[must_use]
    pub const fn makes_folder(&self) -> bool {
        matches!(self, Self::Create { .. })
    }

    /// Does it and prints what came of it. `api` is where the key is used.
    ///
    /// # Errors
    /// [`ProgramError`], as the operator's surface has it.
    pub async fn run(&self, operator: &Operator, api: &str) -> Result<(), ProgramError> {
        match self {
            Self::Create { name, scopes, expires, json } => {
                let (name, scopes) = (name.clone(), scopes.clone());
                let body = KeyRequest { name, scopes, expires_in_s: *expires };
                let made: KeyCreated = operator.post("/v1/keys", &body).await?;
                if *json { output::json(&made) } else { print_created(&made, api) }
            }
            Self::List { json } => {
                let keys: KeyList = operator.get("/v1/keys").await?;
                if *json { output::json(&keys) } else { print_list(&keys) }
            }
            Self::Rotate { id, overlap_hours, json } => {
                let body = RotateRequest { overlap_hours: Some(*overlap_hours) };
                let path = format!("/v1/keys/{id}/rotate");
                let made: KeyCreated = operator.post(&path, &body).await?;
                if *json { output::json(&made) } else { print_created(&made, api) }
            }
            Self::Revoke { id } => {
                let key: KeyView = operator.delete(&format!("/v1/keys/{id}")).await?;
                output::line(&format!("Key {} ({}) is revoked.", key.id, key.name))
            }
        }
    }
}

/// Seconds of a time such as `90d`, `12h`, `30m` or `45s`.
fn seconds_of(text: &str) -> Result<u64, String> {
    let error = || "write a time as 90d, 12h, 30m or 45s, of at most 100 years".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.strip_prefix(digits) {
        Some("s") => 1,
        Some("m") => 60,
        Some("h") => 3600,
        Some("d") => 86_400,
        _ => return Err(error()),
    };
    let count: u64 = digits.parse().map_err(|_| error())?;
    let seconds = count.checked_mul(unit).filter(|&seconds| seconds <= 100 * 366 * 86_400);
    seconds.filter(|&seconds| seconds > 0).ok_or_else(error)
}

fn print_created(created: &KeyCreated, api: &str) -> Result<(), ProgramError> {
    let KeyCreated { key, view } = created;
    output::text(&format!(
        "{key}\n\n\
         This is key {} ({}). It is shown once: keep it where secrets are kept. To shorten a URL:\n  \
         curl -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\\n    \
         -d '{{\"url\": \"https://www.rust-lang.org/learn\"}}' {api}/shorten\n",
        view.id, view.name,
    ))
}

fn print_list(keys: &KeyList) -> Result<(), ProgramError> {
    if keys.data.is_empty() {
        return output::line("There are no keys. Make one with: key create --name NAME");
    }
    let rows = keys.data.iter().map(|key| {
        let time = |at: &Option<String>, none: &str| {
            at.as_deref().map_or(none.to_owned(), output::seconds)
        };
        let state = match (&key.revoked_at, key.replaced_by) {
            (Some(at), _) => format!("revoked {}", output::seconds(at)),
            (None, Some(by)) => format!("replaced by {by}"),
            (None, None) => "active".to_owned(),
        };
        [
            key.id.to_string(),
            format!("...{}", key.hint),
            output::seconds(&key.created_at),
            time(&key.expires_at, "never"),
            time(&key.last_used_at, "never"),
            state,
            key.scopes.join(","),
            key.name.clone(),
        ]
    });
    output::table(
        ["ID", "KEY", "CREATED", "EXPIRES", "LAST USED", "STATE", "SCOPES", "NAME"],
        [Align::Left; 8],
        rows,
    )
}

#[cfg(test)]
mod tests {
    use super::seconds_of;

    #[test]
    fn times_have_a_unit() {
        for (text, seconds) in [("90d", 7_776_000), ("12h", 43_200), ("30m", 1800), ("45s", 45)] {
            assert_eq!(seconds_of(text), Ok(seconds));
        }
        for text in ["", "d", "0d", "90", "1w", "-1d", "99999999999d", "1.5h", "9d9"] {
            assert!(seconds_of(text).is_err(), "{text}");
        }
    }
}
