//! All integration tests: one binary, one module a subject.

mod apiserver;
mod architecture;
mod cli;
mod controllers;
mod docker;
