//! What a machine runs first: a Config plus join data becomes one cloud-config document. Pure: it must not read
//! files, the clock or the network, and nothing here prints a secret.
//!
//! [`render`] makes the bootstrap data of a machine, [`config_secret`] the document in a Config's own Secret.

mod error;
mod inputs;

pub use error::BootstrapError;
pub use inputs::{InitData, Inputs, JoinData, Rendered, SecretFiles, Step};

use crate::api::v1alpha1::ConfigSpec;

/// Makes the bootstrap data of a machine.
///
/// # Errors
/// Says what in the Config can't be used, and why.
pub fn render(inputs: &Inputs) -> Result<Rendered, BootstrapError> {
    Err(BootstrapError::Unsupported(format!("{inputs:?}")))
}

/// Makes the document of a Config's own Secret (key `cloud-config`): cloud-config in a MIME wrapper.
///
/// # Errors
/// Says what in the Config can't be used, and why.
pub fn config_secret(spec: &ConfigSpec, secret_files: &SecretFiles) -> Result<String, BootstrapError> {
    Err(BootstrapError::Unsupported(format!(
        "{} files",
        spec.files.len() + secret_files.len()
    )))
}
