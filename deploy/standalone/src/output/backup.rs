//! What the commands about backups print.

use std::path::Path;

use carom_control::Totals;
use carom_control::backup::ClicksElsewhere;

use super::{Printed, count, line, print};
use crate::backup::{Made, Manifest, OutboxCopied, Restored};

pub(crate) fn made(made: &Made) -> Printed {
    print(&format!(
        "{}\n\n{}, made in {}.{:03} s: as of {}\n{}",
        made.file,
        size(made.bytes),
        made.took_ms / 1000,
        made.took_ms % 1000,
        made.cut_at,
        contents(
            made.links.links,
            made.clicks.map(|clicks| clicks.totals).as_ref(),
            made.elsewhere.as_ref(),
            made.outbox
        ),
    ))?;
    if made.left_out > 0 {
        line(&format!(
            "{} of spool/quarantine are not in it: they may hold addresses.",
            count(made.left_out as u64, "file")
        ))?;
    }
    Ok(())
}

pub(crate) fn good(file: &Path, manifest: &Manifest) -> Printed {
    print(&format!(
        "{} is good: Carom {}, as of {}\n{}",
        file.display(),
        manifest.carom,
        manifest.cut_at,
        contents(
            manifest.links.links,
            manifest.clicks.map(|clicks| clicks.totals).as_ref(),
            manifest.elsewhere.as_ref(),
            manifest.outbox
        ),
    ))
}

pub(crate) fn restored(restored: &Restored) -> Printed {
    print(&format!(
        "Restored into {}: as of {}\n{}{}\nStart it with: carom --data-dir {}\n",
        restored.data_dir,
        restored.cut_at,
        contents(restored.links, Some(&restored.totals), None, OutboxCopied::default()),
        restored.clicks_at.as_ref().map_or_else(String::new, |at| format!(
            "Its clicks are in {at}; of the batches that waited {} were stored there, and {} were known.\n",
            restored.batches_stored, restored.batches_known,
        )),
        restored.data_dir,
    ))
}

fn contents(
    links: u64,
    totals: Option<&Totals>,
    elsewhere: Option<&ClicksElsewhere>,
    outbox: OutboxCopied,
) -> String {
    let mut text = match totals {
        None => format!("{}\n", count(links, "link")),
        Some(totals) => with_clicks(links, totals),
    };
    if outbox.batches > 0 {
        text.push_str(&format!(
            "and {} of {} on their way, which may be among these\n",
            count(outbox.batches, "batch"),
            count(outbox.clicks, "click"),
        ));
    }
    if let Some(ClicksElsewhere { at, batches, .. }) = elsewhere {
        text.push_str(&format!(
            "Clicks are not in it: {at} has them, {} of them then. Back that up as well, after this \
             (BACKUP DATABASE), or copy them into it with --clicks.\n",
            count(*batches, "batch"),
        ));
    }
    text
}

fn with_clicks(links: u64, totals: &Totals) -> String {
    format!(
        "{}, {} (and {}, {}, {}, {})\n",
        count(links, "link"),
        count(totals.clicks, "click"),
        count(totals.bots, "bot"),
        count(totals.previews, "preview"),
        count(totals.prefetches, "prefetch"),
        count(totals.heads, "HEAD request"),
    )
}

/// Bytes, as people read them.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut unit = 0;
    let mut tenths = bytes.saturating_mul(10) / 1024;
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_for_people() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1.0 KiB"),
            (1_572_864, "1.5 MiB"),
            (5 << 30, "5.0 GiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
