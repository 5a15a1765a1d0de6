//! How deep objects may nest. What is deeper could be written, but neither read back nor dropped safely.

use serde_json::Value;

/// Maps and lists that may be in one another. Nobody reads more back.
pub(crate) const MAX_DEPTH: usize = 127;

/// The same of what is new: who reads an object reads it in some more (a list, a review). Older releases let in what can just be read.
pub(crate) const MAX_NEW_DEPTH: usize = 120;

/// Returns how many maps and lists of a value are in one another.
pub(crate) fn depth(value: &Value) -> usize {
    let deepest = match value {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(fields) => fields.values().map(depth).max(),
        _ => return 0,
    };
    deepest.unwrap_or(0) + 1
}

/// Says whether a value has more than `levels` maps and lists in one another.
pub(crate) fn is_deeper_than(value: &Value, levels: usize) -> bool {
    is_deeper_within(value, levels, &mut { usize::MAX }).unwrap_or(true)
}

/// The same, unless that takes a look at more than `visits` values. What is left of them is left there.
pub(crate) fn is_deeper_within(value: &Value, levels: usize, visits: &mut usize) -> Option<bool> {
    *visits = visits.checked_sub(1)?;
    match value {
        Value::Array(_) | Value::Object(_) if levels == 0 => Some(true),
        Value::Array(items) => any_deeper(items.iter(), levels - 1, visits),
        Value::Object(fields) => any_deeper(fields.values(), levels - 1, visits),
        _ => Some(false),
    }
}

fn any_deeper<'a>(
    mut values: impl Iterator<Item = &'a Value>,
    levels: usize,
    visits: &mut usize,
) -> Option<bool> {
    values
        .find_map(|value| match is_deeper_within(value, levels, visits) {
            Some(false) => None,
            found => Some(found),
        })
        .unwrap_or(Some(false))
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
        assert_eq!((depth(&json!(1)), depth(&json!([])), depth(&three)), (0, 1, 3));
        let mut visits = 7;
        assert_eq!(is_deeper_within(&three, 3, &mut visits), Some(false));
        assert_eq!(is_deeper_within(&three, 3, &mut visits), None);
    }
}
