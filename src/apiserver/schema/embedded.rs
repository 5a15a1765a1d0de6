//! Checks objects inside of objects (`x-kubernetes-embedded-resource`): they must say what they are. It must not check
//! anything else.

use serde_json::Value;

use super::error::FieldError;
use super::node::Node;

/// All faults of embedded objects.
pub(super) fn errors(root: &Node, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    visit(root, object, "", &mut errors);
    errors
}

fn visit(node: &Node, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if !node.has_embedded {
        return;
    }
    match value {
        Value::Object(map) => {
            if node.embedded && !path.is_empty() {
                for key in ["apiVersion", "kind"] {
                    let field = format!("{path}.{key}");
                    match map.get(key) {
                        Some(Value::String(text)) if !text.is_empty() => {}
                        None | Some(Value::String(_) | Value::Null) => {
                            errors.push(FieldError::required(field, "must not be empty"));
                        }
                        Some(other) => {
                            errors.push(FieldError::invalid(field, other.clone(), "must be a string"));
                        }
                    }
                }
            }
            for (key, value) in map {
                let (child, path) = match node.properties.get(key) {
                    Some(child) if path.is_empty() => (child, key.clone()),
                    Some(child) => (child, format!("{path}.{key}")),
                    None => match node.additional_schema() {
                        Some(child) => (child, format!("{path}[{key}]")),
                        None => continue,
                    },
                };
                visit(child, value, &path, errors);
            }
        }
        Value::Array(items) => {
            let Some(child) = &node.items else { return };
            for (i, item) in items.iter().enumerate() {
                visit(child, item, &format!("{path}[{i}]"), errors);
            }
        }
        _ => {}
    }
}
