//! Carom's control plane: links, keys, statistics, the API, every schema.
//!
//! # The path of a command
//!
//! 1. [`serve`] accepts a connection, within its limits, and reads a request with hyper.
//! 2. `http` names it, watches its time, finds its route ([`api_router`], [`operator`], [`admin`]).
//! 3. `http/auth` turns the API key into a caller; `http/extract` reads the body.
//! 4. `<noun>/command` turns what the client wrote into a checked command. Pure.
//! 5. `write` takes it with all others that wait, applies each through `<noun>/store`, the only
//!    place with that noun's SQL, numbers the changes (`feed`), and commits once for all.
//! 6. [`Subscriber`]s apply the changes: the edge in this process knows them now.
//! 7. `<noun>/api` answers. An error goes through `http/problem`, the one mapping to statuses.
//!
//! Reading leaves out 4 to 6 and does not wait for writers. Batches of clicks come in through
//! [`App::store_batch`] and go into a file of their own (`click/sqlite`) or into ClickHouse
//! (`click/clickhouse`).
//!
//! Nothing here serves a redirect, and no redirect waits for anything here but the first look at a
//! code that the edge does not know ([`App::resolve`]).
#![forbid(unsafe_code)]

mod access;
mod account;
pub mod admin;
mod apikey;
mod app;
mod audit;
pub mod backup;
mod blocklist;
mod click;
mod config;
mod db;
mod domain;
mod feed;
pub mod health;
mod http;
mod idempotency;
mod internal;
mod invitation;
mod limit;
mod link;
mod loss;
mod mail;
mod member;
mod metrics;
mod missing;
mod openapi;
pub mod operator;
mod page;
#[cfg(feature = "program")]
pub mod program;
mod publish;
mod qr;
mod redis;
mod report;
mod salt;
mod secret;
mod server;
mod session;
mod share;
#[cfg(test)]
mod testing;
mod workspace;
mod write;

pub use crate::http::api_router;
pub use crate::http::problem::{FieldError, Problem};
pub use crate::redis::{RedisFacts, redis_facts};
pub use app::{App, OpenError, OpenOptions};
pub use click::clickhouse::{ClickHouseContent, ClickHouseFacts};
pub use click::moving as clicks_moving;
pub use click::sole::KeepClicksError;
pub use click::{StoreBatchError, Stored, Totals};
pub use config::{
    AbuseConfig, AccountsConfig, AuditConfig, ClicksConfig, Config, ControlConfig, DatabaseConfig,
    DomainsConfig, InternalConfig, LimitsConfig, MailConfig, OidcConfig, RedisConfig, Registration,
    SECRETS,
};
pub use db::{DbOpenError, StoreError, check, moving};
pub use internal::internal_router;
pub use openapi::openapi_document;
pub use publish::{Change, SubscribedError, Subscriber};
pub use server::{Limits, Listener, serve};
