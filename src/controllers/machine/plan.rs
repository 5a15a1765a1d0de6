//! What to do about a Machine that is to be. Pure.

use kube::{
    ResourceExt,
    api::{ApiResource, DynamicObject},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    bootstrap::{self, Data},
    link::Conflict,
    observe::{Infrastructure, InfrastructureView, Observed},
    status::{Bootstrap, Facts, status},
};
use crate::{
    api::{conditions, labels},
    controllers::effect::{Effect, Notice, ObjectKey, Plan, Requeue, Target, controller_reference},
    time::{SignedDuration, Timestamp},
};

/// Annotation on a Secret with bootstrap data: id of the token in it.
pub(super) const TOKEN_ID: &str = "machine.crit.sh/token-id";
/// Annotation on a Secret with bootstrap data: when the token in it runs out.
pub(super) const TOKEN_EXPIRES: &str = "machine.crit.sh/token-expires";
/// How often something is looked for that nobody tells of.
const LOOK: SignedDuration = SignedDuration::from_secs(30);
/// For this long nothing is told of a new Machine that only waits for its infrastructure: most come up at once, and one write of the status
/// says it all. Creation times are whole seconds.
const BIRTH: SignedDuration = SignedDuration::from_secs(2);
/// How often a machine is looked at that waits for its token to be replaced, should it run out.
const LOOK_TOKEN: SignedDuration = SignedDuration::from_mins(4);

/// Where a Machine's bootstrap data comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DataSource {
    /// Its infrastructure needs none, or there is none.
    NotNeeded,
    /// The instance was made from it: it no longer matters.
    Done,
    /// Somebody else makes it: this Secret.
    Foreign(String),
    /// Its Config.
    Config,
    /// Its infrastructure needs some, and there is nothing to make it from.
    NoConfig,
}

/// Says where the bootstrap data comes from.
pub(super) fn data_source(o: &Observed) -> DataSource {
    let InfrastructureView::Found(infrastructure) = &o.infrastructure else {
        return DataSource::NotNeeded;
    };
    if infrastructure.needs_bootstrap == Some(false) {
        return DataSource::NotNeeded;
    }
    if is_ready(&infrastructure.object) || has_node(o) {
        return DataSource::Done;
    }
    let spec = &o.machine.spec;
    if let Some(name) = spec.bootstrap.as_ref().and_then(|b| b.data_secret_name.clone()) {
        return DataSource::Foreign(name);
    }
    let named = spec.config_ref.as_ref().is_some_and(|r| r.name.is_some());
    match (named, infrastructure.needs_bootstrap) {
        (true, _) => DataSource::Config,
        (false, Some(_)) => DataSource::NoConfig,
        // A kind of somebody else may well come up without.
        (false, None) => DataSource::NotNeeded,
    }
}

/// Says what to do.
pub(super) fn plan(o: &Observed, now: Timestamp) -> Plan {
    let mut plan = Plan::nothing();
    let mut facts = Facts::default();
    if !o
        .machine
        .finalizers()
        .iter()
        .any(|f| f == labels::MACHINE_FINALIZER)
    {
        plan.effects.push(Effect::AddFinalizer(labels::MACHINE_FINALIZER));
    }
    let mut spec = Map::new();
    judge_infrastructure(o, &mut plan, &mut facts, &mut spec);
    facts.bootstrap = bootstrap(o, now, &mut plan);
    facts.changes_spec = !spec.is_empty();
    if facts.changes_spec {
        plan.effects.push(Effect::Patch {
            target: Target::Management,
            key: ObjectKey::to(&*o.machine),
            patch: json!({ "spec": spec }),
            optional: true,
        });
    }
    // The Node counts once the machine bears its provider id, or will by this plan.
    if !has_node(o)
        && let Some(node) = &o.node
        && facts.failure.is_none()
    {
        plan.effects.extend(bootstrap::delete_token(o));
        // Of thousands in a group each would cost a write to say what its status says.
        if !is_controlled(&o.machine) {
            plan.effects.push(Effect::Emit(Notice::normal(
                "SuccessfulSetNodeRef",
                node.name_any(),
            )));
        }
    }
    if let Some(conflict) = &o.conflict {
        plan.effects.extend(told(o, conflict).map(Effect::Emit));
        plan.requeue = plan.requeue.or_sooner(LOOK);
    }
    // The write of the spec leads to another look at once, and the Node may be there by then: one write of the status instead of two.
    let soon = facts.changes_spec && o.node.is_none() && facts.failure.is_none() && o.conflict.is_none();
    let young = waits_for_birth(o, &facts, now);
    if young {
        plan.requeue = plan.requeue.or_sooner(BIRTH);
    }
    plan.status = (!soon && !young).then(|| status(o, &facts, now));
    plan
}

/// Whether a new Machine only waits for its infrastructure, which may come any moment: who makes both objects makes the Machine first.
fn waits_for_birth(o: &Observed, facts: &Facts, now: Timestamp) -> bool {
    let waits = match &o.infrastructure {
        InfrastructureView::Missing => true,
        InfrastructureView::Found(found) => {
            facts.infrastructure_ready == Some(false)
                && trouble(&found.object).is_none()
                && found.object.metadata.deletion_timestamp.is_none()
                && matches!(facts.bootstrap, Bootstrap::NotNeeded | Bootstrap::Ready)
        }
        InfrastructureView::NotNamed | InfrastructureView::UnknownKind => false,
    };
    let created = o.machine.metadata.creation_timestamp.as_ref();
    waits
        && facts.failure.is_none()
        && o.conflict.is_none()
        && o.machine.status.is_none()
        && created.is_some_and(|created| now.duration_since(created.0) < BIRTH)
}

/// The Event about a conflict, if it was not there before.
fn told(o: &Observed, conflict: &Conflict) -> Option<Notice> {
    let status = o.machine.status.as_ref();
    let before = status.and_then(|s| conditions::find(&s.conditions, conditions::NODE_HEALTHY));
    let known = before.is_some_and(|c| c.reason == conflict.reason);
    (!known).then(|| Notice::warning(conflict.reason, &conflict.message))
}

fn judge_infrastructure(o: &Observed, plan: &mut Plan, facts: &mut Facts, spec: &mut Map<String, Value>) {
    let status = o.machine.status.clone().unwrap_or_default();
    match &o.infrastructure {
        InfrastructureView::NotNamed => facts.infrastructure_ready = None,
        InfrastructureView::UnknownKind => {
            facts.infrastructure = Some((
                "UnknownKind",
                "the API server does not know the kind of spec.infrastructureRef".to_owned(),
            ));
            plan.requeue = Requeue::After(LOOK);
        }
        InfrastructureView::Missing => {
            facts.infrastructure = Some((
                "NotFound",
                "the object of spec.infrastructureRef does not exist".to_owned(),
            ));
            if status.infrastructure_ready || status.failure_reason.is_some() {
                let message = format!(
                    "Machine infrastructure resource {} has been deleted after being ready",
                    described(o)
                );
                facts.failure = Some(("InvalidConfiguration".to_owned(), message));
            }
        }
        InfrastructureView::Found(infrastructure) => {
            let object = &infrastructure.object;
            if let Some(other) = foreign_controller(o, object) {
                let message = format!("{} belongs to {other}", described(o));
                facts.failure = Some(("InvalidConfiguration".to_owned(), message));
                return;
            }
            plan.effects.extend(claim(o, infrastructure));
            facts.failure = failure(o, object);
            let ready = is_ready(object);
            let id = provider_id(object);
            if ready && id.is_none() {
                facts.infrastructure = Some((
                    "NoProviderID",
                    format!("{} is ready and has no spec.providerID", described(o)),
                ));
                return;
            }
            facts.infrastructure_ready = Some(ready);
            facts.infrastructure = not_ready(object, ready);
            if object.metadata.deletion_timestamp.is_some() {
                facts.infrastructure = Some((
                    "Deleting",
                    "the object of spec.infrastructureRef is being deleted".to_owned(),
                ));
            }
            if ready {
                facts.addresses = object
                    .data
                    .pointer("/status/addresses")
                    .and_then(|a| Deserialize::deserialize(a).ok());
                if o.machine.spec.provider_id != id {
                    spec.insert("providerID".to_owned(), json!(id));
                }
                let domain = object.data.pointer("/spec/failureDomain").and_then(Value::as_str);
                if domain.is_some() && o.machine.spec.failure_domain.as_deref() != domain {
                    spec.insert("failureDomain".to_owned(), json!(domain));
                }
            }
        }
    }
}

/// What the infrastructure object says about why it is not ready.
fn not_ready(object: &DynamicObject, ready: bool) -> Option<(&'static str, String)> {
    if ready {
        return None;
    }
    let said = trouble(object);
    Some((
        "NotReady",
        said.unwrap_or_else(|| "waiting for the provider".to_owned()),
    ))
}

/// What the Ready condition of an infrastructure object says.
pub(super) fn trouble(object: &DynamicObject) -> Option<String> {
    let conditions = object.data.pointer("/status/conditions")?.as_array()?;
    let ready = conditions.iter().find(|c| c["type"] == "Ready")?;
    let message = ready["message"].as_str().filter(|m| !m.is_empty());
    message.or_else(|| ready["reason"].as_str()).map(str::to_owned)
}

/// The controller of an infrastructure object, if that is not this Machine.
fn foreign_controller(o: &Observed, object: &DynamicObject) -> Option<String> {
    let uid = o.machine.uid();
    object
        .owner_references()
        .iter()
        .find(|r| r.controller == Some(true) && Some(&r.uid) != uid.as_ref())
        .map(|r| format!("{} {}", r.kind, r.name))
}

/// Makes the Machine the owner of its infrastructure object, and hands its cluster label on.
fn claim(o: &Observed, infrastructure: &Infrastructure) -> Option<Effect> {
    let object = &infrastructure.object;
    let uid = o.machine.uid().unwrap_or_default();
    let mut metadata = Map::new();
    let owners = object.owner_references();
    if !owners.iter().any(|r| r.uid == uid) {
        let mut owners = json!(owners);
        if let Some(list) = owners.as_array_mut() {
            list.push(json!(controller_reference(&*o.machine)));
        }
        metadata.insert("ownerReferences".to_owned(), owners);
        // The list replaces the other one: only if nobody changed it in between.
        metadata.insert("resourceVersion".to_owned(), json!(object.resource_version()));
    }
    if let Some(cluster) = &o.machine.spec.cluster_name
        && !object.labels().contains_key(labels::CLUSTER_NAME)
    {
        metadata.insert("labels".to_owned(), json!({ labels::CLUSTER_NAME: cluster }));
    }
    (!metadata.is_empty()).then(|| Effect::Patch {
        target: Target::Management,
        key: key(&infrastructure.resource, object),
        patch: json!({ "metadata": metadata }),
        optional: true,
    })
}

/// The failure that an infrastructure object tells of, in the words that its users know.
fn failure(o: &Observed, object: &DynamicObject) -> Option<(String, String)> {
    let text = |pointer: &str| {
        object
            .data
            .pointer(pointer)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    let (reason, message) = (text("/status/failureReason"), text("/status/failureMessage"));
    (reason.is_some() || message.is_some()).then(|| {
        let message = message.unwrap_or_default();
        (
            reason.unwrap_or_else(|| "CreateError".to_owned()),
            format!(
                "Failure detected from referenced resource {}: {message}",
                described(o)
            ),
        )
    })
}

fn bootstrap(o: &Observed, now: Timestamp, plan: &mut Plan) -> Bootstrap {
    match data_source(o) {
        DataSource::NotNeeded => Bootstrap::NotNeeded,
        DataSource::Done => Bootstrap::Ready,
        DataSource::NoConfig => Bootstrap::Waiting("NoConfig", "set spec.configRef".to_owned()),
        DataSource::Foreign(_) if o.foreign_data => Bootstrap::Ready,
        DataSource::Foreign(name) => Bootstrap::Waiting(
            "SecretMissing",
            format!("there is no Secret \"{name}\" in this namespace"),
        ),
        DataSource::Config => {
            let (InfrastructureView::Found(infrastructure), Some(ingredients)) =
                (&o.infrastructure, &o.ingredients)
            else {
                return Bootstrap::Waiting("WaitingForInfrastructure", String::new());
            };
            match bootstrap::data(o, infrastructure, ingredients, now) {
                Data::Ready => {
                    plan.requeue = plan.requeue.or_sooner(LOOK_TOKEN);
                    Bootstrap::Ready
                }
                Data::Waiting(reason, message) => {
                    plan.requeue = plan.requeue.or_sooner(LOOK);
                    Bootstrap::Waiting(reason, message)
                }
                Data::Invalid(message) => Bootstrap::Invalid(message),
                Data::Made {
                    effects,
                    untranslated,
                } => {
                    plan.effects.extend(effects);
                    plan.requeue = plan.requeue.or_sooner(LOOK_TOKEN);
                    Bootstrap::Made(untranslated)
                }
            }
        }
    }
}

/// Whether a set, or whatever else, keeps the Machine.
fn is_controlled(machine: &crate::api::v1alpha1::Machine) -> bool {
    machine
        .owner_references()
        .iter()
        .any(|r| r.controller == Some(true))
}

/// Whether the Machine has found its Node.
pub(super) fn has_node(o: &Observed) -> bool {
    o.machine.status.as_ref().is_some_and(|s| s.node_ref.is_some())
}

/// The provider id of an infrastructure object that is ready.
pub(super) fn ready_provider_id(o: &Observed) -> Option<String> {
    match &o.infrastructure {
        InfrastructureView::Found(i) if is_ready(&i.object) => provider_id(&i.object),
        _ => None,
    }
}

fn provider_id(object: &DynamicObject) -> Option<String> {
    object
        .data
        .pointer("/spec/providerID")
        .and_then(Value::as_str)
        .filter(|id| !id.is_empty())
        .map(str::to_owned)
}

fn is_ready(object: &DynamicObject) -> bool {
    object.data.pointer("/status/ready").and_then(Value::as_bool) == Some(true)
}

/// `<group>/<version>, Kind=<kind> with name "<name>"`, as messages have named the object since 2020.
fn described(o: &Observed) -> String {
    let reference = o.machine.spec.infrastructure_ref.clone().unwrap_or_default();
    format!(
        "{}, Kind={} with name \"{}\"",
        reference.api_version.unwrap_or_default(),
        reference.kind.unwrap_or_default(),
        reference.name.unwrap_or_default()
    )
}

/// Names an object of a kind that is not known at compile time.
pub(super) fn key(resource: &ApiResource, object: &DynamicObject) -> ObjectKey {
    ObjectKey {
        resource: resource.clone(),
        namespace: object.namespace(),
        name: object.name_any(),
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
