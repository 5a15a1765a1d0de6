//! `MachineSet`: a number of equal machines.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::MachineTemplateSpec;
use crate::api::schema;

/// How many machines, and what they are.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[kube(
    group = "machine.crit.sh",
    version = "v1alpha1",
    kind = "MachineSet",
    plural = "machinesets",
    namespaced,
    shortname = "ms",
    category = "machine-api",
    status = "MachineSetStatus",
    derive = "PartialEq",
    validation = Rule::new("!has(self.spec.selector) || !has(self.spec.selector.matchLabels) || self.spec.selector.matchLabels.all(k, has(self.spec.template) && has(self.spec.template.metadata) && has(self.spec.template.metadata.labels) && k in self.spec.template.metadata.labels && self.spec.template.metadata.labels[k] == self.spec.selector.matchLabels[k])").message("spec.template.metadata.labels must have all labels of spec.selector: the machines would not be found"),
    validation = Rule::new("!has(oldSelf.spec.selector) || (has(self.spec.selector) && self.spec.selector == oldSelf.spec.selector)").message("spec.selector is immutable: machines would be lost to the set"),
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    doc = "A MachineSet keeps a number of equal Machines alive.",
    printcolumn(name = "Desired", type_ = "integer", json_path = ".spec.replicas"),
    printcolumn(name = "Current", type_ = "integer", json_path = ".status.replicas"),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(
        name = "Available",
        type_ = "integer",
        json_path = ".status.availableReplicas"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct MachineSetSpec {
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
    /// Which machines go first when the set shrinks. Default Random.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["", "Random", "Newest", "Oldest"]))]
    pub delete_policy: Option<String>,
    /// Seconds for which a Node must be Ready before its machine counts as available. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub min_ready_seconds: Option<i32>,
    /// Whether Failed machines are replaced: one fifth of the set at a time, at least one. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace_failed: Option<bool>,
}

pub(super) const fn one() -> i32 {
    1
}

/// How many machines there are.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MachineSetStatus {
    /// Machines that exist.
    #[serde(default)]
    pub replicas: i32,
    /// Machines that bear all labels of the template.
    #[serde(default)]
    pub fully_labeled_replicas: i32,
    /// Machines whose Node is Ready.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Machines whose Node has been Ready for minReadySeconds.
    #[serde(default)]
    pub available_replicas: i32,
    /// The selector as text, for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// How often in a row Failed machines were replaced without a machine coming up. The pause before the next time grows with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_replacements: Option<i32>,
    /// When Failed machines were last replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failed_replacement: Option<Time>,
    /// The generation that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What is so and what is not, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

impl MachineSet {
    /// The Cluster that the machines join: that of the set, else that of its template.
    pub fn cluster_name(&self) -> Option<&str> {
        let own = self.spec.cluster_name.as_deref();
        own.or(self.spec.template.spec.cluster_name.as_deref())
    }
}
