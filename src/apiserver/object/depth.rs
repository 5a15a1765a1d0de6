//! How deep objects may nest. What is deeper could be written, but neither read back nor dropped safely.

use serde_json::Value;

/// Maps and lists that may be in one another. Who reads an object reads it in some more (a list, a review), and may take no more than 127.
pub(crate) const MAX_DEPTH: usize = 120;

/// Says whether a value has more than `levels` maps and lists in one another.
pub(crate) fn is_deeper_than(value: &Value, levels: usize) -> bool {
    let goes_on = |inner: &Value| is_deeper_than(inner, levels - 1);
    match value {
        Value::Array(_) | Value::Object(_) if levels == 0 => true,
        Value::Array(items) => items.iter().any(goes_on),
        Value::Object(fields) => fields.values().any(goes_on),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn maps_and_lists_count() {
        assert!(!is_deeper_than(&json!(1), 0));
        assert!(is_deeper_than(&json!([]), 0));
        let three = json!({"a": 1, "b": [1, {}]});
        assert!(is_deeper_than(&three, 2) && !is_deeper_than(&three, 3));
    }
}
