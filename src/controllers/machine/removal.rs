//! How a Machine goes: drain, infrastructure, Node, Secrets, finalizer, in this order. Pure.

use k8s_openapi::api::core::v1::{Node, Secret};
use kube::ResourceExt;
use serde_json::json;

use super::{
    bootstrap,
    drain::{self, Left},
    observe::{ClusterView, InfrastructureView, Observed},
    plan::{has_node, key},
    status::{finish, node_health, ready_of},
};
use crate::{
    api::{
        conditions::{self, Status, condition},
        labels, names,
        v1alpha1::{LifecycleHook, MachinePhase},
    },
    controllers::effect::{Effect, Notice, ObjectKey, Plan, Requeue, Target},
    time::{SignedDuration, Timestamp},
};

/// How often a Node with pods that leave is looked at.
const LOOK: SignedDuration = SignedDuration::from_secs(2);
/// This many pods are asked to leave in one look at most, so that a look stays short.
const EVICTIONS: usize = 20;
/// After this time a cluster that does not answer is no longer waited for.
const UNREACHABLE: SignedDuration = SignedDuration::from_mins(1);
/// How long to try to delete the Node, if the Machine does not say.
const NODE_DELETION: SignedDuration = SignedDuration::from_secs(10);

/// What a Machine that goes is waiting for.
struct Step {
    reason: &'static str,
    message: String,
}

/// Says what to do.
pub(super) fn plan(o: &Observed, now: Timestamp) -> Plan {
    let mut plan = Plan::nothing();
    if !o
        .machine
        .finalizers()
        .iter()
        .any(|f| f == labels::MACHINE_FINALIZER)
    {
        return plan;
    }
    let phase = o.machine.status.as_ref().and_then(|s| s.phase.as_deref());
    let told = phase == Some(MachinePhase::Terminating.as_str());
    let wait = |plan: &mut Plan, step: &Step| plan.status = Some(status(o, step, now));
    if !told {
        wait(&mut plan, &step("Terminating", "the machine is being deleted"));
        plan.requeue = Requeue::After(SignedDuration::ZERO);
        return plan;
    }
    if let Some(step) = hooks(o, |h| &h.pre_drain, "PreDrainHook") {
        wait(&mut plan, &step);
        return plan;
    }
    if let Some(step) = drain(o, now, &mut plan) {
        wait(&mut plan, &step);
        return plan;
    }
    if let Some(step) = hooks(o, |h| &h.pre_terminate, "PreTerminateHook") {
        wait(&mut plan, &step);
        return plan;
    }
    if let Some(step) = infrastructure(o, &mut plan) {
        wait(&mut plan, &step);
        return plan;
    }
    if let Some(step) = node(o, now, &mut plan) {
        wait(&mut plan, &step);
        return plan;
    }
    if o.data.is_some() {
        plan.effects.extend(bootstrap::delete_token(o));
        let name = names::bootstrap_secret(&o.machine.name_any());
        plan.effects.push(Effect::Delete {
            target: Target::Management,
            key: ObjectKey::of::<Secret>(o.machine.metadata.namespace.as_deref(), &name),
            uid: None,
        });
    }
    plan.effects
        .push(Effect::RemoveFinalizer(labels::MACHINE_FINALIZER));
    plan
}

fn step(reason: &'static str, message: impl Into<String>) -> Step {
    Step {
        reason,
        message: message.into(),
    }
}

fn hooks(
    o: &Observed,
    of: fn(&crate::api::v1alpha1::LifecycleHooks) -> &Vec<LifecycleHook>,
    reason: &'static str,
) -> Option<Step> {
    let hook = o.machine.spec.lifecycle_hooks.as_ref().map(of)?.first()?;
    Some(step(
        reason,
        format!("waiting until {} takes the hook {} away", hook.owner, hook.name),
    ))
}

/// The Node that has to be drained, if there is one and it can be.
pub(super) fn node_to_drain(o: &Observed, now: Timestamp) -> Option<String> {
    let node = o.node.as_ref().filter(|_| has_node(o) && o.reachable)?;
    let machine = &o.machine;
    let excluded = machine.annotations().contains_key(labels::EXCLUDE_NODE_DRAINING);
    let hooked = hooks(o, |h| &h.pre_drain, "PreDrainHook").is_some();
    let done = machine
        .status
        .as_ref()
        .is_some_and(|s| conditions::is_true(&s.conditions, conditions::DRAINED));
    let over = since_deletion(o, now)
        >= limit(
            machine
                .spec
                .node_drain_timeout
                .map(crate::api::duration::Duration::span),
        );
    let going = cluster_goes(o) || is_last_control_plane(o);
    (!excluded && !hooked && !done && !over && !going).then(|| node.name_any())
}

fn drain(o: &Observed, now: Timestamp, plan: &mut Plan) -> Option<Step> {
    if has_node(o) && waits_for_answer(o, now) {
        plan.requeue = Requeue::After(SignedDuration::from_secs(5));
        return Some(step(
            "Unreachable",
            "the cluster's API server does not answer; the Node can't be drained",
        ));
    }
    let (name, node) = (node_to_drain(o, now)?, o.node.as_ref()?);
    let target = o.target.clone()?;
    if node.spec.as_ref().and_then(|s| s.unschedulable) != Some(true) {
        plan.effects.push(Effect::Patch {
            target: target.clone(),
            key: ObjectKey::to::<Node>(node),
            patch: json!({ "spec": { "unschedulable": true } }),
            optional: true,
        });
    }
    let unreachable = ready_of(node).is_none_or(|(status, _)| status == "Unknown");
    let pods = o.draining.as_ref().map_or(&[][..], |d| &d.pods);
    let left: Left = drain::left(&name, pods, unreachable);
    if left.is_empty() {
        let notice = Notice::normal(
            "SuccessfulDrainNode",
            format!("success draining Machine's node \"{name}\""),
        );
        plan.effects.push(Effect::Emit(notice));
        plan.requeue = Requeue::After(SignedDuration::ZERO);
        return Some(step("Drained", ""));
    }
    let message = format!("{} pods have to leave Node {name}", left.len());
    for (namespace, pod) in left.to_evict.into_iter().take(EVICTIONS) {
        plan.effects.push(Effect::Evict {
            target: target.clone(),
            namespace,
            pod,
        });
    }
    plan.requeue = Requeue::After(LOOK);
    Some(step("Draining", message))
}

fn infrastructure(o: &Observed, plan: &mut Plan) -> Option<Step> {
    let InfrastructureView::Found(infrastructure) = &o.infrastructure else {
        return None;
    };
    let object = &infrastructure.object;
    let uid = o.machine.uid();
    let ours = object
        .owner_references()
        .iter()
        .any(|r| Some(&r.uid) == uid.as_ref());
    if !ours {
        return None;
    }
    if object.metadata.deletion_timestamp.is_none() {
        plan.effects.push(Effect::Delete {
            target: Target::Management,
            key: key(&infrastructure.resource, object),
            uid: object.uid(),
        });
    }
    let message = format!(
        "waiting until {} {} is gone",
        infrastructure.resource.kind,
        object.name_any()
    );
    Some(step("DeletingInfrastructure", message))
}

fn node(o: &Observed, now: Timestamp, plan: &mut Plan) -> Option<Step> {
    let (node, target) = (o.node.as_ref()?, o.target.clone()?);
    if !o.reachable || cluster_goes(o) || is_last_control_plane(o) || !has_node(o) {
        return None;
    }
    let status = o.machine.status.clone().unwrap_or_default();
    let begun = conditions::find(&status.conditions, conditions::INFRASTRUCTURE_READY)
        .filter(|c| c.reason == "Deleted")
        .map(|c| c.last_transition_time.0);
    let Some(begun) = begun else {
        plan.requeue = Requeue::After(SignedDuration::ZERO);
        return Some(step("Deleted", "the infrastructure is gone"));
    };
    let own = o
        .machine
        .spec
        .node_deletion_timeout
        .map(crate::api::duration::Duration::span);
    let timeout = limit(Some(own.unwrap_or(NODE_DELETION)));
    if now.duration_since(begun) > timeout {
        let message = format!(
            "error deleting Machine's node \"{}\": it is still there",
            node.name_any()
        );
        plan.effects
            .push(Effect::Emit(Notice::warning("FailedDeleteNode", message)));
        return None;
    }
    plan.effects.push(Effect::Delete {
        target,
        key: ObjectKey::to::<Node>(node),
        uid: node.uid(),
    });
    plan.requeue = Requeue::After(LOOK);
    Some(step(
        "DeletingNode",
        format!("waiting until Node {} is gone", node.name_any()),
    ))
}

/// A limit in which nothing and 0 mean: none.
fn limit(timeout: Option<SignedDuration>) -> SignedDuration {
    timeout.filter(|t| !t.is_zero()).unwrap_or(SignedDuration::MAX)
}

fn since_deletion(o: &Observed, now: Timestamp) -> SignedDuration {
    let begun = o
        .machine
        .metadata
        .deletion_timestamp
        .as_ref()
        .map_or(now, |t| t.0);
    now.duration_since(begun)
}

/// Whether the whole cluster goes: nobody needs its Nodes any more.
fn cluster_goes(o: &Observed) -> bool {
    match &o.cluster {
        ClusterView::NotNamed => false,
        ClusterView::Missing(_) => true,
        ClusterView::Found(cluster) => cluster.metadata.deletion_timestamp.is_some(),
    }
}

/// The last control-plane machine: behind it there is nobody who could take pods, or a Node's deletion.
fn is_last_control_plane(o: &Observed) -> bool {
    o.machine.is_control_plane() && o.other_control_planes == 0
}

/// Whether an API server that does not answer is still waited for.
fn waits_for_answer(o: &Observed, now: Timestamp) -> bool {
    let excluded = o
        .machine
        .annotations()
        .contains_key(labels::EXCLUDE_NODE_DRAINING);
    let nobody_left = matches!(o.target, Some(Target::Cluster(_))) && o.control_plane.is_empty();
    let over = since_deletion(o, now)
        > UNREACHABLE.min(limit(
            o.machine
                .spec
                .node_drain_timeout
                .map(crate::api::duration::Duration::span),
        ));
    !o.reachable && !cluster_goes(o) && !nobody_left && !over && !excluded
}

fn status(o: &Observed, step: &Step, now: Timestamp) -> serde_json::Value {
    let mut s = o.machine.status.clone().unwrap_or_default();
    let generation = o.machine.metadata.generation;
    s.phase = Some(MachinePhase::Terminating.as_str().to_owned());
    s.observed_generation = generation;
    let infrastructure = match step.reason {
        "DeletingInfrastructure" => Some((Status::Unknown, step.reason)),
        "Deleted" | "DeletingNode" => Some((Status::False, "Deleted")),
        _ => None,
    };
    let mut list = Vec::new();
    if let Some((so, reason)) = infrastructure {
        list.push(condition(
            conditions::INFRASTRUCTURE_READY,
            so,
            reason,
            step.message.clone(),
            generation,
            now,
        ));
    }
    match step.reason {
        "Draining" => list.push(condition(
            conditions::DRAINED,
            Status::False,
            step.reason,
            step.message.clone(),
            generation,
            now,
        )),
        "Drained" => list.push(condition(
            conditions::DRAINED,
            Status::True,
            step.reason,
            "",
            generation,
            now,
        )),
        _ => {}
    }
    list.push(node_health(o, &s, now));
    let mut value = finish(s, list, now);
    // Whatever else is so: a machine that goes is not ready.
    if let Some(ready) = value["conditions"]
        .as_array_mut()
        .and_then(|list| list.iter_mut().find(|c| c["type"] == conditions::READY))
    {
        ready["status"] = json!("False");
        ready["reason"] = json!(step.reason);
        ready["message"] = json!(step.message);
    }
    value
}

#[cfg(test)]
#[path = "removal_tests.rs"]
mod tests;
