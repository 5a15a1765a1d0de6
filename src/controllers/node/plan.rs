//! What to do about a Node. Pure.

use k8s_openapi::api::core::v1::{Node, Taint};
use kube::ResourceExt;
use serde_json::{Map, Value, json};

use super::observe::Observed;
use crate::{
    api::{MACHINE_GROUP, VERSION, labels},
    controllers::effect::{Effect, ObjectKey, Plan},
};

/// Says what to do.
pub(super) fn plan(o: &Observed) -> Plan {
    let mut plan = Plan::nothing();
    if o.node.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let mut metadata = Map::new();
    let mut spec = Map::new();
    let annotations = annotations(o);
    if !annotations.is_empty() {
        metadata.insert("annotations".to_owned(), Value::Object(annotations));
    }
    let node_spec = o.node.spec.clone().unwrap_or_default();
    if node_spec.provider_id.as_deref().unwrap_or_default().is_empty()
        && let Some(infrastructure) = &o.infrastructure
    {
        spec.insert("providerID".to_owned(), json!(infrastructure.provider_id));
    }
    if let Some(taints) = taints(o) {
        // The list replaces the other one: only if nobody changed it in between.
        metadata.insert("resourceVersion".to_owned(), json!(o.node.resource_version()));
        spec.insert("taints".to_owned(), json!(taints));
    }
    if metadata.is_empty() && spec.is_empty() {
        return plan;
    }
    plan.effects.push(Effect::Patch {
        target: o.target.clone(),
        key: ObjectKey::to::<Node>(&o.node),
        patch: json!({ "metadata": metadata, "spec": spec }),
        optional: true,
    });
    plan
}

/// The annotations that are missing or wrong.
fn annotations(o: &Observed) -> Map<String, Value> {
    let mut wanted: Vec<(String, Value)> = Vec::new();
    if let Some(machine) = &o.machine {
        let reference = reference(
            "Machine",
            &machine.namespace().unwrap_or_default(),
            &machine.name_any(),
            &format!("{MACHINE_GROUP}/{VERSION}"),
        );
        wanted.push((labels::NODE_MACHINE.to_owned(), reference));
    }
    if let Some(i) = &o.infrastructure
        && i.kind == "DockerMachine"
    {
        let reference = reference(&i.kind, &i.namespace, &i.name, &i.api_version);
        wanted.push((labels::NODE_DOCKER_MACHINE.to_owned(), reference));
    }
    let says = |key: &str| {
        let text = o.node.annotations().get(key)?;
        serde_json::from_str::<Value>(text).ok()
    };
    wanted
        .into_iter()
        .filter(|(key, reference)| says(key).as_ref() != Some(reference))
        .map(|(key, reference)| (key, Value::String(reference.to_string())))
        .collect()
}

fn reference(kind: &str, namespace: &str, name: &str, api_version: &str) -> Value {
    json!({ "kind": kind, "namespace": namespace, "name": name, "apiVersion": api_version })
}

/// All taints of the Node, if some of the Machine's are missing.
fn taints(o: &Observed) -> Option<Vec<Taint>> {
    let have = o
        .node
        .spec
        .as_ref()
        .and_then(|s| s.taints.clone())
        .unwrap_or_default();
    let missing: Vec<Taint> = o
        .machine
        .iter()
        .flat_map(|m| m.spec.taints.iter())
        .filter(|want| !have.iter().any(|t| t.key == want.key && t.effect == want.effect))
        .cloned()
        .collect();
    (!missing.is_empty()).then(|| have.into_iter().chain(missing).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::api::core::v1::NodeSpec;

    use super::*;
    use crate::{
        api::v1alpha1::{Machine, MachineSpec},
        controllers::{effect::Target, node::observe::Infrastructure},
    };

    fn taint(key: &str) -> Taint {
        Taint {
            key: key.into(),
            effect: "NoSchedule".into(),
            ..Taint::default()
        }
    }

    fn observed() -> Observed {
        let mut node = Node {
            spec: Some(NodeSpec {
                taints: Some(vec![taint("own")]),
                ..NodeSpec::default()
            }),
            ..Node::default()
        };
        node.metadata.name = Some("demo-w1".into());
        let mut machine = Machine::new(
            "m-1",
            MachineSpec {
                taints: vec![taint("dedicated")],
                ..MachineSpec::default()
            },
        );
        machine.metadata.namespace = Some("kube-system".into());
        Observed {
            target: Target::Management,
            node: Arc::new(node),
            machine: Some(Arc::new(machine)),
            infrastructure: Some(Infrastructure {
                api_version: "infrastructure.crit.sh/v1alpha1".into(),
                kind: "DockerMachine".into(),
                namespace: "kube-system".into(),
                name: "infra-1".into(),
                provider_id: "docker://demo-w1".into(),
            }),
        }
    }

    fn patch(plan: &Plan) -> Value {
        match plan.effects.as_slice() {
            [Effect::Patch { patch, .. }] => patch.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_node_is_linked_in_one_write() {
        let p = patch(&plan(&observed()));
        assert_eq!(p["spec"]["providerID"], "docker://demo-w1");
        assert_eq!(p["spec"]["taints"].as_array().unwrap().len(), 2);
        let says = |key: &str| -> Value {
            serde_json::from_str(p["metadata"]["annotations"][key].as_str().unwrap()).unwrap()
        };
        assert_eq!(
            says(labels::NODE_MACHINE),
            json!({"kind": "Machine", "namespace": "kube-system", "name": "m-1", "apiVersion": "machine.crit.sh/v1alpha1"})
        );
        assert_eq!(says(labels::NODE_DOCKER_MACHINE)["name"], "infra-1");
    }

    #[test]
    fn a_linked_node_is_left_alone() {
        let mut o = observed();
        let p = patch(&plan(&o));
        let node = Arc::make_mut(&mut o.node);
        node.metadata.annotations = serde_json::from_value(p["metadata"]["annotations"].clone()).unwrap();
        node.spec = serde_json::from_value(p["spec"].clone()).unwrap();
        assert_eq!(plan(&o), Plan::nothing());
    }

    #[test]
    fn a_node_that_is_nobodys_is_left_alone() {
        let mut o = observed();
        o.machine = None;
        o.infrastructure = None;
        assert_eq!(plan(&o), Plan::nothing());
    }
}
