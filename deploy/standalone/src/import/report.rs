//! What became of the rows of a file.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use carom_control::FieldError;
use serde::Serialize;

use crate::csv::push_line;

/// Refused rows that a report shows; a file takes all of them.
const SHOWN_MAX: usize = 10;
/// Reasons of one row that are written down.
const REASONS_MAX: usize = 8;
/// Columns of a file of refused rows, before those of its rows.
pub(super) const REFUSED_COLUMNS: [&str; 3] = ["refused_row", "refused_field", "refused_reason"];

/// Counts of rows, and the first ones that were refused.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) from: &'static str,
    pub(super) dry_run: bool,
    pub(super) rows: u64,
    pub(super) made: u64,
    /// The same code with the same target was there.
    pub(super) already_there: u64,
    pub(super) skipped: u64,
    pub(super) replaced: u64,
    pub(super) refused: u64,
    /// The first of them.
    pub(super) refusals: Vec<Refusal>,
    /// Columns that Carom has nothing for.
    pub(super) not_imported: Vec<String>,
    pub(super) seconds: f64,
    #[serde(skip)]
    file: Option<RefusedFile>,
}

/// Why a row was refused, one field of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Refusal {
    pub(super) row: u64,
    pub(super) field: String,
    pub(super) reason: String,
}

/// A CSV file of rows that can be corrected and imported.
#[derive(Debug)]
struct RefusedFile {
    path: PathBuf,
    out: BufWriter<File>,
}

impl Report {
    /// Makes the file of refused rows, if there is to be one.
    pub(super) fn new(
        from: &'static str,
        dry_run: bool,
        path: Option<&Path>,
        columns: impl IntoIterator<Item = &'static str>,
    ) -> io::Result<Self> {
        let file = path.map(|path| {
            // What links lead to, and who clicked them when, is for the owner alone.
            let mut options = OpenOptions::new();
            let file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
            let mut out = BufWriter::new(file);
            let mut line = String::new();
            push_line(&mut line, REFUSED_COLUMNS.into_iter().chain(columns));
            out.write_all(line.as_bytes())?;
            Ok::<_, io::Error>(RefusedFile { path: path.to_owned(), out })
        });
        Ok(Self { from, dry_run, file: file.transpose()?, ..Self::default() })
    }

    pub(super) fn refuse(
        &mut self,
        row: u64,
        cells: &[String],
        errors: &[FieldError],
    ) -> io::Result<()> {
        self.refused += 1;
        let refusals = errors.iter().take(REASONS_MAX).map(|error| Refusal {
            row,
            field: error.pointer.trim_start_matches("#/").to_owned(),
            reason: error.detail.clone(),
        });
        let refusals: Vec<Refusal> = refusals.collect();
        if let Some(file) = &mut self.file {
            let fields: Vec<_> = refusals.iter().map(|refusal| refusal.field.as_str()).collect();
            let reasons: Vec<_> = refusals.iter().map(|refusal| refusal.reason.as_str()).collect();
            let (row, fields, reasons) = (row.to_string(), fields.join(", "), reasons.join("; "));
            let mut line = String::new();
            let why = [row.as_str(), fields.as_str(), reasons.as_str()];
            push_line(&mut line, why.into_iter().chain(cells.iter().map(String::as_str)));
            file.out.write_all(line.as_bytes())?;
        }
        if self.refusals.len() < SHOWN_MAX {
            self.refusals.extend(refusals.into_iter().take(SHOWN_MAX - self.refusals.len()));
        }
        Ok(())
    }

    /// Notes columns that Carom has nothing for.
    pub(super) fn lose(&mut self, columns: &[String]) {
        for name in columns {
            if !self.not_imported.contains(name) {
                self.not_imported.push(name.clone());
            }
        }
    }

    /// Writes out the file of refused rows.
    pub(super) fn end(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), |file| file.out.flush())
    }

    pub(super) fn text(&self) -> String {
        let (rows, would) = (plural(self.rows, "row"), if self.dry_run { "would be " } else { "" });
        let mut text = format!("{rows} of {}: {} {would}made", self.from, self.made);
        text.push_str(&format!(", {} already there", self.already_there));
        for (count, what) in [(self.skipped, "skipped"), (self.replaced, "replaced")] {
            if count > 0 {
                text.push_str(&format!(", {count} {would}{what}"));
            }
        }
        text.push_str(&format!(", {} {would}refused.\n", self.refused));
        if !self.not_imported.is_empty() {
            let columns = self.not_imported.join(", ");
            text.push_str(&format!("Not imported, Carom has nothing for them: {columns}.\n"));
        }
        for Refusal { row, field, reason } in &self.refusals {
            text.push_str(&format!("  row {row}, {field}: {reason}\n"));
        }
        let shown = self.refusals.iter().map(|refusal| refusal.row);
        let shown = shown.collect::<std::collections::BTreeSet<_>>().len() as u64;
        match &self.file {
            Some(file) if self.refused > 0 => {
                text.push_str(&format!("All refused rows are in {}.\n", file.path.display()));
            }
            None if self.refused > shown => {
                let more = self.refused - shown;
                text.push_str(&format!("  and {more} more: --refused FILE writes all of them\n"));
            }
            _ => {}
        }
        if self.dry_run {
            text.push_str("Nothing was written: this was a dry run.\n");
        }
        text
    }
}

fn plural(n: u64, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn refused_rows_are_for_their_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("refused.csv");
        let _report = Report::new("csv", false, Some(&path), ["code"]).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}
