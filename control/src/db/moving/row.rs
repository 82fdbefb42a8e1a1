//! Values and rows between two databases: how they are written for PostgreSQL, and their sum.

use sha2::{Digest, Sha256};

use super::table::{Kind, Table};

/// A value as either database has it; a boolean is 0 or 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Integer(i64),
    Text(String),
    Bytes(Vec<u8>),
}

pub(super) type Row = Vec<Value>;

/// Of the rows of a table: how many, and the sum of their hashes, which knows no order. 128 bits of
/// each hash, so that tables which differ by accident have other sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) rows: u64,
    pub(super) hash: u128,
}

impl Sum {
    /// `bytes` is room that is used again for each row.
    pub(super) fn add(&mut self, row: &Row, bytes: &mut Vec<u8>) {
        bytes.clear();
        for value in row {
            // What it is, how long it is, what it says: no two rows have the same bytes.
            let mut push = |kind: u8, value: &[u8]| {
                bytes.push(kind);
                bytes.extend_from_slice(&(value.len() as u64).to_be_bytes());
                bytes.extend_from_slice(value);
            };
            match value {
                Value::Null => push(0, &[]),
                Value::Integer(n) => push(1, &n.to_be_bytes()),
                Value::Text(text) => push(2, text.as_bytes()),
                Value::Bytes(value) => push(3, value),
            }
        }
        let hash = Sha256::digest(&*bytes);
        let (half, _) = hash.split_at(16);
        let half = half.try_into().map_or(0, u128::from_be_bytes);
        self.hash = self.hash.wrapping_add(half);
        self.rows += 1;
    }
}

/// The first value that PostgreSQL cannot hold, by its column: a text with the character 0.
pub(super) fn unstorable<'a>(table: &'a Table, row: &Row) -> Option<&'a str> {
    let place =
        row.iter().position(|value| matches!(value, Value::Text(text) if text.contains('\0')));
    place.map(|place| table.columns[place].name.as_str())
}

/// What names a row in a message: its key.
pub(super) fn key_text(table: &Table, row: &Row) -> String {
    let key = table.key.iter().map(|&place| match &row[place] {
        Value::Null => "null".to_owned(),
        Value::Integer(n) => n.to_string(),
        Value::Text(text) => format!("{text:?}"),
        Value::Bytes(_) => "bytes".to_owned(),
    });
    key.collect::<Vec<_>>().join(", ")
}

/// A row in the text format of PostgreSQL's COPY (its manual, "COPY", File Formats).
pub(super) fn push_copy_line(table: &Table, row: &Row, out: &mut Vec<u8>) {
    for (place, (value, column)) in row.iter().zip(&table.columns).enumerate() {
        if place > 0 {
            out.push(b'\t');
        }
        match (value, column.kind) {
            (Value::Null, _) => out.extend_from_slice(b"\\N"),
            (Value::Integer(n), Kind::Boolean) => out.push(if *n == 0 { b'f' } else { b't' }),
            (Value::Integer(n), _) => out.extend_from_slice(n.to_string().as_bytes()),
            (Value::Text(text), _) => push_text(text, out),
            (Value::Bytes(bytes), _) => push_hex(bytes, out),
        }
    }
    out.push(b'\n');
}

fn push_text(text: &str, out: &mut Vec<u8>) {
    for &byte in text.as_bytes() {
        let escaped = match byte {
            b'\\' => b'\\',
            b'\t' => b't',
            b'\n' => b'n',
            b'\r' => b'r',
            _ => {
                out.push(byte);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', escaped]);
    }
}

fn push_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(b"\\\\x");
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}
