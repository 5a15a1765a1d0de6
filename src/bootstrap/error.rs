//! Why bootstrap data can't be made. Messages name fields and paths, never their secret content.

use crate::{pki::PkiError, yaml::YamlError};

/// Why bootstrap data can't be made. All of these stay until somebody changes the Config.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// There is no configuration, and one is needed.
    #[error("spec.config is empty: give a crit or kubeadm configuration")]
    NoConfig,
    /// The configuration is no YAML.
    #[error("spec.config, line {}: {source}", source.line)]
    Yaml {
        /// What is wrong, and where.
        #[source]
        source: YamlError,
    },
    /// The configuration is of a kind that is not known.
    #[error(
        "spec.config is \"{found}\": want a crit WorkerConfiguration or ControlPlaneConfiguration, or kubeadm documents"
    )]
    UnknownKind {
        /// `apiVersion, Kind` as given.
        found: String,
    },
    /// A field of the configuration has a value that can't be used.
    #[error("spec.config: {field}: {reason}")]
    Field {
        /// Path of the field.
        field: String,
        /// What is wrong.
        reason: String,
    },
    /// The configuration is for another role.
    #[error("spec.config is a {found}, but the machine is a {role}")]
    WrongRole {
        /// Kind that was found.
        found: &'static str,
        /// What the machine is.
        role: &'static str,
    },
    /// A version can't be used.
    #[error("Kubernetes version \"{text}\": {reason}")]
    Version {
        /// As given.
        text: String,
        /// What is wrong.
        reason: String,
    },
    /// A file can't be written on the machine.
    #[error("{field} ({path}): {reason}")]
    File {
        /// `files[3]` or `secrets[0]`.
        field: String,
        /// Path on the machine.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The Secret of a file, or the key in it, is missing.
    #[error("{field} ({path}): there is no key \"{key}\" in Secret \"{secret}\"")]
    MissingSecret {
        /// `secrets[0]`.
        field: String,
        /// Path on the machine.
        path: String,
        /// Name of the Secret.
        secret: String,
        /// Key in it.
        key: String,
    },
    /// The node image can't do what is asked.
    #[error("{0}")]
    Unsupported(String),
    /// The CA can't be read.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The document does not come out as it should: a defect of this program.
    #[error("template {name}: {reason}")]
    Template {
        /// Name of the template.
        name: &'static str,
        /// What went wrong.
        reason: String,
    },
}
