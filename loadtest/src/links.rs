//! Many links at once: created over several connections, refusals sorted by their reason.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::task::JoinSet;

use crate::api::{Api, ApiClient, ApiError, Link, Refusal};
use crate::failure::Failure;
use crate::latency::Latencies;

/// Refused URLs that are shown for each reason; the others are counted.
const EXAMPLES_MAX: usize = 3;

/// Links that were created, and what it took.
#[derive(Debug)]
pub(crate) struct Created {
    pub(crate) links: Vec<Link>,
    pub(crate) refused: Refused,
    pub(crate) latencies: Latencies,
    pub(crate) elapsed: Duration,
}

/// Refused URLs by reason.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Refused {
    pub(crate) count: u64,
    pub(crate) reasons: BTreeMap<String, Reason>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Reason {
    pub(crate) count: u64,
    pub(crate) examples: Vec<String>,
}

/// When enough was created.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Enough {
    /// So many links; a refused URL is replaced by the next one.
    Accepted(usize),
    /// So much time; the URLs are used again from the first when all were.
    Elapsed(Duration),
}

impl Refused {
    fn add(&mut self, url: &str, refusal: &Refusal) {
        self.count += 1;
        let reason = format!("status {} {}", refusal.status, refusal.reason);
        let reason = self.reasons.entry(reason).or_default();
        reason.count += 1;
        if reason.examples.len() < EXAMPLES_MAX {
            reason.examples.push(format!("{url}: {}", refusal.detail));
        }
    }
}

/// Creates links for `urls` until it is enough.
///
/// # Errors
/// A [`Failure`] if the URLs run out, a call has no answer, or the server refuses the caller and
/// not the URL (401, 403, 429, 5xx): going on would only use up the URLs.
pub(crate) async fn create(
    api: &Api,
    urls: &Arc<[String]>,
    connections: usize,
    enough: Enough,
) -> Result<Created, Failure> {
    let begun = Instant::now();
    let work = Arc::new(Work {
        urls: Arc::clone(urls),
        enough,
        begun,
        queue: Mutex::new(Queue::default()),
    });
    let mut creators = JoinSet::new();
    for _ in 0..connections {
        creators.spawn(creator(Arc::clone(&work), ApiClient::new(api.clone())));
    }
    let mut latencies = Latencies::new();
    let mut links = Vec::new();
    while let Some(result) = creators.join_next().await {
        let (its_links, its_latencies) =
            result.map_err(|error| Failure::new(format!("a creator died: {error}")))??;
        links.extend(its_links);
        latencies.add(&its_latencies);
    }
    let elapsed = begun.elapsed();
    let refused = std::mem::take(&mut work.lock().refused);
    Ok(Created { links, refused, latencies, elapsed })
}

struct Work {
    urls: Arc<[String]>,
    enough: Enough,
    begun: Instant,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    next_url: usize,
    /// Links that exist or are being made; a refusal keeps its place for the next URL.
    places: usize,
    refused: Refused,
}

impl Work {
    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().expect("no creator panics while it holds the queue")
    }

    fn take_place(&self) -> bool {
        let mut queue = self.lock();
        let more = match self.enough {
            Enough::Accepted(max) => queue.places < max,
            Enough::Elapsed(max) => self.begun.elapsed() < max,
        };
        queue.places += usize::from(more);
        more
    }

    fn next_url(&self) -> Result<&str, Failure> {
        let mut queue = self.lock();
        let index = match self.enough {
            Enough::Accepted(_) => queue.next_url,
            Enough::Elapsed(_) => queue.next_url % self.urls.len(),
        };
        queue.next_url += 1;
        let url = self.urls.get(index).ok_or_else(|| {
            let Queue { places, ref refused, .. } = *queue;
            let refused = serde_json::to_string_pretty(refused).unwrap_or_default();
            Failure::new(format!(
                "only {} URLs, too few for {places} links; refused were {refused}",
                self.urls.len()
            ))
        })?;
        Ok(url)
    }
}

async fn creator(
    work: Arc<Work>,
    mut client: ApiClient,
) -> Result<(Vec<Link>, Latencies), Failure> {
    let mut links = Vec::new();
    let mut latencies = Latencies::new();
    while work.take_place() {
        loop {
            let url = work.next_url()?;
            let sent = Instant::now();
            match client.create(url, None).await {
                Ok(link) => {
                    latencies.record(sent.elapsed());
                    links.push(link);
                    break;
                }
                Err(ApiError::Refused(refusal)) if refusal.is_about_the_request() => {
                    work.lock().refused.add(url, &refusal);
                }
                Err(error) => {
                    return Err(Failure::new(format!("cannot create a link for {url}: {error}")));
                }
            }
        }
    }
    Ok((links, latencies))
}
