//! Does what a planner asked for: the only interpreter of effects, and the only writer of objects. It decides nothing.

use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture};
use k8s_openapi::{
    api::{certificates::v1::CertificateSigningRequest, core::v1::ObjectReference},
    apimachinery::pkg::apis::meta::v1::{Condition, OwnerReference},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions},
};
use serde::Deserialize;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    effect::{Effect, Notice, ObjectKey, Plan, PodKey, Target, reference, same_status, without_empty_texts},
    evict::evict,
    machine::drain::Answer,
    runtime::ReconcileError,
    world::World,
};
use crate::{
    api::{
        conditions::{self, Status},
        v1alpha1::MachinePhase,
    },
    providers::{Actuator, ActuatorError, Deletion, FIELD_MANAGER, Instance},
    time::Timestamp,
};

/// This many of the effects that may go together are under way at once.
const TOGETHER: usize = 32;
/// How long an API server may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Who writes: the name in Events and the field manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Writer {
    /// Event source, for example `machine-controller`.
    pub(crate) source: &'static str,
    /// Field manager of what is applied, for example `machinectl-machine`; everything else is written as [`FIELD_MANAGER`].
    pub(crate) manager: &'static str,
}

/// The object that a plan is about, as it was observed.
pub(crate) struct Subject {
    key: ObjectKey,
    resource_version: Option<String>,
    finalizers: Vec<String>,
    status: Value,
    created: Option<Timestamp>,
    reference: ObjectReference,
}

impl Subject {
    /// Takes down an object of a kind that is known at compile time.
    pub(crate) fn of<K: Resource<DynamicType = ()> + Serialize>(object: &K) -> Self {
        let mut value = serde_json::to_value(object).unwrap_or_default();
        Self {
            key: ObjectKey::to(object),
            resource_version: object.resource_version(),
            finalizers: object.finalizers().to_vec(),
            status: value.get_mut("status").map(Value::take).unwrap_or_default(),
            created: object.creation_timestamp().map(|t| t.0),
            reference: reference(object),
        }
    }

    /// Takes down an object of any kind.
    pub(crate) fn dynamic(object: &DynamicObject, resource: &ApiResource) -> Self {
        Self {
            key: ObjectKey {
                resource: resource.clone(),
                namespace: object.namespace(),
                name: object.name_any(),
            },
            resource_version: object.resource_version(),
            finalizers: object.finalizers().to_vec(),
            status: object.data.get("status").cloned().unwrap_or_default(),
            created: object.creation_timestamp().map(|t| t.0),
            reference: object.object_ref(resource),
        }
    }
}

/// What came of effects that give something back.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// Of [`Effect::CreateInstance`].
    pub(crate) instance: Option<Result<Instance, ActuatorError>>,
    /// Of [`Effect::DeleteInstance`].
    pub(crate) deletion: Option<Result<Deletion, ActuatorError>>,
    /// Of [`Effect::Evict`].
    pub(crate) evictions: Vec<(PodKey, Answer)>,
}

/// Carries out a plan: its effects in order until one fails, then its status. After a failure the status that was planned would claim too
/// much: the present one stays, and its Ready condition tells what failed.
pub(crate) async fn execute(
    world: &World,
    writer: Writer,
    subject: &Subject,
    plan: &Plan,
    actuator: Option<&dyn Actuator>,
) -> Result<Applied, ReconcileError> {
    let mut applied = Applied::default();
    let mut result = Ok(());
    for effect in &plan.effects {
        tracing::debug!(object = %subject.key, %effect, "applying");
        result = perform(world, writer, subject, effect, actuator, &mut applied).await;
        if let Err(error) = &result {
            if let Some(target) = effect.target() {
                world.suspect(target, error);
            }
            break;
        }
    }
    let over = plan
        .effects
        .iter()
        .any(|e| matches!(e, Effect::RemoveFinalizer(_)));
    let status = match (&plan.status, &result) {
        (Some(status), Ok(())) => Some(status.clone()),
        (Some(_), Err(error)) if !error.is_conflict() => {
            with_trouble(&subject.status, &error.chain(), world.ctx.clock.now())
        }
        _ => None,
    };
    if let Some(status) = status.filter(|s| !over && !same_status(s, &subject.status)) {
        write_status(world, writer, subject, &status).await?;
    }
    result.map(|()| applied)
}

/// The present status with a Ready condition that tells what failed; nothing for kinds without conditions.
fn with_trouble(status: &Value, message: &str, now: Timestamp) -> Option<Value> {
    let mut list: Vec<Condition> = Deserialize::deserialize(status.get("conditions")?).ok()?;
    let old = conditions::find(&list, conditions::READY)?.clone();
    let mut new = conditions::condition(
        conditions::READY,
        Status::False,
        "ReconcileError",
        message,
        old.observed_generation,
        now,
    );
    // An object that was up is not down because something else failed.
    if old.status == "True" {
        new.status = old.status;
    }
    conditions::set(&mut list, new);
    let mut status = status.clone();
    status["conditions"] = serde_json::to_value(list).ok()?;
    Some(status)
}

async fn perform(
    world: &World,
    writer: Writer,
    subject: &Subject,
    effect: &Effect,
    actuator: Option<&dyn Actuator>,
    applied: &mut Applied,
) -> Result<(), ReconcileError> {
    match effect {
        Effect::AddFinalizer(name) => {
            let mut finalizers = subject.finalizers.clone();
            finalizers.push((*name).to_owned());
            write_finalizers(world, subject, &finalizers, effect_in_words(effect)).await
        }
        Effect::RemoveFinalizer(name) => {
            let mut finalizers = subject.finalizers.clone();
            finalizers.retain(|f| f != name);
            write_finalizers(world, subject, &finalizers, effect_in_words(effect)).await
        }
        Effect::CreateInstance(spec) => {
            if let Some(actuator) = actuator {
                applied.instance = Some(actuator.create(spec).await);
            }
            Ok(())
        }
        Effect::DeleteInstance(spec) => {
            if let Some(actuator) = actuator {
                applied.deletion = Some(actuator.delete(spec).await);
            }
            Ok(())
        }
        Effect::Emit(notice) => {
            emit(world, writer, &subject.reference, notice);
            Ok(())
        }
        Effect::Evict { target, pods, grace } => {
            let client = world.client(target)?;
            let answers = evict(&client, pods, *grace, false).await?;
            if let Some(workload) = world.workloads.get(target) {
                workload.refusals.remember(&answers, world.ctx.clock.now());
            }
            applied.evictions.extend(answers);
            Ok(())
        }
        objects => write(world, writer, objects).await,
    }
}

/// Carries out an effect on objects that are not the planned one.
fn write<'a>(
    world: &'a World,
    writer: Writer,
    effect: &'a Effect,
) -> BoxFuture<'a, Result<(), ReconcileError>> {
    async move {
        match effect {
            Effect::Patch {
                target,
                key,
                patch,
                optional,
            } => {
                let api = api(world.client(target)?, key);
                let params = PatchParams {
                    field_manager: Some(FIELD_MANAGER.to_owned()),
                    ..PatchParams::default()
                };
                let done = within(
                    effect_in_words(effect),
                    api.patch(&key.name, &params, &Patch::Merge(patch)),
                )
                .await;
                if let (Ok(written), Target::Management) = (&done, target) {
                    world.written(key, written);
                }
                if *optional {
                    unless_gone(done)
                } else {
                    done.map(|_| ())
                }
            }
            Effect::Apply { target, object } => {
                let key = key_of(object)?;
                let params = PatchParams::apply(writer.manager).force();
                let api = api(world.client(target)?, &key);
                within(
                    effect_in_words(effect),
                    api.patch(&key.name, &params, &Patch::Apply(&**object)),
                )
                .await
                .map(|_| ())
            }
            Effect::Create { target, object } => create(world, target, object).await.map(|_| ()),
            Effect::CreateOwned {
                target,
                object,
                owned,
            } => {
                let Some(owner) = create(world, target, object).await? else {
                    return Ok(());
                };
                for object in owned {
                    create(world, target, &owned_by(object, &owner)).await?;
                }
                Ok(())
            }
            Effect::ApplyStatus { key, status } => apply_status(world, writer, key, status).await.map(|_| ()),
            Effect::EmitAbout(about, notice) => {
                emit(world, writer, about, notice);
                Ok(())
            }
            Effect::Together(all) => together(world, writer, all).await,
            Effect::Delete { target, key, uid } => {
                delete(world, target, key, uid.as_deref(), effect_in_words(effect)).await
            }
            Effect::Approve { target, request } => {
                let requests: Api<CertificateSigningRequest> = Api::all(world.client(target)?);
                let params = PostParams {
                    field_manager: Some(FIELD_MANAGER.to_owned()),
                    ..PostParams::default()
                };
                let name = request.name_any();
                let done = requests.replace_subresource("approval", &name, &params, &**request);
                unless_gone(within(effect_in_words(effect), done).await)
            }
            other => Err(ReconcileError::Invalid(format!(
                "{other} is about the planned object alone"
            ))),
        }
    }
    .boxed()
}

/// Carries out effects side by side; all are tried.
async fn together(world: &World, writer: Writer, all: &[Effect]) -> Result<(), ReconcileError> {
    let work: Vec<_> = all.iter().map(|effect| write(world, writer, effect)).collect();
    let done: Vec<_> = futures::stream::iter(work)
        .buffer_unordered(TOGETHER)
        .collect()
        .await;
    let mut failed: Vec<ReconcileError> = done.into_iter().filter_map(Result::err).collect();
    match failed.len() {
        0 => Ok(()),
        1 => Err(failed.remove(0)),
        _ => Err(ReconcileError::Several(failed)),
    }
}

/// Makes an object; nothing if it exists already.
async fn create(
    world: &World,
    target: &Target,
    object: &DynamicObject,
) -> Result<Option<DynamicObject>, ReconcileError> {
    let key = key_of(object)?;
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    let doing = format!("create {key} in {target}");
    match within(doing, api(world.client(target)?, &key).create(&params, object)).await {
        Err(ReconcileError::Api {
            source: kube::Error::Api(status),
            ..
        }) if status.is_already_exists() => Ok(None),
        Ok(created) => {
            if *target == Target::Management {
                world.expect(&created);
            }
            Ok(Some(created))
        }
        Err(error) => Err(error),
    }
}

/// The object with a reference to its controller.
fn owned_by(object: &DynamicObject, owner: &DynamicObject) -> DynamicObject {
    let mut object = object.clone();
    let types = owner.types.clone().unwrap_or_default();
    object.owner_references_mut().push(OwnerReference {
        api_version: types.api_version,
        kind: types.kind,
        name: owner.name_any(),
        uid: owner.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    });
    object
}

async fn delete(
    world: &World,
    target: &Target,
    key: &ObjectKey,
    uid: Option<&str>,
    doing: String,
) -> Result<(), ReconcileError> {
    let params = DeleteParams {
        preconditions: uid.map(|uid| Preconditions {
            uid: Some(uid.to_owned()),
            ..Preconditions::default()
        }),
        ..DeleteParams::default()
    };
    let done = within(doing, api(world.client(target)?, key).delete(&key.name, &params)).await;
    match done {
        // Another object bears the name now: the one that was meant is gone.
        Err(ReconcileError::Api {
            source: kube::Error::Api(status),
            ..
        }) if uid.is_some() && status.is_conflict() => Ok(()),
        Ok(_) => {
            if *target == Target::Management {
                world.expect_gone(key, uid);
            }
            Ok(())
        }
        other => unless_gone(other),
    }
}

/// What an effect does, without its content.
fn effect_in_words(effect: &Effect) -> String {
    match effect {
        Effect::Patch { target, key, .. } => format!("patching {key} in {target}"),
        Effect::ApplyStatus { key, .. } => format!("writing to the status of {key}"),
        other => other.to_string(),
    }
}

async fn write_finalizers(
    world: &World,
    subject: &Subject,
    finalizers: &[String],
    doing: String,
) -> Result<(), ReconcileError> {
    // The list replaces the other one: only if nobody changed it in between.
    let patch =
        json!({ "metadata": { "finalizers": finalizers, "resourceVersion": subject.resource_version } });
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let api = api(world.ctx.client.clone(), &subject.key);
    let done = within(
        doing,
        api.patch(&subject.key.name, &params, &Patch::Merge(&patch)),
    )
    .await;
    if let Ok(written) = &done
        && written.metadata.deletion_timestamp.is_none()
    {
        world.written(&subject.key, written);
    }
    unless_gone(done)
}

async fn write_status(
    world: &World,
    writer: Writer,
    subject: &Subject,
    status: &Value,
) -> Result<(), ReconcileError> {
    if apply_status(world, writer, &subject.key, status).await? {
        count_phase(world, subject, status);
    }
    Ok(())
}

/// Writes what is given of an object's status, taking over fields of others; what is not given stays if somebody else wrote it.
/// Says whether the object was there.
async fn apply_status(
    world: &World,
    writer: Writer,
    key: &ObjectKey,
    status: &Value,
) -> Result<bool, ReconcileError> {
    let object = json!({
        "apiVersion": key.resource.api_version,
        "kind": key.resource.kind,
        "metadata": { "name": key.name, "namespace": key.namespace },
        "status": without_empty_texts(status),
    });
    let params = PatchParams::apply(writer.manager).force();
    let api = api(world.ctx.client.clone(), key);
    let done = within(
        format!("writing the status of {key}"),
        api.patch_status(&key.name, &params, &Patch::Apply(&object)),
    )
    .await;
    if let Ok(written) = &done {
        world.written(key, written);
    }
    let there = done.is_ok();
    unless_gone(done).map(|()| there)
}

/// Takes down that a Machine has come to another phase. Its end is no phase that anybody waits for (`OpenShift`).
fn count_phase(world: &World, subject: &Subject, status: &Value) {
    let (Some(phase), Some(created)) = (status["phase"].as_str(), subject.created) else {
        return;
    };
    let counts = subject.key.resource.kind == "Machine" && phase != MachinePhase::Terminating.as_str();
    if counts && subject.status["phase"] != phase {
        let age = world.ctx.clock.now().duration_since(created);
        world.metrics.reached(phase, age.try_into().unwrap_or_default());
    }
}

/// Writes an Event in the background: nothing waits for it and nothing fails with it.
fn emit(world: &World, writer: Writer, about: &ObjectReference, notice: &Notice) {
    world
        .recorder(writer)
        .tell(about.clone(), notice, world.ctx.clock.now());
}

/// An API for one kind, in the namespace of a key.
pub(crate) fn api(client: Client, key: &ObjectKey) -> Api<DynamicObject> {
    match &key.namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, &key.resource),
        None => Api::all_with(client, &key.resource),
    }
}

fn key_of(object: &DynamicObject) -> Result<ObjectKey, ReconcileError> {
    let types = object
        .types
        .as_ref()
        .ok_or_else(|| ReconcileError::Invalid(format!("object {} has no kind", object.name_any())))?;
    let (group, version) = types
        .api_version
        .split_once('/')
        .unwrap_or(("", &types.api_version));
    let gvk = kube::api::GroupVersionKind::gvk(group, version, &types.kind);
    Ok(ObjectKey {
        resource: ApiResource::from_gvk(&gvk),
        namespace: object.namespace(),
        name: object.name_any(),
    })
}

/// Waits for an answer, but not for ever.
pub(crate) async fn within<T>(
    doing: String,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, ReconcileError> {
    match tokio::time::timeout(PATIENCE, request).await {
        Ok(answer) => answer.map_err(|e| ReconcileError::api(doing, e)),
        Err(_) => Err(ReconcileError::TimedOut {
            doing,
            seconds: PATIENCE.as_secs(),
        }),
    }
}

fn unless_gone<T>(result: Result<T, ReconcileError>) -> Result<(), ReconcileError> {
    match result {
        Err(ReconcileError::Api {
            source: kube::Error::Api(status),
            ..
        }) if status.is_not_found() => Ok(()),
        other => other.map(|_| ()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_and_claims_nothing_else() {
        let status = json!({ "phase": "Pending", "bootstrapReady": false, "conditions": [
            { "type": "Ready", "status": "False", "reason": "X", "message": "", "lastTransitionTime": "1970-01-01T00:00:01Z" } ] });
        let told = with_trouble(&status, "minting a token: refused", Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(told["bootstrapReady"], false);
        assert_eq!(told["conditions"][0]["message"], "minting a token: refused");
        assert_eq!(
            told["conditions"][0]["lastTransitionTime"],
            "1970-01-01T00:00:01Z"
        );
        assert_eq!(
            with_trouble(&json!({"ready": true}), "x", Timestamp::UNIX_EPOCH),
            None
        );
    }
}
