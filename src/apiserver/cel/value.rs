//! Values on their way into expressions, and errors on their way out. It must not know schemas.

use std::collections::HashMap;
use std::sync::Arc;

use kube_cel::cel::objects::{Key, Map};
use kube_cel::cel::{ExecutionError, Value as CelValue};
use serde_json::Value;

/// Stands for the name of a function in errors that are told as they are.
pub(super) const OWN: &str = "@own";
/// Characters of an error: it may show whole objects.
const LONGEST: usize = 2000;

/// A JSON value as expressions see it, without any schema.
pub(crate) fn of_json(value: &Value) -> CelValue {
    match value {
        Value::Null => CelValue::Null,
        Value::Bool(b) => CelValue::Bool(*b),
        Value::Number(n) => n
            .as_i64()
            .map_or_else(|| CelValue::Float(n.as_f64().unwrap_or(f64::NAN)), CelValue::Int),
        Value::String(text) => CelValue::String(Arc::new(text.clone())),
        Value::Array(items) => CelValue::List(Arc::new(items.iter().map(of_json).collect())),
        Value::Object(map) => {
            let fields = map
                .iter()
                .map(|(key, value)| (Key::String(Arc::new(key.clone())), of_json(value)));
            CelValue::Map(Map {
                map: Arc::new(fields.collect::<HashMap<_, _>>()),
            })
        }
    }
}

/// Says what went wrong, as Go's evaluator does where that is known.
pub(super) fn short(error: &ExecutionError) -> String {
    let text = match error {
        ExecutionError::NoSuchKey(key) => return format!("no such key: {key}"),
        ExecutionError::NoSuchOverload | ExecutionError::UnsupportedBinaryOperator(..) => {
            return "no such overload".to_owned();
        }
        ExecutionError::FunctionError { function, message } if function == OWN => message.clone(),
        ExecutionError::Overflow(_, one, _) => return overflow(one).to_owned(),
        ExecutionError::DivisionByZero(_) => return "division by zero".to_owned(),
        ExecutionError::RemainderByZero(_) => return "modulus by zero".to_owned(),
        ExecutionError::IndexOutOfBounds(CelValue::Int(at)) => return format!("index out of bounds: {at}"),
        other => other.to_string(),
    };
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}...", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

/// Says what became too large.
fn overflow(one: &CelValue) -> &'static str {
    match one {
        CelValue::Int(_) => "integer overflow",
        CelValue::UInt(_) => "unsigned integer overflow",
        CelValue::Timestamp(_) => "timestamp overflow",
        _ => "duration overflow",
    }
}
