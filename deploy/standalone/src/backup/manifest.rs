//! `manifest.json`: what a backup holds, and of when.

use std::collections::BTreeSet;

use carom_control::backup::{CLICKS_FILE, ClicksCopied, ClicksElsewhere, LINKS_FILE, LinksCopied};
use carom_edge::spool::snapshot::is_kept;
use carom_shared::UnixMillis;
use carom_shared::batch::Token;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The name of the manifest, and of the checksums at the end.
pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const SUMS: &str = "SHA256SUMS";
/// The newest format. What a reader of an older one would misread makes a new one.
pub(super) const FORMAT: u32 = 2;
/// Format 1 has a file of clicks always; 2 says where they are that are not in it.
const WITH_CLICKS: u32 = 1;
/// Bytes of a manifest, at most: at 200 an entry, more than a million batches.
pub(super) const MANIFEST_MAX: u64 = 256 << 20;

pub(super) const LOSSES: &str = "spool/losses";
pub(super) const OUTBOX: &str = "spool/outbox/";
pub(super) const QUARANTINE: &str = "spool/quarantine/";

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub(crate) format: u32,
    /// The version of Carom that wrote it.
    pub(crate) carom: String,
    /// The cut: what was answered before it is in the backup.
    pub(crate) cut_at: String,
    pub(crate) cut_at_ms: UnixMillis,
    pub(crate) links: LinksCopied,
    /// `None`: they are elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) clicks: Option<ClicksCopied>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) elsewhere: Option<ClicksElsewhere>,
    pub(crate) outbox: OutboxCopied,
    /// Files of the quarantine that are not in it, because they may hold addresses.
    pub(crate) left_out: usize,
    pub(crate) entries: Vec<Entry>,
}

/// Batches on their way to the store of clicks; it may have some of them already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OutboxCopied {
    pub(crate) batches: u64,
    pub(crate) clicks: u64,
}

/// A file in the backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    /// In hexadecimal.
    pub(crate) sha256: String,
}

/// Of every format: what says whether the rest can be read.
#[derive(Deserialize)]
struct Versioned {
    format: u32,
}

/// Why a manifest cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ManifestError {
    Newer(u32),
    Damaged(String),
}

impl Manifest {
    /// Reads a manifest whose names are safe to make files of.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, ManifestError> {
        let damaged = |error: serde_json::Error| ManifestError::Damaged(error.to_string());
        let Versioned { format } = serde_json::from_slice(bytes).map_err(damaged)?;
        if format > FORMAT {
            return Err(ManifestError::Newer(format));
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(damaged)?;
        let mut names = BTreeSet::new();
        for entry in &manifest.entries {
            if !is_name(&entry.name) || !names.insert(entry.name.as_str()) {
                return Err(ManifestError::Damaged(format!("the entry {:?}", entry.name)));
            }
        }
        let is_with = manifest.clicks.is_some();
        if is_with == manifest.elsewhere.is_some() || is_with != names.contains(CLICKS_FILE) {
            return Err(ManifestError::Damaged("where the clicks are".to_owned()));
        }
        if !names.contains(LINKS_FILE) {
            return Err(ManifestError::Damaged(format!("no entry {LINKS_FILE}")));
        }
        Ok(manifest)
    }

    /// The cut in seconds since 1970.
    pub(super) fn time_s(&self) -> u64 {
        u64::try_from(self.cut_at_ms.as_secs()).unwrap_or_default()
    }

    /// The lines of the checksums at the end, the manifest's first.
    pub(super) fn sums(&self, manifest_sha256: &str) -> String {
        let mut text = format!("{manifest_sha256}  {MANIFEST}\n");
        for Entry { name, sha256, .. } in &self.entries {
            text.push_str(&format!("{sha256}  {name}\n"));
        }
        text
    }
}

/// The oldest format that can say it.
pub(super) const fn format_of(has_clicks: bool) -> u32 {
    if has_clicks { WITH_CLICKS } else { FORMAT }
}

/// Whether an entry may have this name. None leads out of the folder.
fn is_name(name: &str) -> bool {
    if let Some(batch) = name.strip_prefix(OUTBOX) {
        return batch.strip_suffix(".clk").is_some_and(|stem| stem.parse::<Token>().is_ok());
    }
    match name.strip_prefix(QUARANTINE) {
        Some(file) => is_kept(file),
        None => [LINKS_FILE, CLICKS_FILE, LOSSES].contains(&name),
    }
}

/// RFC 3339, in UTC, to the millisecond.
pub(super) fn rfc3339(at: UnixMillis) -> String {
    Timestamp::from_millisecond(at.get()).map_or_else(
        |_| at.get().to_string(),
        |at| at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
    )
}

const BEFORE: &str = "carom-backup-";
const AFTER: &str = "Z.tar.zst";
const TIME: &str = "%Y%m%dT%H%M%S%.3f";

/// What the file of a backup is named; in the order of time.
pub(super) fn file_name(cut_at: UnixMillis) -> String {
    let time = Timestamp::from_millisecond(cut_at.get()).unwrap_or_default();
    format!("{BEFORE}{}{AFTER}", time.strftime(TIME))
}

/// The cut of the backup that a file is by its name, if it is one.
pub(super) fn cut_of(file_name: &str) -> Option<UnixMillis> {
    let time = file_name.strip_prefix(BEFORE)?.strip_suffix(AFTER)?;
    let time = jiff::civil::DateTime::strptime(TIME, time).ok()?;
    let cut_at = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond();
    Some(UnixMillis::new(cut_at)).filter(|cut_at| self::file_name(*cut_at) == file_name)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn manifest(name: &str) -> Value {
        let totals = json!({
            "clicks": 1, "bots": 2, "previews": 3, "prefetches": 4, "heads": 5
        });
        let entry = |name: &str| json!({ "name": name, "bytes": 1, "sha256": "00" });
        json!({
            "format": 1, "carom": "0.1.0", "cut_at": "2026-11-22T19:00:00.123Z",
            "cut_at_ms": 1_795_374_000_123_i64,
            "links": { "schema": 11, "links": 3 },
            "clicks": { "schema": 6, "batches": 4, "totals": totals },
            "outbox": { "batches": 0, "clicks": 0 }, "left_out": 0,
            "entries": [entry("carom.db"), entry("clicks.db"), entry(name)],
        })
    }

    fn read(manifest: &Value) -> Result<Manifest, ManifestError> {
        Manifest::read(manifest.to_string().as_bytes())
    }

    #[test]
    fn names_stay_in_the_folder() {
        for name in [
            "spool/losses",
            "spool/outbox/00000000000000ab-00000001-00000010-42-deadbeef.clk",
            "spool/quarantine/00000001-losses",
        ] {
            read(&manifest(name)).unwrap();
        }
        for name in [
            "/etc/passwd", "../carom.db", "spool/outbox/../x.clk", "spool/quarantine/../../x.clk",
            "spool/ring/000-00000.seg", "spool/quarantine/000-00000.seg", "carom.db", "lock", "",
        ] {
            assert!(matches!(read(&manifest(name)), Err(ManifestError::Damaged(_))), "{name}");
        }
        let mut less = manifest("spool/losses");
        less["entries"].as_array_mut().unwrap().remove(1);
        assert!(read(&less).is_err());
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        let newer = json!({ "format": 3, "all_else": "is different" });
        assert_eq!(read(&newer), Err(ManifestError::Newer(3)));
        let mut unknown = manifest("spool/losses");
        unknown["more"] = json!(1);
        assert!(matches!(read(&unknown), Err(ManifestError::Damaged(_))));
    }

    #[test]
    fn clicks_are_in_it_or_it_says_where() {
        let mut out = manifest("spool/losses");
        let clicks = out["clicks"].take();
        out["format"] = json!(2);
        out["elsewhere"] =
            json!({ "at": "http://db:8123/x", "batches": 4, "totals": clicks["totals"] });
        out.as_object_mut().unwrap().remove("clicks");
        assert!(read(&out).is_err(), "it has a file of clicks that it does not tell of");
        out["entries"].as_array_mut().unwrap().remove(1);
        let found = read(&out).unwrap();
        assert_eq!(found.elsewhere.as_ref().map(|of| of.totals.clicks), Some(1));
        assert_eq!(serde_json::to_value(&found).unwrap(), out);
        out["clicks"] = clicks;
        assert!(read(&out).is_err());
        assert_eq!((format_of(true), format_of(false)), (1, 2));
    }

    #[test]
    fn a_file_is_named_by_its_time() {
        let at = UnixMillis::new(1_795_374_000_123);
        assert_eq!(file_name(at), "carom-backup-20261122T190000.123Z.tar.zst");
        assert_eq!(cut_of(&file_name(at)), Some(at));
        assert_eq!(rfc3339(at), "2026-11-22T19:00:00.123Z");
        for other in [
            "carom-backup-20261122T190000.123Z.tar.zst.tmp", "carom-backup-.tar.zst",
            "carom-backup-20261322T190000.123Z.tar.zst", "carom-backup-20261122T190000Z.tar.zst",
            "other-20261122T190000.123Z.tar.zst",
        ] {
            assert_eq!(cut_of(other), None, "{other}");
        }
    }
}
