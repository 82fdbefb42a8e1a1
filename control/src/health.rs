//! What the program says of itself to people: each a statement, what it means, and what to do.
//!
//! ```text
//! Facts (what the control plane counts and asks) ──► statements, pure ──┐
//! Knows (what the composing program has beside it: an edge, backups) ───┴──► the page "About and health"
//! ```
//!
//! It is for people. Monitoring reads `/metrics`, and `carom doctor` looks more closely, at files too.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::app::App;
use crate::click::report::time::Span;
use crate::db::Db;
use crate::loss::Lost;

/// How long a database takes to answer before that is told.
const SLOW: Duration = Duration::from_millis(250);
/// Seconds for which lost clicks are told.
const LOST_S: u32 = 30 * 24 * 3600;
/// Commands that wait to be written before that is told.
const WAITING_MANY: usize = 1000;

/// From best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Ok,
    /// Worth knowing; nothing has to be done.
    Notice,
    /// Something will go wrong, or is worse than it could be.
    Warning,
    /// Something is wrong.
    Error,
}

impl Level {
    /// As the style sheet names it.
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Ok => "on",
            Self::Notice => "",
            Self::Warning => "warn",
            Self::Error => "bad",
        }
    }
}

/// One thing that the program knows about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    pub level: Level,
    pub text: String,
    /// Empty where all is well.
    pub meaning: String,
    pub action: String,
}

impl Statement {
    fn ok(text: impl Into<String>) -> Self {
        Self::new(Level::Ok, text, "", "")
    }

    pub fn new(
        level: Level,
        text: impl Into<String>,
        meaning: impl Into<String>,
        action: impl Into<String>,
    ) -> Self {
        Self { level, text: text.into(), meaning: meaning.into(), action: action.into() }
    }
}

/// What a program knows that the control plane is only a part of. It is given to
/// [`api_router`](crate::api_router) as a layer: `axum::Extension(SelfKnowledge)`.
pub trait Knows: Send + Sync + 'static {
    /// Now. Called for each view of the page: it neither waits nor asks anybody.
    fn statements(&self) -> Vec<Statement>;
}

/// See [`Knows`].
#[derive(Clone)]
pub struct SelfKnowledge(pub Arc<dyn Knows>);

impl std::fmt::Debug for SelfKnowledge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SelfKnowledge(..)")
    }
}

/// What the control plane counts of itself, and has just asked.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// What it is called, and how long it took to answer.
    pub(crate) database: (&'static str, Duration),
    /// The number of the newest change.
    pub(crate) feed: u64,
    pub(crate) writes_waiting: usize,
    pub(crate) commits_failed: u64,
    pub(crate) links_unindexed: u64,
    /// `None`: another process has it.
    pub(crate) clicks: Option<ClickFacts>,
    /// `None`: there is none.
    pub(crate) redis: Option<RedisFacts>,
    /// `None`: no mail is sent.
    pub(crate) mail: Option<MailFacts>,
    pub(crate) blocklist_entries: u64,
    pub(crate) blocklists_failed: u64,
    /// Links follow those of another control plane, which has other ones.
    pub(crate) blocklists_differ: bool,
    /// Of all edges, in the last thirty days.
    pub(crate) lost: Lost,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct ClickFacts {
    pub(crate) name: &'static str,
    pub(crate) is_up: bool,
    /// Since the process started, as the next three.
    pub(crate) stored: u64,
    pub(crate) batches_refused: u64,
    pub(crate) batches_too_old: u64,
    /// By which sums differed from rows when they were compared last.
    pub(crate) audit_diff: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct RedisFacts {
    /// Whether this process writes what others left unwritten; one does.
    pub(crate) is_keeper: bool,
    pub(crate) lag: u64,
    pub(crate) write_failures: u64,
    pub(crate) counts_limits: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct MailFacts {
    pub(crate) sent: u64,
    /// Also those that were dropped.
    pub(crate) failed: u64,
}

impl Facts {
    /// Asks the database and looks at what was counted.
    ///
    /// # Errors
    /// The database does not answer; then no page does.
    pub(crate) async fn of(app: &App) -> Result<Self, crate::db::StoreError> {
        let asked = Instant::now();
        let head = app.feed_head().await?;
        let took = asked.elapsed();
        let now_s = u32::try_from(app.now().as_secs()).unwrap_or(u32::MAX);
        let metrics = app.metrics();
        let database = match app.read() {
            Db::Sqlite(_) => "SQLite",
            Db::Postgres(_) => "PostgreSQL",
        };
        let clicks = app.clicks().ok().map(|_| ClickFacts {
            name: if app.are_clicks_shared() { "ClickHouse" } else { "SQLite" },
            is_up: metrics.click_store_up.get() > 0,
            stored: metrics.clicks_stored.get(),
            batches_refused: metrics.batches_refused.get(),
            batches_too_old: metrics.batches_too_old.get(),
            audit_diff: metrics.clicks_audit_diff.get(),
        });
        let l2 = &metrics.l2;
        let redis = (l2.enabled.get() > 0).then(|| RedisFacts {
            is_keeper: l2.keeper.get() > 0,
            lag: l2.lag.get(),
            write_failures: l2.write_failures.get(),
            counts_limits: metrics.limits.is_shared.get() > 0,
        });
        let mail = app.accounts().mailer().is_ok().then(|| MailFacts {
            sent: metrics.mail.sent.get(),
            failed: metrics.mail.failed.get() + metrics.mail.dropped.get(),
        });
        Ok(Self {
            database: (database, took),
            feed: head.seq,
            writes_waiting: app.gauges().writes_waiting,
            commits_failed: metrics.commits_failed.get(),
            links_unindexed: metrics.links_unindexed.get(),
            clicks,
            redis,
            mail,
            blocklist_entries: metrics.blocklist.entries.get(),
            blocklists_failed: metrics.blocklist.failed.get(),
            blocklists_differ: metrics.blocklist.others_lead.get() > 0,
            lost: app
                .lost(Span { from_s: now_s.saturating_sub(LOST_S), to_s: now_s })
                .await?
                .unwrap_or_default(),
        })
    }

    /// In words. Pure.
    pub(crate) fn statements(&self) -> Vec<Statement> {
        let mut all = Vec::new();
        self.of_database(&mut all);
        self.of_clicks(&mut all);
        self.of_losses(&mut all);
        self.of_redis(&mut all);
        self.of_the_rest(&mut all);
        all
    }

    fn of_database(&self, all: &mut Vec<Statement>) {
        let (name, took) = self.database;
        let text = format!("The database ({name}) answers, in {}", millis(took));
        all.push(match took > SLOW {
            false => Statement::ok(text),
            true => Statement::new(
                Level::Warning,
                text,
                "pages and the API wait for it; redirects do not",
                "look at what else the machine or the database server does",
            ),
        });
        let text = format!("{} wait to be written", count(self.writes_waiting as u64, "change"));
        all.push(match self.writes_waiting > WAITING_MANY {
            false => Statement::ok(text),
            true => Statement::new(
                Level::Warning,
                text,
                "more is asked for than the database writes",
                "send fewer single calls: bulk calls and imports write thousands at once",
            ),
        });
        if self.commits_failed > 0 {
            all.push(Statement::new(
                Level::Warning,
                format!("{} failed since the start", count(self.commits_failed, "commit")),
                "whoever asked was told so, and nothing of it was done",
                "look in the log for the first error",
            ));
        }
        let text = format!("The newest change is number {}", self.feed);
        all.push(Statement::ok(text));
        if self.links_unindexed > 0 {
            all.push(Statement::new(
                Level::Notice,
                format!(
                    "{} are not in the index of texts yet",
                    count(self.links_unindexed, "link")
                ),
                "searching is slower until they are",
                "",
            ));
        }
    }

    fn of_clicks(&self, all: &mut Vec<Statement>) {
        let Some(clicks) = self.clicks else {
            all.push(Statement::new(
                Level::Notice,
                "Clicks are kept by another control plane",
                "this one has no statistics",
                "open the dashboard there",
            ));
            return;
        };
        all.push(match clicks.is_up {
            true => Statement::ok(format!(
                "The store of clicks ({}) answers; {} stored since the start",
                clicks.name,
                count(clicks.stored, "click"),
            )),
            false => Statement::new(
                Level::Error,
                format!("The store of clicks ({}) does not answer", clicks.name),
                "redirects go on; clicks wait on the edges' disks, and statistics cannot be shown",
                "see that it runs and can be reached at clicks.url",
            ),
        });
        if clicks.batches_refused + clicks.batches_too_old > 0 {
            let batches = count(clicks.batches_refused + clicks.batches_too_old, "batch");
            all.push(Statement::new(
                Level::Warning,
                format!("{batches} of clicks could not be taken since the start"),
                "an edge has set them aside in its spool",
                "look in the edge's log for the reason, and in spool/quarantine",
            ));
        }
        if clicks.audit_diff > 0 {
            all.push(Statement::new(
                Level::Notice,
                format!("Sums differed from rows by {}", count(clicks.audit_diff, "click")),
                "they were compared and repaired",
                "",
            ));
        }
    }

    fn of_losses(&self, all: &mut Vec<Statement>) {
        let Lost { clicks, without_detail } = self.lost;
        if clicks > 0 {
            all.push(Statement::new(
                Level::Warning,
                format!("{} of the last 30 days were lost", count(clicks, "click")),
                "they were answered, and are in no total",
                "see in the edges' logs whether a disk was full or a machine failed",
            ));
        }
        if without_detail > 0 {
            all.push(Statement::new(
                Level::Notice,
                format!(
                    "Of {} of the last 30 days only the number is known",
                    count(without_detail, "click")
                ),
                "the store was away for longer than the edges' disks had room",
                "raise spool.max_bytes if that is to be kept next time",
            ));
        }
        if clicks + without_detail == 0 {
            all.push(Statement::ok("No click of the last 30 days was lost"));
        }
    }

    fn of_redis(&self, all: &mut Vec<Statement>) {
        let Some(redis) = self.redis else { return };
        all.push(match redis.counts_limits {
            true => Statement::ok("Redis answers, and counts limits for all processes"),
            false => Statement::new(
                Level::Warning,
                "Redis does not answer",
                "edges ask the control plane instead, and each process counts limits by itself",
                "see that it runs and can be reached at redis.url",
            ),
        });
        if redis.is_keeper {
            all.push(match redis.lag {
                0 => Statement::ok("Redis has every change"),
                lag => Statement::new(
                    Level::Notice,
                    format!("{} are on their way to Redis", count(lag, "change")),
                    "edges hear of them by the feed meanwhile",
                    "",
                ),
            });
        }
        if redis.write_failures > 0 {
            all.push(Statement::new(
                Level::Warning,
                format!("Redis did not take {}", count(redis.write_failures, "commit")),
                "their answers waited 1.2 s, so that no edge could know less; nothing is lost",
                "look in the log for why, if the number grows",
            ));
        }
    }

    fn of_the_rest(&self, all: &mut Vec<Statement>) {
        all.push(match self.mail {
            None => Statement::new(
                Level::Notice,
                "No mail is sent",
                "invitations and password resets are links that somebody passes on",
                "set mail.url to send letters",
            ),
            Some(MailFacts { sent, failed: 0 }) => {
                Statement::ok(format!("{} sent since the start", count(sent, "letter")))
            }
            Some(MailFacts { failed, .. }) => Statement::new(
                Level::Warning,
                format!("{} could not be sent since the start", count(failed, "letter")),
                "whoever waited for one can ask for another",
                "look in the log for what the mail server said",
            ),
        });
        if self.blocklists_failed > 0 {
            all.push(Statement::new(
                Level::Warning,
                format!(
                    "{} could not be read as they are",
                    count(self.blocklists_failed, "blocklist")
                ),
                "what was read before stays",
                "look in the log for the line that is wrong",
            ));
        } else if self.blocklist_entries > 0 {
            let entries = count(self.blocklist_entries, "entry");
            all.push(Statement::ok(format!("Blocklists have {entries}")));
        }
        if self.blocklists_differ {
            all.push(Statement::new(
                Level::Warning,
                "Another control plane has other blocklists, and newer ones",
                "links that are there follow those; new ones are checked by what this one has",
                "give all control planes the same files",
            ));
        }
    }
}

fn millis(time: Duration) -> String {
    match time.as_millis() {
        0 => "under 1 ms".to_owned(),
        millis => format!("{millis} ms"),
    }
}

/// A number and what it counts.
fn count(number: u64, what: &str) -> String {
    if number == 1 {
        return format!("1 {what}");
    }
    let plural = match what.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None if what.ends_with("ch") => format!("{what}es"),
        None => format!("{what}s"),
    };
    format!("{number} {plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            database: ("SQLite", Duration::from_micros(300)),
            feed: 7,
            writes_waiting: 0,
            commits_failed: 0,
            links_unindexed: 0,
            clicks: Some(ClickFacts {
                name: "SQLite",
                is_up: true,
                stored: 1,
                batches_refused: 0,
                batches_too_old: 0,
                audit_diff: 0,
            }),
            redis: None,
            mail: Some(MailFacts { sent: 0, failed: 0 }),
            blocklist_entries: 2,
            blocklists_failed: 0,
            blocklists_differ: false,
            lost: Lost::default(),
        }
    }

    fn worst(facts: &Facts) -> Level {
        facts.statements().iter().map(|it| it.level).max().unwrap()
    }

    #[test]
    fn what_is_wrong_is_said_with_what_to_do() {
        assert_eq!(worst(&facts()), Level::Ok);
        let clicks = facts().clicks.unwrap();
        let redis = RedisFacts { is_keeper: true, lag: 0, write_failures: 0, counts_limits: true };
        for (facts, level) in [
            (Facts { database: ("SQLite", Duration::from_secs(1)), ..facts() }, Level::Warning),
            (Facts { writes_waiting: 4000, ..facts() }, Level::Warning),
            (Facts { clicks: None, ..facts() }, Level::Notice),
            (
                Facts { clicks: Some(ClickFacts { is_up: false, ..clicks }), ..facts() },
                Level::Error,
            ),
            (
                Facts { clicks: Some(ClickFacts { batches_refused: 1, ..clicks }), ..facts() },
                Level::Warning,
            ),
            (Facts { redis: Some(redis), ..facts() }, Level::Ok),
            (
                Facts { redis: Some(RedisFacts { counts_limits: false, ..redis }), ..facts() },
                Level::Warning,
            ),
            (Facts { mail: None, ..facts() }, Level::Notice),
            (Facts { mail: Some(MailFacts { sent: 9, failed: 1 }), ..facts() }, Level::Warning),
            (Facts { blocklists_failed: 1, ..facts() }, Level::Warning),
            (Facts { blocklists_differ: true, ..facts() }, Level::Warning),
            (Facts { lost: Lost { clicks: 0, without_detail: 1 }, ..facts() }, Level::Notice),
            (Facts { lost: Lost { clicks: 1, without_detail: 0 }, ..facts() }, Level::Warning),
        ] {
            assert_eq!(worst(&facts), level, "{facts:?}");
            // What is not fine says what that means.
            let all = facts.statements();
            assert!(all.iter().all(|it| it.level == Level::Ok || !it.meaning.is_empty()));
        }
    }

    #[test]
    fn numbers_have_their_nouns() {
        for (number, what, text) in
            [(1, "click", "1 click"), (2, "batch", "2 batches"), (0, "entry", "0 entries")]
        {
            assert_eq!(count(number, what), text);
        }
    }
}
