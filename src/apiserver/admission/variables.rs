//! What expressions of conditions and policies see of a write. It must not evaluate them.

use kube_cel::cel::{Context, Value as CelValue};
use serde_json::{Value, json};

use super::super::NAMESPACES;
use super::super::builtin::ResourceInfo;
use super::super::cel;
use super::{Attributes, is_namespaces, review};

/// Adds what all see: the objects and the request. `info` is the version in which it is asked about.
pub(super) fn add(
    scope: &mut Context<'_>,
    attributes: &Attributes<'_>,
    info: &ResourceInfo,
    new: Option<&Value>,
    old: Option<&Value>,
) {
    let shown = |object: Option<&Value>| object.map_or(CelValue::Null, cel::of_json);
    let mut request = review::request(attributes, info, "", None, None);
    if let Some(request) = request.as_object_mut() {
        // They are variables of their own.
        request.remove("object");
        request.remove("oldObject");
        request.remove("uid");
    }
    scope.add_variable_from_value("object", shown(new));
    scope.add_variable_from_value("oldObject", shown(old));
    scope.add_variable_from_value("request", cel::of_json(&request));
}

/// The namespace that a write happens in: nothing for what lies in none, and for namespaces.
pub(super) fn namespace(attributes: &Attributes<'_>) -> CelValue {
    if attributes.namespace.is_empty() || is_namespaces(attributes.info) {
        return CelValue::Null;
    }
    let store = attributes.call.server.store();
    let Some(found) = store.get(NAMESPACES, "", &attributes.namespace) else {
        return CelValue::Null;
    };
    let mut namespace = found.value("v1", "Namespace");
    let metadata = namespace["metadata"].take();
    let shown = [
        "name",
        "generateName",
        "namespace",
        "labels",
        "annotations",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "resourceVersion",
        "finalizers",
    ];
    let metadata: serde_json::Map<String, Value> = shown
        .into_iter()
        .filter_map(|field| Some((field.to_owned(), metadata.get(field)?.clone())))
        .collect();
    cel::of_json(&json!({"metadata": metadata, "spec": namespace["spec"], "status": namespace["status"]}))
}
