//! What is wrong with a custom resource definition outside its schemas.

use serde_json::Value;

use super::super::builtin::meta::{dns1035_problems, subdomain_problems};
use super::super::schema::FieldError;
use super::{conversion, has_condition, storage_version, structure, text, versions};

const APPROVAL: &str = "api-approved.kubernetes.io";
const COLUMN_TYPES: &[&str] = &["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: &[&str] = &[
    "byte",
    "date",
    "date-time",
    "double",
    "float",
    "int32",
    "int64",
    "name",
    "password",
];

fn supported(values: &[&str]) -> Vec<String> {
    values.iter().map(|&v| v.to_owned()).collect()
}

/// Says what is wrong with a definition, in the API server's words.
pub(crate) fn validate(definition: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = &definition["spec"];
    let (group, plural) = (text(spec, "/group"), text(spec, "/names/plural"));
    let name = text(definition, "/metadata/name");
    if !name.is_empty() && name != format!("{plural}.{group}") {
        errors.push(FieldError::invalid(
            "metadata.name",
            name,
            "must be spec.names.plural+\".\"+spec.group",
        ));
    }
    errors.extend(check_group(definition, group));
    let scope = text(spec, "/scope");
    if scope.is_empty() {
        errors.push(FieldError::required("spec.scope", ""));
    } else if !matches!(scope, "Cluster" | "Namespaced") {
        errors.push(FieldError::not_supported(
            "spec.scope",
            scope,
            supported(&["Cluster", "Namespaced"]),
        ));
    }
    errors.extend(check_versions(definition));
    errors.extend(check_names(&spec["names"], "spec.names"));
    if spec["preserveUnknownFields"] == true {
        errors.push(FieldError::invalid(
            "spec.preserveUnknownFields",
            true,
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
        ));
    }
    let strategy = text(spec, "/conversion/strategy");
    if !matches!(strategy, "None" | "Webhook") {
        errors.push(FieldError::not_supported(
            "spec.conversion.strategy",
            strategy,
            supported(&["None", "Webhook"]),
        ));
    }
    errors.extend(conversion::check(
        &spec["conversion"],
        old.map(|o| &o["spec"]["conversion"]),
    ));
    errors.extend(check_stored(definition));
    if let Some(old) = old {
        errors.extend(check_update(definition, old));
    }
    errors
}

fn check_group(definition: &Value, group: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if group.is_empty() {
        return vec![FieldError::required("spec.group", "")];
    }
    let problems = subdomain_problems(group);
    if problems.is_empty() && !group.contains('.') {
        errors.push(FieldError::invalid(
            "spec.group",
            group,
            "should be a domain with at least one dot",
        ));
    }
    errors.extend(
        problems
            .into_iter()
            .map(|p| FieldError::invalid("spec.group", group, p)),
    );
    let protected = ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|own| group == *own || group.ends_with(&format!(".{own}")));
    let approved = definition
        .pointer("/metadata/annotations")
        .and_then(|a| a.get(APPROVAL));
    if protected && approved.and_then(Value::as_str).is_none_or(str::is_empty) {
        errors.push(FieldError::required(
            format!("metadata.annotations[{APPROVAL}]"),
            "protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111",
        ));
    }
    errors
}

fn check_versions(definition: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let all = versions(definition);
    let mut unique = true;
    for (index, version) in all.iter().enumerate() {
        let at = format!("spec.versions[{index}]");
        let name = text(version, "/name");
        unique &= all[..index].iter().all(|other| text(other, "/name") != name);
        errors.extend(
            dns1035_problems(name)
                .into_iter()
                .map(|p| FieldError::invalid(format!("{at}.name"), name, p)),
        );
        if version["deprecationWarning"].as_str().is_some() && version["deprecated"] != true {
            errors.push(FieldError::invalid(
                format!("{at}.deprecationWarning"),
                version["deprecationWarning"].clone(),
                "can only be set for deprecated versions",
            ));
        }
        errors.extend(check_columns(version, &format!("{at}.additionalPrinterColumns")));
        errors.extend(check_subresources(version, &at));
        match version
            .pointer("/schema/openAPIV3Schema")
            .filter(|schema| schema.is_object())
        {
            None => errors.push(FieldError::required(format!("{at}.schema.openAPIV3Schema"), "")),
            Some(schema) => {
                // With one schema for all versions the API server speaks of it as the definition's own.
                let shared = all.iter().all(|other| other["schema"] == version["schema"]);
                if !shared || index == 0 {
                    let path = if shared {
                        "spec.validation"
                    } else {
                        &format!("{at}.schema")
                    };
                    let status = version
                        .pointer("/subresources/status")
                        .is_some_and(Value::is_object);
                    errors.extend(structure::check(
                        schema,
                        &format!("{path}.openAPIV3Schema"),
                        status,
                    ));
                }
            }
        }
    }
    if !unique {
        errors.push(FieldError::invalid(
            "spec.versions",
            definition["spec"]["versions"].clone(),
            "must contain unique version names",
        ));
    }
    if all.iter().filter(|version| version["storage"] == true).count() != 1 {
        let listed = if all.is_empty() {
            Value::Array(Vec::new())
        } else {
            definition["spec"]["versions"].clone()
        };
        errors.push(FieldError::invalid(
            "spec.versions",
            listed,
            "must have exactly one version marked as storage version",
        ));
    }
    errors
}

fn check_names(names: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let at = |field: &str| format!("{path}.{field}");
    let mixed = |field: &str, errors: &mut Vec<FieldError>| {
        let value = text(names, &format!("/{field}"));
        errors.extend(dns1035_problems(&value.to_lowercase()).into_iter().map(|p| {
            FieldError::invalid(
                at(field),
                value,
                format!("may have mixed case, but should otherwise match: {p}"),
            )
        }));
    };
    let plural = text(names, "/plural");
    if plural.is_empty() {
        errors.push(FieldError::required(at("plural"), ""));
    } else {
        errors.extend(
            dns1035_problems(plural)
                .into_iter()
                .map(|p| FieldError::invalid(at("plural"), plural, p)),
        );
    }
    let singular = text(names, "/singular");
    if !singular.is_empty() {
        errors.extend(
            dns1035_problems(singular)
                .into_iter()
                .map(|p| FieldError::invalid(at("singular"), singular, p)),
        );
    }
    if text(names, "/kind").is_empty() {
        errors.push(FieldError::required(at("kind"), ""));
    } else {
        mixed("kind", &mut errors);
    }
    if text(names, "/listKind").is_empty() {
        errors.push(FieldError::required(at("listKind"), ""));
    } else {
        mixed("listKind", &mut errors);
        if text(names, "/kind") == text(names, "/listKind") {
            errors.push(FieldError::invalid(
                at("listKind"),
                text(names, "/listKind"),
                "kind and listKind may not be the same",
            ));
        }
    }
    for list in ["shortNames", "categories"] {
        for (index, name) in names[list]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .enumerate()
        {
            errors.extend(
                dns1035_problems(name)
                    .into_iter()
                    .map(|p| FieldError::invalid(format!("{path}.{list}[{index}]"), name, p)),
            );
        }
    }
    errors
}

fn check_columns(version: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, column) in version["additionalPrinterColumns"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let at = |field: &str| format!("{path}[{index}].{field}");
        for field in ["name", "type", "jsonPath"] {
            if text(column, &format!("/{field}")).is_empty() {
                errors.push(FieldError::required(at(field), ""));
            }
        }
        let (kind, format) = (text(column, "/type"), text(column, "/format"));
        if !kind.is_empty() && !COLUMN_TYPES.contains(&kind) {
            errors.push(FieldError::invalid(
                at("type"),
                kind,
                format!("must be one of {}", COLUMN_TYPES.join(",")),
            ));
        }
        if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
            errors.push(FieldError::invalid(
                at("format"),
                format,
                format!("must be one of {}", COLUMN_FORMATS.join(",")),
            ));
        }
        let json_path = text(column, "/jsonPath");
        if !json_path.is_empty()
            && let Err(reason) = super::super::jsonpath::Path::parse(json_path)
        {
            errors.push(FieldError::invalid(at("jsonPath"), json_path, reason.to_string()));
        }
    }
    errors
}

fn check_subresources(version: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let Some(scale) = version
        .pointer("/subresources/scale")
        .filter(|scale| scale.is_object())
    else {
        return errors;
    };
    for (field, roots, needed) in [
        ("specReplicasPath", &[".spec."][..], true),
        ("statusReplicasPath", &[".status."], true),
        ("labelSelectorPath", &[".spec.", ".status."], false),
    ] {
        let at = format!("{path}.subresources.scale.{field}");
        let value = text(scale, &format!("/{field}"));
        if value.is_empty() {
            if needed {
                errors.push(FieldError::required(at, ""));
            }
        } else if !roots.iter().any(|root| value.starts_with(root)) {
            let under: Vec<&str> = roots.iter().map(|root| root.trim_end_matches('.')).collect();
            errors.push(FieldError::invalid(
                at,
                value,
                format!("should be a json path under {}", under.join(" or ")),
            ));
        } else if value.contains('[') {
            errors.push(FieldError::invalid(
                at,
                value,
                "array index is not supported in scale paths",
            ));
        }
    }
    errors
}

fn check_stored(definition: &Value) -> Vec<FieldError> {
    let stored = definition
        .pointer("/status/storedVersions")
        .cloned()
        .unwrap_or_default();
    let known: Vec<&str> = stored
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if known.is_empty() {
        return vec![FieldError::invalid(
            "status.storedVersions",
            Value::Null,
            "must have at least one stored version",
        )];
    }
    let mut errors = Vec::new();
    for (index, version) in known.iter().enumerate() {
        if !versions(definition).iter().any(|v| text(v, "/name") == *version) {
            errors.push(FieldError::invalid(
                format!("status.storedVersions[{index}]"),
                *version,
                "missing from spec.versions; v1 was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in v1 and removes v1 from status.storedVersions".replace("v1", version),
            ));
        }
    }
    if let Some(storage) = storage_version(definition)
        && !known.contains(&storage)
    {
        errors.push(FieldError::invalid(
            "status.storedVersions",
            stored.clone(),
            format!("must have the storage version {storage}"),
        ));
    }
    errors
}

/// Group and plural never change; scope and kind not once the definition is established.
fn check_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut fields = vec!["spec.group", "spec.names.plural"];
    if has_condition(old, "Established") {
        fields.extend(["spec.scope", "spec.names.kind"]);
    }
    fields
        .into_iter()
        .filter_map(|field| {
            let pointer = format!("/{}", field.replace('.', "/"));
            let (now, before) = (new.pointer(&pointer), old.pointer(&pointer));
            (now != before)
                .then(|| FieldError::invalid(field, now.cloned().unwrap_or_default(), "field is immutable"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn definition() -> Value {
        json!({"metadata": {"name": "gadgets.differ.test"}, "spec": {"group": "differ.test", "scope": "Namespaced",
            "names": {"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "listKind": "GadgetList"},
            "conversion": {"strategy": "None"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object"}}}}}]},
            "status": {"storedVersions": ["v1"]}})
    }

    fn told(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut changed = definition();
        change(&mut changed);
        validate(&changed, None).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn refusals_read_as_the_real_servers() {
        assert_eq!(told(|_| ()), Vec::<String>::new());
        assert_eq!(
            told(|d| d["spec"]["group"] = "other.test".into()),
            [
                "metadata.name: Invalid value: \"gadgets.differ.test\": must be spec.names.plural+\".\"+spec.group"
            ]
        );
        assert_eq!(
            told(|d| d["spec"]["scope"] = "Galaxy".into()),
            ["spec.scope: Unsupported value: \"Galaxy\": supported values: \"Cluster\", \"Namespaced\""]
        );
        assert_eq!(
            told(|d| {
                d["spec"]["versions"] = json!([]);
                d["status"] = json!({});
            }),
            [
                "spec.versions: Invalid value: []: must have exactly one version marked as storage version",
                "status.storedVersions: Invalid value: null: must have at least one stored version"
            ]
        );
        assert_eq!(
            told(|d| d["spec"]["versions"][0]["schema"] = json!({})),
            ["spec.versions[0].schema.openAPIV3Schema: Required value"]
        );
    }

    #[test]
    fn what_identifies_a_kind_is_fixed() {
        let mut old = definition();
        old["status"]["conditions"] = json!([{"type": "Established", "status": "True"}]);
        let mut new = old.clone();
        new["spec"]["scope"] = "Cluster".into();
        let told: Vec<String> = validate(&new, Some(&old))
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            told,
            ["spec.scope: Invalid value: \"Cluster\": field is immutable"]
        );
    }

    #[test]
    fn columns_and_scale_are_checked() {
        assert_eq!(
            told(|d| d["spec"]["versions"][0]["additionalPrinterColumns"] =
                json!([{"name": "A", "type": "thing", "jsonPath": ".a"}]))
            .len(),
            1
        );
        assert_eq!(
            told(|d| d["spec"]["versions"][0]["subresources"]["scale"] =
                json!({"specReplicasPath": ".status.x", "statusReplicasPath": ".status.x"})),
            [
                "spec.versions[0].subresources.scale.specReplicasPath: Invalid value: \".status.x\": should be a json path under .spec"
            ]
        );
    }
}
