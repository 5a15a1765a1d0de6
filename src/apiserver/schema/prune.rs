//! Drops what a schema does not know, and nulls that mean nothing. It must not judge values.

use serde_json::Value;

use super::meta::object_meta;
use super::node::{Additional, Node};

const META_FIELDS: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Prunes a whole object, whose `metadata`, `apiVersion` and `kind` are left alone.
pub(super) fn prune_resource(root: &Node, object: &mut Value) -> Vec<String> {
    let mut unknown = Vec::new();
    prune(Some(root), object, true, &mut Path::default(), &mut unknown);
    unknown.sort();
    unknown
}

/// Prunes a part of an object.
pub(super) fn prune_part(node: &Node, value: &mut Value) {
    prune(Some(node), value, false, &mut Path::default(), &mut Vec::new());
}

/// Prunes an object's `metadata`.
pub(super) fn prune_metadata(object: &mut Value) -> Vec<String> {
    let mut unknown = Vec::new();
    if let Some(metadata) = object.get_mut("metadata") {
        let mut path = Path::default();
        path.key("metadata");
        prune(Some(object_meta()), metadata, false, &mut path, &mut unknown);
    }
    unknown.sort();
    unknown
}

/// Drops what says nothing in an object's `metadata`: nulls and empty maps, lists and texts.
pub(super) fn tidy_metadata(object: &mut Value) {
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        metadata.retain(|key, value| match value {
            Value::Null => false,
            Value::Object(map) => !map.is_empty(),
            // An empty list of managers asks to forget them all.
            Value::Array(items) => !items.is_empty() || key == "managedFields",
            Value::String(text) => !text.is_empty(),
            _ => true,
        });
    }
}

/// The path walked so far, in the form of messages.
#[derive(Default)]
struct Path(String);

impl Path {
    fn key(&mut self, key: &str) -> usize {
        let mark = self.0.len();
        if mark > 0 {
            self.0.push('.');
        }
        self.0.push_str(key);
        mark
    }

    fn index(&mut self, index: usize) -> usize {
        let mark = self.0.len();
        self.0.extend(["[", &index.to_string(), "]"]);
        mark
    }

    fn back(&mut self, mark: usize) {
        self.0.truncate(mark);
    }
}

fn prune(node: Option<&Node>, value: &mut Value, root: bool, path: &mut Path, unknown: &mut Vec<String>) {
    if let Some(node) = node
        && node.preserve_unknown
    {
        keep_unknown(node, value, root, path, unknown);
        return;
    }
    match value {
        Value::Object(map) => {
            let embedded = root || node.is_some_and(|n| n.embedded);
            map.retain(|key, value| {
                if embedded && META_FIELDS.contains(&key.as_str()) {
                    return true;
                }
                let mark = path.key(key);
                let keep = match node.and_then(|n| n.field(key)) {
                    Some(child) => {
                        prune(Some(child), value, false, path, unknown);
                        true
                    }
                    None if node.is_some_and(|n| matches!(n.additional, Some(Additional::Any))) => true,
                    None => {
                        if mark > 0 || !META_FIELDS.contains(&key.as_str()) {
                            unknown.push(path.0.clone());
                        }
                        false
                    }
                };
                path.back(mark);
                keep
            });
        }
        Value::Array(items) => {
            for (i, item) in items.iter_mut().enumerate() {
                let mark = path.index(i);
                prune(node.and_then(|n| n.items.as_deref()), item, false, path, unknown);
                path.back(mark);
            }
        }
        _ => {}
    }
}

/// Below a node that keeps unknown fields only the named ones are pruned.
fn keep_unknown(node: &Node, value: &mut Value, root: bool, path: &mut Path, unknown: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if (root || node.embedded) && META_FIELDS.contains(&key.as_str()) {
                    continue;
                }
                if let Some(child) = node.field(key) {
                    let mark = path.key(key);
                    prune(Some(child), value, false, path, unknown);
                    path.back(mark);
                }
            }
        }
        Value::Array(items) => {
            let Some(child) = node.items.as_deref() else {
                return;
            };
            for (i, item) in items.iter_mut().enumerate() {
                let mark = path.index(i);
                keep_unknown(child, item, false, path, unknown);
                path.back(mark);
            }
        }
        _ => {}
    }
}

/// Drops the nulls of fields that are neither nullable nor have a default.
pub(super) fn drop_nulls(node: Option<&Node>, value: &mut Value) {
    match value {
        Value::Object(map) => map.retain(|key, value| {
            let child = node.and_then(|n| n.field(key)).map(AsRef::as_ref);
            if value.is_null() && child.is_some_and(|c| !c.nullable && c.default.is_none()) {
                return false;
            }
            drop_nulls(child, value);
            true
        }),
        Value::Array(items) => {
            for item in items {
                drop_nulls(node.and_then(|n| n.items.as_deref()), item);
            }
        }
        _ => {}
    }
}
