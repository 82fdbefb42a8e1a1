//! The edge as its neighbours see it: visitors over sockets, an origin, a store of clicks, an
//! operator, and the disk that is left when it dies.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod admin;
mod adopt;
#[cfg(feature = "clickhouse-tests")]
mod clickhouse;
mod client;
mod connection;
mod crash;
mod enrich;
mod feed;
mod fill;
mod follow;
mod limits;
mod model;
mod origin;
mod plain;
mod pressure;
mod preview;
mod proxy;
mod query;
mod redirect;
#[cfg(feature = "redis-tests")]
mod redis;
mod refusal;
mod restart;
mod smuggle;
mod snapshot;
mod stop;
mod store;
#[cfg(feature = "tls")]
mod tls;
mod world;
