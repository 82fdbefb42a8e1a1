//! Writing a snapshot: a file of its own until it is whole.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use carom_shared::{FeedPosition, UnixMillis};

use super::{FILE_BYTES_MAX, HEADER_LEN, Header};

const BUFFER_BYTES: usize = 1 << 20;
/// Bytes beside key and record.
const FRAME_LEN: usize = 3;

/// Takes routes, each key once; a file that is not finished is removed.
pub(in super::super) struct SnapshotWriter {
    file: BufWriter<File>,
    temporary: PathBuf,
    is_finished: bool,
    len_max: u64,
    len: u64,
    routes: u64,
    crc: u32,
    /// A route was not taken.
    is_full: bool,
}

impl SnapshotWriter {
    /// Makes a file for at most so many bytes.
    pub(in super::super) fn create(temporary: PathBuf, bytes_max: u64) -> io::Result<Self> {
        let mut options = File::options();
        let file = options.write(true).create_new(true).mode(0o600).open(&temporary)?;
        // Says that its writer lives, to whoever looks for files of dead ones.
        file.lock()?;
        let mut writer = Self {
            file: BufWriter::with_capacity(BUFFER_BYTES, file),
            temporary,
            is_finished: false,
            len_max: bytes_max.min(FILE_BYTES_MAX).saturating_sub(HEADER_LEN as u64),
            len: 0,
            routes: 0,
            crc: 0,
            is_full: false,
        };
        // Nothing that could be taken for a header, until the last moment.
        writer.file.write_all(&[0; HEADER_LEN])?;
        Ok(writer)
    }

    /// Adds a route; false if there is no room for it.
    pub(in super::super) fn push(&mut self, key: &[u8], record: &[u8]) -> io::Result<bool> {
        let (Ok(key_len), Ok(record_len)) = (u8::try_from(key.len()), u16::try_from(record.len()))
        else {
            self.is_full = true;
            return Ok(false);
        };
        let len = self.len + (FRAME_LEN + key.len() + record.len()) as u64;
        if len > self.len_max {
            self.is_full = true;
            return Ok(false);
        }
        for part in [&[key_len][..], key, &record_len.to_le_bytes(), record] {
            self.crc = crc32c::crc32c_append(self.crc, part);
            self.file.write_all(part)?;
        }
        self.len = len;
        self.routes += 1;
        Ok(true)
    }

    /// Puts the file on the disk and in its place. `is_all`: every route there is was given to
    /// [`Self::push`].
    pub(in super::super) fn finish(
        mut self,
        path: &Path,
        position: FeedPosition,
        now: UnixMillis,
        is_all: bool,
    ) -> io::Result<()> {
        let header = Header {
            position,
            written_at: now,
            routes: self.routes,
            len: self.len,
            crc: self.crc,
            is_whole: is_all && !self.is_full,
        };
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&header.to_bytes())?;
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        fs::rename(&self.temporary, path)?;
        self.is_finished = true;
        match path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        if !self.is_finished {
            drop(fs::remove_file(&self.temporary));
        }
    }
}
