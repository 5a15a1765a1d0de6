//! Rules of Lease.

use serde_json::Value;

use super::super::super::schema::FieldError;
use super::super::BuiltinHooks;

pub(in super::super) struct Lease;

impl BuiltinHooks for Lease {
    fn validate(&self, new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let number = |field: &str| new.pointer(&format!("/spec/{field}")).and_then(Value::as_i64);
        if let Some(seconds) = number("leaseDurationSeconds").filter(|n| *n <= 0) {
            errors.push(FieldError::invalid(
                "spec.leaseDurationSeconds",
                seconds,
                "must be greater than 0",
            ));
        }
        if let Some(count) = number("leaseTransitions").filter(|n| *n < 0) {
            errors.push(FieldError::invalid(
                "spec.leaseTransitions",
                count,
                "must be greater than or equal to 0",
            ));
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_lease_lasts_at_least_a_second() {
        let told = Lease.validate(&json!({"spec": {"leaseDurationSeconds": 0}}), None);
        assert_eq!(
            told[0].to_string(),
            "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"
        );
        assert!(
            Lease
                .validate(&json!({"spec": {"leaseDurationSeconds": 1}}), None)
                .is_empty()
        );
    }
}
