//! The schema of `metadata`, which all kinds share. It must not look at objects.

use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};

use super::node::{Compiler, Node};

/// The schema of an object's `metadata`: also that of templates that carry one.
pub fn object_meta_schema() -> Value {
    let text = json!({"type": "string"});
    let texts = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let time = json!({"type": "string", "format": "date-time"});
    json!({
        "type": "object",
        "properties": {
            "name": text, "generateName": text, "namespace": text, "selfLink": text, "uid": text,
            "resourceVersion": text,
            "generation": {"type": "integer", "format": "int64"},
            "creationTimestamp": time, "deletionTimestamp": time,
            "deletionGracePeriodSeconds": {"type": "integer", "format": "int64"},
            "labels": texts, "annotations": texts,
            "finalizers": {
                "type": "array", "items": text,
                "x-kubernetes-list-type": "set", "x-kubernetes-patch-strategy": "merge"
            },
            "ownerReferences": {
                "type": "array",
                "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["uid"],
                "x-kubernetes-patch-strategy": "merge", "x-kubernetes-patch-merge-key": "uid",
                "items": {
                    "type": "object", "x-kubernetes-map-type": "atomic",
                    "required": ["apiVersion", "kind", "name", "uid"],
                    "properties": {
                        "apiVersion": text, "kind": text, "name": text, "uid": text,
                        "controller": {"type": "boolean"}, "blockOwnerDeletion": {"type": "boolean"}
                    }
                }
            },
            "managedFields": {
                "type": "array", "x-kubernetes-list-type": "atomic",
                "items": {
                    "type": "object",
                    "properties": {
                        "manager": text, "operation": text, "apiVersion": text, "time": time,
                        "fieldsType": text, "subresource": text,
                        "fieldsV1": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}
                    }
                }
            }
        }
    })
}

/// [`object_meta_schema`], compiled.
pub(crate) fn object_meta() -> &'static Arc<Node> {
    static NODE: LazyLock<Arc<Node>> =
        LazyLock::new(|| Compiler::default().node(&object_meta_schema(), "", 0));
    &NODE
}

/// The schema of `apiVersion` and `kind`, compiled.
pub(crate) fn type_meta() -> &'static Arc<Node> {
    static NODE: LazyLock<Arc<Node>> =
        LazyLock::new(|| Compiler::default().node(&json!({"type": "string"}), "", 0));
    &NODE
}
