//! `OpenAPI` v2: one document for everything, for older clients, which want it in protobuf.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::super::builtin::{REFERENCE, Registry, ResourceInfo};
use super::super::discovery::KUBERNETES_VERSION;
use super::{gnostic, group_version_kind, kinds, operation_id, patch_types, paths, query_parameters};

const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2";

/// Returns the content type to answer with when an `Accept` header asks for protobuf before JSON.
pub fn wants_protobuf(accept: &str) -> Option<&'static str> {
    accept
        .split(',')
        .map(|media| media.split(';').next().unwrap_or_default().trim())
        .find(|media| matches!(*media, "application/json" | "*/*") || media.starts_with(PROTOBUF))
        .filter(|media| media.starts_with(PROTOBUF))
        // Clients ask with an @, which is no good as the type of an answer.
        .map(|_| "application/com.github.proto-openapi.spec.v2.v1.0+protobuf")
}

/// Returns a document in the binary form of the gnostic project, which Kubernetes clients read.
pub fn protobuf(document: &Value) -> Vec<u8> {
    gnostic::document(document)
}

/// Answers `/openapi/v2`.
pub fn document(registry: &Registry) -> Value {
    let mut definitions = BTreeMap::new();
    let mut all_paths = Map::new();
    for info in registry.all() {
        kinds::collect(info, &mut definitions);
        for entry in paths(info) {
            let mut item = Map::new();
            for (method, action, body) in &entry.operations {
                item.insert(
                    (*method).to_owned(),
                    operation(info, method, action, *body, entry.named),
                );
            }
            item.insert("parameters".to_owned(), path_parameters(info, entry.named));
            all_paths.insert(entry.path, item.into());
        }
    }
    for (name, schema) in &mut definitions {
        if name.ends_with(".IntOrString") {
            *schema =
                json!({"description": schema["description"], "type": "string", "format": "int-or-string"});
        }
        kinds::walk(schema, &mut simplify);
    }
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": KUBERNETES_VERSION},
        "paths": all_paths,
        "definitions": definitions,
    })
}

/// Leaves out what version 2 cannot say, so that clients do not take it for a promise.
fn simplify(schema: &mut Map<String, Value>) {
    let is_true = |schema: &Map<String, Value>, field: &str| schema.get(field) == Some(&Value::Bool(true));
    for field in ["anyOf", "oneOf", "allOf", "not"] {
        schema.remove(field);
    }
    if is_true(schema, "nullable") {
        // A null would be refused by type.
        schema.remove("type");
        schema.remove("items");
        schema.remove("properties");
    }
    schema.remove("nullable");
    if is_true(schema, "x-kubernetes-int-or-string") {
        schema.remove("type");
    }
    if is_true(schema, "x-kubernetes-preserve-unknown-fields") {
        schema.remove("items");
        schema.remove("additionalProperties");
        // The fields of the root are known all the same.
        if !schema.contains_key("x-kubernetes-group-version-kind") {
            schema.remove("properties");
        }
    }
    schema.remove("x-kubernetes-validations");
    if schema.get("additionalProperties").is_some_and(Value::is_boolean) {
        schema.remove("additionalProperties");
    }
    if let Some(Value::String(reference)) = schema.get_mut("$ref") {
        *reference = reference.replace(REFERENCE, "#/definitions/");
    }
}

fn path_parameters(info: &ResourceInfo, named: bool) -> Value {
    let parameter = |name: &str| json!({"name": name, "in": "path", "required": true, "type": "string", "uniqueItems": true});
    let mut parameters = Vec::new();
    if named {
        parameters.push(parameter("name"));
    }
    if info.namespaced {
        parameters.push(parameter("namespace"));
    }
    parameters.into()
}

fn operation(info: &ResourceInfo, method: &str, action: &str, body: bool, named: bool) -> Value {
    let own = kinds::name(info);
    let schema = |name: &str| json!({"$ref": format!("#/definitions/{name}")});
    let answer = if action == "list" {
        format!("{own}List")
    } else {
        own.clone()
    };
    let mut parameters: Vec<Value> = query_parameters(method, action)
        .into_iter()
        .map(|(name, kind, description)| {
            json!({"name": name, "in": "query", "description": description, "type": kind, "uniqueItems": true})
        })
        .collect();
    if body {
        let content = if method == "patch" {
            json!({"type": "object"})
        } else {
            schema(&own)
        };
        parameters.insert(
            0,
            json!({"name": "body", "in": "body", "required": true, "schema": content}),
        );
    }
    let consumes = if method == "patch" {
        patch_types(info)
    } else {
        vec!["*/*"]
    };
    json!({
        "description": format!("{action} {}", info.kind),
        "operationId": operation_id(info, action, named),
        "consumes": consumes,
        "produces": ["application/json"],
        "parameters": parameters,
        "responses": {"200": {"description": "OK", "schema": schema(&answer)}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": group_version_kind(info),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protobuf_is_given_to_those_who_ask_for_it_first() {
        let old = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
        assert!(wants_protobuf(old).is_some_and(|answer| !answer.contains('@')));
        assert_eq!(wants_protobuf("application/json, */*"), None);
        assert_eq!(wants_protobuf(&format!("application/json,{old}")), None);
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document(&Registry::builtin());
        let text = document.to_string();
        assert!(!text.contains(REFERENCE));
        for rest in text.split("#/definitions/").skip(1) {
            let name = rest.split('"').next().expect("name");
            assert!(document["definitions"][name].is_object(), "{name}");
        }
        assert!(!protobuf(&document).is_empty());
    }
}
