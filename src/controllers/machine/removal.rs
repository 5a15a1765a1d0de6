//! How a Machine goes: hooks, drain, volumes, hooks, infrastructure, Node, Secrets, finalizer, in this order. Pure.

use std::sync::Arc;

use k8s_openapi::{
    api::core::v1::{Node, Secret},
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::ResourceExt;
use serde_json::json;

use super::{
    bootstrap,
    drain::{self, Answer},
    farewell::{notice, status},
    hooks,
    observe::{ClusterView, InfrastructureView, Observed},
    plan::{has_node, key},
};
use crate::{
    api::{
        conditions::{self, Status, condition},
        duration::Duration,
        labels, names,
        v1alpha1::{ApiServerKind, MachinePhase},
    },
    controllers::effect::{Effect, Notice, ObjectKey, Plan, PodKey, Requeue, Target},
    time::{SignedDuration, Timestamp},
};

/// How often a Node that is being deleted is looked at.
const LOOK: SignedDuration = SignedDuration::from_secs(2);
/// Volumes are looked at this often at first, and this often when they take long.
const LOOK_VOLUMES: (SignedDuration, SignedDuration) =
    (SignedDuration::from_secs(2), SignedDuration::from_secs(20));
/// After this time a cluster that does not answer is no longer waited for.
const UNREACHABLE: SignedDuration = SignedDuration::from_mins(1);
/// How long to try to delete the Node, if the Machine does not say.
const NODE_DELETION: SignedDuration = SignedDuration::from_secs(10);

/// What a Machine that goes is waiting for, or what it has just done: reason and message of its Ready condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

pub(super) fn step(reason: &'static str, message: impl Into<String>) -> Step {
    Step {
        reason,
        message: message.into(),
    }
}

/// A plan under way: the conditions that it sets besides Ready.
struct Going<'a> {
    o: &'a Observed,
    now: Timestamp,
    plan: Plan,
    conditions: Vec<Condition>,
}

/// Says what to do.
pub(super) fn plan(o: &Observed, now: Timestamp) -> Plan {
    let finalizer = |f: &String| f == labels::MACHINE_FINALIZER;
    if !o.machine.finalizers().iter().any(finalizer) {
        return Plan::nothing();
    }
    let mut going = Going {
        o,
        now,
        plan: Plan::nothing(),
        conditions: Vec::new(),
    };
    match going.next() {
        Some(step) => {
            let told = notice(o, &step).map(Effect::Emit);
            going.plan.effects.extend(told);
            going.plan.status = Some(status(o, &step, going.conditions, now));
        }
        None => going
            .plan
            .effects
            .push(Effect::RemoveFinalizer(labels::MACHINE_FINALIZER)),
    }
    going.plan
}

impl Going<'_> {
    /// The step that the machine is at; nothing when it can go.
    fn next(&mut self) -> Option<Step> {
        let phase = self.o.machine.status.as_ref().and_then(|s| s.phase.as_deref());
        if phase != Some(MachinePhase::Terminating.as_str()) {
            return Some(self.begin());
        }
        guard(self.o)
            .or_else(|| self.drain())
            .or_else(|| self.volumes())
            .or_else(|| self.pre_terminate())
            .or_else(|| self.infrastructure())
            .or_else(|| self.node())
            .or_else(|| {
                self.secrets();
                None
            })
    }

    fn set(&mut self, type_: &str, so: Status, reason: &str, message: &str) {
        let generation = self.o.machine.metadata.generation;
        self.conditions
            .push(condition(type_, so, reason, message, generation, self.now));
    }

    /// The first word about it. Where there is nothing to drain it is said at once: that saves a write.
    fn begin(&mut self) -> Step {
        self.plan.requeue = Requeue::After(SignedDuration::ZERO);
        if guard(self.o).is_none()
            && hooks::pre_drain(&self.o.machine).is_empty()
            && let Verdict::Skip(skip) = verdict(self.o, self.now)
            && !skip.told
        {
            self.set(conditions::DRAINED, Status::True, skip.reason, &skip.message);
        }
        step("Terminating", "the machine is being deleted")
    }

    fn drain(&mut self) -> Option<Step> {
        if is_drained(self.o) {
            return None;
        }
        let hooks = hooks::pre_drain(&self.o.machine);
        if !hooks.is_empty() {
            return Some(step(
                "PreDrainHook",
                format!("waiting for {}", hooks::told(hooks)),
            ));
        }
        match verdict(self.o, self.now) {
            Verdict::Skip(skip) => {
                self.set(conditions::DRAINED, Status::True, skip.reason, &skip.message);
                if !skip.told {
                    return None;
                }
                self.plan.requeue = Requeue::After(SignedDuration::ZERO);
                Some(step(skip.reason, skip.message))
            }
            Verdict::Unreachable => {
                self.plan.requeue = Requeue::After(SignedDuration::from_secs(5));
                Some(step(
                    "Unreachable",
                    "the cluster's API server does not answer; the Node can't be drained",
                ))
            }
            Verdict::Drain(node, target) => Some(self.drain_node(&node, target)),
        }
    }

    fn drain_node(&mut self, node: &Node, target: Target) -> Step {
        if let Some(other) = &self.o.turn {
            let step = step(
                "WaitingForTurn",
                format!("waiting until control-plane machine {other} is drained: one at a time"),
            );
            self.set(conditions::DRAINED, Status::Unknown, step.reason, &step.message);
            return step;
        }
        let name = node.name_any();
        if node.spec.as_ref().and_then(|s| s.unschedulable) != Some(true) {
            self.plan.effects.push(cordon(node, target.clone()));
        }
        let Some(draining) = &self.o.draining else {
            // The Node came after the look at its pods.
            self.plan.requeue = Requeue::After(SignedDuration::ZERO);
            return step("Draining", format!("Node {name} is being drained"));
        };
        let since = since(self.o, conditions::DRAINED, "False", self.now);
        let drain = drain::drain(node, &draining.pods, &draining.refusals, since, self.now);
        if drain.progress.is_done() {
            self.set(conditions::DRAINED, Status::True, "Drained", "");
            self.plan.requeue = Requeue::After(SignedDuration::ZERO);
            return step("Drained", format!("success draining Machine's node \"{name}\""));
        }
        if !drain.evict.is_empty() {
            self.plan.effects.push(Effect::Evict {
                target,
                pods: drain.evict,
                grace: drain.grace,
            });
        }
        let step = step(drain.progress.reason(), drain.progress.to_string());
        self.set(conditions::DRAINED, Status::False, step.reason, &step.message);
        self.plan.requeue = Requeue::After(drain.look);
        step
    }

    fn volumes(&mut self) -> Option<Step> {
        let volumes = node_with_volumes(self.o).and(self.o.volumes.as_ref())?;
        let name = self.o.node.as_ref().map(|n| n.name_any()).unwrap_or_default();
        if volumes.is_empty() {
            self.set(conditions::VOLUMES_DETACHED, Status::True, "Detached", "");
            let waited = condition_of(self.o, conditions::VOLUMES_DETACHED).is_some();
            return waited.then(|| {
                self.plan.requeue = Requeue::After(SignedDuration::ZERO);
                step(
                    "VolumesDetached",
                    format!("no volumes are attached to Node {name}"),
                )
            });
        }
        let since = since(self.o, conditions::VOLUMES_DETACHED, "False", self.now);
        let told = format!(
            "{} attached to Node {name}: {}",
            if volumes.len() == 1 {
                "1 volume is still".to_owned()
            } else {
                format!("{} volumes are still", volumes.len())
            },
            drain::some(volumes)
        );
        let limit = limit(self.o.machine.spec.node_volume_detach_timeout);
        if since >= limit {
            let message = format!("nodeVolumeDetachTimeout is over; {told}");
            self.set(conditions::VOLUMES_DETACHED, Status::True, "TimedOut", &message);
            self.plan.requeue = Requeue::After(SignedDuration::ZERO);
            return Some(step("VolumeDetachTimedOut", message));
        }
        self.set(
            conditions::VOLUMES_DETACHED,
            Status::False,
            "WaitingForVolumeDetach",
            &told,
        );
        let look = (since / 6).clamp(LOOK_VOLUMES.0, LOOK_VOLUMES.1);
        self.plan.requeue = Requeue::After(look.min(limit - since));
        Some(step("WaitingForVolumeDetach", told))
    }

    fn pre_terminate(&self) -> Option<Step> {
        let hooks = hooks::pre_terminate(&self.o.machine);
        let step = || step("PreTerminateHook", format!("waiting for {}", hooks::told(hooks)));
        // Once the host goes it is too late.
        let late =
            matches!(self.o.infrastructure, InfrastructureView::Missing) || infrastructure_goes(self.o);
        (!hooks.is_empty() && !late).then(step)
    }

    fn infrastructure(&mut self) -> Option<Step> {
        let InfrastructureView::Found(infrastructure) = &self.o.infrastructure else {
            return None;
        };
        let object = &infrastructure.object;
        let uid = self.o.machine.uid();
        let ours =
            |r: &k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference| Some(&r.uid) == uid.as_ref();
        if !object.owner_references().iter().any(ours) {
            return None;
        }
        if object.metadata.deletion_timestamp.is_none() {
            self.plan.effects.push(Effect::Delete {
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
        self.set(
            conditions::INFRASTRUCTURE_READY,
            Status::Unknown,
            "DeletingInfrastructure",
            &message,
        );
        Some(step("DeletingInfrastructure", message))
    }

    fn node(&mut self) -> Option<Step> {
        let o = self.o;
        let (node, target) = (o.node.as_ref()?, o.target.clone()?);
        if !o.reachable || cluster_goes(o) || is_last_control_plane(o) || !has_node(o) {
            return None;
        }
        let gone = |message: &str| {
            (
                conditions::INFRASTRUCTURE_READY,
                Status::False,
                "Deleted",
                message.to_owned(),
            )
        };
        let begun = condition_of(o, conditions::INFRASTRUCTURE_READY)
            .filter(|c| c.reason == "Deleted")
            .map(|c| c.last_transition_time.0);
        let Some(begun) = begun else {
            let message = "the infrastructure is gone";
            let (type_, so, reason, message) = gone(message);
            self.set(type_, so, reason, &message);
            self.plan.requeue = Requeue::After(SignedDuration::ZERO);
            return Some(step("Deleted", message));
        };
        let own = o.machine.spec.node_deletion_timeout;
        let timeout = own.map_or(NODE_DELETION, |own| limit(Some(own)));
        // However late the look comes: it is tried once.
        let tried = condition_of(o, conditions::READY).is_some_and(|c| c.reason == "DeletingNode");
        if tried && self.now.duration_since(begun) > timeout {
            let message = format!(
                "error deleting Machine's node \"{}\": it is still there",
                node.name_any()
            );
            let notice = Notice::warning("FailedDeleteNode", message);
            self.plan.effects.push(Effect::Emit(notice));
            return None;
        }
        self.plan.effects.push(Effect::Delete {
            target,
            key: ObjectKey::to::<Node>(node),
            uid: node.uid(),
        });
        self.plan.requeue = Requeue::After(LOOK);
        let message = format!("waiting until Node {} is gone", node.name_any());
        let (type_, so, reason, text) = gone(&message);
        self.set(type_, so, reason, &text);
        Some(step("DeletingNode", message))
    }

    /// Takes away what was made for the machine.
    fn secrets(&mut self) {
        if self.o.data.is_none() {
            return;
        }
        self.plan.effects.extend(bootstrap::delete_token(self.o));
        let machine = &self.o.machine;
        let name = names::bootstrap_secret(&machine.name_any());
        self.plan.effects.push(Effect::Delete {
            target: Target::Management,
            key: ObjectKey::of::<Secret>(machine.metadata.namespace.as_deref(), &name),
            uid: None,
        });
    }
}

/// Keeps new pods off a Node.
fn cordon(node: &Node, target: Target) -> Effect {
    Effect::Patch {
        target,
        key: ObjectKey::to::<Node>(node),
        patch: json!({ "spec": { "unschedulable": true } }),
        optional: true,
    }
}

/// What is to be done about the pods of a Machine that goes, hooks aside.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Nothing.
    Skip(Skip),
    /// They can't be reached now.
    Unreachable,
    /// They have to leave this Node.
    Drain(Arc<Node>, Target),
}

/// Why pods stay.
#[derive(Debug)]
pub(super) struct Skip {
    reason: &'static str,
    message: String,
    /// Whether people are told by an Event: not where there is nothing to drain in any case.
    told: bool,
}

/// Judges what is to be done about the pods.
pub(super) fn verdict(o: &Observed, now: Timestamp) -> Verdict {
    let skip = |reason, message: String, told| {
        Verdict::Skip(Skip {
            reason,
            message,
            told,
        })
    };
    let quiet = |message: &str| skip("DrainSkipped", message.to_owned(), false);
    if !has_node(o) {
        return quiet("the machine has no Node");
    }
    if cluster_goes(o) {
        return quiet("the whole cluster goes");
    }
    if is_last_control_plane(o) {
        return quiet("there is no other control-plane machine");
    }
    if o.machine
        .annotations()
        .contains_key(labels::EXCLUDE_NODE_DRAINING)
    {
        let message = format!("annotation {} is set", labels::EXCLUDE_NODE_DRAINING);
        return skip("DrainSkipped", message, true);
    }
    let drained_for = since(o, conditions::DRAINED, "False", now);
    if drained_for >= limit(o.machine.spec.node_drain_timeout) {
        let left = condition_of(o, conditions::DRAINED).map(|c| format!("; {}", c.message));
        let message = format!("nodeDrainTimeout is over{}", left.unwrap_or_default());
        return skip("DrainTimedOut", message, true);
    }
    if !o.reachable {
        let silent = silent_for(o, now);
        return if nobody_answers(o) || silent > UNREACHABLE.min(limit(o.machine.spec.node_drain_timeout)) {
            skip(
                "DrainSkipped",
                "the cluster's API server does not answer".to_owned(),
                true,
            )
        } else {
            Verdict::Unreachable
        };
    }
    match (&o.node, &o.target) {
        (Some(node), Some(target)) => Verdict::Drain(Arc::clone(node), target.clone()),
        _ => quiet("the Node is gone"),
    }
}

/// The Node whose pods are to be looked at, as far as nothing holds it up.
pub(super) fn node_to_drain(o: &Observed, now: Timestamp) -> Option<Arc<Node>> {
    if is_drained(o) || !hooks::pre_drain(&o.machine).is_empty() || guard(o).is_some() {
        return None;
    }
    match verdict(o, now) {
        Verdict::Drain(node, _) => Some(node),
        Verdict::Skip(_) | Verdict::Unreachable => None,
    }
}

/// The Node whose volumes are to be detached first: one that was drained, has a kubelet, and where nobody said otherwise.
pub(super) fn node_with_volumes(o: &Observed) -> Option<&Arc<Node>> {
    let drained =
        condition_of(o, conditions::DRAINED).is_some_and(|c| c.status == "True" && c.reason == "Drained");
    let detached = condition_of(o, conditions::VOLUMES_DETACHED).is_some_and(|c| c.status == "True");
    let excluded = o
        .machine
        .annotations()
        .contains_key(labels::EXCLUDE_VOLUME_DETACH);
    let late = infrastructure_goes(o) || matches!(o.infrastructure, InfrastructureView::Missing);
    o.node
        .as_ref()
        .filter(|node| !drain::is_unheard_of(node))
        .filter(|_| drained && !detached && !excluded && !late && o.reachable && !cluster_goes(o))
}

/// Whether the pods are no longer waited for.
pub(super) fn is_drained(o: &Observed) -> bool {
    condition_of(o, conditions::DRAINED).is_some_and(|c| c.status == "True")
}

/// Takes into account what pods were answered, so that the same look can tell of it.
pub(super) fn take_answers(o: &mut Observed, answers: Vec<(PodKey, Answer)>, now: Timestamp) {
    if let Some(draining) = &mut o.draining {
        drain::take(&mut draining.pods, &mut draining.refusals, answers, now);
    }
}

/// The last control-plane machine of a cluster that is to stay: without it the cluster is lost.
fn guard(o: &Observed) -> Option<Step> {
    let ClusterView::Found(cluster) = &o.cluster else {
        return None;
    };
    let machine = &o.machine;
    let stays =
        cluster.metadata.deletion_timestamp.is_none() && cluster.spec.api_server == ApiServerKind::Own;
    let allowed = machine
        .annotations()
        .contains_key(labels::ALLOW_LAST_CONTROL_PLANE_DELETION);
    let worked = has_node(o) || cluster.status.as_ref().is_some_and(|s| s.control_plane_ready);
    let late = infrastructure_goes(o) || matches!(o.infrastructure, InfrastructureView::Missing);
    let rank = |m: &crate::api::v1alpha1::Machine| {
        (m.metadata.deletion_timestamp.as_ref().map(|t| t.0), m.name_any())
    };
    // Of several that go, the last one is held.
    let is_last = machine.is_control_plane()
        && o.peers
            .iter()
            .all(|peer| peer.metadata.deletion_timestamp.is_some() && rank(peer) < rank(machine));
    (stays && worked && is_last && !allowed && !late).then(|| {
        let name = cluster.name_any();
        step(
            "LastControlPlane",
            format!(
                "it is the last control-plane machine of Cluster {name}; delete the Cluster, or, to lose it, annotate the machine: {}=\"\"",
                labels::ALLOW_LAST_CONTROL_PLANE_DELETION
            ),
        )
    })
}

/// Whether the infrastructure object is being deleted.
fn infrastructure_goes(o: &Observed) -> bool {
    matches!(&o.infrastructure, InfrastructureView::Found(i) if i.object.metadata.deletion_timestamp.is_some())
}

fn condition_of<'a>(o: &'a Observed, type_: &str) -> Option<&'a Condition> {
    conditions::find(&o.machine.status.as_ref()?.conditions, type_)
}

/// For how long a condition has been so; zero if it is not.
fn since(o: &Observed, type_: &str, so: &str, now: Timestamp) -> SignedDuration {
    condition_of(o, type_)
        .filter(|c| c.status == so)
        .map_or(SignedDuration::ZERO, |c| {
            now.duration_since(c.last_transition_time.0)
        })
}

/// A limit in which nothing and 0 mean: none.
fn limit(timeout: Option<Duration>) -> SignedDuration {
    timeout
        .map(Duration::span)
        .filter(|t| !t.is_zero())
        .unwrap_or(SignedDuration::MAX)
}

/// For how long the API server has been known not to answer.
fn silent_for(o: &Observed, now: Timestamp) -> SignedDuration {
    let deleted = o
        .machine
        .metadata
        .deletion_timestamp
        .as_ref()
        .map_or(now, |t| t.0);
    condition_of(o, conditions::NODE_HEALTHY)
        .filter(|c| c.reason == "Unreachable")
        .map_or(SignedDuration::ZERO, |c| {
            now.duration_since(c.last_transition_time.0.max(deleted))
        })
}

/// Whether nobody is left who could answer.
fn nobody_answers(o: &Observed) -> bool {
    matches!(o.target, Some(Target::Cluster(_))) && o.control_plane.is_empty()
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
    o.machine.is_control_plane() && o.peers.is_empty()
}

#[cfg(test)]
#[path = "removal_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "removal_simulation.rs"]
mod simulation;
