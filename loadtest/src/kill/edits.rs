//! Editors: each changes, deletes and restores links of its own, which nobody else touches, and
//! compares what the API and the edge show with what can be true ([`super::possible`]).
//!
//! The target and the title of a link come from one number, so a change that was done by half
//! shows. After each answered edit the edge is asked at once. When an edit was cut, the editor looks
//! at all its links before it goes on: API, edge, and API again, so that the two cannot differ
//! unseen.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::sleep;

use super::load::{EXAMPLES_MAX, Load, Shown, Visited, Visitor};
use super::possible::{Edit, Possible, State, Told};
use super::verdict::Edits;
use crate::api::{ApiClient, ApiError, Link};
use crate::http::HttpError;
use crate::population::Rng;

/// Links of one editor: few, so that looking at them after each kill takes no time.
pub(super) const LINKS: usize = 8;
/// Pause between two edits: as between creates, the redirects are to have the machine.
const EDIT_PAUSE: Duration = Duration::from_millis(5);
/// Pause before the API is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(5);
/// A link whose edits were cut so often, with nothing answered in between, is left alone.
const POSSIBLE_MAX: usize = 32;
/// Looks at all links at the end that may fail before the editor gives up.
const LAST_LOOKS_MAX: u32 = 20;
/// One edit in so many deletes.
const DELETE_ONE_IN: usize = 4;

/// A link as the API shows it.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct View {
    version: u64,
    url: String,
    title: Option<String>,
}

impl View {
    /// Whether a link with this code, in this state, looks so.
    fn is(&self, code: &str, state: &State) -> bool {
        !state.is_deleted
            && self.version == state.version
            && self.url == url(code, state.change)
            && self.title == title(state.change)
    }
}

impl Shown {
    /// Whether the edge answers so for a link with this code, in this state.
    fn is(&self, code: &str, state: &State) -> bool {
        match self {
            Self::To(location) => !state.is_deleted && *location == url(code, state.change),
            Self::Gone => state.is_deleted,
            Self::Other(_) => false,
        }
    }
}

/// The target that a change gives.
pub(super) fn url(code: &str, change: u64) -> String {
    format!("https://www.example.com/{code}/{change}")
}

/// The title that a change gives; a link is made without one.
fn title(change: u64) -> Option<String> {
    (change > 0).then(|| format!("Change {change}"))
}

/// A link and what may be true of it; `None` once something was seen that cannot be.
struct Edited {
    link: Link,
    possible: Option<Possible>,
}

/// An editor: one call at a time.
pub(super) struct Editor<'a> {
    load: &'a Load,
    client: ApiClient,
    visitor: Visitor<'a>,
    rng: Rng,
    links: Vec<Edited>,
    /// The number of the last change.
    change: u64,
    edits: Edits,
}

impl<'a> Editor<'a> {
    /// An editor of `links`, which were just made with [`url`] of change 0.
    pub(super) fn new(load: &'a Load, client: ApiClient, mut rng: Rng, links: Vec<Link>) -> Self {
        let visitor = Visitor::new(load, rng.fork());
        let edits = Edits { links: links.len() as u64, ..Edits::default() };
        let made = |link| Edited { link, possible: Some(Possible::made()) };
        let links = links.into_iter().map(made).collect();
        Self { load, client, visitor, rng, links, change: 0, edits }
    }

    /// Edits until the load stops, then looks at everything once more.
    pub(super) async fn run(mut self) -> (Edits, Visited) {
        let mut is_sure = true;
        while !self.load.stopped() {
            is_sure = match is_sure {
                true => self.edit().await.is_ok(),
                false => self.look_at_all().await.is_ok(),
            };
            sleep(if is_sure { EDIT_PAUSE } else { RETRY_PAUSE }).await;
        }
        self.finish().await;
        let is_there = |edited: &&Edited| {
            edited.possible.as_ref().is_some_and(|possible| !possible.oldest().is_deleted)
        };
        self.edits.links_there = self.links.iter().filter(is_there).count() as u64;
        (self.edits, self.visitor.finish())
    }

    async fn finish(&mut self) {
        for _ in 0..LAST_LOOKS_MAX {
            if self.look_at_all().await.is_ok() {
                for index in 0..self.links.len() {
                    self.look_at_history(index).await;
                }
                return;
            }
            sleep(RETRY_PAUSE).await;
        }
        self.edits.wrong += 1;
        example(&mut self.edits.wrong_examples, "links cannot be read at the end".to_owned());
    }

    /// Edits one of the links, and follows it.
    ///
    /// # Errors
    /// If there was no answer, so that nobody knows.
    async fn edit(&mut self) -> Result<(), ApiError> {
        let index = self.rng.below(self.links.len());
        let Some(possible) = &self.links[index].possible else { return Ok(()) };
        if possible.count() > POSSIBLE_MAX {
            return Ok(());
        }
        let edit = if possible.oldest().is_deleted {
            Edit::Restore
        } else if self.rng.below(DELETE_ONE_IN) == 0 {
            Edit::Delete
        } else {
            self.change += 1;
            Edit::Change(self.change)
        };
        let told = match self.send(index, edit).await {
            Ok(told) => told,
            Err(error) => {
                if let Some(possible) = &mut self.links[index].possible {
                    possible.cut(edit);
                }
                self.edits.cut += 1;
                if let ApiError::Refused(refusal) = &error {
                    self.edits.refused += 1;
                    example(&mut self.edits.refused_examples, format!("{edit:?}: {refusal}"));
                }
                return Err(error);
            }
        };
        match edit {
            Edit::Change(_) => self.edits.changes += 1,
            Edit::Delete => self.edits.deletes += 1,
            Edit::Restore => self.edits.restores += 1,
        }
        self.judge(index, &format!("{edit:?} was answered {told:?}"), |possible, _| {
            possible.told(edit, told)
        });
        self.follow(index).await.map_err(ApiError::Http)
    }

    async fn send(&mut self, index: usize, edit: Edit) -> Result<Told, ApiError> {
        let Link { id, code, .. } = &self.links[index].link;
        let path = format!("/api/v1/links/{id}");
        let sent = match edit {
            Edit::Change(change) => {
                let body = serde_json::json!({ "url": url(code, change), "title": title(change) });
                let view: Result<View, _> =
                    self.client.call("PATCH", &path, &body.to_string(), 200).await;
                view.map(|view| Told::Version(view.version))
            }
            Edit::Delete => {
                let done: Result<(), _> = self.client.call("DELETE", &path, "", 204).await;
                done.map(|()| Told::Done)
            }
            Edit::Restore => {
                let path = format!("{path}/restore");
                let view: Result<View, _> = self.client.call("POST", &path, "", 200).await;
                view.map(|view| Told::Version(view.version))
            }
        };
        match sent {
            Err(ApiError::Refused(refusal)) if refusal.status == 404 => Ok(Told::NotThere),
            sent => sent,
        }
    }

    /// Looks at every link, in the API and on the edge.
    async fn look_at_all(&mut self) -> Result<(), ApiError> {
        for index in 0..self.links.len() {
            let before = self.version(index);
            let is_cut = self.links[index].possible.as_ref().is_some_and(|p| p.count() > 1);
            self.read(index).await?;
            self.follow(index).await?;
            self.read(index).await?;
            self.edits.looks += 1;
            self.edits.cut_done += u64::from(is_cut && self.version(index) > before);
        }
        Ok(())
    }

    /// The version that the link has at least.
    fn version(&self, index: usize) -> Option<u64> {
        Some(self.links[index].possible.as_ref()?.oldest().version)
    }

    async fn read(&mut self, index: usize) -> Result<(), ApiError> {
        let path = format!("/api/v1/links/{}", self.links[index].link.id);
        let view: Option<View> = match self.client.get(&path).await {
            Ok(view) => Some(view),
            Err(ApiError::Refused(refusal)) if refusal.status == 404 => None,
            Err(error) => return Err(error),
        };
        self.judge(index, &format!("the API shows {view:?}"), |possible, code| {
            possible.seen(|state| match &view {
                Some(view) => view.is(code, state),
                None => state.is_deleted,
            })
        });
        Ok(())
    }

    async fn follow(&mut self, index: usize) -> Result<(), HttpError> {
        let shown = self.visitor.look(&self.links[index].link.code).await?;
        self.judge(index, &format!("the edge answers {shown:?}"), |possible, code| {
            possible.seen(|state| shown.is(code, state))
        });
        Ok(())
    }

    /// The newest target in the history must be the one that the link has.
    async fn look_at_history(&mut self, index: usize) {
        #[derive(Deserialize)]
        struct History {
            data: Vec<Past>,
        }
        #[derive(Deserialize)]
        struct Past {
            url: String,
        }
        let Edited { link, possible: Some(possible) } = &self.links[index] else { return };
        if possible.oldest().is_deleted {
            return;
        }
        let path = format!("/api/v1/links/{}/history", link.id);
        let history: Result<History, _> = self.client.get(&path).await;
        let newest = history.ok().and_then(|history| Some(history.data.into_iter().next()?.url));
        self.judge(index, &format!("its history ends with {newest:?}"), |possible, code| {
            possible.seen(|state| newest.as_deref() == Some(&*url(code, state.change)))
        });
    }

    /// Takes note of what was told or seen; what cannot be is wrong, and then nothing more is to be
    /// learned of that link.
    fn judge(
        &mut self,
        index: usize,
        what: &str,
        can_be: impl FnOnce(&mut Possible, &str) -> bool,
    ) {
        let Edited { link, possible } = &mut self.links[index];
        let Some(known) = possible else { return };
        if !can_be(known, &link.code) {
            self.edits.wrong += 1;
            let text = format!("/{} (link {}): {what}; possible: {known:?}", link.code, link.id);
            example(&mut self.edits.wrong_examples, text);
            *possible = None;
        }
    }
}

fn example(examples: &mut Vec<String>, text: String) {
    if examples.len() < EXAMPLES_MAX {
        examples.push(text);
    }
}

impl Edits {
    pub(super) fn add(&mut self, other: Self) {
        self.links += other.links;
        self.links_there += other.links_there;
        self.changes += other.changes;
        self.deletes += other.deletes;
        self.restores += other.restores;
        self.cut += other.cut;
        self.cut_done += other.cut_done;
        self.looks += other.looks;
        self.refused += other.refused;
        self.refused_examples.extend(other.refused_examples);
        self.refused_examples.truncate(EXAMPLES_MAX);
        self.wrong += other.wrong;
        self.wrong_examples.extend(other.wrong_examples);
        self.wrong_examples.truncate(EXAMPLES_MAX);
    }
}
