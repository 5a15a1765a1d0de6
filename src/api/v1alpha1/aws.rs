//! `AWSMachine` and its company. The kinds are accepted and kept; no provider in this program acts on them.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::MachineAddress;
use crate::api::schema;

/// Which EC2 instance the machine is.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[kube(
    group = "infrastructure.crit.sh",
    version = "v1alpha1",
    kind = "AWSMachine",
    plural = "awsmachines",
    namespaced,
    category = "machine-api",
    status = "AWSMachineStatus",
    derive = "PartialEq",
    doc = "An AWSMachine is a machine that is an EC2 instance.",
    printcolumn(name = "State", type_ = "string", json_path = ".status.instanceState"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.ready"),
    printcolumn(name = "InstanceID", type_ = "string", json_path = ".spec.providerID"),
    printcolumn(
        name = "Machine",
        type_ = "string",
        json_path = ".metadata.ownerReferences[?(@.kind==\"Machine\")].name"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct AWSMachineSpec {
    /// `aws:///<zone>/<instance>`.
    #[serde(default, rename = "providerID", skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// Machine image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ami: Option<String>,
    /// Instance type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<String>,
    /// Disks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub block_devices: Vec<AWSBlockDevice>,
    /// Instance profile: a name or an ARN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iam_instance_profile: Option<String>,
    /// SSH key pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_name: Option<String>,
    /// Tags of the instance.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Security groups by id.
    #[serde(default, rename = "securityGroupIDs", skip_serializing_if = "Vec::is_empty")]
    pub security_group_ids: Vec<String>,
    /// Security groups by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_group_names: Vec<String>,
    /// Availability zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability_zone: Option<String>,
    /// Region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Subnets to choose from.
    #[serde(default, rename = "subnetIDs", skip_serializing_if = "Vec::is_empty")]
    pub subnet_ids: Vec<String>,
    /// Whether the subnet must hand out public addresses.
    #[serde(default, rename = "publicIP", skip_serializing_if = "Option::is_none")]
    pub public_ip: Option<bool>,
    /// VPC.
    #[serde(default, rename = "vpcID", skip_serializing_if = "Option::is_none")]
    pub vpc_id: Option<String>,
    /// Secret with `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional_reference")]
    pub secret_ref: Option<ObjectReference>,
    /// Failure domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_domain: Option<String>,
}

/// A disk of an instance.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AWSBlockDevice {
    /// Device name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub device_name: String,
    /// Size in GiB.
    #[serde(default)]
    pub volume_size: i64,
    /// Volume type.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub volume_type: String,
    /// Whether it is encrypted.
    #[serde(default)]
    pub encrypted: bool,
}

/// What an `AWSMachine` is.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AWSMachineStatus {
    /// Whether the instance runs.
    #[serde(default)]
    pub ready: bool,
    /// Addresses of the instance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<MachineAddress>,
    /// State that EC2 reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_state: Option<String>,
    /// Why it failed for good, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<String>,
    /// Why it failed for good, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_message: Option<String>,
}

/// Settings for all `AWSMachines`.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[kube(
    group = "infrastructure.crit.sh",
    version = "v1alpha1",
    kind = "AWSInfrastructureProvider",
    plural = "awsinfrastructureproviders",
    namespaced,
    category = "machine-api",
    status = "AWSInfrastructureProviderStatus",
    derive = "PartialEq",
    doc = "An AWSInfrastructureProvider says that machines here can be EC2 instances.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.ready"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct AWSInfrastructureProviderSpec {
    /// Region.
    pub region: String,
}

/// What became of an `AWSInfrastructureProvider`.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AWSInfrastructureProviderStatus {
    /// Whether the Secret config-schema exists.
    pub ready: bool,
    /// When it was last written.
    pub last_updated: Time,
}
