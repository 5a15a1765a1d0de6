//! All integration tests: one binary, one module a subject.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on has failed"
)]

mod apiserver;
mod architecture;
mod cli;
mod controllers;
mod docker;
mod install;
mod pivot;
mod proxy;
