//! The commands about API keys.

use carom_shared::ApiKeyId;
use clap::Subcommand;

use super::error::ProgramError;
use super::operator::Operator;
use super::output::{self, Align};
use crate::operator::{KeyCreated, KeyList, KeyRequest, KeyView};

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key; it is shown once
    Create {
        /// What the key is for, as lists show it
        #[arg(long)]
        name: String,
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
            Self::Create { name, json } => {
                let body = KeyRequest { name: name.clone() };
                let made: KeyCreated = operator.post("/v1/keys", &body).await?;
                if *json { output::json(&made) } else { print_created(&made, api) }
            }
            Self::List { json } => {
                let keys: KeyList = operator.get("/v1/keys").await?;
                if *json { output::json(&keys) } else { print_list(&keys) }
            }
            Self::Revoke { id } => {
                let key: KeyView = operator.delete(&format!("/v1/keys/{id}")).await?;
                output::line(&format!("Key {} ({}) is revoked.", key.id, key.name))
            }
        }
    }
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
        let state = key
            .revoked_at
            .as_deref()
            .map_or("active".to_owned(), |at| format!("revoked {}", output::seconds(at)));
        [
            key.id.to_string(),
            format!("...{}", key.hint),
            output::seconds(&key.created_at),
            state,
            key.name.clone(),
        ]
    });
    output::table(["ID", "KEY", "CREATED", "STATE", "NAME"], [Align::Left; 5], rows)
}
