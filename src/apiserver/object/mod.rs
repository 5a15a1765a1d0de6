//! Objects as the server sees them: the parts that all kinds share, and patches. Pure: no store, no clock, no HTTP.

pub(crate) mod depth;
pub(crate) mod go_text;
pub(crate) mod meta;
pub mod patch;
mod patch_strategic;
pub(crate) mod selectors;
