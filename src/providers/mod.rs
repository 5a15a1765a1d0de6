//! How a machine comes to be: one folder a provider, each with an [`Actuator`].
//!
//! An actuator makes, looks at and removes instances. It reads no Kubernetes objects but what it is given and
//! decides nothing: the controllers do.

pub mod docker;
pub mod hollow;

use std::{collections::BTreeMap, fmt, sync::Arc};

use async_trait::async_trait;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Node;
use serde_json::Value;

use crate::{
    api::v1alpha1::{ApiEndpoint, MachineAddress, NodeImage},
    time::Timestamp,
};

/// Field manager of everything that controllers and providers write other than by server-side apply. One name for all of them keeps the
/// record of who owns which field short (kube-controller-manager: one name, too).
pub(crate) const FIELD_MANAGER: &str = "machinectl-controller";

/// Which instance: the infrastructure object that stands for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceKey {
    /// Namespace of the infrastructure object.
    pub namespace: String,
    /// Name of the infrastructure object.
    pub name: String,
    /// UID of the infrastructure object.
    pub uid: String,
}

/// What an instance does in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It runs the API server and its company.
    ControlPlane,
    /// It runs pods.
    Worker,
}

/// Bootstrap data. Its content is secret and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct BootstrapData(String);

impl BootstrapData {
    /// Wraps a cloud-config document.
    pub fn new(cloud_config: impl Into<String>) -> Self {
        Self(cloud_config.into())
    }

    /// Returns the document.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for BootstrapData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BootstrapData({} bytes)", self.0.len())
    }
}

/// What an instance should be.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceSpec {
    /// Which instance.
    pub key: InstanceKey,
    /// `spec` of the infrastructure object.
    pub infrastructure: Value,
    /// Name of the Machine.
    pub machine: String,
    /// Cluster that the instance belongs to, as far as it is known.
    pub cluster: Option<String>,
    /// What it does there.
    pub role: Role,
    /// Kubernetes version that the Machine asks for.
    pub version: Option<String>,
    /// What it runs first. Nothing for providers that do not need it.
    pub bootstrap: Option<BootstrapData>,
    /// Which try this is, from 1. An instance of an earlier try is replaced.
    pub attempt: i64,
    /// What is known of the instance already.
    pub known: Known,
}

/// What is known of an instance without asking its provider. All of it may be missing, and older than what the provider knows.
/// Times are whole seconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Known {
    /// The Node that bears the Machine's name in the cluster that holds the objects, as it was last seen there.
    pub node: Option<Arc<Node>>,
    /// Since when the instance starts, if it does.
    pub booting_since: Option<Timestamp>,
    /// Since when it is ready, if it is.
    pub ready_since: Option<Timestamp>,
    /// Since when it is to be deleted, if it is.
    pub deleting_since: Option<Timestamp>,
}

/// What an instance is.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// Identity, equal to the Node's `spec.providerID`.
    pub provider_id: String,
    /// Name of the Node that it becomes.
    pub node_name: String,
    /// How far it is.
    pub state: InstanceState,
    /// Its addresses.
    pub addresses: Vec<MachineAddress>,
    /// Control plane: where this host reaches the API server.
    pub api_endpoint: Option<ApiEndpoint>,
    /// Which try made it.
    pub attempt: i64,
    /// Things worth an event, each as (reason, message).
    pub notes: Vec<(String, String)>,
    /// How long it stays as it is at least, if that is known: nobody needs to look before.
    pub settled_for: Option<SignedDuration>,
}

/// How far an instance is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstanceState {
    /// It is being made, or its init system comes up.
    Booting,
    /// Its bootstrap script runs.
    Bootstrapping,
    /// Its bootstrap script ended well.
    Running,
    /// It can't come up in this try. The message has the tail of the log, without secrets.
    Failed {
        /// Why, in one CamelCase word.
        reason: String,
        /// Why, for people.
        message: String,
    },
    /// It exists and is switched off.
    Stopped,
}

/// How far a deletion is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// Nothing is left.
    Gone,
    /// It goes on.
    InProgress,
    /// It goes on for at least this long.
    Takes(SignedDuration),
}

/// Why an actuator could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ActuatorError {
    /// It may work the next time.
    #[error("{message}")]
    Transient {
        /// What went wrong, where, and what to do.
        message: String,
    },
    /// The provider asks to wait.
    #[error("the provider asks to wait {retry_after:#}")]
    Throttled {
        /// For how long.
        retry_after: SignedDuration,
    },
    /// It will never work until somebody changes something.
    #[error("{message}")]
    Terminal {
        /// Why, in one CamelCase word of `MachineStatusError`: `InvalidConfiguration`, `CreateError`, …
        reason: String,
        /// What went wrong, where, and what to do.
        message: String,
    },
}

impl ActuatorError {
    /// Returns what kind of error it is, in one CamelCase word.
    pub fn reason(&self) -> &str {
        match self {
            Self::Transient { .. } => "Transient",
            Self::Throttled { .. } => "Throttled",
            Self::Terminal { reason, .. } => reason,
        }
    }

    /// Makes an error that may pass.
    pub fn transient(message: impl Into<String>) -> Self {
        Self::Transient {
            message: message.into(),
        }
    }

    /// Makes an error that stays.
    pub fn terminal(reason: &str, message: impl Into<String>) -> Self {
        Self::Terminal {
            reason: reason.to_owned(),
            message: message.into(),
        }
    }
}

/// Makes, looks at and removes the instances of one infrastructure kind.
#[async_trait]
pub trait Actuator: Send + Sync {
    /// Whether an instance needs bootstrap data to come up.
    fn needs_bootstrap(&self) -> bool;

    /// Whether an instance that was ready and is gone may be made again; else its machine has failed.
    fn may_remake(&self, _spec: &InstanceSpec) -> bool {
        !self.needs_bootstrap()
    }

    /// Says what the node image of an instance is, so that bootstrap data can be made to fit. Pulls it if it is missing.
    /// `None` for providers without images.
    async fn node_image(&self, infrastructure: &Value) -> Result<Option<NodeImage>, ActuatorError>;

    /// Says what the instance is now; `None` if there is none.
    async fn observe(&self, spec: &InstanceSpec) -> Result<Option<Instance>, ActuatorError>;

    /// Makes the instance. Called again with the same key and attempt it goes on where it stood.
    async fn create(&self, spec: &InstanceSpec) -> Result<Instance, ActuatorError>;

    /// Removes the instance and all that belongs to it. Something that is not there is [`Deletion::Gone`].
    async fn delete(&self, spec: &InstanceSpec) -> Result<Deletion, ActuatorError>;
}

/// Actuators by infrastructure kind.
pub type Actuators = BTreeMap<String, Arc<dyn Actuator>>;
