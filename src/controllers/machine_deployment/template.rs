//! What makes a machine another one, and the set that stands for a template: its name, its labels, its content. Pure.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::LabelSelector};
use kube::{Resource, ResourceExt};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::{
    api::{
        MACHINE_GROUP, VERSION, labels,
        v1alpha1::{MachineDeployment, MachineSet, MachineSetSpec, MachineSpec, MachineTemplateSpec},
    },
    controllers::effect::controller_reference,
};

/// Letters of which no words come (Kubernetes: `SafeEncodeString`).
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Length of a hash: 47 bits.
const HASH: usize = 10;
/// Longest name of a set: it becomes a label of its machines.
const NAME: usize = 63;
/// So many names are tried for a set.
pub(super) const TRIES: u32 = 16;

/// What makes a machine another one. Machines of equal identity are changed in place, if at all (Cluster API).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity(Value);

impl Identity {
    /// The identity of the machines that a deployment wants.
    pub(crate) fn wanted(deployment: &MachineDeployment) -> Self {
        let spec = &deployment.spec;
        Self::of(spec.cluster_name.as_deref(), &spec.template)
    }

    /// The identity of the machines that a set makes.
    pub(crate) fn made(set: &MachineSet) -> Self {
        Self::of(set.spec.cluster_name.as_deref(), &set.spec.template)
    }

    /// Fields are named one by one: a field that a later release adds makes no machine another one.
    fn of(cluster: Option<&str>, template: &MachineTemplateSpec) -> Self {
        let spec = &template.spec;
        let data = spec
            .bootstrap
            .as_ref()
            .and_then(|b| b.data_secret_name.as_deref());
        Self(json!({
            "version": spec.version,
            "clusterName": cluster.or(spec.cluster_name.as_deref()),
            "configRef": spec.config_ref.as_ref().map(named),
            "dataSecretName": data,
            "infrastructureRef": spec.infrastructure_ref.as_ref().map(named),
            "failureDomain": spec.failure_domain,
            "restartedAt": template.metadata.annotations.get(labels::RESTARTED_AT),
        }))
    }

    /// A hash that can stand in names and labels; another one with each try.
    fn hash(&self, attempt: u32) -> String {
        let mut text = self.0.to_string();
        if attempt > 0 {
            text.push_str(&attempt.to_string());
        }
        let digest = Sha256::digest(text.as_bytes());
        digest
            .iter()
            .take(HASH)
            .map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]))
            .collect()
    }
}

/// The object that a reference names. Which version of its kind was written makes no difference.
fn named(reference: &ObjectReference) -> Value {
    let api_version = reference.api_version.as_deref().unwrap_or_default();
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    json!([group, reference.kind, reference.name])
}

/// Names that the set of the wanted template may have, the first first, each with the hash that it ends with. The same template always
/// gives the same names: whoever looks twice before the first set is known makes one set only.
pub(crate) fn names(deployment: &MachineDeployment) -> impl Iterator<Item = (String, String)> {
    let identity = Identity::wanted(deployment);
    let stem: String = deployment.name_any().chars().take(NAME - HASH - 1).collect();
    (0..TRIES).map(move |attempt| {
        let hash = identity.hash(attempt);
        (format!("{}-{hash}", stem.trim_end_matches(['-', '.'])), hash)
    })
}

/// Labels of the machines that a deployment wants, and of their set; `hash` sets those of one template apart.
pub(crate) fn labels(deployment: &MachineDeployment, hash: Option<&str>) -> BTreeMap<String, String> {
    let mut labels = deployment.spec.template.metadata.labels.clone();
    labels.insert(labels::DEPLOYMENT_NAME.to_owned(), deployment.name_any());
    let spec = &deployment.spec;
    if let Some(cluster) = spec
        .cluster_name
        .as_ref()
        .or(spec.template.spec.cluster_name.as_ref())
    {
        labels.insert(labels::CLUSTER_NAME.to_owned(), cluster.clone());
    }
    if let Some(hash) = hash {
        labels.insert(labels::TEMPLATE_HASH.to_owned(), hash.to_owned());
    }
    labels
}

/// Which machines of a set go first.
pub(crate) fn delete_policy(deployment: &MachineDeployment) -> Option<&str> {
    let strategy = deployment.spec.strategy.as_ref()?;
    strategy.rolling_update.as_ref()?.delete_policy.as_deref()
}

/// A new set for the wanted template.
pub(crate) fn new_set(
    deployment: &MachineDeployment,
    name: &str,
    hash: &str,
    replicas: i32,
    annotations: &BTreeMap<String, String>,
) -> Value {
    let labels = labels(deployment, Some(hash));
    let mut selector = deployment.spec.selector.clone();
    selector
        .match_labels
        .get_or_insert_default()
        .insert(labels::TEMPLATE_HASH.to_owned(), hash.to_owned());
    let mut template = deployment.spec.template.clone();
    template.metadata.labels.clone_from(&labels);
    let spec = MachineSetSpec {
        cluster_name: deployment.spec.cluster_name.clone(),
        replicas,
        selector,
        template,
        delete_policy: delete_policy(deployment).map(str::to_owned),
        min_ready_seconds: deployment.spec.min_ready_seconds,
        ..MachineSetSpec::default()
    };
    json!({
        "apiVersion": format!("{MACHINE_GROUP}/{VERSION}"),
        "kind": MachineSet::kind(&()),
        "metadata": {
            "name": name,
            "namespace": deployment.namespace(),
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [controller_reference(deployment)],
        },
        "spec": spec,
    })
}

/// What the set of the present template should say: everything of the template that can change without another machine.
pub(crate) fn current_spec(deployment: &MachineDeployment, set: &MachineSet) -> MachineSetSpec {
    let spec = &set.spec;
    let mut template = deployment.spec.template.clone();
    let hash = spec.template.metadata.labels.get(labels::TEMPLATE_HASH);
    template.metadata.labels = labels(deployment, hash.map(String::as_str));
    // Without these the set would select none of its own machines.
    template.metadata.labels.extend(required(&spec.selector));
    template.spec = MachineSpec {
        // As they were written when the set was made: they say the same.
        cluster_name: spec.template.spec.cluster_name.clone(),
        config_ref: spec.template.spec.config_ref.clone(),
        infrastructure_ref: spec.template.spec.infrastructure_ref.clone(),
        ..template.spec
    };
    MachineSetSpec {
        template,
        delete_policy: delete_policy(deployment).map(str::to_owned),
        min_ready_seconds: deployment.spec.min_ready_seconds,
        ..spec.clone()
    }
}

/// What the set of an old template should say: what matters for the end of its machines (Cluster API).
pub(crate) fn old_spec(deployment: &MachineDeployment, set: &MachineSet) -> MachineSetSpec {
    let wanted = &deployment.spec.template.spec;
    let mut spec = set.spec.clone();
    spec.template.spec.node_drain_timeout = wanted.node_drain_timeout;
    spec.template.spec.node_volume_detach_timeout = wanted.node_volume_detach_timeout;
    spec.template.spec.node_deletion_timeout = wanted.node_deletion_timeout;
    spec.delete_policy = delete_policy(deployment).map(str::to_owned);
    spec.min_ready_seconds = deployment.spec.min_ready_seconds;
    spec
}

/// The labels that a selector names outright.
fn required(selector: &LabelSelector) -> BTreeMap<String, String> {
    selector.match_labels.clone().unwrap_or_default()
}

/// The merge patch that leads from one document to another; nothing if they say the same.
pub(crate) fn merge_patch(from: &Value, to: &Value) -> Option<Value> {
    match (from, to) {
        (Value::Object(from), Value::Object(to)) => {
            let mut patch = Map::new();
            for key in from.keys().filter(|key| !to.contains_key(*key)) {
                patch.insert(key.clone(), Value::Null);
            }
            for (key, new) in to {
                let change = match from.get(key) {
                    Some(old) => merge_patch(old, new),
                    None => Some(new.clone()),
                };
                if let Some(change) = change {
                    patch.insert(key.clone(), change);
                }
            }
            (!patch.is_empty()).then_some(Value::Object(patch))
        }
        (from, to) => (from != to).then(|| to.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(change: &Value) -> MachineDeployment {
        let mut object = json!({
            "apiVersion": "machine.crit.sh/v1alpha1", "kind": "MachineDeployment",
            "metadata": { "name": "web", "namespace": "fleet", "uid": "u" },
            "spec": {
                "selector": { "matchLabels": { "pool": "web" } },
                "template": {
                    "metadata": { "labels": { "pool": "web" } },
                    "spec": {
                        "version": "v1.33.1",
                        "configRef": { "name": "c" },
                        "infrastructureRef": { "apiVersion": "infrastructure.crit.sh/v1alpha1", "kind": "HollowMachineTemplate", "name": "t" },
                    }
                }
            }
        });
        json_patch::merge(&mut object, change);
        serde_json::from_value(object).unwrap()
    }

    fn with_spec(change: &Value) -> MachineDeployment {
        deployment(&json!({ "spec": { "template": { "spec": change } } }))
    }

    fn first_name(deployment: &MachineDeployment) -> String {
        names(deployment).next().unwrap().0
    }

    #[test]
    fn only_another_machine_has_another_name() {
        let plain = first_name(&deployment(&json!({})));
        for same in [
            json!({ "taints": [{ "key": "a", "effect": "NoSchedule" }], "nodeDrainTimeout": "5m" }),
            json!({ "infrastructureRef": { "apiVersion": "infrastructure.crit.sh/v1", "namespace": "fleet" } }),
            json!({ "lifecycleHooks": { "preDrain": [{ "name": "hook", "owner": "me" }] } }),
        ] {
            assert_eq!(first_name(&with_spec(&same)), plain, "{same}");
        }
        for same in [
            json!({ "spec": { "replicas": 7, "minReadySeconds": 5, "strategy": { "type": "OnDelete" } } }),
            json!({ "spec": { "template": { "metadata": { "labels": { "a": "b" }, "annotations": { "c": "d" } } } } }),
        ] {
            assert_eq!(first_name(&deployment(&same)), plain, "{same}");
        }
        for other in [
            json!({ "version": "v1.33.2" }),
            json!({ "configRef": { "name": "d" } }),
            json!({ "bootstrap": { "dataSecretName": "s" } }),
            json!({ "infrastructureRef": { "name": "u" } }),
            json!({ "infrastructureRef": { "kind": "DockerMachineTemplate" } }),
            json!({ "failureDomain": "b" }),
            json!({ "clusterName": "demo" }),
        ] {
            assert_ne!(first_name(&with_spec(&other)), plain, "{other}");
        }
        let restarted = json!({ "spec": { "template": { "metadata": { "annotations": { labels::RESTARTED_AT: "now" } } } } });
        assert_ne!(first_name(&deployment(&restarted)), plain);
    }

    #[test]
    fn the_names_of_a_release_stay_those_of_the_next() {
        // Another name would make other machines of a whole fleet on the day of an upgrade, were sets found by it.
        assert_eq!(first_name(&deployment(&json!({}))), "web-nn4q5r5z5c");
    }

    #[test]
    fn a_cluster_may_be_named_in_two_places() {
        let outside = Identity::wanted(&deployment(&json!({ "spec": { "clusterName": "demo" } })));
        assert_eq!(
            outside,
            Identity::wanted(&with_spec(&json!({ "clusterName": "demo" })))
        );
    }

    #[test]
    fn names_are_many_and_short() {
        let long = "a".repeat(50) + ".b" + &"c".repeat(11);
        let deployment = deployment(&json!({ "metadata": { "name": long } }));
        let all: std::collections::BTreeSet<String> = names(&deployment).map(|(name, _)| name).collect();
        assert_eq!(all.len(), TRIES as usize);
        assert!(
            all.iter().all(|name| name.len() <= NAME && !name.contains(".-")),
            "{all:?}"
        );
    }

    #[test]
    fn a_new_set_selects_its_own_machines_and_is_current() {
        let deployment = deployment(&json!({}));
        let (name, hash) = names(&deployment).next().unwrap();
        let set: MachineSet =
            serde_json::from_value(new_set(&deployment, &name, &hash, 2, &BTreeMap::new())).unwrap();
        let made = &set.spec.template.metadata.labels;
        assert!(crate::api::selector::selects(&set.spec.selector, Some(made)));
        assert!(crate::api::selector::selects(
            &deployment.spec.selector,
            Some(set.labels())
        ));
        assert_eq!(
            (
                made[labels::TEMPLATE_HASH].as_str(),
                made[labels::DEPLOYMENT_NAME].as_str()
            ),
            (hash.as_str(), "web")
        );
        assert_eq!(Identity::made(&set), Identity::wanted(&deployment));
        assert_eq!(
            current_spec(&deployment, &set),
            set.spec,
            "nothing is left to change"
        );
        assert_eq!(old_spec(&deployment, &set), set.spec);
    }

    #[test]
    fn a_label_that_the_set_selects_by_is_kept() {
        let before = deployment(&json!({}));
        let (name, hash) = names(&before).next().unwrap();
        let set: MachineSet =
            serde_json::from_value(new_set(&before, &name, &hash, 2, &BTreeMap::new())).unwrap();
        let change = json!({ "spec": { "selector": { "matchLabels": { "pool": null, "tier": "x" } }, "template": { "metadata": { "labels": { "pool": null, "tier": "x" } } } } });
        let labels = current_spec(&deployment(&change), &set).template.metadata.labels;
        assert_eq!((labels["pool"].as_str(), labels["tier"].as_str()), ("web", "x"));
    }

    #[test]
    fn a_merge_patch_leads_from_one_document_to_the_other() {
        for (from, to, patch) in [
            (
                json!({ "a": 1, "b": { "c": 2, "d": 3 } }),
                json!({ "a": 1, "b": { "c": 4 } }),
                json!({ "b": { "c": 4, "d": null } }),
            ),
            (
                json!({ "list": [1, 2] }),
                json!({ "list": [2] }),
                json!({ "list": [2] }),
            ),
            (json!({}), json!({ "a": { "b": 1 } }), json!({ "a": { "b": 1 } })),
        ] {
            assert_eq!(merge_patch(&from, &to), Some(patch.clone()));
            let mut document = from;
            json_patch::merge(&mut document, &patch);
            assert_eq!(document, to);
        }
        assert_eq!(merge_patch(&json!({ "a": [1] }), &json!({ "a": [1] })), None);
    }
}
