//! Finds items that occur twice in sets and in lists that are maps. It must not check anything else.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::error::FieldError;
use super::node::{ListType, Node};

/// All duplicates of an object.
pub(super) fn duplicates(root: &Node, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    visit(root, object, "", &mut errors);
    errors
}

fn visit(node: &Node, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if !node.has_keyed_lists {
        return;
    }
    match value {
        Value::Object(map) => {
            if let Some(child) = node.additional_schema() {
                for (key, value) in map {
                    visit(child, value, &format!("{path}[{key}]"), errors);
                }
            }
            for (key, value) in map {
                if let Some(child) = node.properties.get(key) {
                    let path = if path.is_empty() {
                        key.clone()
                    } else {
                        format!("{path}.{key}")
                    };
                    visit(child, value, &path, errors);
                }
            }
        }
        Value::Array(items) => {
            match node.list_type {
                Some(ListType::Set) => {
                    for i in repeated(items) {
                        errors.push(FieldError::duplicate(format!("{path}[{i}]"), items[i].clone()));
                    }
                }
                Some(ListType::Map) => map_duplicates(node, items, path, errors),
                _ => {}
            }
            if let Some(child) = &node.items {
                for (i, item) in items.iter().enumerate() {
                    visit(child, item, &format!("{path}[{i}]"), errors);
                }
            }
        }
        _ => {}
    }
}

fn map_duplicates(node: &Node, items: &[Value], path: &str, errors: &mut Vec<FieldError>) {
    if let Some((i, item)) = items
        .iter()
        .enumerate()
        .find(|(_, v)| !v.is_object() && !v.is_null())
    {
        let detail = "must be an object for an array of list-type map";
        errors.push(FieldError::invalid(format!("{path}[{i}]"), item.clone(), detail));
        return;
    }
    if are_told_apart(node, items) {
        return;
    }
    let keys: Vec<Value> = items
        .iter()
        .map(|item| {
            let key: Map<String, Value> = node
                .list_keys
                .iter()
                .filter_map(|name| Some((name.clone(), item.get(name)?.clone())))
                .collect();
            Value::Object(key)
        })
        .collect();
    for i in repeated(&keys) {
        errors.push(FieldError::duplicate(format!("{path}[{i}]"), keys[i].clone()));
    }
}

/// Whether it is plain that no two items have the same keys. Comparing each with each is only worth it for a few.
fn are_told_apart(node: &Node, items: &[Value]) -> bool {
    const FEW: usize = 24;
    let same = |a: &Value, b: &Value| node.list_keys.iter().all(|key| a.get(key) == b.get(key));
    items.len() <= FEW
        && items
            .iter()
            .enumerate()
            .all(|(i, item)| !items[..i].iter().any(|before| same(before, item)))
}

/// The index of the second appearance of each value that occurs more than once.
fn repeated(items: &[Value]) -> Vec<usize> {
    let mut seen: HashMap<String, usize> = HashMap::with_capacity(items.len());
    let mut out = Vec::new();
    for (i, item) in items.iter().enumerate() {
        let times = seen.entry(item.to_string()).or_default();
        *times += 1;
        if *times == 2 {
            out.push(i);
        }
    }
    out
}
