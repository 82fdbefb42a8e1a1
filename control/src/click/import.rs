//! Clicks as files hold them, and what becomes of one that is imported. Pure.
//!
//! A file's click is a line of an export of clicks: [`columns`], of which only the time and the
//! link, by its id or by its code, have to be there.
//!
//! ```text
//! it cannot be read, or its link is not here     refused
//! older than what is kept click by click         refused: its count may be in the totals
//! alike in all that is known, and as often       present
//! anything else                                  new
//! ```
//!
//! Clicks have no names of their own, so a click is told by everything that is known of it: its
//! link, its second, its visitor and the rest. A file may hold one more often than once, so each
//! comes with how many of the same second came before it that are the same ([`ClickRow::nth`]), and
//! is there if so many and one more are. So whatever is imported again, in whatever pieces, from
//! whichever export, counts once. The price: two visitors of two installations of whom nothing is
//! known and who clicked a link in the same second count as one.

pub(crate) mod api;
pub(crate) mod known;
mod turn;

use std::time::Duration;

use carom_shared::click::{Channel, Detail, Details, Device, Kind, Privacy, Via};
use carom_shared::{Click, Code, Host, LinkId, UnixMillis};
use serde::{Deserialize, Serialize};

use super::export::api::{columns, place_of};
use crate::http::problem::FieldError;
use crate::link::command::check_time;
use crate::link::store::LinkPlace;

/// How far a click may lie ahead: clocks differ.
const AHEAD_MAX: Duration = Duration::from_hours(24);
/// Bytes of a name: more than an edge ever writes down.
const NAME_MAX: usize = 1024;

/// A line of a file of clicks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClickRow {
    /// How many rows of the file before it, in the same second, are the same.
    pub nth: u32,
    /// In the order of the export's columns; empty where nothing is known.
    pub cells: Vec<String>,
}

/// How a file says which link was clicked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinkRef {
    pub(crate) id: Option<LinkId>,
    pub(crate) code: Option<Code>,
    /// `None`: it names none, or one that is no host.
    pub(crate) host: Option<Host>,
}

/// A row, checked; which link it is of is to be found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImportClick<'a> {
    pub(crate) nth: u32,
    pub(crate) link: LinkRef,
    at_s: u32,
    n: u32,
    kind: Kind,
    via: Via,
    variant: u16,
    status: u16,
    target_revision: u32,
    visitor: u64,
    privacy: Privacy,
    channel: Channel,
    device: Device,
    details: Details<'a>,
}

/// What became of a click.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    New,
    Present,
    /// Older than what is kept click by click.
    Old,
}

impl<'a> ImportClick<'a> {
    /// The click, of this link.
    pub(crate) fn click(&self, link: LinkId, place: &LinkPlace) -> Click<'a> {
        Click {
            workspace: place.workspace,
            link,
            domain: place.domain,
            at_s: self.at_s,
            n: self.n,
            kind: self.kind,
            via: self.via,
            variant: self.variant,
            status: self.status,
            target_revision: self.target_revision,
            visitor: self.visitor,
            privacy: self.privacy,
            channel: self.channel,
            device: self.device,
            details: self.details,
        }
    }
}

/// The cells of a row, and what is wrong with them.
struct Cells<'a> {
    cells: &'a [String],
    errors: Vec<FieldError>,
}

impl<'a> Cells<'a> {
    /// `None` if it is empty.
    fn text(&self, column: &str) -> Option<&'a str> {
        let cell = self.cells.get(place_of(column)?)?.as_str();
        Some(cell).filter(|cell| !cell.is_empty())
    }

    fn refuse(&mut self, column: &str, code: &str, reason: &str) {
        self.errors.push(FieldError::new(&format!("#/{column}"), code, reason.into()));
    }

    /// What a cell says, or `empty` if it says nothing.
    fn read<T>(
        &mut self,
        column: &str,
        empty: T,
        reason: &str,
        read: impl Fn(&'a str) -> Option<T>,
    ) -> T {
        match self.text(column).map(read) {
            None => empty,
            Some(Some(value)) => value,
            Some(None) => {
                self.refuse(column, "malformed", reason);
                empty
            }
        }
    }

    fn number<T: TryFrom<u64>>(&mut self, column: &str, empty: T) -> T {
        let read = |cell: &str| T::try_from(cell.parse().ok()?).ok();
        self.read(column, empty, "is not a number that fits", read)
    }

    fn truth(&mut self, column: &str) -> bool {
        self.read(column, false, "is neither 1 nor 0", |cell| match cell {
            "1" | "true" => Some(true),
            "0" | "false" => Some(false),
            _ => None,
        })
    }

    fn word<T: Copy>(
        &mut self,
        column: &str,
        words: &'static [T],
        text: fn(T) -> &'static str,
        empty: T,
    ) -> T {
        let read = |cell: &str| words.iter().copied().find(|word| text(*word) == cell);
        self.read(column, empty, "is a word that no export writes", read)
    }

    fn link(&mut self) -> LinkRef {
        let id = self
            .read("link_id", None, "is not the id of a link", |cell| cell.parse().ok().map(Some));
        let code =
            self.read("code", None, "is not a code", |cell| Code::parse(cell).ok().map(Some));
        if id.is_none() && code.is_none() && self.errors.is_empty() {
            self.refuse("link_id", "required", "the row has neither an id nor a code of a link");
        }
        let host = self.text("domain").and_then(|cell| Host::parse(cell).ok());
        LinkRef { id, code, host }
    }

    fn time(&mut self, now: UnixMillis) -> u32 {
        let Some(text) = self.text("at") else {
            self.refuse("at", "required", "the row does not say when the click was");
            return 0;
        };
        match check_time(text, "#/at") {
            Ok(at) if at > now.saturating_add(AHEAD_MAX) => {
                self.refuse("at", "time-order", "the click would be in the future");
                0
            }
            Ok(at) => u32::try_from(at.as_secs()).unwrap_or_else(|_| {
                self.refuse("at", "out-of-range", "there were no clicks before 1970");
                0
            }),
            Err(error) => {
                self.errors.push(error);
                0
            }
        }
    }

    fn details(&mut self) -> Details<'a> {
        let mut details = Details::default();
        for &detail in Detail::ALL {
            let Some(name) = self.text(detail.as_str()) else { continue };
            if name.len() > NAME_MAX {
                self.refuse(detail.as_str(), "too-long", "has more bytes than a name has");
            }
            details.set(detail, name);
        }
        details
    }
}

/// Checks every cell of a row.
pub(crate) fn check_click(
    row: &ClickRow,
    now: UnixMillis,
) -> Result<ImportClick<'_>, Vec<FieldError>> {
    let mut cells = Cells { cells: &row.cells, errors: Vec::new() };
    if row.cells.len() != columns().count() {
        let reason = "the row has not as many cells as an export has columns";
        cells.refuse("row", "malformed", reason);
    }
    let hexadecimal = |cell: &str| {
        let is_written_so = cell.len() == 16 && cell.bytes().all(|byte| byte.is_ascii_hexdigit());
        u64::from_str_radix(cell, 16).ok().filter(|_| is_written_so)
    };
    let click = ImportClick {
        nth: row.nth,
        link: cells.link(),
        at_s: cells.time(now),
        n: cells.number("n", 1),
        kind: cells.word("kind", Kind::ALL, Kind::as_str, Kind::Human),
        via: cells.word("via", Via::ALL, Via::as_str, Via::Link),
        variant: cells.number("variant", 0),
        status: cells.number("status", 302),
        target_revision: cells.number("target_revision", 1),
        visitor: cells.read("visitor", 0, "is not 16 hexadecimal digits", hexadecimal),
        privacy: Privacy {
            do_not_track: cells.truth("do_not_track"),
            global_privacy_control: cells.truth("global_privacy_control"),
        },
        channel: cells.word("channel", Channel::ALL, Channel::as_str, Channel::Direct),
        device: cells.word("device", Device::ALL, Device::as_str, Device::Unknown),
        details: cells.details(),
    };
    if click.n == 0 {
        cells.refuse("n", "out-of-range", "a row stands for one click at least");
    }
    if cells.errors.is_empty() { Ok(click) } else { Err(cells.errors) }
}

#[cfg(test)]
mod tests;
