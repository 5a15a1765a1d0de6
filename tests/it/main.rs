//! All integration tests: one binary, one module a subject.

mod apiserver;
mod architecture;
mod controllers;
mod cli;
mod docker;
