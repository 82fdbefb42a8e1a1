//! Links as rows of CSV (RFC 4180) that a spreadsheet reads as data, and that come back as they were.
//!
//! A spreadsheet takes a cell that begins with one of `=`, `+`, `-`, `@`, tab or line end as a
//! formula, also within quotes, unless an apostrophe stands before it. Each such cell is given one,
//! and so is each that has apostrophes before such a beginning already: reading takes one away from
//! exactly those. No other cell is touched, in either direction.

use super::import::{ForwardRecord, LinkRecord, QueryRecord};

/// The columns of a link, in their order.
pub const COLUMNS: [&str; 19] = [
    "code", "url", "domain", "title", "notes", "tags", "redirect_status", "max_age", "state",
    "archived", "not_before", "expires_at", "fallback_url", "query_forward", "query_prefer",
    "created_at", "deleted_at", "clicks", "id",
];
/// Stands between tags.
pub const TAGS: char = '|';
/// Stands before a separator, or before itself, that belongs to a tag.
pub const ESCAPE: char = '\\';
/// Stands between names of parameters, which have none.
pub const NAMES: char = ',';

/// Whether a cell has apostrophes, or none, before what begins a formula.
fn is_formula(cell: &str) -> bool {
    cell.trim_start_matches('\'').starts_with(['=', '+', '-', '@', '\t', '\r', '\n'])
}

/// What was written as this cell.
pub fn unguarded(cell: &str) -> &str {
    cell.strip_prefix('\'').filter(|rest| is_formula(rest)).unwrap_or(cell)
}

/// Writes a cell; `is_first` of its line or not.
pub fn push_cell(line: &mut String, is_first: bool, cell: &str) {
    if !is_first {
        line.push(',');
    }
    let is_quoted = cell.contains(['"', ',', ';', '\r', '\n', '\t']);
    if is_quoted {
        line.push('"');
    }
    if is_formula(cell) {
        line.push('\'');
    }
    if is_quoted {
        line.push_str(&cell.replace('"', "\"\""));
        line.push('"');
    } else {
        line.push_str(cell);
    }
}

/// Writes whole cells as a line.
pub fn push_line<'a>(text: &mut String, cells: impl IntoIterator<Item = &'a str>) {
    for (place, cell) in cells.into_iter().enumerate() {
        push_cell(text, place == 0, cell);
    }
    text.push_str("\r\n");
}

/// The cells of a link, in the order of [`COLUMNS`].
pub fn cells(link: &LinkRecord) -> [String; COLUMNS.len()] {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let empty = QueryRecord::default();
    let query = link.query.as_ref().unwrap_or(&empty);
    [
        text(&link.code),
        text(&link.url),
        text(&link.domain),
        text(&link.title),
        text(&link.notes),
        tags(&link.tags),
        number(link.redirect_status),
        number(link.max_age),
        text(&link.state),
        number(link.archived),
        text(&link.not_before),
        text(&link.expires_at),
        text(&link.fallback_url),
        query.forward.as_ref().map(forward).unwrap_or_default(),
        text(&query.prefer),
        text(&link.created_at),
        text(&link.deleted_at),
        number(link.clicks),
        text(&link.id),
    ]
}

fn number(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

fn tags(tags: &[String]) -> String {
    let mut text = String::new();
    for (place, tag) in tags.iter().enumerate() {
        if place > 0 {
            text.push(TAGS);
        }
        for c in tag.chars() {
            if matches!(c, TAGS | ESCAPE) {
                text.push(ESCAPE);
            }
            text.push(c);
        }
    }
    text
}

/// The tags of a cell. Elsewhere than before a separator or itself, the escape is a character.
pub fn read_tags(cell: &str) -> Vec<String> {
    let (mut tags, mut tag) = (Vec::new(), String::new());
    let mut characters = cell.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            TAGS => tags.push(std::mem::take(&mut tag)),
            ESCAPE => tag.push(characters.next_if(|c| matches!(*c, TAGS | ESCAPE)).unwrap_or(c)),
            _ => tag.push(c),
        }
    }
    tags.push(tag);
    tags.retain(|tag| !tag.trim().is_empty());
    tags
}

/// A word, or names. What ends with a comma is names: one may be `all`.
fn forward(forward: &ForwardRecord) -> String {
    match forward {
        ForwardRecord::Word(word) => word.clone(),
        ForwardRecord::Names(names) => names.iter().map(|name| format!("{name},")).collect(),
    }
}

pub fn read_forward(cell: &str) -> ForwardRecord {
    if cell.contains(NAMES) || !matches!(cell, "none" | "all") {
        let names = cell.split(NAMES).map(str::trim).filter(|name| !name.is_empty());
        ForwardRecord::Names(names.map(str::to_owned).collect())
    } else {
        ForwardRecord::Word(cell.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_become_texts_and_come_back() {
        let cells = [
            "", "a", "'", "'a", "''", "=1", "+1", "-a", "@x", "\tx", "\r\nx", "'=1", "''=1",
            "'''-", "a=1", "a\"b", "a,b", "a;b", "a\nb", "'a\nb",
        ];
        for cell in cells {
            let mut line = String::new();
            push_cell(&mut line, true, cell);
            let quoted = line.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            let written = quoted.map_or(line.clone(), |text| text.replace("\"\"", "\""));
            assert!(!written.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']), "{line}");
            assert_eq!(unguarded(&written), cell, "{line}");
            assert_eq!(written != cell, is_formula(cell), "{line}");
        }
    }

    #[test]
    fn tags_and_names_come_back() {
        let lists: [&[&str]; 5] = [&[], &["a"], &["a|b", "c\\", "\\|"], &["a, b", "c"], &["\\x"]];
        for list in lists {
            let list: Vec<String> = list.iter().map(|tag| (*tag).to_owned()).collect();
            assert_eq!(read_tags(&tags(&list)), list);
        }
        assert_eq!(read_tags("a\\b| |c|"), ["a\\b", "c"]);
        let names = |names: &[&str]| {
            ForwardRecord::Names(names.iter().map(|name| (*name).to_owned()).collect())
        };
        for known in [ForwardRecord::Word("all".into()), names(&["all"]), names(&["a", "b"])] {
            assert_eq!(read_forward(&forward(&known)), known);
        }
        assert_eq!(read_forward("ref, lang"), names(&["ref", "lang"]));
    }
}
