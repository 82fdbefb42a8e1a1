//! Answers reports.
//!
//! Without filters, and with buckets that begin on quarter hours, totals and series come from the
//! rollup, with rows for the parts of quarter hours at the ends; everything else comes from rows. Of more
//! than one link the rollup is asked in the form of its projection `of_workspace`, which the server then
//! reads instead: a quarter hour's links are one row for each kind there.
//! Which bucket a second is in is looked up in a list of their starts, worked out in Rust like SQLite's.

use std::collections::HashMap;

use carom_shared::UnixMillis;
use carom_shared::click::Kind;
use carom_shared::clickhouse::{SETTINGS, Statement};
use serde::de::DeserializeOwned;

use super::ClickStore;
use super::sql::{fitting, in_span, list, of_scope, time};
use crate::click::report::filter::Filter;
use crate::click::report::time::{Buckets, Span};
use crate::click::report::{
    Dimension, PeriodReport, Point, QUARTER_S, Report, ReportQuery, ReportScope, TopValue,
};
use crate::click::sqlite::ReportError;
use crate::db::StoreError;

/// Settings of questions beside [`SETTINGS`]: people wait for them.
const MORE: &[(&str, &str)] =
    &[("max_execution_time", "9"), ("group_by_two_level_threshold", "100000")];

/// Of a bucket, or of all: clicks by kind, and visitors.
type Counts = (u8, u32, [i64; Kind::ALL.len()], u64);

impl ClickStore {
    /// Answers a question.
    pub(crate) async fn report(&self, query: &ReportQuery) -> Result<Report, ReportError> {
        let detail_since = self.detail_since_s().await.map_err(StoreError::from)?;
        let mut report = Report {
            period: self.period(query, &query.period, detail_since).await?,
            last_click_at: self.last_click(query.scope).await?,
            detail_since: detail_since.map(|s| UnixMillis::new(i64::from(s) * 1000)),
            ..Report::default()
        };
        if let Some(buckets) = &query.compare {
            report.compare = Some(self.period(query, buckets, detail_since).await?);
        }
        if !query.by.is_empty() {
            report.top = self.top_values(query).await?;
        }
        Ok(report)
    }

    async fn period(
        &self,
        query: &ReportQuery,
        buckets: &Buckets,
        detail_since: Option<u32>,
    ) -> Result<PeriodReport, ReportError> {
        let sql = if query.fits_rollup(buckets) {
            from_rollup(query.scope, buckets, detail_since)
        } else {
            from_rows(query.scope, buckets, &query.filters)
        };
        let rows: Vec<Counts> = self.asked(&sql).await?;
        let mut period = PeriodReport {
            series: vec![Point::default(); buckets.starts.len()],
            ..PeriodReport::default()
        };
        for (is_total, start, by_kind, visitors) in rows {
            let of = |kind: Kind| u64::try_from(by_kind[kind as usize]).unwrap_or_default();
            if is_total == 1 {
                Kind::ALL.iter().for_each(|kind| period.totals.add(*kind, of(*kind)));
                period.visitors = visitors;
            } else {
                let point = &mut period.series[buckets.at(start)];
                *point = Point { clicks: of(Kind::Human), bots: of(Kind::Bot), visitors };
            }
        }
        Ok(period)
    }

    async fn last_click(&self, scope: ReportScope) -> Result<Option<UnixMillis>, ReportError> {
        let rows: Vec<(i64,)> = self.asked(&last_click(scope)).await?;
        let last = rows.first().map(|(last,)| *last).filter(|last| *last > 0);
        Ok(last.map(|last| UnixMillis::new(last * 1000)))
    }

    async fn top_values(
        &self,
        query: &ReportQuery,
    ) -> Result<Vec<(Dimension, Vec<TopValue>)>, ReportError> {
        let sql = top(query.scope, query.period.span, &query.filters, &query.by, query.limit);
        let rows: Vec<(usize, String, u64, u64)> = self.asked(&sql).await?;
        let mut values: Vec<Vec<TopValue>> = vec![Vec::new(); query.by.len()];
        let words: Vec<_> = query.by.iter().map(|by| by.words().map(HashMap::from_iter)).collect();
        for (at, value, clicks, visitors) in rows {
            let corrupt = || StoreError::Corrupt("value of a click");
            let words: &Option<HashMap<i64, &str>> = words.get(at).ok_or_else(corrupt)?;
            let value = match words {
                None => value,
                Some(words) => {
                    let word = value.parse().ok().and_then(|number: i64| words.get(&number));
                    (*word.ok_or_else(corrupt)?).to_owned()
                }
            };
            values[at].push(TopValue { value, clicks, visitors });
        }
        for values in &mut values {
            values.sort_by(|a, b| {
                (b.clicks, b.visitors, &a.value).cmp(&(a.clicks, a.visitors, &b.value))
            });
        }
        Ok(query.by.iter().copied().zip(values).collect())
    }

    async fn asked<T: DeserializeOwned>(&self, sql: &str) -> Result<Vec<T>, ReportError> {
        let statement = Statement { more: MORE, ..Statement::new(sql, SETTINGS) };
        match self.0.client.rows(statement).await {
            Err(error) if error.is_too_long() => Err(ReportError::TooLong),
            answer => Ok(answer.map_err(StoreError::from)?),
        }
    }
}

/// Clicks by kind, of rows with `n`.
fn by_kind(n: &str) -> String {
    let sums = (0..Kind::ALL.len()).map(|kind| format!("toInt64(sumIf({n}, kind = {kind}))"));
    format!("[{}]", list(sums))
}

/// The start of the bucket that a second is in.
fn bucket(at_s: &str, buckets: &Buckets) -> String {
    format!("roundDown({at_s}, CAST([{}], 'Array(UInt32)'))", list(&buckets.starts))
}

const GROUPED: &str = "GROUP BY GROUPING SETS ((b), ()) \
     SETTINGS force_grouping_standard_compatibility = 1 FORMAT JSONCompactEachRow";

fn from_rows(scope: ReportScope, buckets: &Buckets, filters: &[Filter]) -> String {
    format!(
        "SELECT grouping(b), b, {}, uniqCombined64If(17)(visitor, kind = 0 AND visitor != 0) \
         FROM (SELECT {} AS b, kind, click.n AS m, visitor FROM click {} AND {}{}) {GROUPED}",
        by_kind("m"),
        bucket("toUInt32(at)", buckets),
        of_scope(scope),
        in_span("at", buckets.span),
        fitting(filters),
    )
}

/// Where rows were deleted already, the first quarter hour counts whole.
pub(super) fn from_rollup(
    scope: ReportScope,
    buckets: &Buckets,
    detail_since: Option<u32>,
) -> String {
    let Span { from_s, to_s } = buckets.span;
    let has_rows = detail_since.is_none_or(|since| since <= from_s);
    let whole_from =
        if has_rows { from_s.div_ceil(QUARTER_S) } else { from_s / QUARTER_S } * QUARTER_S;
    let whole_to = to_s / QUARTER_S * QUARTER_S;
    if whole_from >= whole_to {
        return from_rows(scope, buckets, &[]);
    }
    let ends = [Span { from_s, to_s: whole_from }, Span { from_s: whole_to, to_s }];
    let ends = ends.into_iter().filter(|end| end.from_s < end.to_s);
    let (n, visitors, grouped) = match scope {
        ReportScope::Link(..) => ("click_quarter.n", "visitors", ""),
        ReportScope::All | ReportScope::Workspace(_) => (
            "sum(click_quarter.n)", "uniqCombined64MergeState(12)(visitors)",
            " GROUP BY quarter, kind",
        ),
    };
    let mut sql = format!(
        "SELECT grouping(b), b, {}, uniqCombined64MergeIf(12)(v, kind = 0) FROM (\
         SELECT {} AS b, kind, {n} AS m, {visitors} AS v FROM click_quarter {} AND {}{grouped}",
        by_kind("m"),
        // The first one may begin before the range, if it counts whole.
        bucket(&format!("greatest(toUInt32(quarter), {from_s})"), buckets),
        of_scope(scope),
        in_span("quarter", Span { from_s: whole_from, to_s: whole_to }),
    );
    for end in ends {
        sql.push_str(&format!(
            " UNION ALL SELECT {} AS b, kind, toInt64(sum(click.n)) AS m, \
             uniqCombined64StateIf(12)(visitor, kind = 0 AND visitor != 0) AS v \
             FROM click {} AND {} GROUP BY b, kind",
            bucket("toUInt32(at)", buckets),
            of_scope(scope),
            in_span("at", end),
        ));
    }
    sql.push_str(&format!(") {GROUPED}"));
    sql
}

/// Of a link, all quarter hours are few.
pub(super) fn last_click(scope: ReportScope) -> String {
    let of_people = format!("{} AND kind = 0 AND quarter >= {}", of_scope(scope), time(0));
    match scope {
        ReportScope::Link(..) => format!(
            "SELECT toUnixTimestamp(maxIf(last_at, click_quarter.n > 0)) FROM click_quarter \
             {of_people} FORMAT JSONCompactEachRow"
        ),
        ReportScope::All | ReportScope::Workspace(_) => format!(
            "SELECT toUnixTimestamp(max(last)) FROM (\
             SELECT max(last_at) AS last FROM click_quarter {of_people} \
             GROUP BY workspace, quarter HAVING sum(click_quarter.n) > 0) FORMAT JSONCompactEachRow"
        ),
    }
}

/// The first values of each breakdown, with its place among them; one pass over the rows for all.
fn top(
    scope: ReportScope,
    span: Span,
    filters: &[Filter],
    by: &[Dimension],
    limit: usize,
) -> String {
    let names = || by.iter().map(|dimension| dimension.as_str());
    // Of a row, the one that it is grouped by.
    let grouped = |what: &dyn Fn(usize, &str) -> String| {
        let all = names().enumerate();
        let cases = all.map(|(at, name)| format!("grouping({name}) = 0, {}", what(at, name)));
        format!("multiIf({}, {})", list(cases), what(by.len(), "''"))
    };
    let place = grouped(&|at, _| at.to_string());
    let value = grouped(&|_, name| format!("toString({name})"));
    let kind = by.iter().position(|dimension| *dimension == Dimension::Kind);
    // Kinds are counted all, everything else of people.
    let (clicks, visitors, people) = match kind {
        None => (
            "sum(toUInt64(click.n))".to_owned(),
            "uniqCombined64If(17)(visitor, visitor != 0)".to_owned(),
            " AND kind = 0",
        ),
        Some(_) => (
            "if(grouping(kind) = 0, sum(toUInt64(click.n)), \
             sumIf(toUInt64(click.n), click.kind = 0))"
                .to_owned(),
            "if(grouping(kind) = 0, uniqCombined64If(17)(visitor, visitor != 0), \
             uniqCombined64If(17)(visitor, visitor != 0 AND click.kind = 0))"
                .to_owned(),
            "",
        ),
    };
    format!(
        "SELECT {place} AS g, {value} AS x, {clicks} AS c, {visitors} AS u FROM click {} AND {}{people}{} \
         GROUP BY GROUPING SETS ({}) HAVING c > 0 ORDER BY c DESC, u DESC, x LIMIT {limit} BY g \
         SETTINGS force_grouping_standard_compatibility = 1 FORMAT JSONCompactEachRow",
        of_scope(scope),
        in_span("at", span),
        fitting(filters),
        list(names().map(|name| format!("({name})"))),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::click::report::params::{ReportParams, check_report};
    use carom_shared::{LinkId, WorkspaceId};

    /// The statements as they are sent.
    #[test]
    fn statements_are_as_pinned() {
        let link =
            ReportScope::Link(WorkspaceId::try_from(5).unwrap(), LinkId::try_from(7).unwrap());
        let workspace = ReportScope::Workspace(WorkspaceId::try_from(5).unwrap());
        let params = ReportParams {
            from: Some("2026-03-29T00:10:00Z".into()),
            to: Some("2026-03-30T00:20:00Z".into()),
            tz: Some("Europe/Berlin".into()),
            by: Some("country,kind".into()),
            filter: Some("country==DE,it%27s;referrer!@News;device==mobile".into()),
            ..ReportParams::default()
        };
        let now = UnixMillis::new(1_775_000_000_000);
        let ask = |scope| check_report(&params, scope, &[], now).unwrap();
        let query = ask(link);
        insta::assert_snapshot!("rows", from_rows(query.scope, &query.period, &query.filters));
        insta::assert_snapshot!("rollup", from_rollup(query.scope, &query.period, None));
        insta::assert_snapshot!(
            "rollup_without_rows",
            from_rollup(query.scope, &query.period, Some(u32::MAX))
        );
        insta::assert_snapshot!(
            "rollup_of_workspace",
            from_rollup(workspace, &ask(workspace).period, None)
        );
        insta::assert_snapshot!(
            "top",
            top(query.scope, query.period.span, &query.filters, &query.by, 10)
        );
        insta::assert_snapshot!("last_click", last_click(query.scope));
        insta::assert_snapshot!("last_click_of_all", last_click(ReportScope::All));
    }
}
