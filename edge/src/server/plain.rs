//! Plain requests ([`read`]), answered without hyper: bytes in, bytes out.
//!
//! ```text
//! read     into the thread's buffer: one system call for all that has come
//! answer   every plain request that is whole, into the thread's other buffer
//! write    all of these answers: one system call
//! ```
//!
//! All of it happens in one poll of the connection's task, in plain calls ([`Worker::turn`]). Between
//! two of them a connection holds nothing but what it has to: what was not answered yet, or what
//! its client does not take. A turn ends after [`ANSWERS_PER_TURN`](super::watch::ANSWERS_PER_TURN)
//! answers: whoever sends many requests at once waits until the others have had theirs
//! ([`Turnstile`](super::turnstile::Turnstile)). What cannot go on like this leaves the loop:
//!
//! - **something odd** came: what is unread goes to hyper, with the connection, for good;
//! - **an answer waits**, for the origin or the disk;
//! - **a client does not read** its answers.
//!
//! A visitor's address may be in a head, behind a proxy. So what was read is overwritten as soon as it
//! is answered, in the thread's buffer here and elsewhere by the allocator.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use carom_shared::UnixMillis;

use super::Worker;
use super::answer::{Begun, Peer};
use super::connection::Stream;
use super::watch::{Fate, UnderWay, Watch};
use crate::request::Verb;
use crate::request::plain::{HEAD_BYTES_MAX, Plain, Read, may_end, read};
use crate::respond::Answer;
use crate::spool::sync::Synced;

/// Bytes that are read at once.
const INPUT_BYTES: usize = 16 << 10;
/// Bytes of answers from which on they are written before more is answered.
const OUTPUT_BYTES: usize = 16 << 10;

/// The buffers of a thread; they are empty between two turns.
pub(super) struct Scratch {
    input: Box<[u8]>,
    output: Vec<u8>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { input: vec![0; INPUT_BYTES].into(), output: Vec::new() }
    }
}

/// What a connection has sent and nobody has answered.
#[derive(Default)]
struct Line {
    held: Vec<u8>,
    /// How much of it is known not to hold a whole head.
    seen: usize,
}

/// What comes next on a connection.
enum Next {
    /// The rest of a head, or another one.
    Reads,
    /// What is held, from its beginning.
    Answers,
    /// An answer that waits.
    Waits(Option<Box<Waiting>>),
    /// Something that is hyper's.
    Hyper,
    /// Its end, after what was written.
    Ends,
    /// Its end at once.
    IsCut,
}

/// An answer that waits for the disk.
struct Waiting {
    verb: Verb,
    closes: bool,
    answer: Answer,
    synced: Synced,
}

/// How a turn ended: with bytes that the client has not taken, maybe none but those on their way
/// through TLS.
struct Turn {
    unsent: Option<Vec<u8>>,
    next: Next,
}

impl Worker {
    /// Answers a connection's requests for as long as they are plain. What it has sent and was not
    /// answered is returned, if there is something that is not; else the connection has ended.
    pub(super) async fn plain<S>(
        &self,
        stream: &mut S,
        peer: &Peer,
        watch: &Rc<Watch>,
    ) -> Option<Vec<u8>>
    where
        S: Stream,
    {
        let mut line = Line::default();
        loop {
            let turn = poll_fn(|context| self.turn(context, stream, &mut line, peer, watch)).await;
            let mut next = turn.next;
            if let Some(unsent) = turn.unsent {
                send(stream, unsent, &line, watch).await?;
            }
            if let Next::Waits(waiting) = next {
                // Apart: an idle connection would hold the room for it.
                next = Box::pin(self.wait(stream, &mut line, waiting, peer, watch)).await?;
            }
            match next {
                Next::Reads | Next::Answers | Next::Waits(_) => {}
                Next::Hyper => return Some(line.held),
                Next::Ends => {
                    if !S::ENDS_BY_CLOSE {
                        poll_fn(|context| end(context, stream, watch)).await;
                    }
                    return None;
                }
                Next::IsCut => return None,
            }
        }
    }

    /// Reads, answers and writes until there is nothing to read, or it is the turn of others.
    fn turn<S>(
        &self,
        context: &mut Context<'_>,
        stream: &mut S,
        line: &mut Line,
        peer: &Peer,
        watch: &Rc<Watch>,
    ) -> Poll<Turn>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Scratch { input, output } = &mut *self.scratch.borrow_mut();
        loop {
            match watch.fate() {
                Fate::IsCut => return Poll::Ready(Turn { unsent: None, next: Next::IsCut }),
                Fate::Closes if line.held.is_empty() => {
                    return Poll::Ready(Turn { unsent: None, next: Next::Ends });
                }
                Fate::Stays | Fate::LastAnswer | Fate::Closes => {}
            }
            if watch.has_had_its_turn() {
                self.turnstile.enter(watch);
            }
            if watch.waits() {
                return Poll::Pending;
            }
            let mut next = Next::Reads;
            if line.held.len() > line.seen {
                next = self.go_on(line, peer, watch, output);
            } else {
                let mut buffer = ReadBuf::new(input);
                let Poll::Ready(came) = Pin::new(&mut *stream).poll_read(context, &mut buffer)
                else {
                    watch.rests();
                    return Poll::Pending;
                };
                let len = buffer.filled().len();
                if came.is_err() || len == 0 {
                    let next = if came.is_err() { Next::IsCut } else { Next::Ends };
                    return Poll::Ready(Turn { unsent: None, next });
                }
                watch.heard();
                let came = &mut input[..len];
                if line.held.is_empty() {
                    let used;
                    (used, next) = self.answer_all(came, peer, watch, output);
                    if used < len {
                        line.hold(came[used..].to_vec(), &next);
                        watch.heard();
                    }
                } else {
                    line.held.extend_from_slice(came);
                    if may_end(&line.held, line.seen) || line.held.len() > HEAD_BYTES_MAX {
                        next = Next::Answers;
                    } else {
                        line.seen = line.held.len();
                    }
                }
                came.fill(0);
            }
            let unsent = if output.is_empty() { None } else { write(context, stream, output) };
            match (unsent, next) {
                (None, Next::Reads | Next::Answers) => {}
                (Some(Err(_)), _) => {
                    return Poll::Ready(Turn { unsent: None, next: Next::IsCut });
                }
                (unsent, next) => {
                    return Poll::Ready(Turn { unsent: unsent.and_then(Result::ok), next });
                }
            }
        }
    }

    /// Answers what is held.
    fn go_on(&self, line: &mut Line, peer: &Peer, watch: &Watch, output: &mut Vec<u8>) -> Next {
        let held = std::mem::take(&mut line.held);
        let (used, next) = self.answer_all(&held, peer, watch, output);
        let rest = if used == 0 { held } else { held[used..].to_vec() };
        if !rest.is_empty() {
            watch.heard();
        }
        line.hold(rest, &next);
        next
    }

    /// Answers the plain requests that bytes begin with, as long as none has to wait and it is not the
    /// turn of others; how many bytes that took, and what comes next.
    fn answer_all(
        &self,
        bytes: &[u8],
        peer: &Peer,
        watch: &Watch,
        output: &mut Vec<u8>,
    ) -> (usize, Next) {
        let mut used = 0;
        while used < bytes.len() {
            if output.len() >= OUTPUT_BYTES || watch.has_had_its_turn() {
                return (used, Next::Answers);
            }
            let Plain { head, len, closes } = match read(&bytes[used..]) {
                Read::Whole(plain) => plain,
                Read::Part => return (used, Next::Reads),
                Read::Odd => return (used, Next::Hyper),
            };
            let _under_way = UnderWay::begin(watch);
            let now = self.shared.clock.now();
            match self.begin(&head, peer, now) {
                Begun::Answered(answer, None) => {
                    used += len;
                    if self.write(answer, head.verb, closes, now, watch, output) {
                        return (used, Next::Ends);
                    }
                }
                Begun::Answered(answer, Some(synced)) => {
                    let waiting = Waiting { verb: head.verb, closes, answer, synced };
                    return (used + len, Next::Waits(Some(Box::new(waiting))));
                }
                // Nothing has happened yet, and it will be read again from what is held: rather that
                // than a buffer of the thread's for each who waits.
                Begun::Unknown(_) => return (used, Next::Waits(None)),
            }
        }
        (used, Next::Reads)
    }

    /// Writes an answer behind others; whether it is the connection's last.
    fn write(
        &self,
        mut answer: Answer,
        verb: Verb,
        closes: bool,
        now: UnixMillis,
        watch: &Watch,
        output: &mut Vec<u8>,
    ) -> bool {
        if closes || watch.fate() != Fate::Stays {
            answer.close();
        }
        answer.write(verb, self.date.borrow_mut().set(now), output);
        answer.closes()
    }

    /// Waits for the next answer, and sends it; what comes next, or nothing if the connection is cut.
    async fn wait<S>(
        &self,
        stream: &mut S,
        line: &mut Line,
        waiting: Option<Box<Waiting>>,
        peer: &Peer,
        watch: &Watch,
    ) -> Option<Next>
    where
        S: AsyncWrite + Unpin,
    {
        let under_way = UnderWay::begin(watch);
        let (verb, closes, answer) = if let Some(waiting) = waiting {
            let Waiting { verb, closes, answer, synced } = *waiting;
            self.synced(synced).await;
            (verb, closes, answer)
        } else {
            let held = std::mem::take(&mut line.held);
            let Read::Whole(Plain { head, len, closes }) = read(&held) else {
                line.held = held;
                return Some(Next::Hyper);
            };
            let answer = self.answer(&head, peer).await;
            line.hold(held[len..].to_vec(), &Next::Answers);
            (head.verb, closes, answer)
        };
        let mut output = Vec::new();
        let now = self.shared.clock.now();
        let is_last = self.write(answer, verb, closes, now, watch, &mut output);
        drop(under_way);
        if !line.held.is_empty() {
            watch.heard();
        }
        send(stream, output, line, watch).await?;
        Some(if is_last { Next::Ends } else { Next::Answers })
    }
}

impl Line {
    /// Keeps what was not answered; `next` says whether it is known to be a part.
    fn hold(&mut self, bytes: Vec<u8>, next: &Next) {
        self.seen = if matches!(next, Next::Reads) { bytes.len() } else { 0 };
        self.held = bytes;
    }
}

/// Writes answers at once; what the client does not take is returned.
fn write<S: AsyncWrite + Unpin>(
    context: &mut Context<'_>,
    stream: &mut S,
    output: &mut Vec<u8>,
) -> Option<io::Result<Vec<u8>>> {
    let mut sent = 0;
    let outcome = match poll_write(context, stream, output, &mut sent) {
        Poll::Ready(Ok(())) => None,
        Poll::Ready(Err(error)) => Some(Err(error)),
        Poll::Pending => Some(Ok(output[sent..].to_vec())),
    };
    // One large page is no reason to keep room for it.
    output.clear();
    output.shrink_to(2 * OUTPUT_BYTES);
    outcome
}

/// Writes and flushes all from `sent` on.
fn poll_write<S: AsyncWrite + Unpin>(
    context: &mut Context<'_>,
    stream: &mut S,
    bytes: &[u8],
    sent: &mut usize,
) -> Poll<io::Result<()>> {
    while *sent < bytes.len() {
        match ready!(Pin::new(&mut *stream).poll_write(context, &bytes[*sent..]))? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            len => *sent += len,
        }
    }
    Pin::new(stream).poll_flush(context)
}

/// Sends what a client may not take at once, and what it then must take in time; nothing if the
/// connection is cut or broken.
async fn send<S: AsyncWrite + Unpin>(
    stream: &mut S,
    bytes: Vec<u8>,
    line: &Line,
    watch: &Watch,
) -> Option<()> {
    let (mut sent, mut is_unread) = (0, false);
    poll_fn(|context| {
        if watch.fate() == Fate::IsCut {
            return Poll::Ready(None);
        }
        let outcome = poll_write(context, stream, &bytes, &mut sent).map(Result::ok);
        if outcome.is_pending() && !std::mem::replace(&mut is_unread, true) {
            watch.unread();
        }
        outcome
    })
    .await?;
    if is_unread {
        watch.taken();
        if !line.held.is_empty() {
            watch.heard();
        }
    }
    Some(())
}

/// Says that nothing more will be sent.
fn end<S: AsyncWrite + Unpin>(
    context: &mut Context<'_>,
    stream: &mut S,
    watch: &Watch,
) -> Poll<()> {
    if watch.fate() == Fate::IsCut {
        return Poll::Ready(());
    }
    if let Err(error) = ready!(Pin::new(stream).poll_shutdown(context)) {
        tracing::debug!(%error, "a connection ended early");
    }
    Poll::Ready(())
}
