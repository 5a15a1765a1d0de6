//! Rules of Pod: first state and what may change. The template shared with workloads is in `template`.

use serde_json::{Value, json};

use super::super::super::schema::FieldError;
use super::super::BuiltinHooks;
use super::template;

/// How long a pod stays on a node that is gone, in seconds.
const TOLERATED: i64 = 300;
const UPDATE_RULE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub(in super::super) struct Pod;

impl BuiltinHooks for Pod {
    fn set_defaults(&self, object: &mut Value) {
        if let Some(spec) = object.get_mut("spec") {
            template::set_spec_defaults(spec, true);
        }
        if let Some(status) = object.get_mut("status").filter(|s| s.is_object()) {
            super::plain::default(status, "phase", "Pending");
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        let class = quality_of_service(&object["spec"]);
        if object["spec"].is_object() {
            let spec = &mut object["spec"];
            super::plain::default(spec, "priority", 0);
            super::plain::default(spec, "preemptionPolicy", "PreemptLowerPriority");
            add_default_tolerations(spec);
        }
        object["status"] = json!({"phase": "Pending", "qosClass": class});
    }

    fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        if let Some(class) = old.pointer("/status/qosClass")
            && new["status"].is_object()
        {
            new["status"]["qosClass"] = class.clone();
        }
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = template::validate_spec(&new["spec"], "spec");
        if let Some(old) = old
            && fixed_part(&old["spec"]) != fixed_part(&new["spec"])
        {
            errors.push(FieldError::forbidden("spec", UPDATE_RULE));
        }
        errors
    }
}

/// Returns a pod's spec without what may change.
fn fixed_part(spec: &Value) -> Value {
    let mut spec = spec.clone();
    if let Some(spec) = spec.as_object_mut() {
        for field in [
            "activeDeadlineSeconds",
            "tolerations",
            "terminationGracePeriodSeconds",
            "schedulingGates",
        ] {
            spec.remove(field);
        }
        for containers in ["containers", "initContainers"] {
            for container in spec
                .get_mut(containers)
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                if let Some(container) = container.as_object_mut() {
                    container.remove("image");
                }
            }
        }
    }
    spec
}

fn add_default_tolerations(spec: &mut Value) {
    let mut all = spec["tolerations"].as_array().cloned().unwrap_or_default();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerated = all.iter().any(|t| {
            let effect = t["effect"].as_str().unwrap_or_default();
            let own = t["key"].as_str().unwrap_or_default();
            (own == key || (own.is_empty() && t["operator"] == "Exists"))
                && (effect.is_empty() || effect == "NoExecute")
        });
        if !tolerated {
            all.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATED}));
        }
    }
    spec["tolerations"] = all.into();
}

/// Returns the class that decides who is evicted first.
fn quality_of_service(spec: &Value) -> &'static str {
    let containers = ["containers", "initContainers"]
        .into_iter()
        .flat_map(|list| spec[list].as_array().into_iter().flatten());
    let (mut any, mut guaranteed) = (false, true);
    for container in containers {
        let of = |kind: &str, resource: &str| {
            container
                .pointer(&format!("/resources/{kind}/{resource}"))
                .cloned()
                .unwrap_or_default()
        };
        for resource in ["cpu", "memory"] {
            let (request, limit) = (of("requests", resource), of("limits", resource));
            any |= !request.is_null() || !limit.is_null();
            guaranteed &= !limit.is_null() && (request.is_null() || request == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_pod_looks_as_the_real_server_makes_it() {
        let mut pod = json!({"spec": {"containers": [{"name": "c", "image": "i", "resources": {}}]}});
        Pod.set_defaults(&mut pod);
        Pod.prepare_create(&mut pod);
        assert_eq!(
            pod,
            json!({"spec": {"containers": [{"image": "i", "imagePullPolicy": "Always", "name": "c", "resources": {},
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
                "dnsPolicy": "ClusterFirst", "enableServiceLinks": true, "preemptionPolicy": "PreemptLowerPriority",
                "priority": 0, "restartPolicy": "Always", "schedulerName": "default-scheduler", "securityContext": {},
                "terminationGracePeriodSeconds": 30, "tolerations": [
                {"effect": "NoExecute", "key": "node.kubernetes.io/not-ready", "operator": "Exists", "tolerationSeconds": 300},
                {"effect": "NoExecute", "key": "node.kubernetes.io/unreachable", "operator": "Exists", "tolerationSeconds": 300}]},
                "status": {"phase": "Pending", "qosClass": "BestEffort"}})
        );
        assert!(Pod.validate(&pod, None).is_empty());
    }

    #[test]
    fn an_image_may_change_and_a_command_may_not() {
        let old = json!({"spec": {"restartPolicy": "Always", "dnsPolicy": "Default",
            "containers": [{"name": "c", "image": "i", "imagePullPolicy": "Always", "terminationMessagePolicy": "File"}]}});
        let mut new = old.clone();
        new["spec"]["containers"][0]["image"] = "j".into();
        assert!(Pod.validate(&new, Some(&old)).is_empty());
        new["spec"]["containers"][0]["command"] = json!(["x"]);
        assert_eq!(Pod.validate(&new, Some(&old)).len(), 1);
    }

    #[test]
    fn quality_follows_requests_and_limits() {
        let spec = |resources: Value| json!({"containers": [{"resources": resources}]});
        let both = json!({"cpu": "1", "memory": "1Gi"});
        assert_eq!(
            quality_of_service(&spec(json!({"limits": both, "requests": both}))),
            "Guaranteed"
        );
        assert_eq!(
            quality_of_service(&spec(json!({"requests": {"cpu": "1"}}))),
            "Burstable"
        );
        assert_eq!(quality_of_service(&spec(json!({}))), "BestEffort");
    }
}
