//! Cells of workload kinds and of disruption budgets.

use serde_json::Value;

use super::created;
use super::rows::{labels, list, or_none, str_at};
use crate::time::Timestamp;

fn number(item: &Value, pointer: &str) -> i64 {
    item.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

/// Returns the cells of an object of this kind, without the name.
pub(super) fn cells(kind: &str, item: &Value, now: Timestamp) -> Vec<Value> {
    let status = |field: &str| number(item, &format!("/status/{field}"));
    let replicas = number(item, "/spec/replicas");
    let age = || created(item, now);
    let [containers, images] = containers(item);
    let selector = || or_none(selector(item.pointer("/spec/selector")));
    match kind {
        "Deployment" => vec![
            format!("{}/{replicas}", status("readyReplicas")).into(),
            status("updatedReplicas").to_string().into(),
            status("availableReplicas").to_string().into(),
            age(),
            containers,
            images,
            selector(),
        ],
        "DaemonSet" => vec![
            status("desiredNumberScheduled").into(),
            status("currentNumberScheduled").into(),
            status("numberReady").into(),
            status("updatedNumberScheduled").into(),
            status("numberAvailable").into(),
            or_none(labels(item.pointer("/spec/template/spec/nodeSelector"))),
            age(),
            containers,
            images,
            selector(),
        ],
        "ReplicaSet" => {
            vec![
                replicas.into(),
                status("replicas").into(),
                status("readyReplicas").into(),
                age(),
                containers,
                images,
                selector(),
            ]
        }
        "ReplicationController" => vec![
            replicas.into(),
            status("replicas").into(),
            status("readyReplicas").into(),
            age(),
            containers,
            images,
            labels(item.pointer("/spec/selector")).into(),
        ],
        "StatefulSet" => {
            vec![
                format!("{}/{replicas}", status("readyReplicas")).into(),
                age(),
                containers,
                images,
            ]
        }
        "ControllerRevision" => {
            let owner = list(item, "/metadata/ownerReferences").find(|owner| owner["controller"] == true);
            let owner = owner.map_or_else(String::new, |owner| {
                let group = str_at(owner, "/apiVersion")
                    .rsplit_once('/')
                    .map_or("", |(group, _)| group);
                let dot = if group.is_empty() { "" } else { "." };
                format!(
                    "{}{dot}{group}/{}",
                    str_at(owner, "/kind").to_lowercase(),
                    str_at(owner, "/name")
                )
            });
            vec![or_none(owner), number(item, "/revision").into(), age()]
        }
        _ => {
            let bound = |field: &str| match item.pointer(&format!("/spec/{field}")) {
                None | Some(Value::Null) => "N/A".into(),
                Some(Value::String(text)) => Value::from(text.as_str()),
                Some(other) => other.to_string().into(),
            };
            vec![
                bound("minAvailable"),
                bound("maxUnavailable"),
                status("disruptionsAllowed").into(),
                age(),
            ]
        }
    }
}

fn containers(item: &Value) -> [Value; 2] {
    containers_of(item, "/spec/template")
}

/// Returns names and images of the containers of a template.
pub(super) fn containers_of(item: &Value, template: &str) -> [Value; 2] {
    let all = |field: &str| {
        let found: Vec<&str> = list(item, &format!("{template}/spec/containers"))
            .filter_map(|c| c[field].as_str())
            .collect();
        found.join(",").into()
    };
    [all("name"), all("image")]
}

/// Returns a `LabelSelector` in the form that `-l` takes.
pub(super) fn selector(selector: Option<&Value>) -> String {
    let Some(selector) = selector else {
        return String::new();
    };
    let mut parts: Vec<String> = Vec::new();
    let plain = labels(selector.get("matchLabels"));
    if !plain.is_empty() {
        parts.push(plain);
    }
    for wanted in list(selector, "/matchExpressions") {
        let key = str_at(wanted, "/key");
        let values = list(wanted, "/values")
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(",");
        parts.push(match str_at(wanted, "/operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            _ => format!("!{key}"),
        });
    }
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_read_as_they_are_typed() {
        let wanted = json!({"matchLabels": {"a": "1"}, "matchExpressions": [
            {"key": "b", "operator": "In", "values": ["x", "y"]}, {"key": "c", "operator": "DoesNotExist"}]});
        assert_eq!(selector(Some(&wanted)), "a=1,b in (x,y),!c");
    }
}
