//! What is particular about single built-in kinds: defaults, first states, validation with the API server's texts.
//! It must not do I/O or look at the clock.

pub(super) mod admission;
pub(super) mod config;
pub(super) mod definition;
pub(super) mod event;
pub(super) mod job;
pub(super) mod lease;
pub(super) mod namespace;
pub(super) mod node;
pub(super) mod plain;
pub(super) mod pod;
pub(super) mod policy;
pub(super) mod rbac;
mod selector;
pub(super) mod service;
pub(super) mod signing;
mod template;
pub(super) mod workload;
