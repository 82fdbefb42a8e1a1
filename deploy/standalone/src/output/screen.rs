//! What can be drawn on: how wide the output is, and with which characters.

use std::io::{IsTerminal, stdout};

/// Columns where nobody says how many there are.
const WIDTH_DEFAULT: usize = 80;
/// Narrower than this nothing is readable; wider, the eye loses the line.
const WIDTH: std::ops::RangeInclusive<usize> = 40..=120;

/// Blocks of one to seven eighths, from the bottom up.
const RISING: [char; 7] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇'];
/// The same, from the left.
const GROWING: [char; 7] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Screen {
    /// Columns.
    pub(crate) width: usize,
    pub(crate) is_ascii: bool,
}

impl Screen {
    /// Standard output. Without a terminal, and wherever somebody asked for plain output (`NO_COLOR`,
    /// `TERM=dumb`, a locale without UTF-8), it is drawn on with ASCII.
    pub(crate) fn of(environment: &[(String, String)], is_ascii: bool) -> Self {
        let value = |name: &str| {
            let found = environment.iter().find(|(of, value)| of == name && !value.is_empty());
            found.map(|(_, value)| value.as_str())
        };
        let is_terminal = stdout().is_terminal();
        let size = rustix::termios::tcgetwinsize(stdout()).ok().filter(|_| is_terminal);
        let columns = size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
        let columns = columns.or_else(|| value("COLUMNS")?.parse().ok()).unwrap_or(WIDTH_DEFAULT);
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| value(name));
        let is_plain = is_ascii
            || !is_terminal
            || value("NO_COLOR").is_some()
            || value("TERM") == Some("dumb")
            || matches!(locale, Some("C" | "POSIX"));
        Self { width: columns.clamp(*WIDTH.start(), *WIDTH.end()), is_ascii: is_plain }
    }

    /// A cell that is filled by so many eighths from its bottom.
    pub(super) fn rising(self, eighths: usize) -> char {
        match (self.is_ascii, eighths) {
            (_, 0) => ' ',
            (false, n) => RISING.get(n - 1).copied().unwrap_or('█'),
            (true, 1..=2) => '.',
            (true, 3..=5) => ':',
            (true, _) => '#',
        }
    }

    /// A bar of so many eighths of a cell.
    pub(super) fn bar(self, eighths: usize) -> String {
        let (whole, rest) = (eighths / 8, eighths % 8);
        if self.is_ascii {
            return "#".repeat(whole + usize::from(rest >= 4 || whole == 0 && rest > 0));
        }
        let mut bar = "█".repeat(whole);
        bar.extend(rest.checked_sub(1).map(|at| GROWING[at]));
        bar
    }
}
