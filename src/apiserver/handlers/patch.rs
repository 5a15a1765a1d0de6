//! PATCH in its four kinds. It must not check what comes out: that is done for all writes alike.

use axum::response::Response;
use serde_json::{Map, Value};

use super::super::builtin::ResourceInfo;
use super::super::object::patch::{self as patches, PatchError};
use super::super::object::{go_text, meta};
use super::super::schema::FieldError;
use super::super::ssa::{self, Manager, SsaError};
use super::super::status::ApiError;
use super::options::{WriteKind, WriteOptions};
use super::write::{Target, check_name, guaranteed, track};
use super::{Call, body, render};

pub(crate) const JSON_PATCH: &str = "application/json-patch+json";
pub(crate) const MERGE_PATCH: &str = "application/merge-patch+json";
pub(crate) const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
pub(crate) const APPLY_PATCH: &str = "application/apply-patch+yaml";

/// Checks that a resource takes a kind of patch.
pub(crate) fn check_type(info: &ResourceInfo, content_type: &str) -> Result<WriteKind, ApiError> {
    match content_type {
        APPLY_PATCH => Ok(WriteKind::Apply),
        JSON_PATCH | MERGE_PATCH => Ok(WriteKind::Patch),
        STRATEGIC_PATCH if !info.custom => Ok(WriteKind::Patch),
        _ if info.custom => Err(ApiError::unsupported_media_type(&[
            JSON_PATCH,
            MERGE_PATCH,
            APPLY_PATCH,
        ])),
        _ => Err(ApiError::unknown_patch_type()),
    }
}

/// PATCH on an object or its status.
pub(crate) async fn patch(call: &Call) -> Result<Response, ApiError> {
    let form = call.form()?;
    let kind = check_type(&call.info, call.content_type())?;
    let options = WriteOptions::parse(&call.query, kind)?;
    let target = Target::of(&call.path.subresource);
    let is_apply = kind == WriteKind::Apply;
    let written = guaranteed(
        call,
        target,
        &options,
        is_apply && target == Target::MAIN,
        "",
        |live| {
            if is_apply {
                return apply(call, target, &options, live);
            }
            let Some(live) = live else {
                return Err(ApiError::not_found(&call.info, &call.path.name));
            };
            modify(call, target, &options, live)
        },
    )
    .await?;
    let code = if written.created { 201 } else { 200 };
    Ok(render::answer_left(call, code, &written.left, form))
}

/// Reads what is applied. Most of it is JSON, which is read much faster as what it is.
fn read_applied(body: &[u8]) -> Result<Value, crate::yaml::YamlError> {
    if let Ok(body::Unique(value)) = serde_json::from_slice(body) {
        return Ok(value);
    }
    crate::yaml::from_str(std::str::from_utf8(body).unwrap_or_default())
}

/// Reads what is applied to an object of a kind, which need not be that of the path.
pub(super) fn applied(call: &Call, info: &ResourceInfo) -> Result<Value, ApiError> {
    let applied =
        read_applied(&call.body).map_err(|e| ApiError::bad_request(format!("error decoding YAML: {e}")))?;
    if !applied.is_object() {
        return Err(ApiError::bad_request(
            "error decoding YAML: json: cannot unmarshal into Go value of type map[string]interface {}",
        ));
    }
    check_applied(info, &applied)?;
    Ok(applied)
}

/// Merges what is applied into an object and reads what comes out.
pub(super) fn merge(
    call: &Call,
    info: &ResourceInfo,
    options: &WriteOptions,
    manager: &Manager<'_>,
    reset: &[&[&str]],
    live: Option<&Value>,
    applied: &Value,
) -> Result<Value, ApiError> {
    let now = call.server.now();
    let mut new = ssa::apply(live, applied, manager, info.schema(), options.force, reset, now)
        .map_err(|e| ssa_error(&e))?;
    let unknown = body::normalise(info, &mut new).map_err(|why| {
        let kind = format!("{}/{}, Kind={}", info.group, info.version, info.kind);
        ApiError::plain_500(format!(
            "failed to convert new object ({}; {kind}) to proper version: unable to convert unstructured object to {kind}: error decoding from json: {why}",
            full_name(applied)
        ))
    })?;
    call.warn(body::unknown_fields(&unknown, options.validation).map_err(ApiError::bad_request)?);
    Ok(new)
}

/// Server-side apply. Returns the merged object.
fn apply(
    call: &Call,
    target: Target,
    options: &WriteOptions,
    live: Option<&Value>,
) -> Result<Value, ApiError> {
    let info = &*call.info;
    let applied = applied(call, info)?;
    if live.is_none() {
        check_new(call, &applied)?;
    }
    let api_version = info.api_version();
    let name = call.manager(&options.manager);
    let manager = Manager {
        name: &name,
        api_version: &api_version,
        subresource: target.subresource,
    };
    let reset = info.reset_fields(target.part);
    let reset: Vec<&[&str]> = reset.iter().map(Vec::as_slice).collect();
    let mut new = merge(call, info, options, &manager, &reset, live, &applied)?;
    if info.custom {
        keep_empty_maps(&applied, live, &mut new);
    }
    check_name(call, &mut new)?;
    Ok(new)
}

/// Maps of the metadata that are applied empty, or become empty while somebody owns them, are written so: custom
/// resources are not tidied on their way to the store.
fn keep_empty_maps(applied: &Value, live: Option<&Value>, new: &mut Value) {
    for field in ["labels", "annotations"] {
        if meta::of(new).contains_key(field) {
            continue;
        }
        let is_applied = applied["metadata"][field].as_object().is_some_and(Map::is_empty);
        let had = live.is_some_and(|live| meta::of(live).contains_key(field));
        if is_applied || (had && is_owned(new, &format!("f:{field}"))) {
            meta::of_mut(new).insert(field.to_owned(), Value::Object(Map::new()));
        }
    }
}

/// Says whether somebody manages a map of the metadata as such, without any of its keys.
fn is_owned(object: &Value, field: &str) -> bool {
    let entries = meta::of(object).get("managedFields").and_then(Value::as_array);
    entries.into_iter().flatten().any(|entry| {
        entry["fieldsV1"]["f:metadata"][field]
            .as_object()
            .is_some_and(|keys| keys.keys().all(|k| k == "."))
    })
}

/// Names the object as errors of apply do: as it was applied.
fn full_name(applied: &Value) -> String {
    format!("{}/{}", meta::namespace(applied), meta::name(applied))
}

fn check_applied(info: &ResourceInfo, applied: &Value) -> Result<(), ApiError> {
    let version = applied
        .get("apiVersion")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if version != info.api_version() {
        return Err(ApiError::bad_request(format!(
            "incorrect version specified in apply patch. Specified patch version: {version}, expected: {}",
            info.api_version()
        )));
    }
    if applied
        .get("kind")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .is_empty()
    {
        let name = full_name(applied);
        let kind = format!("{}/{}, Kind=", info.group, info.version);
        return Err(ApiError::plain_500(format!(
            "failed to create typed patch object ({name}; {kind}): no corresponding type for {kind}"
        )));
    }
    let managed = applied.pointer("/metadata/managedFields");
    if managed.is_some_and(|m| !m.is_null() && m.as_array().is_none_or(|a| !a.is_empty())) {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    Ok(())
}

/// Checks what is applied where nothing is: nobody can know the uid of an object that is yet to be made.
fn check_new(call: &Call, applied: &Value) -> Result<(), ApiError> {
    let uid = meta::text(applied, "uid");
    if uid.is_empty() {
        return Ok(());
    }
    let why =
        format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
    Err(ApiError::resource_conflict(&call.info, &call.path.name, &why))
}

/// Says why an apply was refused.
fn ssa_error(error: &SsaError) -> ApiError {
    match error {
        SsaError::Conflicts(conflicts) => {
            let causes = conflicts.iter().map(|c| (c.message(), c.field.clone())).collect();
            ApiError::apply_conflict(error.to_string(), causes)
        }
        SsaError::BadRequest(message) => ApiError::bad_request(message),
        SsaError::Internal(message) => ApiError::plain_500(message),
    }
}

/// The other kinds of patch. Returns the patched object.
fn modify(call: &Call, target: Target, options: &WriteOptions, live: &Value) -> Result<Value, ApiError> {
    let mut new = modified(call, &call.info, options, live)?;
    check_name(call, &mut new)?;
    track(call, target, &options.manager, Some(live), &mut new);
    Ok(new)
}

/// Applies the request's patch to an object of a kind, which need not be that of the path, and reads what comes out.
pub(super) fn modified(
    call: &Call,
    info: &ResourceInfo,
    options: &WriteOptions,
    live: &Value,
) -> Result<Value, ApiError> {
    let mut new = patched(call, live, info.schema())?;
    let mismatch = (!info.custom).then(|| type_mismatch(info, &new)).flatten();
    if let Some(why) = mismatch {
        return Err(bad_patch(call, &new, &why));
    }
    // As it was sent, it is shown where it can't be read; that is seldom, so nobody keeps it.
    let bad = |why: &str| match patched(call, live, info.schema()) {
        Ok(sent) => bad_patch(call, &sent, why),
        Err(error) => error,
    };
    let unknown = body::normalise(info, &mut new).map_err(|why| bad(&why))?;
    let warnings = body::unknown_fields(&unknown, options.validation);
    call.warn(warnings.map_err(|why| bad(&why))?);
    Ok(new)
}

/// Says why what a patch makes of an object can't be read. A strategic patch is shown itself, of others what they come to.
fn bad_patch(call: &Call, patched: &Value, why: &str) -> ApiError {
    let error = if call.content_type() == STRATEGIC_PATCH {
        let patch: Value = serde_json::from_slice(&call.body).unwrap_or_default();
        FieldError::invalid(
            "patch",
            go_text::map(&patch),
            format!("error decoding from json: {why}"),
        )
    } else {
        FieldError::invalid("patch", go_text::json(patched), why)
    };
    ApiError::invalid_kind("", "", "", &[error])
}

fn type_mismatch(info: &ResourceInfo, new: &Value) -> Option<String> {
    let text = |field: &str| new.get(field).and_then(Value::as_str).unwrap_or_default();
    let (kind, version) = (text("kind"), text("apiVersion"));
    (kind != info.kind || version != info.api_version()).then(|| {
        format!("no kind {kind:?} is registered for version {version:?} in scheme \"k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30\"")
    })
}

/// Applies the request's patch to a document.
fn patched(
    call: &Call,
    document: &Value,
    schema: &super::super::schema::Structural,
) -> Result<Value, ApiError> {
    let patch: Value = serde_json::from_slice(&call.body).map_err(|e| {
        ApiError::bad_request(format!(
            "error decoding patch: {}",
            body::json_problem(&call.body, &e)
        ))
    })?;
    let outcome = match call.content_type() {
        JSON_PATCH => patches::json_patch(document, &patch),
        MERGE_PATCH => patches::merge_patch(document, &patch),
        _ => patches::strategic_merge_patch(document, &patch, schema),
    };
    outcome.map_err(|error| match error {
        PatchError::BadRequest(message) => ApiError::bad_request(message),
        PatchError::TooLarge(message) => ApiError::request_too_large(&message),
        PatchError::Internal(message) => ApiError::plain_500(message),
        PatchError::Unprocessable(_) => {
            ApiError::unprocessable("the server rejected our request due to an error in our request")
        }
    })
}
