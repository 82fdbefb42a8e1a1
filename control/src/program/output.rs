//! What commands print: results to standard output, errors to standard error.

use std::error::Error;
use std::io::{self, Write};

use carom_shared::settings::{Effective, Settings};
use serde::Serialize;

use super::error::ProgramError;
use crate::app::App;

/// Prints a text that ends its last line itself. Whole texts: half a line helps nobody.
///
/// # Errors
/// [`ProgramError::Output`], but not because nobody reads on: `carom stats | head -1` is no error.
pub fn text(text: &str) -> Result<(), ProgramError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(ProgramError::Output),
    }
}

/// # Errors
/// As [`text`].
pub fn line(line: &str) -> Result<(), ProgramError> {
    text(&format!("{line}\n"))
}

/// # Errors
/// As [`text`].
pub fn json(value: &impl Serialize) -> Result<(), ProgramError> {
    let text = serde_json::to_string(value).map_err(|error| ProgramError::Output(error.into()))?;
    line(&text)
}

/// Says why a command failed. Where standard error is closed there is nobody to tell.
pub fn error(error: &dyn Error) {
    drop(writeln!(io::stderr().lock(), "error: {}", chain(error)));
}

/// An error with all its causes.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// What to say of the link that makes the first account; nothing once there is one. Without a link it
/// serves all the same, and the log says why there is none.
pub async fn setup(app: &App) -> String {
    match app.setup_link().await {
        Ok(None) => String::new(),
        Ok(Some(link)) => format!(
            "There is no account yet. To make the first one, within 30 minutes:\n  {link}\n\n"
        ),
        Err(error) => {
            tracing::error!("{error}");
            String::new()
        }
    }
}

/// Prints every setting and where its value comes from.
///
/// # Errors
/// As [`text`].
pub fn settings<T>(settings: &Settings<T>) -> Result<(), ProgramError> {
    let row = |effective: &Effective| {
        let value = effective.value.clone().unwrap_or_else(|| "(none)".to_owned());
        [effective.setting.clone(), value, effective.origin.to_string()]
    };
    table(["SETTING", "VALUE", "FROM"], [Align::Left; 3], settings.effective().map(row))
}

/// An RFC 3339 time as people read it: to the second.
#[must_use]
pub fn seconds(at: &str) -> String {
    match at.split_at_checked("2026-01-01T00:00:00".len()) {
        Some((to_second, _)) => format!("{} UTC", to_second.replace('T', " ")),
        None => at.to_owned(),
    }
}

/// On which side of its column a cell stands.
#[derive(Clone, Copy, Debug)]
pub enum Align {
    Left,
    Right,
}

/// Prints columns as wide as their widest cell.
///
/// # Errors
/// As [`text`].
pub fn table<const N: usize>(
    head: [&str; N],
    align: [Align; N],
    rows: impl Iterator<Item = [String; N]>,
) -> Result<(), ProgramError> {
    let rows: Vec<[String; N]> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let widths: [usize; N] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    });
    let mut lines = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths).zip(align).map(|((cell, width), align)| match align {
            Align::Left => format!("{cell:<width$}"),
            Align::Right => format!("{cell:>width$}"),
        });
        lines.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        lines.push('\n');
    }
    text(&lines)
}
