//! A report as people read it: headline numbers, a plot, breakdowns with bars.
//!
//! Values of breakdowns are what visitors sent: nothing of them reaches the terminal as anything but
//! text.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::grouped;
use super::plot::{eighths, plot};
use super::screen::Screen;

/// Columns of a bar.
const BAR_WIDTH: usize = 20;

/// What is read of the control plane's answer.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Report {
    link_id: Option<String>,
    links: Option<u64>,
    #[serde(flatten)]
    period: Period,
    compare: Option<Period>,
    top: BTreeMap<String, Vec<Top>>,
    detail_since: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Period {
    range: Range,
    totals: Totals,
    series: Vec<Point>,
}

#[derive(Clone, Debug, Deserialize)]
struct Range {
    from: String,
    to: String,
    tz: String,
    interval: String,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Totals {
    clicks: u64,
    visitors: u64,
    bots: u64,
    previews: u64,
    prefetches: u64,
    heads: u64,
}

#[derive(Clone, Debug, Deserialize)]
struct Point {
    at: String,
    clicks: u64,
}

#[derive(Clone, Debug, Deserialize)]
struct Top {
    value: String,
    clicks: u64,
    visitors: u64,
}

impl Report {
    /// Ids of the links that it names.
    pub(crate) fn links(&self) -> impl Iterator<Item = &str> {
        let top = self.top.get("link").into_iter().flatten();
        top.map(|of| of.value.as_str()).chain(self.link_id.as_deref())
    }

    /// The whole text. `links` are the short URLs of ids; `by` are the breakdowns in their order.
    pub(crate) fn text(
        &self,
        links: &BTreeMap<String, String>,
        by: &str,
        screen: &Screen,
    ) -> String {
        let subject = match (&self.link_id, self.links) {
            (Some(id), _) => links.get(id).cloned().unwrap_or_else(|| format!("Link {id}")),
            (None, Some(1)) => "1 link".to_owned(),
            (None, links) => format!("All {} links", grouped(links.unwrap_or_default())),
        };
        let Range { from, to, tz, interval } = &self.period.range;
        let mut text = format!("{subject}\n{} to {}, {tz}\n\n", minute(from), minute(to));
        text.push_str(&self.headline());
        let values: Vec<u64> = self.period.series.iter().map(|point| point.clicks).collect();
        let labels: Vec<String> =
            self.period.series.iter().map(|point| label(&point.at, interval)).collect();
        let plot = plot(&values, &labels, interval, *screen);
        if plot.is_empty() {
            text.push_str("\nNobody clicked in this time.\n");
        } else {
            text.push_str(&format!("\nClicks by {interval}\n{plot}"));
        }
        for name in by.split(',') {
            let Some(values) = self.top.get(name).filter(|values| !values.is_empty()) else {
                continue;
            };
            text.push('\n');
            text.push_str(&self.breakdown(name, values, links, *screen));
        }
        if let Some(since) = self.detail_since.as_deref().filter(|_| !self.top.is_empty()) {
            text.push_str(&format!(
                "\nBreakdowns and filters know of no clicks before {}.\n",
                minute(since)
            ));
        }
        text
    }

    fn headline(&self) -> String {
        let of = |totals: &Totals| {
            let Totals { clicks, visitors, bots, previews, prefetches, heads } = *totals;
            [clicks, visitors, bots, previews + prefetches + heads]
        };
        let now = of(&self.period.totals);
        let before = self.compare.as_ref().map(|compare| of(&compare.totals));
        let mut rows = vec![["CLICKS", "VISITORS", "BOTS", "OTHER"].map(str::to_owned)];
        rows.push(now.map(grouped));
        if let Some(before) = before {
            rows.push(std::array::from_fn(|at| change(now[at], before[at])));
        }
        let mut text = String::new();
        for (at, row) in rows.iter().enumerate() {
            for cell in row {
                text.push_str(&format!("{cell:>12}"));
            }
            if at == 2
                && let Some(compare) = &self.compare
            {
                let Range { from, to, .. } = &compare.range;
                text.push_str(&format!(
                    "\n{:>12}  compared with {} to {}",
                    "",
                    minute(from),
                    minute(to)
                ));
            }
            text.push('\n');
        }
        text
    }

    /// Numbers first: whatever a value holds, it moves no column.
    fn breakdown(
        &self,
        name: &str,
        values: &[Top],
        links: &BTreeMap<String, String>,
        screen: Screen,
    ) -> String {
        let totals = self.period.totals;
        let all = match name {
            "kind" => {
                let Totals { clicks, bots, previews, prefetches, heads, .. } = totals;
                clicks + bots + previews + prefetches + heads
            }
            _ => totals.clicks,
        };
        let most = values.iter().map(|of| of.clicks).max().unwrap_or_default();
        let width = |of: fn(&Top) -> u64, head: &str| {
            let widest = values.iter().map(|value| grouped(of(value)).len()).max();
            widest.unwrap_or_default().max(head.len())
        };
        let clicks = width(|of| of.clicks, "CLICKS");
        let visitors = width(|of| of.visitors, "VISITORS");
        let before = clicks + visitors + BAR_WIDTH + "  100.0 %      ".len();
        let room = screen.width.saturating_sub(before).max(10);
        let head = name.to_uppercase().replace('_', " ");
        let mut text = format!(
            "{:>clicks$}  {:>7}  {:>visitors$}  {:BAR_WIDTH$}  {head}\n",
            "CLICKS", "SHARE", "VISITORS", ""
        );
        for Top { value, clicks: n, visitors: people } in values {
            let bar = screen.bar(eighths(*n, most, BAR_WIDTH * 8));
            let value = match links.get(value) {
                Some(short_url) if name == "link" => short_url.clone(),
                _ if value.is_empty() => unknown(name).to_owned(),
                _ => shown(value),
            };
            text.push_str(&format!(
                "{:>clicks$}  {:>7}  {:>visitors$}  {bar:BAR_WIDTH$}  {}\n",
                grouped(*n),
                share(*n, all),
                grouped(*people),
                cut(&value, room, screen)
            ));
        }
        text
    }
}

/// What the empty value of a dimension says.
fn unknown(dimension: &str) -> &'static str {
    match dimension {
        "referrer" | "referrer_path" => "(none)",
        name if name.starts_with("utm_") => "(none)",
        _ => "(unknown)",
    }
}

/// A text without anything that a terminal would obey or that changes the direction of writing.
fn shown(text: &str) -> String {
    let is_odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    text.chars().map(|c| if is_odd(c) { '?' } else { c }).collect()
}

/// A text in so many characters.
fn cut(text: &str, room: usize, screen: Screen) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let end = if screen.is_ascii { "..." } else { "…" };
    let kept: String = text.chars().take(room - end.chars().count()).collect();
    kept + end
}

/// Percent with one digit behind the point.
fn share(n: u64, all: u64) -> String {
    if all == 0 {
        return String::new();
    }
    let per_mille = (u128::from(n) * 1000 + u128::from(all) / 2) / u128::from(all);
    format!("{}.{} %", per_mille / 10, per_mille % 10)
}

/// How much more than before, in percent.
fn change(now: u64, before: u64) -> String {
    if before == 0 {
        return if now == 0 { "=" } else { "new" }.to_owned();
    }
    let difference = i128::from(now) - i128::from(before);
    let half = i128::from(before / 2) * difference.signum();
    match (difference * 100 + half) / i128::from(before) {
        0 => "=".to_owned(),
        percent => format!("{percent:+} %"),
    }
}

/// An RFC 3339 time to the minute, as its zone's clocks show it.
fn minute(at: &str) -> String {
    at.get(..16).unwrap_or(at).replace('T', " ")
}

/// What is said of a step under a plot.
fn label(at: &str, interval: &str) -> String {
    let range = match interval {
        "minute" | "hour" => 5..16,
        "month" => 0..7,
        "year" => 0..4,
        _ => 0..10,
    };
    at.get(range).unwrap_or(at).replace('T', " ")
}

#[cfg(test)]
mod tests;
