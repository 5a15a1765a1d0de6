//! What an infrastructure object says about itself. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::DynamicObject;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::observe::Observed;
use crate::{
    api::conditions::{self, Status, condition},
    providers::Instance,
    time::Timestamp,
};

/// Reason of the condition Ready while the instance starts.
pub(super) const BOOTING: &str = "Booting";

/// How far the object is.
pub(super) enum Progress<'a> {
    /// Nothing can be made before the bootstrap data is there.
    WaitingForData,
    /// The instance starts.
    Booting(&'a Instance),
    /// Its bootstrap script runs.
    Bootstrapping(&'a Instance),
    /// It is what it should be.
    Running(&'a Instance),
    /// This try failed; there will be another one.
    Retrying {
        instance: &'a Instance,
        reason: &'a str,
        message: &'a str,
    },
    /// Something does not work just now.
    Trouble(&'a str),
    /// It will never be.
    Failed {
        /// The last try, if there was one.
        instance: Option<&'a Instance>,
        reason: &'a str,
        message: &'a str,
    },
}

/// Returns the whole status.
pub(super) fn status(o: &Observed, progress: &Progress<'_>, now: Timestamp) -> Value {
    let old = o.object.data.get("status").cloned().unwrap_or_default();
    let mut new = Map::new();
    let ready = match progress {
        Progress::Running(_) => true,
        // A provider that does not answer says nothing about an instance that is up.
        Progress::Trouble(_) => old.get("ready").and_then(Value::as_bool).unwrap_or(false),
        _ => false,
    };
    new.insert("ready".to_owned(), json!(ready));
    let instance = instance_of(progress);
    let mut keep = |field: &str, value: Option<Value>| {
        if let Some(value) = value.or_else(|| old.get(field).cloned()).filter(|v| !v.is_null()) {
            new.insert(field.to_owned(), value);
        }
    };
    keep(
        "addresses",
        instance
            .filter(|i| !i.addresses.is_empty())
            .map(|i| json!(i.addresses)),
    );
    match o.kind.as_str() {
        "DockerMachine" => {
            keep("nodeImage", o.node_image.as_ref().map(|i| json!(i)));
            keep(
                "apiEndpoint",
                instance.and_then(|i| i.api_endpoint.as_ref()).map(|e| json!(e)),
            );
            keep(
                "attempts",
                Some(json!(instance.map_or_else(|| attempts(&old), |i| i.attempt))),
            );
        }
        "HollowMachine" => {
            let node = instance
                .filter(|_| ready)
                .map(|i| json!({ "apiVersion": "v1", "kind": "Node", "name": i.node_name }));
            keep("nodeRef", node);
        }
        _ => {}
    }
    if let Progress::Failed { reason, message, .. } = progress {
        new.insert("failureReason".to_owned(), json!(reason));
        new.insert("failureMessage".to_owned(), json!(message));
    }
    let mut list = conditions(&o.object);
    for new in judge(o, progress, now) {
        conditions::set(&mut list, new);
    }
    new.insert("conditions".to_owned(), json!(list));
    Value::Object(new)
}

fn attempts(status: &Value) -> i64 {
    status.get("attempts").and_then(Value::as_i64).unwrap_or(0)
}

fn instance_of<'a>(progress: &Progress<'a>) -> Option<&'a Instance> {
    match progress {
        Progress::Booting(instance)
        | Progress::Bootstrapping(instance)
        | Progress::Running(instance)
        | Progress::Retrying { instance, .. } => Some(instance),
        Progress::Failed { instance, .. } => *instance,
        Progress::WaitingForData | Progress::Trouble(_) => None,
    }
}

fn judge(o: &Observed, progress: &Progress<'_>, now: Timestamp) -> Vec<Condition> {
    use Status::{False, True, Unknown};
    // The provider id that this look wrote belongs to what is judged.
    let generation = o
        .object
        .metadata
        .generation
        .map(|g| g + i64::from(o.changed_spec));
    let make = |type_: &str, status: Status, reason: &str, message: &str| {
        condition(type_, status, reason, message, generation, now)
    };
    // (container, bootstrap, ready), each as (status, reason, message)
    let (container, bootstrapped, ready) = match progress {
        Progress::WaitingForData => (
            (False, "NotCreated", ""),
            (Unknown, "NotCreated", ""),
            (
                False,
                "WaitingForBootstrapData",
                "waiting for the Machine's bootstrap data",
            ),
        ),
        Progress::Booting(_) => (
            (False, "Booting", ""),
            (Unknown, "Booting", ""),
            (False, BOOTING, "the instance starts"),
        ),
        Progress::Bootstrapping(_) => (
            (True, "Running", ""),
            (Unknown, "Bootstrapping", "the bootstrap script runs"),
            (False, "Bootstrapping", "the bootstrap script runs"),
        ),
        Progress::Running(_) => (
            (True, "Running", ""),
            (True, "Bootstrapped", ""),
            (True, "Running", ""),
        ),
        Progress::Retrying { reason, message, .. } | Progress::Failed { reason, message, .. } => (
            (Unknown, *reason, ""),
            (False, *reason, *message),
            (False, *reason, *message),
        ),
        Progress::Trouble(message) => {
            let known = conditions(&o.object);
            let was_ready = conditions::is_true(&known, conditions::READY);
            let status = if was_ready { Unknown } else { False };
            return vec![make(conditions::READY, status, "ProviderError", message)];
        }
    };
    let mut list = vec![make(conditions::READY, ready.0, ready.1, ready.2)];
    if o.needs_bootstrap {
        list.push(make(
            conditions::CONTAINER_RUNNING,
            container.0,
            container.1,
            container.2,
        ));
    }
    // The time of a failure is read from this one, whether or not the kind has something to bootstrap.
    let failed = matches!(progress, Progress::Retrying { .. } | Progress::Failed { .. });
    if o.needs_bootstrap
        || failed
        || conditions::find(&conditions(&o.object), conditions::BOOTSTRAPPED).is_some()
    {
        list.push(make(
            conditions::BOOTSTRAPPED,
            bootstrapped.0,
            bootstrapped.1,
            bootstrapped.2,
        ));
    }
    list
}

/// Reads the conditions of an object.
pub(super) fn conditions(object: &DynamicObject) -> Vec<Condition> {
    object
        .data
        .pointer("/status/conditions")
        .and_then(|list| Deserialize::deserialize(list).ok())
        .unwrap_or_default()
}
