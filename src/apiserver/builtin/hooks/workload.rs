//! Rules of the workload kinds: `Deployment`, `DaemonSet`, `ReplicaSet`, `ReplicationController`, `StatefulSet`.

use serde_json::{Value, json};

use super::super::super::object::meta;
use super::super::super::schema::FieldError;
use super::super::BuiltinHooks;
use super::plain::default;
use super::template;

pub(in super::super) struct Deployment;
pub(in super::super) struct DaemonSet;
pub(in super::super) struct ReplicaSet;
pub(in super::super) struct ReplicationController;
pub(in super::super) struct StatefulSet;

/// Fills in the template and then what `more` says of the spec.
fn defaults(object: &mut Value, more: impl FnOnce(&mut Value)) {
    let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) else {
        return;
    };
    if let Some(template) = spec.pointer_mut("/template/spec") {
        template::set_spec_defaults(template, false);
    }
    more(spec);
}

impl BuiltinHooks for Deployment {
    fn set_defaults(&self, object: &mut Value) {
        defaults(object, |spec| {
            default(spec, "replicas", 1);
            default(spec, "revisionHistoryLimit", 10);
            default(spec, "progressDeadlineSeconds", 600);
            default(spec, "strategy", json!({}));
            let strategy = &mut spec["strategy"];
            default(strategy, "type", "RollingUpdate");
            if strategy["type"] == "RollingUpdate" {
                default(strategy, "rollingUpdate", json!({}));
                default(&mut strategy["rollingUpdate"], "maxSurge", "25%");
                default(&mut strategy["rollingUpdate"], "maxUnavailable", "25%");
            }
        });
    }

    fn prepare_create(&self, object: &mut Value) {
        object["status"] = json!({});
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = template::validate_workload(new, old);
        let strategy = &new["spec"]["strategy"];
        if strategy["type"] == "Recreate" && !strategy["rollingUpdate"].is_null() {
            errors.push(FieldError::forbidden(
                "spec.strategy.rollingUpdate",
                "may not be specified when strategy `type` is 'Recreate'",
            ));
        }
        errors
    }
}

impl BuiltinHooks for ReplicaSet {
    fn set_defaults(&self, object: &mut Value) {
        defaults(object, |spec| default(spec, "replicas", 1));
    }

    fn prepare_create(&self, object: &mut Value) {
        object["status"] = json!({"replicas": 0});
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        template::validate_workload(new, old)
    }
}

impl BuiltinHooks for ReplicationController {
    /// It selects what its template makes, unless it says otherwise.
    fn set_defaults(&self, object: &mut Value) {
        defaults(object, |spec| default(spec, "replicas", 1));
        let labels = object.pointer("/spec/template/metadata/labels").cloned();
        let Some(labels) = labels.filter(|labels| labels.as_object().is_some_and(|l| !l.is_empty())) else {
            return;
        };
        default(&mut object["spec"], "selector", labels.clone());
        let own = object.pointer("/metadata/labels").and_then(Value::as_object);
        if own.is_none_or(serde_json::Map::is_empty) {
            meta::of_mut(object).insert("labels".to_owned(), labels);
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        object["status"] = json!({"replicas": 0});
    }

    fn validate(&self, new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
        let spec = &new["spec"];
        let mut errors = Vec::new();
        if let Some(replicas) = spec["replicas"].as_i64().filter(|n| *n < 0) {
            let detail = "must be greater than or equal to 0";
            errors.push(FieldError::invalid("spec.replicas", replicas, detail));
        }
        if spec["selector"].as_object().is_none_or(serde_json::Map::is_empty) {
            errors.push(FieldError::required("spec.selector", ""));
        }
        if spec["template"].is_object() {
            errors.extend(template::validate_spec(
                &spec["template"]["spec"],
                "spec.template.spec",
            ));
        } else {
            errors.push(FieldError::required("spec.template", ""));
        }
        errors
    }
}

impl BuiltinHooks for StatefulSet {
    fn set_defaults(&self, object: &mut Value) {
        defaults(object, |spec| {
            default(spec, "replicas", 1);
            default(spec, "revisionHistoryLimit", 10);
            default(spec, "podManagementPolicy", "OrderedReady");
            default(spec, "updateStrategy", json!({}));
            let strategy = &mut spec["updateStrategy"];
            default(strategy, "type", "RollingUpdate");
            if strategy["type"] == "RollingUpdate" {
                default(strategy, "rollingUpdate", json!({}));
                default(&mut strategy["rollingUpdate"], "partition", 0);
            }
            default(spec, "persistentVolumeClaimRetentionPolicy", json!({}));
            let retention = &mut spec["persistentVolumeClaimRetentionPolicy"];
            default(retention, "whenDeleted", "Retain");
            default(retention, "whenScaled", "Retain");
        });
    }

    fn prepare_create(&self, object: &mut Value) {
        object["status"] = json!({"replicas": 0});
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        template::validate_workload(new, old)
    }
}

impl BuiltinHooks for DaemonSet {
    fn set_defaults(&self, object: &mut Value) {
        defaults(object, |spec| {
            default(spec, "revisionHistoryLimit", 10);
            default(spec, "updateStrategy", json!({}));
            let strategy = &mut spec["updateStrategy"];
            default(strategy, "type", "RollingUpdate");
            if strategy["type"] == "RollingUpdate" {
                default(strategy, "rollingUpdate", json!({}));
                default(&mut strategy["rollingUpdate"], "maxUnavailable", 1);
                default(&mut strategy["rollingUpdate"], "maxSurge", 0);
            }
        });
    }

    fn prepare_create(&self, object: &mut Value) {
        object["status"] = json!({"currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0});
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        template::validate_workload(new, old)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_is_completed_as_the_real_server_does() {
        let mut object = json!({"spec": {"replicas": 1, "selector": {"matchLabels": {"app": "x"}}, "template": {
            "metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"image": "i", "name": "c"}]}}}});
        Deployment.set_defaults(&mut object);
        assert_eq!(
            object["spec"],
            json!({"progressDeadlineSeconds": 600, "replicas": 1, "revisionHistoryLimit": 10,
                "selector": {"matchLabels": {"app": "x"}},
                "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}, "type": "RollingUpdate"},
                "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"image": "i",
                "imagePullPolicy": "Always", "name": "c", "resources": {}, "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File"}], "dnsPolicy": "ClusterFirst", "restartPolicy": "Always",
                "schedulerName": "default-scheduler", "securityContext": {}, "terminationGracePeriodSeconds": 30}}})
        );
        assert!(Deployment.validate(&object, None).is_empty());
    }
}
