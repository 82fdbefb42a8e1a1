//! Questions, each asked again and again.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::api::ApiClient;
use crate::failure::Failure;
use crate::latency::{Latencies, Quantiles};

/// One question, asked again and again.
#[derive(Debug, Serialize)]
pub(super) struct Question {
    pub(super) about: String,
    pub(super) clicks: u64,
    pub(super) what: &'static str,
    pub(super) first_ms: f64,
    pub(super) latency: Quantiles,
}

/// Asks for a report.
pub(super) async fn ask(
    client: &mut ApiClient,
    runs: usize,
    about: &str,
    clicks: u64,
    what: &'static str,
    path: &str,
) -> Result<Question, Failure> {
    let mut latencies = Latencies::new();
    let mut first = None;
    for _ in 0..=runs {
        let sent = Instant::now();
        client.report(path).await?;
        // The first one also reads from the disk.
        match first {
            None => first = Some(sent.elapsed()),
            Some(_) => latencies.record(sent.elapsed()),
        }
    }
    Ok(Question {
        about: about.to_owned(),
        clicks,
        what,
        first_ms: first.unwrap_or_default().as_secs_f64() * 1e3,
        latency: latencies.quantiles(),
    })
}

/// As [`ask`], for single clicks.
pub(super) async fn ask_page(
    client: &mut ApiClient,
    runs: usize,
    about: &str,
    clicks: u64,
    what: &'static str,
    path: &str,
) -> Result<Question, Failure> {
    #[derive(Deserialize)]
    struct Page {
        data: Vec<serde::de::IgnoredAny>,
    }
    let mut latencies = Latencies::new();
    let mut first = None;
    for _ in 0..=runs {
        let sent = Instant::now();
        let page: Page = client
            .get(path)
            .await
            .map_err(|error| Failure::new(format!("cannot read a page of clicks: {error}")))?;
        if page.data.is_empty() {
            return Err(Failure::new(format!("{about} shows no clicks")));
        }
        match first {
            None => first = Some(sent.elapsed()),
            Some(_) => latencies.record(sent.elapsed()),
        }
    }
    Ok(Question {
        about: about.to_owned(),
        clicks,
        what,
        first_ms: first.unwrap_or_default().as_secs_f64() * 1e3,
        latency: latencies.quantiles(),
    })
}
