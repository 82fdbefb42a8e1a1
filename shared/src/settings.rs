//! Settings in layers: defaults < file < environment < flags. Text in, one typed value out; this
//! module opens no file and reads no environment.
//!
//! ```text
//! layer         writes edge.listen as
//! defaults      T::default()
//! file          [edge] listen = "..."     TOML
//! environment   CAROM_EDGE__LISTEN        CAROM_ + path, two underscores between levels
//! flags         edge.listen               whatever the command line makes of it
//! ```
//!
//! - `DATABASE_URL`, `REDIS_URL`, `CLICKHOUSE_URL` and `OTEL_EXPORTER_OTLP_ENDPOINT` are other names
//!   of `database.url`, `redis.url`, `clicks.url` and `otel.endpoint`. Many programs share them, so one without a use here is ignored,
//!   and a `CAROM_` name wins over it.
//! - A secret also takes the name with `_FILE` behind it: the value is in the file that it names,
//!   and a line end at its end is dropped.
//! - An empty variable counts as not set: that is how compose files pass what they do not have.
//! - Any other `CAROM_` variable stops the start. The variables that Kubernetes makes for a service
//!   named `carom...` (`CAROM_EDGE_PORT_8080_TCP_ADDR`) are no settings and are let through.
//!
//! The settings that exist, and their groups, are the fields of `T`'s structs. `T` must not use
//! serde's `flatten` or `untagged`: both hide which setting an error is about.

mod schema;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use schema::Schema;

const PREFIX: &str = "CAROM_";
const FILE_SUFFIX: &str = "_FILE";
const ALIASES: [(&str, &str); 4] = [
    ("DATABASE_URL", "database.url"),
    ("REDIS_URL", "redis.url"),
    ("CLICKHOUSE_URL", "clicks.url"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "otel.endpoint"),
];

/// The layers above the defaults, added from the lowest to the highest. Not `Debug`, nor is what
/// it is made of: it holds secrets.
pub struct Layers<'a> {
    secrets: &'a [&'a str],
    entries: Vec<Entry>,
}

struct Entry {
    path: String,
    value: Value,
    origin: Origin,
    /// Whether the value is text that stands for a value of a type that only `T` knows.
    is_text: bool,
    /// Whether a program that has no such setting may pass over it.
    is_alias: bool,
}

/// Where a setting's value comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    #[default]
    Default,
    /// A settings file of this name.
    File(String),
    /// An environment variable of this name.
    Environment(String),
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(name) => write!(f, "file {name}"),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag => f.write_str("flag"),
        }
    }
}

/// What is wrong with a setting, and where. Never holds a secret's value.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("setting {setting} ({origin}): {message}")]
    Value { setting: String, origin: Origin, message: String },
    #[error("setting {setting} ({origin}) does not exist; the nearest name is {nearest}")]
    Unknown { setting: String, origin: Origin, nearest: String },
    #[error("settings file {file}, line {line}: {message}")]
    Syntax { file: String, line: usize, message: String },
    #[error("setting {setting} (environment variable {variable}): cannot read {}: {source}", path.display())]
    SecretFile { setting: String, variable: String, path: PathBuf, source: io::Error },
}

/// A setting of the right type whose value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("setting {setting}: {problem}")]
pub struct InvalidSetting {
    pub setting: &'static str,
    /// What is wrong, and what would be right; never the value of a secret.
    pub problem: String,
}

impl InvalidSetting {
    #[must_use]
    pub fn new(setting: &'static str, problem: impl Into<String>) -> Self {
        Self { setting, problem: problem.into() }
    }
}

/// The settings in effect and where each comes from.
#[derive(Debug)]
pub struct Settings<T> {
    pub value: T,
    effective: Vec<Effective>,
}

/// One setting as `config show` prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// Its path, such as `edge.listen`.
    pub setting: String,
    /// Its value as TOML, `[redacted]` for a secret that was set; `None` if it has none.
    pub value: Option<String>,
    pub origin: Origin,
}

impl<'a> Layers<'a> {
    /// Begins with the defaults alone. `secrets` are the paths of settings that may come from a
    /// file of their own and are never shown.
    #[must_use]
    pub const fn new(secrets: &'a [&'a str]) -> Self {
        Self { secrets, entries: Vec::new() }
    }

    /// Adds the text of a settings file.
    ///
    /// # Errors
    /// [`SettingsError::Syntax`] with the line, if it is not TOML.
    pub fn file(mut self, name: &str, text: &str) -> Result<Self, SettingsError> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            let at = error.span().map_or(0, |span| span.start);
            // Not the error's own text: it quotes the line, and the line may hold a secret.
            let before = text.as_bytes().get(..at).unwrap_or_default();
            let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
            SettingsError::Syntax { file: name.into(), line, message: error.message().into() }
        })?;
        let origin = Origin::File(name.into());
        self.entries.extend(table.into_iter().map(|(path, value)| {
            let origin = origin.clone();
            Entry { path, value, origin, is_text: false, is_alias: false }
        }));
        Ok(self)
    }

    /// Adds the environment; variables that are none of Carom's are passed over. `read` reads the
    /// files that `..._FILE` variables name.
    ///
    /// # Errors
    /// [`SettingsError::SecretFile`] if `read` fails.
    pub fn env(
        mut self,
        variables: impl IntoIterator<Item = (String, String)>,
        read: impl Fn(&Path) -> io::Result<String>,
    ) -> Result<Self, SettingsError> {
        let mut found = Vec::new();
        for (name, text) in variables.into_iter().filter(|(_, text)| !text.is_empty()) {
            let stem = name.strip_suffix(FILE_SUFFIX);
            let secret = stem.and_then(path_of).filter(|(path, _)| self.secrets.contains(&&**path));
            let is_file = secret.is_some();
            let Some((path, is_alias)) = secret.or_else(|| path_of(&name)) else { continue };
            let text = if is_file { read_secret(&path, &name, &text, &read)? } else { text };
            let origin = Origin::Environment(name);
            found.push(Entry { path, value: text.into(), origin, is_text: true, is_alias });
        }
        // The specific name wins over the alias; and the environment has no order to go by.
        found.sort_by(|a, b| (!a.is_alias, &a.path).cmp(&(!b.is_alias, &b.path)));
        if let Some([first, second]) =
            found.array_windows().find(|[a, b]| a.path == b.path && a.is_alias == b.is_alias)
        {
            let message = format!("is also given by {}; keep one of the two", first.origin);
            return Err(value_error(&second.path, &second.origin, message));
        }
        self.entries.extend(found);
        Ok(self)
    }

    /// Adds one setting from the command line.
    #[must_use]
    pub fn flag(mut self, path: &str, text: &str) -> Self {
        let (path, value, origin) = (path.to_owned(), text.into(), Origin::Flag);
        self.entries.push(Entry { path, value, origin, is_text: true, is_alias: false });
        self
    }

    /// Lays the layers over `T`'s defaults.
    ///
    /// # Errors
    /// [`SettingsError`] names the first setting that does not exist or has a bad value.
    ///
    /// # Panics
    /// If `T::default()` cannot be written as TOML and read back.
    pub fn finish<T>(self) -> Result<Settings<T>, SettingsError>
    where
        T: DeserializeOwned + Serialize + Default,
    {
        let mut table = Table::try_from(T::default()).expect("the defaults can be written as TOML");
        let schema = Schema::of::<T>(&table);
        let mut origins: BTreeMap<String, (Origin, Option<String>)> = BTreeMap::new();
        for Entry { path, value, origin, is_text, is_alias } in self.entries {
            if is_alias && !schema.is_setting(&path) {
                continue;
            }
            for (path, value) in schema.settings(path, value, &origin)? {
                let text = value.as_str().filter(|_| is_text).map(str::to_owned);
                let value = text.as_deref().map_or(value, guess);
                set(&mut table, &path, value);
                origins.insert(path, (origin.clone(), text));
            }
        }
        let value = loop {
            let error = match serde_path_to_error::deserialize::<_, T>(table.clone()) {
                Ok(value) => break value,
                Err(error) => error,
            };
            let setting = schema.setting_at(&error.path().to_string());
            let (origin, text) = origins
                .get_mut(&setting)
                .map_or_else(Default::default, |of| (of.0.clone(), of.1.take()));
            // Once for each setting at most: the text is taken.
            if let Some(text) = text.filter(|text| !guess(text).is_str()) {
                set(&mut table, &setting, text.into());
                continue;
            }
            let is_secret = |of: &&str| *of == setting || of.starts_with(&format!("{setting}."));
            let message = if self.secrets.iter().any(is_secret) {
                "is not valid; its value is a secret and not shown".to_owned()
            } else {
                error.into_inner().message().trim_end().to_owned()
            };
            return Err(value_error(&setting, &origin, message));
        };
        let effective = effective(&value, &schema, &origins, self.secrets);
        Ok(Settings { value, effective })
    }
}

impl<T> Settings<T> {
    /// Every setting that exists, by name.
    pub fn effective(&self) -> impl Iterator<Item = &Effective> {
        self.effective.iter()
    }
}

fn value_error(setting: &str, origin: &Origin, message: String) -> SettingsError {
    SettingsError::Value { setting: setting.to_owned(), origin: origin.clone(), message }
}

/// The setting that a variable's name stands for, and whether by an alias.
fn path_of(variable: &str) -> Option<(String, bool)> {
    if let Some((_, path)) = ALIASES.iter().find(|(alias, _)| *alias == variable) {
        return Some(((*path).to_owned(), true));
    }
    let name = variable.strip_prefix(PREFIX)?;
    let is_service_link = !name.contains("__")
        && (name.ends_with("_PORT")
            || name.ends_with("_SERVICE_HOST")
            || name.contains("_SERVICE_PORT")
            || name.contains("_PORT_"));
    (!is_service_link
        && name != "PORT"
        && !name.starts_with("PORT_")
        && !name.starts_with("SERVICE_"))
    .then(|| (name.to_ascii_lowercase().replace("__", "."), false))
}

fn read_secret(
    setting: &str,
    variable: &str,
    path: &str,
    read: impl Fn(&Path) -> io::Result<String>,
) -> Result<String, SettingsError> {
    let text = read(Path::new(path)).map_err(|source| SettingsError::SecretFile {
        setting: setting.to_owned(),
        variable: variable.to_owned(),
        path: path.into(),
        source,
    })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// What a text is if its setting is no string: a number, a truth value, an array or a table.
fn guess(text: &str) -> Value {
    let value = text.parse::<Value>().ok().filter(|value| !value.is_str());
    value.unwrap_or_else(|| text.into())
}

/// Sets a value in nested tables; the schema has said that the way there is made of tables.
fn set(table: &mut Table, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            table.insert(path.to_owned(), value);
        }
        Some((group, rest)) => {
            let inner = table.entry(group).or_insert_with(|| Table::new().into());
            if let Value::Table(inner) = inner {
                set(inner, rest, value);
            }
        }
    }
}

fn effective<T: Serialize>(
    value: &T,
    schema: &Schema,
    origins: &BTreeMap<String, (Origin, Option<String>)>,
    secrets: &[&str],
) -> Vec<Effective> {
    let table = Value::try_from(value).expect("what was read as TOML can be written as TOML");
    let show = |setting: &str, origin: &Origin| {
        let value = setting.split('.').try_fold(&table, |value, part| value.get(part))?;
        // A default is in the documentation: nothing of it is secret.
        let is_secret = secrets.contains(&setting) && *origin != Origin::Default;
        Some(if is_secret { "[redacted]".to_owned() } else { value.to_string() })
    };
    let entry = |setting: &str| {
        let origin = origins.get(setting).map_or(Origin::Default, |(origin, _)| origin.clone());
        Effective { setting: setting.to_owned(), value: show(setting, &origin), origin }
    };
    schema.names().map(entry).collect()
}

#[cfg(test)]
mod tests;
