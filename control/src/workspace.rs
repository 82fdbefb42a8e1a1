//! Workspaces: who owns links, domains and keys.

pub(crate) mod store;
