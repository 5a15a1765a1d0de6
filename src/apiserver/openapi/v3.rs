//! `OpenAPI` v3: one document for each group and version, listed with a hash so that clients can keep them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::super::builtin::documents::tag;
use super::super::builtin::{Registry, ResourceInfo, SchemaSource};
use super::super::discovery::KUBERNETES_VERSION;
use super::{group_version_kind, kinds, operation_id, patch_types, paths, query_parameters};

/// Answers `/openapi/v3`.
pub fn index(registry: &Registry) -> Value {
    let mut listed = Map::new();
    for (group, versions) in registry.groups() {
        for version in versions {
            let path = if group.is_empty() {
                format!("api/{version}")
            } else {
                format!("apis/{group}/{version}")
            };
            let hash = hash(registry, &group, &version);
            listed.insert(
                path.clone(),
                json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}")}),
            );
        }
    }
    json!({"paths": listed})
}

/// Returns a hash that changes when the document does, without making the document.
pub(crate) fn hash(registry: &Registry, group: &str, version: &str) -> String {
    let mut digest = Sha256::new();
    digest.update(concat!(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION")));
    digest.update(KUBERNETES_VERSION);
    for info in registry.in_version(group, version) {
        digest.update(format!(
            "{}/{}/{}/{}/{}",
            info.plural, info.kind, info.namespaced, info.status, info.list_kind
        ));
        if let SchemaSource::Custom(schema) = &info.source {
            digest.update(schema.to_string());
        }
    }
    tag(&digest.finalize())
}

/// Answers `/openapi/v3/api/VERSION` (empty group) and `/openapi/v3/apis/GROUP/VERSION`.
pub fn document(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let served = registry.in_version(group, version);
    if served.is_empty() {
        return None;
    }
    let mut schemas = BTreeMap::new();
    let mut all_paths = Map::new();
    for info in &served {
        kinds::collect(info, &mut schemas);
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
    for schema in schemas.values_mut() {
        kinds::walk(schema, &mut wrap_reference);
    }
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": KUBERNETES_VERSION},
        "paths": all_paths,
        "components": {"schemas": schemas},
    }))
}

/// A reference with a description beside it is written as the only part of an `allOf`.
fn wrap_reference(schema: &mut Map<String, Value>) {
    if schema.len() > 1
        && let Some(reference) = schema.remove("$ref")
    {
        schema.insert("allOf".to_owned(), json!([{"$ref": reference}]));
    }
}

fn path_parameters(info: &ResourceInfo, named: bool) -> Value {
    let parameter = |name: &str, description: &str| json!({"name": name, "in": "path", "required": true, "description": description, "schema": {"type": "string", "uniqueItems": true}});
    let mut parameters = Vec::new();
    if named {
        parameters.push(parameter("name", &format!("name of the {}", info.kind)));
    }
    if info.namespaced {
        parameters.push(parameter(
            "namespace",
            "object name and auth scope, such as for teams and projects",
        ));
    }
    parameters.into()
}

fn operation(info: &ResourceInfo, method: &str, action: &str, body: bool, named: bool) -> Value {
    let own = kinds::name(info);
    let schema = |name: &str| json!({"schema": {"$ref": format!("#/components/schemas/{name}")}});
    let answer = if action == "list" {
        format!("{own}List")
    } else {
        own.clone()
    };
    let parameters: Vec<Value> = query_parameters(method, action)
        .into_iter()
        .map(|(name, kind, description)| {
            json!({"name": name, "in": "query", "description": description, "schema": {"type": kind, "uniqueItems": true}})
        })
        .collect();
    let mut operation = json!({
        "description": format!("{action} {}", info.kind),
        "operationId": operation_id(info, action, named),
        "parameters": parameters,
        "responses": {"200": {"description": "OK", "content": {"application/json": schema(&answer)}}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": group_version_kind(info),
    });
    if body {
        let content: Map<String, Value> = if method == "patch" {
            patch_types(info)
                .into_iter()
                .map(|media| (media.to_owned(), json!({"schema": {"type": "object"}})))
                .collect()
        } else {
            [("*/*".to_owned(), schema(&own))].into_iter().collect()
        };
        operation["requestBody"] = json!({"required": true, "content": content});
    }
    operation
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_widgets(size: &str) -> Registry {
        Registry::builtin().with_crd(&json!({"metadata": {"name": "widgets.differ.test"},
            "spec": {"group": "differ.test", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
                    {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": size}}}}}}}]},
            "status": {"conditions": [{"type": "Established", "status": "True"}]}}))
    }

    #[test]
    fn a_changed_schema_changes_the_hash_and_nothing_else_does() {
        let url =
            |registry: &Registry, path: &str| index(registry)["paths"][path]["serverRelativeURL"].clone();
        let (one, other) = (with_widgets("integer"), with_widgets("string"));
        assert_ne!(
            url(&one, "apis/differ.test/v1"),
            url(&other, "apis/differ.test/v1")
        );
        assert_eq!(url(&one, "api/v1"), url(&other, "api/v1"));
    }

    #[test]
    fn kubectl_finds_kinds_and_field_validation() {
        let document = document(&with_widgets("integer"), "differ.test", "v1").expect("served");
        let kind = json!({"group": "differ.test", "version": "v1", "kind": "Widget"});
        let patch = &document["paths"]["/apis/differ.test/v1/namespaces/{namespace}/widgets/{name}"]["patch"];
        assert_eq!(patch["x-kubernetes-group-version-kind"], kind);
        let parameters = patch["parameters"].as_array().expect("parameters");
        assert!(parameters.iter().any(|p| p["name"] == "fieldValidation"));
        let widget = &document["components"]["schemas"]["test.differ.v1.Widget"];
        assert_eq!(widget["x-kubernetes-group-version-kind"], json!([kind]));
        assert_eq!(
            widget["properties"]["spec"]["properties"]["size"]["type"],
            "integer"
        );
        assert!(
            document["components"]["schemas"]["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"].is_object()
        );
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let registry = with_widgets("integer");
        for (group, versions) in registry.groups() {
            for version in versions {
                let document = document(&registry, &group, &version).expect("served");
                let text = document.to_string();
                for rest in text.split("#/components/schemas/").skip(1) {
                    let name = rest.split('"').next().expect("name");
                    assert!(
                        document["components"]["schemas"][name].is_object(),
                        "{name} in {group}/{version}"
                    );
                }
            }
        }
        assert!(document(&registry, "nope", "v1").is_none());
    }
}
