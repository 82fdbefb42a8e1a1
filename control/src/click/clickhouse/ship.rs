//! Carries out what a [`Shipment`] asks for.

use std::collections::BTreeSet;

use carom_shared::UnixMillis;
use carom_shared::batch::Batch;
use carom_shared::clickhouse::{
    Found, INSERT_ENCODING, INSERT_SETTINGS, Outcome, SETTINGS, Sent, Shipment, Step, attempt_name,
    batch_number, count_statement, delete_part_statement, delete_statement, insert_body,
    insert_statement, kill_statement, query_id,
};

use super::ClickStore;
use super::http::{ClickHouseError, Statement};
use super::sql::literal;
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
                    let found = self.found(number, batch).await?;
                    shipment.looked(Found { is_older_than_ledger: is_old, ..found });
                }
                Step::Send(attempt) => {
                    let sent = self.send(token, attempt, batch, is_imported).await;
                    if let Err(error) = &sent {
                        tracing::warn!(%error, batch = token, attempt, "an insert of clicks failed");
                    }
                    shipment.sent(match &sent {
                        Ok(()) => Sent::Clean,
                        Err(ClickHouseError::Lost(_) | ClickHouseError::Answer(_)) => Sent::Unknown,
                        Err(_) => Sent::Refused,
                    });
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
                    self.note(token, number, batch, now).await?;
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

    async fn found(&self, number: u64, batch: &Batch) -> Result<Found, ClickHouseError> {
        let sql = format!(
            "SELECT (SELECT count() FROM batch WHERE batch = {number}), \
               ({}), \
               (SELECT groupArray([workspace, link]) FROM erasure WHERE at_ms >= {}) \
             FORMAT JSONCompactEachRow",
            count_statement(number),
            batch.made_at().get(),
        );
        let found: Vec<(u64, u64, Vec<[i64; 2]>)> = self.rows(&sql).await?;
        let Some((noted, rows, erasures)) = found.into_iter().next() else {
            return Err(ClickHouseError::Answer("nothing about a batch".to_owned()));
        };
        let erasures: BTreeSet<[i64; 2]> = erasures.into_iter().collect();
        let is_erased = |workspace: i64, link: i64| {
            erasures.contains(&[workspace, link]) || erasures.contains(&[workspace, 0])
        };
        let erased = if erasures.is_empty() {
            0
        } else {
            let clicks = batch.clicks();
            clicks.filter(|click| is_erased(click.workspace.get(), click.link.get())).count() as u64
        };
        Ok(Found { is_noted: noted > 0, rows, erased, is_older_than_ledger: false })
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
        number: u64,
        batch: &Batch,
        now: UnixMillis,
    ) -> Result<(), ClickHouseError> {
        let links = batch.clicks().map(|click| [click.workspace.get(), click.link.get()]);
        let links: BTreeSet<[i64; 2]> = links.collect();
        let stamp = self.note_changes(links, now).await?;
        let ledger = format!(
            "INSERT INTO batch (batch, token, rows, clicks, made_ms, stored_ms) \
             VALUES ({number}, {}, {}, {}, {}, {stamp})",
            literal(token),
            batch.len(),
            batch.header().clicks,
            batch.made_at().get(),
        );
        self.write(&ledger).await
    }

    /// Writes down that links were clicked, under a time that is later than each before.
    pub(super) async fn note_changes(
        &self,
        links: impl IntoIterator<Item = [i64; 2]>,
        now: UnixMillis,
    ) -> Result<i64, ClickHouseError> {
        let mut last = self.0.stamp.lock().await;
        let stamp = now.get().max(*last + 1);
        let numbers: Vec<i64> =
            links.into_iter().flat_map(|[workspace, link]| [stamp, workspace, link]).collect();
        if !numbers.is_empty() {
            // While the lock is held: what is read up to one change has all that came before it.
            self.insert_numbers("click_change", &numbers).await?;
        }
        *last = stamp;
        Ok(stamp)
    }

    async fn ask(&self, sql: &str) -> Result<(), ClickHouseError> {
        self.0.client.run(Statement::new(sql, SETTINGS)).await.map(drop)
    }
}
