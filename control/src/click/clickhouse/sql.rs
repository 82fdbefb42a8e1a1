//! Parts of statements.

use crate::click::report::ReportScope;
use crate::click::report::filter::{Filter, Test};
use crate::click::report::time::Span;

/// A text as a literal: whatever is not plain ASCII is written as its bytes' numbers, so nothing in it
/// means anything to the server but itself.
///
/// Parameters (`{name:String}`) are put into the text by the server in the same way; they come in the
/// URL, which is shorter than a filter may be.
pub(super) fn literal(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('\'');
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b" ._-/@:".contains(&byte) {
            literal.push(byte.into());
        } else {
            literal.push_str(&format!("\\x{byte:02X}"));
        }
    }
    literal.push('\'');
    literal
}

pub(super) fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    items.join(", ")
}

/// A second since 1970.
pub(super) fn time(at_s: u32) -> String {
    format!("toDateTime({at_s}, 'UTC')")
}

/// Whose clicks: begins with `WHERE`.
pub(super) fn of_scope(scope: ReportScope) -> String {
    match scope {
        ReportScope::All => "WHERE 1".to_owned(),
        ReportScope::Workspace(workspace) => format!("WHERE workspace = {}", workspace.get()),
        ReportScope::Link(workspace, link) => {
            format!("WHERE workspace = {} AND link = {}", workspace.get(), link.get())
        }
    }
}

pub(super) fn in_span(column: &str, span: Span) -> String {
    format!("{column} >= {} AND {column} < {}", time(span.from_s), time(span.to_s))
}

/// Conditions of filters: each begins with `AND`.
pub(super) fn fitting(filters: &[Filter]) -> String {
    filters.iter().map(condition).collect()
}

fn condition(filter: &Filter) -> String {
    let not = if filter.is_negated { "NOT " } else { "" };
    let test = match &filter.test {
        Test::Is(detail, values) => {
            let values = list(values.iter().map(|value| literal(value)));
            format!("{} IN ({values})", detail.as_str())
        }
        // Both sides fold ASCII letters only.
        Test::Contains(detail, values) => {
            let values = list(values.iter().map(|value| literal(value)));
            format!("multiSearchAny(lower({}), [{values}])", detail.as_str())
        }
        // A list of none is no list to the server.
        Test::Number(_, values) if values.is_empty() => "0".to_owned(),
        Test::Number(dimension, values) => {
            format!("{} IN ({})", dimension.as_str(), list(values))
        }
    };
    format!(" AND {not}({test})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_holds_nothing_but_plain_ascii() {
        assert_eq!(literal("News-1 a.b/c@d:e_"), "'News-1 a.b/c@d:e_'");
        assert_eq!(literal("a'b\\;é\0"), "'a\\x27b\\x5C\\x3B\\xC3\\xA9\\x00'");
    }
}
