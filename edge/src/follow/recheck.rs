//! Asks for everything that is known again, after changes were missed.

use std::time::Duration;

use carom_shared::{Code, DomainId, RouteChange};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::control::ControlClient;
use crate::resolve::Resolver;

/// Questions under way at once: fewer than the connections, so that the feed has its own.
const AT_ONCE: usize = 8;
/// After a question that failed.
const RETRY: Duration = Duration::from_millis(500);
/// So many failures of one route, a minute of them, while control answers otherwise: it is the route. It
/// stays as it was known, for it must not keep all others from being fresh.
const TRIES: u32 = 120;

/// Routes that wait for a question.
const QUEUE: usize = 256;

/// Ends when the control plane has been asked for each route that is known now.
pub(super) async fn run(resolver: Resolver, client: ControlClient) {
    let (sender, mut known) = mpsc::channel(QUEUE);
    let visited = resolver.clone();
    // It waits for room in the queue, so it belongs on a thread that may wait; it ends with us.
    let visit =
        move || visited.visit_known(|domain, code| sender.blocking_send((domain, code)).is_ok());
    let visit = tokio::task::spawn_blocking(visit);
    let mut questions = JoinSet::new();
    while let Some((domain, code)) = known.recv().await {
        while questions.len() >= AT_ONCE {
            questions.join_next().await;
        }
        let (resolver, client) = (resolver.clone(), client.clone());
        questions.spawn(async move { check(&resolver, &client, domain, code).await });
    }
    while questions.join_next().await.is_some() {}
    if let Err(error) = visit.await {
        tracing::error!(%error, "not everything that is known was asked for again");
    }
}

async fn check(resolver: &Resolver, client: &ControlClient, domain: DomainId, code: Code) {
    let mut failed = 0_u32;
    loop {
        match client.route(domain, &code).await {
            Ok(Some(record)) => return resolver.apply(RouteChange { domain, code, record }),
            // A route's row is never removed: this is not the database it came from.
            Ok(None) => {
                tracing::error!(%domain, "the control plane does not know a link of this edge");
                return;
            }
            Err(error) => {
                failed += 1;
                if failed.is_multiple_of(TRIES) && client.head().await.is_ok() {
                    tracing::warn!(%error, %domain, "a known link cannot be asked for, and stays as it was");
                    return;
                }
                tracing::debug!(%error, "a known link could not be asked for");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}
