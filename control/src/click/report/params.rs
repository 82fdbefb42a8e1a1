//! The parameters of a report, as clients write them, and the question they make.

use carom_shared::UnixMillis;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::filter::{self, Filter, Test, names};
use super::time::{Buckets, Compare, Interval, Span, TimeError, Zone};
use super::{Dimension, QUARTER_S, ReportQuery, ReportScope};
use crate::http::problem::ApiError;

/// Values in a breakdown.
const LIMIT_MAX: usize = 100;
const LIMIT_DEFAULT: usize = 10;
/// Breakdowns of an answer: each takes up to 8 MiB while it is worked out.
const BY_MAX: usize = 10;

/// A report, as a client asks for it. `filter` describes the filters' grammar, `time` the ranges.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReportParams {
    /// From when on: a time, or a date in `tz`. 30 days before `to` unless it says otherwise.
    #[param(example = "2026-01-01")]
    pub(crate) from: Option<String>,
    /// Until when, not included: a time, or a date in `tz`, which is included whole. Now unless it
    /// says otherwise.
    #[param(example = "2026-01-31")]
    pub(crate) to: Option<String>,
    /// The time zone of days and longer steps: an IANA name; `UTC` unless it says otherwise.
    #[param(example = "Europe/Berlin")]
    pub(crate) tz: Option<String>,
    /// How long a step of the series is; chosen by the range unless it says otherwise. At most
    /// 1,000 steps.
    #[param(inline)]
    pub(crate) interval: Option<Interval>,
    /// Dimensions to break down by, with commas between them, at most 10: `referrer`,
    /// `referrer_path`, `country`, `region`, `city`, `browser`, `browser_version`, `os`,
    /// `os_version`, `language`, `utm_source`, `utm_medium`, `utm_campaign`, `utm_term`,
    /// `utm_content`, `channel`, `device`, `kind`, `via`, `status`, `variant`, `target_revision`,
    /// `domain`, `link`.
    #[param(example = "country,browser")]
    pub(crate) by: Option<String>,
    /// Only clicks that pass all of these, with semicolons between them: a dimension; `==` (is one
    /// of), `!=` (is none of), `=@` (contains one of) or `!@` (contains none of); and values with
    /// commas between them. Commas, semicolons and percent signs within a value are encoded a
    /// second time.
    #[param(example = "country==DE,FR;browser!=Chrome")]
    pub(crate) filter: Option<String>,
    /// Only clicks on links that have this tag now; case makes no difference. Of at most 2,000 links; not
    /// where one link is asked about.
    #[param(max_length = 50)]
    pub(crate) tag: Option<String>,
    /// Only clicks on this host: as `domain==` in `filter`.
    #[param(max_length = 253)]
    pub(crate) domain: Option<String>,
    /// Values of a breakdown; 10 unless it says otherwise.
    #[param(minimum = 1, maximum = 100)]
    pub(crate) limit: Option<usize>,
    /// The same over another period, for comparison.
    #[param(inline)]
    pub(crate) compare: Option<Compare>,
    #[param(inline)]
    pub(crate) format: Option<Format>,
    /// The table that is written where `format` is `csv`: `totals`, `series`, or `top.` and a
    /// dimension that `by` names; `series` unless it says otherwise.
    #[param(example = "series")]
    pub(crate) table: Option<String>,
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    #[default]
    Json,
    Csv,
}

impl From<TimeError> for ApiError {
    fn from(error: TimeError) -> Self {
        Self::Request(error.to_string())
    }
}

/// Checks what a client asks for. `domains` are those that the workspace may use.
pub(crate) fn check_report(
    params: &ReportParams,
    scope: ReportScope,
    domains: &[(i64, String)],
    now: UnixMillis,
) -> Result<ReportQuery, ApiError> {
    let zone = Zone::parse(params.tz.as_deref().unwrap_or("UTC"))?;
    let mut span = Span::parse(params.from.as_deref(), params.to.as_deref(), &zone, now)?;
    let interval = params.interval.unwrap_or_else(|| Interval::for_span(span));
    let is_of_many = matches!(scope, ReportScope::All | ReportScope::Workspace(_));
    if is_of_many && interval != Interval::Minute {
        span = whole_quarters(span);
    }
    let period = Buckets::cut(span, interval, &zone)?;
    let compare = span.compared(params.compare.unwrap_or(Compare::None), &zone)?;
    let compare = compare.map(|span| Buckets::cut(span, interval, &zone)).transpose()?;
    let limit = params.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(ApiError::Request(format!("limit is from 1 to {LIMIT_MAX}")));
    }
    let by = params.by.as_deref().map(dimensions).transpose()?.unwrap_or_default();
    let filters = params.filter.as_deref().map(|text| filter::parse(text, domains)).transpose();
    let filters = filters.map_err(|error| ApiError::Request(error.to_string()))?;
    let mut filters = filters.unwrap_or_default();
    if let Some(host) = &params.domain {
        filters.push(on_domain(host, domains)?);
    }
    Ok(ReportQuery {
        scope,
        zone,
        interval,
        period,
        compare,
        by,
        filters,
        limit,
        with_visitors: true,
        top_visitors_max: u64::MAX,
    })
}

fn on_domain(host: &str, domains: &[(i64, String)]) -> Result<Filter, ApiError> {
    let host = host.to_ascii_lowercase();
    let found = domains.iter().find(|(_, name)| *name == host);
    let found = found
        .ok_or_else(|| ApiError::Request("domain names none that this workspace has".into()))?;
    Ok(Filter { is_negated: false, test: Test::Number(Dimension::Domain, vec![found.0]) })
}

/// A workspace's range goes out to whole quarter hours, which its rollup knows: the parts of one
/// would have to be looked for in each of its links.
fn whole_quarters(span: Span) -> Span {
    let to_s = span.to_s.checked_next_multiple_of(QUARTER_S).unwrap_or(span.to_s);
    Span { from_s: span.from_s - span.from_s % QUARTER_S, to_s }
}

fn dimensions(text: &str) -> Result<Vec<Dimension>, ApiError> {
    let mut by = Vec::new();
    for name in text.split(',') {
        let dimension = Dimension::parse(name).ok_or_else(|| {
            ApiError::Request(format!(
                "by: the dimensions are {}; separate them by commas",
                names()
            ))
        })?;
        if by.contains(&dimension) || by.len() == BY_MAX {
            let detail = format!("by has at most {BY_MAX} dimensions, each of them once");
            return Err(ApiError::Request(detail));
        }
        by.push(dimension);
    }
    Ok(by)
}
