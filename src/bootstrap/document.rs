//! Reads `spec.config`: YAML text or an embedded object, of crit or kubeadm. It must not decide what follows from it.

use serde_json::Value;

use super::{
    BootstrapError,
    crit::{self, Configuration},
    kubeadm::{self, Documents},
};
use crate::{providers::Role, yaml};

/// What `spec.config` holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Document {
    /// Nothing.
    None,
    /// A crit configuration.
    Crit(crit::Parsed),
    /// kubeadm's documents.
    Kubeadm(Box<Documents>),
}

impl Document {
    /// Reads `spec.config`.
    ///
    /// # Errors
    /// Fails for text that is no YAML, for kinds that are not known, and for values of a wrong type.
    pub fn parse(config: &Value) -> Result<Self, BootstrapError> {
        let documents: Vec<Value> = match config {
            Value::Null => Vec::new(),
            Value::String(text) => yaml::documents(text)
                .map_err(|source| BootstrapError::Yaml { source })?
                .into_iter()
                .map(|d| d.value)
                .collect(),
            Value::Array(list) => list.iter().filter(|d| !d.is_null()).cloned().collect(),
            Value::Object(map) if map.is_empty() => Vec::new(),
            other => vec![other.clone()],
        };
        match documents.as_slice() {
            [] => Ok(Self::None),
            [one] if crit::is_crit(one) => Ok(Self::Crit(crit::parse(one)?)),
            [first, ..] if crit::is_crit(first) => Err(BootstrapError::Field {
                field: "document 2".to_owned(),
                reason: "a crit configuration is one document".to_owned(),
            }),
            many => Ok(Self::Kubeadm(Box::new(kubeadm::Documents::parse(many)?))),
        }
    }

    /// Says for which role the configuration is. `None` if it fits both.
    pub fn role(&self) -> Option<Role> {
        match self {
            Self::None => None,
            Self::Crit(parsed) => Some(match parsed.configuration {
                Configuration::Worker(_) => Role::Worker,
                Configuration::ControlPlane(_) => Role::ControlPlane,
            }),
            Self::Kubeadm(documents) => documents.role(),
        }
    }
}
