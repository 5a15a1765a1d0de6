//! Mutating webhooks, one after the other. It must not check what they make; that is done for all writes alike.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use super::super::Server;
use super::super::builtin::{Registry, ResourceInfo};
use super::super::handlers::normalise;
use super::super::object::meta;
use super::super::object::patch::{PatchError, json_patch};
use super::super::ssa;
use super::super::status::ApiError;
use super::configured::{Registered, Webhook};
use super::review::{self, Verdict};
use super::{Attributes, Gvk};

/// How a webhook can stop a write.
pub(super) enum Stop {
    /// It can't be asked, or does not answer as it should: what follows is in its configuration.
    Failed(String),
    /// It refuses, or what it wants is impossible.
    Refused(ApiError),
}

impl Stop {
    /// What the client is told, if it is told at all.
    pub(super) fn told(self, webhook: &Webhook) -> Option<ApiError> {
        match self {
            Self::Refused(error) => Some(error),
            Self::Failed(why) => {
                let why = format!("failed calling webhook {:?}: {why}", webhook.name);
                if webhook.may_fail {
                    tracing::warn!(webhook = webhook.id, "{why}; the write goes on without it");
                    return None;
                }
                Some(ApiError::internal(&why))
            }
        }
    }
}

/// Asks all that want to be asked, and some of them again when later ones have changed what they saw.
pub(super) async fn dispatch(
    registered: &Registered,
    attributes: &Attributes<'_>,
    new: Option<Value>,
    old: Option<&Value>,
) -> Result<Option<Value>, ApiError> {
    let mut object = new;
    // Those that were asked already and would like to be asked again, and those that must be.
    let (mut asked, mut again) = (HashSet::new(), HashSet::new());
    for round in 0..2 {
        let mut changed_any = false;
        for webhook in &registered.mutating {
            if round > 0 && !again.contains(webhook.id.as_str()) {
                continue;
            }
            let Some(info) = webhook.matching.find(attributes, object.as_ref(), old)? else {
                continue;
            };
            let shown = Shown::new(attributes, &info, object.as_ref(), old).await?;
            if !webhook
                .conditions
                .hold(attributes, &info, shown.new_object(), shown.old_object())?
            {
                continue;
            }
            let outcome = call(webhook, attributes, &info, &shown).await;
            let changed = match outcome {
                Ok(changed) => changed,
                Err(stop) => match stop.told(webhook) {
                    Some(error) => return Err(error),
                    None => None,
                },
            };
            if let Some(changed) = changed {
                object = Some(keep_managers(attributes, object.as_ref(), changed));
                changed_any = true;
                again.extend(asked.drain());
            }
            if webhook.again {
                asked.insert(webhook.id.as_str());
            }
        }
        if !changed_any || again.is_empty() {
            break;
        }
    }
    Ok(object)
}

/// The objects of a write in the version in which a webhook wants them.
pub(super) struct Shown<'a> {
    new: Option<Cow<'a, Value>>,
    old: Option<Cow<'a, Value>>,
}

impl<'a> Shown<'a> {
    pub(super) async fn new(
        attributes: &Attributes<'_>,
        info: &Arc<ResourceInfo>,
        new: Option<&'a Value>,
        old: Option<&'a Value>,
    ) -> Result<Self, ApiError> {
        Ok(Self {
            new: show(attributes, info, new).await?,
            old: show(attributes, info, old).await?,
        })
    }

    pub(super) fn new_object(&self) -> Option<&Value> {
        self.new.as_deref()
    }

    pub(super) fn old_object(&self) -> Option<&Value> {
        self.old.as_deref()
    }
}

async fn show<'a>(
    attributes: &Attributes<'_>,
    info: &ResourceInfo,
    object: Option<&'a Value>,
) -> Result<Option<Cow<'a, Value>>, ApiError> {
    let Some(object) = object else {
        return Ok(None);
    };
    if is_same(attributes, attributes.info, info) {
        return Ok(Some(Cow::Borrowed(object)));
    }
    let shown = in_version(attributes, attributes.info, info, object.clone()).await?;
    Ok(Some(Cow::Owned(shown)))
}

/// Says whether what is written is the same in two versions. What is no object of the resource itself, such as a scale, is.
fn is_same(attributes: &Attributes<'_>, one: &ResourceInfo, other: &ResourceInfo) -> bool {
    let own = attributes.info;
    let is_object = attributes.kind.kind == own.kind && attributes.kind.group == own.group;
    !is_object || (one.group == other.group && one.version == other.version)
}

/// Brings what is written from one version of the resource to another.
pub(super) async fn in_version(
    attributes: &Attributes<'_>,
    from: &ResourceInfo,
    to: &ResourceInfo,
    mut object: Value,
) -> Result<Value, ApiError> {
    if is_same(attributes, from, to) {
        return Ok(object);
    }
    let server: &Server = &attributes.call.server;
    match &to.conversion {
        Some(conversion) => {
            let converted = server.convert(conversion, vec![object], &to.api_version()).await;
            let mut converted = converted.map_err(|e| ApiError::internal(e.message()))?;
            converted
                .pop()
                .ok_or_else(|| ApiError::plain_500("an object got lost in its conversion"))
        }
        None if to.custom => {
            object["apiVersion"] = to.api_version().into();
            Ok(object)
        }
        None => {
            from.to_storage(&mut object);
            to.from_storage(&mut object);
            Ok(object)
        }
    }
}

/// Calls a webhook. Returns what it makes of the object, in the request's version, if it changes anything.
async fn call(
    webhook: &Webhook,
    attributes: &Attributes<'_>,
    info: &Arc<ResourceInfo>,
    shown: &Shown<'_>,
) -> Result<Option<Value>, Stop> {
    let verdict = ask(webhook, attributes, info, shown, true).await?;
    if !verdict.allowed {
        return Err(Stop::Refused(verdict.refusal(&webhook.name)));
    }
    if verdict.patch.is_empty() {
        return Ok(None);
    }
    let undecodable =
        |why: String| Stop::Failed(format!("received undecodable patch in webhook response: {why}"));
    let patch: Value = serde_json::from_slice(&verdict.patch).map_err(|e| undecodable(e.to_string()))?;
    if !patch.is_array() {
        return Err(undecodable(
            "json: cannot unmarshal object into Go value of type jsonpatch.Patch".to_owned(),
        ));
    }
    if patch.as_array().is_some_and(Vec::is_empty) {
        return Ok(None);
    }
    let internal = |why: &str| Stop::Refused(ApiError::internal(why));
    let Some(object) = shown.new_object() else {
        return Err(internal(&format!(
            "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
            webhook.name
        )));
    };
    if verdict.patch_type != "JSONPatch" {
        return Err(Stop::Failed(format!(
            "unsupported patch type {:?}",
            verdict.patch_type
        )));
    }
    let mut patched = json_patch(object, &patch).map_err(|e| internal(&problem(&e)))?;
    if patched == *object {
        return Ok(None);
    }
    decode(attributes, info, &mut patched).map_err(|why| internal(&why))?;
    let patched = in_version(attributes, info, attributes.info, patched).await;
    patched.map(Some).map_err(Stop::Refused)
}

fn problem(error: &PatchError) -> String {
    match error {
        PatchError::BadRequest(why)
        | PatchError::TooLarge(why)
        | PatchError::Internal(why)
        | PatchError::Unprocessable(why) => why.clone(),
    }
}

/// Brings a patched object into the form in which objects are kept.
fn decode(attributes: &Attributes<'_>, info: &ResourceInfo, patched: &mut Value) -> Result<(), String> {
    let Gvk { group, version, kind } = review::kind_in(attributes, info);
    let wanted = super::super::builtin::group_version(&group, &version);
    let found = |field: &str| patched[field].as_str().unwrap_or_default().to_owned();
    if found("apiVersion") != wanted || found("kind") != kind {
        return Err(format!(
            "unable to decode {}, Kind={} into {wanted}, Kind={kind}",
            found("apiVersion"),
            found("kind")
        ));
    }
    let own = (kind == info.kind && group == info.group).then_some(info);
    if let Some(info) = own.or_else(|| Registry::of_subresource(&group, &kind)) {
        normalise(info, patched)?;
    }
    Ok(())
}

/// A webhook changes fields on behalf of whoever writes, so nobody becomes their manager; what it makes of the list of managers is taken
/// if it makes sense.
fn keep_managers(attributes: &Attributes<'_>, before: Option<&Value>, mut changed: Value) -> Value {
    let managers = |object: &Value| meta::of(object).get("managedFields").cloned();
    let (was, is) = (before.and_then(managers), managers(&changed));
    if was == is {
        return changed;
    }
    let entries = is.as_ref().and_then(Value::as_array).cloned().unwrap_or_default();
    if let Err(why) = ssa::check_managed_fields(&entries) {
        attributes.call.warn_also(&format!(
            ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating admission controller; please fix your requests: {why}"
        ));
        match was {
            Some(was) => meta::of_mut(&mut changed).insert("managedFields".to_owned(), was),
            None => meta::of_mut(&mut changed).remove("managedFields"),
        };
    }
    changed
}

/// A review as it is sent: the objects are lent.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Question<'a> {
    kind: &'static str,
    api_version: String,
    request: Asked<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Asked<'a> {
    #[serde(flatten)]
    what: Map<String, Value>,
    object: Option<&'a Value>,
    old_object: Option<&'a Value>,
}

/// Asks a webhook.
pub(super) async fn ask(
    webhook: &Webhook,
    attributes: &Attributes<'_>,
    info: &ResourceInfo,
    shown: &Shown<'_>,
    mutating: bool,
) -> Result<Verdict, Stop> {
    if attributes.dry_run && !webhook.may_try_out {
        return Err(Stop::Refused(ApiError::bad_request(format!(
            "admission webhook {:?} does not support dry run",
            webhook.name
        ))));
    }
    let known = |v: &&String| matches!(v.as_str(), "v1" | "v1beta1");
    let Some(version) = webhook.reviews.iter().find(known) else {
        return Err(Stop::Failed(
            "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)"
                .to_owned(),
        ));
    };
    let uid = uuid::Uuid::new_v4().to_string();
    let question = Question {
        kind: "AdmissionReview",
        api_version: format!("admission.k8s.io/{version}"),
        request: Asked {
            what: review::request(attributes, info, &uid),
            object: shown.new_object(),
            old_object: shown.old_object(),
        },
    };
    let patience = Duration::from_secs(webhook.seconds);
    let answer = attributes
        .call
        .server
        .call_out(&webhook.target, &question, patience)
        .await;
    let answer = answer.map_err(|e| Stop::Failed(format!("failed to call webhook: {e}")))?;
    let verdict = review::read(answer, version, &uid, mutating)
        .map_err(|why| Stop::Failed(format!("received invalid webhook response: {why}")))?;
    for warning in &verdict.warnings {
        attributes.call.warn_also(warning);
    }
    Ok(verdict)
}
