//! Rules of `CustomResourceDefinition` as an object; what it means is in `crd`.

use serde_json::Value;

use super::super::super::crd;
use super::super::super::schema::FieldError;
use super::super::BuiltinHooks;

pub(in super::super) struct CustomResourceDefinition;

impl BuiltinHooks for CustomResourceDefinition {
    fn set_defaults(&self, object: &mut Value) {
        crd::set_defaults(object);
    }

    fn prepare_create(&self, object: &mut Value) {
        crd::reset_status(object);
    }

    fn prepare_update(&self, new: &mut Value, _old: &Value) {
        crd::note_stored_versions(new);
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        crd::validate(new, old)
    }
}
