//! One server of ClickHouse, and the way of a batch into it: carries out what a [`LimitedShipment`] asks for.
//!
//! An edge has the right to insert, and to read a few columns of numbers (`docs/OPERATING.md`). Those are
//! the steps of which nearly every batch's way is made; what else one needs, control does.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use carom_process::Tls;
use carom_shared::UnixMillis;
use carom_shared::batch::{Token, is_forgotten};
use carom_shared::clickhouse::{
    CHANGE_STATEMENT, CLOSED, ClickHouseAt, ClickHouseError, EXCEPTION_HEADER, INSERT_ENCODING,
    INSERT_SETTINGS, LimitedOutcome, LimitedShipment, LimitedStep, Look, MAY_WANT_TLS,
    PASSWORD_HEADER, PreparedBatch, SETTINGS, Sent, Statement, StatementRequest, USER_HEADER,
    WRITE_SETTINGS, attempt_name, batch_number, change_rows, count_statement, found,
    insert_statement, ledger_statement, look_statement, query_id,
};
use http::header::CONTENT_ENCODING;
use http::{HeaderValue, Method, Request};
use http_body_util::Full;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::Stored;
use crate::pool::{Answer, Peer, Pool, Repeat};

/// Connections: a batch at a time, and what another spool's batches need beside it.
const CONNECTIONS: usize = 4;
/// Servers close what was not used for so long (`keep_alive_timeout`, 3 s up to 24.x).
const IDLE_MAX: Duration = Duration::from_secs(2);
/// How long an answer may take: of an insert of megabytes, and of anything else.
const INSERT_MAX: Duration = Duration::from_secs(60);
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How old a look may be when something is inserted: who moves clicks away closes a store, and then waits
/// for longer than that.
const LOOK_AGE_MAX: Duration = Duration::from_secs(10);
/// Bytes of an answer, at most: what was erased of late is in one.
const ANSWER_LEN_MAX: usize = 4 << 20;

/// A server, and the connections to it.
pub(super) struct Server {
    at: ClickHouseAt,
    pool: Pool,
    user: HeaderValue,
    password: HeaderValue,
    bytes_sent: AtomicU64,
    /// Whether anything was ever answered: then its port is not one for something else.
    has_answered: AtomicBool,
}

/// Why a call did not store a batch.
#[derive(Debug)]
pub(super) enum NotStored {
    /// The server is not there, or takes nothing now; or nobody knows yet whether it did.
    Later(ClickHouseError),
    /// Only control can go on.
    ForControl(String),
    /// Made before the time that the ledger covers, and not there.
    TooOld,
}

impl From<ClickHouseError> for NotStored {
    fn from(error: ClickHouseError) -> Self {
        // A server that cannot be reached, or says that it is busy, is waited for. Whatever else it
        // refuses, control may know better: its rights, its schema, and what a batch has to be.
        if error.is_unavailable() {
            Self::Later(error)
        } else {
            Self::ForControl(error.to_string())
        }
    }
}

impl Server {
    /// `tls` is for a server whose URL wants it.
    pub(super) fn new(at: ClickHouseAt, tls: Option<Tls>) -> Self {
        // Both were checked when the URL was read.
        let header = |text: &str| {
            HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
        };
        let mut password = header(at.password());
        password.set_sensitive(true);
        let peer = Peer {
            host: at.host().to_owned(),
            port: at.port(),
            authority: header(&at.authority()),
            tls: tls.filter(|_| at.is_tls()),
            idle_max: IDLE_MAX,
        };
        let (pool, user) = (Pool::new(peer, CONNECTIONS), header(at.user()));
        let (bytes_sent, has_answered) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { pool, user, password, bytes_sent, has_answered, at }
    }

    pub(super) fn shown(&self) -> String {
        self.at.shown()
    }

    /// Of requests: their targets and bodies.
    pub(super) fn bytes_sent(&self) -> u64 {
        self.bytes_sent.load(Ordering::Relaxed)
    }

    /// Stores a batch under its token, once. Nothing has to be remembered of a call that failed: the
    /// next one finds out what became of it. `now` is asked for when the batch is noted.
    pub(super) async fn store(
        &self,
        token: &Token,
        batch: &PreparedBatch,
        now: &(dyn Fn() -> UnixMillis + Sync),
    ) -> Result<Stored, NotStored> {
        let number = batch_number(token.as_str());
        let begun = Instant::now();
        let mut shipment = LimitedShipment::new(batch.rows as u64);
        let mut failed = None;
        loop {
            match shipment.step() {
                LimitedStep::Look => {
                    let is_old = is_forgotten(batch.made_at, now());
                    let look: Look = self.row(&look_statement(number, batch.made_at)).await?;
                    if look.2.contains(&CLOSED) {
                        let why = "its clicks move, or were moved, to another store: \
                                   edge.clicks_url has to name where they are";
                        return Err(NotStored::ForControl(why.to_owned()));
                    }
                    shipment.looked(found(look, is_old, batch.links.iter().copied()));
                }
                LimitedStep::Send if begun.elapsed() > LOOK_AGE_MAX => {
                    let why = "it took too long to see what is known of a batch".to_owned();
                    return Err(NotStored::Later(ClickHouseError::Later(why)));
                }
                LimitedStep::Send => {
                    let sent = self.send(token, batch).await;
                    shipment.sent(match &sent {
                        Ok(()) => Sent::Clean,
                        Err(ClickHouseError::Lost(_) | ClickHouseError::Answer(_)) => Sent::Unknown,
                        Err(_) => Sent::Refused,
                    });
                    failed = sent.err();
                }
                LimitedStep::Count => {
                    let sql = format!("{} FORMAT JSONCompactEachRow", count_statement(number));
                    let (rows,): (u64,) = self.row(&sql).await?;
                    shipment.counted(rows);
                }
                LimitedStep::Note => {
                    self.note(token, batch, now().get()).await?;
                    shipment.noted();
                }
                LimitedStep::Done(LimitedOutcome::Stored) => return Ok(Stored::New),
                LimitedStep::Done(LimitedOutcome::Already) => return Ok(Stored::Already),
                LimitedStep::Done(LimitedOutcome::TooOld) => return Err(NotStored::TooOld),
                LimitedStep::Done(LimitedOutcome::ForControl(why)) => {
                    return Err(NotStored::ForControl(why.to_owned()));
                }
                LimitedStep::Done(LimitedOutcome::Later(why)) => {
                    let why =
                        || ClickHouseError::Later(format!("a batch is not stored yet: {why}"));
                    return Err(failed.unwrap_or_else(why).into());
                }
            }
        }
    }

    async fn send(&self, token: &Token, batch: &PreparedBatch) -> Result<(), ClickHouseError> {
        let (token, attempt) = (token.as_str(), LimitedShipment::ATTEMPT);
        let name = attempt_name(token, attempt);
        let statement = Statement {
            sql: &insert_statement(),
            data: Some((batch.body.clone(), Some(INSERT_ENCODING))),
            query_id: Some(query_id(self.at.database(), token, attempt)),
            settings: INSERT_SETTINGS,
            more: &[("insert_deduplication_token", &name)],
        };
        self.run(statement, INSERT_MAX, Repeat::Never).await.map(drop)
    }

    /// First the links, then the ledger: what is in the ledger is not looked at again. Either may come
    /// twice.
    async fn note(
        &self,
        token: &Token,
        batch: &PreparedBatch,
        stamp: i64,
    ) -> Result<(), ClickHouseError> {
        let links = batch.links.iter().map(|(link, _)| *link);
        let changes = Statement {
            data: Some((change_rows(stamp, links), None)),
            ..Statement::new(CHANGE_STATEMENT, WRITE_SETTINGS)
        };
        self.run(changes, ANSWER_MAX, Repeat::Harmless).await?;
        let &PreparedBatch { rows, clicks, made_at, .. } = batch;
        let ledger = ledger_statement(token.as_str(), rows, clicks, made_at, stamp);
        let ledger = Statement::new(&ledger, WRITE_SETTINGS);
        self.run(ledger, ANSWER_MAX, Repeat::Harmless).await.map(drop)
    }

    /// The one row of an answer.
    async fn row<T: DeserializeOwned>(&self, sql: &str) -> Result<T, ClickHouseError> {
        let answer = self.run(Statement::new(sql, SETTINGS), ANSWER_MAX, Repeat::Harmless).await?;
        serde_json::from_slice(&answer).map_err(|error| ClickHouseError::Answer(error.to_string()))
    }

    async fn run(
        &self,
        statement: Statement<'_>,
        limit: Duration,
        repeat: Repeat,
    ) -> Result<Bytes, ClickHouseError> {
        let away = |error: &dyn std::fmt::Display| ClickHouseError::Away(error.to_string());
        let StatementRequest { target, body, encoding } = statement.request(self.at.database());
        self.bytes_sent.fetch_add((target.len() + body.len()) as u64, Ordering::Relaxed);
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(target)
            .header(USER_HEADER, &self.user)
            .header(PASSWORD_HEADER, &self.password);
        if let Some(encoding) = encoding {
            request = request.header(CONTENT_ENCODING, encoding);
        }
        // A body whose length is known is sent with it: one that is cut is an error, not a shorter one.
        let request = request.body(Full::new(Bytes::from(body))).map_err(|error| away(&error))?;
        match timeout(limit, self.pool.send(request, ANSWER_LEN_MAX, repeat)).await {
            Err(_) => Err(ClickHouseError::Lost(format!("no answer in {} s", limit.as_secs()))),
            Ok(Err(failed)) if failed.may_have_arrived => {
                let is_known = self.at.is_tls() || self.has_answered.load(Ordering::Relaxed);
                let hint = if is_known { String::new() } else { format!("; {MAY_WANT_TLS}") };
                Err(ClickHouseError::Lost(failed.text + &hint))
            }
            Ok(Err(failed)) => Err(away(&failed.text)),
            Ok(Ok(Answer { status, headers, body })) => {
                self.has_answered.store(true, Ordering::Relaxed);
                let exception = headers.get(EXCEPTION_HEADER).and_then(|code| code.to_str().ok());
                ClickHouseError::judge(status.as_u16(), exception, &body).map(|()| body)
            }
        }
    }
}
