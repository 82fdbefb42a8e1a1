//! The bytes of a backup: a tar file (POSIX `ustar`) in one frame of zstd with a checksum.
//!
//! ```text
//! manifest.json            what follows, in this order, with lengths and SHA-256   (manifest)
//! carom.db                 links
//! clicks.db                clicks
//! spool/losses             totals of what could not be kept
//! spool/outbox/*.clk       batches of clicks on their way to clicks.db
//! spool/quarantine/*       what was set aside for a person to look at
//! SHA256SUMS               of all of these, as `sha256sum --check` reads it
//! ```
//!
//! So `tar --zstd -xf` and `sha256sum -c SHA256SUMS` open and check it without Carom.
//!
//! An entry's header holds nothing but its name, its length and the time of the backup; everything
//! else is the same in all. A reader makes the header that it expects and compares: what differs in
//! a single bit is no backup.

use std::io::{self, Read, Write};

/// Bytes of a tar block.
pub(super) const BLOCK: usize = 512;
/// What stands in an octal field of eleven digits, at most; longer ones are binary, as GNU tar
/// writes and every tar reads them.
const OCTAL_MAX: u64 = (1 << 33) - 1;
/// For its owner: keys' hashes and salts are inside.
const MODE: u64 = 0o600;

/// The header of an entry. Names have at most 100 bytes.
pub(super) fn header(name: &str, bytes: u64, time_s: u64) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    header[..name.len()].copy_from_slice(name.as_bytes());
    octal(&mut header[100..108], MODE);
    octal(&mut header[108..116], 0);
    octal(&mut header[116..124], 0);
    if bytes <= OCTAL_MAX {
        octal(&mut header[124..136], bytes);
    } else {
        header[124] = 0x80;
        header[128..136].copy_from_slice(&bytes.to_be_bytes());
    }
    octal(&mut header[136..148], time_s.min(OCTAL_MAX));
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    // The sum is taken with spaces in its own place.
    header[148..156].fill(b' ');
    let sum: u64 = header.iter().map(|&byte| u64::from(byte)).sum();
    octal(&mut header[148..155], sum);
    header
}

/// Digits, right-aligned, and a zero byte.
fn octal(field: &mut [u8], mut value: u64) {
    let Some((end, digits)) = field.split_last_mut() else { return };
    *end = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(value & 7).unwrap_or_default();
        value >>= 3;
    }
}

/// How many zero bytes follow an entry's bytes.
fn padding(bytes: u64) -> usize {
    let over = usize::try_from(bytes % BLOCK as u64).unwrap_or_default();
    (BLOCK - over) % BLOCK
}

/// Writes entries, one after the other.
pub(super) struct Writer<W: Write> {
    to: W,
    time_s: u64,
}

impl<W: Write> Writer<W> {
    pub(super) const fn new(to: W, time_s: u64) -> Self {
        Self { to, time_s }
    }

    /// Writes an entry; `copy` is given where its bytes go, and returns how many it wrote there.
    pub(super) fn entry(
        &mut self,
        name: &str,
        bytes: u64,
        copy: impl FnOnce(&mut dyn Write) -> io::Result<u64>,
    ) -> io::Result<()> {
        self.to.write_all(&header(name, bytes, self.time_s))?;
        let copied = copy(&mut self.to)?;
        if copied != bytes {
            return Err(io::Error::other(format!("{name} changed while it was read")));
        }
        self.to.write_all(&[0; BLOCK][..padding(bytes)])
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.to.write_all(&[0; 2 * BLOCK])?;
        Ok(self.to)
    }
}

/// Reads entries, one after the other.
pub(super) struct Reader<R: Read> {
    from: R,
}

/// Why the bytes are not those of the archive that was written.
#[derive(Debug)]
pub(super) enum ReadError {
    /// They end too early, the checksum of a frame is wrong, or the disk fails.
    Io(io::Error),
    /// This should be here and is not as it was.
    Changed(String),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl<R: Read> Reader<R> {
    pub(super) const fn new(from: R) -> Self {
        Self { from }
    }

    /// The first entry, whose length and time nobody knows yet: its bytes, and the time.
    pub(super) fn first(&mut self, name: &str, max: u64) -> Result<(Vec<u8>, u64), ReadError> {
        let mut found = [0; BLOCK];
        self.from.read_exact(&mut found)?;
        let number = |field: &[u8]| {
            let digits = field.iter().take_while(|&&byte| byte != 0);
            digits.fold(0_u64, |value, &digit| value << 3 | u64::from(digit & 7))
        };
        let (bytes, time_s) = (number(&found[124..136]), number(&found[136..148]));
        if found != header(name, bytes, time_s) || bytes > max {
            return Err(ReadError::Changed(name.to_owned()));
        }
        let mut content = Vec::new();
        self.copy(name, bytes, &mut content)?;
        Ok((content, time_s))
    }

    /// The entry that comes next, which is to be this one; its bytes go to `to`.
    pub(super) fn entry(
        &mut self,
        name: &str,
        bytes: u64,
        time_s: u64,
        to: &mut dyn Write,
    ) -> Result<(), ReadError> {
        let mut found = [0; BLOCK];
        self.from.read_exact(&mut found)?;
        if found != header(name, bytes, time_s) {
            return Err(ReadError::Changed(name.to_owned()));
        }
        self.copy(name, bytes, to)
    }

    fn copy(&mut self, name: &str, bytes: u64, to: &mut dyn Write) -> Result<(), ReadError> {
        let copied = io::copy(&mut (&mut self.from).take(bytes), to)?;
        if copied < bytes {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let mut rest = [0; BLOCK];
        let rest = &mut rest[..padding(bytes)];
        self.from.read_exact(rest)?;
        if rest.iter().any(|&byte| byte != 0) {
            return Err(ReadError::Changed(name.to_owned()));
        }
        Ok(())
    }

    /// The end, and nothing after it.
    pub(super) fn finish(mut self) -> Result<R, ReadError> {
        let mut end = [0; 2 * BLOCK];
        self.from.read_exact(&mut end)?;
        let mut more = [0];
        if end.iter().any(|&byte| byte != 0) || self.from.read(&mut more)? != 0 {
            return Err(ReadError::Changed("the end".to_owned()));
        }
        Ok(self.from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), 1_795_374_000);
        for (name, bytes) in [("a.json", &b"{}"[..]), ("b/c", &[7; BLOCK])] {
            let copy = |to: &mut dyn Write| to.write_all(bytes).map(|()| bytes.len() as u64);
            writer.entry(name, bytes.len() as u64, copy).unwrap();
        }
        writer.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> Result<(), ReadError> {
        let mut reader = Reader::new(bytes);
        let (first, time_s) = reader.first("a.json", 1000)?;
        let mut second = Vec::new();
        reader.entry("b/c", BLOCK as u64, time_s, &mut second)?;
        reader.finish()?;
        assert_eq!((first.as_slice(), second.as_slice()), (&b"{}"[..], &[7; BLOCK][..]));
        Ok(())
    }

    /// The bytes of a header are those of the standard (POSIX.1-2017, pax, "ustar Interchange
    /// Format").
    #[test]
    fn a_header_is_as_tar_writes_it() {
        let header = header("manifest.json", 1234, 1_795_374_000);
        assert_eq!(header[..14], *b"manifest.json\0");
        assert_eq!(header[100..108], *b"0000600\0");
        assert_eq!(header[124..136], *b"00000002322\0");
        assert_eq!(header[136..148], *b"15300635660\0");
        assert_eq!(header[156], b'0');
        assert_eq!(header[257..265], *b"ustar\x0000");
        let mut blank = header;
        blank[148..156].fill(b' ');
        let sum: u32 = blank.iter().map(|&byte| u32::from(byte)).sum();
        assert_eq!(header[148..156], *format!("{sum:06o}\0 ").as_bytes());
    }

    #[test]
    fn lengths_beyond_eight_gibibytes_are_binary() {
        let header = header("clicks.db", 1 << 33, 0);
        assert_eq!(header[124..136], [0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let whole = written();
        read(&whole).unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            // What an entry holds is for its checksum; here, all but that.
            let is_content = (512..514).contains(&at) || (1536..2048).contains(&at);
            if !is_content {
                assert!(read(&flipped).is_err(), "byte {at}");
            }
            assert!(read(&whole[..at]).is_err(), "cut at {at}");
        }
        let mut longer = whole;
        longer.push(0);
        assert!(read(&longer).is_err());
    }
}
