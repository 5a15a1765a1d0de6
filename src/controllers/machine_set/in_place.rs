//! What of a template reaches Machines that exist already: labels, annotations, what the Node gets, and the limits of their end. Everything
//! else makes another machine of it and is left to new ones. Pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Taint;
use kube::ResourceExt;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::api::{
    duration::Duration,
    labels, names,
    v1alpha1::{Machine, MachineSet, MachineSpec, TemplateMetadata},
};

/// What a set has put on a Machine, so that it can take it away again and nothing else.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Put {
    /// Keys of labels.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    labels: BTreeSet<String>,
    /// Keys of annotations.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    annotations: BTreeSet<String>,
    /// Keys of labels that go to the Node.
    #[serde(rename = "nodeLabels", skip_serializing_if = "BTreeSet::is_empty")]
    node_labels: BTreeSet<String>,
    /// Keys of annotations that go to the Node.
    #[serde(rename = "nodeAnnotations", skip_serializing_if = "BTreeSet::is_empty")]
    node_annotations: BTreeSet<String>,
    /// Taints, each as `<key>:<effect>`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    taints: BTreeSet<String>,
    /// Fields of the spec.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    spec: BTreeSet<String>,
}

/// What the Machines of a set should have in common.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// Labels, those included that say whose the Machine is.
    pub(super) labels: BTreeMap<String, String>,
    /// Annotations, that included which says what the set has put there.
    pub(super) annotations: BTreeMap<String, String>,
    node: TemplateMetadata,
    taints: Vec<Taint>,
    limits: [(&'static str, Option<Duration>); 3],
    put: Put,
}

impl Wanted {
    /// What the template of a set asks for.
    pub(super) fn of(set: &MachineSet) -> Self {
        let template = &set.spec.template;
        let mut all = template.metadata.labels.clone();
        all.insert(labels::SET_NAME.to_owned(), names::label_value(&set.name_any()));
        if let Some(cluster) = set.cluster_name() {
            all.insert(labels::CLUSTER_NAME.to_owned(), names::label_value(cluster));
        }
        let limits = limits(&template.spec);
        let node = template.spec.metadata.clone().unwrap_or_default();
        let put = Put {
            labels: all.keys().cloned().collect(),
            annotations: template.metadata.annotations.keys().cloned().collect(),
            node_labels: node.labels.keys().cloned().collect(),
            node_annotations: node.annotations.keys().cloned().collect(),
            taints: template.spec.taints.iter().map(id).collect(),
            spec: limits
                .iter()
                .filter(|(_, limit)| limit.is_some())
                .map(|(field, _)| (*field).to_owned())
                .collect(),
        };
        let mut annotations = template.metadata.annotations.clone();
        annotations.insert(
            labels::FROM_TEMPLATE.to_owned(),
            serde_json::to_string(&put).unwrap_or_default(),
        );
        Self {
            labels: all,
            annotations,
            node,
            taints: template.spec.taints.clone(),
            limits,
            put,
        }
    }

    /// Whether a Machine bears all labels of the template.
    pub(super) fn is_labelled(&self, machine: &Machine) -> bool {
        let have = machine.metadata.labels.as_ref();
        self.labels
            .iter()
            .all(|(key, value)| have.and_then(|h| h.get(key)) == Some(value))
    }

    /// What has to change at a Machine, as a merge patch; nothing if it is as it should be.
    pub(super) fn change(&self, machine: &Machine) -> Option<Value> {
        let noted = machine
            .metadata
            .annotations
            .as_ref()
            .and_then(|a| a.get(labels::FROM_TEMPLATE));
        let parsed: Put;
        let before = if noted == self.annotations.get(labels::FROM_TEMPLATE) {
            &self.put
        } else {
            parsed = noted
                .and_then(|n| serde_json::from_str(n).ok())
                .unwrap_or_default();
            &parsed
        };
        let labels = keys(&self.labels, machine.metadata.labels.as_ref(), &before.labels);
        let annotations = keys(
            &self.annotations,
            machine.metadata.annotations.as_ref(),
            &before.annotations,
        );
        let mut metadata = Map::new();
        if !labels.is_empty() {
            metadata.insert("labels".to_owned(), Value::Object(labels));
        }
        if !annotations.is_empty() {
            metadata.insert("annotations".to_owned(), Value::Object(annotations));
        }
        let mut spec = self.limits_change(machine, before);
        let node = self.node_change(machine, before);
        if !node.is_empty() {
            spec.insert("metadata".to_owned(), Value::Object(node));
        }
        if let Some(taints) = self.taints_change(machine, before) {
            spec.insert("taints".to_owned(), taints);
            // The list replaces the other one: only if nobody changed it in between.
            metadata.insert(
                "resourceVersion".to_owned(),
                json!(machine.metadata.resource_version),
            );
        }
        patch(metadata, spec)
    }

    /// What has to change at a Machine that is on its way out: how long that may take, nothing else (Cluster API: `syncMachines`).
    pub(super) fn change_of_leaving(&self, machine: &Machine) -> Option<Value> {
        let noted = machine
            .metadata
            .annotations
            .as_ref()
            .and_then(|a| a.get(labels::FROM_TEMPLATE));
        let before: Put = noted
            .and_then(|n| serde_json::from_str(n).ok())
            .unwrap_or_default();
        patch(Map::new(), self.limits_change(machine, &before))
    }

    fn limits_change(&self, machine: &Machine, before: &Put) -> Map<String, Value> {
        let have = limits(&machine.spec);
        let mut change = Map::new();
        for ((field, wanted), (_, present)) in self.limits.iter().zip(have) {
            match wanted {
                Some(wanted) if present.as_ref() != Some(wanted) => {
                    change.insert((*field).to_owned(), json!(wanted));
                }
                None if present.is_some() && before.spec.contains(*field) => {
                    change.insert((*field).to_owned(), Value::Null);
                }
                _ => {}
            }
        }
        change
    }

    /// What has to change of the labels and annotations that the Node gets.
    fn node_change(&self, machine: &Machine, before: &Put) -> Map<String, Value> {
        let have = machine.spec.metadata.as_ref();
        let labels = keys(&self.node.labels, have.map(|m| &m.labels), &before.node_labels);
        let annotations = keys(
            &self.node.annotations,
            have.map(|m| &m.annotations),
            &before.node_annotations,
        );
        [("labels", labels), ("annotations", annotations)]
            .into_iter()
            .filter(|(_, change)| !change.is_empty())
            .map(|(field, change)| (field.to_owned(), Value::Object(change)))
            .collect()
    }

    /// The taints that a Machine should have, if it has others: those of the template, and those that somebody else put there.
    fn taints_change(&self, machine: &Machine, before: &Put) -> Option<Value> {
        let have = &machine.spec.taints;
        let ours = |taint: &Taint| self.taints.iter().find(|t| id(t) == id(taint));
        let right = self.taints.iter().all(|t| have.contains(t))
            && have
                .iter()
                .all(|t| ours(t).is_some() || !before.taints.contains(&id(t)));
        if right {
            return None;
        }
        let foreign = have
            .iter()
            .filter(|t| ours(t).is_none() && !before.taints.contains(&id(t)));
        let all: Vec<&Taint> = foreign.chain(&self.taints).collect();
        Some(json!(all))
    }
}

fn patch(metadata: Map<String, Value>, spec: Map<String, Value>) -> Option<Value> {
    let mut patch = Map::new();
    if !metadata.is_empty() {
        patch.insert("metadata".to_owned(), Value::Object(metadata));
    }
    if !spec.is_empty() {
        patch.insert("spec".to_owned(), Value::Object(spec));
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// What has to change in a map: values that are missing or others; null for keys that were put there and are no longer wanted.
fn keys(
    wanted: &BTreeMap<String, String>,
    have: Option<&BTreeMap<String, String>>,
    before: &BTreeSet<String>,
) -> Map<String, Value> {
    let have = |key: &String| have.and_then(|h| h.get(key));
    let changed = wanted
        .iter()
        .filter(|(key, value)| have(key) != Some(*value))
        .map(|(key, value)| (key.clone(), json!(value)));
    let gone = before
        .iter()
        .filter(|key| !wanted.contains_key(*key) && have(key).is_some())
        .map(|key| (key.clone(), Value::Null));
    changed.chain(gone).collect()
}

fn id(taint: &Taint) -> String {
    format!("{}:{}", taint.key, taint.effect)
}

/// The limits of a machine's end, by field.
fn limits(spec: &MachineSpec) -> [(&'static str, Option<Duration>); 3] {
    [
        ("nodeDrainTimeout", spec.node_drain_timeout),
        ("nodeVolumeDetachTimeout", spec.node_volume_detach_timeout),
        ("nodeDeletionTimeout", spec.node_deletion_timeout),
    ]
}
