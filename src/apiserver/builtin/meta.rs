//! Validation of `metadata`, with the API server's texts. It must not know of any kind.

use std::collections::HashSet;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::super::schema::FieldError;
use super::NameRule;

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const DNS_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const QUALIFIED_SHAPE: &str = "a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
/// How many owners errors show: each that there are too many controllers shows them all.
const MOST_OWNERS_SHOWN: usize = 10_000;
/// Bytes that all annotations together may have.
const ANNOTATIONS_LIMIT: usize = 256 * 1024;

fn matcher(pattern: &str) -> Regex {
    Regex::new(pattern).expect("invariant: the pattern is a constant that compiles")
}

static SUBDOMAIN_RE: LazyLock<Regex> =
    LazyLock::new(|| matcher(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"));
static QUALIFIED_RE: LazyLock<Regex> =
    LazyLock::new(|| matcher(r"^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$"));

fn is_label(text: &str) -> bool {
    let edge = |c: Option<&u8>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let bytes = text.as_bytes();
    edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == b'-')
}

/// Says what is wrong with an RFC 1123 subdomain; empty if nothing is.
pub(crate) fn subdomain_problems(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > 253 {
        problems.push("must be no more than 253 characters".to_owned());
    }
    if !SUBDOMAIN_RE.is_match(text) {
        problems.push(SUBDOMAIN.to_owned());
    }
    problems
}

/// Says what is wrong with an RFC 1123 label; empty if nothing is.
pub(crate) fn label_problems(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > 63 {
        problems.push("must be no more than 63 characters".to_owned());
    }
    if !is_label(text) {
        problems.push(LABEL.to_owned());
    }
    problems
}

/// Says what is wrong with an RFC 1035 label; empty if nothing is.
pub(crate) fn dns1035_problems(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > 63 {
        problems.push("must be no more than 63 characters".to_owned());
    }
    if !is_label(text) || !text.starts_with(|c: char| c.is_ascii_lowercase()) {
        problems.push(DNS_1035.to_owned());
    }
    problems
}

/// Says what is wrong with a name used as a path segment; empty if nothing is.
fn segment_problems(text: &str, prefix: bool) -> Vec<String> {
    let mut problems = Vec::new();
    if !prefix && (text == "." || text == "..") {
        problems.push(format!("may not be '{text}'"));
    }
    for bad in ["/", "%"] {
        if text.contains(bad) {
            problems.push(format!("may not contain '{bad}'"));
        }
    }
    problems
}

/// Says what is wrong with a label or annotation key (`prefix/name`); empty if nothing is.
pub(crate) fn qualified_name_problems(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let mut parts = text.split('/');
    let (name, prefix) = match (parts.next(), parts.next(), parts.next()) {
        (Some(name), None, None) => (name, None),
        (Some(prefix), Some(name), None) => (name, Some(prefix)),
        _ => return vec![QUALIFIED_SHAPE.replacen("a valid label key", "a qualified name", 1)],
    };
    if let Some(prefix) = prefix {
        if prefix.is_empty() {
            problems.push("prefix part must be non-empty".to_owned());
        } else {
            problems.extend(
                subdomain_problems(prefix)
                    .into_iter()
                    .map(|p| format!("prefix part {p}")),
            );
        }
    }
    if name.is_empty() {
        problems.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        problems.push("name part must be no more than 63 characters".to_owned());
    }
    if !QUALIFIED_RE.is_match(name) {
        problems.push(format!("name part {QUALIFIED}"));
    }
    problems
}

/// Says what is wrong with a label value; empty if nothing is.
pub(crate) fn label_value_problems(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > 63 {
        problems.push("must be no more than 63 characters".to_owned());
    }
    if !text.is_empty() && !QUALIFIED_RE.is_match(text) {
        problems.push(LABEL_VALUE.to_owned());
    }
    problems
}

fn name_problems(rule: NameRule, name: &str, prefix: bool) -> Vec<String> {
    // The last dash of a prefix is followed by the generated part.
    let masked = match name.strip_suffix('-') {
        Some(rest) if prefix && !rest.is_empty() => format!("{rest}a"),
        _ => name.to_owned(),
    };
    match rule {
        NameRule::Subdomain => subdomain_problems(&masked),
        NameRule::Label => label_problems(&masked),
        NameRule::Dns1035Label => dns1035_problems(&masked),
        NameRule::PathSegment => segment_problems(name, prefix),
    }
}

fn text<'a>(meta: &'a Value, field: &str) -> &'a str {
    meta.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// Checks labels at `path`.
pub(crate) fn validate_labels(labels: Option<&Value>, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, value) in labels.and_then(Value::as_object).into_iter().flatten() {
        errors.extend(
            qualified_name_problems(key)
                .into_iter()
                .map(|p| FieldError::invalid(path, key.as_str(), p)),
        );
        let value = value.as_str().unwrap_or_default();
        // The path names the key, as in the API server.
        errors.extend(
            label_value_problems(value)
                .into_iter()
                .map(|p| FieldError::invalid(path, value, p)),
        );
    }
    errors
}

pub(crate) fn validate_annotations(annotations: Option<&Value>, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut size = 0;
    for (key, value) in annotations.and_then(Value::as_object).into_iter().flatten() {
        // Keys are checked in lower case: annotations may use capitals in their prefix.
        errors.extend(
            qualified_name_problems(&key.to_lowercase())
                .into_iter()
                .map(|p| FieldError::invalid(path, key.as_str(), p)),
        );
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > ANNOTATIONS_LIMIT {
        let limit = i64::try_from(ANNOTATIONS_LIMIT).unwrap_or(i64::MAX);
        errors.push(FieldError::too_long(path, "", limit));
    }
    errors
}

/// Checks finalizers. Those of custom resources need no domain, as in the API server.
fn validate_finalizers(finalizers: Option<&Value>, path: &str, custom: bool) -> Vec<FieldError> {
    const STANDARD: &[&str] = &["kubernetes", "orphan", "foregroundDeletion"];
    let mut errors = Vec::new();
    let names: Vec<&str> = finalizers
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (index, name) in names.iter().enumerate() {
        let at = format!("{path}[{index}]");
        let problems = qualified_name_problems(name);
        if problems.is_empty() && !custom && !name.contains('/') && !STANDARD.contains(name) {
            errors.push(FieldError::invalid(
                at,
                *name,
                "name is neither a standard finalizer name nor is it fully qualified",
            ));
        } else {
            errors.extend(problems.into_iter().map(|p| FieldError::invalid(path, *name, p)));
        }
    }
    if names.contains(&"orphan") && names.contains(&"foregroundDeletion") {
        errors.push(FieldError::invalid(
            path,
            finalizers.cloned().unwrap_or_default(),
            "finalizer orphan and foregroundDeletion cannot be both set",
        ));
    }
    errors
}

fn validate_owners(owners: Option<&Value>, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let count = owners.and_then(Value::as_array).map_or(0, Vec::len);
    let (mut controller, mut shown) = (None::<String>, 0);
    for (index, owner) in owners.and_then(Value::as_array).into_iter().flatten().enumerate() {
        let at = format!("{path}[{index}]");
        let (api_version, kind, name) = (
            text(owner, "apiVersion"),
            text(owner, "kind"),
            text(owner, "name"),
        );
        if api_version.is_empty() || api_version.ends_with('/') {
            errors.push(FieldError::invalid(
                format!("{at}.apiVersion"),
                api_version,
                "version must not be empty",
            ));
        }
        for (field, value) in [("kind", kind), ("name", name), ("uid", text(owner, "uid"))] {
            if value.is_empty() {
                errors.push(FieldError::invalid(
                    format!("{at}.{field}"),
                    value,
                    "must not be empty",
                ));
            }
        }
        if kind == "Event" && matches!(api_version, "v1" | "events.k8s.io/v1") {
            errors.push(FieldError::invalid(
                at.clone(),
                owner.clone(),
                format!("{api_version}, Kind=Event is disallowed from being an owner"),
            ));
        }
        if owner.get("controller").and_then(Value::as_bool) == Some(true) {
            if let Some(first) = controller.as_ref().filter(|_| shown < MOST_OWNERS_SHOWN) {
                shown += count;
                errors.push(FieldError::invalid(
                    path,
                    owners.cloned().unwrap_or_default(),
                    format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {kind}/{name}"
                    ),
                ));
            }
            controller.get_or_insert_with(|| format!("{kind}/{name}"));
        }
    }
    errors
}

/// Checks the metadata of a new object. `custom`: it is one of a custom resource.
pub(crate) fn validate(object: &Value, rule: NameRule, namespaced: bool, custom: bool) -> Vec<FieldError> {
    let empty = Value::Null;
    let meta = object.get("metadata").unwrap_or(&empty);
    let mut errors = Vec::new();
    let generate = text(meta, "generateName");
    if !generate.is_empty() {
        errors.extend(
            name_problems(rule, generate, true)
                .into_iter()
                .map(|p| FieldError::invalid("metadata.generateName", generate, p)),
        );
    }
    let name = text(meta, "name");
    if name.is_empty() {
        errors.push(FieldError::required(
            "metadata.name",
            "name or generateName is required",
        ));
    } else {
        errors.extend(
            name_problems(rule, name, false)
                .into_iter()
                .map(|p| FieldError::invalid("metadata.name", name, p)),
        );
    }
    let namespace = text(meta, "namespace");
    if namespaced {
        if namespace.is_empty() {
            errors.push(FieldError::required("metadata.namespace", ""));
        } else {
            errors.extend(
                label_problems(namespace)
                    .into_iter()
                    .map(|p| FieldError::invalid("metadata.namespace", namespace, p)),
            );
        }
    } else if !namespace.is_empty() {
        errors.push(FieldError::forbidden(
            "metadata.namespace",
            "not allowed on this type",
        ));
    }
    if meta
        .get("generation")
        .and_then(Value::as_i64)
        .is_some_and(|g| g < 0)
    {
        errors.push(FieldError::invalid(
            "metadata.generation",
            meta["generation"].clone(),
            "must be greater than or equal to 0",
        ));
    }
    errors.extend(validate_labels(meta.get("labels"), "metadata.labels"));
    errors.extend(validate_annotations(
        meta.get("annotations"),
        "metadata.annotations",
    ));
    errors.extend(validate_owners(
        meta.get("ownerReferences"),
        "metadata.ownerReferences",
    ));
    errors.extend(validate_finalizers(
        meta.get("finalizers"),
        "metadata.finalizers",
        custom,
    ));
    errors
}

/// Checks the metadata of a changed object against what it was.
pub(crate) fn validate_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let empty = Value::Null;
    let (new, old) = (
        new.get("metadata").unwrap_or(&empty),
        old.get("metadata").unwrap_or(&empty),
    );
    let mut errors = Vec::new();
    if old.get("deletionTimestamp").is_some_and(|t| !t.is_null()) {
        let had: HashSet<&str> = names(old.get("finalizers")).collect();
        let added: Vec<String> = names(new.get("finalizers"))
            .filter(|f| !had.contains(f))
            .map(|f| format!("\"{f}\""))
            .collect();
        if !added.is_empty() {
            errors.push(FieldError::forbidden(
                "metadata.finalizers",
                format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                    added.join(", ")
                ),
            ));
        }
    }
    for field in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        let (now, before) = (new.get(field), old.get(field));
        if now.unwrap_or(&Value::Null) != before.unwrap_or(&Value::Null) {
            errors.push(FieldError::invalid(
                format!("metadata.{field}"),
                now.cloned().unwrap_or_default(),
                "field is immutable",
            ));
        }
    }
    errors.extend(validate_labels(new.get("labels"), "metadata.labels"));
    errors.extend(validate_annotations(
        new.get("annotations"),
        "metadata.annotations",
    ));
    errors.extend(validate_owners(
        new.get("ownerReferences"),
        "metadata.ownerReferences",
    ));
    errors
}

fn names(list: Option<&Value>) -> impl Iterator<Item = &str> {
    let items = list.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn bad_names_are_told_in_the_servers_words() {
        let object = json!({"metadata": {"name": "UPPER", "namespace": "a", "labels": {"bad key!": "x"}}});
        let errors = told(&validate(&object, NameRule::Subdomain, true, false));
        assert_eq!(errors.len(), 2);
        assert!(
            errors[0].starts_with("metadata.name: Invalid value: \"UPPER\": a lowercase RFC 1123 subdomain")
        );
        assert!(
            errors[1].starts_with("metadata.labels: Invalid value: \"bad key!\": name part must consist")
        );
    }

    #[test]
    fn a_name_or_a_prefix_is_needed() {
        let errors = told(&validate(
            &json!({"metadata": {}}),
            NameRule::Subdomain,
            false,
            false,
        ));
        assert_eq!(
            errors,
            ["metadata.name: Required value: name or generateName is required"]
        );
    }

    #[test]
    fn a_prefix_may_end_with_a_dash_and_a_name_may_not() {
        assert!(name_problems(NameRule::Label, "g-", true).is_empty());
        assert_eq!(name_problems(NameRule::Label, "g-", false).len(), 1);
        assert_eq!(name_problems(NameRule::Subdomain, "Bad_", true).len(), 1);
        assert_eq!(
            name_problems(NameRule::Subdomain, &"x".repeat(260), false),
            ["must be no more than 253 characters"]
        );
    }

    #[test]
    fn finalizers_cannot_be_added_to_an_object_being_deleted() {
        let old = json!({"metadata": {"deletionTimestamp": "t", "finalizers": ["a.b/c"]}});
        let mut new = old.clone();
        assert!(validate_update(&new, &old).is_empty());
        new["metadata"]["finalizers"] = json!(["differ.test/f", "a.b/c"]);
        assert_eq!(
            told(&validate_update(&new, &old)),
            [
                "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"differ.test/f\"}"
            ]
        );
    }

    #[test]
    fn many_finalizers_are_not_compared_with_each_other() {
        let many: Vec<String> = (0..100_000).map(|n| format!("a.b/{n}")).collect();
        let old = json!({"metadata": {"deletionTimestamp": "t", "finalizers": many}});
        let began = std::time::Instant::now();
        assert!(validate_update(&old, &old).is_empty());
        assert!(began.elapsed().as_secs() < 5);
    }

    #[test]
    fn finalizers_are_qualified_names() {
        assert_eq!(
            validate_finalizers(Some(&json!(["short"])), "metadata.finalizers", false).len(),
            1
        );
        assert!(
            validate_finalizers(Some(&json!(["a.b/c", "orphan"])), "metadata.finalizers", false).is_empty()
        );
        assert!(
            validate_finalizers(Some(&json!(["machine.crit.sh"])), "metadata.finalizers", true).is_empty()
        );
        assert_eq!(
            validate_finalizers(Some(&json!(["no name"])), "metadata.finalizers", true).len(),
            1
        );
    }

    #[test]
    fn only_one_owner_is_the_controller() {
        let owner = |name: &str| json!({"apiVersion": "v1", "kind": "Node", "name": name, "uid": "u", "controller": true});
        assert!(validate_owners(Some(&json!([owner("a")])), "o").is_empty());
        assert_eq!(
            validate_owners(Some(&json!([owner("a"), owner("b")])), "o").len(),
            1
        );
        // Each error shows all of them.
        let many = Value::Array(vec![owner("a"); 20_000]);
        assert_eq!(validate_owners(Some(&many), "o").len(), 1);
    }
}
