//! `carom import`: links of a file, from here or from another shortener; or clicks.
//!
//! ```text
//! a thread   file -> rows (csv, json) -> links (origin, cells) -> batches
//! here       batch -> POST /v1/import -> what became of each row -> report
//! ```
//!
//! A batch is one commit, and what was imported is not imported again: whoever is interrupted runs
//! the same command once more. Two batches and the file's buffer are all that is in memory, however
//! long the file is, but for a dry run, which remembers the codes that it would have made.

mod cells;
mod clicks;
mod csv;
mod json;
mod origin;
pub(crate) mod progress;
mod report;
mod rows;

pub(crate) use rows::FileError;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use carom_control::FieldError;
use carom_control::operator::{ImportAnswer, ImportRequest, LinkRecord, OnConflict, RowAnswer};
use clap::Args;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::csv::{COLUMNS, cells};
use crate::error::CommandError;
use crate::operator::with_operator;
use crate::output;
use crate::settings::Settings;
use carom_control::program::{Operator, ProgramError};
use origin::Origin;
use progress::Progress;
use report::Report;
use rows::{Format, ReadOptions, Row, Rows};

/// Batches that are read ahead.
const AHEAD: usize = 2;
/// How long a server that is busy is asked again.
const PATIENCE: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_millis(250);
/// Codes that a dry run remembers, of 24 bytes each: rows that would meet one beyond them are not
/// found.
const SEEN_MAX: usize = 4_000_000;

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// CSV with a head, JSON lines, or a JSON array; - is standard input
    file: PathBuf,
    /// Clicks that `carom export --clicks` wrote, instead of links; their links have to be here
    #[arg(long, conflicts_with_all = ["on_conflict", "from"])]
    clicks: bool,
    /// Check everything, write nothing, report the same
    #[arg(long)]
    dry_run: bool,
    /// What to do with a row whose code leads to another address here, or was deleted here
    #[arg(long, value_enum, default_value_t = Policy::Refuse)]
    on_conflict: Policy,
    /// Write all refused rows with their reasons to this file: CSV that can be corrected and imported
    #[arg(long, value_name = "FILE")]
    refused: Option<PathBuf>,
    /// Put all links on this host, whatever the file says; "default" is the default domain's
    #[arg(long, value_name = "HOST")]
    domain: Option<String>,
    /// Leave out columns that are unknown
    #[arg(long)]
    ignore_unknown: bool,
    /// How the file is written [default: as its first character says]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Whose export it is [default: as its columns say]
    #[arg(long, value_enum)]
    from: Option<Origin>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// As [`OnConflict`], for the command line.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Policy {
    Refuse,
    /// What is here stays
    Skip,
    /// The row wins, in those fields that it has
    Replace,
}

/// Rows that go into one commit.
#[derive(Default)]
struct Batch {
    body: Vec<u8>,
    /// What `body` holds, in its order.
    links: Vec<(u64, LinkRecord)>,
    refused: Vec<(u64, LinkRecord, Vec<FieldError>)>,
    lost: Vec<String>,
}

impl ImportArgs {
    pub(crate) fn run(&self, settings: &Settings) -> Result<(), CommandError> {
        if self.clicks {
            return self.run_clicks(settings);
        }
        let read = Arc::new(AtomicU64::new(0));
        let (input, len) = rows::open(&self.file, &read)?;
        let options = ReadOptions {
            format: self.format,
            origin: self.from,
            ignore_unknown: self.ignore_unknown,
            domain: self.domain.clone().map(|host| Some(host).filter(|host| host != "default")),
        };
        let rows = Rows::new(&self.file, input, options)?;
        let mut report = self.report(&rows)?;
        let mut progress = Progress::new();
        with_operator(settings, !self.dry_run, async |operator| {
            let mut batcher = Batcher { rows, head: self.request_head(), next: None };
            let mut batches = read_ahead(move || batcher.next())?;
            let mut seen = HashMap::new();
            while let Some(batch) = batches.recv().await {
                let batch = batch?;
                self.send(operator, &batch, &mut report, &mut seen).await?;
                let part = len.map(|len| read.load(Ordering::Relaxed) as f64 / len.max(1) as f64);
                let also = match report.refused {
                    0 => String::new(),
                    refused => format!(", {refused} refused"),
                };
                progress.show(report.rows, "rows", part, &also);
            }
            Ok(())
        })
        .inspect_err(|_| progress.end())?;
        progress.end();
        self.end(report, &progress)
    }

    /// Says what became of the file.
    fn end(&self, mut report: Report, progress: &Progress) -> Result<(), CommandError> {
        report.seconds = progress.elapsed().as_secs_f64();
        report.end().map_err(ProgramError::Output)?;
        if self.json {
            output::json(&report)?;
        } else {
            output::text(&report.text())?;
        }
        match report.refused {
            0 => Ok(()),
            refused => Err(CommandError::RowsRefused(refused)),
        }
    }

    fn report(&self, rows: &Rows) -> Result<Report, CommandError> {
        let from = match (rows.origin, rows.format) {
            (Origin::Carom, Format::Csv) => "CSV",
            (Origin::Carom, Format::Jsonl) => "JSON",
            (origin, _) => origin.name(),
        };
        let mut report = self.new_report(from, COLUMNS)?;
        report.not_imported.clone_from(&rows.lost);
        Ok(report)
    }

    fn new_report(
        &self,
        from: &'static str,
        columns: impl IntoIterator<Item = &'static str>,
    ) -> Result<Report, CommandError> {
        let same = |path: &Path| Some(path.canonicalize().ok()? == self.file.canonicalize().ok()?);
        if self.refused.as_deref().and_then(same) == Some(true) {
            return Err(CommandError::SameFile);
        }
        let report = Report::new(from, self.dry_run, self.refused.as_deref(), columns);
        Ok(report.map_err(ProgramError::Output)?)
    }

    /// A request up to its rows.
    fn request_head(&self) -> Vec<u8> {
        let request = ImportRequest {
            on_conflict: self.on_conflict.into(),
            dry_run: self.dry_run,
            rows: vec![],
        };
        let mut head = serde_json::to_vec(&request).unwrap_or_default();
        // The list of rows is last, and empty.
        head.truncate(head.len().saturating_sub("]}".len()));
        head
    }

    async fn send(
        &self,
        operator: &Operator,
        batch: &Batch,
        report: &mut Report,
        seen: &mut HashMap<u64, u64>,
    ) -> Result<(), CommandError> {
        report.rows += (batch.links.len() + batch.refused.len()) as u64;
        report.lose(&batch.lost);
        let mut refused: Vec<_> = batch
            .refused
            .iter()
            .map(|(number, link, errors)| (*number, link, errors.clone()))
            .collect();
        if !batch.links.is_empty() {
            let body = Bytes::from(batch.body.clone());
            let answer: ImportAnswer = send_patiently(operator, "/v1/import", body).await?;
            if answer.rows.len() != batch.links.len() {
                return Err(
                    ProgramError::Answer("it has not as many rows as were sent".into()).into()
                );
            }
            for ((number, link), answer) in batch.links.iter().zip(answer.rows) {
                match self.settle(answer, seen) {
                    RowAnswer::Made | RowAnswer::Would { .. } => report.made += 1,
                    RowAnswer::Present => report.already_there += 1,
                    RowAnswer::Skipped => report.skipped += 1,
                    RowAnswer::Replaced => report.replaced += 1,
                    RowAnswer::Refused(errors) => refused.push((*number, link, errors)),
                }
            }
        }
        refused.sort_by_key(|(number, ..)| *number);
        for (number, link, errors) in refused {
            report.refuse(number, &cells(link), &errors).map_err(ProgramError::Output)?;
        }
        Ok(())
    }

    /// What would have become of a row, had the rows before it been written.
    fn settle(&self, answer: RowAnswer, seen: &mut HashMap<u64, u64>) -> RowAnswer {
        let RowAnswer::Would { code, target } = answer else { return answer };
        match seen.get_mut(&code) {
            Some(known) if *known == target => RowAnswer::Present,
            Some(known) => match self.on_conflict {
                Policy::Refuse => RowAnswer::Refused(vec![FieldError {
                    pointer: "#/code".into(),
                    code: "code-taken".into(),
                    detail: "the code leads to another address in an earlier row".into(),
                }]),
                Policy::Skip => RowAnswer::Skipped,
                Policy::Replace => {
                    *known = target;
                    RowAnswer::Replaced
                }
            },
            None => {
                if seen.len() < SEEN_MAX {
                    seen.insert(code, target);
                }
                RowAnswer::Made
            }
        }
    }
}

impl From<Policy> for OnConflict {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Refuse => Self::Refuse,
            Policy::Skip => Self::Skip,
            Policy::Replace => Self::Replace,
        }
    }
}

/// Sends a batch, again if it could not be taken or if nobody knows whether it was: what was
/// imported is not imported twice.
async fn send_patiently<T: DeserializeOwned>(
    operator: &Operator,
    path: &str,
    body: Bytes,
) -> Result<T, CommandError> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        match operator.post_json(path, body.clone()).await {
            Err(ProgramError::Problem(problem))
                if problem.status == 503 && Instant::now() < give_up =>
            {
                tokio::time::sleep(RETRY).await;
            }
            answer => return Ok(answer?),
        }
    }
}

/// Reads a file on a thread of its own, a few batches ahead.
fn read_ahead<B: Send + 'static>(
    mut next: impl FnMut() -> Result<Option<B>, FileError> + Send + 'static,
) -> Result<mpsc::Receiver<Result<B, FileError>>, CommandError> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let work = move || {
        // Nobody waits for what is left if the command has failed.
        while let Some(batch) = next().transpose()
            && sender.blocking_send(batch).is_ok()
        {}
    };
    let thread = std::thread::Builder::new().name("import-read".into()).spawn(work);
    drop(thread.map_err(ProgramError::Runtime)?);
    Ok(receiver)
}

struct Batcher {
    rows: Rows,
    head: Vec<u8>,
    /// Read, and too large for the batch before.
    next: Option<(u64, LinkRecord, Vec<u8>)>,
}

impl Batcher {
    /// The next batch; `None` at the end.
    fn next(&mut self) -> Result<Option<Batch>, FileError> {
        let mut batch = Batch { body: self.head.clone(), ..Batch::default() };
        while batch.links.len() + batch.refused.len() < ImportRequest::ROWS_MAX {
            let (number, link, json) = match self.next.take() {
                Some(next) => next,
                None => match self.rows.next()? {
                    None => break,
                    Some(Row { number, link, errors }) if !errors.is_empty() => {
                        batch.refused.push((number, link, errors));
                        continue;
                    }
                    Some(Row { number, link, .. }) => {
                        // Texts and numbers are JSON.
                        let json = serde_json::to_vec(&link).unwrap_or_default();
                        (number, link, json)
                    }
                },
            };
            if batch.body.len() + json.len() + ",]}".len() > ImportRequest::BYTES_MAX {
                self.next = Some((number, link, json));
                break;
            }
            if !batch.links.is_empty() {
                batch.body.push(b',');
            }
            batch.body.extend_from_slice(&json);
            batch.links.push((number, link));
        }
        batch.body.extend_from_slice(b"]}");
        batch.lost.clone_from(&self.rows.lost);
        let is_empty = batch.links.is_empty() && batch.refused.is_empty();
        Ok((!is_empty).then_some(batch))
    }
}
