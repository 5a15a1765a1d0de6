//! `MachineHealthCheck`: which machines count as broken, and how many may be replaced.

use k8s_openapi::{
    api::core::v1::ObjectReference,
    apimachinery::pkg::{
        apis::meta::v1::{Condition, LabelSelector, Time},
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
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("!has(self.spec.unhealthyRange) || int(self.spec.unhealthyRange.substring(1, self.spec.unhealthyRange.indexOf('-'))) <= int(self.spec.unhealthyRange.substring(self.spec.unhealthyRange.indexOf('-') + 1, size(self.spec.unhealthyRange) - 1))").message("spec.unhealthyRange: the first number can't be greater than the second"),
    validation = Rule::new("!has(self.spec.remediationTemplate) || !has(self.spec.remediationTemplate.kind) || self.spec.remediationTemplate.kind.endsWith('Template')").message("spec.remediationTemplate.kind must end with Template"),
    validation = Rule::new("!has(self.spec.unhealthyMachineConditions) || self.spec.unhealthyMachineConditions.all(c, c.type != 'HealthCheckSucceeded')").message("spec.unhealthyMachineConditions can't hold HealthCheckSucceeded: health checks write it themselves")
)]
#[serde(rename_all = "camelCase")]
pub struct MachineHealthCheckSpec {
    /// Cluster whose machines are watched. Default: machines of all clusters in this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_name: Option<String>,
    /// Which machines are watched. Empty: all of this namespace.
    #[serde(default)]
    #[schemars(schema_with = "schema::label_selector")]
    pub selector: LabelSelector,
    /// Node conditions that make a machine broken. One is enough. Default: Ready is False or Unknown for 300s, unless the `ConfigMap`
    /// node-unhealthy-conditions of this namespace says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    pub unhealthy_conditions: Option<Vec<UnhealthyCondition>>,
    /// Conditions of the Machine itself that make it broken. One is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    pub unhealthy_machine_conditions: Option<Vec<UnhealthyCondition>>,
    /// How many machines may be broken, starting or leaving for replacement to go on: a number or a percentage, rounded down.
    /// Default 100%.
    #[serde(default = "all", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::int_or_percent")]
    pub max_unhealthy: Option<IntOrString>,
    /// Range of broken, starting and leaving machines within which replacement goes on, for example [1-3]. It wins over maxUnhealthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^\[[0-9]{1,9}-[0-9]{1,9}\]$"), length(max = 21))]
    pub unhealthy_range: Option<String>,
    /// How many machines may be under replacement at once: a number or a percentage, rounded down but at least 1. A machine is under
    /// replacement from its deletion until it is gone and a healthy one stands in its place. Default: 20%, at least 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::int_or_percent")]
    pub max_in_flight: Option<IntOrString>,
    /// How long a machine may take to become a Node, from its creation or from when its host was ready, whichever is later.
    /// Default 10m; 0: for ever.
    #[serde(default = "ten_minutes", skip_serializing_if = "Option::is_none")]
    pub node_startup_timeout: Option<Duration>,
    /// Template of an object that is made for a broken machine in place of its deletion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional_reference")]
    pub remediation_template: Option<ObjectReference>,
    /// How long to wait before a replacement that is broken, too, is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_off: Option<RemediationBackOff>,
    /// Whether control-plane machines are left alone. Default false: they are replaced like others, but one at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip_control_plane: Option<bool>,
}

/// Waiting before the replacement of a replacement: twice as long each time.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RemediationBackOff {
    /// How long to wait for the first time. Default 30s; 0: never wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_delay: Option<Duration>,
    /// How long to wait at most. Default 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_delay: Option<Duration>,
    /// How long all machines of an owner must be healthy until its failures are forgotten. Default 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset_after: Option<Duration>,
}

#[expect(clippy::unnecessary_wraps, reason = "serde asks for the field's own type")]
fn all() -> Option<IntOrString> {
    Some(IntOrString::String("100%".to_owned()))
}

#[expect(clippy::unnecessary_wraps, reason = "serde asks for the field's own type")]
fn ten_minutes() -> Option<Duration> {
    Some(Duration::from_secs(600))
}

/// A condition that makes a machine broken.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct UnhealthyCondition {
    /// Type of the condition.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 316))]
    pub type_: String,
    /// Status that is bad: True, False or Unknown, in upper or lower case.
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
    /// Machines that are not well, by name; the first 100 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
    /// Owners of machines that were replaced, until all their machines have been healthy for a while.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remediations: Vec<OwnerRemediation>,
    /// The generation that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What is so and what is not, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// What was replaced of one owner, a `MachineSet` for example.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OwnerRemediation {
    /// UID of the owner.
    pub uid: String,
    /// Kind and name of the owner, for people.
    pub owner: String,
    /// How many times in a row replacements had to be replaced themselves.
    #[serde(default)]
    pub failures: i32,
    /// When the first machine was replaced. Machines made since then count as replacements.
    pub since: Time,
    /// When the last replacement began that was not one of several at once.
    pub last: Time,
    /// Since when all machines of the owner have been healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_since: Option<Time>,
}
