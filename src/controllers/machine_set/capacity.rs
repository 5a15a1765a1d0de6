//! What an autoscaler has to know of a machine before there is one, as annotations on the set. Pure.
//!
//! The keys are those of the Kubernetes cluster-autoscaler's Cluster API provider. A value that a user wrote stays.

use std::collections::BTreeMap;

use kube::ResourceExt;
use serde_json::{Map, Value, json};

use super::observe::{Observed, TemplateView};
use crate::{
    api::{labels, v1alpha1::MachineSet},
    controllers::{
        effect::{Effect, ObjectKey, Target},
        node,
    },
};

/// Domain of the annotations.
const DOMAIN: &str = "capacity.cluster-autoscaler.kubernetes.io";

/// Writes what the template says, where that is not there yet. The template has to have been read in this look.
pub(super) fn annotate(o: &Observed) -> Option<Effect> {
    let TemplateView::Found { template, .. } = &o.template else {
        return None;
    };
    let said = template.data.pointer("/spec/template/spec/capacity");
    let wanted = wanted(&o.set, said);
    let noted: BTreeMap<String, String> = o
        .set
        .annotations()
        .get(labels::CAPACITY_FROM_TEMPLATE)
        .and_then(|note| serde_json::from_str(note).ok())
        .unwrap_or_default();
    let mut change = Map::new();
    let mut note = BTreeMap::new();
    for name in ["cpu", "memory", "maxPods", "labels", "taints"] {
        let key = format!("{DOMAIN}/{name}");
        let present = o.set.annotations().get(&key);
        let wanted = wanted.get(name);
        // What is there and was not written here is the user's.
        if present.is_some() && present != noted.get(name) {
            continue;
        }
        if present != wanted {
            change.insert(key, json!(wanted));
        }
        if let Some(wanted) = wanted {
            note.insert(name.to_owned(), wanted.clone());
        }
    }
    if note != noted {
        let text = (!note.is_empty()).then(|| json!(note).to_string());
        change.insert(labels::CAPACITY_FROM_TEMPLATE.to_owned(), json!(text));
    }
    (!change.is_empty()).then(|| Effect::Patch {
        target: Target::Management,
        key: ObjectKey::to(&*o.set),
        patch: json!({ "metadata": { "annotations": change } }),
        optional: true,
    })
}

/// What the template says, in the autoscaler's words. Labels and taints alone are of no use to it.
fn wanted(set: &MachineSet, capacity: Option<&Value>) -> BTreeMap<&'static str, String> {
    let text = |name: &str| {
        let value = capacity?.get(name)?;
        value
            .as_str()
            .map(str::to_owned)
            .or_else(|| value.as_i64().map(|n| n.to_string()))
    };
    let mut wanted: BTreeMap<&'static str, String> =
        [("cpu", "cpu"), ("memory", "memory"), ("maxPods", "pods")]
            .into_iter()
            .filter_map(|(key, name)| Some((key, text(name)?)))
            .collect();
    if wanted.is_empty() {
        return wanted;
    }
    let template = &set.spec.template;
    let mut all: BTreeMap<&str, &str> = template
        .metadata
        .labels
        .iter()
        .filter(|(key, _)| node::plan::is_for_nodes(key))
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    let own = template.spec.metadata.iter().flat_map(|m| &m.labels);
    all.extend(own.map(|(key, value)| (key.as_str(), value.as_str())));
    if !all.is_empty() {
        let list: Vec<String> = all.iter().map(|(key, value)| format!("{key}={value}")).collect();
        wanted.insert("labels", list.join(","));
    }
    if !template.spec.taints.is_empty() {
        let list: Vec<String> = template
            .spec
            .taints
            .iter()
            .map(|t| {
                format!(
                    "{}={}:{}",
                    t.key,
                    t.value.as_deref().unwrap_or_default(),
                    t.effect
                )
            })
            .collect();
        wanted.insert("taints", list.join(","));
    }
    wanted
}
