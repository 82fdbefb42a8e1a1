//! The suite of `it`, once more, on a real PostgreSQL: the same files, compiled into a target of
//! its own. And what only PostgreSQL can show: several control planes, lost connections.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[cfg(feature = "clickhouse-tests")]
#[path = "it_postgres/clickhouse.rs"]
mod clickhouse;
#[path = "it/main.rs"]
mod it;
#[path = "it_postgres/several.rs"]
mod several;
#[path = "it_postgres/together.rs"]
mod together;
