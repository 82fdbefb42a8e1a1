//! The links of a file, row by row, whatever its format.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use carom_control::FieldError;
use carom_control::operator::LinkRecord;
use clap::ValueEnum;

use super::cells::{Cell, Reading};
use super::csv::CsvRows;
use super::json::JsonRows;
use super::origin::{Field, Origin};

/// Bytes of a row, at most. A link with all its fields as long as they may be has less.
pub(super) const ROW_MAX: usize = 64 * 1024;
/// Bytes that are read at once.
const BUFFER: usize = 256 * 1024;
/// The mark that some programs begin a text with.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Csv,
    /// JSON lines, or one JSON array.
    #[value(alias = "json")]
    Jsonl,
}

/// How a file is to be read.
#[derive(Clone, Debug, Default)]
pub(super) struct ReadOptions {
    pub(super) format: Option<Format>,
    pub(super) origin: Option<Origin>,
    pub(super) ignore_unknown: bool,
    /// The host of all links; `Some(None)` is the default domain.
    pub(super) domain: Option<Option<String>>,
}

/// Why a row is no row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("the row has more than {ROW_MAX} bytes; is a quote not closed?")]
    TooLarge,
    #[error("the row is not UTF-8; save the file as UTF-8")]
    Encoding,
    #[error("the row is not a JSON object: {0}")]
    Json(String),
    #[error("the row has {found} cells, and the head names {named} columns")]
    Count { found: usize, named: usize },
}

/// Why a file cannot be imported.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("cannot read {path}: {source}")]
    Read { path: String, source: io::Error },
    #[error("the first row cannot be read: {0}")]
    Head(String),
    #[error("the file is empty")]
    Empty,
    #[error(
        "the columns are of no known format ({0}); write code and url into the first line, or name \
         the format with --from"
    )]
    Origin(String),
    #[error(
        "the columns are not those of an export of clicks ({0}): at, and link_id or code, are needed"
    )]
    NotClicks(String),
    #[error("unknown columns: {0}; correct their names, or leave them out with --ignore-unknown")]
    Columns(String),
}

/// A row with its number as a spreadsheet or an editor shows it.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) number: u64,
    pub(super) link: LinkRecord,
    /// Why it is refused, if there are any.
    pub(super) errors: Vec<FieldError>,
}

/// A file that is read.
pub(super) struct Rows {
    pub(super) origin: Origin,
    pub(super) format: Format,
    /// Columns that Carom has nothing for.
    pub(super) lost: Vec<String>,
    path: String,
    source: Source,
    number: u64,
    options: ReadOptions,
}

pub(super) type Input = Box<dyn BufRead + Send>;

enum Source {
    /// What each column is; `None` is left out.
    Csv(Box<CsvRows<Input>>, Vec<(String, Option<Field>)>),
    /// The first object told the origin, and is still to be read.
    Json(JsonRows<Input>, Option<serde_json::Map<String, serde_json::Value>>),
}

/// Counts what is read, for the progress.
struct Counting<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// Opens a file, or standard input for `-`; and how many bytes it has, if that is known.
pub(super) fn open(
    path: &Path,
    read: &Arc<AtomicU64>,
) -> Result<(Box<dyn Read + Send>, Option<u64>), FileError> {
    let read = Arc::clone(read);
    if path == Path::new("-") {
        return Ok((Box::new(Counting { inner: io::stdin(), read }), None));
    }
    let failed = |source| FileError::Read { path: path.display().to_string(), source };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let len = metadata.is_file().then_some(metadata.len());
    Ok((Box::new(Counting { inner: file, read }), len))
}

/// A file from its first character on, and that.
pub(super) fn begin(path: &str, input: Box<dyn Read + Send>) -> Result<(Input, u8), FileError> {
    let failed = |source| FileError::Read { path: path.to_owned(), source };
    let mut input: Input = Box::new(BufReader::with_capacity(BUFFER, input));
    if input.fill_buf().map_err(failed)?.starts_with(BYTE_ORDER_MARK) {
        input.consume(BYTE_ORDER_MARK.len());
    }
    let first = input.fill_buf().map_err(failed)?.trim_ascii_start().first().copied();
    Ok((input, first.ok_or(FileError::Empty)?))
}

impl Format {
    /// What a file's first character says.
    pub(super) const fn told_by(first: u8) -> Self {
        if matches!(first, b'{' | b'[') { Self::Jsonl } else { Self::Csv }
    }
}

impl Rows {
    pub(super) fn new(
        path: &Path,
        input: Box<dyn Read + Send>,
        options: ReadOptions,
    ) -> Result<Self, FileError> {
        let path = path.display().to_string();
        let failed = |source| FileError::Read { path: path.clone(), source };
        let (input, first) = begin(&path, input)?;
        let format = options.format.unwrap_or_else(|| Format::told_by(first));
        let mut rows = match format {
            Format::Csv => {
                let mut csv = CsvRows::new(input).map_err(failed)?;
                let head = csv.next().map_err(failed)?.ok_or(FileError::Empty)?;
                let head = head.map_err(|error| FileError::Head(error.to_string()))?;
                let head: Vec<String> =
                    head.into_iter().map(|cell| cell.trim().to_owned()).collect();
                let origin = told_origin(&options, head.iter().map(String::as_str))?;
                let columns: Vec<_> = head
                    .into_iter()
                    .map(|name| {
                        let field = origin.field(&name);
                        (name, field)
                    })
                    .collect();
                let source = Source::Csv(Box::new(csv), columns);
                Self { origin, format, lost: Vec::new(), path, source, number: 1, options }
            }
            Format::Jsonl => {
                let mut json = JsonRows::new(input, first == b'[');
                let head = json.next().map_err(failed)?.ok_or(FileError::Empty)?;
                let head = head.map_err(|error| FileError::Head(error.to_string()))?;
                let origin = told_origin(&options, head.keys().map(String::as_str))?;
                let source = Source::Json(json, Some(head));
                Self { origin, format, lost: Vec::new(), path, source, number: 0, options }
            }
        };
        rows.check_columns()?;
        Ok(rows)
    }

    /// A head names all columns: what is wrong with them is said before anything is done.
    fn check_columns(&mut self) -> Result<(), FileError> {
        let Source::Csv(_, columns) = &self.source else { return Ok(()) };
        let unknown: Vec<&str> = columns
            .iter()
            .filter(|(_, field)| field.is_none())
            .map(|(name, _)| if name.is_empty() { "(without a name)" } else { name })
            .collect();
        if !unknown.is_empty() && !self.options.ignore_unknown {
            return Err(FileError::Columns(unknown.join(", ")));
        }
        let lost = columns.iter().filter(|(_, field)| matches!(field, None | Some(Field::Lost)));
        self.lost = lost.map(|(name, _)| name.clone()).collect();
        Ok(())
    }

    /// The next row; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Row>, FileError> {
        let failed = |source| FileError::Read { path: self.path.clone(), source };
        let reading = match &mut self.source {
            Source::Csv(csv, columns) => {
                let Some(cells) = csv.next().map_err(failed)? else { return Ok(None) };
                cells.and_then(|cells| of_csv(&cells, columns))
            }
            Source::Json(json, first) => {
                let members = match first.take() {
                    Some(members) => Ok(members),
                    None => match json.next().map_err(failed)? {
                        Some(members) => members,
                        None => return Ok(None),
                    },
                };
                members.map(|members| {
                    of_json(members, self.origin, self.options.ignore_unknown, &mut self.lost)
                })
            }
        };
        self.number += 1;
        let (mut link, errors) = match reading {
            Ok(reading) => reading.finish(),
            Err(unreadable) => {
                let mut reading = Reading::default();
                reading.refuse("row", "unreadable", &unreadable.to_string());
                reading.finish()
            }
        };
        if let Some(domain) = &self.options.domain {
            link.domain.clone_from(domain);
        }
        Ok(Some(Row { number: self.number, link, errors }))
    }
}

fn told_origin<'a>(
    options: &ReadOptions,
    columns: impl Iterator<Item = &'a str> + Clone,
) -> Result<Origin, FileError> {
    let told = options.origin.or_else(|| Origin::of(columns.clone()));
    told.ok_or_else(|| FileError::Origin(columns.collect::<Vec<_>>().join(", ")))
}

fn of_csv(cells: &[&str], columns: &[(String, Option<Field>)]) -> Result<Reading, Unreadable> {
    if cells.len() != columns.len() {
        return Err(Unreadable::Count { found: cells.len(), named: columns.len() });
    }
    let mut reading = Reading::default();
    for (cell, (name, field)) in cells.iter().zip(columns) {
        if let (Some(field), Some(cell)) = (field, Cell::of_csv(cell)) {
            reading.take(*field, name, cell);
        }
    }
    Ok(reading)
}

fn of_json(
    members: serde_json::Map<String, serde_json::Value>,
    origin: Origin,
    ignore_unknown: bool,
    lost: &mut Vec<String>,
) -> Reading {
    let mut reading = Reading::default();
    for (name, value) in members {
        let field = origin.field(&name);
        match field {
            None if !ignore_unknown => {
                let reason = "is an unknown column; --ignore-unknown leaves it out";
                reading.refuse(&name, "unknown", reason);
            }
            None | Some(Field::Lost) => {
                if !lost.contains(&name) && lost.len() < LOST_MAX {
                    lost.push(name);
                }
            }
            Some(field) => {
                if let Some(cell) = Cell::of_json(value) {
                    reading.take(field, &name, cell);
                }
            }
        }
    }
    reading
}

/// Names of columns that a report lists, at most: each object of a JSON file may have others.
const LOST_MAX: usize = 50;
