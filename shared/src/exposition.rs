//! A writer of Prometheus' text format, version 0.0.4: what `/metrics` answers.
//!
//! Its callers read counters they own; nothing is registered, locked or kept. Label sets are
//! bounded by the caller: never a code, a URL or an address.

use std::fmt::{self, Write as _};

/// The `Content-Type` of what [`Exposition::finish`] returns.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Label names and values; values are escaped, names are not checked.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// The text while it is written: families one after the other, each named once.
#[derive(Debug, Default)]
pub struct Exposition(String);

/// One metric under its name and help; made by [`Exposition::counter`] or [`Exposition::gauge`].
#[derive(Debug)]
pub struct Family<'a> {
    text: &'a mut String,
    name: &'a str,
}

/// One histogram under its name and help; made by [`Exposition::histogram`].
#[derive(Debug)]
pub struct Histogram<'a>(Family<'a>);

/// The value of a sample: integers are written exactly.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
}

impl Exposition {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a value that only grows. By convention its name ends in `_total`.
    pub fn counter<'a>(&'a mut self, name: &'a str, help: &str) -> Family<'a> {
        self.family(name, help, "counter")
    }

    /// Begins a value that goes up and down.
    pub fn gauge<'a>(&'a mut self, name: &'a str, help: &str) -> Family<'a> {
        self.family(name, help, "gauge")
    }

    /// Begins a distribution over buckets.
    pub fn histogram<'a>(&'a mut self, name: &'a str, help: &str) -> Histogram<'a> {
        Histogram(self.family(name, help, "histogram"))
    }

    /// The finished text.
    #[must_use]
    pub fn finish(self) -> String {
        self.0
    }

    fn family<'a>(&'a mut self, name: &'a str, help: &str, kind: &str) -> Family<'a> {
        let help = help.replace('\\', r"\\").replace('\n', r"\n");
        append(&mut self.0, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        Family { text: &mut self.0, name }
    }
}

impl Family<'_> {
    /// Adds one sample; each label set at most once.
    pub fn sample(&mut self, labels: Labels<'_>, value: impl Into<Number>) -> &mut Self {
        self.line("", labels, None, value.into());
        self
    }

    fn line(&mut self, suffix: &str, labels: Labels<'_>, le: Option<Number>, value: Number) {
        append(self.text, format_args!("{}{suffix}", self.name));
        let mut separator = '{';
        for (name, label) in labels {
            let label = label.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            append(self.text, format_args!("{separator}{name}=\"{label}\""));
            separator = ',';
        }
        if let Some(bound) = le {
            append(self.text, format_args!("{separator}le=\"{bound}\""));
            separator = ',';
        }
        let end = if separator == ',' { "}" } else { "" };
        append(self.text, format_args!("{end} {value}\n"));
    }
}

impl Histogram<'_> {
    /// Adds the series of one label set. `buckets` are (upper bound, how many samples were at most
    /// that), both growing, without the last bucket: its bound is infinite and its value `count`.
    pub fn series(
        &mut self,
        labels: Labels<'_>,
        buckets: &[(f64, u64)],
        sum: f64,
        count: u64,
    ) -> &mut Self {
        for &(bound, cumulative) in buckets {
            self.0.line("_bucket", labels, Some(bound.into()), cumulative.into());
        }
        self.0.line("_bucket", labels, Some(f64::INFINITY.into()), count.into());
        self.0.line("_sum", labels, None, sum.into());
        self.0.line("_count", labels, None, count.into());
        self
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Unsigned(value) => write!(f, "{value}"),
            Self::Signed(value) => write!(f, "{value}"),
            Self::Float(value) if value == f64::INFINITY => f.write_str("+Inf"),
            Self::Float(value) if value == f64::NEG_INFINITY => f.write_str("-Inf"),
            Self::Float(value) => write!(f, "{value}"),
        }
    }
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        Self::Unsigned(value)
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Self {
        Self::Signed(value)
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

fn append(text: &mut String, what: fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a String takes any text");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_text() {
        let mut out = Exposition::new();
        out.counter("carom_redirects_total", "Answered redirects.\nBy \\ status.")
            .sample(&[("status", "302")], u64::MAX)
            .sample(&[("status", "4\"0\\4\n"), ("kind", "human")], 7_u64);
        out.gauge("carom_feed_age_seconds", "Age of the feed.").sample(&[], 0.25);
        out.gauge("carom_empty", "No sample yet.");
        out.gauge("carom_odd", "Odd numbers.")
            .sample(&[("n", "a")], f64::NAN)
            .sample(&[("n", "b")], f64::NEG_INFINITY)
            .sample(&[("n", "c")], 1e21)
            .sample(&[("n", "d")], i64::MIN);
        out.histogram("carom_wait_seconds", "Waiting.")
            .series(&[("queue", "x")], &[(0.001, 1), (1.0, 3)], 2.5, 4)
            .series(&[], &[], 0.0, 0);
        let golden = r##"# HELP carom_redirects_total Answered redirects.\nBy \\ status.
# TYPE carom_redirects_total counter
carom_redirects_total{status="302"} 18446744073709551615
carom_redirects_total{status="4\"0\\4\n",kind="human"} 7
# HELP carom_feed_age_seconds Age of the feed.
# TYPE carom_feed_age_seconds gauge
carom_feed_age_seconds 0.25
# HELP carom_empty No sample yet.
# TYPE carom_empty gauge
# HELP carom_odd Odd numbers.
# TYPE carom_odd gauge
carom_odd{n="a"} NaN
carom_odd{n="b"} -Inf
carom_odd{n="c"} 1000000000000000000000
carom_odd{n="d"} -9223372036854775808
# HELP carom_wait_seconds Waiting.
# TYPE carom_wait_seconds histogram
carom_wait_seconds_bucket{queue="x",le="0.001"} 1
carom_wait_seconds_bucket{queue="x",le="1"} 3
carom_wait_seconds_bucket{queue="x",le="+Inf"} 4
carom_wait_seconds_sum{queue="x"} 2.5
carom_wait_seconds_count{queue="x"} 4
carom_wait_seconds_bucket{le="+Inf"} 0
carom_wait_seconds_sum 0
carom_wait_seconds_count 0
"##;
        assert_eq!(out.finish(), golden);
    }
}
