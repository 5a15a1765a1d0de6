//! Names and schemas of kinds, as both document versions need them. References read `#/components/schemas/NAME`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::super::builtin::{ResourceInfo, SchemaSource, list_meta_definitions};
use super::group_version_kind;

const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const METADATA: &str = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
const LIST_METADATA: &str = "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// Returns the name of a kind's schema: `io.k8s.api.core.v1.Pod`, or the group turned round for custom kinds.
pub(super) fn name(info: &ResourceInfo) -> String {
    if info.custom {
        let turned: Vec<&str> = info.group.rsplit('.').collect();
        format!("{}.{}.{}", turned.join("."), info.version, info.kind)
    } else {
        info.definitions().0.to_owned()
    }
}

/// Adds the schemas of a kind, of its lists, and of all that they refer to.
pub(super) fn collect(info: &ResourceInfo, documents: &mut BTreeMap<String, Value>) {
    let own = name(info);
    let (_, common) = list_meta_definitions();
    for (shared, schema) in common {
        documents.entry(shared).or_insert(schema);
    }
    if info.custom {
        documents.insert(own.clone(), custom(info));
    } else {
        for (name, schema) in info.definitions().1 {
            documents
                .entry(name.clone())
                .or_insert_with(|| published(name, schema));
        }
    }
    if let Some(schema) = documents.get_mut(&own) {
        schema["x-kubernetes-group-version-kind"] = json!([group_version_kind(info)]);
    }
    if !info.virtual_only {
        documents.insert(format!("{own}List"), list(info, &own));
    }
}

/// Returns a definition as documents show it.
fn published(name: &str, schema: &Value) -> Value {
    let mut schema = schema.clone();
    if name.ends_with(".IntOrString") {
        schema = json!({
            "description": schema["description"],
            "format": "int-or-string",
            "oneOf": [{"type": "integer"}, {"type": "string"}],
        });
    }
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("x-kubernetes-preserve-unknown-fields");
    }
    schema
}

fn custom(info: &ResourceInfo) -> Value {
    let mut schema = match &info.source {
        SchemaSource::Custom(schema) => (**schema).clone(),
        _ => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
    };
    if !schema["properties"].is_object() {
        schema["properties"] = json!({});
    }
    let properties = &mut schema["properties"];
    properties["apiVersion"] = json!({"type": "string", "description": API_VERSION});
    properties["kind"] = json!({"type": "string", "description": KIND});
    properties["metadata"] = reference(&format!("{META}.ObjectMeta"), METADATA);
    schema
}

fn list(info: &ResourceInfo, own: &str) -> Value {
    let mut kind = group_version_kind(info);
    kind["kind"] = info.list_kind.clone().into();
    json!({
        "description": format!("{} is a list of {}", info.list_kind, info.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string", "description": API_VERSION},
            "kind": {"type": "string", "description": KIND},
            "items": {
                "type": "array",
                "description": format!("List of {}.", info.plural),
                "items": {"$ref": format!("{}{own}", super::super::builtin::REFERENCE)},
            },
            "metadata": reference(&format!("{META}.ListMeta"), LIST_METADATA),
        },
        "x-kubernetes-group-version-kind": [kind],
    })
}

/// Returns a reference that has a description of its own.
fn reference(name: &str, description: &str) -> Value {
    json!({"$ref": format!("{}{name}", super::super::builtin::REFERENCE), "description": description})
}

/// Walks a schema and all schemas within it, outermost first.
pub(super) fn walk(schema: &mut Value, change: &mut dyn FnMut(&mut Map<String, Value>)) {
    let Some(map) = schema.as_object_mut() else { return };
    change(map);
    for (key, value) in map.iter_mut() {
        match (key.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                properties
                    .values_mut()
                    .for_each(|property| walk(property, change));
            }
            ("items" | "additionalProperties" | "not", value) => walk(value, change),
            ("allOf" | "anyOf" | "oneOf", Value::Array(all)) => all.iter_mut().for_each(|s| walk(s, change)),
            _ => {}
        }
    }
}
