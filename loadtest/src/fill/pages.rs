//! The dashboard's pages, whole, as somebody who is signed in gets them.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::time::{sleep, timeout};

use crate::failure::Failure;
use crate::http::{Connection, EXCHANGE_MAX, HttpError};
use crate::installation::{Installation, Server};
use crate::latency::{Latencies, Quantiles};
use crate::process::CpuSample;
use crate::report::progress;

const EMAIL: &str = "fill@example.com";
const PASSWORD: &str = "a long walk along the river";
/// The server rests once it has used less than this of a processor, for so many looks in a row.
const RESTING: f64 = 0.03;
const RESTING_LOOKS: u32 = 5;
const LOOK: Duration = Duration::from_secs(2);
/// How long what is made behind the clicks may take.
const REST_MAX: Duration = Duration::from_secs(1800);

/// One page, asked again and again.
#[derive(Debug, Serialize)]
pub(super) struct PageTimes {
    pub(super) what: String,
    pub(super) path: String,
    pub(super) first_ms: f64,
    pub(super) latency: Quantiles,
    /// Of the whole server, for each.
    pub(super) cpu_ms: f64,
    /// As brotli.
    pub(super) bytes: usize,
}

impl fmt::Display for PageTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, first_ms, latency, cpu_ms, bytes, .. } = self;
        writeln!(
            f,
            "    {what:<44} {latency}; first {first_ms:.1}; CPU {cpu_ms:.1} ms; {bytes} bytes"
        )
    }
}

/// Waits until the server has nothing to do any more; says for how long, and how much processor time
/// it used meanwhile, both in seconds.
pub(super) async fn wait_for_rest(server: &Server<'_>) -> Result<(f64, f64), Failure> {
    progress("waiting until the server rests");
    let begun = Instant::now();
    let first = CpuSample::take(server.pid())?;
    let (mut resting, mut used, mut busy) = (0, 0.0, Duration::ZERO);
    while resting < RESTING_LOOKS && begun.elapsed() < REST_MAX {
        sleep(LOOK).await;
        let cost = first.cost_until_now(server.pid(), 1)?;
        let now = (cost.edge_us + cost.others_us) / 1e6;
        if now - used < RESTING * LOOK.as_secs_f64() {
            resting += 1;
        } else {
            (resting, busy) = (0, begun.elapsed());
        }
        used = now;
    }
    Ok((busy.as_secs_f64(), used))
}

/// Somebody who is signed in.
pub(super) struct Reader {
    connection: Connection,
    control: std::net::SocketAddr,
    cookies: String,
}

impl Reader {
    /// Signs in, as the first account of the installation, which is made if there is none.
    pub(super) async fn sign_in(installation: &Installation) -> Result<Self, Failure> {
        let connection = Connection::open(installation.control()).await.map_err(failed)?;
        let control = installation.control();
        let mut reader = Self { connection, control, cookies: String::new() };
        let begun = reader.begin("/api/v1/sessions", None).await?;
        if !begun {
            let token = installation.setup_token();
            let token = token.ok_or_else(|| Failure::new("the log has no link for the setup"))?;
            if !reader.begin("/api/v1/setup", Some(token)).await? {
                return Err(Failure::new("nobody could be signed in"));
            }
        }
        Ok(reader)
    }

    /// `false`: refused.
    async fn begin(&mut self, path: &str, token: Option<String>) -> Result<bool, Failure> {
        let mut body = serde_json::json!({ "email": EMAIL, "password": PASSWORD });
        if let Some(token) = token {
            body["token"] = token.into();
        }
        let body = body.to_string();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nSec-Fetch-Site: same-origin\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.control,
            body.len()
        );
        self.connection.send(request.as_bytes()).await.map_err(failed)?;
        let head = self.connection.read_head().await.map_err(failed)?;
        let response = self.connection.read_body(&head).await.map_err(failed)?;
        let cookie = response.set_cookie.and_then(|value| std::str::from_utf8(value).ok());
        let cookie = cookie.and_then(|value| value.split(';').next()).unwrap_or_default();
        self.cookies = cookie.to_owned();
        Ok(matches!(response.status, 200 | 201) && !self.cookies.is_empty())
    }

    /// Reads a page with the clock of a zone; gives its length.
    async fn read(&mut self, path: &str, zone: &str) -> Result<usize, Failure> {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nAccept: text/html\r\nAccept-Encoding: br\r\n\
             Cookie: {}; carom_zone={zone}\r\n\r\n",
            self.control, self.cookies
        );
        let exchange = async {
            self.connection.send(request.as_bytes()).await?;
            let head = self.connection.read_head().await?;
            let response = self.connection.read_body(&head).await?;
            Ok::<_, HttpError>((response.status, response.body.len()))
        };
        match timeout(EXCHANGE_MAX, exchange).await {
            Ok(Ok((200, bytes))) => Ok(bytes),
            Ok(Ok((status, _))) => Err(Failure::new(format!("GET {path}: status {status}"))),
            Ok(Err(error)) => Err(Failure::new(format!("GET {path}: {error}"))),
            Err(_elapsed) => Err(Failure::new(format!("GET {path}: no answer"))),
        }
    }

    /// Reads a page once, then `runs` times.
    pub(super) async fn time(
        &mut self,
        server: &Server<'_>,
        runs: usize,
        what: String,
        path: String,
        zone: &str,
    ) -> Result<PageTimes, Failure> {
        let begun = Instant::now();
        let bytes = self.read(&path, zone).await?;
        let first_ms = begun.elapsed().as_secs_f64() * 1e3;
        let sample = CpuSample::take(server.pid())?;
        let mut latencies = Latencies::new();
        for _ in 0..runs {
            let sent = Instant::now();
            self.read(&path, zone).await?;
            latencies.record(sent.elapsed());
        }
        let cost = sample.cost_until_now(server.pid(), runs as u64)?;
        let cpu_ms = (cost.edge_us + cost.others_us) / 1e3;
        Ok(PageTimes { what, path, first_ms, latency: latencies.quantiles(), cpu_ms, bytes })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "map_err gives it away")]
fn failed(error: HttpError) -> Failure {
    Failure::new(format!("cannot sign in: {error}"))
}

/// Asks for pages of all links, and of these: what, id and clicks of each.
pub(super) async fn ask_pages(
    runs: usize,
    installation: &Installation,
    server: &Server<'_>,
    links: &[(String, String, u64)],
) -> Result<Vec<PageTimes>, Failure> {
    let mut reader = Reader::sign_in(installation).await?;
    let mut pages = Vec::new();
    progress("asking for pages");
    for (what, path, zone) in OF_ALL {
        pages.push(reader.time(server, runs, what.to_owned(), path.to_owned(), zone).await?);
    }
    for (about, id, clicks) in links {
        progress(&format!("asking for pages of {about}"));
        for (what, rest, zone) in OF_LINK {
            let what = format!("{about}, {clicks}: {what}");
            let path = format!("/links/{id}{rest}");
            pages.push(reader.time(server, runs, what, path, zone).await?);
        }
    }
    Ok(pages)
}

/// Of all links; the last is asked with the clock of New York, whose days begin within UTC's.
const OF_ALL: [(&str, &str, &str); 14] = [
    ("links", "/links", "UTC"),
    ("links by clicks", "/links?sort=clicks", "UTC"),
    ("links, searched: in one of 1,000", "/links?q=seldom", "UTC"),
    ("all links: yesterday", "/analytics?period=yesterday", "UTC"),
    ("all links: 7 days", "/analytics?period=7d", "UTC"),
    ("all links: 30 days", "/analytics", "UTC"),
    ("all links: 30 days by hour", "/analytics?interval=hour", "UTC"),
    ("all links: 30 days, a long list", "/analytics?more=links", "UTC"),
    ("all links: 30 days, other lists", "/analytics?places=city&sources=channel&devices=os", "UTC"),
    ("all links: all time", "/analytics?period=all", "UTC"),
    ("all links: 30 days, New York", "/analytics", "America/New_York"),
    ("all links: 30 days, Kolkata", "/analytics", "Asia/Kolkata"),
    ("all links: yesterday, a country", "/analytics?period=yesterday&filter=country==AB", "UTC"),
    ("all links: yesterday, New York", "/analytics?period=yesterday", "America/New_York"),
];

/// Of a link: what follows its path.
const OF_LINK: [(&str, &str, &str); 6] = [
    ("30 days", "", "UTC"),
    ("7 days", "?period=7d", "UTC"),
    ("30 days by hour", "?interval=hour", "UTC"),
    ("30 days, New York", "", "America/New_York"),
    ("30 days, a country", "?filter=country==AB", "UTC"),
    ("30 days, a long list", "?more=places", "UTC"),
];
