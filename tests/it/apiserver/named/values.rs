//! Names in cases that stand for values, and whether an answer is what was wanted.

use std::collections::BTreeMap;

use serde_json::Value;

/// What names stand for.
pub(super) type Names = BTreeMap<String, String>;

/// Replaces `$NAME` by what it stands for, and `${x*3}` by `xxx`.
pub(super) fn filled(text: &str, names: &Names) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some((what, count, behind)) = repeated(after) {
            out.push_str(&what.repeat(count));
            rest = behind;
            continue;
        }
        let end = after
            .find(|c: char| !c.is_ascii_uppercase())
            .unwrap_or(after.len());
        if let Some(value) = names.get(&after[..end]) {
            out.push_str(value);
        } else {
            out.push('$');
            out.push_str(&after[..end]);
        }
        rest = &after[end..];
    }
    out + rest
}

/// What is to be repeated, how often, and what stands behind it. It may hold braces itself.
fn repeated(text: &str) -> Option<(&str, usize, &str)> {
    let (what, rest) = text.strip_prefix('{')?.split_once('*')?;
    let (count, behind) = rest.split_once('}')?;
    Some((what, count.parse().ok()?, behind))
}

/// [`filled`] in all texts of a value.
pub(super) fn filled_value(value: &Value, names: &Names) -> Value {
    match value {
        Value::String(text) => Value::String(filled(text, names)),
        Value::Array(items) => items.iter().map(|item| filled_value(item, names)).collect(),
        Value::Object(fields) => {
            let fields = fields.iter();
            Value::Object(
                fields
                    .map(|(key, value)| (filled(key, names), filled_value(value, names)))
                    .collect(),
            )
        }
        other => other.clone(),
    }
}

/// What of `wanted` is not in `found`, told as a path and what is wrong there.
pub(super) fn missing(wanted: &Value, found: &Value) -> Option<String> {
    match (wanted, found) {
        (Value::String(any), found) if any == "*" && !found.is_null() => None,
        (Value::Object(wanted), Value::Object(found)) => wanted.iter().find_map(|(key, wanted)| {
            let found = found.get(key).unwrap_or(&Value::Null);
            missing(wanted, found).map(|why| format!("/{key}{why}"))
        }),
        (Value::Array(wanted), Value::Array(found)) if wanted.len() == found.len() => {
            let mut pairs = wanted.iter().zip(found).enumerate();
            pairs.find_map(|(i, (wanted, found))| missing(wanted, found).map(|why| format!("/{i}{why}")))
        }
        (wanted, found) if wanted == found => None,
        (wanted, found) => Some(format!("\n      wanted {wanted}\n      found  {found}")),
    }
}

#[test]
fn names_stand_for_values() {
    let names = Names::from([("NS".to_owned(), "case-1".to_owned())]);
    assert_eq!(filled("/$NS/a$NSb$X$", &names), "/case-1/acase-1b$X$");
    assert_eq!(filled("<${ab*2}>$ref", &names), "<abab>$ref");
}

#[test]
fn what_is_missing_is_found() {
    let found = serde_json::json!({"a": [{"b": 1, "c": 2}], "d": null});
    for (wanted, why) in [
        (serde_json::json!({"a": [{"b": 1}]}), None),
        (serde_json::json!({"a": "*"}), None),
        (serde_json::json!({"d": "*"}), Some("/d")),
        (serde_json::json!({"a": []}), Some("/a")),
        (serde_json::json!({"a": [{"b": 2}]}), Some("/a/0/b")),
    ] {
        let told = missing(&wanted, &found);
        let at = told.as_ref().map(|t| t.split('\n').next().unwrap());
        assert_eq!(at, why);
    }
}
