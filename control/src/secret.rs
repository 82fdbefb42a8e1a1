//! What the installation keeps to itself, in its database.

pub(crate) mod store;
