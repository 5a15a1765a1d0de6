//! Where two answers differ.

use serde_json::Value;

use super::{data::Answer, normal::timeless};

/// A difference between what a kube-apiserver answered and what this server does.
#[derive(Debug)]
pub(super) struct Difference {
    /// Where: `code`, `warnings`, or the path of a field.
    pub(super) at: String,
    pub(super) expected: String,
    pub(super) found: String,
}

/// The first difference of two answers, if there is one.
pub(super) fn difference(expected: &Answer, found: &Answer) -> Option<Difference> {
    let (expected, found) = (timeless(expected), timeless(found));
    let told = |at: &str, expected: String, found: String| Difference {
        at: at.to_owned(),
        expected,
        found,
    };
    if expected.0 != found.0 {
        let body = |answer: &Answer| format!("{} {}", answer.0, answer.1);
        return Some(told("code", body(&expected), body(&found)));
    }
    if let Some((at, expected, found)) = values(&expected.1, &found.1) {
        return Some(told(&at, expected.to_string(), found.to_string()));
    }
    (expected.2 != found.2).then(|| told("warnings", expected.2.join("; "), found.2.join("; ")))
}

/// The first field that differs.
pub(super) fn values<'a>(expected: &'a Value, found: &'a Value) -> Option<(String, &'a Value, &'a Value)> {
    const NOTHING: &Value = &Value::Null;
    match (expected, found) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
            let mut fields =
                keys.filter(|key| a.contains_key(*key) != b.contains_key(*key) || a[*key] != b[*key]);
            let key = fields.next()?;
            let inner = values(a.get(key).unwrap_or(NOTHING), b.get(key).unwrap_or(NOTHING));
            let (at, a, b) = inner.unwrap_or((String::new(), NOTHING, NOTHING));
            Some((format!("/{key}{at}"), a, b))
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let index = (0..a.len()).find(|&i| a[i] != b[i])?;
            let (at, a, b) = values(&a[index], &b[index])?;
            Some((format!("/{index}{at}"), a, b))
        }
        (a, b) if a == b => None,
        (a, b) => Some((String::new(), a, b)),
    }
}
