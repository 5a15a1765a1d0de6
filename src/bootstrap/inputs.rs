//! What goes into bootstrap data and what comes out. Types only.

use std::{collections::BTreeMap, fmt};

use crate::{
    api::v1alpha1::{ApiEndpoint, ClusterNetwork, ConfigSpec, Flavour},
    pki::ClusterPki,
    providers::{BootstrapData, Role},
    secret::SecretString,
};

/// Content of the Secrets that `spec.secrets` names, by (Secret, key).
pub type SecretFiles = BTreeMap<(String, String), Vec<u8>>;

/// All that the bootstrap data of one machine is made from.
#[derive(Clone)]
pub struct Inputs {
    /// Which program makes the machine a node.
    pub flavour: Flavour,
    /// Kubernetes version of the node image, for example `v1.33.1`.
    pub kubernetes_version: String,
    /// Name of the cluster.
    pub cluster_name: String,
    /// Name that the Node will have.
    pub node_name: String,
    /// Provider id that the Node must bear, for example `docker://demo-worker-1`.
    pub provider_id: Option<String>,
    /// Spec of the machine's Config; the default if it has none.
    pub config: ConfigSpec,
    /// Content for `config.secrets`.
    pub secret_files: SecretFiles,
    /// Networks that the Cluster asks for. What the Config itself says wins.
    pub network: Option<ClusterNetwork>,
    /// Whether pods may run on the control plane: its taint is taken away, as cinder does.
    pub remove_taints: bool,
    /// Crit flavour, control plane: whether cgroup mounts are mended first (feature gate `FixCgroupMounts`).
    /// Workers always do that.
    pub fix_cgroup_mounts: bool,
    /// Whether the machine founds a cluster or joins one.
    pub step: Step,
}

impl Inputs {
    /// Says what the machine will be.
    pub fn role(&self) -> Role {
        match &self.step {
            Step::Init(_)
            | Step::Join(JoinData {
                control_plane: Some(_),
                ..
            }) => Role::ControlPlane,
            Step::Join(_) => Role::Worker,
        }
    }

    /// Returns the address at which machines reach the API server.
    pub fn endpoint(&self) -> &ApiEndpoint {
        match &self.step {
            Step::Init(init) => &init.endpoint,
            Step::Join(join) => &join.endpoint,
        }
    }
}

impl fmt::Debug for Inputs {
    // The Config and its files may hold tokens and password hashes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inputs")
            .field("flavour", &self.flavour)
            .field("kubernetes_version", &self.kubernetes_version)
            .field("cluster_name", &self.cluster_name)
            .field("node_name", &self.node_name)
            .field("provider_id", &self.provider_id)
            .field("role", &self.role())
            .field("endpoint", self.endpoint())
            .finish_non_exhaustive()
    }
}

/// Whether a machine founds a cluster or joins one.
#[derive(Debug, Clone)]
pub enum Step {
    /// It is the first control plane.
    Init(InitData),
    /// The cluster is there.
    Join(JoinData),
}

/// What the first control plane needs.
#[derive(Debug, Clone)]
pub struct InitData {
    /// Address at which machines will reach the API server.
    pub endpoint: ApiEndpoint,
    /// Keys of the cluster.
    pub pki: ClusterPki,
    /// Further names and addresses in the API server's certificate. The node's name, the endpoint, `localhost` and
    /// `127.0.0.1` are always there.
    pub extra_sans: Vec<String>,
}

/// What a machine needs that joins.
#[derive(Debug, Clone)]
pub struct JoinData {
    /// Address at which the machine reaches the API server.
    pub endpoint: ApiEndpoint,
    /// Certificate of the cluster's CA, in PEM form. The join is refused if the API server shows another one.
    pub ca_pem: String,
    /// Bootstrap token, `id.secret`.
    pub token: SecretString,
    /// Keys of the cluster, for a machine that joins as a further control plane.
    pub control_plane: Option<ClusterPki>,
}

/// Bootstrap data of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The cloud-config document.
    pub cloud_config: BootstrapData,
    /// Fields that the machine will not honour: unknown ones, those without a counterpart, and those that the cluster
    /// decides otherwise. Paths, sorted.
    pub untranslated: Vec<String>,
    /// Digest of everything but join data: it changes when the Config, its Secrets, the version or the node's name do,
    /// and not with a new token.
    pub digest: String,
}
