//! What pods and pod templates share: defaults and checks of a pod spec.

use serde_json::{Value, json};

use super::super::super::schema::FieldError;
use super::super::meta;
use super::plain::default;

/// Fills in the defaults of a pod spec. `pod` is false for templates, which leave a few to the pod.
pub(super) fn set_spec_defaults(spec: &mut Value, pod: bool) {
    if !spec.is_object() {
        return;
    }
    default(spec, "dnsPolicy", "ClusterFirst");
    default(spec, "restartPolicy", "Always");
    default(spec, "schedulerName", "default-scheduler");
    default(spec, "securityContext", json!({}));
    default(spec, "terminationGracePeriodSeconds", 30);
    if pod {
        default(spec, "enableServiceLinks", true);
    }
    // The old name of the field is kept alike.
    let name = ["serviceAccountName", "serviceAccount"].iter().find_map(|field| {
        spec.get(*field)
            .and_then(Value::as_str)
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
    });
    if let Some(name) = name {
        spec["serviceAccountName"] = name.clone().into();
        spec["serviceAccount"] = name.into();
    }
    let host_network = spec.get("hostNetwork").and_then(Value::as_bool) == Some(true);
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in spec
            .get_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            set_container_defaults(container, host_network, pod);
        }
    }
    for volume in spec
        .get_mut("volumes")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        set_volume_defaults(volume);
    }
}

fn set_container_defaults(container: &mut Value, host_network: bool, pod: bool) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let tag = image
        .rsplit('/')
        .next()
        .and_then(|last| last.split_once(':'))
        .map(|(_, tag)| tag);
    let pinned = image.contains('@') || tag.is_some_and(|tag| tag != "latest");
    default(
        container,
        "imagePullPolicy",
        if pinned { "IfNotPresent" } else { "Always" },
    );
    default(container, "terminationMessagePath", "/dev/termination-log");
    default(container, "terminationMessagePolicy", "File");
    default(container, "resources", json!({}));
    for port in container
        .get_mut("ports")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        default(port, "protocol", "TCP");
        if host_network && let Some(number) = port.get("containerPort").cloned() {
            default(port, "hostPort", number);
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe).filter(|p| p.is_object()) {
            default(probe, "timeoutSeconds", 1);
            default(probe, "periodSeconds", 10);
            default(probe, "successThreshold", 1);
            default(probe, "failureThreshold", 3);
            set_action_defaults(probe);
        }
    }
    for hook in ["postStart", "preStop"] {
        if let Some(action) = container.get_mut("lifecycle").and_then(|l| l.get_mut(hook)) {
            set_action_defaults(action);
        }
    }
    for env in container
        .get_mut("env")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(field) = env.get_mut("valueFrom").and_then(|from| from.get_mut("fieldRef")) {
            default(field, "apiVersion", "v1");
        }
    }
    if pod
        && let Some(limits) = container
            .pointer("/resources/limits")
            .and_then(Value::as_object)
            .cloned()
    {
        let resources = &mut container["resources"];
        default(resources, "requests", json!({}));
        for (resource, limit) in limits {
            default(&mut resources["requests"], &resource, limit);
        }
    }
}

fn set_action_defaults(action: &mut Value) {
    if let Some(http) = action.get_mut("httpGet").filter(|h| h.is_object()) {
        default(http, "path", "/");
        default(http, "scheme", "HTTP");
    }
    if let Some(grpc) = action.get_mut("grpc").and_then(Value::as_object_mut) {
        grpc.entry("service").or_insert_with(|| "".into());
    }
}

fn set_volume_defaults(volume: &mut Value) {
    for source in ["secret", "configMap", "projected", "downwardAPI"] {
        if let Some(source) = volume.get_mut(source).filter(|s| s.is_object()) {
            default(source, "defaultMode", 0o644);
        }
    }
    if let Some(path) = volume.get_mut("hostPath").and_then(Value::as_object_mut) {
        path.entry("type").or_insert_with(|| "".into());
    }
    for source in volume
        .pointer_mut("/projected/sources")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(token) = source.get_mut("serviceAccountToken") {
            default(token, "expirationSeconds", 3600);
        }
        for item in source
            .pointer_mut("/downwardAPI/items")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if let Some(field) = item.get_mut("fieldRef") {
                default(field, "apiVersion", "v1");
            }
        }
    }
    for item in volume
        .pointer_mut("/downwardAPI/items")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(field) = item.get_mut("fieldRef") {
            default(field, "apiVersion", "v1");
        }
    }
    if let Some(volume) = volume.as_object_mut()
        && volume.keys().all(|key| key == "name")
    {
        volume.insert("emptyDir".to_owned(), json!({}));
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn supported(values: &[&str]) -> Vec<String> {
    values.iter().map(|&v| v.to_owned()).collect()
}

/// Checks a pod spec at `path`.
pub(super) fn validate_spec(spec: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let at = |field: &str| format!("{path}.{field}");
    let mut volumes: Vec<&str> = Vec::new();
    for (index, volume) in spec["volumes"].as_array().into_iter().flatten().enumerate() {
        let name = text(volume, "name");
        let field = at(&format!("volumes[{index}].name"));
        errors.extend(check_name(name, &field, &volumes));
        volumes.push(name);
    }
    let containers = spec["containers"].as_array().map_or(&[][..], Vec::as_slice);
    if containers.is_empty() {
        errors.push(FieldError::required(at("containers"), ""));
    }
    let mut names: Vec<&str> = Vec::new();
    for list in ["containers", "initContainers"] {
        for (index, container) in spec[list].as_array().into_iter().flatten().enumerate() {
            let here = at(&format!("{list}[{index}]"));
            errors.extend(check_name(
                text(container, "name"),
                &format!("{here}.name"),
                &names,
            ));
            names.push(text(container, "name"));
            errors.extend(validate_container(container, &here, &volumes));
        }
    }
    let choices: &[(&str, &[&str])] = &[
        ("restartPolicy", &["Always", "OnFailure", "Never"]),
        (
            "dnsPolicy",
            &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
        ),
    ];
    for (field, values) in choices {
        let value = text(spec, field);
        if value.is_empty() {
            errors.push(FieldError::required(at(field), ""));
        } else if !values.contains(&value) {
            errors.push(FieldError::not_supported(at(field), value, supported(values)));
        }
    }
    if let Some(seconds) = spec["activeDeadlineSeconds"]
        .as_i64()
        .filter(|s| !(1..=i64::from(i32::MAX)).contains(s))
    {
        errors.push(FieldError::invalid(
            at("activeDeadlineSeconds"),
            seconds,
            "must be between 1 and 2147483647, inclusive",
        ));
    }
    errors.extend(meta::validate_labels(
        spec.get("nodeSelector"),
        &at("nodeSelector"),
    ));
    errors
}

fn check_name(name: &str, field: &str, before: &[&str]) -> Vec<FieldError> {
    if name.is_empty() {
        return vec![FieldError::required(field, "")];
    }
    let problems = meta::label_problems(name);
    if problems.is_empty() && before.contains(&name) {
        return vec![FieldError::duplicate(field, name)];
    }
    problems
        .into_iter()
        .map(|p| FieldError::invalid(field, name, p))
        .collect()
}

fn validate_container(container: &Value, path: &str, volumes: &[&str]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let image = text(container, "image");
    if image.is_empty() {
        errors.push(FieldError::required(format!("{path}.image"), ""));
    } else if image.trim() != image {
        errors.push(FieldError::invalid(
            format!("{path}.image"),
            image,
            "must not have leading or trailing whitespace",
        ));
    }
    for (index, port) in container["ports"].as_array().into_iter().flatten().enumerate() {
        let at = format!("{path}.ports[{index}]");
        match port["containerPort"].as_i64() {
            None | Some(0) => errors.push(FieldError::required(format!("{at}.containerPort"), "")),
            Some(1..=65535) => {}
            Some(number) => errors.push(FieldError::invalid(
                format!("{at}.containerPort"),
                number,
                "must be between 1 and 65535, inclusive",
            )),
        }
        let protocol = text(port, "protocol");
        if !matches!(protocol, "TCP" | "UDP" | "SCTP") {
            errors.push(FieldError::not_supported(
                format!("{at}.protocol"),
                protocol,
                supported(&["SCTP", "TCP", "UDP"]),
            ));
        }
    }
    for (index, env) in container["env"].as_array().into_iter().flatten().enumerate() {
        if text(env, "name").is_empty() {
            errors.push(FieldError::required(format!("{path}.env[{index}].name"), ""));
        }
    }
    for (index, mount) in container["volumeMounts"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let at = format!("{path}.volumeMounts[{index}]");
        let name = text(mount, "name");
        if name.is_empty() {
            errors.push(FieldError::required(format!("{at}.name"), ""));
        } else if !volumes.contains(&name) {
            errors.push(FieldError::not_found(format!("{at}.name"), name));
        }
        if text(mount, "mountPath").is_empty() {
            errors.push(FieldError::required(format!("{at}.mountPath"), ""));
        }
    }
    let policies = &["Always", "IfNotPresent", "Never"];
    let policy = text(container, "imagePullPolicy");
    if !policies.contains(&policy) {
        errors.push(FieldError::not_supported(
            format!("{path}.imagePullPolicy"),
            policy,
            supported(policies),
        ));
    }
    errors
}

/// Checks that a workload's selector exists, selects its own template, and did not change.
pub(super) fn validate_workload(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = &new["spec"];
    if let Some(old) = old
        && old["spec"]["selector"] != spec["selector"]
    {
        errors.push(FieldError::invalid(
            "spec.selector",
            spec["selector"].clone(),
            "field is immutable",
        ));
    }
    if let Some(replicas) = spec["replicas"].as_i64().filter(|n| *n < 0) {
        errors.push(FieldError::invalid(
            "spec.replicas",
            replicas,
            "must be greater than or equal to 0",
        ));
    }
    if spec["selector"].is_null() {
        errors.push(FieldError::required("spec.selector", ""));
    } else if is_empty(&spec["selector"]) {
        errors.push(FieldError::invalid(
            "spec.selector",
            spec["selector"].clone(),
            "empty selector is invalid for deployment",
        ));
    } else {
        let labels = spec
            .pointer("/template/metadata/labels")
            .cloned()
            .unwrap_or_else(|| json!({}));
        if !selects(&spec["selector"], &labels) {
            errors.push(FieldError::invalid(
                "spec.template.metadata.labels",
                labels,
                "`selector` does not match template `labels`",
            ));
        }
    }
    errors.extend(meta::validate_labels(
        spec.pointer("/template/metadata/labels"),
        "spec.template.metadata.labels",
    ));
    let template = spec
        .pointer("/template/spec")
        .cloned()
        .unwrap_or_else(|| json!({}));
    errors.extend(validate_spec(&template, "spec.template.spec"));
    if !matches!(text(&template, "restartPolicy"), "Always" | "") {
        errors.push(FieldError::not_supported(
            "spec.template.spec.restartPolicy",
            text(&template, "restartPolicy"),
            supported(&["Always"]),
        ));
    }
    errors
}

fn is_empty(selector: &Value) -> bool {
    selector["matchLabels"]
        .as_object()
        .is_none_or(serde_json::Map::is_empty)
        && selector["matchExpressions"].as_array().is_none_or(Vec::is_empty)
}

fn selects(selector: &Value, labels: &Value) -> bool {
    let label = |key: &str| labels.get(key).and_then(Value::as_str);
    selector["matchLabels"]
        .as_object()
        .into_iter()
        .flatten()
        .all(|(key, value)| label(key) == value.as_str())
        && selector["matchExpressions"]
            .as_array()
            .into_iter()
            .flatten()
            .all(|wanted| {
                let value = label(text(wanted, "key"));
                let listed = value.is_some_and(|value| {
                    wanted["values"]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .any(|v| v.as_str() == Some(value))
                });
                match text(wanted, "operator") {
                    "In" => listed,
                    "NotIn" => !listed,
                    "Exists" => value.is_some(),
                    "DoesNotExist" => value.is_none(),
                    _ => false,
                }
            })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_image_with_a_tag_is_pulled_once() {
        let policy = |image: &str| {
            let mut container = json!({"image": image});
            set_container_defaults(&mut container, false, true);
            container["imagePullPolicy"].as_str().expect("policy").to_owned()
        };
        assert_eq!(policy("a"), "Always");
        assert_eq!(policy("host:5000/a"), "Always");
        assert_eq!(policy("host:5000/a:1"), "IfNotPresent");
        assert_eq!(policy("a:latest"), "Always");
        assert_eq!(policy("a@sha256:00"), "IfNotPresent");
    }

    #[test]
    fn a_selector_must_select_its_template() {
        let deployment = json!({"spec": {"selector": {"matchLabels": {"app": "x"}}, "template": {
            "metadata": {"labels": {"app": "y"}}, "spec": {"restartPolicy": "Always", "dnsPolicy": "Default",
            "containers": [{"name": "c", "image": "i", "imagePullPolicy": "Always"}]}}}});
        assert_eq!(
            told(&validate_workload(&deployment, None)),
            [
                "spec.template.metadata.labels: Invalid value: {\"app\":\"y\"}: `selector` does not match template `labels`"
            ]
        );
    }

    #[test]
    fn containers_are_needed_and_named_once() {
        let spec = json!({"restartPolicy": "Always", "dnsPolicy": "Default", "containers": [
            {"name": "c", "image": "i", "imagePullPolicy": "Always", "volumeMounts": [{"name": "v", "mountPath": "/m"}]},
            {"name": "c", "imagePullPolicy": "Always"}]});
        assert_eq!(
            told(&validate_spec(&spec, "spec")),
            [
                "spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
                "spec.containers[1].name: Duplicate value: \"c\"",
                "spec.containers[1].image: Required value"
            ]
        );
        assert_eq!(
            told(&validate_spec(
                &json!({"restartPolicy": "Always", "dnsPolicy": "Default"}),
                "spec"
            )),
            ["spec.containers: Required value"]
        );
    }
}
