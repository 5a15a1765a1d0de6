//! Rules of Node.

use serde_json::{Value, json};

use super::super::super::schema::FieldError;
use super::super::{BuiltinHooks, meta};

/// The taint that a node carries until its controller finds it ready.
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

pub(in super::super) struct Node;

fn taints(node: &Value) -> &[Value] {
    node.pointer("/spec/taints")
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn check_taints(node: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, taint) in taints(node).iter().enumerate() {
        // The API server names this path so.
        let at = format!("metadata.taints[{index}]");
        let (key, effect) = (&taint["key"], &taint["effect"]);
        let text = key.as_str().unwrap_or_default();
        errors.extend(
            meta::qualified_name_problems(text)
                .into_iter()
                .map(|p| FieldError::invalid(format!("{at}.key"), text, p)),
        );
        if let Some(value) = taint["value"].as_str() {
            errors.extend(
                meta::label_value_problems(value)
                    .into_iter()
                    .map(|p| FieldError::invalid(format!("{at}.value"), value, p)),
            );
        }
        match effect.as_str().unwrap_or_default() {
            "" => errors.push(FieldError::required(format!("{at}.effect"), "")),
            known if EFFECTS.contains(&known) => {}
            _ => errors.push(FieldError::not_supported(
                format!("{at}.effect"),
                effect.clone(),
                EFFECTS.iter().map(|&e| e.to_owned()).collect(),
            )),
        }
        if taints(node)[..index]
            .iter()
            .any(|other| other["key"] == *key && other["effect"] == *effect)
        {
            let mut error = FieldError::duplicate(at, taint.clone());
            "taints must be unique by key and effect pair".clone_into(&mut error.detail);
            errors.push(error);
        }
    }
    errors
}

impl BuiltinHooks for Node {
    fn set_defaults(&self, object: &mut Value) {
        if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut)
            && !status.contains_key("allocatable")
            && let Some(capacity) = status.get("capacity").cloned()
        {
            status.insert("allocatable".to_owned(), capacity);
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        let has = taints(object)
            .iter()
            .any(|t| t["key"] == NOT_READY && t["effect"] == "NoSchedule");
        if !has && object.get("spec").is_some_and(Value::is_object) {
            let mut all = taints(object).to_vec();
            all.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
            object["spec"]["taints"] = all.into();
        }
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = check_taints(new);
        if let Some(old) = old {
            errors.extend(check_taints(new));
            let id = |node: &Value| {
                node.pointer("/spec/providerID")
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            if !id(old).is_empty() && id(new) != id(old) {
                errors.push(FieldError::forbidden(
                    "spec.providerID",
                    "node updates may not change providerID except from \"\" to valid",
                ));
            }
            let cidrs = |node: &Value| {
                node.pointer("/spec/podCIDRs")
                    .and_then(Value::as_array)
                    .cloned()
                    .unwrap_or_default()
            };
            if !cidrs(old).is_empty() && cidrs(new) != cidrs(old) {
                errors.push(FieldError::forbidden(
                    "spec.podCIDRs",
                    "node updates may not change podCIDR except from \"\" to valid",
                ));
            }
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_node_is_not_ready() {
        let mut node = json!({"spec": {}});
        Node.prepare_create(&mut node);
        Node.prepare_create(&mut node);
        assert_eq!(
            node["spec"]["taints"],
            json!([{"key": NOT_READY, "effect": "NoSchedule"}])
        );
    }

    #[test]
    fn a_provider_id_is_set_once() {
        let old = json!({"spec": {"providerID": "docker://a"}});
        assert!(Node.validate(&old, Some(&json!({"spec": {}}))).is_empty());
        let told = Node.validate(&json!({"spec": {"providerID": "b"}}), Some(&old));
        assert_eq!(
            told[0].to_string(),
            "spec.providerID: Forbidden: node updates may not change providerID except from \"\" to valid"
        );
    }

    #[test]
    fn taints_have_a_known_effect() {
        let node = json!({"spec": {"taints": [{"key": "k", "effect": "Bad"}]}});
        assert_eq!(
            Node.validate(&node, None)[0].to_string(),
            "metadata.taints[0].effect: Unsupported value: \"Bad\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\""
        );
    }
}
