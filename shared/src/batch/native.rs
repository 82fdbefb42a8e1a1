//! One block of ClickHouse's Native format, as its HTTP interface takes it: a column count and a
//! row count, then for each column its name, its type and its values, one after the other.
//!
//! Counts and lengths are LEB128, numbers little endian, a string its length and its bytes.

/// The longest LEB128 of a 64-bit number.
const VARINT_MAX: usize = 10;

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Appends one value of a `String` column.
pub(super) fn put_string(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend(text.as_bytes());
}

#[derive(Default)]
pub(super) struct BlockWriter(Vec<u8>);

impl BlockWriter {
    pub(super) fn new(columns: usize, rows: usize) -> Self {
        let mut block = Vec::new();
        put_varint(&mut block, columns as u64);
        put_varint(&mut block, rows as u64);
        Self(block)
    }

    pub(super) fn column(&mut self, name: &str, r#type: &str, values: &[u8]) {
        put_string(&mut self.0, name);
        put_string(&mut self.0, r#type);
        self.0.extend(values);
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// A block of so many rows and columns, with more columns behind them: name, type, values.
pub(super) fn with_columns(
    block: &[u8],
    rows: usize,
    columns: usize,
    more: &[(&str, &str, &[u8])],
) -> Vec<u8> {
    let mut writer = BlockWriter::new(columns + more.len(), rows);
    let counts_len = BlockWriter::new(columns, rows).finish().len();
    writer.0.extend(block.get(counts_len..).unwrap_or_default());
    for (name, r#type, values) in more {
        writer.column(name, r#type, values);
    }
    writer.finish()
}

/// Reads a block of known columns; every method answers `None` if the block is something else.
pub(super) struct BlockReader<'a> {
    rest: &'a [u8],
    rows: usize,
}

impl<'a> BlockReader<'a> {
    pub(super) fn new(block: &'a [u8], columns: usize) -> Option<Self> {
        let mut rest = block;
        if take_varint(&mut rest)? != columns {
            return None;
        }
        let rows = take_varint(&mut rest)?;
        Some(Self { rest, rows })
    }

    pub(super) const fn rows(&self) -> usize {
        self.rows
    }

    pub(super) const fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// A column of numbers of `N` bytes.
    pub(super) fn fixed<const N: usize>(
        &mut self,
        name: &str,
        r#type: &str,
    ) -> Option<&'a [[u8; N]]> {
        self.column(name, r#type)?;
        let (values, rest) = self.rest.split_at_checked(self.rows.checked_mul(N)?)?;
        self.rest = rest;
        Some(values.as_chunks().0)
    }

    /// A column of UTF-8 text.
    pub(super) fn strings(&mut self, name: &str) -> Option<Strings<'a>> {
        self.column(name, "String")?;
        let strings = Strings(self.rest);
        for _ in 0..self.rows {
            take_string(&mut self.rest)?;
        }
        Some(strings)
    }

    fn column(&mut self, name: &str, r#type: &str) -> Option<()> {
        let is_it = take_string(&mut self.rest)? == name && take_string(&mut self.rest)? == r#type;
        is_it.then_some(())
    }
}

/// The values of a `String` column, in order; never ends by itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Strings<'a>(&'a [u8]);

impl<'a> Strings<'a> {
    pub(super) fn next(&mut self) -> Option<&'a str> {
        take_string(&mut self.0)
    }
}

fn take_varint(rest: &mut &[u8]) -> Option<usize> {
    let mut value = 0_u64;
    for (at, &byte) in rest.iter().take(VARINT_MAX).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(7 * u32::try_from(at).ok()?)?;
        if byte & 0x80 == 0 {
            *rest = &rest[at + 1..];
            return usize::try_from(value).ok();
        }
    }
    None
}

fn take_string<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let len = take_varint(rest)?;
    let (text, after) = rest.split_at_checked(len)?;
    *rest = after;
    std::str::from_utf8(text).ok()
}
