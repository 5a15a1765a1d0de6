//! Rules of `Job` and `CronJob`. Nobody runs them here, so only what decides what is stored is checked.

use serde_json::{Value, json};

use super::super::super::object::meta;
use super::super::super::schema::FieldError;
use super::super::BuiltinHooks;
use super::plain::default;
use super::template;

pub(in super::super) struct Job;
pub(in super::super) struct CronJob;

const UID: &str = "batch.kubernetes.io/controller-uid";
const NAME: &str = "batch.kubernetes.io/job-name";
/// The same labels under the names that they had first.
const OLD: [&str; 2] = ["controller-uid", "job-name"];

/// Fills in the spec of a job. `whole`: of an object; a template leaves the rest to the job that is made of it.
fn defaults(spec: &mut Value, whole: bool) {
    if let Some(template) = spec.pointer_mut("/template/spec") {
        template::set_spec_defaults(template, false);
    }
    if !whole {
        return;
    }
    if spec["completions"].is_null() && spec["parallelism"].is_null() {
        default(spec, "completions", 1);
    }
    default(spec, "parallelism", 1);
    default(spec, "backoffLimit", 6);
    default(spec, "completionMode", "NonIndexed");
    default(spec, "suspend", false);
    let policy = if spec["podFailurePolicy"].is_object() {
        "Failed"
    } else {
        "TerminatingOrFailed"
    };
    default(spec, "podReplacementPolicy", policy);
}

impl BuiltinHooks for Job {
    fn set_defaults(&self, object: &mut Value) {
        let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) else {
            return;
        };
        defaults(spec, true);
        let labels = spec.pointer("/template/metadata/labels").cloned();
        let own = object.pointer("/metadata/labels").and_then(Value::as_object);
        if let Some(labels) = labels.filter(|_| own.is_none_or(serde_json::Map::is_empty)) {
            meta::of_mut(object).insert("labels".to_owned(), labels);
        }
    }

    /// A job selects its pods by its own UID, unless it says that it knows better.
    fn prepare_create(&self, object: &mut Value) {
        object["status"] = json!({});
        let (name, uid) = (
            meta::name(object).to_owned(),
            meta::text(object, "uid").to_owned(),
        );
        let spec = &mut object["spec"];
        if !spec.is_object() || spec["manualSelector"] == true {
            return;
        }
        default(spec, "template", json!({}));
        default(&mut spec["template"], "metadata", json!({}));
        default(&mut spec["template"]["metadata"], "labels", json!({}));
        let labels = &mut spec["template"]["metadata"]["labels"];
        for (key, value) in [(UID, &uid), (NAME, &name), (OLD[0], &uid), (OLD[1], &name)] {
            labels[key] = value.clone().into();
        }
        default(spec, "selector", json!({}));
        default(&mut spec["selector"], "matchLabels", json!({}));
        spec["selector"]["matchLabels"][UID] = uid.into();
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = validate_spec(&new["spec"], "spec");
        for field in ["selector", "template", "completionMode"] {
            let pointer = format!("/spec/{field}");
            if let Some(old) = old
                && old.pointer(&pointer) != new.pointer(&pointer)
            {
                let value = new.pointer(&pointer).cloned().unwrap_or_default();
                let field = format!("spec.{field}");
                errors.push(FieldError::invalid(field, value, "field is immutable"));
            }
        }
        errors
    }
}

fn validate_spec(spec: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
    ] {
        if let Some(number) = spec[field].as_i64().filter(|number| *number < 0) {
            let field = format!("{path}.{field}");
            errors.push(FieldError::invalid(
                field,
                number,
                "must be greater than or equal to 0",
            ));
        }
    }
    let template = format!("{path}.template.spec");
    errors.extend(template::validate_spec(&spec["template"]["spec"], &template));
    let policy = spec["template"]["spec"]["restartPolicy"]
        .as_str()
        .unwrap_or_default();
    if !matches!(policy, "OnFailure" | "Never") {
        let detail = r#"valid values: "OnFailure", "Never""#;
        errors.push(FieldError::required(format!("{template}.restartPolicy"), detail));
    }
    errors
}

impl BuiltinHooks for CronJob {
    fn set_defaults(&self, object: &mut Value) {
        let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) else {
            return;
        };
        default(spec, "concurrencyPolicy", "Allow");
        default(spec, "suspend", false);
        default(spec, "successfulJobsHistoryLimit", 3);
        default(spec, "failedJobsHistoryLimit", 1);
        if let Some(job) = spec.pointer_mut("/jobTemplate/spec") {
            defaults(job, false);
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        object["status"] = json!({});
    }

    fn validate(&self, new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
        let spec = &new["spec"];
        let mut errors = Vec::new();
        if spec["schedule"].as_str().is_none_or(str::is_empty) {
            errors.push(FieldError::required("spec.schedule", ""));
        }
        errors.extend(validate_spec(
            &spec["jobTemplate"]["spec"],
            "spec.jobTemplate.spec",
        ));
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(policy: &str) -> Value {
        json!({"metadata": {"name": "j", "uid": "u"}, "spec": {"template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"restartPolicy": policy, "containers": [{"name": "c", "image": "i"}]}}}})
    }

    #[test]
    fn a_job_selects_its_pods_by_its_uid() {
        let mut object = job("Never");
        Job.set_defaults(&mut object);
        Job.prepare_create(&mut object);
        let spec = &object["spec"];
        assert_eq!(
            (&spec["completions"], &spec["parallelism"], &spec["backoffLimit"]),
            (&json!(1), &json!(1), &json!(6))
        );
        assert_eq!(spec["selector"], json!({"matchLabels": {UID: "u"}}));
        let labels = json!({"a": "b", UID: "u", NAME: "j", "controller-uid": "u", "job-name": "j"});
        assert_eq!(spec["template"]["metadata"]["labels"], labels);
        assert_eq!(object["metadata"]["labels"], json!({"a": "b"}));
        assert!(Job.validate(&object, None).is_empty());
    }

    #[test]
    fn pods_of_jobs_end() {
        let mut object = job("Always");
        Job.set_defaults(&mut object);
        let told = Job.validate(&object, None)[0].to_string();
        assert_eq!(
            told,
            r#"spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never""#
        );
        let (mut old, mut new) = (job("Never"), job("Never"));
        Job.set_defaults(&mut old);
        new["spec"]["template"]["metadata"]["labels"]["a"] = "c".into();
        Job.set_defaults(&mut new);
        let told: Vec<String> = Job
            .validate(&new, Some(&old))
            .iter()
            .map(ToString::to_string)
            .collect();
        assert!(told[0].starts_with("spec.template: Invalid value"), "{told:?}");
    }

    #[test]
    fn a_cron_job_has_a_schedule() {
        let mut object = json!({"spec": {"jobTemplate": {"spec": job("Never")["spec"]}}});
        CronJob.set_defaults(&mut object);
        assert_eq!(object["spec"]["concurrencyPolicy"], "Allow");
        let told = CronJob.validate(&object, None);
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].to_string(), "spec.schedule: Required value");
    }
}
