//! Which pods have to leave a Node. Pure.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

/// What stands in the way of an empty Node.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    /// Pods that have to be asked to leave, as (namespace, name).
    pub(super) to_evict: Vec<(String, String)>,
    /// Pods that are on their way.
    pub(super) leaving: usize,
}

impl Left {
    /// Whether nobody is left.
    pub(super) fn is_empty(&self) -> bool {
        self.to_evict.is_empty() && self.leaving == 0
    }

    /// How many are left.
    pub(super) fn len(&self) -> usize {
        self.to_evict.len() + self.leaving
    }
}

/// Looks through the pods of a Node. With `unreachable` those that were told to leave are not waited for: nobody is there to end them.
pub(super) fn left(node: &str, pods: &[Pod], unreachable: bool) -> Left {
    let mut left = Left::default();
    let here = pods
        .iter()
        .filter(|p| p.spec.as_ref().and_then(|s| s.node_name.as_deref()) == Some(node));
    for pod in here.filter(|p| !stays(p)) {
        if pod.metadata.deletion_timestamp.is_none() {
            left.to_evict
                .push((pod.namespace().unwrap_or_default(), pod.name_any()));
        } else if !unreachable {
            left.leaving += 1;
        }
    }
    left.to_evict.sort();
    left
}

/// Pods that belong to the Node itself: static ones, and those of a `DaemonSet`, which would be there again at once.
fn stays(pod: &Pod) -> bool {
    let mirror = pod.annotations().contains_key("kubernetes.io/config.mirror");
    let daemon = pod
        .owner_references()
        .iter()
        .any(|r| r.controller == Some(true) && r.kind == "DaemonSet");
    mirror || daemon
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, node: &str, metadata: &Value) -> Pod {
        let mut value = json!({ "metadata": { "name": name, "namespace": "apps" }, "spec": { "nodeName": node, "containers": [] } });
        for (key, field) in metadata.as_object().unwrap() {
            value["metadata"][key] = field.clone();
        }
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn only_pods_that_can_live_elsewhere_are_asked_to_leave() {
        let pods = [
            pod("web", "n1", &json!({})),
            pod("elsewhere", "n2", &json!({})),
            pod(
                "static",
                "n1",
                &json!({"annotations": {"kubernetes.io/config.mirror": "x"}}),
            ),
            pod(
                "agent",
                "n1",
                &json!({"ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "uid": "u", "controller": true}]}),
            ),
            pod(
                "ending",
                "n1",
                &json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}),
            ),
        ];
        let expected = Left {
            to_evict: vec![("apps".to_owned(), "web".to_owned())],
            leaving: 1,
        };
        assert_eq!(left("n1", &pods, false), expected);
        assert_eq!(left("n1", &pods, true).leaving, 0);
        assert!(left("n3", &pods, false).is_empty());
    }
}
