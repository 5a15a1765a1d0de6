//! What a custom resource definition serves. It must not judge the definition; that was done when it was written.

use std::sync::{Arc, OnceLock};

use serde_json::Value;

use super::super::builtin::{Column, NameRule, ResourceInfo, ScalePaths, SchemaSource};
use super::super::conversion::Conversion;

/// Verbs in the order in which discovery shows them for custom resources.
const VERBS: &[&str] = &[
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "create",
    "update",
    "watch",
];

fn text(value: &Value, pointer: &str) -> String {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn texts(value: &Value, pointer: &str) -> Vec<String> {
    let list = value.pointer(pointer).and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// Returns whether a condition of the definition is true.
pub(crate) fn has_condition(definition: &Value, kind: &str) -> bool {
    definition
        .pointer("/status/conditions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .any(|c| c["type"] == kind && c["status"] == "True")
}

/// Returns the resources that an established definition serves, one for each served version.
pub(crate) fn served_resources(definition: &Value) -> Vec<ResourceInfo> {
    if !has_condition(definition, "Established") {
        return Vec::new();
    }
    let versions = definition.pointer("/spec/versions").and_then(Value::as_array);
    let versions: Vec<&Value> = versions.into_iter().flatten().collect();
    let storage_version = versions
        .iter()
        .find(|v| v["storage"] == true)
        .map_or_else(String::new, |version| text(version, "/name"));
    let conversion = Conversion::of(definition).map(Arc::new);
    versions
        .into_iter()
        .filter(|version| version["served"] == true)
        .map(|version| ResourceInfo {
            conversion: conversion.clone(),
            ..resource(definition, version, &storage_version)
        })
        .collect()
}

fn resource(definition: &Value, version: &Value, storage_version: &str) -> ResourceInfo {
    let group = text(definition, "/spec/group");
    let plural = text(definition, "/spec/names/plural");
    let kind = text(definition, "/spec/names/kind");
    let name = text(version, "/name");
    let scale = version
        .pointer("/subresources/scale")
        .filter(|s| s.is_object())
        .map(|scale| ScalePaths {
            spec_replicas: text(scale, "/specReplicasPath"),
            status_replicas: text(scale, "/statusReplicasPath"),
            label_selector: Some(text(scale, "/labelSelectorPath")).filter(|path| !path.is_empty()),
        });
    let or = |found: String, other: String| if found.is_empty() { other } else { found };
    ResourceInfo {
        list_kind: or(text(definition, "/spec/names/listKind"), format!("{kind}List")),
        singular: or(text(definition, "/spec/names/singular"), kind.to_lowercase()),
        short_names: texts(definition, "/spec/names/shortNames"),
        categories: texts(definition, "/spec/names/categories"),
        namespaced: text(definition, "/spec/scope") == "Namespaced",
        storage_group_resource: format!("{plural}.{group}"),
        storage_version: storage_version.to_owned(),
        verbs: VERBS.iter().map(|&verb| verb.to_owned()).collect(),
        status: version
            .pointer("/subresources/status")
            .is_some_and(Value::is_object),
        scale,
        subresources: Vec::new(),
        columns: columns(version),
        custom: true,
        selectable_fields: version
            .pointer("/selectableFields")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|field| text(field, "/jsonPath").trim_start_matches('.').to_owned())
            .collect(),
        create_on_update: false,
        unconditional_update: false,
        virtual_only: false,
        deprecation_warning: (version["deprecated"] == true).then(|| {
            or(
                text(version, "/deprecationWarning"),
                format!("{group}/{name} {kind} is deprecated"),
            )
        }),
        crd_name: Some(text(definition, "/metadata/name")),
        conversion: None,
        hooks: None,
        name_rule: NameRule::Subdomain,
        has_generation: true,
        source: version
            .pointer("/schema/openAPIV3Schema")
            .map_or(SchemaSource::Free, |schema| {
                SchemaSource::Custom(Arc::new(schema.clone()))
            }),
        schema: Arc::new(OnceLock::new()),
        wire: OnceLock::new(),
        group,
        version: name,
        kind,
        plural,
    }
}

fn columns(version: &Value) -> Vec<Column> {
    let Some(columns) = version
        .get("additionalPrinterColumns")
        .and_then(Value::as_array)
        .filter(|c| !c.is_empty())
    else {
        return vec![Column {
            name: "Age".to_owned(),
            kind: "date".to_owned(),
            format: String::new(),
            description: ".metadata.creationTimestamp".to_owned(),
            priority: 0,
            json_path: ".metadata.creationTimestamp".to_owned(),
        }];
    };
    columns
        .iter()
        .map(|column| {
            let path = text(column, "/jsonPath");
            let description = Some(text(column, "/description"))
                .filter(|d| !d.is_empty())
                .unwrap_or_else(|| format!("Custom resource definition column (in JSONPath format): {path}"));
            Column {
                name: text(column, "/name"),
                kind: text(column, "/type"),
                format: text(column, "/format"),
                description,
                priority: column.get("priority").and_then(Value::as_i64).unwrap_or(0),
                json_path: path,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn definition() -> Value {
        json!({"metadata": {"name": "widgets.differ.test"}, "spec": {"group": "differ.test", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}]},
                {"name": "v2", "served": false, "storage": false}]},
            "status": {"conditions": [{"type": "Established", "status": "True"}]}})
    }

    #[test]
    fn only_served_versions_of_established_definitions_count() {
        let served = served_resources(&definition());
        assert_eq!(served.len(), 1);
        assert_eq!(
            (served[0].list_kind.as_str(), served[0].singular.as_str()),
            ("WidgetList", "widget")
        );
        assert!(served[0].status);
        assert_eq!(served[0].columns[0].json_path, ".spec.size");
        let mut waiting = definition();
        waiting["status"] = json!({});
        assert!(served_resources(&waiting).is_empty());
    }

    #[test]
    fn a_registry_takes_and_forgets_definitions() {
        use super::super::super::builtin::Registry;
        let registry = Registry::builtin().with_crd(&definition());
        assert_eq!(
            registry
                .find("differ.test", "v1", "widgets")
                .expect("served")
                .kind,
            "Widget"
        );
        let without = registry.without_crd("widgets.differ.test");
        assert!(without.find("differ.test", "v1", "widgets").is_none());
        assert!(
            registry.find("differ.test", "v1", "widgets").is_some(),
            "the old registry stays as it was"
        );
    }
}
