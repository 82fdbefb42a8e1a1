//! Objects of a JSON file, one at a time, in bounded memory: a line each, or the elements of one
//! array.

use std::io::{self, BufRead};

use serde_json::{Map, Value};

use super::rows::{ROW_MAX, Unreadable};

pub(super) struct JsonRows<R> {
    input: R,
    is_array: bool,
    row: Vec<u8>,
}

/// Where in an array a byte stands.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// Objects and arrays that are open within the element.
    depth: usize,
    is_in_text: bool,
    is_escaped: bool,
}

impl<R: BufRead> JsonRows<R> {
    pub(super) fn new(input: R, is_array: bool) -> Self {
        Self { input, is_array, row: Vec::new() }
    }

    /// The members of the next object; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Result<Map<String, Value>, Unreadable>>> {
        let found = if self.is_array { self.next_element()? } else { self.next_line()? };
        Ok(found.map(|fits| {
            if !fits {
                return Err(Unreadable::TooLarge);
            }
            if std::str::from_utf8(&self.row).is_err() {
                return Err(Unreadable::Encoding);
            }
            serde_json::from_slice(&self.row).map_err(|error| Unreadable::Json(error.to_string()))
        }))
    }

    /// Reads a line that is not blank; says whether it fits.
    fn next_line(&mut self) -> io::Result<Option<bool>> {
        loop {
            self.row.clear();
            let (mut fits, mut is_any) = (true, false);
            loop {
                let input = self.input.fill_buf()?;
                let end = input.iter().position(|&b| b == b'\n');
                let line = &input[..end.unwrap_or(input.len())];
                is_any |= !input.is_empty();
                fits &= self.row.len() + line.len() <= ROW_MAX;
                if fits {
                    self.row.extend_from_slice(line);
                }
                let (is_last, read) = (input.is_empty(), end.map_or(input.len(), |end| end + 1));
                self.input.consume(read);
                if end.is_some() || is_last {
                    break;
                }
            }
            if !is_any {
                return Ok(None);
            }
            if !fits || !self.row.trim_ascii().is_empty() {
                return Ok(Some(fits));
            }
        }
    }

    /// Reads an element; says whether it fits.
    fn next_element(&mut self) -> io::Result<Option<bool>> {
        self.row.clear();
        let (mut place, mut fits) = (Place::default(), true);
        loop {
            let input = self.input.fill_buf()?;
            if input.is_empty() {
                // An element that is cut off is one that cannot be read.
                return Ok((!self.row.is_empty()).then_some(fits));
            }
            let (mut read, mut is_whole) = (0, false);
            for &byte in input {
                read += 1;
                let is_between = place.depth == 0 && self.row.is_empty() && fits;
                if is_between && (byte.is_ascii_whitespace() || b"[],".contains(&byte)) {
                    continue;
                }
                if fits {
                    self.row.push(byte);
                    fits = self.row.len() <= ROW_MAX;
                }
                place.pass(byte);
                if place.depth == 0 && !place.is_in_text && matches!(byte, b'}' | b']' | b',') {
                    is_whole = true;
                    break;
                }
            }
            self.input.consume(read);
            if is_whole {
                return Ok(Some(fits));
            }
        }
    }
}

impl Place {
    fn pass(&mut self, byte: u8) {
        match (self.is_in_text, byte) {
            (true, _) if self.is_escaped => self.is_escaped = false,
            (true, b'\\') => self.is_escaped = true,
            (_, b'"') => self.is_in_text = !self.is_in_text,
            (false, b'{' | b'[') => self.depth += 1,
            (false, b'}' | b']') => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8], is_array: bool) -> Vec<Result<String, Unreadable>> {
        // Few bytes at once: an object ends anywhere in what is read.
        let input = io::BufReader::with_capacity(7, text);
        let mut rows = JsonRows::new(input, is_array);
        let mut all = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            all.push(row.map(|row| Value::Object(row).to_string()));
        }
        all
    }

    #[test]
    fn lines_and_elements_are_read_one_by_one() {
        let a = r#"{"a":"}\"]{,"}"#.to_owned();
        let b = r#"{"b":[1,{"c":2}]}"#.to_owned();
        let expected = [Ok(a.clone()), Ok(b.clone())];
        assert_eq!(read(format!("\n{a}\r\n\n{b}").as_bytes(), false), expected);
        assert_eq!(read(format!(" [ {a} ,\n{b}\n]\n").as_bytes(), true), expected);
        assert!(read(b"[]", true).is_empty() && read(b"\n \n", false).is_empty());
    }

    #[test]
    fn what_cannot_be_read_leaves_the_rest_alone() {
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(ROW_MAX));
        let rows = read(format!("{{\"a\"\n{{}}\n{long}\n{{}}\n3\n").as_bytes(), false);
        assert!(matches!(rows[0], Err(Unreadable::Json(_))) && rows[1].is_ok());
        assert_eq!(rows[2], Err(Unreadable::TooLarge));
        assert!(rows[3].is_ok() && matches!(rows[4], Err(Unreadable::Json(_))));
        assert_eq!(read(b"{\"a\":\"\xff\"}\n{}", false)[0], Err(Unreadable::Encoding));
        let rows = read(format!("[{long}, 3, {{}}, {{\"a\":").as_bytes(), true);
        assert_eq!(rows[0], Err(Unreadable::TooLarge));
        assert!(matches!(rows[1], Err(Unreadable::Json(_))) && rows[2].is_ok());
        assert!(matches!(rows[3], Err(Unreadable::Json(_))) && rows.len() == 4);
    }
}
