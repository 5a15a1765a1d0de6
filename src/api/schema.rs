//! Schemas that the derive can't say: lists that are maps, references, ints that may be percents. Pure.

use schemars::{Schema, SchemaGenerator, json_schema};

/// `[]metav1.Condition`, a map by `type`.
pub(crate) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "lastTransitionTime", "reason"],
            "properties": {
                "type": { "type": "string", "maxLength": 316, "description": "What is judged, in CamelCase." },
                "status": { "type": "string", "enum": ["True", "False", "Unknown"], "description": "True, False or Unknown." },
                "reason": { "type": "string", "minLength": 1, "maxLength": 1024, "description": "Why, in one word." },
                "message": { "type": "string", "maxLength": 32768, "description": "Why, for people." },
                "lastTransitionTime": { "type": "string", "format": "date-time", "description": "When status last changed." },
                "observedGeneration": { "type": "integer", "format": "int64", "minimum": 0, "description": "The generation that was judged." }
            }
        }
    })
}

fn reference_properties() -> serde_json::Value {
    serde_json::json!({
        "apiVersion": { "type": "string", "description": "API version of the referent." },
        "kind": { "type": "string", "maxLength": 253, "description": "Kind of the referent." },
        "name": { "type": "string", "description": "Name of the referent." },
        "namespace": { "type": "string", "description": "Namespace of the referent." },
        "uid": { "type": "string", "description": "UID of the referent." },
        "resourceVersion": { "type": "string", "description": "Resource version of the referent." },
        "fieldPath": { "type": "string", "description": "A part of the referent." }
    })
}

/// `core/v1 ObjectReference`, optional.
pub(crate) fn optional_reference(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "nullable": true, "x-kubernetes-map-type": "atomic", "properties": reference_properties() })
}

/// `core/v1 ObjectReference`.
pub(crate) fn reference(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-map-type": "atomic", "properties": reference_properties() })
}

/// How many labels a selector or a template may have: rules that go through them all need a bound, or the API server takes them for
/// too expensive.
const MOST_LABELS: u64 = 1000;

/// `metav1.LabelSelector`.
pub(crate) fn label_selector(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "matchLabels": { "type": "object", "maxProperties": MOST_LABELS, "additionalProperties": { "type": "string", "maxLength": 63 }, "description": "Labels that must be equal." },
            "matchExpressions": {
                "type": "array",
                "description": "Requirements that must all hold.",
                "items": {
                    "type": "object",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": { "type": "string", "description": "Label." },
                        "operator": { "type": "string", "description": "In, NotIn, Exists or DoesNotExist." },
                        "values": { "type": "array", "items": { "type": "string" }, "description": "Values for In and NotIn." }
                    }
                }
            }
        }
    })
}

/// A number, or a percentage as text. Optional.
pub(crate) fn int_or_percent(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "nullable": true,
        "pattern": r"^((100|[0-9]{1,2})%|[0-9]+)$",
        "minimum": 0
    })
}

/// Quantities by resource name.
pub(crate) fn quantities(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "additionalProperties": { "x-kubernetes-int-or-string": true }
    })
}

/// Anything: text or an object.
pub(crate) fn anything(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "x-kubernetes-preserve-unknown-fields": true })
}

/// A list of `core/v1 Taint`, a map by key and effect.
pub(crate) fn taints(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["key", "effect"],
        "items": {
            "type": "object",
            "required": ["key", "effect"],
            "properties": {
                "key": { "type": "string", "minLength": 1, "description": "Taint key." },
                "value": { "type": "string", "description": "Taint value." },
                "effect": { "type": "string", "enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"], "description": "What happens to pods that do not tolerate it." },
                "timeAdded": { "type": "string", "format": "date-time", "description": "When the taint was added." }
            }
        }
    })
}

/// Metadata of a template: labels and annotations.
pub(crate) fn template_metadata(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "properties": {
            "labels": { "type": "object", "maxProperties": MOST_LABELS, "additionalProperties": { "type": "string", "maxLength": 63 }, "description": "Labels of what is made." },
            "annotations": { "type": "object", "additionalProperties": { "type": "string" }, "description": "Annotations of what is made." }
        }
    })
}
