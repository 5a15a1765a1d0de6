//! Objects as the server sees them.

pub mod patch;
mod patch_strategic;
