//! Traces: what a span is called, who may see it, and how a trace goes on in another process.
//!
//! Spans are those of `tracing`, under one target that no log shows; without somebody who collects
//! them (`otel.endpoint`) each costs the reading of one atomic. The path of a redirect that memory
//! answers has none at all.
//!
//! A trace travels in the header `traceparent` of W3C Trace Context, version 00:
//! `00-<trace, 32 hex>-<span, 16 hex>-<flags, 2 hex>`.

use std::cell::RefCell;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::exposition::Exposition;

/// The target of every span that may be collected.
pub const TARGET: &str = "carom::trace";
/// The header in which a trace goes on elsewhere.
pub const TRACEPARENT: &str = "traceparent";
/// An edge's question for a route that it does not know: the one span that strangers can cause, so
/// the one of which `otel.sample_ratio` are kept.
pub const LOOK_UP: &str = "look_up";

/// A span, and the trace that it is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// Not 0.
    pub trace: u128,
    /// Not 0.
    pub span: u64,
    /// Whether whoever began the trace keeps it.
    pub is_sampled: bool,
}

impl TraceContext {
    /// Reads a `traceparent`; `None` if it is none. Later versions may say more behind the flags.
    #[must_use]
    pub fn from_header(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let mut part = |len: usize| {
            let is_hex = |part: &&str| {
                part.len() == len
                    && part.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
            };
            parts.next().filter(is_hex)
        };
        let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        if version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let trace = u128::from_str_radix(trace, 16).ok().filter(|&trace| trace != 0)?;
        let span = u64::from_str_radix(span, 16).ok().filter(|&span| span != 0)?;
        let is_sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        Some(Self { trace, span, is_sampled })
    }

    /// The span that this thread is in, if somebody collects spans.
    #[must_use]
    pub fn current() -> Option<Self> {
        // A thread that ends has none any more.
        ENTERED.try_with(|entered| entered.borrow().last().copied()).ok().flatten()
    }

    /// This thread is in the span until [`Self::leave`]. For whoever collects spans.
    pub fn enter(self) {
        with_entered(|entered| entered.push(self));
    }

    /// The opposite of [`Self::enter`]; spans may be left in another order than they were entered.
    pub fn leave(self) {
        with_entered(|entered| {
            if let Some(at) = entered.iter().rposition(|it| *it == self) {
                entered.remove(at);
            }
        });
    }
}

/// Where a thread is about to end, there is nothing to do any more.
fn with_entered(change: impl FnOnce(&mut Vec<TraceContext>)) {
    ENTERED.try_with(|entered| change(&mut entered.borrow_mut())).unwrap_or_default();
}

/// As a `traceparent`.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.is_sampled))
    }
}

thread_local! {
    static ENTERED: RefCell<Vec<TraceContext>> = const { RefCell::new(Vec::new()) };
}

/// What became of the process's spans. One for the process, as the collecting is: `tracing` has one
/// subscriber.
#[derive(Debug)]
pub struct SpanCounts {
    is_collecting: AtomicBool,
    sent: AtomicU64,
    dropped: AtomicU64,
}

pub static SPANS: SpanCounts = SpanCounts {
    is_collecting: AtomicBool::new(false),
    sent: AtomicU64::new(0),
    dropped: AtomicU64::new(0),
};

impl SpanCounts {
    /// From now on the counts are shown.
    pub fn begin(&self) {
        self.is_collecting.store(true, Ordering::Relaxed);
    }

    pub fn add_sent(&self, n: u64) {
        self.sent.fetch_add(n, Ordering::Relaxed);
    }

    pub fn add_dropped(&self, n: u64) {
        self.dropped.fetch_add(n, Ordering::Relaxed);
    }

    /// Adds the process's counts to a page, if it collects spans.
    pub fn render(&self, page: &mut Exposition) {
        if !self.is_collecting.load(Ordering::Relaxed) {
            return;
        }
        page.counter("carom_trace_spans_total", "Spans of traces that ended in this process.")
            .sample(&[("outcome", "sent")], self.sent.load(Ordering::Relaxed))
            .sample(&[("outcome", "dropped")], self.dropped.load(Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_as_it_is_written() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context = TraceContext::from_header(text).unwrap();
        assert_eq!(context.span, 0xb7ad_6b71_6920_3331);
        assert!(context.is_sampled);
        assert_eq!(context.to_string(), text);
        let unsampled = text.replace("-01", "-00");
        assert!(!TraceContext::from_header(&unsampled).unwrap().is_sampled);
        let later = text.replacen("00", "01", 1) + "-more";
        assert_eq!(TraceContext::from_header(&later), Some(context));
    }

    #[test]
    fn what_is_no_traceparent_begins_a_trace_of_its_own() {
        for text in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceContext::from_header(text), None, "{text}");
        }
    }

    #[test]
    fn spans_are_left_in_any_order() {
        let context = |span| TraceContext { trace: 1, span, is_sampled: true };
        context(1).enter();
        context(2).enter();
        context(1).leave();
        assert_eq!(TraceContext::current(), Some(context(2)));
        context(2).leave();
        assert_eq!(TraceContext::current(), None);
    }
}
