//! The whole program over real sockets, and the rules that keep its tree in order.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli;
mod support;
mod tidy;
mod tour;
