//! [`Exporter`]: a queue of spans → requests to a collector, on a thread of its own.

use std::io;
use std::sync::mpsc::{Receiver as Ended, RecvTimeoutError, sync_channel};
use std::time::Duration;

use carom_shared::trace::SPANS;
use http::header::{CONTENT_TYPE, HOST};
use http::{Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::collect::EndedSpan;
use super::json;
use crate::{BEHIND_VISITORS, stand_back};

/// Spans that wait, at most; a span is about 1 KiB.
const QUEUE_MAX: usize = 2048;
/// Spans of a request, at most.
const BATCH_MAX: usize = 512;
/// How long spans gather.
const GATHER: Duration = Duration::from_millis(500);
/// How long a collector may take.
const SEND_MAX: Duration = Duration::from_secs(5);
/// How long all that waits may take at the end of the program.
const FLUSH_MAX: Duration = Duration::from_secs(2);
/// Bytes of an answer, at most; what is in it is not looked at.
const ANSWER_MAX: usize = 64 << 10;
/// What the specification of OTLP puts behind a collector's address.
const PATH: &str = "/v1/traces";

/// A collector's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    authority: String,
    host_and_port: String,
    path: String,
}

impl Endpoint {
    /// Reads a URL; the error says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = "must be the address of a collector that takes OTLP over plain HTTP, such as \
             http://localhost:4318; where TLS is needed, run a collector beside the program";
        let uri: Uri = text.parse().map_err(|_| wrong.to_owned())?;
        let authority = uri.authority().filter(|of| !of.as_str().contains('@'));
        let (Some("http"), Some(authority), None) = (uri.scheme_str(), authority, uri.query())
        else {
            return Err(wrong.to_owned());
        };
        let port = authority.port_u16().unwrap_or(80);
        Ok(Self {
            host_and_port: format!("{}:{port}", authority.host()),
            authority: authority.to_string(),
            path: format!("{}{PATH}", uri.path().trim_end_matches('/')),
        })
    }
}

/// The thread that sends.
#[derive(Debug)]
pub(super) struct Exporter {
    stop: CancellationToken,
    ended: Ended<()>,
}

impl Exporter {
    pub(super) fn start(
        endpoint: Endpoint,
        service: &'static str,
    ) -> io::Result<(Self, Sender<EndedSpan>)> {
        let (queue, spans) = channel(QUEUE_MAX);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stop = CancellationToken::new();
        // Nothing is sent: it closes when the thread ends, however that is.
        let (alive, ended) = sync_channel(0);
        let sending = Sending { endpoint, service, spans, stop: stop.clone(), is_failing: false };
        std::thread::Builder::new().name("traces".to_owned()).spawn(move || {
            stand_back(BEHIND_VISITORS);
            runtime.block_on(sending.run());
            drop(alive);
        })?;
        Ok((Self { stop, ended }, queue))
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.stop.cancel();
        if self.ended.recv_timeout(FLUSH_MAX) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the collector of otel.endpoint did not take the last traces in time");
        }
    }
}

struct Sending {
    endpoint: Endpoint,
    service: &'static str,
    spans: Receiver<EndedSpan>,
    stop: CancellationToken,
    is_failing: bool,
}

impl Sending {
    async fn run(mut self) {
        let stop = self.stop.clone();
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            let count = tokio::select! {
                () = stop.cancelled() => break,
                count = self.spans.recv_many(&mut batch, BATCH_MAX) => count,
            };
            // Nobody collects: an earlier log of the process has stayed.
            if count == 0 {
                return;
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(GATHER) => {}
            }
            self.fill(&mut batch);
            // What is under way when the stop comes is sent to its end, in the time of the flush.
            let sent = self.send(&mut batch);
            if tokio::select! { biased; () = sent => false, () = late(&stop) => true } {
                return;
            }
        }
        let flushed = async {
            self.fill(&mut batch);
            while !batch.is_empty() {
                self.send(&mut batch).await;
                self.fill(&mut batch);
            }
        };
        drop(timeout(FLUSH_MAX, flushed).await);
    }

    fn fill(&mut self, batch: &mut Vec<EndedSpan>) {
        while batch.len() < BATCH_MAX
            && let Ok(span) = self.spans.try_recv()
        {
            batch.push(span);
        }
    }

    /// Sends spans once: a collector that is away loses them, and they do not pile up.
    async fn send(&mut self, batch: &mut Vec<EndedSpan>) {
        let body = json::request(self.service, batch);
        let count = batch.len() as u64;
        batch.clear();
        let late = |_| Err(format!("no answer in {} s", SEND_MAX.as_secs()));
        match timeout(SEND_MAX, post(&self.endpoint, body)).await.unwrap_or_else(late) {
            Ok(()) => {
                SPANS.add_sent(count);
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!("the collector takes traces again");
                }
            }
            Err(error) => {
                SPANS.add_dropped(count);
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::warn!(error, "the collector of otel.endpoint does not take traces");
                }
            }
        }
    }
}

async fn late(stop: &CancellationToken) {
    stop.cancelled().await;
    sleep(FLUSH_MAX).await;
}

/// A connection for each request: there are at most two in a second.
async fn post(endpoint: &Endpoint, body: Vec<u8>) -> Result<(), String> {
    let text = |error: hyper::Error| error.to_string();
    let stream = TcpStream::connect(&endpoint.host_and_port).await.map_err(|it| it.to_string())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
    let request = Request::post(&endpoint.path)
        .header(HOST, &endpoint.authority)
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| error.to_string())?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(text)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
        body.map_err(|error| error.to_string())?;
        if status.is_success() { Ok(()) } else { Err(format!("it answered {status}")) }
    };
    tokio::pin!(exchange, connection);
    tokio::select! {
        sent = &mut exchange => sent,
        ended = &mut connection => {
            // The answer may have come with the end.
            ended.map_err(text)?;
            exchange.await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_plain_url_and_is_not_repeated() {
        let endpoint = Endpoint::parse("http://collector/base/").unwrap();
        assert_eq!(endpoint.host_and_port, "collector:80");
        assert_eq!(endpoint.path, "/base/v1/traces");
        assert_eq!(Endpoint::parse("http://[::1]:4318").unwrap().path, "/v1/traces");
        for text in
            ["collector:4318", "https://collector", "http://me:secret@collector", "http://", "/x"]
        {
            let error = Endpoint::parse(text).unwrap_err();
            assert!(error.contains("http://localhost:4318") && !error.contains("secret"));
        }
    }
}
