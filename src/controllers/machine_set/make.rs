//! What a new Machine looks like, and the copy of the template that becomes its host. Pure.
//!
//! Both are made complete, so that nobody has to write to them before the provider has something to say.

use std::collections::BTreeSet;

use kube::{
    ResourceExt,
    api::{ApiResource, DynamicObject},
};
use serde_json::{Value, json};

use super::{
    in_place::Wanted,
    observe::{Observed, TemplateView},
    random::Random,
    template,
};
use crate::{
    api::{MACHINE_GROUP, VERSION, labels, names, v1alpha1::Machine, v1alpha1::MachineSet},
    controllers::{
        effect::{Effect, Target, controller_reference, object},
        infrastructure_machine,
    },
};

/// Letters of chance in a name.
const LETTERS: usize = 5;

/// Names that no Machine of the set bears: `<set>-<letters>`.
pub(super) fn names(set: &str, count: usize, taken: &BTreeSet<&str>, random: &mut Random) -> Vec<String> {
    let room = names::MAX_LENGTH - LETTERS - 1;
    let stem = set.get(..room.min(set.len())).unwrap_or(set);
    let stem = stem.trim_end_matches(['-', '.']);
    let mut made = BTreeSet::new();
    let mut list = Vec::with_capacity(count);
    while list.len() < count {
        let name = format!("{stem}-{}", random.letters(LETTERS));
        if !taken.contains(name.as_str()) && made.insert(name.clone()) {
            list.push(name);
        }
    }
    list
}

/// What all Machines of a look are made from.
pub(super) struct Mould<'a> {
    o: &'a Observed,
    metadata: Value,
    spec: Value,
}

impl<'a> Mould<'a> {
    /// Takes down what the Machines have in common.
    pub(super) fn of(o: &'a Observed, wanted: &Wanted) -> Self {
        let set = &o.set;
        let metadata = json!({
            "namespace": set.namespace(),
            "labels": wanted.labels,
            "annotations": wanted.annotations,
            "finalizers": [labels::MACHINE_FINALIZER],
            "ownerReferences": [controller_reference(&**set)],
        });
        let mut spec = set.spec.template.spec.clone();
        spec.cluster_name = set.cluster_name().map(str::to_owned);
        // A host's identity is its own.
        spec.provider_id = None;
        if let Some(clone) = spec.infrastructure_ref.as_ref().and_then(template::of_clones) {
            spec.infrastructure_ref = Some(clone);
        }
        Self {
            o,
            metadata,
            spec: serde_json::to_value(spec).unwrap_or_default(),
        }
    }

    /// A Machine with this name, and its infrastructure object if that is copied from a template.
    pub(super) fn machine(&self, name: &str) -> Effect {
        let mut machine = json!({
            "apiVersion": format!("{MACHINE_GROUP}/{VERSION}"),
            "kind": "Machine",
            "metadata": self.metadata,
            "spec": self.spec,
        });
        machine["metadata"]["name"] = json!(name);
        let clone = self.clone_for(name, None);
        if clone.is_some() {
            machine["spec"]["infrastructureRef"]["name"] = json!(name);
        }
        Effect::CreateOwned {
            target: Target::Management,
            object: object(machine),
            owned: clone.into_iter().collect(),
        }
    }

    /// The infrastructure object that a Machine was to have.
    pub(super) fn missing_clone(&self, machine: &Machine) -> Option<Effect> {
        let clone = self.clone_for(&machine.name_any(), Some(machine))?;
        Some(Effect::Create {
            target: Target::Management,
            object: Box::new(clone),
        })
    }

    fn clone_for(&self, name: &str, owner: Option<&Machine>) -> Option<DynamicObject> {
        let TemplateView::Found { kind, template } = &self.o.template else {
            return None;
        };
        let set = &self.o.set;
        template::reference(set).and_then(|r| template::of_clones(&r))?;
        let namespace = set.namespace().unwrap_or_default();
        let mut metadata = template
            .data
            .pointer("/spec/template/metadata")
            .filter(|m| m.is_object())
            .cloned()
            .unwrap_or_else(|| json!({}));
        metadata["name"] = json!(name);
        metadata["namespace"] = json!(namespace);
        metadata["labels"][labels::SET_NAME] = json!(names::label_value(&set.name_any()));
        if let Some(cluster) = set.cluster_name() {
            metadata["labels"][labels::CLUSTER_NAME] = json!(names::label_value(cluster));
        }
        metadata["annotations"][labels::CLONED_FROM_NAME] = json!(template.name_any());
        metadata["annotations"][labels::CLONED_FROM_GROUPKIND] = json!(group_kind(set, kind));
        let mut spec = template.data.pointer("/spec/template/spec")?.clone();
        own_identity(&mut spec, kind, name, set);
        let (finalizers, id) = infrastructure_machine::plan::born(&kind.kind, &namespace, name, &spec);
        if is_ours(kind) {
            metadata["finalizers"] = json!(finalizers);
            if let Some(id) = id {
                spec["providerID"] = json!(id);
            }
        }
        if let Some(machine) = owner {
            metadata["ownerReferences"] = json!([controller_reference(machine)]);
        }
        Some(*object(json!({
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": metadata,
            "spec": spec,
        })))
    }
}

/// What makes a host this one and no other does not come from a template.
fn own_identity(spec: &mut Value, kind: &ApiResource, name: &str, set: &MachineSet) {
    let Some(fields) = spec.as_object_mut() else {
        return;
    };
    fields.remove("providerID");
    if kind.kind == "DockerMachine" {
        fields.insert("containerName".to_owned(), json!(name));
        let cluster = set.cluster_name();
        let named = fields
            .get("clusterName")
            .and_then(Value::as_str)
            .is_some_and(|c| !c.is_empty());
        if let (Some(cluster), false) = (cluster, named) {
            fields.insert("clusterName".to_owned(), json!(cluster));
        }
    }
}

/// Whether the controller of a kind's instances is one of this program: it alone is known to take its finalizer off again.
fn is_ours(kind: &ApiResource) -> bool {
    kind.group == crate::api::INFRASTRUCTURE_GROUP
        && ["DockerMachine", "HollowMachine"].contains(&kind.kind.as_str())
}

/// `<Kind>.<group>` of the template.
fn group_kind(set: &MachineSet, kind: &ApiResource) -> String {
    let own = template::reference(set).and_then(|r| r.kind).unwrap_or_default();
    format!("{own}.{}", kind.group)
}
