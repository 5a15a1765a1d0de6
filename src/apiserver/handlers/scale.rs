//! The subresource `scale`: the replicas of any kind in the form of `autoscaling/v1 Scale`.
//! It must not know which kinds have it.

use std::sync::Arc;

use axum::response::Response;
use http::Method;
use serde_json::{Value, json};

use super::super::builtin::{Registry, ResourceInfo, ScalePaths};
use super::super::object::meta;
use super::super::schema::FieldError;
use super::super::ssa::{self, Manager};
use super::super::status::{ApiError, json_response};
use super::options::{WriteKind, WriteOptions};
use super::write::{Target, check_name, guaranteed};
use super::{Call, body, load, patch, render, stored};

/// Version of `Scale` objects.
const VERSION: &str = "autoscaling/v1";

/// GET, PUT and PATCH on an object's scale.
pub(crate) async fn scale(call: &Call, paths: &ScalePaths, method: &Method) -> Result<Response, ApiError> {
    if method == Method::GET {
        let info = &*call.info;
        let stored = stored(call).await?;
        let shown = show(info, paths, &load(info, &stored))?;
        return Ok(json_response(200, &shown));
    }
    let kind = if method == Method::PUT {
        WriteKind::Update
    } else {
        patch::check_type(&call.info, call.content_type())?
    };
    let options = WriteOptions::parse(&call.query, kind)?;
    let sent = if kind == WriteKind::Update {
        Some(body::object_of(call, Registry::scale(), options.validation)?)
    } else {
        None
    };
    let uid = sent.as_ref().map_or("", |sent| meta::text(sent, "uid"));
    let written = guaranteed(call, Target::SCALE, &options, false, uid, |live| {
        let live = live.ok_or_else(|| ApiError::not_found(&call.info, &call.path.name))?;
        change(call, paths, &options, kind, sent.as_ref(), live)
    })
    .await?;
    Ok(render::plain(
        200,
        &show(&call.info, paths, &written.left.value(&call.info))?,
    ))
}

fn split(path: &str) -> Vec<&str> {
    path.trim_start_matches('.').split('.').collect()
}

fn find<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    split(path)
        .into_iter()
        .try_fold(object, |at, part| at.get(part))
        .filter(|v| !v.is_null())
}

/// A version of a resource, and where it has its replicas.
type Place = (String, String);

/// Returns the places of all versions that are served: what is owned in one of them is no less owned in another.
fn places(call: &Call) -> Vec<Place> {
    let registry = call.server.registry();
    let of_resource =
        |info: &&Arc<ResourceInfo>| info.storage_group_resource == call.info.storage_group_resource;
    let all = registry.all().iter().filter(of_resource);
    all.filter_map(|info| Some((info.api_version(), info.scale.as_ref()?.spec_replicas.clone())))
        .collect()
}

fn entries(object: &Value) -> Vec<Value> {
    let entries = meta::of(object).get("managedFields").and_then(Value::as_array);
    entries.cloned().unwrap_or_default()
}

/// Returns the managed fields as the scale has them.
fn shown_managers(places: &[Place], object: &Value) -> Vec<Value> {
    let paths = split_all(places);
    let paths: Vec<(&str, &[&str])> = paths
        .iter()
        .map(|(version, path)| (*version, &path[..]))
        .collect();
    ssa::scale_from_parent(&entries(object), &paths)
}

fn split_all(places: &[Place]) -> Vec<(&str, Vec<&str>)> {
    places
        .iter()
        .map(|(version, path)| (version.as_str(), split(path)))
        .collect()
}

/// Returns the scale of an object.
pub(super) fn show(info: &ResourceInfo, paths: &ScalePaths, object: &Value) -> Result<Value, ApiError> {
    let mut shown = json!({"apiVersion": VERSION, "kind": "Scale", "metadata": {}, "spec": {}, "status": {"replicas": 0}});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = meta::of(object).get(field) {
            shown["metadata"][field] = value.clone();
        }
    }
    let own = vec![(info.api_version(), paths.spec_replicas.clone())];
    let managers = shown_managers(&own, object);
    if !managers.is_empty() && !info.custom {
        shown["metadata"]["managedFields"] = Value::Array(managers);
    }
    match find(object, &paths.spec_replicas).and_then(Value::as_i64) {
        Some(0) => {}
        Some(replicas) => shown["spec"]["replicas"] = replicas.into(),
        None if info.custom => {
            let message = format!("the spec replicas field {:?} does not exist", paths.spec_replicas);
            return Err(ApiError::internal(&message));
        }
        None => {}
    }
    if let Some(replicas) = find(object, &paths.status_replicas).and_then(Value::as_i64) {
        shown["status"]["replicas"] = replicas.into();
    }
    if let Some(selector) = paths
        .label_selector
        .as_deref()
        .and_then(|path| find(object, path))
    {
        let text = selector_text(selector);
        if !text.is_empty() {
            shown["status"]["selector"] = text.into();
        }
    }
    Ok(shown)
}

/// Writes a selector as a label selector string.
pub(crate) fn selector_text(selector: &Value) -> String {
    if let Some(text) = selector.as_str() {
        return text.to_owned();
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut parts: Vec<String> = selector
        .get("matchLabels")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", text(value)))
        .collect();
    for expression in selector
        .get("matchExpressions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let key = text(&expression["key"]);
        let values: Vec<String> = expression["values"]
            .as_array()
            .into_iter()
            .flatten()
            .map(text)
            .collect();
        parts.push(match expression["operator"].as_str() {
            Some("In") => format!("{key} in ({})", values.join(",")),
            Some("NotIn") => format!("{key} notin ({})", values.join(",")),
            Some("DoesNotExist") => format!("!{key}"),
            _ => key,
        });
    }
    parts.join(",")
}

/// Returns the object with the scale that the request wants.
fn change(
    call: &Call,
    paths: &ScalePaths,
    options: &WriteOptions,
    kind: WriteKind,
    sent: Option<&Value>,
    live: &Value,
) -> Result<Value, ApiError> {
    let (info, own, places) = (&*call.info, Registry::scale(), places(call));
    let mut owned = show(info, paths, live)?;
    let name = call.manager(&options.manager);
    let manager = Manager {
        name: &name,
        api_version: VERSION,
        subresource: "scale",
    };
    let managers = shown_managers(&places, live);
    if !managers.is_empty() {
        meta::of_mut(&mut owned).insert("managedFields".to_owned(), managers.into());
    }
    let reset: &[&[&str]] = &[&["status"]];
    let mut wanted = match (kind, sent) {
        (WriteKind::Apply, _) => {
            let applied = patch::applied(call, own)?;
            patch::merge(call, own, options, &manager, reset, Some(&owned), &applied)?
        }
        (_, Some(sent)) => sent.clone(),
        (_, None) => patch::modified(call, own, options, &owned)?,
    };
    check_name(call, &mut wanted)?;
    check_uid(call, &wanted, live)?;
    let replicas = replicas_of(&wanted);
    if replicas < 0 && !info.custom {
        let error = FieldError::invalid("spec.replicas", replicas, "must be greater than or equal to 0");
        return Err(ApiError::invalid_kind(
            "autoscaling",
            "Scale",
            &call.path.name,
            &[error],
        ));
    }
    if kind != WriteKind::Apply {
        let now = call.server.now();
        ssa::track_update(Some(&owned), &mut wanted, &manager, own.schema(), reset, now);
    }
    let mut new = live.clone();
    put(&mut new, &paths.spec_replicas, replicas.into());
    let version = meta::text(&wanted, "resourceVersion").to_owned();
    if !version.is_empty() {
        meta::set(&mut new, "resourceVersion", &version);
    }
    keep_managers(info, &places, &mut new, &wanted);
    Ok(new)
}

/// A patch, too, can say which object it is for.
fn check_uid(call: &Call, wanted: &Value, live: &Value) -> Result<(), ApiError> {
    let (wanted, own) = (meta::text(wanted, "uid"), meta::text(live, "uid"));
    if wanted.is_empty() || wanted == own {
        return Ok(());
    }
    let why = format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {own}");
    let resource = format!("{}/scale", call.info.plural);
    Err(ApiError::kind_conflict(
        &call.info.group,
        &resource,
        &call.path.name,
        &why,
    ))
}

fn keep_managers(info: &ResourceInfo, places: &[Place], new: &mut Value, wanted: &Value) {
    let paths = split_all(places);
    let paths: Vec<(&str, &[&str])> = paths
        .iter()
        .map(|(version, path)| (*version, &path[..]))
        .collect();
    let merged = ssa::scale_into_parent(&entries(new), &entries(wanted), &info.api_version(), &paths);
    meta::of_mut(new).insert("managedFields".to_owned(), Value::Array(merged));
}

/// Returns the replicas of a `Scale` that has been read.
pub(super) fn replicas_of(scale: &Value) -> i64 {
    scale
        .pointer("/spec/replicas")
        .and_then(Value::as_i64)
        .unwrap_or(0)
}

pub(super) fn put(object: &mut Value, path: &str, value: Value) {
    let mut at = object;
    for part in split(path) {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[part];
    }
    *at = value;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_written_as_text() {
        assert_eq!(selector_text(&json!("a=1")), "a=1");
        let selector = json!({"matchLabels": {"a": "1"}, "matchExpressions": [
            {"key": "b", "operator": "In", "values": ["x", "y"]}, {"key": "c", "operator": "DoesNotExist"}]});
        assert_eq!(selector_text(&selector), "a=1,b in (x,y),!c");
    }

    #[test]
    fn a_path_is_made_where_it_is_not() {
        let mut object = json!({});
        put(&mut object, ".spec.replicas", 3.into());
        assert_eq!(object, json!({"spec": {"replicas": 3}}));
    }
}
