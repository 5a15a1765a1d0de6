//! Machine: one host of a cluster.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{ObjectReference, Taint},
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{duration::Duration, schema};

/// What a Machine should be.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[kube(
    group = "machine.crit.sh",
    version = "v1alpha1",
    kind = "Machine",
    plural = "machines",
    namespaced,
    shortname = "ma",
    category = "machine-api",
    status = "MachineStatus",
    derive = "PartialEq",
    doc = "A Machine is one host of a Kubernetes cluster: what it runs first, where it comes from, and which Node it became.",
    printcolumn(name = "Status", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Node", type_ = "string", json_path = ".status.nodeRef.name"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
    printcolumn(name = "ProviderID", type_ = "string", json_path = ".spec.providerID", priority = 1),
    validation = Rule::new("!has(oldSelf.spec.clusterName) || (has(self.spec.clusterName) && self.spec.clusterName == oldSelf.spec.clusterName)").message("spec.clusterName is immutable")
)]
#[serde(rename_all = "camelCase")]
pub struct MachineSpec {
    /// Cluster of this namespace that the machine joins. Without it the machine joins the cluster that holds this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_name: Option<String>,
    /// Config in this namespace from which the bootstrap data is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional_reference")]
    pub config_ref: Option<ObjectReference>,
    /// Bootstrap data that somebody else makes. It takes the place of configRef.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<Bootstrap>,
    /// Object in this namespace that a provider turns into a host, for example a `DockerMachine`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional_reference")]
    pub infrastructure_ref: Option<ObjectReference>,
    /// Kubernetes version, for example v1.33.1. Without it the version of the node image is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Identity of the host at its provider, equal to the Node's spec.providerID. Filled from the infrastructure object.
    #[serde(default, rename = "providerID", skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// Failure domain of the host. Filled from the infrastructure object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_domain: Option<String>,
    /// Points in the machine's deletion at which others hold it up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle_hooks: Option<LifecycleHooks>,
    /// Labels and annotations that the Node gets in addition to its own. What is taken away here stays on the Node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::template_metadata")]
    pub metadata: Option<TemplateMetadata>,
    /// Taints that the Node gets in addition to its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::taints")]
    pub taints: Vec<Taint>,
    /// How long a drain may take before the machine is deleted all the same. 0 or nothing: without limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_drain_timeout: Option<Duration>,
    /// How long to wait until volumes are detached. 0 or nothing: without limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_volume_detach_timeout: Option<Duration>,
    /// How long to try to delete the Node. Default 10s; 0: without limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_deletion_timeout: Option<Duration>,
}

/// Bootstrap data that is not made from a Config.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Bootstrap {
    /// Secret in this namespace with the bootstrap data (key value, cloud-config).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_secret_name: Option<String>,
}

/// Hooks in a machine's deletion.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LifecycleHooks {
    /// Hooks that hold up the drain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub pre_drain: Vec<LifecycleHook>,
    /// Hooks that hold up the end of the host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub pre_terminate: Vec<LifecycleHook>,
}

/// One hook.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LifecycleHook {
    /// Name, unique among the hooks of its kind.
    #[schemars(length(min = 3, max = 256))]
    pub name: String,
    /// Who will take the hook away.
    #[schemars(length(min = 3, max = 512))]
    pub owner: String,
}

/// What a Machine is.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MachineStatus {
    /// Node that the machine became.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional_reference")]
    pub node_ref: Option<ObjectReference>,
    /// When the status last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_updated: Option<Time>,
    /// Kubelet version of the Node, without a leading v.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Why the machine failed, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<String>,
    /// Why the machine failed, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_message: Option<String>,
    /// Where the machine is in its life: Pending, Provisioning, Provisioned, Running, Terminating or Failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Addresses of the host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<MachineAddress>,
    /// Whether the infrastructure object is ready.
    #[serde(default)]
    pub infrastructure_ready: bool,
    /// Whether the bootstrap data exists.
    #[serde(default)]
    pub bootstrap_ready: bool,
    /// The generation that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What is so and what is not, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// One address of a host.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct MachineAddress {
    /// Hostname, `ExternalIP`, `InternalIP`, `ExternalDNS` or `InternalDNS`.
    #[serde(rename = "type")]
    pub type_: String,
    /// The address.
    pub address: String,
}

/// Where a machine is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MachinePhase {
    /// Nothing has been done yet, or bootstrap data is missing.
    Pending,
    /// The host is being made.
    Provisioning,
    /// The host exists, its Node does not yet.
    Provisioned,
    /// The Node exists.
    Running,
    /// The machine is being deleted.
    Terminating,
    /// The machine can't come to be.
    Failed,
}

impl MachinePhase {
    /// Returns the word that stands in `status.phase`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Provisioning => "Provisioning",
            Self::Provisioned => "Provisioned",
            Self::Running => "Running",
            Self::Terminating => "Terminating",
            Self::Failed => "Failed",
        }
    }
}

/// Template of a Machine, in a `MachineSet` or `MachineDeployment`.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MachineTemplateSpec {
    /// Labels and annotations of the machines.
    #[serde(default)]
    #[schemars(schema_with = "schema::template_metadata")]
    pub metadata: TemplateMetadata,
    /// Spec of the machines. An infrastructureRef to a template kind is cloned for each machine.
    #[serde(default)]
    pub spec: MachineSpec,
}

/// Labels and annotations of objects made from a template.
#[derive(Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct TemplateMetadata {
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Machine {
    /// Whether this is a control-plane machine: it bears one of the role labels.
    pub fn is_control_plane(&self) -> bool {
        let labels = self.metadata.labels.as_ref();
        [
            crate::api::labels::MASTER_ROLE,
            crate::api::labels::CONTROL_PLANE_ROLE,
        ]
        .iter()
        .any(|role| labels.is_some_and(|l| l.contains_key(*role)))
    }
}
