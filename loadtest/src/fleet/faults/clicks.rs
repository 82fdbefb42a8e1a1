//! Whether the clicks that were answered are stored, each once, by link.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::time::sleep;

use super::model::Expected;
use crate::api::{Api, ApiClient};
use crate::failure::Failure;
use crate::trial::Stored;

/// How long clicks may be on their way. Batches wait longer and longer for a store that is away.
const STORED_MAX: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(500);
/// Links that are described; the others are counted.
const EXAMPLES_MAX: usize = 5;

/// What was answered and what is stored, since the beginning.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Compared {
    pub(super) answered: u64,
    pub(super) stored: u64,
    /// Stored clicks of requests that were cut: they may be.
    pub(super) cut_and_stored: u64,
    pub(super) lost: u64,
    pub(super) surplus: u64,
    pub(super) rollup_differences: u64,
    pub(super) is_whole: bool,
    /// From the last answer on.
    pub(super) seconds: f64,
    pub(super) examples: Vec<String>,
}

impl Compared {
    pub(super) const fn is_exact(&self) -> bool {
        self.lost == 0 && self.surplus == 0 && self.rollup_differences == 0 && self.is_whole
    }
}

/// Waits until all is stored, and compares.
pub(super) async fn compare(
    database: &Path,
    api: &Api,
    links: HashMap<String, Expected>,
    targets: HashMap<String, Expected>,
) -> Result<Compared, Failure> {
    let links = with_ids(api, links, targets).await?;
    let begun = Instant::now();
    loop {
        let stored = Stored::read(database).await?;
        let waited = begun.elapsed();
        let compared = judge(&links, &stored, waited);
        if compared.is_exact()
            || (compared.lost == 0 && compared.surplus > 0)
            || waited > STORED_MAX
        {
            return Ok(compared);
        }
        sleep(POLL).await;
    }
}

/// Finds the ids of links whose creation had no answer, where somebody followed them.
async fn with_ids(
    api: &Api,
    mut links: HashMap<String, Expected>,
    mut targets: HashMap<String, Expected>,
) -> Result<HashMap<String, Expected>, Failure> {
    targets.retain(|_, expected| expected.answered > 0);
    let mut client = ApiClient::new(api.clone());
    let mut cursor = None;
    while !targets.is_empty() {
        let page = client.links(cursor.as_deref()).await;
        let page = page.map_err(|error| Failure::new(format!("GET /api/v1/links: {error}")))?;
        for link in page.data {
            if let Some(expected) = targets.remove(&link.url) {
                links.insert(link.id, expected);
            }
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    // What cannot be found cannot be stored either, and is missed.
    links.extend(targets);
    Ok(links)
}

fn judge(links: &HashMap<String, Expected>, stored: &Stored, waited: Duration) -> Compared {
    let mut compared = Compared {
        stored: stored.sum(),
        rollup_differences: stored.rollup_differences,
        is_whole: stored.integrity == "ok",
        seconds: waited.as_secs_f64(),
        ..Compared::default()
    };
    let mut example = |text: String| {
        if compared.examples.len() < EXAMPLES_MAX {
            compared.examples.push(text);
        }
    };
    let by_link = stored.by_link();
    let (mut lost, mut surplus, mut cut_and_stored, mut answered) = (0, 0, 0, 0);
    for (link, expected) in links {
        let Expected { code, answered: of_link, cut } = expected;
        let stored = by_link.get(link.as_str()).copied().unwrap_or_default();
        let more = stored.saturating_sub(*of_link);
        let (less, too_many) = (of_link.saturating_sub(stored), more.saturating_sub(*cut));
        if less > 0 || too_many > 0 {
            example(format!("/{code} {link}: {of_link} answered, {cut} cut, {stored} stored"));
        }
        answered += of_link;
        lost += less;
        surplus += too_many;
        cut_and_stored += more - too_many;
    }
    let known: HashSet<_> = links.keys().map(String::as_str).collect();
    for (link, stored) in by_link.iter().filter(|(link, _)| !known.contains(*link)) {
        example(format!("link {link}, which nobody followed: {stored} stored"));
        surplus += stored;
    }
    Compared { answered, lost, surplus, cut_and_stored, ..compared }
}
