//! `MachineDeployment`: rolls a new template through a number of machines.

use k8s_openapi::apimachinery::pkg::{
    apis::meta::v1::{Condition, LabelSelector, Time},
    util::intstr::IntOrString,
};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MachineTemplateSpec, machine_set::one};
use crate::api::schema;

/// How many machines, what they are, and how a change reaches them.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[kube(
    group = "machine.crit.sh",
    version = "v1alpha1",
    kind = "MachineDeployment",
    plural = "machinedeployments",
    namespaced,
    shortname = "md",
    category = "machine-api",
    status = "MachineDeploymentStatus",
    derive = "PartialEq",
    validation = Rule::new("!has(self.spec.selector) || !has(self.spec.selector.matchLabels) || self.spec.selector.matchLabels.all(k, has(self.spec.template) && has(self.spec.template.metadata) && has(self.spec.template.metadata.labels) && k in self.spec.template.metadata.labels && self.spec.template.metadata.labels[k] == self.spec.selector.matchLabels[k])").message("spec.template.metadata.labels must have all labels of spec.selector: the machines would not be found"),
    validation = Rule::new("!has(oldSelf.spec.selector) || (has(self.spec.selector) && self.spec.selector == oldSelf.spec.selector)").message("spec.selector is immutable: machines would be lost to the deployment"),
    validation = Rule::new("!has(self.spec.strategy) || !has(self.spec.strategy.rollingUpdate) || !has(self.spec.strategy.rollingUpdate.maxSurge) || !(self.spec.strategy.rollingUpdate.maxSurge == 0 || self.spec.strategy.rollingUpdate.maxSurge == '0' || self.spec.strategy.rollingUpdate.maxSurge == '00' || self.spec.strategy.rollingUpdate.maxSurge == '0%' || self.spec.strategy.rollingUpdate.maxSurge == '00%') || (has(self.spec.strategy.rollingUpdate.maxUnavailable) && !(self.spec.strategy.rollingUpdate.maxUnavailable == 0 || self.spec.strategy.rollingUpdate.maxUnavailable == '0' || self.spec.strategy.rollingUpdate.maxUnavailable == '00' || self.spec.strategy.rollingUpdate.maxUnavailable == '0%' || self.spec.strategy.rollingUpdate.maxUnavailable == '00%'))").message("spec.strategy.rollingUpdate: maxSurge and maxUnavailable can't both be 0, or nothing could be rolled out"),
    validation = Rule::new("(has(self.spec.progressDeadlineSeconds) ? self.spec.progressDeadlineSeconds : 600) == 0 || (has(self.spec.progressDeadlineSeconds) ? self.spec.progressDeadlineSeconds : 600) > (has(self.spec.minReadySeconds) ? self.spec.minReadySeconds : 0)").message("spec.progressDeadlineSeconds (default 600) must be greater than spec.minReadySeconds, or 0"),
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    doc = "A MachineDeployment keeps a number of equal Machines alive and rolls changes of their template through them.",
    printcolumn(name = "Desired", type_ = "integer", json_path = ".spec.replicas"),
    printcolumn(name = "Current", type_ = "integer", json_path = ".status.replicas"),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(
        name = "Available",
        type_ = "integer",
        json_path = ".status.availableReplicas"
    ),
    printcolumn(name = "Up-To-Date", type_ = "integer", json_path = ".status.updatedReplicas"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Cluster",
        type_ = "string",
        json_path = ".spec.clusterName",
        priority = 1
    ),
    printcolumn(
        name = "Version",
        type_ = "string",
        json_path = ".spec.template.spec.version",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct MachineDeploymentSpec {
    /// Cluster of this namespace that the machines join.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_name: Option<String>,
    /// How many machines there should be. Default 1.
    #[serde(default = "one")]
    #[schemars(range(min = 0))]
    pub replicas: i32,
    /// Which machines are counted. It must match the template's labels.
    #[serde(default)]
    #[schemars(schema_with = "schema::label_selector")]
    pub selector: LabelSelector,
    /// What the machines are.
    #[serde(default)]
    pub template: MachineTemplateSpec,
    /// How a change reaches the machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<MachineDeploymentStrategy>,
    /// Seconds for which a Node must be Ready before its machine counts as available. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub min_ready_seconds: Option<i32>,
    /// How many old `MachineSets` without machines are kept, so that `rollout undo` can go back to them. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub revision_history_limit: Option<i32>,
    /// Whether changes of the template wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// Seconds without progress after which the roll-out counts as stuck. Default 600; 0: never. It must be greater than `minReadySeconds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub progress_deadline_seconds: Option<i32>,
}

/// How a change reaches the machines.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MachineDeploymentStrategy {
    /// `RollingUpdate` or `OnDelete`. Default `RollingUpdate`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["RollingUpdate", "OnDelete"]))]
    pub type_: Option<String>,
    /// Limits of a rolling update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolling_update: Option<MachineRollingUpdate>,
}

/// Limits of a rolling update, and which machines it takes first.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MachineRollingUpdate {
    /// How many machines may be unavailable: a number or a percentage. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::int_or_percent")]
    pub max_unavailable: Option<IntOrString>,
    /// How many machines may exist beyond the wanted number: a number or a percentage. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::int_or_percent")]
    pub max_surge: Option<IntOrString>,
    /// Which machines of a set go first. Default Random. Handed on to the sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["", "Random", "Newest", "Oldest"]))]
    pub delete_policy: Option<String>,
}

/// How far a roll-out is.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MachineDeploymentStatus {
    /// Machines that exist.
    #[serde(default)]
    pub replicas: i32,
    /// Machines of the newest template.
    #[serde(default)]
    pub updated_replicas: i32,
    /// Machines whose Node is Ready.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Machines whose Node has been Ready for minReadySeconds.
    #[serde(default)]
    pub available_replicas: i32,
    /// Machines that are missing or not available.
    #[serde(default)]
    pub unavailable_replicas: i32,
    /// Where it stands: `ScalingUp`, `ScalingDown`, `Running` or `Failed` (Cluster API).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// When the roll-out last got further. The deadline of `progressDeadlineSeconds` is counted from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_progress_time: Option<Time>,
    /// The selector as text, for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// The generation that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What is so and what is not, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// The number of the revision that a deployment or a set is of (annotation `machine.crit.sh/revision`), from 1.
pub fn revision<K: kube::Resource>(object: &K) -> Option<i64> {
    let annotations = object.meta().annotations.as_ref()?;
    annotations.get(crate::api::labels::REVISION)?.parse().ok()
}
