//! Label selectors in objects: what is wrong with them. It must not select anything.

use serde_json::Value;

use super::super::super::schema::FieldError;
use super::super::meta::{label_value_problems, qualified_name_problems, validate_labels};

/// Says what is wrong with the selector at `path`.
pub(super) fn check(selector: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = validate_labels(selector.get("matchLabels"), &format!("{path}.matchLabels"));
    let expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    for (i, expression) in expressions.enumerate() {
        errors.extend(check_expression(
            expression,
            &format!("{path}.matchExpressions[{i}]"),
        ));
    }
    errors
}

fn check_expression(expression: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let operator = expression["operator"].as_str().unwrap_or_default();
    let values = expression["values"].as_array().map_or(&[][..], Vec::as_slice);
    match operator {
        "In" | "NotIn" if values.is_empty() => errors.push(FieldError::required(
            format!("{path}.values"),
            "must be specified when `operator` is 'In' or 'NotIn'",
        )),
        "Exists" | "DoesNotExist" if !values.is_empty() => errors.push(FieldError::forbidden(
            format!("{path}.values"),
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        )),
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => errors.push(FieldError::invalid(
            format!("{path}.operator"),
            other,
            "not a valid selector operator",
        )),
    }
    let key = expression["key"].as_str().unwrap_or_default();
    for why in qualified_name_problems(key) {
        errors.push(FieldError::invalid(format!("{path}.key"), key, why));
    }
    for (i, value) in values.iter().enumerate() {
        let value = value.as_str().unwrap_or_default();
        for why in label_value_problems(value) {
            errors.push(FieldError::invalid(format!("{path}.values[{i}]"), value, why));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_are_refused_in_the_words_of_the_api_server() {
        let expression = |key: &str, operator: &str, values: &[&str]| {
            let errors = check_expression(&json!({"key": key, "operator": operator, "values": values}), "s");
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(expression("a", "In", &["", "b"]), Vec::<String>::new());
        assert_eq!(
            expression("a", "In", &[]),
            ["s.values: Required value: must be specified when `operator` is 'In' or 'NotIn'"]
        );
        assert_eq!(
            expression("a", "Exists", &["b"]),
            ["s.values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'"]
        );
        assert_eq!(
            expression("a", "Is", &["b"]),
            ["s.operator: Invalid value: \"Is\": not a valid selector operator"]
        );
        assert!(
            expression("a b", "Exists", &[])[0].starts_with("s.key: Invalid value: \"a b\": name part must")
        );
        assert!(expression("a", "In", &["b", "c d"])[0].starts_with("s.values[1]: Invalid value: \"c d\""));
    }
}
