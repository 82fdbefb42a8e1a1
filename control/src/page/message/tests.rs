//! That languages' files and the sources have the same messages, and what filters make of one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use askama::Template;

use super::phrase::{Phrase, phrase, plural};
use super::scan::{Found, in_calls, in_template};
use super::*;
use crate::page::details::DETAILS;

fn german() -> Language {
    Language::parse("de").unwrap()
}

pub(in crate::page) fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|it| it == extension) {
            found.push(path);
        }
    }
    found
}

/// Rust without its tests and its comments, which may have messages of their own.
fn code(source: &str) -> String {
    let source = source.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// All messages of templates, scripts and Rust, with where each is.
fn sources() -> BTreeMap<String, (Found, PathBuf)> {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = BTreeMap::new();
    let mut add = |path: &Path, found: Vec<Found>| {
        for found in found {
            let old = all.insert(found.one.clone(), (found.clone(), path.to_owned()));
            if let Some((old, other)) = old {
                assert_eq!(old, found, "{} and {}", other.display(), path.display());
            }
        }
    };
    for path in files(&crate_folder.join("templates"), "html") {
        add(&path, in_template(&fs::read_to_string(&path).unwrap()));
    }
    for path in files(&crate_folder.join("src/page"), "rs") {
        // Examples are in this module.
        if !path.components().any(|part| part.as_os_str() == "message") {
            let source = code(&fs::read_to_string(&path).unwrap());
            add(&path, in_calls(&source, &["message", "phrase", "plural"]));
        }
    }
    for path in files(&crate_folder.join("assets"), "js") {
        add(&path, in_calls(&fs::read_to_string(&path).unwrap(), script::CALLS));
    }
    all
}

/// The `{names}` and `<tags>` of a text.
fn names(text: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    let mut rest = text;
    while let Some((_, piece)) = rest.find(['{', '<']).map(|at| rest.split_at(at)) {
        let end = piece.find(['}', '>']).map_or(piece.len(), |end| end + 1);
        let (name, after) = piece.split_at(end);
        found.insert(name);
        rest = after;
    }
    found
}

#[test]
fn languages_say_all_that_the_sources_have_and_nothing_else() {
    let sources = sources();
    assert!(sources.len() > 500, "only {} messages were found", sources.len());
    for (tag, file) in [("de", include_str!("../../../messages/de.toml"))] {
        let table: Table = toml::from_str(file).unwrap_or_else(|error| panic!("{tag}: {error}"));
        let mut wrong = Vec::new();
        for (one, (found, path)) in &sources {
            let Some(entry) = table.get(one) else {
                wrong.push(format!("{} has {one:?}, and {tag} does not", path.display()));
                continue;
            };
            let said = match (entry, &found.many) {
                (Entry::One(said), None) => vec![(one.as_str(), said)],
                (Entry::Forms(forms), Some(many)) if forms.len() == 2 => {
                    vec![(many.as_str(), &forms[0]), (many.as_str(), &forms[1])]
                }
                _ => {
                    wrong.push(format!("{one:?} has a form for each number, or one, in {tag}"));
                    continue;
                }
            };
            // A form for one may do without the number.
            let without_n = |text| {
                let mut names = names(text);
                if found.many.is_some() {
                    names.remove("{n}");
                }
                names
            };
            // Of a detail some values are English themselves.
            let is_detail = DETAILS.contains(&one.as_str());
            for (own, said) in said {
                let (own, names) = (without_n(own), without_n(said));
                if own != names && !(is_detail && names.is_subset(&own)) {
                    wrong.push(format!("{one:?} has other names in {tag}: {said:?}"));
                }
            }
        }
        let unused = table.keys().filter(|key| !sources.contains_key(*key));
        wrong.extend(unused.map(|key| format!("{tag} has {key:?}, and nothing asks for it")));
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

#[test]
fn each_language_that_is_offered_has_a_file() {
    for language in Language::all() {
        let is_english = language.tag() == "en";
        assert_eq!(language.0.table.is_empty(), is_english, "{}", language.tag());
    }
}

fn asked(accept: &str, chosen: &str) -> &'static str {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT_LANGUAGE, accept.parse().unwrap());
    headers.insert(header::COOKIE, format!("a=b; carom_language={chosen}").parse().unwrap());
    Language::of(&headers).tag()
}

#[test]
fn a_browser_gets_the_best_language_that_there_is() {
    for (accept, tag) in [
        ("de-CH, de;q=0.9, en;q=0.8", "de"),
        ("fr, de;q=0.2, en;q=0.7", "en"),
        ("fr;q=1, *;q=0.1", "en"),
        ("en;q=0.5, de;q=0.5", "en"),
        ("DE", "de"),
        ("de;q=0", "en"),
        ("de; q = x, ,;;", "en"),
        ("en-XA", "en"),
        ("", "en"),
    ] {
        assert_eq!(asked(accept, "nothing"), tag, "{accept}");
    }
    assert_eq!(asked("en", "de"), "de");
    assert_eq!(asked("de", "en"), "en");
    assert_eq!(asked("de", "en-XA"), "en-XA");
    assert_eq!(Language::of(&HeaderMap::new()).tag(), "en");
}

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"{{ "Delete"|t }} {{ "Remove {email}"|t|put("email", text) }} {{ "{n} day"|plural("{n} days", n) }} {{ words|t }} {{ "You can <link>have a link sent</link> to set one."|t|markup("link", "a href='/forgot'") }} {{ "used {at}"|t|ago("at", text) }} {{ "Switch to {name}"|t|say("name", words) }} {{ n|number }} {{ "en"|language }}"#
)]
struct Example {
    text: &'static str,
    n: u64,
    words: Phrase,
}

#[test]
fn filters_translate_and_escape() {
    let words =
        phrase("Role of {name}: {role}").put("name", "<{role}>").put("role", phrase("Owner"));
    let example = Example { text: "<i>{email}\"", n: 1234, words };
    assert_eq!(
        example.render_with_values(&Language::english().values()).unwrap(),
        "Delete Remove &#60;i&#62;{email}&#34; 1,234 days Role of &#60;{role}&#62;: Owner \
         You can <a href='/forgot'>have a link sent</a> to set one. \
         used <time datetime=\"&#60;i&#62;{email}&#34;\" data-as=\"ago\">&#60;i&#62;{email}&#34;</time> \
         Switch to Role of &#60;{role}&#62;: Owner 1,234 en"
    );
    let said = example.render_with_values(&german().values()).unwrap();
    assert!(said.starts_with("Löschen &#60;i&#62;{email}&#34; entfernen 1.234 Tage"), "{said}");
    assert!(said.ends_with("1.234 de"), "{said}");
    // Whoever renders without a language gets English.
    assert!(example.render().unwrap().starts_with("Delete "));
    let pseudo = Language::parse("en-XA").unwrap();
    let said = example.render_with_values(&pseudo.values()).unwrap();
    assert!(said.starts_with("[Delete] [Remove &#60;"), "{said}");
}

#[test]
fn numbers_are_grouped_by_thousands() {
    for (number, english, said) in [
        (0, "0", "0"),
        (999, "999", "999"),
        (1000, "1,000", "1.000"),
        (1_234_567, "1,234,567", "1.234.567"),
    ] {
        assert_eq!(Language::english().number(number), english);
        assert_eq!(german().number(number), said);
    }
}

#[test]
fn days_are_written_as_the_language_writes_them() {
    let day = Phrase::data(jiff::civil::date(2026, 3, 5));
    assert_eq!(day.plain(Language::english()), "5 Mar 2026");
    assert_eq!(day.plain(german()), "05.03.2026");
}

#[test]
fn phrases_are_said_without_markup_where_there_is_no_html() {
    let days = |n| plural("{n} day", "{n} days", n).plain(german());
    assert_eq!(
        (days(1), days(0), days(7000)),
        ("1 Tag".into(), "0 Tage".into(), "7.000 Tage".into())
    );
    let said = phrase("leads to <bdi>{target}</bdi>").put("target", "a<b>&").plain(german());
    assert_eq!(said, "führt zu a<b>&");
    assert_eq!(Phrase::data("{n} <b>").plain(german()), "{n} <b>");
    assert_eq!(phrase("a < b {unknown} {").plain(german()), "a < b {unknown} {");
}

#[test]
fn scripts_get_what_they_ask_for() {
    let source = r#"say(t("Delete")); import("x"); plural("{n} day", "{n} days", n); at("Save");"#;
    assert_eq!(
        script::script(
            german(),
            &[source],
            &["there were too many {what}; the next is answered in {seconds} s"]
        ),
        "globalThis.messages = {\"Delete\":\"Löschen\",\"{n} day\":[\"{n} Tag\",\"{n} Tage\"]};\n\
         globalThis.details = {\"^there were too many (?<what>.*); the next is answered in (?<seconds>.*) s$\":\"Das war zu oft. Weiter geht es in {seconds} s\"};\n"
    );
    let pseudo = Language::parse("en-XA").unwrap();
    assert!(
        script::script(pseudo, &[source], &[])
            .contains("\"{n} day\":[\"[{n} day]\",\"[{n} days]\"]")
    );
}

#[test]
fn details_are_looked_for_as_they_are() {
    for (detail, pattern) in [
        ("A-Z, _ and (a)?", "^A-Z, _ and \\(a\\)\\?$"),
        ("1 to {max}. {why", "^1 to (?<max>.*)\\. \\{why$"),
        ("", "^$"),
    ] {
        assert_eq!(script::pattern(detail), pattern);
    }
}

#[test]
fn messages_are_found_as_they_are_written() {
    let found = |one: &str| Found { one: one.into(), many: None };
    let template =
        r#"<a title="{{ "Say \"it\""|t }}">{{ "a"|t|put("n", n) }} {{ "x"|time("at", at) }}"#;
    assert_eq!(in_template(template), [found("Say \"it\""), found("a")]);
    let counted = Found { one: "1".into(), many: Some("{n}".into()) };
    assert_eq!(in_template(r#"{{ "1"|plural("{n}", n) }}"#), *std::slice::from_ref(&counted));
    let source = "phrase(\n    \"a \\\n     b\",\n) message(\"c\") plural(\"1\", \"{n}\", n) my_message(\"d\") message(e)";
    assert_eq!(
        in_calls(source, &["message", "phrase", "plural"]),
        [found("c"), found("a b"), counted]
    );
}
