//! Carries out what a [`Shipment`] asks for.

use std::collections::BTreeSet;

use carom_shared::UnixMillis;
use carom_shared::batch::Batch;
use carom_shared::clickhouse::{
    CHANGE_STATEMENT, ClickHouseError, Found, INSERT_ENCODING, INSERT_SETTINGS, LinkKey, Look,
    Outcome, SETTINGS, Sent, Shipment, Statement, Step, WRITE_SETTINGS, attempt_name, batch_number,
    change_rows, count_statement, delete_part_statement, delete_statement, found, insert_body,
    insert_statement, kill_statement, ledger_statement, look_statement, query_id,
};

use super::ClickStore;
use crate::click::Stored;
use crate::click::sqlite::is_forgotten;
use crate::db::StoreError;

impl ClickStore {
    /// Stores a batch under its token, once. Waits for the server; a batch is not changed by a failure
    /// in between, and the next call finds out what became of it.
    pub(super) async fn ship(
        &self,
        token: &str,
        batch: &Batch,
        now: UnixMillis,
        is_imported: bool,
    ) -> Result<Stored, StoreError> {
        let number = batch_number(token);
        let mut shipment = Shipment::new(batch.len() as u64);
        let (mut refused, mut counted) = (None, 0);
        loop {
            match shipment.step() {
                Step::Look => {
                    // A file's clicks have no age of their own; each file is imported under a new name.
                    let is_old = !is_imported && is_forgotten(batch.made_at(), now);
                    shipment.looked(self.found(number, batch, is_old).await?);
                }
                Step::Send(attempt) => {
                    let sent = self.send(token, attempt, batch, is_imported).await;
                    if let Err(error) = &sent {
                        tracing::warn!(%error, batch = token, attempt, "an insert of clicks failed");
                    }
                    let sent = match sent {
                        Err(error) if error.is_content() => {
                            return Err(StoreError::BatchRefused(error));
                        }
                        sent => sent,
                    };
                    shipment.sent(what_is_known(&sent));
                    refused = sent.err();
                }
                Step::Settle => {
                    self.ask(&kill_statement(self.0.client.at().database(), token)).await?;
                    shipment.settled();
                }
                Step::Count => {
                    let count: Vec<(u64,)> = self
                        .rows(&format!("{} FORMAT JSONCompactEachRow", count_statement(number)))
                        .await?;
                    let &[(rows,)] = &count[..] else {
                        return Err(ClickHouseError::Answer("no count".to_owned()).into());
                    };
                    counted = rows;
                    shipment.counted(rows);
                }
                Step::Delete => {
                    tracing::warn!(
                        batch = token,
                        "a batch of clicks is there in part or twice: it is put in anew"
                    );
                    let delete = if counted < batch.len() as u64 {
                        delete_part_statement(number)
                    } else {
                        delete_statement(number)
                    };
                    self.ask(&delete).await?;
                    shipment.deleted();
                }
                Step::Note => {
                    self.note(token, batch, now).await?;
                    shipment.noted();
                }
                Step::Done(Outcome::Stored) => {
                    let clicks = batch.header().clicks;
                    return Ok(Stored::New { rows: batch.len(), clicks });
                }
                Step::Done(Outcome::Already) => return Ok(Stored::Duplicate),
                Step::Done(Outcome::TooOld) => return Ok(Stored::TooOld),
                Step::Done(Outcome::Later(why)) => {
                    let why = format!("a batch is not stored yet: {why}");
                    return Err(refused.unwrap_or(ClickHouseError::Later(why)).into());
                }
            }
        }
    }

    async fn found(
        &self,
        number: u64,
        batch: &Batch,
        is_old: bool,
    ) -> Result<Found, ClickHouseError> {
        let looked: Vec<Look> = self.rows(&look_statement(number, batch.made_at())).await?;
        let look = looked.into_iter().next();
        let look =
            look.ok_or_else(|| ClickHouseError::Answer("nothing about a batch".to_owned()))?;
        Ok(found(look, is_old, links(batch).map(|link| (link, 1))))
    }

    async fn send(
        &self,
        token: &str,
        attempt: u32,
        batch: &Batch,
        is_imported: bool,
    ) -> Result<(), ClickHouseError> {
        let name = attempt_name(token, attempt);
        let (sql, body) = (insert_statement(), insert_body(token, batch, is_imported));
        let statement = Statement {
            sql: &sql,
            data: Some((body, Some(INSERT_ENCODING))),
            query_id: Some(query_id(self.0.client.at().database(), token, attempt)),
            settings: INSERT_SETTINGS,
            more: &[("insert_deduplication_token", &name)],
        };
        self.0.client.run(statement).await.map(drop)
    }

    /// First the links, then the ledger: what is in the ledger is not looked at again.
    async fn note(
        &self,
        token: &str,
        batch: &Batch,
        now: UnixMillis,
    ) -> Result<(), ClickHouseError> {
        let stamp = self.note_changes(links(batch).collect::<BTreeSet<_>>(), now).await?;
        let (rows, clicks) = (batch.len(), batch.header().clicks);
        self.write(&ledger_statement(token, rows, clicks, batch.made_at(), stamp)).await
    }

    /// Writes down that links were clicked, under a time that is later than each before.
    pub(super) async fn note_changes(
        &self,
        links: impl IntoIterator<Item = LinkKey>,
        now: UnixMillis,
    ) -> Result<i64, ClickHouseError> {
        let mut last = self.0.stamp.lock().await;
        let stamp = now.get().max(*last + 1);
        let rows = change_rows(stamp, links);
        if !rows.is_empty() {
            // While the lock is held: what is read up to one change has all that came before it.
            let data = Some((rows, None));
            let insert = Statement { data, ..Statement::new(CHANGE_STATEMENT, WRITE_SETTINGS) };
            self.0.client.run(insert).await?;
        }
        *last = stamp;
        Ok(stamp)
    }

    async fn ask(&self, sql: &str) -> Result<(), ClickHouseError> {
        self.0.client.run(Statement::new(sql, SETTINGS)).await.map(drop)
    }
}

fn links(batch: &Batch) -> impl Iterator<Item = LinkKey> {
    batch.clicks().map(|click| [click.workspace.get(), click.link.get()])
}

/// What is known of an insert after its answer.
const fn what_is_known(sent: &Result<(), ClickHouseError>) -> Sent {
    match sent {
        Ok(()) => Sent::Clean,
        Err(ClickHouseError::Lost(_) | ClickHouseError::Answer(_)) => Sent::Unknown,
        Err(_) => Sent::Refused,
    }
}
