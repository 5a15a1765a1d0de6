//! What to do about a `DockerInfrastructureProvider`. Pure.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::{
    api::{INFRASTRUCTURE_GROUP, VERSION, v1alpha1::DockerInfrastructureProvider},
    controllers::effect::{Effect, Plan, Target, controller_reference, object},
    time::{Timestamp, rfc3339},
};

/// Name of the Secret.
pub(super) const SECRET: &str = "config-schema";
/// Its key.
pub(super) const KEY: &str = "schema";
/// Image that the form offers when the provider names none.
const IMAGE: &str = "criticalstack/cinder:latest";

/// All that a decision is made from.
#[derive(Debug, Clone)]
pub(super) struct Observed {
    pub(super) provider: Arc<DockerInfrastructureProvider>,
    /// The schema in the Secret, if it can be read.
    pub(super) schema: Option<Value>,
    /// First control-plane Node of this cluster: its container bears the cluster's name.
    pub(super) control_plane: Option<String>,
}

/// Says what to do.
pub(super) fn plan(o: &Observed, now: Timestamp) -> Plan {
    let mut plan = Plan::nothing();
    // It is for somebody only when an InfrastructureProvider names it.
    let owned = o
        .provider
        .owner_references()
        .iter()
        .any(|r| r.kind == "InfrastructureProvider");
    if !owned || o.provider.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let wanted = schema(&o.provider.spec.default_image, o.control_plane.as_deref());
    if o.schema.as_ref() != Some(&wanted) {
        plan.effects.push(secret(o, &wanted));
    }
    plan.status = Some(json!({ "ready": true, "lastUpdated": rfc3339(now) }));
    plan
}

fn secret(o: &Observed, schema: &Value) -> Effect {
    Effect::Apply {
        target: Target::Management,
        object: object(json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": SECRET,
                "namespace": o.provider.namespace(),
                "ownerReferences": [controller_reference(&*o.provider)],
            },
            "type": "Opaque",
            "data": { KEY: STANDARD.encode(schema.to_string()) },
        })),
    }
}

/// The form for a `DockerMachine`, as an `OpenAPI` schema.
fn schema(image: &str, cluster: Option<&str>) -> Value {
    let image = if image.is_empty() { IMAGE } else { image };
    json!({
        "title": "Docker Worker Config",
        "type": "object",
        "required": ["apiVersion", "kind"],
        "properties": {
            "apiVersion": { "type": "string", "default": format!("{INFRASTRUCTURE_GROUP}/{VERSION}") },
            "kind": { "type": "string", "default": "DockerMachine" },
            "metadata": {
                "type": "object",
                "required": ["name"],
                "properties": { "name": { "type": "string" } },
            },
            "spec": {
                "type": "object",
                "required": ["image", "clusterName"],
                "properties": {
                    "image": { "type": "string", "default": image },
                    "containerName": { "type": "string", "default": "cinder-worker" },
                    "clusterName": { "type": "string", "default": cluster.unwrap_or("cinder") },
                },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    use super::*;
    use crate::{api::v1alpha1::DockerInfrastructureProviderSpec, controllers::effect::same_status};

    fn observed() -> Observed {
        let mut provider = DockerInfrastructureProvider::new(
            "local",
            DockerInfrastructureProviderSpec {
                default_image: String::new(),
            },
        );
        provider.metadata.namespace = Some("mapd-system".into());
        provider.metadata.uid = Some("u".into());
        provider.metadata.owner_references = Some(vec![OwnerReference {
            kind: "InfrastructureProvider".into(),
            ..OwnerReference::default()
        }]);
        Observed {
            provider: Arc::new(provider),
            schema: None,
            control_plane: Some("dev".into()),
        }
    }

    #[test]
    fn the_schema_is_what_the_form_expects() {
        let s = schema("", None);
        assert_eq!(s["title"], "Docker Worker Config");
        assert_eq!(s["required"], json!(["apiVersion", "kind"]));
        assert_eq!(s["properties"]["kind"]["default"], "DockerMachine");
        assert_eq!(s["properties"]["metadata"]["required"], json!(["name"]));
        let spec = &s["properties"]["spec"];
        assert_eq!(spec["required"], json!(["image", "clusterName"]));
        assert_eq!(
            spec["properties"]["image"]["default"],
            "criticalstack/cinder:latest"
        );
        assert_eq!(spec["properties"]["containerName"]["default"], "cinder-worker");
        assert_eq!(spec["properties"]["clusterName"]["default"], "cinder");
    }

    #[test]
    fn the_secret_is_written_once() {
        let mut o = observed();
        let first = plan(&o, Timestamp::UNIX_EPOCH);
        assert_eq!(first.effects.len(), 1);
        o.schema = Some(schema("", Some("dev")));
        let second = plan(&o, Timestamp::from_second(9).unwrap());
        assert!(second.effects.is_empty());
        assert!(same_status(&first.status.unwrap(), &second.status.unwrap()));
    }

    #[test]
    fn nobody_asked_for_it() {
        let mut o = observed();
        Arc::make_mut(&mut o.provider).metadata.owner_references = None;
        assert_eq!(plan(&o, Timestamp::UNIX_EPOCH), Plan::nothing());
    }
}
