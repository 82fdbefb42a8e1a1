//! CSV (RFC 4180) that a spreadsheet reads as data.

use axum::response::{IntoResponse, Response};
use http::header;

/// A table: a head, then lines.
#[derive(Debug, Default)]
pub(crate) struct Csv {
    text: String,
    is_in_line: bool,
}

impl Csv {
    pub(crate) fn new(head: &[&str]) -> Self {
        let mut csv = Self::default();
        head.iter().for_each(|name| csv.text(name));
        csv.end_line();
        csv
    }

    /// A cell that somebody may have chosen the text of. A spreadsheet takes what begins with one
    /// of `=`, `+`, `-`, `@`, tab or line end as a formula, also within quotes: an apostrophe before
    /// it makes it a text. A cell that has apostrophes before such a beginning gets one more, so
    /// that whoever reads the file can take one away from exactly those.
    pub(crate) fn text(&mut self, cell: &str) {
        self.separate();
        let begin = cell.trim_start_matches('\'');
        let guard =
            if begin.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) { "'" } else { "" };
        let is_quoted = cell.contains(['"', ',', '\r', '\n', '\t']);
        if is_quoted {
            self.text.push('"');
        }
        self.text.push_str(guard);
        if is_quoted {
            self.text.push_str(&cell.replace('"', "\"\""));
            self.text.push('"');
        } else {
            self.text.push_str(cell);
        }
    }

    pub(crate) fn numbers(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.separate();
            self.text.push_str(&number.to_string());
        }
    }

    pub(crate) fn end_line(&mut self) {
        self.text.push_str("\r\n");
        self.is_in_line = false;
    }

    /// What was written.
    pub(crate) fn into_text(self) -> String {
        self.text
    }

    fn separate(&mut self) {
        if std::mem::replace(&mut self.is_in_line, true) {
            self.text.push(',');
        }
    }
}

impl IntoResponse for Csv {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present")], self.text)
            .into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_data_whatever_is_in_them() {
        let mut csv = Csv::new(&["value", "clicks"]);
        for cell in [
            "a", "=1+1", "+1", "-1", "@x", "\t=1", "a,b", "say \"x\"", "=\"a\",b", "\r\nx", "'a",
            "'-1",
        ] {
            csv.text(cell);
            csv.numbers(&[1]);
            csv.end_line();
        }
        let expected = "value,clicks\r\na,1\r\n'=1+1,1\r\n'+1,1\r\n'-1,1\r\n'@x,1\r\n\"'\t=1\",1\r\n\
                        \"a,b\",1\r\n\"say \"\"x\"\"\",1\r\n\"'=\"\"a\"\",b\",1\r\n\"'\r\nx\",1\r\n'a,1\r\n''-1,1\r\n";
        assert_eq!(csv.text, expected);
    }
}
