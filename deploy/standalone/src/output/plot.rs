//! A plot of a series: a column for each step, or for several where there are more than columns.

use super::grouped;
use super::screen::Screen;

/// Rows of the plot.
const HEIGHT: usize = 8;
/// Eighths of a row: what a cell can show.
const EIGHTHS: usize = 8;
/// Columns of one step, at most.
const STEP_MAX: usize = 8;

/// Columns of the axis' labels.
const MARGIN: usize = 5;

/// Draws `values`, each of one `unit` and under its label; an empty text if all are 0.
pub(super) fn plot(values: &[u64], labels: &[String], unit: &str, screen: Screen) -> String {
    let room = screen.width - MARGIN - 2;
    let together = values.len().div_ceil(room);
    let sums: Vec<u64> = values.chunks(together.max(1)).map(|of| of.iter().sum()).collect();
    let most = sums.iter().copied().max().unwrap_or_default();
    if most == 0 {
        return String::new();
    }
    let top = top_of(most);
    let step = (room / sums.len()).clamp(1, STEP_MAX);
    // A gap between columns that are wide enough for one.
    let (bar, gap) = if step > 1 { (step - 1, 1) } else { (1, 0) };

    let mut text = String::new();
    let (tick, line, corner, floor) =
        if screen.is_ascii { ('+', '|', '+', '-') } else { ('┤', '│', '└', '─') };
    for row in 0..HEIGHT {
        let label = match row {
            0 => short(top),
            row if row == HEIGHT / 2 => short(top / 2),
            _ => String::new(),
        };
        let mark = if label.is_empty() { line } else { tick };
        text.push_str(&format!("{label:>MARGIN$} {mark}"));
        let mut cells = String::new();
        for value in &sums {
            let filled = eighths(*value, top, HEIGHT * EIGHTHS);
            let below = (HEIGHT - 1 - row) * EIGHTHS;
            let cell = screen.rising(filled.saturating_sub(below).min(EIGHTHS));
            cells.extend(std::iter::repeat_n(cell, bar).chain(std::iter::repeat_n(' ', gap)));
        }
        text.push_str(cells.trim_end());
        text.push('\n');
    }
    let width = step * sums.len() - gap;
    let floor = floor.to_string().repeat(width);
    text.push_str(&format!("{:>MARGIN$} {corner}{floor}\n", 0));
    let starts: Vec<&str> = labels.iter().step_by(together).map(String::as_str).collect();
    text.push_str(&format!("{:>MARGIN$}  {}\n", "", under(&starts, step, width)));
    if together > 1 {
        text.push_str(&format!("{:>MARGIN$}  Each column is {together} {unit}s.\n", ""));
    }
    text
}

/// The first number of 2, 4, 6, 8 and their tenfolds that is not less: its half is whole too.
fn top_of(most: u64) -> u64 {
    let mut unit: u64 = 1;
    loop {
        let fitting = [2, 4, 6, 8].into_iter().map(|n| unit.saturating_mul(n));
        match fitting.into_iter().find(|top| *top >= most) {
            Some(top) => return top,
            None => unit = unit.saturating_mul(10),
        }
    }
}

/// A round number in at most five characters.
fn short(n: u64) -> String {
    let (mut n, mut units) = (n, ["k", "M", "G", "T", "P", "E"].into_iter());
    if n < 10_000 {
        return grouped(n);
    }
    let mut unit = "";
    while n >= 1000 {
        n /= 1000;
        unit = units.next().unwrap_or_default();
    }
    format!("{n}{unit}")
}

/// How much of `full` a value takes of `top`; what is there at all is seen.
pub(super) fn eighths(value: u64, top: u64, full: usize) -> usize {
    let part = u128::from(value) * full as u128 / u128::from(top.max(1));
    usize::try_from(part).unwrap_or(full).clamp(usize::from(value > 0), full)
}

/// The labels of the first and the last step, and between them as many as are readable.
fn under(labels: &[&str], step: usize, width: usize) -> String {
    let mut text = String::new();
    let mut end = 0;
    let (Some(first), Some(last)) = (labels.first(), labels.last()) else { return text };
    let last_at = width.saturating_sub(last.len());
    let apart = first.len();
    for (at, label) in labels.iter().enumerate() {
        let at = at * step;
        let is_first = at == 0;
        if is_first || at >= end + apart && at + label.len() + apart <= last_at {
            text.push_str(&format!("{:1$}{label}", "", at - end));
            end = at + label.len();
        }
    }
    if labels.len() > 1 && last_at >= end + 2 {
        text.push_str(&format!("{:1$}{last}", "", last_at - end));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNICODE: Screen = Screen { width: 42, is_ascii: false };
    const ASCII: Screen = Screen { width: 40, is_ascii: true };

    fn labels(n: usize) -> Vec<String> {
        (1..=n).map(|n| format!("01-{n:02}")).collect()
    }

    #[test]
    fn a_plot_shows_each_step() {
        let values = [0, 1, 8, 16, 3];
        let expected = "   20 ┤
      │                     ▃▃▃▃▃▃
      │                     ██████
      │                     ██████
   10 ┤              ▁▁▁▁▁▁ ██████
      │              ██████ ██████
      │              ██████ ██████ ▁▁▁▁▁▁
      │       ▃▃▃▃▃▃ ██████ ██████ ██████
    0 └──────────────────────────────────
       01-01         01-03          01-05
";
        assert_eq!(plot(&values, &labels(5), "day", UNICODE), expected);
        let ascii = plot(&values, &labels(5), "day", ASCII);
        assert!(ascii.is_ascii() && ascii.lines().all(|line| line.len() <= 40), "{ascii}");
        assert_eq!(plot(&[0, 0], &labels(2), "day", ASCII), "");
    }

    /// Whatever is drawn, it fits.
    #[test]
    fn a_plot_is_as_wide_as_the_screen_at_most() {
        for n in [1, 2, 7, 30, 37, 38, 100, 1000] {
            for most in [1, 9, 12_345, 9_999_999, u64::MAX / 2000] {
                for width in [40, 80, 120] {
                    let values: Vec<u64> = (0..n).map(|at| most / (at as u64 + 1)).collect();
                    let screen = Screen { width, is_ascii: false };
                    let text = plot(&values, &labels(n), "day", screen);
                    let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
                    assert!(widest <= width, "{n} {most} {width}: {widest}\n{text}");
                    assert_eq!(text.lines().count() - 10, usize::from(text.contains("days")));
                }
            }
        }
    }

    #[test]
    fn the_axis_ends_with_a_round_number() {
        for (most, top) in [(1, 2), (2, 2), (3, 4), (9, 20), (81, 200), (20, 20), (601, 800)] {
            assert_eq!(top_of(most), top, "{most}");
        }
        for (n, text) in [(0, "0"), (8000, "8,000"), (10_000, "10k"), (800_000, "800k")] {
            assert_eq!(short(n), text);
        }
        assert_eq!(short(20_000_000_000_000_000), "20P");
    }
}
