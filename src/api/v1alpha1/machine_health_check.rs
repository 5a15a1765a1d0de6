//! `MachineHealthCheck`: which machines count as broken, and how many may be replaced.

use k8s_openapi::{
    api::core::v1::ObjectReference,
    apimachinery::pkg::{
        apis::meta::v1::{Condition, LabelSelector},
        util::intstr::IntOrString,
    },
};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{duration::Duration, schema};

/// Which machines are watched, and when one counts as broken.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[kube(
    group = "machine.crit.sh",
    version = "v1alpha1",
    kind = "MachineHealthCheck",
    plural = "machinehealthchecks",
    namespaced,
    shortname = "mhc",
    category = "machine-api",
    status = "MachineHealthCheckStatus",
    derive = "PartialEq",
    doc = "A MachineHealthCheck replaces Machines that are broken, and stops when too many are.",
    printcolumn(name = "MaxUnhealthy", type_ = "string", json_path = ".spec.maxUnhealthy"),
    printcolumn(
        name = "ExpectedMachines",
        type_ = "integer",
        json_path = ".status.expectedMachines"
    ),
    printcolumn(
        name = "CurrentHealthy",
        type_ = "integer",
        json_path = ".status.currentHealthy"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct MachineHealthCheckSpec {
    /// Cluster whose machines are watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_name: Option<String>,
    /// Which machines are watched. Empty: all.
    #[serde(default)]
    #[schemars(schema_with = "schema::label_selector")]
    pub selector: LabelSelector,
    /// Node conditions that make a machine broken. One is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub unhealthy_conditions: Option<Vec<UnhealthyCondition>>,
    /// How many machines may be broken for replacement to go on: a number or a percentage. Default 100%.
    #[serde(default = "all", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::int_or_percent")]
    pub max_unhealthy: Option<IntOrString>,
    /// Range of broken machines within which replacement goes on, for example [1-3]. It wins over maxUnhealthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^\[[0-9]+-[0-9]+\]$"))]
    pub unhealthy_range: Option<String>,
    /// How many machines may be under replacement at once: a number or a percentage. Default: no limit of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::int_or_percent")]
    pub max_in_flight: Option<IntOrString>,
    /// How long a machine may take to become a Node. Default 10m; 0: for ever.
    #[serde(default = "ten_minutes", skip_serializing_if = "Option::is_none")]
    pub node_startup_timeout: Option<Duration>,
    /// Template of an object that is made for a broken machine in place of its deletion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional_reference")]
    pub remediation_template: Option<ObjectReference>,
}

#[expect(clippy::unnecessary_wraps, reason = "serde asks for the field's own type")]
fn all() -> Option<IntOrString> {
    Some(IntOrString::String("100%".to_owned()))
}

#[expect(clippy::unnecessary_wraps, reason = "serde asks for the field's own type")]
fn ten_minutes() -> Option<Duration> {
    Some(Duration::from_secs(600))
}

/// A Node condition that makes a machine broken.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct UnhealthyCondition {
    /// Type of the condition.
    #[serde(rename = "type")]
    #[schemars(length(min = 1))]
    pub type_: String,
    /// Status that is bad.
    #[schemars(length(min = 1))]
    pub status: String,
    /// For how long it has to be so.
    #[serde(default)]
    pub timeout: Duration,
}

/// How many machines are well.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MachineHealthCheckStatus {
    /// Machines that are watched.
    #[serde(default)]
    pub expected_machines: i32,
    /// Machines that are well.
    #[serde(default)]
    pub current_healthy: i32,
    /// How many more may be replaced.
    #[serde(default)]
    pub remediations_allowed: i32,
    /// Machines that are watched, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
    /// The generation that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What is so and what is not, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}
