//! The last look: each link that was acknowledged, and how many links there are at all.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::load::{Acknowledged, EXAMPLES_MAX, Load, Visited, Visitor};
use super::verdict::Creates;
use crate::api::{Api, ApiClient, Link};
use crate::failure::Failure;
use crate::population::Rng;

/// Connections that look for the acknowledged links.
const VERIFIERS: usize = 16;

/// Looks for each acknowledged link on the edge and in the API. The visits carry ids too: their
/// clicks are compared like all others. `others` are there beside them.
pub(super) async fn verify(
    load: &Arc<Load>,
    api: &Api,
    acknowledged: Acknowledged,
    others: u64,
    rng: &mut Rng,
) -> Result<(Creates, Visited), Failure> {
    let Acknowledged { links, cut, refused, refused_examples } = acknowledged;
    let least = links.len() as u64 + others;
    let mut creates = Creates {
        acknowledged: links.len() as u64,
        cut,
        refused,
        refused_examples,
        links: ApiClient::new(api.clone()).links_count().await?,
        links_least: least,
        links_most: least + cut,
        ..Creates::default()
    };
    let mut verifiers = JoinSet::new();
    for part in links.chunks(links.len().div_ceil(VERIFIERS).max(1)) {
        let (load, rng, part) = (Arc::clone(load), rng.fork(), part.to_vec());
        let mut client = ApiClient::new(api.clone());
        verifiers.spawn(async move {
            let mut visitor = Visitor::new(&load, rng);
            let mut missing = Vec::new();
            for link in part {
                missing.extend(look_for(&link, &mut visitor, &mut client).await);
            }
            (missing, visitor.finish())
        });
    }
    let mut visited = Visited::default();
    while let Some(result) = verifiers.join_next().await {
        let (missing, its) =
            result.map_err(|error| Failure::new(format!("a verifier died: {error}")))?;
        visited.add(its);
        creates.missing += missing.len() as u64;
        creates.missing_examples.extend(missing);
    }
    creates.missing_examples.truncate(EXAMPLES_MAX);
    Ok((creates, visited))
}

/// Why `link` counts as missing; `None` if it is there.
async fn look_for(
    link: &Link,
    visitor: &mut Visitor<'_>,
    client: &mut ApiClient,
) -> Option<String> {
    let code = &link.code;
    match visitor.visit(link).await {
        Ok(true) => {}
        Ok(false) => return Some(format!("/{code} does not lead to {}", link.url)),
        Err(error) => return Some(format!("/{code}: {error}")),
    }
    match client.link(&link.id).await {
        Ok(found) if found.code == *code && found.url == link.url => None,
        Ok(found) => Some(format!("link {} is {} to {}", link.id, found.code, found.url)),
        Err(error) => Some(format!("link {} ({code}): {error}", link.id)),
    }
}
