//! What the kills met, as far as a server and its files tell: without it a run that found nothing
//! might have looked at nothing.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use serde::Serialize;
use tokio::time::timeout;

use crate::failure::Failure;
use crate::http::{Connection, EXCHANGE_MAX, HttpError};

/// From so many kills on, some must have met what is rarer than once in a few.
const KILLS_FOR_RARE: usize = 20;

/// Counted over all kills.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Met {
    /// Clicks that were in no batch when the server was killed.
    pub(crate) recovered_clicks: u64,
    /// Batches that waited to be stored, or were being stored: at each kill, those that were there.
    pub(crate) batches_left: u64,
    /// Batches that were being written.
    pub(crate) batches_unfinished: u64,
    /// Batches that came again though the store had them, so far as that was seen: a server that
    /// is killed soon after tells nobody.
    pub(crate) batches_repeated: u64,
    /// Records that were being written: the moment is some 50 ns of each redirect, so in most runs
    /// there is none.
    pub(crate) records_torn: u64,
    /// Clicks of which the server says that it gave up all or all but their number.
    pub(crate) clicks_given_up: u64,
}

impl Met {
    /// What a kill has left in the spool.
    pub(super) fn count_left(&mut self, data_dir: &Path) -> Result<(), Failure> {
        let outbox = data_dir.join("spool/outbox");
        let fail = |error| Failure::new(format!("{}: {error}", outbox.display()));
        for file in fs::read_dir(&outbox).map_err(fail)? {
            let path = file.map_err(fail)?.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("clk") => self.batches_left += 1,
                Some("tmp") => self.batches_unfinished += 1,
                _ => {}
            }
        }
        Ok(())
    }

    /// What a server that has just started found.
    pub(super) fn count_found(&mut self, metrics: &Metrics) {
        self.recovered_clicks += metrics.get("carom_edge_clicks_recovered_total");
    }

    /// What a server has met in its life, which is about to end.
    pub(super) fn count_life(&mut self, metrics: &Metrics) {
        self.batches_repeated += metrics.get("carom_edge_batches_repeated_total");
        // These are totals over all lives.
        self.records_torn = metrics.get("carom_edge_records_torn_total");
        let given_up = ["dropped", "lost", "counted", "compacted"];
        let given_up = given_up.map(|what| metrics.get(&format!("carom_edge_clicks_{what}_total")));
        self.clicks_given_up = given_up.iter().sum();
    }

    /// Why `kills` prove less than they should.
    pub(super) fn problems(&self, kills: usize) -> Vec<String> {
        let mut problems = Vec::new();
        if self.clicks_given_up > 0 {
            problems.push(format!(
                "the server says that it gave up {} clicks, so their number cannot be exact: give \
                 it fewer connections",
                self.clicks_given_up
            ));
        }
        if self.recovered_clicks == 0 {
            problems.push("no start recovered a click, so recovery is not proved".to_owned());
        }
        if kills >= KILLS_FOR_RARE && self.batches_left == 0 {
            problems.push("no kill left a batch behind, so sending again is not proved".to_owned());
        }
        problems
    }
}

/// A page of metrics in Prometheus' text.
pub(super) struct Metrics(String);

impl Metrics {
    /// Reads the page of `admin`.
    pub(super) async fn read(admin: SocketAddr) -> Result<Self, Failure> {
        let exchange = async {
            let mut connection = Connection::open(admin).await?;
            let request =
                format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
            connection.send(request.as_bytes()).await?;
            let head = connection.read_head().await?;
            let response = connection.read_body(&head).await?;
            Ok(String::from_utf8_lossy(response.body).into_owned())
        };
        let page = timeout(EXCHANGE_MAX, exchange).await.unwrap_or(Err(HttpError::Timeout));
        page.map(Self).map_err(|error| Failure::new(format!("http://{admin}/metrics: {error}")))
    }

    /// The sum of all series of `name`; 0 if there is none.
    fn get(&self, name: &str) -> u64 {
        let samples = self.0.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let value = match rest.strip_prefix('{') {
                Some(labels) => labels.rsplit_once("} ")?.1,
                None => rest.strip_prefix(' ')?,
            };
            value.parse::<u64>().ok()
        });
        samples.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# HELP carom_edge_clicks_recovered_total Clicks of an earlier run.\n\
        # TYPE carom_edge_clicks_recovered_total counter\n\
        carom_edge_clicks_recovered_total 7\n\
        carom_edge_clicks_recovered_total_more 100\n\
        carom_edge_batches_repeated_total 2\n\
        carom_edge_records_torn_total 1\n\
        carom_edge_clicks_dropped_total{reason=\"table_full\"} 3\n\
        carom_edge_clicks_dropped_total{reason=\"another } 9\"} 4\n";

    #[test]
    fn metrics_are_read_and_summed() {
        let mut met = Met::default();
        for _ in 0..2 {
            let page = Metrics(PAGE.to_owned());
            met.count_found(&page);
            met.count_life(&page);
        }
        let expected = Met {
            recovered_clicks: 14,
            batches_repeated: 4,
            records_torn: 1,
            clicks_given_up: 7,
            ..Met::default()
        };
        assert_eq!(met, expected);
    }

    #[test]
    fn a_run_that_met_nothing_is_void() {
        let good = Met { recovered_clicks: 1, batches_left: 1, ..Met::default() };
        assert_eq!(good.problems(100), Vec::<String>::new());
        let nothing = Met::default();
        assert_eq!(nothing.problems(KILLS_FOR_RARE).len(), 2);
        assert_eq!(nothing.problems(3).len(), 1, "three kills may all miss it");
        assert_eq!(Met { clicks_given_up: 1, ..good }.problems(3).len(), 1);
    }
}
