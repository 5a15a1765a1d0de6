//! Schemas of the built-in kinds, made from their type definitions plus what those leave out: which lists are maps
//! or sets, by which keys, and how a strategic merge patch treats them.
//! It must not validate anything.

use serde_json::{Map, Value, json};

/// The type definitions behind a kind: the name of the root type, and every type it reaches, by name. References
/// between them read `#/components/schemas/NAME`.
pub(super) type Definition = fn() -> (String, Map<String, Value>);

/// Prefix of references between definitions.
pub(crate) const REFERENCE: &str = "#/components/schemas/";

/// Returns the definitions behind type `T`.
pub(super) fn of<T: schemars::JsonSchema>() -> (String, Map<String, Value>) {
    // This draft keeps a description beside a reference; older ones would wrap it.
    let mut settings = schemars::generate::SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    settings.transforms.clear();
    settings.meta_schema = None;
    let mut generator = settings.into_generator();
    generator.subschema_for::<T>();
    (T::schema_name().into_owned(), generator.take_definitions(true))
}

/// Returns the name and definitions of the metadata of lists and, beside it, of objects.
pub(crate) fn list_meta_definitions() -> (String, Map<String, Value>) {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ListMeta, ObjectMeta};
    let (name, mut definitions) = of::<ListMeta>();
    definitions.extend(with_definitions(of::<ObjectMeta>).1);
    (name, definitions)
}

/// Returns the definitions behind `CustomResourceDefinition`. Its schema type refers to itself.
pub(super) fn definition_kind() -> (String, Map<String, Value>) {
    of::<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition>()
}

/// Returns the definitions with the marks for lists, maps and merge keys added.
pub(crate) fn with_definitions(definition: Definition) -> (String, Map<String, Value>) {
    let (name, mut definitions) = definition();
    for (type_name, schema) in &mut definitions {
        mark(type_name, schema);
    }
    (name, definitions)
}

/// Returns the schema with every reference replaced by what it refers to and without descriptions, as the structural
/// schema compiler wants it. A type inside itself becomes an object with unknown fields.
pub(super) fn inlined(definition: Definition) -> Value {
    let (name, definitions) = with_definitions(definition);
    let mut inside = Vec::new();
    resolve(&name, &definitions, &mut inside)
}

fn resolve(name: &str, definitions: &Map<String, Value>, inside: &mut Vec<String>) -> Value {
    // A schema within a CRD is checked by the CRD's own rules.
    if inside.iter().any(|outer| outer == name) || name.ends_with(".JSONSchemaProps") {
        return json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    }
    let Some(schema) = definitions.get(name) else {
        return json!({"x-kubernetes-preserve-unknown-fields": true});
    };
    inside.push(name.to_owned());
    let resolved = inline(schema, definitions, inside);
    inside.pop();
    resolved
}

fn inline(schema: &Value, definitions: &Map<String, Value>, inside: &mut Vec<String>) -> Value {
    let Value::Object(schema) = schema else {
        return schema.clone();
    };
    let mut result = match schema
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|r| r.strip_prefix(REFERENCE))
    {
        Some(name) => resolve(name, definitions, inside),
        None => json!({}),
    };
    let Value::Object(into) = &mut result else {
        return result;
    };
    for (key, value) in schema {
        let value = match key.as_str() {
            "description" | "$ref" => continue,
            "properties" => Value::Object(
                value
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(name, property)| (name.clone(), inline(property, definitions, inside)))
                    .collect(),
            ),
            "items" | "additionalProperties" => inline(value, definitions, inside),
            _ => value.clone(),
        };
        into.insert(key.clone(), value);
    }
    result
}

/// Lists that are maps: `Type.field=key,key`. The first key is also the strategic merge key.
const LIST_MAPS: &[&str] = &[
    "ObjectMeta.ownerReferences=uid",
    "Container.env=name",
    "Container.ports=containerPort,protocol",
    "Container.volumeDevices=devicePath",
    "Container.volumeMounts=mountPath",
    "EphemeralContainer.env=name",
    "EphemeralContainer.ports=containerPort,protocol",
    "EphemeralContainer.volumeDevices=devicePath",
    "EphemeralContainer.volumeMounts=mountPath",
    "ContainerStatus.volumeMounts=mountPath",
    "PodSpec.containers=name",
    "PodSpec.ephemeralContainers=name",
    "PodSpec.hostAliases=ip",
    "PodSpec.imagePullSecrets=name",
    "PodSpec.initContainers=name",
    "PodSpec.resourceClaims=name",
    "PodSpec.schedulingGates=name",
    "PodSpec.topologySpreadConstraints=topologyKey,whenUnsatisfiable",
    "PodSpec.volumes=name",
    "PodStatus.conditions=type",
    "PodStatus.podIPs=ip",
    "PodStatus.resourceClaimStatuses=name",
    "NodeStatus.addresses=type",
    "NodeStatus.conditions=type",
    "NamespaceStatus.conditions=type",
    "ServiceSpec.ports=port,protocol",
    "ServiceStatus.conditions=type",
    "ServiceAccount.secrets=name",
    "PersistentVolumeClaimStatus.conditions=type",
    "DeploymentStatus.conditions=type",
    "DaemonSetStatus.conditions=type",
    "ReplicaSetStatus.conditions=type",
    "StatefulSetStatus.conditions=type",
    "PodDisruptionBudgetStatus.conditions=type",
    "CSINodeSpec.drivers=name",
];

/// The same without a strategic merge key.
const LIST_MAPS_APPLY_ONLY: &[&str] = &[
    "ResourceRequirements.claims=name",
    "VolumeResourceRequirements.claims=name",
    "ContainerStatus.allocatedResourcesStatus=name",
    "CertificateSigningRequestStatus.conditions=type",
    "CustomResourceDefinitionStatus.conditions=type",
];

/// Lists that are sets, merged by strategic merge patches.
const LIST_SETS: &[&str] = &["ObjectMeta.finalizers", "NodeSpec.podCIDRs"];

/// Types that are always replaced as a whole.
const ATOMIC_TYPES: &[&str] = &[
    "ConfigMapKeySelector",
    "SecretKeySelector",
    "ConfigMapNodeConfigSource",
    "LabelSelector",
    "LocalObjectReference",
    "NodeSelector",
    "NodeSelectorTerm",
    "ObjectFieldSelector",
    "ObjectReference",
    "OwnerReference",
    "ResourceFieldSelector",
    "RoleRef",
    "ScopeSelector",
    "SecretReference",
    "Subject",
    "TopologySelectorTerm",
    "TypedLocalObjectReference",
    "EndpointAddress",
    "EndpointPort",
    "FileKeySelector",
];

/// Fields whose map is replaced as a whole: `Type.field`.
const ATOMIC_MAPS: &[&str] = &["ServiceSpec.selector", "PodSpec.nodeSelector"];

/// Values of keys that may be left out: `Type.field=value`.
const KEY_DEFAULTS: &[&str] = &["ContainerPort.protocol=TCP", "ServicePort.protocol=TCP"];

fn mark(type_name: &str, schema: &mut Value) {
    let short = type_name.rsplit('.').next().unwrap_or(type_name);
    if ATOMIC_TYPES.contains(&short) {
        schema["x-kubernetes-map-type"] = "atomic".into();
    }
    if type_name.ends_with(".FieldsV1") || type_name.ends_with(".RawExtension") {
        schema["x-kubernetes-preserve-unknown-fields"] = true.into();
    }
    // The types say that metadata is required because it always is in Rust; the API does not.
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|field| field != "metadata");
        if required.is_empty()
            && let Some(schema) = schema.as_object_mut()
        {
            schema.remove("required");
        }
    }
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else {
        return;
    };
    for (field, property) in properties {
        let path = format!("{short}.{field}");
        let keys = |table: &[&'static str]| {
            table.iter().find_map(|row| {
                row.split_once('=')
                    .filter(|(at, _)| *at == path)
                    .map(|(_, keys)| keys)
            })
        };
        if let Some(value) = keys(KEY_DEFAULTS) {
            property["default"] = value.into();
        }
        if ATOMIC_MAPS.contains(&path.as_str()) {
            property["x-kubernetes-map-type"] = "atomic".into();
        }
        if path == "DeploymentSpec.strategy" {
            property["x-kubernetes-patch-strategy"] = "retainKeys".into();
        }
        if property.get("type").is_none_or(|t| t != "array") {
            continue;
        }
        let with_merge_key = keys(LIST_MAPS);
        if let Some(list_keys) = with_merge_key.or_else(|| keys(LIST_MAPS_APPLY_ONLY)) {
            property["x-kubernetes-list-type"] = "map".into();
            let list_keys: Vec<&str> = list_keys.split(',').collect();
            if with_merge_key.is_some() {
                let retain = matches!(path.as_str(), "PodSpec.volumes" | "PodSpec.resourceClaims");
                property["x-kubernetes-patch-merge-key"] = list_keys[0].into();
                property["x-kubernetes-patch-strategy"] =
                    if retain { "merge,retainKeys" } else { "merge" }.into();
            }
            property["x-kubernetes-list-map-keys"] = list_keys.into();
        } else if LIST_SETS.contains(&path.as_str()) {
            property["x-kubernetes-list-type"] = "set".into();
            property["x-kubernetes-patch-strategy"] = "merge".into();
        } else {
            property["x-kubernetes-list-type"] = "atomic".into();
            if path == "PodStatus.hostIPs" {
                property["x-kubernetes-patch-strategy"] = "merge".into();
                property["x-kubernetes-patch-merge-key"] = "ip".into();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1 as core;

    #[test]
    fn references_are_inlined_and_lists_marked() {
        let pod = inlined(of::<core::Pod>);
        let containers = pod
            .pointer("/properties/spec/properties/containers")
            .expect("containers");
        assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
        let ports = containers.pointer("/items/properties/ports").expect("ports");
        assert_eq!(
            ports["x-kubernetes-list-map-keys"],
            json!(["containerPort", "protocol"])
        );
        assert_eq!(ports["x-kubernetes-patch-merge-key"], "containerPort");
        assert_eq!(
            ports.pointer("/items/properties/protocol/default"),
            Some(&json!("TCP"))
        );
        assert!(!pod.to_string().contains("$ref"));
    }

    #[test]
    fn every_row_of_the_tables_names_a_field_that_exists() {
        let mut known = std::collections::BTreeSet::new();
        for info in super::super::kinds::all() {
            let super::super::SchemaSource::Builtin(definition) = &info.source else {
                panic!("built in")
            };
            for (name, schema) in definition().1 {
                let short = name.rsplit('.').next().expect("last").to_owned();
                for field in schema["properties"].as_object().into_iter().flatten() {
                    known.insert(format!("{short}.{}", field.0));
                }
            }
        }
        for row in LIST_MAPS
            .iter()
            .chain(LIST_MAPS_APPLY_ONLY)
            .chain(LIST_SETS)
            .chain(KEY_DEFAULTS)
            .chain(ATOMIC_MAPS)
        {
            let path = row.split('=').next().expect("path");
            assert!(
                known.contains(path) || path == "VolumeResourceRequirements.claims",
                "{path}"
            );
        }
    }
}
