//! Parts of statements.

pub(super) use carom_shared::clickhouse::literal;

use crate::click::report::ReportScope;
use crate::click::report::filter::{Filter, Test};
use crate::click::report::time::Span;

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
