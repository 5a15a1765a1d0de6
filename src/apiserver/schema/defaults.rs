//! Fills in defaults. It must not overwrite a value that is set.

use serde_json::Value;

use super::node::Node;

/// Fills in the defaults of `node` below `value`.
pub(super) fn apply(node: &Node, value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, child) in &node.properties {
                let Some(default) = &child.default else { continue };
                let unset = map.get(key).is_none_or(|v| v.is_null() && !child.nullable);
                if unset {
                    map.insert(key.clone(), default.clone());
                }
            }
            for (key, value) in map {
                if let Some(child) = node.properties.get(key) {
                    apply(child, value);
                } else if let Some(child) = node.additional_schema() {
                    replace_null(child, value);
                    apply(child, value);
                }
            }
        }
        Value::Array(items) => {
            let Some(child) = &node.items else { return };
            for item in items {
                replace_null(child, item);
                apply(child, item);
            }
        }
        _ => {}
    }
}

fn replace_null(node: &Node, value: &mut Value) {
    if value.is_null()
        && !node.nullable
        && let Some(default) = &node.default
    {
        *value = default.clone();
    }
}
