//! What a machine runs first: a Config plus join data becomes one cloud-config document. Pure: it must not read
//! files, the clock or the network, and nothing here prints a secret.
//!
//! [`render`] makes the bootstrap data of a machine, [`config_secret`] the document in a Config's own Secret.
//!
//! On a machine things happen in this order: files, users, time servers (all three by the document itself), then one
//! script: commands of the user, kubeadm or crit, commands of the user. The first command that fails ends the script.

pub mod cinder;
mod cloud_config;
mod config_secret;
pub mod crit;
mod document;
mod error;
mod files;
mod inputs;
pub mod kubeadm;
mod node;
mod retired;
mod templates;
mod translate;

pub use config_secret::config_secret;
pub use document::Document;
pub use error::BootstrapError;
pub use inputs::{InitData, Inputs, JoinData, Rendered, SecretFiles, Step};
pub use node::render;

#[cfg(test)]
mod tests;
