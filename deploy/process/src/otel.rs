//! Traces: where they go. Spans become OTLP over HTTP in JSON, sent by a thread of their own.
//!
//! ```text
//! a span closes ──► queue, bounded ──► thread "traces": POST otel.endpoint/v1/traces
//!                   full: dropped, counted
//! ```
//!
//! No request waits for any of it. Why this is not the SDK: docs/decisions/0017-traces.md.

#[cfg(feature = "otel")]
mod collect;
#[cfg(feature = "otel")]
mod export;
#[cfg(feature = "otel")]
mod json;

use serde::{Deserialize, Serialize};

use carom_shared::settings::InvalidSetting;

/// `otel.*`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OtelConfig {
    /// The collector that takes OTLP over HTTP, such as `http://localhost:4318`; empty: no traces.
    pub endpoint: String,
    /// Of an edge's look-ups, so many are traced. All else is, and so is what ends in an error.
    pub sample_ratio: Ratio,
}

/// A part of something: from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Ratio(f64);

/// It is never NaN.
impl Eq for Ratio {}

impl Default for Ratio {
    fn default() -> Self {
        Self(0.01)
    }
}

impl TryFrom<f64> for Ratio {
    type Error = &'static str;

    fn try_from(value: f64) -> Result<Self, Self::Error> {
        if (0.0..=1.0).contains(&value) { Ok(Self(value)) } else { Err("must be from 0 to 1") }
    }
}

impl From<Ratio> for f64 {
    fn from(Ratio(value): Ratio) -> Self {
        value
    }
}

/// Sends spans until [`Self::finish`].
#[must_use = "what is waiting is sent at its end"]
#[derive(Debug, Default)]
pub struct Traces {
    #[cfg(feature = "otel")]
    exporter: Option<export::Exporter>,
}

#[cfg(feature = "otel")]
pub(crate) type TraceLayer = collect::Collector;

/// Nothing is made of it.
#[cfg(not(feature = "otel"))]
pub(crate) type TraceLayer = tracing_subscriber::layer::Identity;

impl Traces {
    /// The end of the program: sends what is waiting, for at most two seconds.
    pub fn finish(self) {
        #[cfg(feature = "otel")]
        drop(self.exporter);
    }
}

impl OtelConfig {
    /// # Errors
    /// [`InvalidSetting`] if this program cannot send traces, or not there.
    #[cfg(feature = "otel")]
    pub fn check(&self) -> Result<(), InvalidSetting> {
        self.to_endpoint().map(drop)
    }

    /// # Errors
    /// [`InvalidSetting`] if this program cannot send traces, or not there.
    #[cfg(not(feature = "otel"))]
    pub fn check(&self) -> Result<(), InvalidSetting> {
        if self.endpoint.is_empty() {
            return Ok(());
        }
        let problem = "needs a program that can send traces, which this one was built without: \
             build it with --features otel, or leave otel.endpoint and \
             OTEL_EXPORTER_OTLP_ENDPOINT empty";
        Err(InvalidSetting::new("otel.endpoint", problem))
    }

    #[cfg(feature = "otel")]
    fn to_endpoint(&self) -> Result<Option<export::Endpoint>, InvalidSetting> {
        if self.endpoint.is_empty() {
            return Ok(None);
        }
        let endpoint = export::Endpoint::parse(&self.endpoint);
        endpoint.map(Some).map_err(|problem| InvalidSetting::new("otel.endpoint", problem))
    }

    /// Starts the thread that sends, if there is somewhere to send to.
    #[cfg(feature = "otel")]
    pub(crate) fn start(
        &self,
        service: &'static str,
    ) -> Result<(Traces, Option<TraceLayer>), InvalidSetting> {
        let Some(endpoint) = self.to_endpoint()? else { return Ok((Traces::default(), None)) };
        let (exporter, queue) = export::Exporter::start(endpoint, service).map_err(|error| {
            InvalidSetting::new("otel.endpoint", format!("the thread cannot be started: {error}"))
        })?;
        carom_shared::trace::SPANS.begin();
        let collector = collect::Collector::new(queue, self.sample_ratio.into());
        Ok((Traces { exporter: Some(exporter) }, Some(collector)))
    }

    #[cfg(not(feature = "otel"))]
    pub(crate) fn start(
        &self,
        _service: &'static str,
    ) -> Result<(Traces, Option<TraceLayer>), InvalidSetting> {
        self.check()?;
        Ok((Traces::default(), None))
    }
}
