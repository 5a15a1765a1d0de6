//! `InfrastructureProvider`: names what makes machines here.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::schema;

/// Which provider there is.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[kube(
    group = "machine.crit.sh",
    version = "v1alpha1",
    kind = "InfrastructureProvider",
    plural = "infrastructureproviders",
    category = "machine-api",
    status = "InfrastructureProviderStatus",
    derive = "PartialEq",
    doc = "An InfrastructureProvider names what makes machines in this cluster. User interfaces read from it which kinds can be made.",
    printcolumn(
        name = "Provider Type",
        type_ = "string",
        json_path = ".spec.infrastructureRef.kind"
    ),
    printcolumn(
        name = "Provider Namespace",
        type_ = "string",
        json_path = ".spec.infrastructureRef.namespace"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.ready"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct InfrastructureProviderSpec {
    /// Provider object, for example a `DockerInfrastructureProvider`. Its namespace counts.
    #[schemars(schema_with = "schema::reference")]
    pub infrastructure_ref: ObjectReference,
}

/// What became of an `InfrastructureProvider`.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct InfrastructureProviderStatus {
    /// Whether the provider object says that it is ready.
    pub ready: bool,
}
