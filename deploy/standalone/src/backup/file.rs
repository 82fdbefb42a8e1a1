//! Files into a backup, and a backup into files.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use carom_control::backup::{CLICKS_FILE, LINKS_FILE};
use sha2::{Digest, Sha256};

use super::BadBackup;
use super::archive::{ReadError, Reader, Writer};
use super::manifest::{
    Entry, LOSSES, MANIFEST, MANIFEST_MAX, Manifest, ManifestError, OUTBOX, QUARANTINE, SUMS,
};

/// zstd's own default. Higher levels cost twice the time for a few percent.
const LEVEL: i32 = 3;
/// What a zstd frame begins with (RFC 8878, 3.1.1).
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const CHUNK: usize = 256 << 10;

/// A file that goes into a backup.
pub(super) struct Source {
    pub(super) name: String,
    pub(super) path: PathBuf,
}

/// All files of the copied stores and of a snapshot of the spool, in their order.
pub(super) fn sources(stores: &Path, spool: &Path) -> io::Result<Vec<Source>> {
    let source = |name: &str, path: PathBuf| Source { name: name.to_owned(), path };
    let mut sources = vec![source(LINKS_FILE, stores.join(LINKS_FILE))];
    let clicks = stores.join(CLICKS_FILE);
    // Clicks may be elsewhere.
    if clicks.exists() {
        sources.push(source(CLICKS_FILE, clicks));
    }
    let losses = spool.join("losses");
    if losses.exists() {
        sources.push(source(LOSSES, losses));
    }
    for (folder, sub) in [(OUTBOX, "outbox"), (QUARANTINE, "quarantine")] {
        let mut names = Vec::new();
        for file in fs::read_dir(spool.join(sub))? {
            names.extend(file?.file_name().into_string());
        }
        names.sort();
        sources.extend(names.into_iter().map(|name| {
            let path = spool.join(sub).join(&name);
            Source { name: format!("{folder}{name}"), path }
        }));
    }
    Ok(sources)
}

/// Lengths and checksums of files.
pub(super) fn entries(sources: &[Source], stop: &AtomicBool) -> io::Result<Vec<Entry>> {
    let entry = |source: &Source| {
        let (bytes, sha256) = copy(&source.path, &mut io::sink(), stop)?;
        Ok(Entry { name: source.name.clone(), bytes, sha256 })
    };
    sources.iter().map(entry).collect()
}

/// Writes a backup and puts it on the disk; returns how many bytes it has.
pub(super) fn write(
    manifest: &Manifest,
    sources: &[Source],
    to: &Path,
    stop: &AtomicBool,
) -> io::Result<u64> {
    let file = File::options().write(true).create_new(true).mode(0o600).open(to)?;
    let mut zstd = zstd::stream::write::Encoder::new(BufWriter::new(file), LEVEL)?;
    zstd.include_checksum(true)?;
    let mut archive = Writer::new(zstd, manifest.time_s());
    let text = serde_json::to_vec_pretty(manifest)?;
    let whole = |bytes: &[u8], to: &mut dyn Write| to.write_all(bytes).map(|()| bytes.len() as u64);
    archive.entry(MANIFEST, text.len() as u64, |to| whole(&text, to))?;
    for (source, entry) in sources.iter().zip(&manifest.entries) {
        archive.entry(&entry.name, entry.bytes, |to| {
            let (bytes, sha256) = copy(&source.path, to, stop)?;
            // The disk gave other bytes than the first time.
            if sha256 == entry.sha256 { Ok(bytes) } else { Ok(u64::MAX) }
        })?;
    }
    let sums = manifest.sums(&hex(&Sha256::digest(&text)));
    archive.entry(SUMS, sums.len() as u64, |to| whole(sums.as_bytes(), to))?;
    let file = archive.finish()?.finish()?.into_inner()?;
    file.sync_all()?;
    Ok(file.metadata()?.len())
}

/// Copies a file; returns how many bytes it has, and their checksum.
fn copy(path: &Path, to: &mut dyn Write, stop: &AtomicBool) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    let mut bytes = 0;
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("interrupted by the stop of the program"));
        }
        let read = file.read(&mut chunk)?;
        if read == 0 {
            return Ok((bytes, hex(&hash.finalize())));
        }
        hash.update(&chunk[..read]);
        to.write_all(&chunk[..read])?;
        bytes += read as u64;
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Takes a backup apart into an empty folder, all of whose bytes are then what was put in.
pub(super) fn unpack(backup: &Path, dir: &Path) -> Result<Manifest, BadBackup> {
    let unreadable = |source| BadBackup::Unreadable { path: backup.to_owned(), source };
    let damaged = |what: String| BadBackup::Damaged { path: backup.to_owned(), what };
    let mut file = BufReader::new(File::open(backup).map_err(unreadable)?);
    let start = file.fill_buf().map_err(unreadable)?;
    if !start.starts_with(&ZSTD_MAGIC) {
        return Err(BadBackup::Foreign(backup.to_owned()));
    }
    let frame = zstd::stream::read::Decoder::with_buffer(file).map_err(unreadable)?.single_frame();
    let changed = |error: ReadError| match error {
        ReadError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            damaged("it ends too early; was it copied to its end?".to_owned())
        }
        ReadError::Io(error) => damaged(error.to_string()),
        ReadError::Changed(what) => damaged(format!("{what} is not as it was written")),
    };
    let mut archive = Reader::new(frame);
    let (text, time_s) = archive.first(MANIFEST, MANIFEST_MAX).map_err(changed)?;
    let manifest = Manifest::read(&text).map_err(|error| match error {
        ManifestError::Newer(found) => BadBackup::NewerFormat { path: backup.to_owned(), found },
        ManifestError::Damaged(what) => damaged(format!("{MANIFEST}: {what}")),
    })?;
    if manifest.time_s() != time_s {
        return Err(damaged(format!("{MANIFEST} is not as it was written")));
    }
    for folder in [OUTBOX, QUARANTINE] {
        let folder = dir.join(folder);
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|source| BadBackup::Unpack { path: folder, source })?;
    }
    for entry in &manifest.entries {
        let path = dir.join(&entry.name);
        let mut sink = Sink::create(&path)?;
        let read = archive.entry(&entry.name, entry.bytes, time_s, &mut sink);
        let sha256 = sink.finish()?;
        read.map_err(changed)?;
        if sha256 != entry.sha256 {
            return Err(damaged(format!("{} is not as it was written", entry.name)));
        }
    }
    let expected = manifest.sums(&hex(&Sha256::digest(&text)));
    let mut sums = Vec::new();
    archive.entry(SUMS, expected.len() as u64, time_s, &mut sums).map_err(changed)?;
    if sums != expected.as_bytes() {
        return Err(damaged(format!("{SUMS} is not as it was written")));
    }
    let mut file = archive.finish().map_err(changed)?.finish();
    match file.fill_buf().map_err(unreadable)? {
        [] => Ok(manifest),
        _ => Err(damaged("there is more after its end".to_owned())),
    }
}

/// A file that is unpacked. What goes wrong with it is told from what goes wrong with the backup.
struct Sink {
    path: PathBuf,
    file: File,
    hash: Sha256,
    failed: Option<io::Error>,
}

impl Sink {
    fn create(path: &Path) -> Result<Self, BadBackup> {
        let file = File::options().write(true).create_new(true).mode(0o600).open(path);
        let file = file.map_err(|source| BadBackup::Unpack { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), file, hash: Sha256::new(), failed: None })
    }

    fn finish(self) -> Result<String, BadBackup> {
        let done = match self.failed {
            Some(error) => Err(error),
            None => self.file.sync_all(),
        };
        done.map_err(|source| BadBackup::Unpack { path: self.path, source })?;
        Ok(hex(&self.hash.finalize()))
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.file.write_all(bytes).map_err(|error| {
            let kind = error.kind();
            self.failed = Some(error);
            kind.into()
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_format_is_refused_whatever_else_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("backup");
        let text = br#"{"format": 3, "all_else": "is unknown here"}"#;
        let mut archive = Writer::new(Vec::new(), 0);
        let copy = |to: &mut dyn Write| to.write_all(text).map(|()| text.len() as u64);
        archive.entry(MANIFEST, text.len() as u64, copy).unwrap();
        let tar = archive.finish().unwrap();
        fs::write(&path, zstd::stream::encode_all(&tar[..], LEVEL).unwrap()).unwrap();
        let error = unpack(&path, dir.path()).unwrap_err();
        assert!(matches!(error, BadBackup::NewerFormat { found: 3, .. }), "{error:?}");
    }

    #[test]
    fn a_file_that_changes_while_it_is_packed_makes_no_backup() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("carom.db");
        fs::write(&path, "first").unwrap();
        let sources = [Source { name: "carom.db".to_owned(), path: path.clone() }];
        let go_on = AtomicBool::new(false);
        let entries = entries(&sources, &go_on).unwrap();
        assert_eq!(entries[0].bytes, 5);
        let expected = "a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e";
        assert_eq!(entries[0].sha256, expected);
        fs::write(&path, "other").unwrap();
        let manifest = Manifest {
            format: 1,
            carom: String::new(),
            cut_at: String::new(),
            cut_at_ms: carom_shared::UnixMillis::default(),
            links: carom_control::backup::LinksCopied { schema: 1, links: 0 },
            clicks: Some(carom_control::backup::ClicksCopied {
                schema: 1,
                batches: 0,
                totals: carom_control::Totals::default(),
            }),
            elsewhere: None,
            outbox: super::super::OutboxCopied::default(),
            left_out: 0,
            entries,
        };
        let to = dir.path().join("to");
        let error = write(&manifest, &sources, &to, &go_on).unwrap_err();
        assert!(error.to_string().contains("changed while it was read"), "{error}");
        go_on.store(true, Ordering::Relaxed);
        assert!(self::entries(&sources, &go_on).unwrap_err().to_string().contains("interrupted"));
    }
}
