//! Everybody who puts load on the server: started before the first kill, joined after the last.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::KillArgs;
use super::edits::{self, Editor};
use super::load::{Acknowledged, EXAMPLES_MAX, Load, Visited, Visitor};
use super::verdict::Edits;
use crate::api::{Api, ApiClient, Link};
use crate::failure::Failure;
use crate::population::Rng;

/// Those at work.
pub(super) struct Crew {
    visitors: JoinSet<(Link, Visited)>,
    creators: JoinSet<Acknowledged>,
    editors: JoinSet<(Edits, Visited)>,
}

/// What they saw.
#[derive(Default)]
pub(super) struct Seen {
    /// Each visitor, and the link that is its own.
    pub(super) by_link: Vec<(Link, Visited)>,
    pub(super) acknowledged: Acknowledged,
    pub(super) edits: Edits,
    /// What editors saw on the edge.
    pub(super) by_editors: Visited,
}

impl Crew {
    /// Sends them to work. At full speed there are visitors only.
    pub(super) async fn start(
        args: &KillArgs,
        load: &Arc<Load>,
        api: &Api,
        rng: &mut Rng,
    ) -> Result<Self, Failure> {
        let (creators, editors) = match args.full_speed {
            true => (0, 0),
            false => (args.creators, args.editors),
        };
        let mut client = ApiClient::new(api.clone());
        let mut of_editors = Vec::with_capacity(editors);
        for editor in 0..editors {
            let code = |n| format!("edited-{editor}-{n}");
            let codes = (0..edits::LINKS).map(code);
            of_editors.push(create_links(&mut client, codes, |code| edits::url(code, 0)).await?);
        }
        let codes = (0..args.connections).map(|n| format!("visitor-{n}"));
        let url = |code: &str| format!("https://www.example.com/{code}");
        let of_visitors = create_links(&mut client, codes, url).await?;

        let mut crew =
            Self { visitors: JoinSet::new(), creators: JoinSet::new(), editors: JoinSet::new() };
        for link in of_visitors {
            let (load, rng) = (Arc::clone(load), rng.fork());
            crew.visitors.spawn(async move {
                let visited = Visitor::new(&load, rng).follow(&link).await;
                (link, visited)
            });
        }
        for _ in 0..creators {
            let (load, api) = (Arc::clone(load), api.clone());
            crew.creators.spawn(async move { load.create(api).await });
        }
        for links in of_editors {
            let (load, rng) = (Arc::clone(load), rng.fork());
            let client = ApiClient::new(api.clone());
            crew.editors.spawn(async move { Editor::new(&load, client, rng, links).run().await });
        }
        Ok(crew)
    }

    /// Waits for all of them, who end once the load has stopped.
    pub(super) async fn finish(mut self) -> Result<Seen, Failure> {
        let died = |error| Failure::new(format!("one of those who put load on it died: {error}"));
        let mut seen = Seen::default();
        while let Some(its) = self.visitors.join_next().await {
            seen.by_link.push(its.map_err(died)?);
        }
        while let Some(its) = self.creators.join_next().await {
            seen.acknowledged.add(its.map_err(died)?);
        }
        while let Some(its) = self.editors.join_next().await {
            let (edits, visited) = its.map_err(died)?;
            seen.edits.add(edits);
            seen.by_editors.add(visited);
        }
        Ok(seen)
    }
}

async fn create_links(
    client: &mut ApiClient,
    codes: impl Iterator<Item = String>,
    url: impl Fn(&str) -> String,
) -> Result<Vec<Link>, Failure> {
    let mut links = Vec::new();
    for code in codes {
        let created = client.create(&url(&code), Some(&code)).await;
        links.push(created.map_err(|error| {
            Failure::new(format!("cannot create the links before the kills: {error}"))
        })?);
    }
    Ok(links)
}

impl Visited {
    pub(super) fn add(&mut self, other: Self) {
        self.answered += other.answered;
        self.ids.extend(other.ids);
        self.wrong += other.wrong;
        self.wrong_examples.extend(other.wrong_examples);
        self.wrong_examples.truncate(EXAMPLES_MAX);
        self.cut += other.cut;
    }
}

impl Acknowledged {
    fn add(&mut self, other: Self) {
        self.links.extend(other.links);
        self.cut += other.cut;
        self.refused += other.refused;
        self.refused_examples.extend(other.refused_examples);
        self.refused_examples.truncate(EXAMPLES_MAX);
    }
}
