//! Objects as texts in messages, as Go writes them: metadata in the order of its struct, or a map as `%v` shows it. Pure.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// Fields of the metadata in the order of their Go struct.
const METADATA: [&str; 15] = [
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
];
/// Fields of an entry of the managed fields.
const MANAGER: [&str; 7] = [
    "manager",
    "operation",
    "apiVersion",
    "time",
    "fieldsType",
    "fieldsV1",
    "subresource",
];
/// Fields of an owner reference.
const OWNER: [&str; 6] = [
    "apiVersion",
    "kind",
    "name",
    "uid",
    "controller",
    "blockOwnerDeletion",
];

/// Returns an object as JSON.
pub(crate) fn json(object: &Value) -> String {
    let Some(fields) = object.as_object() else {
        return object.to_string();
    };
    let mut out = String::from("{");
    for (key, value) in fields {
        begin(&mut out, key);
        match value {
            Value::Object(metadata) if key == "metadata" => ordered(&mut out, metadata, &METADATA),
            other => plain(&mut out, other),
        }
    }
    out.push('}');
    out
}

/// Writes known fields in their order, then those that nobody knows.
fn ordered(out: &mut String, fields: &Map<String, Value>, order: &[&str]) {
    out.push('{');
    let known = order.iter().filter_map(|key| fields.get_key_value(*key));
    let unknown = fields.iter().filter(|(key, _)| !order.contains(&key.as_str()));
    for (key, value) in known.chain(unknown) {
        begin(out, key);
        match key.as_str() {
            "managedFields" => list(out, value, &MANAGER),
            "ownerReferences" => list(out, value, &OWNER),
            _ => plain(out, value),
        }
    }
    out.push('}');
}

fn list(out: &mut String, items: &Value, order: &[&str]) {
    let Some(items) = items.as_array() else {
        return plain(out, items);
    };
    out.push('[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        match item {
            Value::Object(fields) => ordered(out, fields, order),
            other => plain(out, other),
        }
    }
    out.push(']');
}

fn begin(out: &mut String, key: &str) {
    if !out.ends_with('{') {
        out.push(',');
    }
    plain(out, &Value::from(key));
    out.push(':');
}

fn plain(out: &mut String, value: &Value) {
    // Writing into a string does not fail.
    let _ = write!(out, "{value}");
}

/// Returns a value as Go's `%v` shows it: `map[data:map[q:1]]`.
pub(crate) fn map(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(map).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(fields) => {
            let fields: Vec<String> = fields.iter().map(|(k, v)| format!("{k}:{}", map(v))).collect();
            format!("map[{}]", fields.join(" "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metadata_come_in_the_order_of_their_struct() {
        let object = json!({
            "kind": "K", "apiVersion": "v1", "data": { "b": "1", "a": [1, null] },
            "metadata": {
                "zzz": 1, "labels": { "b": "1", "a": "2" }, "uid": "u", "name": "n",
                "ownerReferences": [{ "uid": "o", "name": "x", "kind": "K", "apiVersion": "v1" }],
                "managedFields": [{ "time": "t", "manager": "m", "apiVersion": "v1", "operation": "Apply" }, 5],
            },
        });
        let text = r#"{"apiVersion":"v1","data":{"a":[1,null],"b":"1"},"kind":"K","metadata":{"name":"n","uid":"u","labels":{"a":"2","b":"1"},"ownerReferences":[{"apiVersion":"v1","kind":"K","name":"x","uid":"o"}],"managedFields":[{"manager":"m","operation":"Apply","apiVersion":"v1","time":"t"},5],"zzz":1}}"#;
        assert_eq!(json(&object), text);
        assert_eq!(json(&json!([1])), "[1]");
        assert_eq!(json(&json!({})), "{}");
    }

    #[test]
    fn maps_are_shown_as_go_shows_them() {
        let value = json!({ "b": { "q": "1" }, "a": [1, null, true], "c": {} });
        assert_eq!(map(&value), "map[a:[1 <nil> true] b:map[q:1] c:map[]]");
    }
}
