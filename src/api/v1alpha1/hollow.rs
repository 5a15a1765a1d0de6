//! `HollowMachine`: a machine without hardware.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::ObjectReference,
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::Condition},
};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MachineAddress, TemplateMetadata};
use crate::api::{duration::Duration, schema};

/// How the machine behaves.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[kube(
    group = "infrastructure.crit.sh",
    version = "v1alpha1",
    kind = "HollowMachine",
    plural = "hollowmachines",
    namespaced,
    category = "machine-api",
    status = "HollowMachineStatus",
    derive = "PartialEq",
    doc = "A HollowMachine is a machine without hardware: only its Node object exists, kept alive by the controllers. It serves to try fleets.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.ready"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct HollowMachineSpec {
    /// `hollow://<namespace>/<name>`. Filled by the controller.
    #[serde(default, rename = "providerID", skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// How long it takes until the Node appears. Default: no time at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup_delay: Option<Duration>,
    /// Kubelet version that the Node reports. Default: the Machine's version, else that of the API server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes_version: Option<String>,
    /// Capacity that the Node reports. Default: cpu 4, memory 16Gi, pods 110.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::quantities")]
    pub capacity: BTreeMap<String, Quantity>,
}

/// What a `HollowMachine` is.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HollowMachineStatus {
    /// Whether the Node exists.
    #[serde(default)]
    pub ready: bool,
    /// Addresses that the Node reports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<MachineAddress>,
    /// The Node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional_reference")]
    pub node_ref: Option<ObjectReference>,
    /// Why it failed for good, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<String>,
    /// Why it failed for good, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_message: Option<String>,
    /// What is so and what is not, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// Template of `HollowMachines`.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[kube(
    group = "infrastructure.crit.sh",
    version = "v1alpha1",
    kind = "HollowMachineTemplate",
    plural = "hollowmachinetemplates",
    namespaced,
    category = "machine-api",
    derive = "PartialEq",
    doc = "A HollowMachineTemplate is what a MachineSet copies to make a HollowMachine for each of its machines."
)]
#[serde(rename_all = "camelCase")]
pub struct HollowMachineTemplateSpec {
    /// What is copied.
    pub template: HollowMachineTemplateResource,
}

/// Metadata and spec of the copies.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HollowMachineTemplateResource {
    /// Labels and annotations of the copies.
    #[serde(default)]
    #[schemars(schema_with = "schema::template_metadata")]
    pub metadata: TemplateMetadata,
    /// Spec of the copies.
    #[serde(default)]
    pub spec: HollowMachineSpec,
}
