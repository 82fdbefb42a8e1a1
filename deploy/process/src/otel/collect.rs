//! [`Collector`]: `tracing`'s spans → [`EndedSpan`]s in a queue.

use std::fmt;
use std::time::{Duration, Instant};

use carom_shared::trace::{LOOK_UP, SPANS, TRACEPARENT, TraceContext};
use carom_shared::{Clock, Random, SystemClock, SystemRandom};
use tokio::sync::mpsc::Sender;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// Attributes of a span, at most; the fields of every span are in this program's source.
const ATTRIBUTES_MAX: usize = 16;
/// The field that says which side of a call a span is: `server` or `client`.
const KIND: &str = "otel.kind";
/// The field that says that a span failed.
const ERROR: &str = "error";
/// What the database's client says of a statement.
const STATEMENT_SECONDS: &str = "elapsed_secs";

/// A span that is over.
#[derive(Debug)]
pub(super) struct EndedSpan {
    pub(super) name: &'static str,
    pub(super) context: TraceContext,
    pub(super) parent: Option<u64>,
    pub(super) kind: Kind,
    /// Since the Unix epoch.
    pub(super) begin: Duration,
    pub(super) end: Duration,
    pub(super) is_error: bool,
    pub(super) attributes: Vec<(&'static str, Value)>,
}

/// `SpanKind` of OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Internal = 1,
    Server = 2,
    Client = 3,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
}

/// A span that is not over; kept beside it by `tracing`.
struct OpenSpan {
    context: TraceContext,
    parent: Option<u64>,
    /// One moment in both times, the same for all spans of a trace in this process: the wall clock
    /// may jump, and no span may end before it began.
    anchor: (Duration, Instant),
    begin: Instant,
    fields: Fields,
    /// Statements of the database in this span, and how long they took.
    statements: (i64, Duration),
}

pub(crate) struct Collector {
    queue: Sender<EndedSpan>,
    /// Trace ids whose lower 32 bits are less are kept: so all edges of a fleet decide alike.
    kept_below: u64,
}

impl Collector {
    pub(super) fn new(queue: Sender<EndedSpan>, ratio: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "a ratio is from 0 to 1")]
        let kept_below = (ratio * (1_u64 << 32) as f64) as u64;
        Self { queue, kept_below }
    }

    /// The context of a span that begins a trace.
    fn root(&self, name: &str) -> TraceContext {
        let mut bytes = [0; 16];
        SystemRandom.fill(&mut bytes);
        let trace = u128::from_be_bytes(bytes) | 1 << 127;
        let chance = u64::from(u32::from_be_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]));
        let is_sampled = name != LOOK_UP || chance < self.kept_below;
        TraceContext { trace, span: span_id(), is_sampled }
    }
}

/// Never 0.
fn span_id() -> u64 {
    let mut bytes = [0; 8];
    SystemRandom.fill(&mut bytes);
    u64::from_be_bytes(bytes) | 1 << 63
}

fn wall() -> Duration {
    let now = SystemClock.now().get();
    Duration::from_millis(u64::try_from(now).unwrap_or_default())
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Collector {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let begin = Instant::now();
        // What is in the header comes from elsewhere: it is the parent of a request's first span.
        let parent = span.parent().and_then(|parent| {
            parent.extensions().get::<OpenSpan>().map(|open| (open.context, open.anchor))
        });
        let (parent, anchor) = match (fields.remote.take(), parent) {
            (Some(remote), _) => (Some(remote), (wall(), begin)),
            (None, Some((context, anchor))) => (Some(context), anchor),
            (None, None) => (None, (wall(), begin)),
        };
        let context = match parent {
            Some(parent) => TraceContext { span: span_id(), ..parent },
            None => self.root(attributes.metadata().name()),
        };
        let parent = parent.map(|parent| parent.span);
        let statements = (0, Duration::ZERO);
        let open = OpenSpan { context, parent, anchor, begin, fields, statements };
        span.extensions_mut().insert(open);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(open) = span.extensions_mut().get_mut::<OpenSpan>()
        {
            values.record(&mut open.fields);
        }
    }

    /// The one event that is looked at: a statement of the database.
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if let Some(span) = context.event_span(event)
            && let Some(open) = span.extensions_mut().get_mut::<OpenSpan>()
        {
            let mut took = StatementTime::default();
            event.record(&mut took);
            open.statements.0 += 1;
            open.statements.1 += took.0;
        }
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(open) = span.extensions().get::<OpenSpan>()
        {
            open.context.enter();
        }
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(open) = span.extensions().get::<OpenSpan>()
        {
            open.context.leave();
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let Some(open) = span.extensions_mut().remove::<OpenSpan>() else { return };
        let OpenSpan { context, parent, anchor: (wall, instant), begin, fields, statements } = open;
        if !context.is_sampled && !fields.is_error {
            return;
        }
        let Fields { kind, is_error, mut attributes, .. } = fields;
        if statements.0 > 0 {
            let micros = i64::try_from(statements.1.as_micros()).unwrap_or(i64::MAX);
            attributes.push(("carom.db.statements", Value::Integer(statements.0)));
            attributes.push(("carom.db.time_us", Value::Integer(micros)));
        }
        let ended = EndedSpan {
            name: span.name(),
            context,
            parent,
            kind: kind.unwrap_or(Kind::Internal),
            begin: wall + begin.duration_since(instant),
            end: wall + instant.elapsed(),
            is_error,
            attributes,
        };
        if self.queue.try_send(ended).is_err() {
            SPANS.add_dropped(1);
        }
    }
}

/// What is recorded of a span.
#[derive(Default)]
struct Fields {
    remote: Option<TraceContext>,
    kind: Option<Kind>,
    is_error: bool,
    attributes: Vec<(&'static str, Value)>,
}

impl Fields {
    fn set(&mut self, name: &'static str, value: Value) {
        if let Some((_, old)) = self.attributes.iter_mut().find(|(known, _)| *known == name) {
            *old = value;
        } else if self.attributes.len() < ATTRIBUTES_MAX {
            self.attributes.push((name, value));
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            TRACEPARENT => self.remote = TraceContext::from_header(value),
            KIND if value == "server" => self.kind = Some(Kind::Server),
            KIND if value == "client" => self.kind = Some(Kind::Client),
            KIND => self.kind = Some(Kind::Internal),
            name => self.set(name, Value::Text(value.to_owned())),
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        match field.name() {
            ERROR => self.is_error = value,
            name => self.set(name, Value::Bool(value)),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field.name(), Value::Integer(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field.name(), Value::Integer(i64::try_from(value).unwrap_or(i64::MAX)));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field.name(), Value::Float(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field.name(), Value::Text(format!("{value:?}")));
    }
}

#[derive(Default)]
struct StatementTime(Duration);

impl Visit for StatementTime {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == STATEMENT_SECONDS {
            self.0 = Duration::try_from_secs_f64(value).unwrap_or_default();
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}
