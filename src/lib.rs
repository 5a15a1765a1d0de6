//! `machinectl` drives the life of Kubernetes clusters and machines.
//!
//! The rooms of the house, and what each of them is for:
//!
//! | room | question it answers |
//! |---|---|
//! | [`api`] | what an object is: types, conditions, names. No I/O, no async |
//! | [`controllers`] | why something changes: observe -> plan -> apply -> status |
//! | [`providers`] | how a machine comes to be: Docker containers, hollow machines |
//! | [`bootstrap`] | what a machine runs first: a Config plus join data becomes bootstrap data |
//! | [`apiserver`] | the embedded Kubernetes API server; it knows nothing of machines |
//! | [`install`] | custom resource definitions and what a management cluster needs |
//! | [`pivot`] | how clusters move from one management cluster to another, or into a directory |
//! | [`cluster`] | local clusters: create, delete, kubeconfig |
//! | [`ui`] | tables, trees, progress, prompts; it knows nothing of Kubernetes |
//! | [`cli`] | one file a command |
//!
//! Data flows one way: `cli` -> `client` -> API server (embedded or real) -> watch -> observe -> plan -> apply -> provider.

pub mod api;
pub mod apiserver;
pub mod bootstrap;
pub mod cli;
pub mod client;
pub mod cluster;
pub mod config;
pub mod controllers;
mod digest;
pub mod error;
pub mod install;
mod json;
pub mod kubeconfig;
mod pack;
pub mod pivot;
pub mod pki;
mod prometheus;
pub mod providers;
pub mod secret;
pub mod story;
pub mod time;
pub mod ui;
pub mod yaml;
