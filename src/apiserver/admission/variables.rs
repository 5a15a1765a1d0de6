//! What expressions of conditions and policies see of a write. It must not evaluate them.

use std::collections::HashMap;
use std::sync::Arc;

use kube_cel::cel::objects::{Key, Map};
use kube_cel::cel::{Context, Value as CelValue};
use serde_json::{Value, json};

use super::super::NAMESPACES;
use super::super::builtin::ResourceInfo;
use super::super::cel::{self, Program};
use super::super::schema::Reads;
use super::{Attributes, is_namespaces, review};

/// What expressions read of each variable: no more is made ready for them.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    object: Reads,
    old_object: Reads,
    request: Reads,
    namespace: Reads,
    pub(crate) params: Reads,
}

impl Needs {
    pub(super) fn of<'a>(programs: impl Iterator<Item = &'a Program>) -> Self {
        let expressions: Vec<_> = programs.map(Program::expression).collect();
        let reads = |variable: &str| Reads::of(variable, expressions.iter().copied());
        Self {
            object: reads("object"),
            old_object: reads("oldObject"),
            request: reads("request"),
            namespace: reads("namespaceObject"),
            params: reads("params"),
        }
    }
}

/// Says whether something is read at all.
fn is_read(reads: &Reads) -> bool {
    !matches!(reads, Reads::Fields(fields) if fields.is_empty())
}

/// Shows what is read of a value. The rest may be missing.
pub(super) fn part(value: &Value, reads: &Reads) -> CelValue {
    match (value, reads) {
        (Value::Object(_), Reads::Fields(fields)) if fields.is_empty() => CelValue::Null,
        (Value::Object(map), Reads::Fields(fields)) => {
            let fields = fields.iter().filter_map(|(field, reads)| {
                let value = part(map.get(field)?, reads);
                Some((Key::String(Arc::new(field.clone())), value))
            });
            CelValue::Map(Map {
                map: Arc::new(fields.collect::<HashMap<_, _>>()),
            })
        }
        _ => cel::of_json(value),
    }
}

/// Adds what expressions see of a write but for parameters. `info` is the version in which it is asked about.
pub(super) fn add(
    scope: &mut Context<'_>,
    needs: &Needs,
    attributes: &Attributes<'_>,
    info: &ResourceInfo,
    new: Option<&Value>,
    old: Option<&Value>,
) {
    let shown = |object: Option<&Value>, reads| part(object.unwrap_or(&Value::Null), reads);
    scope.add_variable_from_value("object", shown(new, &needs.object));
    scope.add_variable_from_value("oldObject", shown(old, &needs.old_object));
    if is_read(&needs.request) {
        scope.add_variable_from_value("request", request(attributes, info));
    }
    if is_read(&needs.namespace) {
        scope.add_variable_from_value("namespaceObject", namespace(attributes));
    }
}

fn request(attributes: &Attributes<'_>, info: &ResourceInfo) -> CelValue {
    let mut request = review::request(attributes, info, "");
    // It belongs to the call of a webhook.
    request.remove("uid");
    cel::of_json(&Value::Object(request))
}

/// The namespace that a write happens in: nothing for what lies in none, and for namespaces.
fn namespace(attributes: &Attributes<'_>) -> CelValue {
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
