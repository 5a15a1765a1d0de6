//! Makes answers comparable: what is different each time becomes a mark. The recorded answers went through the same.

use std::sync::LazyLock;

use machinectl::time::{Clock as _, SystemClock, Timestamp};
use regex::Regex;
use serde_json::{Map, Value, json};

use super::data::Answer;

/// Fields that are different each time.
const VOLATILE: [&str; 7] = [
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "continue",
    "selfLink",
    "time",
];
/// Of a body that is no JSON, so many characters are compared.
const RAW: usize = 200;
/// The day on which the recordings were made.
const DAY: &str = "2026-11-20T";

/// An answer as the recordings have it.
pub(super) fn recorded(code: u16, body: &[u8], warnings: Vec<String>, namespace: &str) -> Answer {
    static SPACE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\s+").unwrap());
    let value = if let Ok(value) = serde_json::from_slice::<Value>(body) {
        status(normal(&value, namespace))
    } else {
        let text = mark(&String::from_utf8_lossy(body), namespace);
        let text = SPACE.replace_all(&text, " ");
        json!({ "__raw": text.chars().take(RAW).collect::<String>() })
    };
    let mut warnings: Vec<String> = warnings.iter().map(|w| mark(w, namespace)).collect();
    warnings.sort();
    Answer(code, value, warnings)
}

/// The value with marks.
pub(super) fn normal(value: &Value, namespace: &str) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(key, value)| (key.clone(), field(key, value, namespace)))
                .collect(),
        ),
        Value::Array(items) => items.iter().map(|item| normal(item, namespace)).collect(),
        Value::String(text) => Value::String(mark(text, namespace)),
        other => other.clone(),
    }
}

fn field(key: &str, value: &Value, namespace: &str) -> Value {
    if VOLATILE.contains(&key) && !value.is_object() && !value.is_array() {
        let nothing = value.is_null() || value == "";
        return if nothing { value.clone() } else { json!("*") };
    }
    match value {
        Value::Array(entries) if key == "managedFields" => managed_fields(entries, namespace),
        other => normal(other, namespace),
    }
}

/// Without times, in an order that does not depend on them.
fn managed_fields(entries: &[Value], namespace: &str) -> Value {
    let mut entries: Vec<Value> = entries
        .iter()
        .map(|entry| {
            let mut entry = normal(entry, namespace);
            if let Some(fields) = entry.as_object_mut() {
                fields.remove("time");
            }
            entry
        })
        .collect();
    entries.sort_by_cached_key(canonical);
    Value::Array(entries)
}

/// A text that is the same for equal values, whatever the order of their fields.
pub(super) fn canonical(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut parts: Vec<String> = fields
                .iter()
                .map(|(k, v)| format!("{k:?}:{}", canonical(v)))
                .collect();
            parts.sort();
            format!("{{{}}}", parts.join(","))
        }
        Value::Array(items) => {
            let parts: Vec<String> = items.iter().map(canonical).collect();
            format!("[{}]", parts.join(","))
        }
        other => other.to_string(),
    }
}

fn mark(text: &str, namespace: &str) -> String {
    static AGE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^(\d+[smhd]){1,2}$").unwrap());
    static UID: LazyLock<Regex> =
        LazyLock::new(|| Regex::new("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").unwrap());
    static SUFFIX: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(\bg-|Bad_)[a-z0-9]{5}\b").unwrap());
    let text = text.replace(namespace, "{ns}");
    let text = AGE.replace(&text, "AGE");
    let text = UID.replace_all(&text, "UID");
    SUFFIX.replace_all(&text, "$1*").into_owned()
}

/// Of a Status, what people and clients read.
fn status(value: Value) -> Value {
    if value["kind"] != "Status" {
        return value;
    }
    let details = &value["details"];
    let cause = |cause: &Value| json!([cause["reason"], cause["field"], cause["message"]]);
    let causes: Vec<Value> = details["causes"]
        .as_array()
        .into_iter()
        .flatten()
        .map(cause)
        .collect();
    json!({
        "kind": "Status", "status": value["status"], "reason": value["reason"], "code": value["code"], "message": value["message"],
        "details": { "name": details["name"], "group": details["group"], "kind": details["kind"], "causes": causes },
    })
}

/// What recorded and given answers have in common in spite of their different times: for the comparison.
pub(super) fn timeless(answer: &Answer) -> Answer {
    let Answer(code, value, warnings) = answer;
    let mut value = timeless_value(value);
    if value["kind"] == "Status"
        && let Some(causes) = value.pointer_mut("/details/causes").and_then(Value::as_array_mut)
    {
        causes.sort_by_cached_key(canonical);
    }
    let warnings = warnings.iter().map(|w| still(w)).collect();
    Answer(*code, value, warnings)
}

pub(super) fn timeless_value(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields: Map<String, Value> = fields
                .iter()
                .map(|(k, v)| (k.clone(), timeless_value(v)))
                .collect();
            Value::Object(fields)
        }
        Value::Array(items) => items.iter().map(timeless_value).collect(),
        Value::String(text) if is_now(text) => json!("TIME"),
        Value::String(text) => Value::String(still(text)),
        other => other.clone(),
    }
}

/// Whether a text is a time at which the recordings were made, or at which they are replayed.
fn is_now(text: &str) -> bool {
    let Ok(time) = text.parse::<Timestamp>() else {
        return false;
    };
    let age = SystemClock.now().duration_since(time).as_secs();
    text.starts_with(DAY) || (-60..3600).contains(&age)
}

/// A message without the versions and times that some carry.
fn still(text: &str) -> String {
    static VERSION: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(resourceVersion\W{1,24})\d+").unwrap());
    static TIME: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\d{4}-\d\d-\d\dT[\d:]+Z").unwrap());
    static NUMBER: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\(\d+\)").unwrap());
    let text = VERSION.replace_all(text, "$1*");
    let text = TIME.replace_all(&text, "TIME");
    NUMBER.replace_all(&text, "(*)").into_owned()
}
