//! Mail: what is sent to people, by SMTP (RFC 5321).
//!
//! Whoever causes a letter does not wait for it: it waits in memory, at most [`LETTERS_MAX`] of them,
//! and is tried again for an hour when the server is away. A process that ends loses what waits; whoever
//! needs such a letter asks for another. Keeping them in the database would keep the links in them
//! there too, which are worth as much as passwords.

pub(crate) mod text;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use carom_shared::exposition::Exposition;
use carom_shared::{Clock, Random};
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::{AsyncTransport, Message};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::account::Email;
use crate::config::MailAt;
use crate::metrics::{Counter, Metrics};

/// Letters that wait or are being sent, at most.
const LETTERS_MAX: usize = 1000;
/// Connections to the mail server.
const CONNECTIONS_MAX: usize = 4;
/// Before the first try, and after each that failed for now.
const DELAYS: [Duration; 7] = [
    Duration::ZERO,
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(3),
    Duration::from_mins(15),
    Duration::from_mins(45),
];

/// A letter, without its reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) subject: String,
    /// Plain text; its links are in it.
    pub(crate) body: String,
}

/// What becomes of letters.
#[derive(Debug, Default)]
pub(crate) struct MailMetrics {
    pub(crate) sent: Counter,
    pub(crate) failed: Counter,
    pub(crate) dropped: Counter,
}

impl MailMetrics {
    pub(crate) fn write(&self, out: &mut Exposition) {
        let mut family =
            out.counter("carom_control_letters_total", "Letters, by what became of them.");
        for (outcome, counter) in
            [("sent", &self.sent), ("failed", &self.failed), ("dropped", &self.dropped)]
        {
            family.sample(&[("outcome", outcome)], counter.get());
        }
    }
}

/// What sends letters. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Mailer(Arc<Inner>);

struct Inner {
    at: MailAt,
    /// What the links in letters begin with.
    base: String,
    /// The host in the names of letters.
    host: String,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    metrics: Arc<Metrics>,
    letters: Arc<Semaphore>,
    connections: Semaphore,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// What a mailer works with besides its settings.
pub(crate) struct MailerParts {
    /// `control.public_url`: never what a request calls this host.
    pub(crate) base: String,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl Mailer {
    pub(crate) fn new(at: MailAt, parts: MailerParts) -> Self {
        let MailerParts { base, clock, random, metrics, tasks, stop } = parts;
        let host = at.from.email.domain().to_owned();
        Self(Arc::new(Inner {
            at,
            base,
            host,
            clock,
            random,
            metrics,
            letters: Arc::new(Semaphore::new(LETTERS_MAX)),
            connections: Semaphore::new(CONNECTIONS_MAX),
            tasks,
            stop,
        }))
    }

    /// Sends a letter some time soon.
    pub(crate) fn send(&self, to: &Email, letter: Letter) {
        let Ok(place) = Arc::clone(&self.0.letters).try_acquire_owned() else {
            self.0.metrics.mail.dropped.add(1);
            tracing::error!("a letter was dropped: {LETTERS_MAX} wait for the mail server already");
            return;
        };
        let message = match self.0.message(to, letter) {
            Ok(message) => message,
            Err(error) => {
                self.0.metrics.mail.failed.add(1);
                tracing::error!(%error, "a letter cannot be written");
                return;
            }
        };
        let inner = Arc::clone(&self.0);
        self.0.tasks.spawn(async move {
            inner.deliver(message).await;
            drop(place);
        });
    }

    /// What links in letters begin with.
    pub(crate) fn base(&self) -> &str {
        &self.0.base
    }
}

impl Inner {
    fn message(&self, to: &Email, letter: Letter) -> Result<Message, String> {
        let address = to.as_str().parse().map_err(|_| "the address is malformed".to_owned())?;
        let millis = u64::try_from(self.clock.now().get()).unwrap_or_default();
        let date: SystemTime = UNIX_EPOCH + Duration::from_millis(millis);
        let mut name = [0; 16];
        self.random.fill(&mut name);
        let message = Message::builder()
            .from(self.at.from.clone())
            .to(Mailbox::new(None, address))
            .subject(letter.subject)
            .date(date)
            .message_id(Some(format!("<{:032x}@{}>", u128::from_be_bytes(name), self.host)))
            .header(ContentType::TEXT_PLAIN)
            .body(letter.body);
        message.map_err(|error| error.to_string())
    }

    /// Tries until the letter is taken, refused for good, or too old.
    async fn deliver(&self, message: Message) {
        for delay in DELAYS {
            tokio::select! {
                () = self.stop.cancelled(), if !delay.is_zero() => break,
                () = tokio::time::sleep(delay) => {}
            }
            let Ok(connection) = self.connections.acquire().await else { break };
            // A server that accepts and says nothing holds up the end no longer than the stop.
            let sent = tokio::select! {
                biased;
                sent = self.at.transport.send(message.clone()) => sent,
                () = after_stop(&self.stop) => break,
            };
            drop(connection);
            match sent {
                Ok(_) => {
                    self.metrics.mail.sent.add(1);
                    return;
                }
                Err(error) if error.is_permanent() => {
                    self.metrics.mail.failed.add(1);
                    tracing::error!(%error, "the mail server refuses a letter");
                    return;
                }
                Err(error) => tracing::warn!(%error, "a letter was not sent; it is tried again"),
            }
        }
        self.metrics.mail.failed.add(1);
        tracing::error!("a letter was given up");
    }
}

/// How long a letter that is being sent may still take when the process ends.
const LAST: Duration = Duration::from_secs(5);

async fn after_stop(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(LAST).await;
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailer").finish_non_exhaustive()
    }
}
