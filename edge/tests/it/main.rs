//! The edge as its neighbours see it: visitors over sockets, an origin, a store of clicks, an
//! operator, and the disk that is left when it dies.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod admin;
mod client;
mod connection;
mod crash;
mod enrich;
mod feed;
mod model;
mod origin;
mod pressure;
mod preview;
mod query;
mod redirect;
mod refusal;
mod stop;
mod store;
mod world;
