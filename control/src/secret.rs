//! What the installation keeps to itself, in its database.

pub(crate) mod seal;
pub(crate) mod store;
pub(crate) mod token;
