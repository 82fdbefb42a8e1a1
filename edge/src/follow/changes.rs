//! The changes of the feed: one loop that applies them and keeps the position.
//!
//! ```text
//! stream    Redis: pages as they are committed, and twice a second how far the feed goes;
//!           quick, but entries may be lost, doubled, or out of order
//! control   changes after the position, without a gap; slower, and whole
//! ```
//!
//! With a stream everything that is heard is applied at once, by version, and the position goes on
//! over numbers without a gap. Control is asked when the position stands still for [`GAP_MAX`]
//! though the feed is known to go on, and when nothing was heard for [`SILENCE_MAX`]. Without a
//! stream, and while that is silent, control is asked all the time and waits for a change itself.
//! Questions do not hold up the stream.
//!
//! What is known is fresh when the position is where the feed is known to go: as the last page of a
//! stream says that was read to its end, or control's answer; and after changes were missed for good not
//! before everything that was known has been asked for again.

use std::pin::Pin;
use std::time::Duration;

use carom_shared::{FeedPage, FeedPosition};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::progress::Progress;
use super::stream::{Heard, Stream};
use super::{Follower, recheck};
use crate::control::{CallError, ControlClient};
use crate::resolve::Resolver;

/// How long a question for changes waits for one.
const WAIT: Duration = Duration::from_secs(1);
/// How long the position may stand still before what is missing is asked for.
const GAP_MAX: Duration = Duration::from_millis(200);
/// How long the stream may be silent: three heartbeats.
const SILENCE_MAX: Duration = Duration::from_millis(1500);
/// What a question that failed is followed by: from, and up to.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// What follows the changes of one edge.
pub(super) struct Changes<'a> {
    follower: &'a Follower,
    stream: Option<Stream>,
    /// `None`: nobody knows.
    progress: Option<Progress>,
    /// Everything up to the position is known, also what was known before this began.
    is_whole: bool,
    recheck: JoinSet<()>,
    /// When the stream was heard last; `None`: it is not open.
    heard_at: Option<Instant>,
    /// Nothing says that there are changes which were not heard of.
    is_caught_up: bool,
    /// Since when the position stands still though the feed goes on.
    stuck_since: Option<Instant>,
    /// Not before then is control asked again: it failed.
    retry_at: Option<Instant>,
    backoff: Duration,
}

type Question = Pin<Box<dyn Future<Output = Result<Answer, CallError>> + Send>>;

/// What control says.
enum Answer {
    Page(FeedPage),
    /// The changes after the position are not to be had; the feed goes so far.
    Gone(FeedPosition),
}

impl<'a> Changes<'a> {
    pub(super) fn new(follower: &'a Follower) -> Self {
        let position = follower.resolver().position();
        let changes = Self {
            follower,
            stream: follower.l2.clone().map(Stream::read),
            progress: position.map(Progress::new),
            // What is known may be older than the position that would be noted.
            is_whole: position.is_some(),
            recheck: JoinSet::new(),
            heard_at: None,
            is_caught_up: false,
            stuck_since: None,
            retry_at: None,
            backoff: BACKOFF_MIN,
        };
        if let Some(at) = position {
            changes.enter(at.epoch);
        }
        changes
    }

    fn resolver(&self) -> &'a Resolver {
        self.follower.resolver()
    }

    /// Never ends.
    pub(super) async fn follow(mut self) {
        let mut question: Option<Question> = None;
        loop {
            match self.recheck.try_join_next() {
                Some(Ok(())) => {
                    tracing::info!("everything that was known has been asked for again");
                    self.is_whole = true;
                    if let Some(progress) = &self.progress {
                        self.resolver().set_position(progress.at());
                    }
                }
                Some(Err(error)) => {
                    tracing::error!(%error, "what is known could not be asked for again; once more");
                    self.ask_again();
                }
                None => {}
            }
            self.resolver().feed().set_streams(self.is_streaming());
            let due = self.due();
            tokio::select! {
                heard = next(&mut self.stream) => {
                    if matches!(heard, Heard::Open) {
                        // What was asked before may not know what was missed.
                        question = None;
                    }
                    self.hear(heard);
                }
                answer = answer(&mut question) => {
                    question = None;
                    self.answered(answer);
                }
                () = sleep_until(due), if question.is_none() => question = Some(self.ask()),
            }
        }
    }

    /// Whether changes are heard of from the stream.
    fn is_streaming(&self) -> bool {
        self.heard_at.is_some_and(|at| at.elapsed() < SILENCE_MAX)
    }

    /// When control is to be asked.
    fn due(&self) -> Instant {
        let wanted = match self.heard_at.filter(|_| self.is_caught_up) {
            None => Instant::now(),
            Some(heard_at) => {
                let gap = self.stuck_since.map(|since| since + GAP_MAX);
                gap.unwrap_or(heard_at + SILENCE_MAX).min(heard_at + SILENCE_MAX)
            }
        };
        self.retry_at.map_or(wanted, |at| at.max(wanted))
    }

    fn ask(&self) -> Question {
        let waits = self.is_caught_up && !self.is_streaming();
        if self.is_caught_up && self.is_streaming() {
            self.resolver().feed().stream_gaps.add(1);
        }
        let wait = if waits { WAIT } else { Duration::ZERO };
        let at = self.progress.as_ref().map(Progress::at);
        Box::pin(ask(self.follower.client.clone(), at, wait))
    }

    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Open => {
                self.heard_at = Some(Instant::now());
                self.is_caught_up = false;
            }
            Heard::Lost => self.heard_at = None,
            Heard::Pages { pages, is_end } => {
                self.heard_at = Some(Instant::now());
                self.resolver().feed().stream_pages.add(pages.len() as u64);
                for page in pages {
                    let is_ours = self.is_of(page.head.epoch);
                    self.apply(page);
                    // Of another epoch control knows more.
                    self.is_caught_up &= is_ours;
                }
                if is_end && self.progress.as_ref().is_some_and(|progress| !progress.is_behind()) {
                    self.fresh();
                }
            }
        }
    }

    fn answered(&mut self, answer: Result<Answer, CallError>) {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                // Not each second of an hour.
                if self.backoff == BACKOFF_MIN {
                    tracing::warn!(%error, "changes are not heard of from the control plane");
                }
                self.retry_at = Some(Instant::now() + self.follower.jittered(self.backoff));
                self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
                return;
            }
        };
        if self.backoff > BACKOFF_MIN {
            tracing::info!("changes are heard of from the control plane again");
        }
        (self.retry_at, self.backoff) = (None, BACKOFF_MIN);
        match answer {
            Answer::Page(page) => {
                let head = page.head;
                self.apply(page);
                let at = self.progress.as_ref().map(Progress::at);
                self.is_caught_up =
                    at.is_some_and(|at| at.epoch == head.epoch && at.seq >= head.seq);
                if self.is_caught_up {
                    self.fresh();
                }
                // What is missing now was not there yet when control was asked.
                self.stuck_since = self.stuck_since.map(|_| Instant::now());
            }
            Answer::Gone(head) => self.begin_anew(head),
        }
    }

    /// No change up to now is unknown. Not so while what was known before some were missed is asked for
    /// again: the next answer after that says it.
    fn fresh(&self) {
        if self.is_whole {
            self.resolver().feed().fresh(self.follower.clock.now());
        }
    }

    fn is_of(&self, epoch: u64) -> bool {
        self.progress.as_ref().is_some_and(|progress| progress.at().epoch == epoch)
    }

    /// Takes a page in, wherever it comes from; one of another epoch not.
    fn apply(&mut self, page: FeedPage) {
        let resolver = self.resolver();
        let Some(progress) = self.progress.as_mut().filter(|of| of.at().epoch == page.head.epoch)
        else {
            return;
        };
        let before = progress.at();
        let count = page.changes.len() as u64;
        for change in page.changes {
            resolver.apply(change);
        }
        progress.take(page.first, count);
        progress.hear(page.head.seq);
        let at = progress.at();
        if at != before && self.is_whole {
            resolver.set_position(at);
        }
        self.stuck_since = match self.stuck_since {
            _ if !progress.is_behind() => None,
            Some(since) if at == before => Some(since),
            _ => Some(Instant::now()),
        };
    }

    /// Goes on from the feed's head; what was known before is asked for again meanwhile.
    fn begin_anew(&mut self, head: FeedPosition) {
        let resolver = self.resolver();
        if let Some(at) = self.progress.as_ref().map(Progress::at) {
            tracing::warn!(
                epoch = at.epoch,
                seq = at.seq,
                "changes were missed; everything that is known is asked for again"
            );
            resolver.missed_for_good();
        }
        self.enter(head.epoch);
        if resolver.position().is_some_and(|known| known.epoch != head.epoch) {
            tracing::warn!(
                epoch = head.epoch,
                "the control plane has another database than before: what was known is forgotten"
            );
            resolver.forget();
        }
        (self.progress, self.is_whole) = (Some(Progress::new(head)), false);
        (self.is_caught_up, self.stuck_since) = (false, None);
        self.ask_again();
    }

    fn ask_again(&mut self) {
        self.recheck = JoinSet::new();
        let client = self.follower.client.clone();
        self.recheck.spawn(recheck::run(self.resolver().clone(), client));
    }

    /// L2 and the stream are those of this epoch.
    fn enter(&self, epoch: u64) {
        if let Some(l2) = &self.follower.l2 {
            l2.set_epoch(epoch);
        }
    }
}

/// What the stream says; without one, nothing ever.
async fn next(stream: &mut Option<Stream>) -> Heard {
    match stream {
        Some(stream) => stream.next().await,
        None => std::future::pending().await,
    }
}

/// What control answers; without a question, nothing ever.
async fn answer(question: &mut Option<Question>) -> Result<Answer, CallError> {
    match question {
        Some(question) => question.await,
        None => std::future::pending().await,
    }
}

/// Asks control for the changes after a position.
async fn ask(
    client: ControlClient,
    at: Option<FeedPosition>,
    wait: Duration,
) -> Result<Answer, CallError> {
    if let Some(at) = at
        && let Some(page) = client.changes_after(at, wait).await?
    {
        return Ok(Answer::Page(page));
    }
    client.head().await.map(Answer::Gone)
}
