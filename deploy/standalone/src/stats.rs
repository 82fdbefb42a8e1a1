//! `carom stats`: totals of the installation, or a report over a time, in the terminal, as JSON, or
//! as CSV. A report takes the API's parameters as they are, and the control plane checks them.

use std::collections::BTreeMap;

use carom_control::operator::{LinkName, Stats};
use clap::Args;

use crate::error::CommandError;
use crate::operator::with_operator;
use crate::output;
use crate::output::report::Report;
use crate::output::screen::Screen;
use crate::settings::Settings;
use carom_control::program::{Operator, ProgramError};

const BY_OF_ALL: &str = "link,referrer,country";
const BY_OF_LINK: &str = "referrer,country,browser,device";
/// `--by none`
const BY_NONE: &str = "none";

const EXAMPLES: &str = "\
Without options: totals of all time and the most clicked links. With any of those under Report: \
clicks of a time, of people unless a column says otherwise. NO_COLOR draws with plain ASCII too.

Examples:
  carom stats --link launch --from 2026-01-01 --to 2026-01-31 --tz Europe/Berlin
  carom stats --by country,browser --filter 'channel==search;country!=US' --compare previous
  carom stats --interval hour --csv > hours.csv
  carom stats --by referrer --csv top.referrer";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StatsArgs {
    /// How many links to list, or values of each breakdown
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    top: u32,
    /// Print JSON
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Draw with plain ASCII, as it is where the output is no terminal
    #[arg(long)]
    ascii: bool,
    #[command(flatten, next_help_heading = "Report")]
    report: ReportArgs,
}

#[derive(Debug, Args)]
struct ReportArgs {
    /// One link: its code, its short URL, or its id
    #[arg(long, value_name = "LINK")]
    link: Option<String>,
    /// From when on: a date, or a time such as 2026-01-31T12:00:00Z [default: 30 days]
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Until when; a date is included whole [default: now]
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Time zone of days and longer steps, such as Europe/Berlin [default: UTC]
    #[arg(long, value_name = "ZONE")]
    tz: Option<String>,
    /// How long a step is [default: by the range]
    #[arg(long, value_parser = ["minute", "hour", "day", "week", "month", "year"])]
    interval: Option<String>,
    /// Breakdowns, with commas between them, such as country,browser; or none
    #[arg(long, value_name = "DIMENSIONS")]
    by: Option<String>,
    /// Only such clicks, for example 'country==DE,FR;referrer=@news'
    #[arg(long, value_name = "CONDITIONS")]
    filter: Option<String>,
    /// Compare with the time before, or with the same a year before
    #[arg(long, value_name = "PERIOD", value_parser = ["previous", "year"])]
    compare: Option<String>,
    /// Print CSV: the table totals, series, or top. and a dimension
    #[arg(long, value_name = "TABLE", num_args = 0..=1, default_missing_value = "series")]
    csv: Option<String>,
}

impl ReportArgs {
    /// The address of the report on the operator's surface.
    fn path(&self, top: u32, by: Option<&str>) -> String {
        let mut path = match &self.link {
            Some(link) => format!("/v1/links/{}/report", encoded(link)),
            None => "/v1/report".to_owned(),
        };
        path.push_str(&format!("?limit={top}"));
        let csv = self.csv.as_ref().map(|_| "csv");
        for (name, value) in [
            ("from", self.from.as_deref()),
            ("to", self.to.as_deref()),
            ("tz", self.tz.as_deref()),
            ("interval", self.interval.as_deref()),
            ("by", by),
            ("filter", self.filter.as_deref()),
            ("compare", self.compare.as_deref()),
            ("format", csv),
            ("table", self.csv.as_deref()),
        ] {
            if let Some(value) = value {
                path.push_str(&format!("&{name}={}", encoded(value)));
            }
        }
        path
    }

    fn is_asked(&self) -> bool {
        let Self { link, from, to, tz, interval, by, filter, compare, csv } = self;
        [link, from, to, tz, interval, by, filter, compare, csv].iter().any(|of| of.is_some())
    }

    /// The breakdowns: those asked for, or for people a few.
    fn by(&self, is_for_people: bool) -> Option<&str> {
        match self.by.as_deref() {
            Some(BY_NONE) => None,
            Some(by) => Some(by),
            None if !is_for_people => None,
            None if self.link.is_some() => Some(BY_OF_LINK),
            None => Some(BY_OF_ALL),
        }
    }
}

/// A value of a query or a segment of a path (RFC 3986, 2.1).
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

impl StatsArgs {
    pub(crate) fn run(
        &self,
        settings: &Settings,
        environment: &[(String, String)],
    ) -> Result<(), CommandError> {
        if !self.report.is_asked() {
            let path = format!("/v1/stats?top={}", self.top);
            let stats: Stats =
                with_operator(settings, false, async |operator| Ok(operator.get(&path).await?))?;
            return if self.json { output::json(&stats) } else { output::stats(&stats) };
        }
        if self.json || self.report.csv.is_some() {
            let path = self.report.path(self.top, self.report.by(false));
            // As the API writes it.
            let text =
                with_operator(settings, false, async |operator| Ok(operator.text(&path).await?))?;
            return output::text(&text);
        }
        let path = self.report.path(self.top, self.report.by(true));
        let (report, links) = with_operator(settings, false, async |operator| {
            let report: Report = operator.get(&path).await?;
            let links = self.link_names(operator, &report).await?;
            Ok((report, links))
        })?;
        let screen = Screen::of(environment, self.ascii);
        output::text(&report.text(&links, self.report.by(true).unwrap_or_default(), &screen))
    }

    /// The short URLs of the links that a report names by their ids.
    async fn link_names(
        &self,
        operator: &Operator,
        report: &Report,
    ) -> Result<BTreeMap<String, String>, CommandError> {
        let mut links = BTreeMap::new();
        for id in report.links() {
            let name: Result<LinkName, _> = operator.get(&format!("/v1/links/{id}")).await;
            match name {
                Ok(LinkName { short_url: Some(short_url), .. }) => {
                    links.insert(id.to_owned(), short_url);
                }
                // Deleted, or gone: its id says as much as is known.
                Ok(_) | Err(ProgramError::Problem(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(links)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_reaches_the_control_plane_as_it_is() {
        let report = ReportArgs {
            link: Some("https://go.example/a".into()),
            from: None,
            to: None,
            tz: Some("Europe/Berlin".into()),
            interval: None,
            by: None,
            filter: Some("country==DE,FR;city=@ü&x".into()),
            compare: None,
            csv: Some("series".into()),
        };
        assert_eq!(
            report.path(5, report.by(true)),
            "/v1/links/https%3A%2F%2Fgo.example%2Fa/report?limit=5&tz=Europe%2FBerlin\
             &by=referrer%2Ccountry%2Cbrowser%2Cdevice\
             &filter=country%3D%3DDE%2CFR%3Bcity%3D%40%C3%BC%26x&format=csv&table=series"
        );
        assert!(report.is_asked());
        assert_eq!(report.by(false), None);
    }
}
