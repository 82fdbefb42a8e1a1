//! Which settings a type has. Its default, once written as TOML, is read back through a
//! deserializer that notes the fields that each struct asks for: also those that are `None`, which
//! the TOML does not hold.

use std::collections::BTreeSet;
use std::slice;

use serde::Deserializer;
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, IntoDeserializer, MapAccess, Visitor};
use serde::forward_to_deserialize_any;
use toml::{Table, Value};

use super::{Origin, SettingsError, value_error};

/// The paths of all settings, and of the structs that group them.
#[derive(Debug, Default)]
pub(super) struct Schema {
    settings: BTreeSet<String>,
    groups: BTreeSet<String>,
}

impl Schema {
    /// # Panics
    /// If `defaults` is not a `T`.
    pub(super) fn of<T: DeserializeOwned>(defaults: &Table) -> Self {
        let mut schema = Self::default();
        let value = Value::Table(defaults.clone());
        let noting = Noting { value, path: String::new(), schema: &mut schema };
        let read = T::deserialize(noting);
        read.map(drop).expect("the defaults can be read back from TOML");
        schema
    }

    pub(super) fn is_setting(&self, path: &str) -> bool {
        self.settings.contains(path)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.settings.iter().map(String::as_str)
    }

    /// The settings in a value: itself, or those of a whole group.
    pub(super) fn settings(
        &self,
        path: String,
        value: Value,
        origin: &Origin,
    ) -> Result<Vec<(String, Value)>, SettingsError> {
        if self.is_setting(&path) {
            return Ok(vec![(path, value)]);
        }
        if !self.groups.contains(&path) {
            let nearest = self.nearest(&path);
            return Err(SettingsError::Unknown { setting: path, origin: origin.clone(), nearest });
        }
        let Value::Table(table) = value else {
            let message = "is a group of settings and has no value of its own".to_owned();
            return Err(value_error(&path, origin, message));
        };
        let mut settings = Vec::new();
        for (name, value) in table {
            settings.extend(self.settings(format!("{path}.{name}"), value, origin)?);
        }
        Ok(settings)
    }

    /// The setting that a deserializer's path (`edge.trusted_proxies[1]`) lies in.
    pub(super) fn setting_at(&self, path: &str) -> String {
        let lies_in = |name: &&str| {
            path.strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        self.names().find(lies_in).unwrap_or(path).to_owned()
    }

    fn nearest(&self, path: &str) -> String {
        let nearest = self.names().min_by_key(|name| distance(name, path));
        nearest.unwrap_or("none: this program has no settings").to_owned()
    }
}

/// Levenshtein's distance: how many bytes to insert, remove or replace.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

/// Reads a value, noting whether a struct (a group) or anything else (a setting) was asked for.
struct Noting<'a> {
    value: Value,
    path: String,
    schema: &'a mut Schema,
}

impl Noting<'_> {
    fn note_setting(&mut self) {
        self.schema.settings.insert(std::mem::take(&mut self.path));
    }
}

impl<'de> Deserializer<'de> for Noting<'_> {
    type Error = toml::de::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let Value::Table(table) = self.value else {
            return self.value.deserialize_struct(name, fields, visitor);
        };
        let names = fields.iter();
        let struct_fields =
            Fields { table, names, next: None, path: &self.path, schema: self.schema };
        let value = visitor.visit_map(struct_fields)?;
        self.schema.groups.insert(self.path);
        Ok(value)
    }

    fn deserialize_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Self::Error> {
        self.note_setting();
        self.value.deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.note_setting();
        self.value.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

/// The fields of one struct: each is noted, and read if the defaults hold it.
struct Fields<'a> {
    table: Table,
    names: slice::Iter<'static, &'static str>,
    next: Option<(&'static str, Value)>,
    path: &'a str,
    schema: &'a mut Schema,
}

impl Fields<'_> {
    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = toml::de::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Self::Error> {
        while let Some(name) = self.names.next() {
            if let Some(value) = self.table.remove(*name) {
                self.next = Some((name, value));
                let key: StrDeserializer<'_, Self::Error> = (*name).into_deserializer();
                return seed.deserialize(key).map(Some);
            }
            let path = self.path_of(name);
            self.schema.settings.insert(path);
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, Self::Error> {
        let (name, value) = self.next.take().expect("a value is asked for after its key");
        let path = self.path_of(name);
        seed.deserialize(Noting { value, path, schema: self.schema })
    }
}
