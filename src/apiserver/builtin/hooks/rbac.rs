//! Rules of roles and bindings. What they grant is nobody's business here.

use serde_json::Value;

use super::super::super::schema::FieldError;
use super::super::BuiltinHooks;

const GROUP: &str = "rbac.authorization.k8s.io";

pub(in super::super) struct Role;
pub(in super::super) struct RoleBinding;

fn is_empty(list: &Value) -> bool {
    list.as_array().is_none_or(Vec::is_empty)
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

impl BuiltinHooks for Role {
    fn validate(&self, new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for (index, rule) in new["rules"].as_array().into_iter().flatten().enumerate() {
            let at = |field: &str| format!("rules[{index}].{field}");
            if is_empty(&rule["verbs"]) {
                errors.push(FieldError::required(
                    at("verbs"),
                    "verbs must contain at least one value",
                ));
            }
            if !is_empty(&rule["nonResourceURLs"]) {
                if new["kind"] == "Role" {
                    errors.push(FieldError::invalid(
                        at("nonResourceURLs"),
                        rule["nonResourceURLs"].clone(),
                        "namespaced rules cannot apply to non-resource URLs",
                    ));
                }
                if !is_empty(&rule["apiGroups"])
                    || !is_empty(&rule["resources"])
                    || !is_empty(&rule["resourceNames"])
                {
                    errors.push(FieldError::invalid(
                        at("nonResourceURLs"),
                        rule["nonResourceURLs"].clone(),
                        "rules cannot apply to both regular resources and non-resource URLs",
                    ));
                }
                continue;
            }
            if is_empty(&rule["apiGroups"]) {
                errors.push(FieldError::required(
                    at("apiGroups"),
                    "resource rules must supply at least one api group",
                ));
            }
            if is_empty(&rule["resources"]) {
                errors.push(FieldError::required(
                    at("resources"),
                    "resource rules must supply at least one resource",
                ));
            }
        }
        errors
    }
}

impl BuiltinHooks for RoleBinding {
    fn set_defaults(&self, object: &mut Value) {
        if let Some(role) = object.get_mut("roleRef").and_then(Value::as_object_mut)
            && role
                .get("apiGroup")
                .and_then(Value::as_str)
                .is_none_or(str::is_empty)
        {
            role.insert("apiGroup".to_owned(), GROUP.into());
        }
        for subject in object
            .get_mut("subjects")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if matches!(text(subject, "kind"), "User" | "Group") && text(subject, "apiGroup").is_empty() {
                subject["apiGroup"] = GROUP.into();
            }
        }
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if let Some(old) = old
            && old["roleRef"] != new["roleRef"]
        {
            errors.push(FieldError::invalid(
                "roleRef",
                new["roleRef"].clone(),
                "cannot change roleRef",
            ));
        }
        let role = &new["roleRef"];
        let supported = |values: &[&str]| values.iter().map(|&v| v.to_owned()).collect::<Vec<_>>();
        if text(role, "apiGroup") != GROUP {
            errors.push(FieldError::not_supported(
                "roleRef.apiGroup",
                role["apiGroup"].clone(),
                supported(&[GROUP]),
            ));
        }
        let kinds: &[&str] = if new["kind"] == "ClusterRoleBinding" {
            &["ClusterRole"]
        } else {
            &["Role", "ClusterRole"]
        };
        if !kinds.contains(&text(role, "kind")) {
            errors.push(FieldError::not_supported(
                "roleRef.kind",
                role["kind"].clone(),
                supported(kinds),
            ));
        }
        if text(role, "name").is_empty() {
            errors.push(FieldError::required("roleRef.name", ""));
        }
        for (index, subject) in new["subjects"].as_array().into_iter().flatten().enumerate() {
            let at = |field: &str| format!("subjects[{index}].{field}");
            if text(subject, "name").is_empty() {
                errors.push(FieldError::required(at("name"), ""));
            }
            let (kind, group) = (text(subject, "kind"), text(subject, "apiGroup"));
            match kind {
                "ServiceAccount" => {
                    if !group.is_empty() {
                        errors.push(FieldError::not_supported(at("apiGroup"), group, supported(&[""])));
                    }
                    if text(subject, "namespace").is_empty() && new["kind"] == "ClusterRoleBinding" {
                        errors.push(FieldError::required(at("namespace"), ""));
                    }
                }
                "User" | "Group" => {
                    if group != GROUP {
                        errors.push(FieldError::not_supported(
                            at("apiGroup"),
                            group,
                            supported(&[GROUP]),
                        ));
                    }
                }
                _ => errors.push(FieldError::not_supported(
                    at("kind"),
                    kind,
                    supported(&["ServiceAccount", "User", "Group"]),
                )),
            }
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rules_have_verbs() {
        let role =
            json!({"kind": "Role", "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": []}]});
        assert_eq!(
            Role.validate(&role, None)[0].to_string(),
            "rules[0].verbs: Required value: verbs must contain at least one value"
        );
    }

    #[test]
    fn a_binding_names_a_role_and_keeps_it() {
        let mut binding = json!({"kind": "RoleBinding", "roleRef": {"kind": "Bad", "name": "n"},
            "subjects": [{"kind": "User", "name": "u"}]});
        RoleBinding.set_defaults(&mut binding);
        assert_eq!(
            RoleBinding.validate(&binding, None)[0].to_string(),
            "roleRef.kind: Unsupported value: \"Bad\": supported values: \"Role\", \"ClusterRole\""
        );
        binding["roleRef"]["kind"] = "Role".into();
        assert!(RoleBinding.validate(&binding, None).is_empty());
        let mut other = binding.clone();
        other["roleRef"]["name"] = "m".into();
        assert_eq!(RoleBinding.validate(&other, Some(&binding)).len(), 1);
    }
}
