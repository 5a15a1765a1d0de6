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
    /// How much longer it may take, at most. Each machine has its own part of it, which follows from the UID of this object
    /// and stays the same. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup_jitter: Option<Duration>,
    /// Kubelet version that the Node reports. Default: the Machine's version, else that of the API server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes_version: Option<String>,
    /// Capacity that the Node reports. Default: cpu 4, memory 16Gi, pods 110.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::quantities")]
    pub capacity: BTreeMap<String, Quantity>,
    /// What goes wrong with the machine, and when. Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub faults: Option<HollowFaults>,
}

/// What goes wrong with a hollow machine, and when. All of it follows from the UID of the object and the time: a controller that starts
/// anew decides the same. Times are counted from the creation of the Node.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.notReadyAfter) || !has(self.notReadyPeriodically)")
        .message("notReadyAfter and notReadyPeriodically exclude each other"),
    validation = Rule::new("!(has(self.stuckDeleting) && self.stuckDeleting) || !has(self.deletionDelay)")
        .message("stuckDeleting and deletionDelay exclude each other"),
    validation = Rule::new("!has(self.terminalError) || (!has(self.createFailureRate) && !has(self.vanishAfter) && !has(self.notReadyAfter) && !has(self.notReadyPeriodically))")
        .message("a machine with a terminalError never exists: createFailureRate, vanishAfter, notReadyAfter and notReadyPeriodically can't go with it"),
    validation = Rule::new("!has(self.notReadyStatus) || has(self.notReadyAfter) || has(self.notReadyPeriodically)")
        .message("notReadyStatus needs notReadyAfter or notReadyPeriodically")
)]
pub struct HollowFaults {
    /// How many of a hundred machines have these faults; the others have none. Which ones follows from the UID of each. Default: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub percentage: Option<i32>,
    /// How many of a hundred tries to create the instance fail for the moment and are repeated, with more and more time in between.
    /// Each second is drawn anew: 100 never succeeds. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub create_failure_rate: Option<i32>,
    /// Creation fails for good with this error: the machine becomes Failed. A change of the spec lets it be tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal_error: Option<HollowError>,
    /// The instance and its Node disappear after this time, as if somebody had deleted them at the provider: the machine becomes Failed.
    /// Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vanish_after: Option<Duration>,
    /// The Node stops being ready after this time, for ever (Kubemark: turnUnhealthyAfter). Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_ready_after: Option<Duration>,
    /// The Node is ready and not ready by turns (Kubemark: turnUnhealthyPeriodically). Default: always ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_ready_periodically: Option<HollowPeriods>,
    /// Status of the Node's condition Ready while it is not ready: False as a kubelet says that has a problem, or Unknown as the cluster says
    /// of a kubelet that is silent; then the Node's Lease is not renewed either. Default: Unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_ready_status: Option<NotReadyStatus>,
    /// The instance can't be deleted until this is taken away. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stuck_deleting: Option<bool>,
    /// How long the deletion of the instance takes, from the deletion of this object (Kubemark: deletionTimeout). Default: no time at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_delay: Option<Duration>,
}

/// An error for good.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HollowError {
    /// Why, in one CamelCase word: becomes `status.failureReason`. Default: `CreateError`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), regex(pattern = r"^[A-Z][A-Za-z0-9]*$"))]
    pub reason: Option<String>,
    /// Why, for people: becomes `status.failureMessage`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}

/// Times that follow each other for ever, the healthy one first.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HollowPeriods {
    /// How long the Node is ready each time. Less than 100ms counts as that.
    pub healthy_for: Duration,
    /// How long it is not ready each time. Less than 100ms counts as that.
    pub unhealthy_for: Duration,
}

/// What a Node's condition Ready says when the Node is not ready.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NotReadyStatus {
    /// The kubelet says that it is not ready.
    False,
    /// The kubelet says nothing.
    #[default]
    Unknown,
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
