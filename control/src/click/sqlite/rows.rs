//! The SQL that reads rows of clicks, and what comes of it.
//!
//! A text holds names of columns, which are [`Dimension`]s', and placeholders; whatever a client
//! wrote is bound. All rows of a slice of time come over as one text of numbers, because a row of
//! its own has to change threads and costs ten times as much as adding up what is in it. Slices keep
//! the texts small.

use sqlx::Arguments as _;
use sqlx::sqlite::SqliteArguments;

use carom_shared::click::Kind;

use super::insert::placeholders;
use super::part::parts_of_span;
use crate::click::report::filter::{Filter, Test};
use crate::click::report::tally::Row;
use crate::click::report::time::Span;
use crate::click::report::{Dimension, QUARTER_S, ReportScope};

/// What a row has, whatever is asked for.
const COLUMNS: &str = "c.at_s, c.kind, c.n, c.visitor";
/// Part by part, in each of which a workspace's clicks lie side by side, and so do a link's. What of
/// the first and the last part is outside of the span is passed over: the price of having no second
/// index, which would cost 25 bytes a click.
const FROM: &str = concat!(" from part p cross join click c where ", parts_of_span!());
const OF_ALL: &str = " and c.part = p.first_quarter";
const OF_WORKSPACE: &str = " and c.part = p.first_quarter and c.workspace = ?";
const OF_LINK: &str = " and c.part = p.first_quarter and c.workspace = ? and c.link = ?";
const AT: &str = "c.at_s >= ? and c.at_s < ?";
/// Clicks of a slice: some 2 MB of text.
const LINK_SLICE: u64 = 1 << 15;
/// Each slice of a workspace, or of all, goes through its first and its last part whole.
const WORKSPACE_SLICE: u64 = 1 << 18;
/// Spans of one statement, at most, and seconds between two of them: the parts between them are gone
/// through too.
const SPANS_MAX: usize = 64;
const NEAR_S: u32 = 8 * 3600;

/// A statement and what is bound to it.
pub(super) struct Statement {
    pub(super) sql: String,
    pub(super) arguments: SqliteArguments,
}

/// Numbers with spaces between them, as [`select_clicks`] and the rollup's statements give them.
#[derive(Debug)]
pub(super) struct Numbers<'t>(std::str::Split<'t, char>);

impl<'t> Numbers<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self(text.split(' '))
    }

    /// The next word, which may be empty.
    pub(super) fn word(&mut self) -> Option<&'t str> {
        self.0.next()
    }

    /// The next number; `None` if there is none.
    pub(super) fn number<T: TryFrom<i64>>(&mut self) -> Option<T> {
        T::try_from(integer(self.0.next()?)?).ok()
    }

    /// A click, and in `values` a number for each breakdown; `None` if they are not there.
    pub(super) fn click(&mut self, at_s: u32, values: &mut [i64]) -> Option<Row> {
        let kind = self.number::<u8>().and_then(Kind::from_u8)?;
        let (n, visitor) = (self.number()?, self.number::<i64>()?.cast_unsigned());
        for value in values {
            *value = self.number()?;
        }
        Some(Row { at_s, n, kind, visitor })
    }
}

/// An integer as SQLite writes it. Without the checks that the standard library makes of strangers'
/// texts, which cost as much again.
fn integer(text: &str) -> Option<i64> {
    let (digits, is_negative) = match text.strip_prefix('-') {
        Some(digits) => (digits, true),
        None => (text, false),
    };
    if !(1..=19).contains(&digits.len()) {
        return None;
    }
    let mut value = 0_u64;
    for digit in digits.bytes() {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // 19 digits stay below 2⁶⁴.
        value = value * 10 + u64::from(digit);
    }
    let value = value.cast_signed();
    Some(if is_negative { value.wrapping_neg() } else { value })
}

/// Parts of a span with about as many clicks as are read at once. `counts` has the clicks of quarter
/// hours, sorted. Nothing if there are no clicks.
pub(super) fn slices(scope: ReportScope, span: Span, counts: &[(u32, u64)]) -> Vec<Span> {
    let max = match scope {
        ReportScope::All | ReportScope::Workspace(_) => WORKSPACE_SLICE,
        ReportScope::Link(..) => LINK_SLICE,
    };
    let mut slices = Vec::new();
    let (mut from_s, mut held) = (span.from_s, 0);
    let mut cut = |from_s: &mut u32, to_s: u32| {
        if *from_s < to_s {
            slices.push(Span { from_s: *from_s, to_s });
            *from_s = to_s;
        }
    };
    for &(quarter, n) in counts {
        let start = quarter.saturating_mul(QUARTER_S).clamp(span.from_s, span.to_s);
        if held + n > max {
            cut(&mut from_s, start);
            held = 0;
        }
        held += n;
        if n > max {
            let end = (start - start % QUARTER_S).saturating_add(QUARTER_S).min(span.to_s);
            // Down to a second.
            let parts = u32::try_from(n.div_ceil(max)).unwrap_or(QUARTER_S).min(QUARTER_S);
            while from_s < end {
                let to_s = from_s.saturating_add(QUARTER_S.div_ceil(parts)).min(end);
                cut(&mut from_s, to_s);
            }
            held = 0;
        }
    }
    if !counts.is_empty() {
        cut(&mut from_s, span.to_s);
    }
    slices
}

/// Puts what is read of these spans, which are in order, into as few statements as there can be: each
/// of a workspace goes through all of its parts' clicks. `counts` has those of the spans.
pub(super) fn grouped(scope: ReportScope, spans: &[Span], counts: &[(u32, u64)]) -> Vec<Vec<Span>> {
    let max = match scope {
        ReportScope::All | ReportScope::Workspace(_) => WORKSPACE_SLICE,
        ReportScope::Link(..) => LINK_SLICE,
    };
    let of = |span: Span| {
        let at = |at_s: u32| counts.partition_point(|(quarter, _)| *quarter < at_s);
        &counts[at(span.from_s / QUARTER_S)..at(span.to_s.div_ceil(QUARTER_S))]
    };
    let mut groups: Vec<(u64, Vec<Span>)> = Vec::new();
    for slice in spans.iter().flat_map(|span| slices(scope, *span, of(*span))) {
        let n: u64 = of(slice).iter().map(|(_, n)| n).sum();
        match groups.last_mut() {
            Some((held, group))
                if *held + n <= max
                    && group.len() < SPANS_MAX
                    && group.last().is_some_and(|last| slice.from_s - last.to_s <= NEAR_S) =>
            {
                *held += n;
                group.push(slice);
            }
            _ => groups.push((n, vec![slice])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// Rows of a scope's clicks in spans, which are in order, that fit the filters, as one text: of each
/// row `at_s`, then what [`Numbers::click`] reads; no text if there are none.
pub(super) fn select_clicks(
    scope: ReportScope,
    spans: &[Span],
    filters: &[Filter],
    by: &[Dimension],
) -> Result<Statement, sqlx::Error> {
    let mut sql = String::new();
    let mut arguments = SqliteArguments::default();
    let mut bind = |value: i64| arguments.add(value).map_err(sqlx::Error::Encode);
    sql.push_str("select group_concat(concat_ws(' ', ");
    sql.push_str(COLUMNS);
    for dimension in by {
        sql.push_str(", c.");
        sql.push_str(dimension.as_str());
    }
    sql.push_str("), ' ')");
    sql.push_str(FROM);
    let (from_s, to_s) =
        spans.first().zip(spans.last()).map_or((0, 0), |(a, b)| (a.from_s, b.to_s));
    bind((from_s / QUARTER_S).into())?;
    bind(to_s.div_ceil(QUARTER_S).into())?;
    match scope {
        ReportScope::All => sql.push_str(OF_ALL),
        ReportScope::Workspace(workspace) => {
            sql.push_str(OF_WORKSPACE);
            bind(workspace.get())?;
        }
        ReportScope::Link(workspace, link) => {
            sql.push_str(OF_LINK);
            bind(workspace.get())?;
            bind(link.get())?;
        }
    }
    sql.push_str(&format!(" and ({})", vec![AT; spans.len()].join(" or ")));
    for span in spans {
        bind(span.from_s.into())?;
        bind(span.to_s.into())?;
    }
    for filter in filters {
        add_filter(filter, &mut sql, &mut arguments)?;
    }
    Ok(Statement { sql, arguments })
}

fn add_filter(
    filter: &Filter,
    sql: &mut String,
    arguments: &mut SqliteArguments,
) -> Result<(), sqlx::Error> {
    let not = if filter.is_negated { "not in" } else { "in" };
    let mut text = |value: &String| arguments.add(value.clone()).map_err(sqlx::Error::Encode);
    match &filter.test {
        Test::Is(detail, values) => {
            let list = placeholders(values.len());
            let column = detail.as_str();
            sql.push_str(&format!(
                " and c.{column} {not} (select id from name where text in ({list}))"
            ));
            values.iter().try_for_each(&mut text)
        }
        Test::Contains(detail, values) => {
            let any = vec!["instr(lower(text), ?) > 0"; values.len()].join(" or ");
            let column = detail.as_str();
            sql.push_str(&format!(" and c.{column} {not} (select id from name where {any})"));
            values.iter().try_for_each(&mut text)
        }
        Test::Number(dimension, values) => {
            let (column, list) = (dimension.as_str(), placeholders(values.len()));
            sql.push_str(&format!(" and c.{column} {not} ({list})"));
            values.iter().try_for_each(|value| arguments.add(*value)).map_err(sqlx::Error::Encode)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carom_shared::{LinkId, WorkspaceId};

    #[test]
    fn integers_are_read_as_sqlite_writes_them() {
        for value in [0, 1, -1, 907, i64::MAX, i64::MIN, -i64::MAX] {
            assert_eq!(integer(&value.to_string()), Some(value));
        }
        for bad in ["", "-", "x", "1x", "1.5", "+1", "12345678901234567890"] {
            assert_eq!(integer(bad), None, "{bad}");
        }
    }

    #[test]
    fn slices_cover_the_span_once_and_hold_few_clicks() {
        let workspace = WorkspaceId::try_from(1).unwrap();
        let scope = ReportScope::Link(workspace, LinkId::try_from(2).unwrap());
        let q = |quarter: u32, n: u64| (quarter, n * LINK_SLICE / 4);
        for (counts, expected) in [
            (vec![], vec![]),
            (vec![q(10, 1)], vec![(9100, 12_000)]),
            (vec![q(10, 2), q(11, 2), q(12, 1)], vec![(9100, 10_800), (10_800, 12_000)]),
            (
                vec![q(11, 8)],
                vec![(9100, 9900), (9900, 10_350), (10_350, 10_800), (10_800, 12_000)],
            ),
            (vec![q(10, 8)], vec![(9100, 9550), (9550, 9900), (9900, 12_000)]),
            (vec![q(13, 8)], vec![(9100, 11_700), (11_700, 12_000)]),
        ] {
            let span = Span { from_s: 9100, to_s: 12_000 };
            let found = slices(scope, span, &counts);
            let found: Vec<_> = found.iter().map(|slice| (slice.from_s, slice.to_s)).collect();
            assert_eq!(found, expected, "{counts:?}");
        }
        let span = Span { from_s: 0, to_s: 900 };
        assert_eq!(slices(scope, span, &[(0, u64::MAX / 2)]).len(), 900);
    }
}
