//! Rules of kinds that need few.

use serde_json::{Value, json};

use super::super::super::schema::FieldError;
use super::super::BuiltinHooks;
use super::super::meta::label_problems;

pub(in super::super) struct Claim;
pub(in super::super) struct Volume;
pub(in super::super) struct StorageClass;
pub(in super::super) struct RuntimeClass;
pub(in super::super) struct Ingress;

/// Sets a field of an object that has it not.
pub(super) fn default(object: &mut Value, field: &str, value: impl Into<Value>) {
    if let Some(object) = object.as_object_mut()
        && object
            .get(field)
            .is_none_or(|v| v.is_null() || v.as_str() == Some(""))
    {
        object.insert(field.to_owned(), value.into());
    }
}

impl BuiltinHooks for Claim {
    fn set_defaults(&self, object: &mut Value) {
        if let Some(spec) = object.get_mut("spec") {
            default(spec, "volumeMode", "Filesystem");
        }
        if let Some(status) = object.get_mut("status") {
            default(status, "phase", "Pending");
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        object["status"] = json!({"phase": "Pending"});
    }
}

impl BuiltinHooks for Volume {
    fn set_defaults(&self, object: &mut Value) {
        if let Some(spec) = object.get_mut("spec") {
            default(spec, "persistentVolumeReclaimPolicy", "Retain");
            default(spec, "volumeMode", "Filesystem");
        }
        if let Some(status) = object.get_mut("status") {
            default(status, "phase", "Pending");
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        object["status"] = json!({"phase": "Pending"});
    }
}

impl BuiltinHooks for StorageClass {
    fn set_defaults(&self, object: &mut Value) {
        default(object, "reclaimPolicy", "Delete");
        default(object, "volumeBindingMode", "Immediate");
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if let Some(old) = old {
            for field in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
                if new.get(field) != old.get(field) {
                    errors.push(FieldError::forbidden(
                        field,
                        format!("updates to {field} are forbidden."),
                    ));
                }
            }
        }
        if new["provisioner"].as_str().is_none_or(str::is_empty) {
            errors.push(FieldError::required("provisioner", ""));
        }
        errors
    }
}

impl BuiltinHooks for Ingress {
    fn prepare_create(&self, object: &mut Value) {
        object["status"] = json!({"loadBalancer": {}});
    }

    fn validate(&self, new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
        let spec = &new["spec"];
        let has_rules = spec["rules"].as_array().is_some_and(|rules| !rules.is_empty());
        if spec["defaultBackend"].is_object() || has_rules {
            return Vec::new();
        }
        let detail = "either `defaultBackend` or `rules` must be specified";
        vec![FieldError::invalid("spec", Value::Null, detail)]
    }
}

impl BuiltinHooks for RuntimeClass {
    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let handler = new["handler"].as_str().unwrap_or_default();
        let changed = old.is_some_and(|old| old["handler"] != new["handler"]);
        let problems = if old.is_none() {
            label_problems(handler)
        } else if changed {
            vec!["field is immutable".to_owned()]
        } else {
            Vec::new()
        };
        let invalid = |why| FieldError::invalid("handler", handler, why);
        problems.into_iter().map(invalid).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handler_of_a_runtime_has_a_name_and_stays() {
        let (runc, kata) = (json!({"handler": "runc"}), json!({"handler": "kata"}));
        assert!(RuntimeClass.validate(&runc, None).is_empty());
        assert!(RuntimeClass.validate(&runc, Some(&runc)).is_empty());
        let told = |new: &Value, old| RuntimeClass.validate(new, old)[0].to_string();
        assert!(
            told(&json!({}), None).starts_with("handler: Invalid value: \"\": a lowercase RFC 1123 label")
        );
        let changed = told(&kata, Some(&runc));
        assert_eq!(changed, "handler: Invalid value: \"kata\": field is immutable");
    }

    #[test]
    fn defaults_fill_only_what_is_absent() {
        let mut class = json!({"provisioner": "p", "reclaimPolicy": "Retain"});
        StorageClass.set_defaults(&mut class);
        assert_eq!(class["reclaimPolicy"], "Retain");
        assert_eq!(class["volumeBindingMode"], "Immediate");
        assert!(StorageClass.validate(&class, None).is_empty());
        assert_eq!(StorageClass.validate(&json!({}), None).len(), 1);
    }
}
