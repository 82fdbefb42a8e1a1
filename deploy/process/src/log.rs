//! The log: to standard error, for people or for programs.

use std::fmt;
use std::io::IsTerminal;

use serde::{Deserialize, Serialize};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use carom_shared::settings::InvalidSetting;
use carom_shared::trace::{self, TraceContext};

use crate::otel::{OtelConfig, Traces};

/// `log.*`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// What is logged: a level (`error`, `warn`, `info`, `debug`, `trace`), or levels by module
    /// such as `info,carom_edge=debug`.
    pub filter: String,
    pub format: LogFormat,
}

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::default() }
    }
}

impl LogConfig {
    /// # Errors
    /// [`InvalidSetting`] if the filter cannot be read.
    pub fn check(&self) -> Result<(), InvalidSetting> {
        self.targets().map(drop)
    }

    fn targets(&self) -> Result<Targets, InvalidSetting> {
        let problem = "must be a level, or levels by module such as info,carom_edge=debug";
        self.filter
            .parse()
            .map_err(|_| InvalidSetting { setting: "log.filter", problem: problem.to_owned() })
    }

    /// Logs from now on, and collects traces for as long as the [`Traces`] live. `service` is what
    /// the program is called in them.
    ///
    /// # Errors
    /// [`InvalidSetting`] if the filter cannot be read, or traces cannot be sent as it is said.
    pub fn start(
        &self,
        otel: &OtelConfig,
        service: &'static str,
    ) -> Result<Traces, InvalidSetting> {
        // Spans are for traces: a log shows the id of the trace and not its spans.
        let shown = self.targets()?.with_target(trace::TARGET, LevelFilter::OFF);
        let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        let layer = match self.format {
            LogFormat::Text => layer.with_ansi(std::io::stderr().is_terminal()).boxed(),
            LogFormat::Json => layer.json().flatten_event(true).map_event_format(Traced).boxed(),
        };
        let (traces, collector) = otel.start(service)?;
        // Of what is logged, the time of the database's statements alone is a trace's.
        let collected = Targets::new()
            .with_target(trace::TARGET, LevelFilter::INFO)
            .with_target(STATEMENTS, LevelFilter::DEBUG);
        let collector = collector.map(|collector| collector.with_filter(collected).boxed());
        let layers: Vec<_> =
            std::iter::once(layer.with_filter(shown).boxed()).chain(collector).collect();
        // A second start in one process keeps the first log.
        drop(tracing_subscriber::registry().with(layers).try_init());
        Ok(traces)
    }
}

/// The target of what sqlx says of each statement.
const STATEMENTS: &str = "sqlx::query";

/// A line of JSON, with the trace in which it was written, if there is one.
struct Traced<F>(F);

impl<S, N, F> FormatEvent<S, N> for Traced<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(TraceContext { trace, span, .. }) = TraceContext::current() else {
            return self.0.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        match line.trim_end().strip_suffix('}') {
            Some(object) => {
                writeln!(writer, r#"{object},"trace_id":"{trace:032x}","span_id":"{span:016x}"}}"#)
            }
            None => writer.write_str(&line),
        }
    }
}
