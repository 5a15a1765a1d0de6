//! `DockerMachine` and its company: machines that are containers.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ApiEndpoint, MachineAddress, TemplateMetadata};
use crate::api::{duration::Duration, schema};

/// Which container the machine is.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[kube(
    group = "infrastructure.crit.sh",
    version = "v1alpha1",
    kind = "DockerMachine",
    plural = "dockermachines",
    namespaced,
    category = "machine-api",
    status = "DockerMachineStatus",
    derive = "PartialEq",
    doc = "A DockerMachine is a machine that is a container on a Docker host.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.ready"),
    printcolumn(name = "Container", type_ = "string", json_path = ".spec.containerName"),
    printcolumn(name = "Image", type_ = "string", json_path = ".spec.image", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct DockerMachineSpec {
    /// Cluster that the container belongs to. The container of its first control-plane machine bears the same name.
    pub cluster_name: String,
    /// Name of the container, and so of the Node. In a template it has no meaning: each machine has its own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub container_name: String,
    /// Node image, for example kindest/node:v1.33.1.
    pub image: String,
    /// `docker://<containerName>`. Filled by the controller.
    #[serde(default, rename = "providerID", skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// Directories of the host that the container sees.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra_mounts: Vec<Mount>,
    /// Ports of the container that the host publishes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra_port_mappings: Vec<PortMapping>,
    /// Environment of the container.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Whether the container gets all capabilities. Auto asks for them, and takes what the Docker daemon can give when it can't.
    #[serde(default)]
    pub privileges: Privileges,
    /// How long the container's init system may take to come up. Default 1m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_timeout: Option<Duration>,
    /// How long the bootstrap script may take. Default 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap_timeout: Option<Duration>,
}

/// Whether a container gets all capabilities.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Privileges {
    /// Full if the daemon can, else restricted.
    #[default]
    Auto,
    /// docker run --privileged.
    Full,
    /// Every capability that the daemon has, named one by one.
    Restricted,
}

/// A directory of the host that a container sees.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// Path on the host.
    pub host_path: String,
    /// Path in the container.
    pub container_path: String,
    /// Whether the container may only read it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// Further mount attributes, for example z.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attrs: Vec<String>,
}

/// A port of a container that the host publishes.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    /// Port in the container.
    pub container_port: u16,
    /// Port on the host. 0: any that is free.
    #[serde(default)]
    pub host_port: u16,
    /// Address on the host. Default 127.0.0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen_address: Option<String>,
    /// TCP or UDP. Default TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
}

/// What a `DockerMachine` is.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DockerMachineStatus {
    /// Whether the container runs and its bootstrap script ended well.
    #[serde(default)]
    pub ready: bool,
    /// Addresses of the container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<MachineAddress>,
    /// Why it failed for good, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<String>,
    /// Why it failed for good, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_message: Option<String>,
    /// What the node image is. Bootstrap data is made to fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_image: Option<NodeImage>,
    /// Control plane only: where the host that runs Docker reaches the API server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_endpoint: Option<ApiEndpoint>,
    /// How often the container was made. It is made again when it fails to come up.
    #[serde(default)]
    pub attempts: i64,
    /// What is so and what is not, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// What a node image is.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct NodeImage {
    /// Program that joins the node.
    pub flavour: Flavour,
    /// Kubernetes version of the image, for example v1.33.1.
    pub kubernetes_version: String,
}

/// Program of a node image that makes it a node.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// kubeadm: kindest/node and images like it, with /kind/version.
    #[default]
    Kubeadm,
    /// crit: criticalstack/cinder and images like it, with /`cinder/kubernetes_version`.
    Crit,
}

/// Template of `DockerMachines`.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[kube(
    group = "infrastructure.crit.sh",
    version = "v1alpha1",
    kind = "DockerMachineTemplate",
    plural = "dockermachinetemplates",
    namespaced,
    category = "machine-api",
    derive = "PartialEq",
    doc = "A DockerMachineTemplate is what a MachineSet copies to make a DockerMachine for each of its machines."
)]
#[serde(rename_all = "camelCase")]
pub struct DockerMachineTemplateSpec {
    /// What is copied.
    pub template: DockerMachineTemplateResource,
}

/// Metadata and spec of the copies.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DockerMachineTemplateResource {
    /// Labels and annotations of the copies.
    #[serde(default)]
    #[schemars(schema_with = "schema::template_metadata")]
    pub metadata: TemplateMetadata,
    /// Spec of the copies. An empty containerName becomes the machine's name.
    pub spec: DockerMachineSpec,
}

/// Settings for all `DockerMachines`.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[kube(
    group = "infrastructure.crit.sh",
    version = "v1alpha1",
    kind = "DockerInfrastructureProvider",
    plural = "dockerinfrastructureproviders",
    namespaced,
    category = "machine-api",
    status = "DockerInfrastructureProviderStatus",
    derive = "PartialEq",
    doc = "A DockerInfrastructureProvider says that machines here can be containers. Its Secret config-schema describes the form for one.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.ready"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct DockerInfrastructureProviderSpec {
    /// Node image that forms offer.
    pub default_image: String,
}

/// What became of a `DockerInfrastructureProvider`.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DockerInfrastructureProviderStatus {
    /// Whether the Secret config-schema exists.
    pub ready: bool,
    /// When it was last written.
    pub last_updated: Time,
}
