//! Everything that `carom` prints: results to standard output, errors to standard error.

pub(crate) mod backup;
pub(crate) mod doctor;
mod plot;
pub(crate) mod report;
pub(crate) mod screen;

pub(crate) use backup::size;

use serde::Serialize;

use carom_control::operator::Stats;
use carom_control::program::output::{self as program, Align, seconds};
use carom_edge::{Recovered, Stopped};
use carom_shared::settings::Settings as Loaded;

use crate::error::CommandError;
use crate::settings::Settings;

type Printed = Result<(), CommandError>;

fn print(text: &str) -> Printed {
    Ok(program::text(text)?)
}

pub(crate) fn line(text: &str) -> Printed {
    Ok(program::line(text)?)
}

/// A text that ends its last line itself.
pub(crate) fn text(text: &str) -> Printed {
    print(text)
}

pub(crate) fn json(value: &impl Serialize) -> Printed {
    Ok(program::json(value)?)
}

/// Says why a command failed.
pub(crate) fn error(error: &CommandError) {
    // It was said in full already.
    if matches!(error, CommandError::Unwell) {
        return;
    }
    program::error(error);
}

pub(crate) fn started(
    settings: &Settings,
    recovered: Recovered,
    program: &str,
    setup: &str,
) -> Printed {
    let edge = &settings.edge;
    let control = &settings.control;
    let mut text = format!(
        "Carom {} is serving.\n\n  \
         short links   {}   (listening on {})\n  \
         dashboard     {}   (and the API; listening on {})\n  \
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
    text.push_str(setup);
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
    Ok(program::table(["CLICKS", "BOTS", "LAST CLICK", "SHORT URL"], align, rows)?)
}

pub(crate) fn settings(settings: &Loaded<Settings>) -> Printed {
    Ok(program::settings(settings)?)
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
