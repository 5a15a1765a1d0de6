//! Sets and machines for tables of cases, and what a plan does in words.

use std::{collections::BTreeMap, sync::Arc};

use kube::api::{ApiResource, DynamicObject};
use serde_json::{Value, json};

use super::{
    in_place::Wanted,
    observe::{ClusterView, Member, Observed, TemplateView},
};
use crate::{
    api::v1alpha1::{HollowMachine, Machine, MachineSetStatus},
    controllers::effect::{Effect, Plan},
    time::{SignedDuration, Timestamp, rfc3339},
};

const NOW: i64 = 1_700_000_000;

pub(super) fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

pub(super) fn seconds(n: i64) -> SignedDuration {
    SignedDuration::from_secs(n)
}

/// A set of so many machines that are copied from a template, as the API server would give it back.
pub(super) fn set(replicas: i32) -> Value {
    json!({
        "apiVersion": "machine.crit.sh/v1alpha1", "kind": "MachineSet",
        "metadata": { "name": "pool", "namespace": "fleet", "uid": "s-uid", "generation": 3 },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "pool": "a" } },
            "template": {
                "metadata": { "labels": { "pool": "a" }, "annotations": { "team": "x" } },
                "spec": { "infrastructureRef": {
                    "apiVersion": "infrastructure.crit.sh/v1alpha1", "kind": "HollowMachineTemplate", "name": "small"
                } },
            },
        },
    })
}

pub(super) fn template(spec: &Value) -> TemplateView {
    let template: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "infrastructure.crit.sh/v1alpha1", "kind": "HollowMachineTemplate",
        "metadata": { "name": "small", "namespace": "fleet" },
        "spec": spec,
    }))
    .unwrap();
    TemplateView::Found {
        kind: ApiResource::erase::<HollowMachine>(&()),
        template: Arc::new(template),
    }
}

pub(super) fn observed(set: Value) -> Observed {
    Observed {
        set: Arc::new(serde_json::from_value(set).unwrap()),
        members: Vec::new(),
        orphans: Vec::new(),
        cluster: ClusterView::NotNamed,
        template: template(&json!({ "template": { "spec": {} } })),
        strays: Vec::new(),
        recheck: None,
        seed: 7,
        trouble: None,
    }
}

/// A Machine of the set with more of its own; it has all that the template asks for.
pub(super) fn machine(o: &Observed, name: &str, more: &Value) -> Arc<Machine> {
    let wanted = Wanted::of(&o.set);
    let mut machine = json!({
        "apiVersion": "machine.crit.sh/v1alpha1", "kind": "Machine",
        "metadata": {
            "name": name, "namespace": "fleet", "uid": format!("{name}-uid"), "resourceVersion": "5",
            "labels": wanted.labels, "annotations": wanted.annotations,
            "creationTimestamp": rfc3339(now() - seconds(600)),
        },
        "spec": {},
    });
    json_patch::merge(&mut machine, more);
    Arc::new(serde_json::from_value(machine).unwrap())
}

pub(super) fn member(o: &Observed, name: &str, more: &Value) -> Member {
    let machine = machine(o, name, more);
    Member {
        leaving: machine.metadata.deletion_timestamp.is_some(),
        stale: false,
        lacks_clone: false,
        machine,
    }
}

/// A set with machines.
pub(super) fn with(replicas: i32, machines: &[(&str, Value)]) -> Observed {
    let mut o = observed(set(replicas));
    o.members = machines
        .iter()
        .map(|(name, more)| member(&o, name, more))
        .collect();
    o
}

/// A machine whose Node has been Ready for so long.
pub(super) fn up(for_seconds: i64) -> Value {
    json!({ "status": {
        "nodeRef": { "kind": "Node", "name": "n" },
        "conditions": [{
            "type": "NodeHealthy", "status": "True", "reason": "NodeReady", "message": "",
            "lastTransitionTime": rfc3339(now() - seconds(for_seconds)),
        }],
    } })
}

pub(super) fn failed() -> Value {
    json!({ "status": { "phase": "Failed", "failureReason": "CreateError" } })
}

/// What a plan does, one line an effect.
pub(super) fn words(plan: &Plan) -> Vec<String> {
    plan.effects
        .iter()
        .flat_map(|effect| match effect {
            Effect::Together(all) => all.iter().map(ToString::to_string).collect(),
            other => vec![other.to_string()],
        })
        .collect()
}

pub(super) fn creates(plan: &Plan) -> Vec<Value> {
    all(plan)
        .into_iter()
        .filter_map(|e| match e {
            Effect::CreateOwned { object, owned, .. } => Some(json!({ "machine": object, "owned": owned })),
            _ => None,
        })
        .collect()
}

pub(super) fn all(plan: &Plan) -> Vec<&Effect> {
    plan.effects
        .iter()
        .flat_map(|effect| match effect {
            Effect::Together(all) => all.iter().collect(),
            other => vec![other],
        })
        .collect()
}

pub(super) fn deletes(plan: &Plan) -> Vec<String> {
    all(plan)
        .into_iter()
        .filter_map(|e| match e {
            Effect::Delete { key, .. } => Some(key.name.clone()),
            _ => None,
        })
        .collect()
}

pub(super) fn patches(plan: &Plan) -> BTreeMap<String, Value> {
    all(plan)
        .into_iter()
        .filter_map(|e| match e {
            Effect::Patch { key, patch, .. } => Some((key.name.clone(), patch.clone())),
            _ => None,
        })
        .collect()
}

pub(super) fn events(plan: &Plan) -> Vec<(String, String)> {
    all(plan)
        .into_iter()
        .filter_map(|e| match e {
            Effect::Emit(notice) => Some((notice.reason.clone(), notice.message.clone())),
            _ => None,
        })
        .collect()
}

pub(super) fn status(plan: &Plan) -> MachineSetStatus {
    serde_json::from_value(plan.status.clone().unwrap()).unwrap()
}

pub(super) fn condition(plan: &Plan, type_: &str) -> (String, String, String) {
    let list = status(plan).conditions;
    let found = list.iter().find(|c| c.type_ == type_).unwrap();
    (found.status.clone(), found.reason.clone(), found.message.clone())
}
