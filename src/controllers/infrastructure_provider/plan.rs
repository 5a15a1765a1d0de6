//! What to do about an `InfrastructureProvider`. Pure.

use std::sync::Arc;

use kube::{
    ResourceExt,
    api::{ApiResource, DynamicObject},
};
use serde_json::{Value, json};

use crate::{
    api::v1alpha1::InfrastructureProvider,
    controllers::effect::{Effect, ObjectKey, Plan, Requeue, Target, controller_reference},
    time::SignedDuration,
};

/// How often a provider object that is missing, or of a kind that is not watched, is looked for.
const LOOK: SignedDuration = SignedDuration::from_secs(30);

/// All that a decision is made from.
#[derive(Debug, Clone)]
pub(super) struct Observed {
    pub(super) provider: Arc<InfrastructureProvider>,
    pub(super) resource: ApiResource,
    pub(super) object: Option<DynamicObject>,
}

/// Says what to do.
pub(super) fn plan(o: &Observed) -> Plan {
    let mut plan = Plan::nothing();
    let Some(object) = &o.object else {
        plan.status = Some(json!({ "ready": false }));
        plan.requeue = Requeue::After(LOOK);
        return plan;
    };
    let uid = o.provider.uid().unwrap_or_default();
    let owners = object.owner_references();
    let claimed = owners.iter().any(|r| r.uid == uid);
    let foreign = owners.iter().any(|r| r.controller == Some(true) && r.uid != uid);
    if !claimed && !foreign && object.metadata.deletion_timestamp.is_none() {
        let mut owners = json!(owners);
        if let Some(list) = owners.as_array_mut() {
            list.push(json!(controller_reference(&*o.provider)));
        }
        plan.effects.push(Effect::Patch {
            target: Target::Management,
            key: ObjectKey {
                resource: o.resource.clone(),
                namespace: object.namespace(),
                name: object.name_any(),
            },
            patch: json!({ "metadata": { "ownerReferences": owners, "resourceVersion": object.resource_version() } }),
            optional: true,
        });
    }
    let ready = object
        .data
        .pointer("/status/ready")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    plan.status = Some(json!({ "ready": ready && !foreign }));
    if !ready {
        plan.requeue = Requeue::After(LOOK);
    }
    plan
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ObjectReference;

    use super::*;
    use crate::api::v1alpha1::{DockerInfrastructureProvider, InfrastructureProviderSpec};

    fn observed(object: Option<Value>) -> Observed {
        let mut provider = InfrastructureProvider::new(
            "local",
            InfrastructureProviderSpec {
                infrastructure_ref: ObjectReference::default(),
            },
        );
        provider.metadata.uid = Some("provider-uid".into());
        Observed {
            provider: Arc::new(provider),
            resource: ApiResource::erase::<DockerInfrastructureProvider>(&()),
            object: object.map(|o| serde_json::from_value(o).unwrap()),
        }
    }

    #[test]
    fn a_missing_object_is_looked_for() {
        let p = plan(&observed(None));
        assert_eq!(
            (p.requeue, p.status),
            (Requeue::After(LOOK), Some(json!({"ready": false})))
        );
    }

    #[test]
    fn the_object_is_claimed_once_and_its_readiness_told() {
        let free =
            json!({"metadata": {"name": "local", "namespace": "mapd-system"}, "status": {"ready": true}});
        let p = plan(&observed(Some(free.clone())));
        assert_eq!(p.effects.len(), 1);
        assert_eq!(p.status, Some(json!({"ready": true})));
        let mut mine = free;
        mine["metadata"]["ownerReferences"] = json!([{"apiVersion": "a/v1", "kind": "K", "name": "local", "uid": "provider-uid", "controller": true}]);
        assert!(plan(&observed(Some(mine.clone()))).effects.is_empty());
        mine["metadata"]["ownerReferences"][0]["uid"] = json!("somebody else");
        let p = plan(&observed(Some(mine)));
        assert_eq!((p.effects.len(), p.status), (0, Some(json!({"ready": false}))));
    }
}
