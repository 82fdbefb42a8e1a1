//! What an experiment says: progress on standard error, its report on standard output.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use crate::failure::Failure;
use crate::latency::Quantiles;
use crate::links::{Reason, Refused};
use crate::process::Cost;
use crate::traffic::Faults;

/// Prints a report as text or as one JSON document.
pub(crate) fn print<R: Serialize + fmt::Display>(report: &R, json: bool) -> Result<(), Failure> {
    let text = if json {
        serde_json::to_string_pretty(report)
            .map_err(|error| Failure::new(format!("cannot write the report: {error}")))?
    } else {
        report.to_string().trim_end().to_owned()
    };
    writeln!(io::stdout(), "{text}")
        .map_err(|error| Failure::new(format!("cannot write the report: {error}")))
}

/// Says on standard error what goes on. A closed standard error is no reason to stop.
pub(crate) fn progress(text: &str) {
    writeln!(io::stderr(), "{text}").ok();
}

/// `count` per second over `elapsed`.
pub(crate) fn per_second(count: u64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64().max(1e-9)
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  CPU of the server     {:.2} us each on edge threads, {:.2} us on others",
            self.edge_us, self.others_us
        )?;
        for (group, us) in &self.groups_us {
            writeln!(f, "    {group:<20}{us:.2} us")?;
        }
        let memory = self.memory;
        writeln!(
            f,
            "  memory of the server  {:.1} MiB resident: {:.1} anonymous, {:.1} of files",
            memory.rss_mib, memory.anonymous_mib, memory.file_mib
        )
    }
}

impl fmt::Display for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50_ms, p99_ms, max_ms } = self;
        write!(f, "p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms, max {max_ms:.2} ms")
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (reason, Reason { count, examples }) in &self.reasons {
            writeln!(f, "    {count} x {reason}")?;
            examples.iter().try_for_each(|example| writeln!(f, "      {example}"))?;
        }
        Ok(())
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return Ok(());
        }
        writeln!(
            f,
            "  FAULTS                {} wrong, {} unanswered",
            self.wrong, self.unanswered
        )?;
        self.examples.iter().try_for_each(|example| writeln!(f, "    {example}"))
    }
}
