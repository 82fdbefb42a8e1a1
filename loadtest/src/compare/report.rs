//! The report as text: a table for each load, then the ratios of pairs, then memory.

use std::fmt;

use super::figures::{Ratio, Spread, Summary};
use super::usage::Memory;
use super::{About, CompareReport};

/// What an edge of its own does of a click, and what it does not.
const APART: &str = "  \
  carom-edge stores no clicks: its control plane would be on another machine, and stands still while
  the edge is asked. The edge writes its ring, drains it and puts batches into its outbox, as nginx
  writes its log; bringing them to the control plane afterwards counts in \"all\", storing them there
  does not. Codes that do not exist are questions to the control plane, so they are not measured.
";

impl fmt::Display for CompareReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, links, rounds, seconds, connections, .. } = self;
        writeln!(
            f,
            "compare: {rounds} rounds of {seconds} s for each, {links} links, {connections} \
             connections (seed {seed})"
        )?;
        let machine = &self.machine;
        writeln!(
            f,
            "  machine  {}, Linux {}, servers on processor {}, client on {}; load {} before, {} after",
            machine.processor,
            machine.kernel,
            machine.cpus.server,
            machine.cpus.client,
            machine.load_before,
            machine.load_after
        )?;
        if machine.cpus.are_shared() {
            writeln!(f, "  ONE PROCESSOR for servers and client: rates and latencies say little")?;
        }
        for (name, about) in &self.servers {
            writeln!(f, "  {name:<11} {}", about.version)?;
        }
        self.missing.iter().try_for_each(|what| writeln!(f, "  NOT COMPARED with {what}"))?;
        write!(f, "{}", self.faults)?;
        if self.lean.is_some() {
            f.write_str(APART)?;
        }
        let mut load = "";
        // What was not asked of a server has no figures.
        for summary in self.summaries.iter().filter(|of| !of.figures.is_empty()) {
            if summary.load != load {
                load = &summary.load;
                head(f, load)?;
            }
            summary.fmt(f)?;
        }
        writeln!(f, "\nratios of pairs, medians (quarters)\n{:70}requests", "")?;
        writeln!(f, "{:48}{:<22}{:<22}a second", "", "CPU, answering", "CPU, all threads")?;
        self.ratios.iter().try_for_each(|ratio| ratio.fmt(f))?;
        writeln!(f, "\nmemory, MiB{:22}anonymous     files     rings", "")?;
        for (name, about) in &self.servers {
            about.fmt(name, f)?;
        }
        match &self.lean {
            Some(lean) => lean.fmt(f),
            None => Ok(()),
        }
    }
}

fn head(f: &mut fmt::Formatter<'_>, load: &str) -> fmt::Result {
    writeln!(
        f,
        "\n{load}\n{:15}CPU, us of answering    all   a second   busy      p50      p99    p99.9 us",
        ""
    )
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let serving = self.figures.get("serving_us").map(Spread::to_string).unwrap_or_default();
        writeln!(
            f,
            "  {:<11}{serving:>24}{:>7.2}{:>11.0}{:>6.0}%{:>9.0}{:>9.0}{:>9.0}",
            self.server,
            self.median("all_us"),
            self.median("per_second"),
            self.median("busy") * 100.0,
            self.median("p50_us"),
            self.median("p99_us"),
            self.median("p999_us"),
        )
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, lower, upper, .. } = self;
        write!(f, "{median:.2} ({lower:.2} to {upper:.2})")
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pair = format!("{} / {}", self.of, self.to);
        writeln!(
            f,
            "  {:<32}{pair:<22}{:<22}{:<22}{}",
            self.load,
            self.serving.to_string(),
            self.all.to_string(),
            self.per_second
        )
    }
}

impl About {
    fn fmt(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (when, memory) in
            [("each link asked for", self.memory), ("at the end", self.memory_at_the_end)]
        {
            let Memory { anonymous_mib, file_mib, rings_mib } = memory;
            writeln!(
                f,
                "  {name:<11}{when:<20}{anonymous_mib:>9.1}{file_mib:>10.1}{rings_mib:>10.1}"
            )?;
        }
        Ok(())
    }
}
