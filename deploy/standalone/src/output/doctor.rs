//! What `carom doctor` prints for people: the verdict first, then each area's findings.

use std::io::{IsTerminal, stdout};

use super::screen::Screen;
use super::{Printed, count, print};
use crate::doctor::{Finding, Level, Report};

/// Columns before a finding: two, the longest level, two.
const INDENT: usize = 11;

pub(crate) fn report(report: &Report, environment: &[(String, String)]) -> Printed {
    let width = Screen::of(environment, false).width;
    print(&text(report, width, is_coloured(environment)))
}

/// On a terminal, unless somebody asked for none (`NO_COLOR`, `TERM=dumb`).
fn is_coloured(environment: &[(String, String)]) -> bool {
    let is = |name: &str, fits: fn(&str) -> bool| {
        environment.iter().any(|(of, value)| of == name && fits(value))
    };
    stdout().is_terminal()
        && !is("NO_COLOR", |value| !value.is_empty())
        && !is("TERM", |value| value == "dumb")
}

fn text(report: &Report, width: usize, is_coloured: bool) -> String {
    let mut text = format!("{}\n", verdict(report, is_coloured));
    let mut area = None;
    for finding in &report.findings {
        if area != Some(finding.area) {
            area = Some(finding.area);
            text.push_str(&format!("\n{}\n", finding.area.title()));
        }
        push(&mut text, finding, width, is_coloured);
    }
    text
}

fn verdict(report: &Report, is_coloured: bool) -> String {
    let found: Vec<String> =
        [(report.errors, "error"), (report.warnings, "warning"), (report.notices, "notice")]
            .into_iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, name)| count(n as u64, name))
            .collect();
    let found = found.join(", ");
    let (dir, checks) = (&report.data_dir, report.findings.len());
    let text = match report.verdict {
        Level::Ok => format!("All is well with {dir}: {checks} checks, nothing found."),
        Level::Notice => format!("All is well with {dir}: {found} in {checks} checks."),
        Level::Warning => format!("{dir} needs attention: {found} in {checks} checks."),
        Level::Error => format!("Something is wrong with {dir}: {found} in {checks} checks."),
    };
    paint(&text, report.verdict, is_coloured)
}

fn push(text: &mut String, finding: &Finding, width: usize, is_coloured: bool) {
    let name = match finding.level {
        Level::Ok => "ok",
        Level::Notice => "notice",
        Level::Warning => "warning",
        Level::Error => "error",
    };
    let name = paint(&format!("{name:<7}"), finding.level, is_coloured);
    let indent = " ".repeat(INDENT);
    for (at, line) in wrap(&finding.finding, width - INDENT).iter().enumerate() {
        if at == 0 {
            text.push_str(&format!("  {name}  {line}\n"));
        } else {
            text.push_str(&format!("{indent}{line}\n"));
        }
    }
    for (before, what) in [("Means: ", &finding.meaning), ("To do: ", &finding.action)] {
        if what.is_empty() {
            continue;
        }
        for (at, line) in wrap(what, width - INDENT - before.len()).iter().enumerate() {
            let before = if at == 0 { before } else { "       " };
            text.push_str(&format!("{indent}{before}{line}\n"));
        }
    }
}

fn paint(text: &str, level: Level, is_coloured: bool) -> String {
    let colour = match level {
        _ if !is_coloured => return text.to_owned(),
        Level::Ok => 32,
        Level::Notice => 36,
        Level::Warning => 33,
        Level::Error => 31,
    };
    format!("\x1b[{colour}m{text}\x1b[0m")
}

/// Lines of at most so many characters, broken between words; a longer word has a line of its own.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let needed = line.chars().count() + 1 + word.chars().count();
        if !line.is_empty() && needed > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("one extraordinary", 5), ["one", "extraordinary"]);
        assert_eq!(wrap("", 5), [""]);
    }
}
