//! Rules of Namespace. Its deletion is another room's.

use serde_json::{Value, json};

use super::super::BuiltinHooks;

/// The label that carries a namespace's own name, for selectors.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

pub(in super::super) struct Namespace;

impl BuiltinHooks for Namespace {
    fn set_defaults(&self, object: &mut Value) {
        let Some(name) = object
            .pointer("/metadata/name")
            .and_then(Value::as_str)
            .map(str::to_owned)
        else {
            return;
        };
        if !name.is_empty() && object["metadata"].is_object() {
            object["metadata"]["labels"][NAME_LABEL] = name.into();
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        self.set_defaults(object);
        object["spec"] = json!({"finalizers": ["kubernetes"]});
        object["status"] = json!({"phase": "Active"});
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        // The namespace's own finalizers change only through its subresource.
        new["spec"] = old.get("spec").cloned().unwrap_or_else(|| json!({}));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_namespace_is_active_and_labelled() {
        let mut object = json!({"metadata": {"name": "a"}});
        Namespace.prepare_create(&mut object);
        assert_eq!(object["status"]["phase"], "Active");
        assert_eq!(object["spec"]["finalizers"], json!(["kubernetes"]));
        assert_eq!(object["metadata"]["labels"][NAME_LABEL], "a");
    }
}
