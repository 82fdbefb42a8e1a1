//! Address → country, region, city, by a file in MaxMind's format that the operator provides.
//!
//! Two schemas are read: MaxMind's own (`country.iso_code`, `subdivisions`, `city.names.en`) and
//! the flat one of many free files (`country_code`, `state1`, `city`).
//!
//! The file is held in memory, not mapped: whoever overwrites a mapped file in place ends the
//! process that maps it. A city file of 60 MB so costs 60 MB, and twice that while it is exchanged.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use maxminddb::{MaxMindDbError, Reader};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::text::clean;
use crate::stamp::Stamp;

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The largest file that is read, in bytes; the largest known one has a fifth of it.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// Characters of a region's or a city's name, at most.
const NAME_CHARS_MAX: usize = 64;

/// Where an address is, as far as it is known: empty where it is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) country: String,
    pub(super) region: String,
    pub(super) city: String,
}

/// The file, and what was read of it last.
#[derive(Debug)]
pub(super) struct Geo {
    path: PathBuf,
    reader: Option<Reader<Vec<u8>>>,
    /// The file that was tried last; a broken one is not tried again until it changes.
    seen: Option<Stamp>,
    looked_at: Option<Instant>,
}

/// What a look at the file found.
#[derive(Debug)]
pub(super) enum Look {
    /// What is in use is what is there; or it is not time yet.
    Same,
    /// A new file is in use.
    New,
    /// The file cannot be used; what was in use before still is.
    Broken(GeoError),
}

#[derive(Debug, thiserror::Error)]
pub(super) enum GeoError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it has more than {FILE_BYTES_MAX} bytes")]
    TooLarge,
    #[error("it is not a MaxMind DB file: {0}")]
    Format(#[from] MaxMindDbError),
}

impl Geo {
    /// Reads nothing yet: [`Geo::refresh`] does.
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path, reader: None, seen: None, looked_at: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Looks whether the file has changed, if it is time, and then reads it.
    pub(super) fn refresh(&mut self, now: Instant) -> Look {
        if self.looked_at.is_some_and(|at| now.duration_since(at) < LOOK_EVERY) {
            return Look::Same;
        }
        let is_first = self.looked_at.replace(now).is_none();
        let found = match fs::metadata(&self.path) {
            Ok(metadata) => Stamp::of(&metadata),
            // A file that is away for a moment is being exchanged; one that never was there, is a
            // mistake to tell of once.
            Err(error) if is_first || self.seen.is_some() => {
                self.seen = None;
                return Look::Broken(error.into());
            }
            Err(_) => return Look::Same,
        };
        if self.seen == Some(found) {
            return Look::Same;
        }
        match read(&self.path) {
            Ok((reader, stamp)) => {
                self.reader = Some(reader);
                self.seen = Some(stamp);
                Look::New
            }
            Err(error) => {
                self.seen = Some(found);
                Look::Broken(error)
            }
        }
    }

    pub(super) const fn is_loaded(&self) -> bool {
        self.reader.is_some()
    }

    /// Where an address is. What the file does not know, or cannot say because it is damaged, is
    /// empty.
    pub(super) fn find(&self, address: IpAddr, place: &mut Place) {
        place.country.clear();
        place.region.clear();
        place.city.clear();
        let Some(reader) = &self.reader else { return };
        let found = reader.lookup(address.to_canonical());
        if let Ok(Some(record)) = found.and_then(|found| found.decode::<Record<'_>>()) {
            record.write(place);
        }
    }
}

fn read(path: &Path) -> Result<(Reader<Vec<u8>>, Stamp), GeoError> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let mut bytes =
        Vec::with_capacity(usize::try_from(metadata.len().min(FILE_BYTES_MAX)).unwrap_or(0));
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(GeoError::TooLarge);
    }
    Ok((Reader::from_source(bytes)?, Stamp::of(&metadata)))
}

/// A record in either schema.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Record<'a> {
    #[serde(borrow)]
    country: Name<'a>,
    #[serde(borrow)]
    country_code: Name<'a>,
    #[serde(borrow)]
    subdivisions: First<'a>,
    #[serde(borrow)]
    state1: Name<'a>,
    #[serde(borrow)]
    city: Name<'a>,
}

impl Record<'_> {
    fn write(&self, place: &mut Place) {
        let country = [self.country.code, self.country_code.code]
            .into_iter()
            .find(|code| code.len() == 2 && code.bytes().all(|b| b.is_ascii_alphabetic()));
        place.country.extend(country.unwrap_or_default().chars().map(|c| c.to_ascii_uppercase()));
        let region = [self.subdivisions.0.code, self.subdivisions.0.name, self.state1.name];
        let region = region.into_iter().find(|name| !name.is_empty());
        clean(region.unwrap_or_default(), NAME_CHARS_MAX, &mut place.region);
        clean(self.city.name, NAME_CHARS_MAX, &mut place.city);
    }
}

/// A text that is both, or a map with `iso_code` and `names.en`; empty if it is anything else.
#[derive(Clone, Copy, Debug, Default)]
struct Name<'a> {
    code: &'a str,
    name: &'a str,
}

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;

        impl<'de> Visitor<'de> for Reading {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name { code: text, name: text })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Name<'de>, A::Error> {
                let mut found = Name::default();
                while let Some(key) = map.next_key::<&str>()? {
                    match key {
                        "iso_code" => found.code = map.next_value()?,
                        "names" => found.name = map.next_value::<Names<'de>>()?.en,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(found)
            }
        }

        deserializer.deserialize_any(Reading)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Names<'a> {
    en: &'a str,
}

/// The first of a list: the widest subdivision.
#[derive(Clone, Copy, Debug, Default)]
struct First<'a>(Name<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for First<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;

        impl<'de> Visitor<'de> for Reading {
            type Value = First<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of names")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<First<'de>, A::Error> {
                let first = list.next_element::<Name<'de>>()?.unwrap_or_default();
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(First(first))
            }
        }

        deserializer.deserialize_any(Reading)
    }
}

#[cfg(test)]
mod tests;
