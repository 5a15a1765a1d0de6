//! Rules of Event in both groups.

use serde_json::Value;

use super::super::super::schema::FieldError;
use super::super::BuiltinHooks;

pub(in super::super) struct Event;
pub(in super::super) struct EventsEvent;

/// An event lies in the namespace of what it is about; what has none is told of in `default`.
fn check_namespace(event: &Value, field: &str) -> Vec<FieldError> {
    let about = event[field]["namespace"].as_str().unwrap_or_default();
    let own = event
        .pointer("/metadata/namespace")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let fits = if about.is_empty() {
        matches!(own, "default" | "kube-system") || own.is_empty()
    } else {
        about == own
    };
    // Objects without a namespace of their own are often told of where their controller runs.
    if fits || about.is_empty() {
        Vec::new()
    } else {
        vec![FieldError::invalid(
            format!("{field}.namespace"),
            about,
            "does not match event.namespace",
        )]
    }
}

impl BuiltinHooks for Event {
    fn validate(&self, new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
        check_namespace(new, "involvedObject")
    }
}

impl BuiltinHooks for EventsEvent {
    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = check_namespace(new, "regarding");
        if old.is_some() || new["eventTime"].is_null() {
            return errors;
        }
        for field in ["reportingController", "reportingInstance", "action", "reason"] {
            if new[field].as_str().is_none_or(str::is_empty) {
                errors.push(FieldError::required(field, ""));
            }
        }
        if !matches!(new["type"].as_str(), Some("Normal" | "Warning")) {
            let given = new["type"].as_str().unwrap_or_default();
            errors.push(FieldError::invalid(
                "type",
                "",
                format!("has invalid value: {given}"),
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
    fn a_new_event_says_who_reports_what() {
        let event = json!({"metadata": {"namespace": "a"}, "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Odd",
            "reportingController": "c", "reportingInstance": "i", "reason": "R"});
        let told: Vec<String> = EventsEvent
            .validate(&event, None)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            told,
            [
                "action: Required value",
                "type: Invalid value: \"\": has invalid value: Odd"
            ]
        );
    }

    #[test]
    fn an_event_lies_beside_what_it_is_about() {
        let mut event = json!({"metadata": {"namespace": "a"}, "involvedObject": {"namespace": "a"}});
        assert!(Event.validate(&event, None).is_empty());
        event["involvedObject"]["namespace"] = "b".into();
        assert_eq!(
            Event.validate(&event, None)[0].to_string(),
            "involvedObject.namespace: Invalid value: \"b\": does not match event.namespace"
        );
    }
}
