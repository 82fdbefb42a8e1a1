//! Carries the clicks of links over from the store of clicks, so that lists can sort by them.
//!
//! Each link has its totals there, with the ordinal of the last batch that touched it. What changed
//! is read in the order of (batch, link), and written here as it is, with the place up to which it
//! was read, in one transaction. So whatever is killed, whenever: it goes on from that place, and
//! nothing is counted twice. A link that is clicked meanwhile moves up in that order and comes
//! again.
//!
//! Of several control planes with one store of clicks the leader does ([`Leads`]), which asks for what
//! others, and edges, have stored. Each of them notes changes under its own clock's time, and an insert
//! takes its time: some appear under a time behind the place that is read up to. So each round also
//! compares how many changes there are under each time of the last minutes with what the round before
//! saw, and carries over those where there are more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use carom_shared::{Clock, LinkId, WorkspaceId};
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::store::click_cursor;
use crate::click::ClickStore;
use crate::click::leader::Leads;
use crate::db::{Db, StoreError};
use crate::write::{Command, WriteError, Writer};

/// Links that are written at once, at most: how long other commands wait for them.
const PAGE_MAX: u32 = 1000;
/// How long a round waits for the last one's begin, at least. What the store of clicks says is at
/// most this much newer than what lists show, while the writer keeps up.
const ROUND_INTERVAL: Duration = Duration::from_secs(2);

/// How often the leader asks for what others have stored.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// How late a change may appear behind others: what an insert takes, and a clock that is behind.
const LATE_MAX_MS: i64 = 5 * 60_000;
/// How far ahead of this clock a change may be to be read now.
const AHEAD_MAX: Duration = Duration::from_mins(1);
/// Times of which the links are asked for at once, at most.
const TIMES_MAX: usize = 256;

/// How long the task rests, in times of what it took.
const REST: u32 = 4;

/// A place in the order of changes: up to and including this link of this batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClickCursor {
    pub(crate) batch: i64,
    pub(crate) link: i64,
}

/// What a link was clicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkClicks {
    pub(crate) workspace: WorkspaceId,
    pub(crate) link: LinkId,
    /// By people.
    pub(crate) clicks: i64,
    /// Of those that people ever made, those that were imported one by one.
    pub(crate) moved: i64,
    /// By a person; 0: never.
    pub(crate) last_click_ms: i64,
}

/// The task that carries clicks over.
pub(crate) struct CarryTask {
    pub(crate) read: Db,
    pub(crate) clicks: ClickStore,
    pub(crate) writer: Writer,
    /// Told when a batch was stored.
    pub(crate) stored: Arc<Notify>,
    /// Held while clicks are carried over; a backup holds it so that none are.
    pub(crate) carrying: Arc<Mutex<()>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) leads: Leads,
}

/// How many changes were there under each time of late, when they were carried over.
type Seen = BTreeMap<i64, u64>;

/// Why clicks could not be carried over.
#[derive(Debug, thiserror::Error)]
enum CarryError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl CarryTask {
    /// Carries clicks over until `stop`; what is left then comes at the next start.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let work = async {
            let (mut is_first, mut seen) = (true, Seen::new());
            loop {
                self.leads.wait().await;
                let carrying = self.carrying.lock().await;
                let begun = Instant::now();
                match self.round(is_first, &mut seen).await {
                    Ok(()) => is_first = false,
                    Err(CarryError::Write(WriteError::Closing)) => return,
                    Err(error) => {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "links do not show their latest clicks yet: trying again"
                        );
                        self.stored.notify_one();
                    }
                }
                drop(carrying);
                // Where many links are clicked, rounds are rare: what was clicked twice meanwhile is
                // written once.
                let took = begun.elapsed();
                sleep(ROUND_INTERVAL.saturating_sub(took).max(took * REST)).await;
                if self.leads.has_others() {
                    drop(timeout(ASK_EVERY, self.stored.notified()).await);
                } else {
                    self.stored.notified().await;
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = stop.cancelled() => {}
        }
    }

    async fn round(&self, is_first: bool, seen: &mut Seen) -> Result<(), CarryError> {
        let mut cursor = click_cursor(&self.read).await?;
        // A store of clicks that was replaced by a new or an older one: all of it counts.
        if is_first && self.clicks.last_change().await? < cursor {
            cursor = ClickCursor::default();
        }
        let until = self.clock.now().saturating_add(AHEAD_MAX);
        let since = cursor.batch.saturating_sub(LATE_MAX_MS);
        // Before anything is read: what is there now is carried over by this round.
        let there = self.clicks.change_times(since..=until.get()).await?;
        if let Some(there) = &there {
            self.carry_late(there, seen, cursor).await?;
        }
        loop {
            let (links, next) = self.clicks.changed_since(cursor, until, PAGE_MAX).await?;
            let Some(next) = next else { break };
            cursor = next;
            let is_last = links.len() < PAGE_MAX as usize;
            let begun = Instant::now();
            self.writer.run(|reply| Command::SetLinkClicks(links, cursor, reply)).await?;
            if is_last {
                break;
            }
            // A backlog takes a fifth of the writer's time at most.
            sleep(begun.elapsed() * REST).await;
        }
        *seen = there.unwrap_or_default();
        Ok(())
    }

    /// Carries over what appeared under times that were read before.
    async fn carry_late(
        &self,
        there: &Seen,
        seen: &Seen,
        cursor: ClickCursor,
    ) -> Result<(), CarryError> {
        for times in late(there, seen, cursor).chunks(TIMES_MAX) {
            let links = self.clicks.changed_at(times).await?;
            for page in links.chunks(PAGE_MAX as usize) {
                let (page, begun) = (page.to_vec(), Instant::now());
                self.writer.run(|reply| Command::SetLinkClicks(page, cursor, reply)).await?;
                sleep(begun.elapsed() * REST).await;
            }
        }
        Ok(())
    }
}

/// Times that were read before, under which there are other changes than were seen.
fn late(there: &Seen, seen: &Seen, cursor: ClickCursor) -> Vec<i64> {
    let read = there.range(..=cursor.batch);
    read.filter(|(time, n)| seen.get(time) != Some(n)).map(|(time, _)| *time).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_appears_behind_the_place_is_late_and_what_was_seen_is_not() {
        let cursor = ClickCursor { batch: 100, link: 7 };
        let seen = Seen::from([(50, 2), (60, 1), (100, 3)]);
        assert!(late(&seen, &seen, cursor).is_empty());
        let there = Seen::from([(50, 3), (55, 1), (60, 1), (100, 4), (101, 9)]);
        assert_eq!(late(&there, &seen, cursor), [50, 55, 100]);
        // A new leader has seen nothing.
        assert_eq!(late(&seen, &Seen::new(), cursor), [50, 60, 100]);
    }
}
