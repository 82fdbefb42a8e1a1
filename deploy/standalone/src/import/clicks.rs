//! `carom import --clicks`: single clicks of a file that `carom export --clicks` wrote.
//!
//! ```text
//! a thread   file -> rows (csv, json) -> cells in the export's order -> batches
//! here       batch -> POST /v1/import/clicks -> what became of each row -> report
//! ```
//!
//! A click has no name. To tell two alike from one that comes again, each row is sent with how many
//! rows of its second were the same before it; so rows of a second have to stand together, as they
//! do in an export and in a file sorted by time.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use carom_control::FieldError;
use carom_control::operator::{
    ClickAnswer, ClickRow, ImportClicksAnswer, ImportClicksRequest, click_columns,
};

use super::cells::Cell;
use super::csv::CsvRows;
use super::json::JsonRows;
use super::progress::Progress;
use super::report::{REFUSED_COLUMNS, Report};
use super::rows::{self, FileError, Format, Input, Unreadable};
use super::{ImportArgs, read_ahead, send_patiently};
use crate::error::CommandError;
use crate::operator::with_operator;
use crate::settings::Settings;
use carom_control::program::{Operator, ProgramError};

/// Different rows of one second that are remembered, of 24 bytes each: beyond them, rows that are
/// alike count as one.
const SECOND_ROWS_MAX: usize = 1_000_000;
/// Names of unknown members of JSON that a report lists, at most.
const LOST_MAX: usize = 50;

/// A row with its number as a spreadsheet or an editor shows it.
struct Row {
    number: u64,
    /// In the order of [`click_columns`].
    cells: Vec<String>,
    nth: u32,
    errors: Vec<FieldError>,
}

/// A file of clicks that is read.
struct ClickRows {
    format: Format,
    path: String,
    source: Source,
    number: u64,
    columns: Vec<&'static str>,
    ignore_unknown: bool,
    /// The host of all links; `Some("")` is the default domain's.
    host: Option<String>,
    /// Columns that Carom has nothing for.
    lost: Vec<String>,
    second: Second,
}

enum Source {
    /// Which column each cell is; `None` is left out.
    Csv(Box<CsvRows<Input>>, Vec<Option<usize>>),
    Json(JsonRows<Input>),
}

/// The rows so far of the second that is read.
#[derive(Default)]
struct Second {
    at: String,
    seen: HashMap<u64, u32>,
}

impl Second {
    /// How many rows of the same second before this one are the same.
    fn nth(&mut self, at: &str, cells: &[String]) -> u32 {
        if self.at != at {
            at.clone_into(&mut self.at);
            self.seen.clear();
        }
        let mut hasher = DefaultHasher::new();
        cells.hash(&mut hasher);
        let is_full = self.seen.len() >= SECOND_ROWS_MAX;
        match self.seen.get_mut(&hasher.finish()) {
            Some(count) => {
                *count += 1;
                *count
            }
            None if is_full => 0,
            None => {
                self.seen.insert(hasher.finish(), 0);
                0
            }
        }
    }
}

impl ClickRows {
    fn new(args: &ImportArgs, input: Box<dyn std::io::Read + Send>) -> Result<Self, FileError> {
        let path = args.file.display().to_string();
        let failed = |source| FileError::Read { path: path.clone(), source };
        let (input, first) = rows::begin(&path, input)?;
        let format = args.format.unwrap_or_else(|| Format::told_by(first));
        let columns: Vec<&'static str> = click_columns().collect();
        let mut lost = Vec::new();
        let (source, number) = match format {
            Format::Csv => {
                let mut csv = CsvRows::new(input).map_err(failed)?;
                let head = csv.next().map_err(failed)?.ok_or(FileError::Empty)?;
                let head = head.map_err(|error| FileError::Head(error.to_string()))?;
                let head: Vec<&str> = head.into_iter().map(str::trim).collect();
                let has = |name| head.contains(&name);
                if !has("at") || !(has("link_id") || has("code")) {
                    return Err(FileError::NotClicks(head.join(", ")));
                }
                let is_known =
                    |name: &&&str| columns.contains(*name) || REFUSED_COLUMNS.contains(*name);
                let unknown = head.iter().filter(|name| !is_known(name));
                lost.extend(unknown.map(|name| (*name).to_owned()));
                if !lost.is_empty() && !args.ignore_unknown {
                    return Err(FileError::Columns(lost.join(", ")));
                }
                let place = |name: &&str| columns.iter().position(|column| column == name);
                let places = head.iter().map(place).collect();
                (Source::Csv(Box::new(csv), places), 1)
            }
            Format::Jsonl => (Source::Json(JsonRows::new(input, first == b'[')), 0),
        };
        let host = args.domain.clone();
        let host = host.map(|host| if host == "default" { String::new() } else { host });
        let ignore_unknown = args.ignore_unknown;
        let second = Second::default();
        Ok(Self { format, path, source, number, columns, ignore_unknown, host, lost, second })
    }

    /// The next row; `None` at the end.
    fn next(&mut self) -> Result<Option<Row>, FileError> {
        let failed = |source| FileError::Read { path: self.path.clone(), source };
        let mut cells = vec![String::new(); self.columns.len()];
        let mut errors = Vec::new();
        let read = match &mut self.source {
            Source::Csv(csv, places) => {
                let Some(row) = csv.next().map_err(failed)? else { return Ok(None) };
                row.and_then(|row| of_csv(&row, places, &mut cells))
            }
            Source::Json(json) => {
                let Some(row) = json.next().map_err(failed)? else { return Ok(None) };
                row.map(|members| {
                    for (name, value) in members {
                        let Some(cell) = Cell::of_json(value) else { continue };
                        let place = self.columns.iter().position(|column| *column == name);
                        match (place, cell.text()) {
                            (Some(place), Ok(text)) => cells[place] = text,
                            (Some(_), Err(reason)) => refuse(&mut errors, &name, reason),
                            (None, _) if self.ignore_unknown => {
                                if !self.lost.contains(&name) && self.lost.len() < LOST_MAX {
                                    self.lost.push(name);
                                }
                            }
                            (None, _) => {
                                let reason = "is an unknown column; --ignore-unknown leaves it out";
                                refuse(&mut errors, &name, reason);
                            }
                        }
                    }
                })
            }
        };
        self.number += 1;
        if let Err(unreadable) = read {
            refuse(&mut errors, "row", &unreadable.to_string());
        }
        let place = |name| self.columns.iter().position(|column| *column == name);
        if let (Some(host), Some(place)) = (&self.host, place("domain")) {
            cells[place].clone_from(host);
        }
        let nth = place("at").map_or(0, |at| self.second.nth(&cells[at], &cells));
        Ok(Some(Row { number: self.number, cells, nth, errors }))
    }
}

fn of_csv(row: &[&str], places: &[Option<usize>], cells: &mut [String]) -> Result<(), Unreadable> {
    if row.len() != places.len() {
        return Err(Unreadable::Count { found: row.len(), named: places.len() });
    }
    for (text, place) in row.iter().zip(places) {
        if let (Some(place), Some(Cell::Text(text))) = (place, Cell::of_csv(text)) {
            cells[*place] = text;
        }
    }
    Ok(())
}

fn refuse(errors: &mut Vec<FieldError>, column: &str, reason: &str) {
    let (pointer, code) = (format!("#/{column}"), "malformed".to_owned());
    errors.push(FieldError { pointer, code, detail: reason.to_owned() });
}

/// Rows that go into one commit.
#[derive(Default)]
struct Batch {
    body: Vec<u8>,
    /// What `body` holds, in its order.
    clicks: Vec<(u64, Vec<String>)>,
    refused: Vec<(u64, Vec<String>, Vec<FieldError>)>,
    lost: Vec<String>,
}

struct Batcher {
    rows: ClickRows,
    head: Vec<u8>,
    /// Read, and too large for the batch before.
    next: Option<(u64, ClickRow, Vec<u8>)>,
}

impl Batcher {
    /// The next batch; `None` at the end.
    fn next(&mut self) -> Result<Option<Batch>, FileError> {
        let mut batch = Batch { body: self.head.clone(), ..Batch::default() };
        while batch.clicks.len() + batch.refused.len() < ImportClicksRequest::ROWS_MAX {
            let (number, row, json) = match self.next.take() {
                Some(next) => next,
                None => match self.rows.next()? {
                    None => break,
                    Some(Row { number, cells, errors, .. }) if !errors.is_empty() => {
                        batch.refused.push((number, cells, errors));
                        continue;
                    }
                    Some(Row { number, cells, nth, .. }) => {
                        let row = ClickRow { nth, cells };
                        // Texts and numbers are JSON.
                        let json = serde_json::to_vec(&row).unwrap_or_default();
                        (number, row, json)
                    }
                },
            };
            if batch.body.len() + json.len() + ",]}".len() > ImportClicksRequest::BYTES_MAX {
                self.next = Some((number, row, json));
                break;
            }
            if !batch.clicks.is_empty() {
                batch.body.push(b',');
            }
            batch.body.extend_from_slice(&json);
            batch.clicks.push((number, row.cells));
        }
        batch.body.extend_from_slice(b"]}");
        batch.lost.clone_from(&self.rows.lost);
        let is_empty = batch.clicks.is_empty() && batch.refused.is_empty();
        Ok((!is_empty).then_some(batch))
    }
}

/// A request up to its rows.
fn request_head(dry_run: bool) -> Vec<u8> {
    let request = ImportClicksRequest { dry_run, rows: vec![] };
    let mut head = serde_json::to_vec(&request).unwrap_or_default();
    // The list of rows is last, and empty.
    head.truncate(head.len().saturating_sub("]}".len()));
    head
}

impl ImportArgs {
    pub(super) fn run_clicks(&self, settings: &Settings) -> Result<(), CommandError> {
        let read = Arc::new(AtomicU64::new(0));
        let (input, len) = rows::open(&self.file, &read)?;
        let rows = ClickRows::new(self, input)?;
        let from = if rows.format == Format::Csv { "CSV" } else { "JSON" };
        let mut report = self.new_report(from, click_columns())?;
        report.not_imported.clone_from(&rows.lost);
        let mut progress = Progress::new();
        let mut batcher = Batcher { rows, head: request_head(self.dry_run), next: None };
        with_operator(settings, false, async |operator| {
            let mut batches = read_ahead(move || batcher.next())?;
            while let Some(batch) = batches.recv().await {
                self.send_clicks(operator, batch?, &mut report).await?;
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

    async fn send_clicks(
        &self,
        operator: &Operator,
        batch: Batch,
        report: &mut Report,
    ) -> Result<(), CommandError> {
        report.rows += (batch.clicks.len() + batch.refused.len()) as u64;
        report.lose(&batch.lost);
        let mut refused = batch.refused;
        if !batch.clicks.is_empty() {
            let body = Bytes::from(batch.body);
            let answer: ImportClicksAnswer =
                send_patiently(operator, "/v1/import/clicks", body).await?;
            if answer.rows.len() != batch.clicks.len() {
                return Err(
                    ProgramError::Answer("it has not as many rows as were sent".into()).into()
                );
            }
            for ((number, cells), answer) in batch.clicks.into_iter().zip(answer.rows) {
                match answer {
                    ClickAnswer::New => report.made += 1,
                    ClickAnswer::Present => report.already_there += 1,
                    ClickAnswer::Refused(errors) => refused.push((number, cells, errors)),
                }
            }
        }
        refused.sort_by_key(|(number, ..)| *number);
        for (number, cells, errors) in refused {
            report.refuse(number, &cells, &errors).map_err(ProgramError::Output)?;
        }
        Ok(())
    }
}
