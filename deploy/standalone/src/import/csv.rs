//! Rows of a CSV file, one at a time, in bounded memory.

use std::io::{self, BufRead};

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::rows::{ROW_MAX, Unreadable};

/// Columns of a file, at most.
const COLUMNS_MAX: usize = 1000;

pub(super) struct CsvRows<R> {
    input: R,
    reader: Reader,
    cells: Vec<u8>,
    ends: Vec<usize>,
}

impl<R: BufRead> CsvRows<R> {
    /// What stands between cells is told by the first line: a comma, or what spreadsheets of some
    /// countries write in its place.
    pub(super) fn new(mut input: R) -> io::Result<Self> {
        let begin = input.fill_buf()?;
        let line = begin.split(|&b| b == b'\n').next().unwrap_or_default();
        let delimiter = [b',', b';', b'\t'].into_iter().find(|b| line.contains(b)).unwrap_or(b',');
        let reader = ReaderBuilder::new().delimiter(delimiter).build();
        Ok(Self { input, reader, cells: vec![0; ROW_MAX], ends: vec![0; COLUMNS_MAX] })
    }

    /// The cells of the next row; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Result<Vec<&str>, Unreadable>>> {
        let (mut filled, mut ended, mut is_too_large) = (0, 0, false);
        loop {
            let input = self.input.fill_buf()?;
            let (result, read, written, ends) =
                self.reader.read_record(input, &mut self.cells[filled..], &mut self.ends[ended..]);
            self.input.consume(read);
            (filled, ended) = (filled + written, ended + ends);
            match result {
                ReadRecordResult::InputEmpty => {}
                // What does not fit is read all the same, to find where the row ends.
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    (filled, ended, is_too_large) = (0, 0, true);
                }
                ReadRecordResult::Record if is_too_large => {
                    return Ok(Some(Err(Unreadable::TooLarge)));
                }
                ReadRecordResult::Record => break,
                ReadRecordResult::End => return Ok(None),
            }
        }
        let Ok(text) = std::str::from_utf8(&self.cells[..filled]) else {
            return Ok(Some(Err(Unreadable::Encoding)));
        };
        let mut begin = 0;
        let cells = self.ends[..ended].iter().map(|&end| {
            let cell = text.get(begin..end);
            begin = end;
            cell
        });
        // Only a row whose bytes are text as a whole, and not cell by cell, has none.
        let cells = cells.collect::<Option<Vec<_>>>().ok_or(Unreadable::Encoding);
        Ok(Some(cells))
    }
}
