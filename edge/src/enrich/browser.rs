//! The names of browsers and operating systems, by uap-core's lists (`browsers.tsv`,
//! `systems.tsv`).

use std::fmt;

use ua_parser::{Error, os, user_agent};

use super::text::clean;

const BROWSERS: &str = include_str!("browsers.tsv");
const SYSTEMS: &str = include_str!("systems.tsv");

/// Characters of a name, at most: some rules take the name from the user agent.
const NAME_CHARS_MAX: usize = 32;
/// Characters of each part of a version, at most.
const VERSION_PART_CHARS_MAX: usize = 8;

/// The lists, ready to be matched: some 12 MB, which grow by up to 25 MB for the states of
/// automata as unusual user agents come.
pub(super) struct Lists {
    browsers: user_agent::Extractor<'static>,
    systems: os::Extractor<'static>,
}

/// A name and a version, each empty if unknown.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Product {
    pub(super) name: String,
    pub(super) version: String,
}

/// The columns of each rule of a list; the missing ones are `None`.
fn rules(list: &'static str) -> impl Iterator<Item = [Option<&'static str>; 5]> {
    list.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let mut columns = line.split('\t').map(|column| Some(column).filter(|c| !c.is_empty()));
        std::array::from_fn(|_| columns.next().flatten())
    })
}

impl Lists {
    /// Takes about 100 ms, and the memory: for when the first user agent is there to be read.
    pub(super) fn load() -> Self {
        Self::compile().expect("the lists are part of the program; tests compile them")
    }

    fn compile() -> Result<Self, Error> {
        let mut browsers = user_agent::Builder::new();
        for [regex, name, major, minor, patch] in rules(BROWSERS) {
            browsers = browsers.push(user_agent::Parser {
                regex: regex.unwrap_or_default().into(),
                family_replacement: name.map(Into::into),
                v1_replacement: major.map(Into::into),
                v2_replacement: minor.map(Into::into),
                v3_replacement: patch.map(Into::into),
                v4_replacement: None,
            })?;
        }
        let mut systems = os::Builder::new();
        for [regex, name, major, minor, patch] in rules(SYSTEMS) {
            systems = systems.push(os::Parser {
                regex: regex.unwrap_or_default().into(),
                os_replacement: name.map(Into::into),
                os_v1_replacement: major.map(Into::into),
                os_v2_replacement: minor.map(Into::into),
                os_v3_replacement: patch.map(Into::into),
                os_v4_replacement: None,
            })?;
        }
        Ok(Self { browsers: browsers.build()?, systems: systems.build()? })
    }

    pub(super) fn browser(&self, user_agent: &str) -> Product {
        self.browsers.extract(user_agent).map_or_else(Product::default, |found| {
            Product::of(&found.family, found.major, found.minor)
        })
    }

    pub(super) fn system(&self, user_agent: &str) -> Product {
        self.systems.extract(user_agent).map_or_else(Product::default, |found| {
            Product::of(&found.os, found.major.as_deref(), found.minor.as_deref())
        })
    }
}

impl fmt::Debug for Lists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lists").finish_non_exhaustive()
    }
}

impl Product {
    /// The minor version tells releases apart only where there is one: Safari 17.4, Chrome 140.
    fn of(name: &str, major: Option<&str>, minor: Option<&str>) -> Self {
        let mut product = Self::default();
        // What the lists call what they do not know.
        if name == "Other" {
            return product;
        }
        clean(name, NAME_CHARS_MAX, &mut product.name);
        let part = |text: Option<&str>| {
            let mut part = String::new();
            clean(text.unwrap_or_default(), VERSION_PART_CHARS_MAX, &mut part);
            part
        };
        let (major, minor) = (part(major), part(minor));
        product.version = major;
        if !product.version.is_empty() && !minor.is_empty() && minor != "0" {
            product.version.push('.');
            product.version.push_str(&minor);
        }
        product
    }
}
