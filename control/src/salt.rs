//! The salts of visitors' numbers: made here, given to every edge, and gone two days later.

pub(crate) mod store;
