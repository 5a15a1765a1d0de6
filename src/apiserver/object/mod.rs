//! Objects as the server sees them.

pub mod patch;
