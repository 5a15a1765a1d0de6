//! What to do about an infrastructure object. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, OwnerReference};
use kube::{ResourceExt, api::DynamicObject};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    observe::Observed,
    status::{self, Progress},
};
use crate::{
    api::{MACHINE_GROUP, conditions, labels, v1alpha1::NodeImage},
    controllers::effect::{Effect, Notice, ObjectKey, Plan, Requeue, Target},
    providers::{Deletion, Instance, InstanceKey, InstanceSpec, InstanceState, Known, Role, hollow},
    time::{SignedDuration, Timestamp},
};

/// After this many tries in a row a machine has failed.
const TRIES: i64 = 3;
/// The second try comes after this time, the third after twice as long.
const RETRY: SignedDuration = SignedDuration::from_secs(5);
/// How often an instance that comes up is looked at.
const LOOK: SignedDuration = SignedDuration::from_millis(500);
/// How often an instance that goes away is looked at.
const LOOK_AWAY: SignedDuration = SignedDuration::from_millis(500);

/// Says what to do.
pub(crate) fn plan(o: &Observed, now: Timestamp) -> Plan {
    if o.object.metadata.deletion_timestamp.is_some() {
        return remove(o, now);
    }
    if o.machine.is_none() || has_failed(o) {
        // Without a Machine there is nothing to be; a machine that failed stays so until its spec changes.
        return Plan::nothing();
    }
    let mut plan = Plan::nothing();
    plan.effects.extend(prepare(o));
    let o = &Observed {
        changed_spec: o.changed_spec || changes_spec(&plan),
        ..o.clone()
    };
    bring_up(o, now, &mut plan);
    plan
}

/// Finalizer and provider id, before anything exists outside.
fn prepare(o: &Observed) -> Option<Effect> {
    let mut metadata = json!({});
    let mut spec = json!({});
    let finalizer = finalizer(&o.kind);
    if !o.object.finalizers().iter().any(|f| f == finalizer) {
        let mut finalizers = o.object.finalizers().to_vec();
        finalizers.push(finalizer.to_owned());
        metadata = json!({ "finalizers": finalizers, "resourceVersion": o.object.resource_version() });
    }
    if provider_id_of(&o.object).is_none()
        && let Some(id) = provider_id(o).or_else(|| o.instance.as_ref().map(|i| i.provider_id.clone()))
    {
        spec = json!({ "providerID": id });
    }
    let needed = metadata != json!({}) || spec != json!({});
    (needed && !o.prepared).then(|| Effect::Patch {
        target: Target::Management,
        key: key(o),
        patch: json!({ "metadata": metadata, "spec": spec }),
        optional: false,
    })
}

/// Whether a plan writes the provider id.
pub(super) fn changes_spec(plan: &Plan) -> bool {
    plan.effects
        .iter()
        .any(|e| matches!(e, Effect::Patch { patch, .. } if patch["spec"] != json!({})))
}

fn bring_up(o: &Observed, now: Timestamp, plan: &mut Plan) {
    let mut say = |progress: Progress<'_>| plan.status = Some(status::status(o, &progress, now));
    if let Some(failure) = &o.failure {
        say(match &failure.terminal {
            Some(reason) => Progress::Failed {
                instance: None,
                reason,
                message: &failure.message,
            },
            None => Progress::Trouble(&failure.message),
        });
        if failure.terminal.is_some() {
            plan.effects
                .push(Effect::Emit(Notice::warning("FailedCreate", &failure.message)));
        }
        return;
    }
    match &o.instance {
        None if was_ready(o) && !o.may_remake => {
            let message =
                "the instance is gone although it had been ready; delete the Machine and make a new one";
            say(Progress::Failed {
                instance: None,
                reason: "UpdateError",
                message,
            });
            plan.effects
                .push(Effect::Emit(Notice::warning("InstanceGone", message)));
        }
        None if o.needs_bootstrap && o.bootstrap.is_none() => say(Progress::WaitingForData),
        // The answer comes in this look: the status is planned with it.
        None => plan
            .effects
            .push(Effect::CreateInstance(Box::new(instance_spec(o)))),
        Some(instance) => follow(o, instance, now, plan),
    }
}

fn follow(o: &Observed, instance: &Instance, now: Timestamp, plan: &mut Plan) {
    if o.created {
        let events = instance
            .notes
            .iter()
            .map(|(reason, message)| Notice::normal(reason, message));
        plan.effects.extend(events.map(Effect::Emit));
    }
    let mut say = |progress: Progress<'_>| plan.status = Some(status::status(o, &progress, now));
    match &instance.state {
        InstanceState::Running => say(Progress::Running(instance)),
        InstanceState::Booting => {
            say(Progress::Booting(instance));
            plan.requeue = Requeue::After(instance.settled_for.unwrap_or(LOOK));
        }
        InstanceState::Bootstrapping => {
            say(Progress::Bootstrapping(instance));
            plan.requeue = Requeue::After(LOOK);
        }
        InstanceState::Stopped if o.created => {
            say(Progress::Trouble("the instance does not stay up"));
            plan.requeue = Requeue::After(RETRY);
        }
        InstanceState::Stopped => plan
            .effects
            .push(Effect::CreateInstance(Box::new(instance_spec(o)))),
        InstanceState::Failed { reason, message } => {
            // The third, sixth … try is the last one; a change of the spec begins anew.
            if given_up(o, instance) {
                plan.effects.push(Effect::CreateInstance(Box::new(InstanceSpec {
                    attempt: instance.attempt + 1,
                    ..instance_spec(o)
                })));
                return;
            }
            if instance.attempt % TRIES == 0 {
                say(Progress::Failed {
                    instance: Some(instance),
                    reason: "CreateError",
                    message,
                });
                plan.effects
                    .push(Effect::Emit(Notice::warning("FailedCreate", message)));
                return;
            }
            let wait = RETRY * i32::try_from(instance.attempt % TRIES).unwrap_or(1);
            let due = failed_at(o).map_or(now, |at| at) + wait;
            if failed_at(o).is_some() && now >= due {
                let mut next = instance_spec(o);
                next.attempt = instance.attempt + 1;
                if o.bootstrap.is_some() || !o.needs_bootstrap {
                    plan.effects.push(Effect::CreateInstance(Box::new(next)));
                    return;
                }
            }
            say(Progress::Retrying {
                instance,
                reason,
                message,
            });
            plan.requeue = Requeue::After(due.duration_since(now).max(LOOK));
        }
    }
}

fn remove(o: &Observed, now: Timestamp) -> Plan {
    let finalizer = finalizer(&o.kind);
    let mut plan = Plan::nothing();
    if !o.object.finalizers().iter().any(|f| f == finalizer) {
        return plan;
    }
    match (&o.deletion, &o.failure) {
        (Some(Deletion::Gone), _) => plan.effects.push(Effect::RemoveFinalizer(finalizer)),
        (Some(Deletion::InProgress), _) => plan.requeue = Requeue::After(LOOK_AWAY),
        (Some(Deletion::Takes(time)), _) => plan.requeue = Requeue::After(*time),
        (None, Some(failure)) => {
            plan.status = Some(status::status(o, &Progress::Trouble(&failure.message), now));
            plan.requeue = Requeue::After(SignedDuration::from_secs(30));
        }
        (None, None) => plan
            .effects
            .push(Effect::DeleteInstance(Box::new(instance_spec(o)))),
    }
    plan
}

/// Says what the instance should be.
pub(super) fn instance_spec(o: &Observed) -> InstanceSpec {
    let spec = o.object.data.get("spec").cloned().unwrap_or_default();
    let machine = o.machine.as_deref();
    let text = |pointer: &str| spec.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    InstanceSpec {
        key: InstanceKey {
            namespace: o.object.namespace().unwrap_or_default(),
            name: o.object.name_any(),
            uid: o.object.uid().unwrap_or_default(),
        },
        machine: machine_name(o),
        cluster: text("/clusterName").or_else(|| machine.and_then(|m| m.spec.cluster_name.clone())),
        role: if machine.is_some_and(crate::api::v1alpha1::Machine::is_control_plane) {
            Role::ControlPlane
        } else {
            Role::Worker
        },
        version: machine
            .and_then(|m| m.spec.version.clone())
            .or_else(|| o.cluster.as_ref().and_then(|c| c.spec.version.clone())),
        bootstrap: o.bootstrap.clone(),
        attempt: next_attempt(o),
        infrastructure: spec,
        known: known(o),
    }
}

/// Name of the Machine that owns the object, be it gone or not; else the object's own.
pub(super) fn machine_name(o: &Observed) -> String {
    o.machine
        .as_deref()
        .map(ResourceExt::name_any)
        .or_else(|| owner_reference(&o.object).map(|r| r.name.clone()))
        .unwrap_or_else(|| o.object.name_any())
}

/// What the object and the Nodes tell of the instance.
fn known(o: &Observed) -> Known {
    let conditions = status::conditions(&o.object);
    let ready = conditions::find(&conditions, conditions::READY);
    let since = |is_so: &dyn Fn(&Condition) -> bool| {
        let ready = ready.filter(|c| is_so(c))?;
        Some(ready.last_transition_time.0)
    };
    Known {
        node: o.node.clone(),
        booting_since: since(&|c| c.reason == status::BOOTING),
        ready_since: since(&|c| c.status == "True"),
        deleting_since: o.object.metadata.deletion_timestamp.as_ref().map(|t| t.0),
    }
}

/// The try that is on, or comes next.
fn next_attempt(o: &Observed) -> i64 {
    let made = attempts(&o.object);
    // After a failure that a change of the spec has made good, a new row of tries begins.
    let failed = o
        .object
        .data
        .pointer("/status/failureReason")
        .is_some_and(|r| !r.is_null());
    if failed && made > 0 { made + 1 } else { made.max(1) }
}

/// Whether the instance is the one over which the machine failed, before its spec changed.
fn given_up(o: &Observed, instance: &Instance) -> bool {
    let failed = o
        .object
        .data
        .pointer("/status/failureReason")
        .is_some_and(|r| !r.is_null());
    failed && attempts(&o.object) == instance.attempt
}

/// How often the instance was made.
fn attempts(object: &DynamicObject) -> i64 {
    object
        .data
        .pointer("/status/attempts")
        .and_then(Value::as_i64)
        .unwrap_or(0)
}

/// Whether the machine has failed and its spec has not changed since.
pub(super) fn has_failed(o: &Observed) -> bool {
    let failed = o
        .object
        .data
        .pointer("/status/failureReason")
        .is_some_and(|r| !r.is_null());
    let judged = status::conditions(&o.object)
        .iter()
        .find(|c| c.type_ == conditions::READY)
        .and_then(|c| c.observed_generation);
    failed && judged == o.object.metadata.generation
}

/// Whether an instance may be made in this look.
pub(super) fn may_need_data(o: &Observed) -> bool {
    o.instance
        .as_ref()
        .is_none_or(|i| matches!(i.state, InstanceState::Failed { .. } | InstanceState::Stopped))
}

fn was_ready(o: &Observed) -> bool {
    o.object.data.pointer("/status/ready").and_then(Value::as_bool) == Some(true)
}

/// When the present try failed.
fn failed_at(o: &Observed) -> Option<Timestamp> {
    status::conditions(&o.object)
        .iter()
        .find(|c| c.type_ == conditions::BOOTSTRAPPED && c.status == "False")
        .map(|c| c.last_transition_time.0)
}

/// What the object says about its node image.
pub(super) fn published_image(object: &DynamicObject) -> Option<NodeImage> {
    object
        .data
        .pointer("/status/nodeImage")
        .and_then(|image| Deserialize::deserialize(image).ok())
}

/// The reference to the Machine that owns the object.
pub(super) fn owner_reference(object: &DynamicObject) -> Option<&OwnerReference> {
    object
        .owner_references()
        .iter()
        .find(|r| r.kind == "Machine" && r.api_version.starts_with(MACHINE_GROUP))
}

fn provider_id_of(object: &DynamicObject) -> Option<&str> {
    object
        .data
        .pointer("/spec/providerID")
        .and_then(Value::as_str)
        .filter(|id| !id.is_empty())
}

/// What an infrastructure object needs before an instance may be made for it: its finalizers, and its `spec.providerID` for kinds where
/// that follows from kind, namespace, name and `spec`. An object that is made with both, as a clone of a template is, is not patched again.
/// The namespace and name are those that the object will have; an id that the spec gives already wins.
pub(crate) fn born(kind: &str, namespace: &str, name: &str, spec: &Value) -> (Vec<String>, Option<String>) {
    let text = |field: &str| spec.get(field).and_then(Value::as_str).filter(|t| !t.is_empty());
    let id = match (text("providerID"), kind) {
        (Some(id), _) => Some(id.to_owned()),
        (None, "DockerMachine") => text("containerName").map(|name| format!("docker://{name}")),
        (None, "HollowMachine") => Some(hollow::provider_id(&InstanceKey {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: String::new(),
        })),
        _ => None,
    };
    (vec![finalizer(kind).to_owned()], id)
}

/// The provider id that follows from the spec, for kinds where it does.
fn provider_id(o: &Observed) -> Option<String> {
    let spec = o.object.data.get("spec").unwrap_or(&Value::Null);
    let namespace = o.object.namespace().unwrap_or_default();
    born(&o.kind, &namespace, &o.object.name_any(), spec).1
}

/// The finalizer of a kind.
pub(crate) fn finalizer(kind: &str) -> &'static str {
    match kind {
        "DockerMachine" => labels::DOCKER_MACHINE_FINALIZER,
        "HollowMachine" => labels::HOLLOW_MACHINE_FINALIZER,
        _ => "infrastructure.crit.sh/instance",
    }
}

fn key(o: &Observed) -> ObjectKey {
    let gvk =
        kube::api::GroupVersionKind::gvk(crate::api::INFRASTRUCTURE_GROUP, crate::api::VERSION, &o.kind);
    ObjectKey {
        resource: kube::api::ApiResource::from_gvk(&gvk),
        namespace: o.object.namespace(),
        name: o.object.name_any(),
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
