//! How far a long command is: a line that is written over on a terminal, a line every ten seconds
//! elsewhere. All of it on standard error.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often a terminal is written to.
const TERMINAL_INTERVAL: Duration = Duration::from_millis(200);
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Characters of the bar.
const BAR: usize = 24;

pub(crate) struct Progress {
    begun: Instant,
    shown: Instant,
    is_terminal: bool,
    is_drawn: bool,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self { begun: now, shown: now, is_terminal: io::stderr().is_terminal(), is_drawn: false }
    }

    /// Shows how many things are done, `part` of all if that is known, and what else there is to say.
    pub(crate) fn show(&mut self, done: u64, things: &str, part: Option<f64>, also: &str) {
        let interval = if self.is_terminal { TERMINAL_INTERVAL } else { LOG_INTERVAL };
        if self.shown.elapsed() < interval {
            return;
        }
        self.shown = Instant::now();
        let text = status(done, things, part, self.begun.elapsed(), also);
        if self.is_terminal {
            self.is_drawn = true;
            write(&format!("\r\u{1b}[2K{text}"));
        } else {
            write(&format!("{text}\n"));
        }
    }

    /// Leaves no half line behind.
    pub(crate) fn end(&mut self) {
        if std::mem::take(&mut self.is_drawn) {
            write("\r\u{1b}[2K");
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }
}

fn status(done: u64, things: &str, part: Option<f64>, took: Duration, also: &str) -> String {
    let seconds = took.as_secs_f64().max(0.001);
    let rate = done as f64 / seconds;
    let mut text = String::new();
    if let Some(part) = part.map(|part| part.clamp(0.0, 1.0)) {
        let full = (0..BAR).filter(|place| (*place as f64 + 0.5) / BAR as f64 <= part).count();
        text = format!("[{}{}] {:3.0} % ", "#".repeat(full), ".".repeat(BAR - full), part * 100.0);
    }
    text.push_str(&format!("{done} {things}, {rate:.0}/s"));
    if let Some(part) = part.filter(|part| (0.001..1.0).contains(part)) {
        let left = seconds / part - seconds;
        text.push_str(&format!(", {:.0}:{:02.0} left", (left / 60.0).floor(), left % 60.0));
    }
    text.push_str(also);
    text
}

fn write(text: &str) {
    let mut out = io::stderr().lock();
    // Where standard error is closed there is nobody to tell.
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_says_how_far_how_fast_and_how_long() {
        let half = status(5000, "rows", Some(0.5), Duration::from_secs(70), ", 2 refused");
        let bar = "[############............]  50 % 5000 rows, 71/s, 1:10 left, 2 refused";
        assert_eq!(half, bar);
        assert_eq!(status(3, "links", None, Duration::from_secs(1), ""), "3 links, 3/s");
    }
}
