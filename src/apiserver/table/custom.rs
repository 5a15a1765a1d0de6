//! Cells of custom resources.

use serde_json::Value;

use super::super::builtin::Column;
use super::super::jsonpath::Path;
use super::age;
use crate::time::Timestamp;

/// Returns the cell of a column, null where the path leads nowhere or to another type.
pub(super) fn cell(column: &Column, item: &Value, now: Timestamp) -> Value {
    let Ok(path) = Path::parse(&column.json_path) else {
        return Value::Null;
    };
    let Some(value) = path.find(item).first().copied() else {
        return Value::Null;
    };
    match (column.kind.as_str(), value) {
        (_, Value::Null) => Value::Null,
        ("integer", Value::Number(n)) => {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the API server truncates here, too"
            )]
            let whole = n.as_i64().or_else(|| n.as_f64().map(|f| f as i64));
            whole.map_or(Value::Null, Value::from)
        }
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) | ("string", Value::String(_)) => {
            value.clone()
        }
        ("string", other) => other.to_string().into(),
        ("date", Value::String(text)) => match text.parse::<Timestamp>() {
            Ok(then) => age(then, now).into(),
            Err(_) => "<invalid>".into(),
        },
        _ => Value::Null,
    }
}
