//! Everything that `carom` prints: results to standard output, errors to standard error.

pub(crate) mod backup;
pub(crate) mod doctor;
mod plot;
pub(crate) mod report;
pub(crate) mod screen;

pub(crate) use backup::size;

use std::io::{self, Write};

use serde::Serialize;

use carom_control::operator::{KeyCreated, KeyList, Stats};
use carom_edge::{Recovered, Stopped};
use carom_shared::settings::{Effective, Settings as Loaded};

use crate::compose::chain;
use crate::error::CommandError;
use crate::settings::Settings;

type Printed = Result<(), CommandError>;

/// Prints whole texts: half a line helps nobody.
fn print(text: &str) -> Printed {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // `carom stats | head -1` is not an error.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(CommandError::Output),
    }
}

pub(crate) fn line(text: &str) -> Printed {
    print(&format!("{text}\n"))
}

/// A text that ends its last line itself.
pub(crate) fn text(text: &str) -> Printed {
    print(text)
}

pub(crate) fn json(value: &impl Serialize) -> Printed {
    let text = serde_json::to_string(value).map_err(|error| CommandError::Output(error.into()))?;
    line(&text)
}

/// Says why a command failed.
pub(crate) fn error(error: &CommandError) {
    // It was said in full already.
    if matches!(error, CommandError::Unwell) {
        return;
    }
    let mut out = io::stderr().lock();
    // Where standard error is closed there is nobody to tell.
    drop(writeln!(out, "error: {}", chain(error)));
}

pub(crate) fn started(settings: &Settings, recovered: Recovered, program: &str) -> Printed {
    let edge = &settings.edge;
    let control = &settings.control;
    let mut text = format!(
        "Carom {} is serving.\n\n  \
         short links   {}   (listening on {})\n  \
         API           {}   (listening on {})\n  \
         health        http://{}/readyz and http://{}/readyz\n  \
         data          {}\n\n",
        env!("CARGO_PKG_VERSION"),
        settings.public_url,
        edge.listen,
        control.public_url,
        control.listen,
        edge.admin_listen,
        control.admin_listen,
        settings.data_dir.display(),
    );
    if recovered.clicks > 0 || recovered.batches > 0 {
        text.push_str(&format!(
            "Recovered from the last run: {}, and {} to be stored.\n\n",
            count(recovered.clicks, "click"),
            count(recovered.batches as u64, "batch"),
        ));
    }
    if recovered.quarantined > 0 {
        text.push_str(&format!(
            "{} damaged files were set aside in {}: the log says which.\n\n",
            recovered.quarantined,
            settings.data_dir.join("spool/quarantine").display()
        ));
    }
    text.push_str(&format!(
        "Next, in another terminal, make a key:   {program} key create --name first\n\
         Stop with Ctrl-C.\n"
    ));
    print(&text)
}

pub(crate) fn stopped(stopped: Stopped) -> Printed {
    let text = format!("Stopped. This run recorded {}", count(stopped.clicks_recorded, "click"));
    let rest = match (stopped.batches_waiting, stopped.ring_drained) {
        (0, true) => "nothing waits to be stored",
        (_, true) => "some still wait on disk, and the next start stores them",
        (_, false) => "some are still in the ring, and the next start recovers them",
    };
    line(&format!("{text}; {rest}."))?;
    if stopped.batches_quarantined > 0 {
        line(
            "The store refused some batches of clicks; they are in spool/quarantine, and the log says why.",
        )?;
    }
    Ok(())
}

pub(crate) fn key_created(created: &KeyCreated, api: &str) -> Printed {
    let KeyCreated { key, view } = created;
    print(&format!(
        "{key}\n\n\
         This is key {} ({}). It is shown once: keep it where secrets are kept. To shorten a URL:\n  \
         curl -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\\n    \
         -d '{{\"url\": \"https://www.rust-lang.org/learn\"}}' {api}/shorten\n",
        view.id, view.name,
    ))
}

pub(crate) fn keys(keys: &KeyList) -> Printed {
    if keys.data.is_empty() {
        return line("There are no keys. Make one with: carom key create --name NAME");
    }
    let rows = keys.data.iter().map(|key| {
        let state = key
            .revoked_at
            .as_deref()
            .map_or("active".to_owned(), |at| format!("revoked {}", seconds(at)));
        [
            key.id.to_string(),
            format!("...{}", key.hint),
            seconds(&key.created_at),
            state,
            key.name.clone(),
        ]
    });
    table(["ID", "KEY", "CREATED", "STATE", "NAME"], [Align::Left; 5], rows)
}

pub(crate) fn stats(stats: &Stats) -> Printed {
    let totals = &stats.totals;
    print(&format!(
        "{}, {} (and {}, {}, {}, {})\n",
        count(stats.links, "link"),
        count(totals.clicks, "click"),
        count(totals.bots, "bot"),
        count(totals.previews, "preview"),
        count(totals.prefetches, "prefetch"),
        count(totals.heads, "HEAD request"),
    ))?;
    if stats.top.is_empty() {
        return Ok(());
    }
    line("")?;
    let rows = stats.top.iter().map(|link| {
        [
            link.clicks.to_string(),
            link.bots.to_string(),
            link.last_click_at.as_deref().map_or("-".to_owned(), seconds),
            link.short_url.clone().unwrap_or_else(|| format!("(link {})", link.link_id)),
        ]
    });
    let align = [Align::Right, Align::Right, Align::Left, Align::Left];
    table(["CLICKS", "BOTS", "LAST CLICK", "SHORT URL"], align, rows)
}

pub(crate) fn settings(settings: &Loaded<Settings>) -> Printed {
    let row = |effective: &Effective| {
        let value = effective.value.clone().unwrap_or_else(|| "(none)".to_owned());
        [effective.setting.clone(), value, effective.origin.to_string()]
    };
    table(["SETTING", "VALUE", "FROM"], [Align::Left; 3], settings.effective().map(row))
}

/// A number of things, in words that fit it.
fn count(n: u64, thing: &str) -> String {
    let ending = match n {
        1 => "",
        _ if thing.ends_with("ch") => "es",
        _ => "s",
    };
    format!("{n} {thing}{ending}")
}

/// A number with a comma between thousands.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// An RFC 3339 time as people read it: to the second.
fn seconds(at: &str) -> String {
    match at.split_at_checked("2026-01-01T00:00:00".len()) {
        Some((to_second, _)) => format!("{} UTC", to_second.replace('T', " ")),
        None => at.to_owned(),
    }
}

#[derive(Clone, Copy)]
enum Align {
    Left,
    Right,
}

/// Columns as wide as their widest cell.
fn table<const N: usize>(
    head: [&str; N],
    align: [Align; N],
    rows: impl Iterator<Item = [String; N]>,
) -> Printed {
    let rows: Vec<[String; N]> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let widths: [usize; N] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    });
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths).zip(align).map(|((cell, width), align)| match align {
            Align::Left => format!("{cell:<width$}"),
            Align::Right => format!("{cell:>width$}"),
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    print(&text)
}
