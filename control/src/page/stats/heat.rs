//! The pattern of a week.

use super::About;
use super::body::question;
use super::view::{Asked, length};
use crate::app::App;
use crate::click::report::time::{Interval, Zone};
use crate::click::report::{Point, Report, ReportQuery};
use crate::page::message::message;
use crate::page::respond::PageError;

/// Hours of a series from which it is drawn, at most.
const HOURS_MAX: i64 = 1000;
/// Clicks from which it is drawn where they have to be looked through one by one: a fifth of a second.
const ROWS_MAX: u64 = 200_000;
const DAYS: [&str; 7] = [
    message("Mon"),
    message("Tue"),
    message("Wed"),
    message("Thu"),
    message("Fri"),
    message("Sat"),
    message("Sun"),
];

/// For each day its name, and for each hour a class and its clicks.
pub(in crate::page) struct HeatRow {
    pub(in crate::page) day: &'static str,
    pub(in crate::page) cells: Vec<(u8, u64)>,
}

/// From the clicks of each hour; nothing where the range has too many of them.
pub(super) async fn heat(
    app: &App,
    zone: &Zone,
    asked: &Asked,
    about: &About,
    query: &ReportQuery,
    report: &Report,
) -> Result<Vec<HeatRow>, PageError> {
    let hours = asked.days.map(|days| length(days).saturating_mul(24));
    // Of a day the chart says as much.
    if hours.is_none_or(|hours| hours <= 24 || hours > HOURS_MAX - 24) {
        return Ok(Vec::new());
    }
    if query.interval == Interval::Hour {
        return Ok(rows(zone, &query.period.starts, &report.period.series));
    }
    let totals = report.period.totals;
    if !query.filters.is_empty() && totals.clicks + totals.bots > ROWS_MAX {
        return Ok(Vec::new());
    }
    let mut query = question(app, about, &asked.hours()).await?;
    query.with_visitors = false;
    let report = app.clicks()?.report(&query).await?;
    Ok(rows(zone, &query.period.starts, &report.period.series))
}

fn rows(zone: &Zone, starts: &[u32], series: &[Point]) -> Vec<HeatRow> {
    let mut sums = [[0_u64; 24]; 7];
    for (start, point) in starts.iter().zip(series) {
        let (day, hour) = zone.weekday_and_hour(*start);
        sums[day][hour] += point.clicks;
    }
    let most = sums.iter().flatten().copied().max().unwrap_or_default();
    let row = |(day, sums): (&'static str, &[u64; 24])| HeatRow {
        day,
        cells: sums.iter().map(|clicks| (class(*clicks, most), *clicks)).collect(),
    };
    DAYS.into_iter().zip(&sums).map(row).collect()
}

/// Of five classes, how much it is of the most; 0 for nothing.
pub(super) fn class(clicks: u64, most: u64) -> u8 {
    let class = if most == 0 { 0 } else { clicks.saturating_mul(5).div_ceil(most) };
    u8::try_from(class).unwrap_or(5).min(5)
}
