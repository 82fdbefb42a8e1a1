//! The whole program over real sockets, and the rules that keep its tree in order.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod api_guide;
mod backup;
mod cli;
#[cfg(feature = "clickhouse-tests")]
mod clickhouse;
mod console;
mod doctor;
mod fleet;
mod import;
mod moving;
mod observe;
mod restart;
mod stats;
mod support;
mod tidy;
mod tour;
#[cfg(feature = "otel")]
mod traces;
mod upgrade;
