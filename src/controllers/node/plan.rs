//! What to do about a Node. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Taint};
use kube::ResourceExt;
use serde_json::{Map, Value, json};

use super::observe::Observed;
use crate::{
    api::{MACHINE_GROUP, VERSION, labels, v1alpha1::TemplateMetadata},
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
    let labels = labels_of(o);
    if !labels.is_empty() {
        metadata.insert("labels".to_owned(), Value::Object(labels));
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
    let own = wanted
        .into_iter()
        .filter(|(key, reference)| says(key).as_ref() != Some(reference))
        .map(|(key, reference)| (key, Value::String(reference.to_string())));
    let given = metadata_of(o)
        .flat_map(|m| &m.annotations)
        .filter(|(key, _)| ![labels::NODE_MACHINE, labels::NODE_DOCKER_MACHINE].contains(&key.as_str()))
        .filter(|(key, value)| o.node.annotations().get(*key) != Some(*value))
        .map(|(key, value)| (key.clone(), json!(value)));
    given.chain(own).collect()
}

/// The labels that are missing or different: those of the Machine in the domains of Nodes (Cluster API), and all of its
/// `spec.metadata` (`OpenShift`), which win. What the Machine does not name stays as it is.
fn labels_of(o: &Observed) -> Map<String, Value> {
    let of_machine = o.machine.iter().flat_map(|m| m.labels());
    let for_nodes = of_machine.filter(|(key, _)| is_for_nodes(key));
    let mut wanted: BTreeMap<&String, &String> = for_nodes.collect();
    wanted.extend(metadata_of(o).flat_map(|m| &m.labels));
    wanted
        .into_iter()
        .filter(|(key, value)| o.node.labels().get(*key) != Some(*value))
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect()
}

fn metadata_of(o: &Observed) -> impl Iterator<Item = &TemplateMetadata> {
    o.machine.iter().filter_map(|m| m.spec.metadata.as_ref())
}

/// Whether a label of a Machine is meant for its Node.
pub(crate) fn is_for_nodes(key: &str) -> bool {
    let Some((domain, _)) = key.split_once('/') else {
        return false;
    };
    labels::NODE_DOMAINS.iter().any(|of_nodes| {
        domain
            .strip_suffix(of_nodes)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
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

    fn machine(o: &mut Observed) -> &mut Machine {
        Arc::make_mut(o.machine.as_mut().unwrap())
    }

    /// Writes a plan's patch into the Node, as an API server would.
    fn take(o: &mut Observed, plan: &Plan) {
        let mut node = serde_json::to_value(&*o.node).unwrap();
        json_patch::merge(&mut node, &patch(plan));
        o.node = Arc::new(serde_json::from_value(node).unwrap());
    }

    #[test]
    fn n03_labels_and_annotations_of_the_machine_go_to_its_node() {
        let mut o = observed();
        let node = Arc::make_mut(&mut o.node);
        node.metadata.labels = Some([("team".to_owned(), "blue".to_owned())].into());
        let m = machine(&mut o);
        m.metadata.labels = Some(
            [
                ("node-role.kubernetes.io/worker", ""),
                ("gpu.node-restriction.kubernetes.io/kind", "a100"),
                ("node.machine.crit.sh/rack", "r1"),
                ("notnode.machine.crit.sh/x", "no"),
                ("app", "no"),
            ]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into(),
        );
        m.spec.metadata = Some(TemplateMetadata {
            labels: [("tier", "front"), ("node.machine.crit.sh/rack", "r2")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
            annotations: [("example.org/note", "hello"), (labels::NODE_MACHINE, "no")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
        });
        let p = plan(&o);
        assert_eq!(p.effects.len(), 1, "all in one write");
        assert_eq!(
            patch(&p)["metadata"]["labels"],
            json!({ "node-role.kubernetes.io/worker": "", "gpu.node-restriction.kubernetes.io/kind": "a100",
                "node.machine.crit.sh/rack": "r2", "tier": "front" })
        );
        assert_eq!(patch(&p)["metadata"]["annotations"]["example.org/note"], "hello");
        // The reference to the Machine is not to be written by anybody else.
        let own = patch(&p)["metadata"]["annotations"][labels::NODE_MACHINE].clone();
        assert!(own.as_str().unwrap().contains("m-1"), "{own}");
        take(&mut o, &p);
        assert_eq!(o.node.labels()["team"], "blue");
        assert_eq!(plan(&o), Plan::nothing());
        // What somebody changes on the Node is set right again.
        Arc::make_mut(&mut o.node)
            .metadata
            .labels
            .as_mut()
            .unwrap()
            .insert("tier".into(), "back".into());
        assert_eq!(
            patch(&plan(&o))["metadata"],
            json!({ "labels": { "tier": "front" } })
        );
    }

    #[test]
    fn n04_taints_are_added_and_those_of_the_node_keep_their_value() {
        let with = |key: &str, value: &str| Taint {
            value: Some(value.to_owned()),
            ..taint(key)
        };
        let rows = [
            (vec![], vec![], None),
            (vec![], vec![with("a", "1")], Some(vec![with("a", "1")])),
            (
                vec![with("a", "1")],
                vec![with("b", "2")],
                Some(vec![with("a", "1"), with("b", "2")]),
            ),
            (vec![with("a", "1")], vec![with("a", "2")], None),
        ];
        for (i, (on_node, of_machine, expected)) in rows.into_iter().enumerate() {
            let mut o = observed();
            Arc::make_mut(&mut o.node).spec.as_mut().unwrap().taints = Some(on_node);
            machine(&mut o).spec.taints = of_machine;
            assert_eq!(taints(&o), expected, "row {i}");
        }
    }

    #[test]
    fn n05_what_the_machine_gives_up_stays_on_the_node() {
        let mut o = observed();
        let m = machine(&mut o);
        m.metadata.labels = Some([("node.machine.crit.sh/rack".to_owned(), "r1".to_owned())].into());
        m.spec.metadata = Some(TemplateMetadata {
            labels: [("tier".to_owned(), "front".to_owned())].into(),
            ..TemplateMetadata::default()
        });
        let p = plan(&o);
        take(&mut o, &p);
        let m = machine(&mut o);
        m.metadata.labels = None;
        m.spec.metadata = None;
        m.spec.taints.clear();
        assert_eq!(plan(&o), Plan::nothing());
        assert_eq!(o.node.labels()["tier"], "front");
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
