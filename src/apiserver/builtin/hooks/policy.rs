//! Rules of `PodDisruptionBudget`.

use serde_json::{Value, json};

use super::super::super::schema::FieldError;
use super::super::BuiltinHooks;

pub(in super::super) struct PodDisruptionBudget;

/// Checks a number of pods or a share of them.
pub(super) fn check_count_or_percent(path: &str, value: &Value) -> Vec<FieldError> {
    match value {
        Value::Number(n) if n.as_i64().is_some_and(|n| n < 0) => {
            vec![FieldError::invalid(
                path,
                value.clone(),
                "must be greater than or equal to 0",
            )]
        }
        Value::String(text) => {
            let number = text
                .strip_suffix('%')
                .filter(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
            match number.map(str::parse::<u64>) {
                Some(Ok(0..=100)) => Vec::new(),
                Some(_) => vec![FieldError::invalid(
                    path,
                    value.clone(),
                    "must not be greater than 100%",
                )],
                None => vec![FieldError::invalid(
                    path,
                    value.clone(),
                    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
                )],
            }
        }
        _ => Vec::new(),
    }
}

impl BuiltinHooks for PodDisruptionBudget {
    fn prepare_create(&self, object: &mut Value) {
        object["status"] =
            json!({"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0});
    }

    fn validate(&self, new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let spec = &new["spec"];
        let (least, most) = (&spec["minAvailable"], &spec["maxUnavailable"]);
        if !least.is_null() && !most.is_null() {
            errors.push(FieldError::invalid(
                "spec",
                spec.clone(),
                "minAvailable and maxUnavailable cannot be both set",
            ));
        }
        errors.extend(check_count_or_percent("spec.minAvailable", least));
        errors.extend(check_count_or_percent("spec.maxUnavailable", most));
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_shares_are_checked() {
        let told = |value: Value| {
            PodDisruptionBudget
                .validate(&json!({"spec": {"minAvailable": value}}), None)
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert!(told(json!(1)).is_empty() && told(json!("50%")).is_empty());
        assert_eq!(
            told(json!(-1)),
            ["spec.minAvailable: Invalid value: -1: must be greater than or equal to 0"]
        );
        assert!(
            told(json!("x"))[0]
                .starts_with("spec.minAvailable: Invalid value: \"x\": a valid percent string")
        );
    }
}
