//! Why a local cluster could not be made, or not be removed.

use crate::{
    api::names::InvalidName, client::ClientError, controllers::ControllerError, install::InstallError,
    kubeconfig::KubeconfigError, providers::ActuatorError, yaml::YamlError,
};

/// Why a local cluster could not be made, or not be removed.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The name can't be used.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The names of the workers would be too long.
    #[error("\"{name}\" is too long a name: the worker {worker} would have {length} characters, at most 63 are allowed", length = worker.len())]
    WorkerName {
        /// The cluster.
        name: String,
        /// The worker with the longest name.
        worker: String,
    },
    /// There are containers of a cluster of this name, and no objects.
    #[error("containers of a cluster \"{name}\" exist already: {}", containers.join(", "))]
    Containers {
        /// The cluster.
        name: String,
        /// The containers.
        containers: Vec<String>,
    },
    /// The cluster exists and is another one.
    #[error("cluster \"{name}\" exists already and is different: {}", differences.join("; "))]
    Different {
        /// The cluster.
        name: String,
        /// What differs.
        differences: Vec<String>,
    },
    /// An object of this name exists already.
    #[error("{kind} \"{name}\" exists already in namespace {namespace}")]
    Taken {
        /// Kind of the object.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Its namespace.
        namespace: String,
    },
    /// There is no such cluster.
    #[error("there is no cluster \"{name}\": neither objects nor containers{}", note.as_deref().unwrap_or_default())]
    NoCluster {
        /// The cluster.
        name: String,
        /// What could not be looked at.
        note: Option<String>,
    },
    /// A name that a machine refers to does not exist.
    #[error("there is no {kind} \"{name}\" in namespace {namespace}")]
    Missing {
        /// Kind of the object.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Its namespace.
        namespace: String,
    },
    /// A machine has become no Node yet.
    #[error("machine \"{machine}\" has no Node yet")]
    NoNode {
        /// The machine.
        machine: String,
    },
    /// There is no way into a workload cluster.
    #[error("can't get at cluster \"{cluster}\": {why}")]
    NoAccess {
        /// The cluster.
        cluster: String,
        /// Why.
        why: String,
    },
    /// An API server gave no answer.
    #[error("{0}")]
    Silent(String),
    /// The definitions are not installed.
    #[error("context \"{0}\" can't hold machines yet")]
    NotInstalled(String),
    /// Docker can't be used.
    #[error("Docker can't be used")]
    Docker(#[source] ActuatorError),
    /// Docker refused something.
    #[error("{what}")]
    Engine {
        /// What could not be done.
        what: String,
        /// Why.
        source: ActuatorError,
    },
    /// The API server refused something, or could not be reached.
    #[error("{what}")]
    Api {
        /// What could not be done.
        what: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// The controllers can't run.
    #[error("the controllers can't run")]
    Controllers(#[from] ControllerError),
    /// The controllers ended by themselves.
    #[error("the controllers ended before it was done")]
    ControllersEnded,
    /// A machine failed for good.
    #[error("machine \"{machine}\" failed: {message}")]
    MachineFailed {
        /// The machine.
        machine: String,
        /// Why.
        message: String,
    },
    /// It took too long.
    #[error("{what} took longer than {limit}: {state}")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        limit: String,
        /// How far it was.
        state: String,
    },
    /// Something that the cluster wrote can't be read.
    #[error("{what} can't be read")]
    Document {
        /// What.
        what: String,
        /// Why.
        source: YamlError,
    },
    /// A template can't be rendered: a defect of this program.
    #[error("the template {0} can't be rendered")]
    Template(&'static str, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// The kubeconfig can't be used.
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    /// No client.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The definitions can't be installed.
    #[error(transparent)]
    Install(#[from] InstallError),
}

impl ClusterError {
    /// Wraps what the API server said.
    pub(crate) fn api(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        move |source| Self::Api {
            what,
            source: Box::new(source),
        }
    }
}
